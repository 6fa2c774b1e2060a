//! Proofs that travel with a copy, to where its log is out of reach.

use std::{fs, path::PathBuf};

use vault_tests::Output;

use crate::Office;

impl Office {
    /// Copies from one vault to another that is made if it is not there.
    fn copy(&self, what: &[&str], from: &str, to: &str, more: &[&str]) -> Output {
        self.run(&[&["copy"], what, &["--from", from, "--to", to, "--init"], more].concat())
    }

    /// A version in another vault, which must stand in the log, by a client that saw none.
    fn demand_in(&self, vault: &str, version: &str, more: &[&str]) -> Output {
        let line =
            ["--vault", vault, "verify", version, "--signer", "signer.pub", "--require-log", "--state", "reader"];
        self.run(&[&line[..], more].concat())
    }

    /// The proofs in a vault.
    fn proofs(&self, vault: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path(format!("{vault}/log/proof"))];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

/// How many proofs were copied, how many were there, and of how many records there is none.
fn proofs(copied: &Output) -> (u64, u64, u64) {
    let object = copied.clone().ok().json();
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    (number(&object["log_proofs"]["copied"]), number(&object["log_proofs"]["there"]), number(&object["unproven"]))
}

const BY_LOG: [&str; 2] = ["--log-key", "log.pub"];

#[test]
fn a_copy_is_opened_under_the_demand_without_the_log_and_so_is_a_copy_of_it() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    assert_eq!(proofs(&office.copy(&["m:1"], "vault", "stick", &["--signer", "signer.pub"])), (1, 0, 0));
    // The same again, under a newer checkpoint: what is there is as good.
    office.seal("m:2").ok();
    office.publish();
    assert_eq!(proofs(&office.copy(&["m:1"], "vault", "stick", &[])), (0, 1, 0));
    assert_eq!(proofs(&office.copy(&["m:1"], "vault", "stick", &BY_LOG)), (0, 1, 0));
    fs::rename(office.0.path("vault"), office.0.path("out-of-reach")).expect("moved");
    office.demand_in("stick", "m:1", &BY_LOG).ok();
    for (to, more) in
        [("inside", &[][..]), ("deep-inside", &["--log-key", "log.pub", "--require-log", "--state", "reader"])]
    {
        let from = if to == "inside" { "stick" } else { "inside" };
        assert_eq!(proofs(&office.copy(&["m:1"], from, to, more)), (1, 0, 0), "{to}");
        office.demand_in(to, "m:1", &BY_LOG).ok();
        let open = ["open", "m:1", &format!("out-{to}"), "--identity", "alice.key", "--signer", "signer.pub"];
        office.run(&[&["--vault", to], &open[..], &BY_LOG, &["--require-log", "--state", "reader"]].concat()).ok();
        // Neither a check nor a collection minds them.
        office.run(&["--vault", to, "fsck"]).ok();
        office.run(&["--vault", to, "gc", "--grace", "0s"]).ok();
        assert_eq!(office.proofs(to).len(), 1);
    }
    let stranger = office.demand_in("stick", "m:1", &["--log-key", "stranger.pub"]);
    let why = Office::refused(stranger, 4, "authenticity");
    assert!(why.contains("none of the proofs beside it"), "{why}");
}

#[test]
fn what_is_not_logged_is_copied_and_said_and_refused_on_request() {
    let office = Office::new();
    let demand = ["--log-key", "log.pub", "--state", "state", "--require-log"];
    let not_yet = |to: &str| {
        assert_eq!(proofs(&office.copy(&["m:1"], "vault", to, &[])), (0, 0, 1));
        Office::refused(office.demand_in(to, "m:1", &BY_LOG), 4, "authenticity");
        Office::refused(office.copy(&["m:1"], "vault", "strict", &demand), 4, "authenticity");
        assert!(!office.0.path("strict/models").exists(), "refused before anything was written");
    };
    not_yet("before-it-has-an-entry");
    office.run(&["log", "append"]).ok();
    not_yet("before-it-is-signed");
    Office::refused(office.copy(&["m:1"], "vault", "strict", &["--require-log"]), 2, "usage");
    office.publish();
    office.seal("m:2").ok();
    // What is proven is copied, and the rest is named.
    let copied = office.copy(&["--all"], "vault", "strict", &demand).exits(4).json();
    assert_eq!((copied["versions"].as_u64(), copied["failed"][0]["name"].as_str()), (Some(1), Some("m:2")));
    assert_eq!(copied["log_proofs"]["copied"], 1);
    office.publish();
    assert_eq!(proofs(&office.copy(&["--all"], "vault", "strict", &demand)), (1, 1, 0));
    for version in ["m:1", "m:2"] {
        office.demand_in("strict", version, &BY_LOG).ok();
    }
}

#[test]
fn proofs_that_were_exchanged_forged_or_cut_off_open_nothing() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.seal("m:2").ok();
    office.publish();
    assert_eq!(proofs(&office.copy(&["--all"], "vault", "stick", &[])), (2, 0, 0));
    let paths = office.proofs("stick");
    let honest: Vec<_> = paths.iter().map(|path| fs::read(path).expect("read")).collect();
    let put = |first: &[u8], second: &[u8]| {
        fs::write(&paths[0], first).expect("written");
        fs::write(&paths[1], second).expect("written");
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    for (what, first, second) in [
        ("exchanged", honest[1].clone(), honest[0].clone()),
        ("cut off", half(&honest[0]), half(&honest[1])),
        ("empty", Vec::new(), Vec::new()),
    ] {
        put(&first, &second);
        for version in ["m:1", "m:2"] {
            let why = Office::refused(office.demand_in("stick", version, &BY_LOG), 4, "authenticity");
            assert!(why.contains("none of the proofs beside it"), "{what}: {why}");
        }
        // Such a copy hands on none of them.
        assert_eq!(proofs(&office.copy(&["m:1"], "stick", what, &[])), (0, 0, 1));
    }
    // Junk that claims more stands in the way of none.
    put(&honest[0], &honest[1]);
    let folder = paths[0].parent().expect("a folder");
    for number in 0..120 {
        fs::write(folder.join(format!("{}.{}", 1000 + number, "ab".repeat(32))), b"junk").expect("written");
    }
    for version in ["m:1", "m:2"] {
        office.demand_in("stick", version, &BY_LOG).ok();
    }
}

#[test]
fn a_channel_travels_with_the_proofs_of_its_version_and_its_promotions() {
    let office = Office(vault_tests::Workspace::with_examples());
    let trusting = |args: &[&str]| {
        let trust = ["--trust", "root.json", "--state", "state"];
        office.run(&[&["--allow-example-keys"], args, &trust].concat())
    };
    office.run(&["init", "vault"]).ok();
    office.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    office.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
    office.run(&["log", "init"]).ok();
    office.0.write("model/weights.bin", b"weights");
    trusting(&["seal", "model", "m:1", "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
    let promote = |by: &str| {
        let line = ["promote", "m:1", "--channel", "staging", "--reason", "because", "--key", by];
        assert_eq!(trusting(&line).ok().json()["published"], true);
    };
    promote("alice.key");
    office.publish();
    promote("bob.key");
    let copy = |to: &str, more: &[&str]| {
        trusting(&[&["copy", "m@staging", "--from", "vault", "--to", to, "--init"], more].concat())
    };
    let demanded = ["--require-log", "--log-key", "log.pub"];
    // The newest promotion is not covered yet: that alone is what a reader asks for.
    Office::refused(copy("strict", &demanded), 4, "authenticity");
    assert_eq!(proofs(&copy("early", &[])), (2, 0, 1));
    let demand = |vault: &str| {
        let line = ["--vault", vault, "verify", "m@staging", "--require-log", "--log-key", "log.pub"];
        trusting(&line)
    };
    Office::refused(demand("early"), 4, "authenticity");
    office.publish();
    assert_eq!(proofs(&copy("strict", &demanded)), (3, 0, 0));
    assert_eq!(proofs(&copy("early", &[])), (1, 2, 0));
    fs::rename(office.0.path("vault"), office.0.path("out-of-reach")).expect("moved");
    for vault in ["strict", "early"] {
        demand(vault).ok();
    }
}
