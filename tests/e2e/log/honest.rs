use std::fs;

use serde_json::{Value, json};

use crate::{Office, actions, text};

#[test]
fn a_log_from_its_start_to_a_proof_that_is_checked_elsewhere() {
    let office = Office::new();
    // What was there before has no entry.
    let missing = office.run(&["log", "append", "--dry-run"]).ok().json();
    let paths: Vec<_> = missing["missing"].as_array().expect("a list").iter().map(|one| text(&one["path"])).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(paths.contains(&"models/m/versions/1.dsse.json".to_owned()));
    assert_eq!(office.run(&["log", "append"]).ok().json()["appended"].as_array().expect("a list").len(), 3);
    assert_eq!(office.run(&["log", "append"]).ok().json()["appended"], json!([]));

    // What comes later is logged by the commands themselves.
    office.seal("m:2").ok();
    office
        .run(&[
            "share",
            "m:2",
            "--to",
            "bob.pub",
            "--identity",
            "alice.key",
            "--sign-with",
            "signer.key",
            "--signer",
            "signer.pub",
        ])
        .ok();
    let shown = office.run(&["log", "show"]).ok().json();
    assert_eq!((shown["size"].as_u64(), &shown["checked"]), (Some(7), &json!(false)));
    let mut later = actions(&shown).split_off(3);
    assert_eq!(later.pop().as_deref(), Some("share"));
    later.sort();
    assert_eq!(later, ["seal", "share", "sign"]);

    let published = office.publish();
    assert_eq!(
        (published["size"].as_u64(), &published["new"], published["added"].as_u64()),
        (Some(7), &json!(true), Some(7))
    );
    assert_eq!(office.publish()["new"], false);
    let shown = office.believing(&["log", "show", "--model", "m", "--action", "seal"]).ok().json();
    assert_eq!(shown["checked"], true);
    let versions: Vec<_> =
        shown["entries"].as_array().expect("a list").iter().map(|one| text(&one["version"])).collect();
    assert_eq!(versions, ["1", "2"]);
    assert!(shown["entries"].as_array().expect("a list").iter().all(|one| one["signed"] == true));

    let verified = office.believing(&["log", "verify", "--complete"]).ok().json();
    assert_eq!(
        (&verified["verified"], verified["entries"].as_u64(), &verified["missing"]),
        (&json!(true), Some(7), &json!([]))
    );
    office.demand("m:1", &[]).ok();

    // The proof is enough where there is no log.
    let proven = office.believing(&["log", "prove", "m:2", "--output", "m2.tlog-proof"]).ok().json();
    assert_eq!(proven["size"].as_u64(), Some(7));
    assert!(office.0.read("m2.tlog-proof").starts_with(b"c2sp.org/tlog-proof@v1\nextra "));
    office.0.copy("vault", "copy");
    fs::remove_dir_all(office.0.path("copy/log")).expect("no log");
    let open = |reference: &str, more: &[&str]| {
        let line = [
            "--vault",
            "copy",
            "open",
            reference,
            "out",
            "--identity",
            "alice.key",
            "--signer",
            "signer.pub",
            "--require-log",
            "--log-key",
            "log.pub",
            "--state",
            "other",
        ];
        office.run(&[&line[..], more].concat())
    };
    Office::refused(open("m:2", &[]), 4, "authenticity");
    Office::refused(open("m:1", &["--log-proof", "m2.tlog-proof"]), 4, "authenticity");
    open("m:2", &["--log-proof", "m2.tlog-proof"]).ok();
    assert_eq!(office.0.read("out/weights.bin"), b"weights");
    // The verifier key names the log and its key at once.
    let vkey = text(&published["key"]);
    let line = [
        "--vault",
        "copy",
        "verify",
        "m:2",
        "--signer",
        "signer.pub",
        "--require-log",
        "--log-proof",
        "m2.tlog-proof",
        "--state",
        "third",
        "--log-key",
    ];
    office.run(&[&line[..], &[&vkey]].concat()).ok();
}

#[test]
fn lines_for_other_programs_and_a_monitor_tell_every_entry_once() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    let lines = |output: Vec<u8>| -> Vec<Value> {
        let text = String::from_utf8(output).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    };
    let shown = lines(office.believing(&["log", "show", "--lines"]).ok().stdout);
    assert_eq!(shown.iter().map(|line| line["index"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(lines(office.believing(&["log", "show", "--lines", "--from", "2"]).ok().stdout).len(), 1);
    let monitor = |more: &[&str]| {
        let line = ["log", "monitor", "--once", "--log-key", "log.pub", "--state", "monitor"];
        lines(office.run(&[&line[..], more].concat()).ok().stdout)
    };
    assert_eq!(monitor(&[]).len(), 3);
    assert!(monitor(&[]).is_empty());
    office.seal("m:2").ok();
    assert!(monitor(&[]).is_empty(), "not signed yet");
    office.publish();
    let told = monitor(&["--action", "seal"]);
    assert_eq!((told.len(), &told[0]["version"]), (1, &json!("2")));
}

#[test]
fn a_vault_without_a_log_is_as_it_was_and_a_log_is_started_once() {
    let office = Office(vault_tests::Workspace::new());
    office.0.write("model/weights.bin", b"weights");
    office.seal("m:1").ok();
    assert!(!office.0.path("vault/log").exists());
    for line in [["log", "show"], ["log", "append"]] {
        Office::refused(office.run(&line), 8, "not-found");
    }
    office.run(&["log", "init"]).ok();
    Office::refused(office.run(&["log", "init"]), 7, "conflict");
    Office::refused(office.run(&["log", "init", "--origin", "a b"]), 2, "usage");
    Office::refused(office.run(&["log", "verify"]), 2, "usage");
    // Collections and checks of the vault leave the log alone.
    office.run(&["log", "append"]).ok();
    office.run(&["fsck"]).ok();
    office.run(&["gc", "--grace", "0s"]).ok();
    assert_eq!(office.run(&["log", "show"]).ok().json()["size"].as_u64(), Some(3));
}

#[test]
fn a_channel_is_opened_if_version_and_promotion_stand_in_the_log() {
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
    let promoted = trusting(&["promote", "m:1", "--channel", "staging", "--reason", "because", "--key", "alice.key"]);
    assert_eq!(promoted.ok().json()["published"], true);
    let shown = office.run(&["log", "show"]).ok().json();
    assert!(actions(&shown).iter().any(|action| action == "promote"), "{shown}");
    office.publish();

    let demand = |more: &[&str]| {
        let line = ["verify", "m@staging", "--require-log", "--log-key", "log.pub"];
        trusting(&[&line[..], more].concat())
    };
    demand(&[]).ok();
    let promotion = "models/m/channels/staging/1.dsse.json";
    for (record, file) in [("m:1", "version.tlog-proof"), (promotion, "promotion.tlog-proof")] {
        office.believing(&["log", "prove", record, "--output", file]).ok();
    }
    Office::refused(demand(&["--log-proof", "version.tlog-proof"]), 4, "authenticity");
    Office::refused(demand(&["--log-proof", "promotion.tlog-proof"]), 4, "authenticity");
    demand(&["--log-proof", "version.tlog-proof", "--log-proof", "promotion.tlog-proof"]).ok();
    // Under a trust root without keys of the role `log`, nobody signs for a log.
    Office::refused(trusting(&["verify", "m@staging", "--require-log"]), 4, "authenticity");
    // A promotion that is not logged yet is not opened.
    let again = trusting(&["promote", "m:1", "--channel", "staging", "--reason", "again", "--key", "bob.key"]);
    assert_eq!(again.ok().json()["published"], true);
    Office::refused(demand(&[]), 4, "authenticity");
    office.publish();
    demand(&[]).ok();
}
