//! Everything that is done to a vault, through a registry.

use serde_json::json;
use vault_tests::{Workspace, noise, servers::Registry, tree};

use crate::{Desk, refused};

#[test]
fn a_vault_behind_a_registry_seals_opens_shares_copies_and_checks() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model/a.safetensors", &noise(9_000_000));
    desk.work.write("model/b/config.json", b"{}");
    desk.seal("model", "m:1").ok();
    desk.verify("m:1").ok();
    desk.open("m:1", "out").ok();
    assert_eq!(tree(&desk.work.path("out")), tree(&desk.work.path("model")));
    refused(desk.seal("model", "m:1"), 7, "conflict");
    refused(desk.open("m:2", "none"), 8, "not-found");

    let open_as_bob = ["open", "m:1", "bob", "--identity", "bob.key", "--signer", "signer.pub"];
    refused(desk.run(&open_as_bob), 6, "no-key");
    desk.run(&["share", "m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", "signer.key"]).ok();
    desk.run(&open_as_bob).ok();
    desk.seal("model/b", "n/deep:2.0").ok();
    assert_eq!(desk.run(&["ls"]).ok().json()["versions"].as_array().map(Vec::len), Some(2));
    desk.run(&["inspect", "m:1", "--signer", "signer.pub"]).ok();
    let report = desk.run(&["fsck"]).ok().json();
    assert_eq!((&report["versions"], &report["damage"], &report["foreign"]), (&json!(2), &json!([]), &json!([])));

    // Out of the registry, and back under another name of the same contents.
    desk.run(&["copy", "m:1", "--from", &desk.url, "--to", "copy", "--init", "--signer", "signer.pub"]).ok();
    desk.run(&["--vault", "copy", "verify", "m:1", "--signer", "signer.pub"]).ok();
    desk.work.write("more", &noise(3_000_000));
    desk.run(&["--vault", "copy", "seal", "more", "o:1", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    desk.run(&["copy", "o:1", "--from", "copy", "--to", &desk.url, "--signer", "signer.pub"]).ok();
    desk.open("o:1", "back").ok();
    assert_eq!(desk.work.read("back/more"), noise(3_000_000));
    // The vault is a vault like any other.
    let beside = registry.folder().join("vault").display().to_string();
    desk.run(&["--vault", &beside, "verify", "o:1", "--signer", "signer.pub"]).ok();
    assert_eq!(desk.run(&["--vault", &beside, "fsck"]).ok().json()["foreign"], json!([]));
}

#[test]
fn a_channel_moves_through_a_registry() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::with_examples(), &registry);
    let run = |args: &[&str]| {
        let more = ["--allow-example-keys", "--trust", "root.json", "--state", "state"];
        desk.run(&[&more[..1], args, &more[1..]].concat())
    };
    desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    for version in ["m:1", "m:2"] {
        desk.work.write("weights", version.as_bytes());
        run(&["seal", "weights", version, "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
    }
    for version in ["m:1", "m:2"] {
        let asked = ["promote", version, "--channel", "production", "--reason", "good", "--key", "trainer.key"];
        let proposal = run(&asked).ok().json()["proposal"].as_str().expect("a proposal").to_owned();
        run(&["approve", &proposal, "--key", "alice.key"]).ok();
        assert_eq!(run(&["approve", &proposal, "--key", "bob.key"]).ok().json()["published"], true);
    }
    run(&["freshness", "sign", "m@production", "--key", "clock.key"]).ok();
    run(&["open", "m@production", "out", "--identity", "node.key"]).ok();
    assert_eq!(desk.work.read("out/weights"), b"m:2");
    let back = run(&["rollback", "m@production", "--reason", "loops", "--key", "trainer.key"]).ok().json();
    for by in ["alice.key", "bob.key"] {
        run(&["approve", back["proposal"].as_str().expect("a proposal"), "--key", by]).ok();
    }
    let log = run(&["channel", "log", "m@production"]).ok().json();
    assert_eq!(log["history"].as_array().map(Vec::len), Some(3));
    run(&["revoke", "m:2", "--reason", "leaks", "--key", "alice.key"]).ok();
    refused(run(&["open", "m:2", "none", "--identity", "node.key"]), 4, "authenticity");
    assert_eq!(desk.run(&["fsck"]).ok().json()["foreign"], json!([]));
}

#[test]
fn who_is_not_known_or_may_not_is_told_so() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", b"weights");
    desk.seal("weights", "team/a:1").ok();
    desk.seal("weights", "other:1").ok();

    desk.ask_as("reader", &registry.key("reader", &["read"], "team/*", "*"));
    desk.open("team/a:1", "out").ok();
    let message = refused(desk.seal("weights", "team/a:2"), 9, "denied");
    assert!(message.contains("this takes the permission seal"), "{message}");
    // Whether something is there is not for those who may not see it.
    let (there, absent) = (desk.open("other:1", "none"), desk.open("other:7", "none"));
    let (there, absent) = (refused(there, 9, "denied"), refused(absent, 9, "denied"));
    assert_eq!(there.replace("other/versions/1", ""), absent.replace("other/versions/7", ""));
    let listed = desk.run(&["ls"]).ok().json();
    assert_eq!(listed["versions"].as_array().map(Vec::len), Some(1));

    desk.ask_as("sealer", &registry.key("sealer", &["seal"], "team/*", "*"));
    desk.seal("weights", "team/a:3").ok();
    refused(desk.seal("weights", "other:3"), 9, "denied");

    for key in ["mvk_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "nonsense"] {
        desk.ask_as("nobody", key);
        let message = refused(desk.run(&["ls"]), 9, "denied");
        assert!(message.contains("who asks is not known"), "{message}");
    }
    desk.certificate = "signer.pub".into();
    refused(desk.run(&["ls"]), 2, "usage");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_at_once() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::empty(), &registry);
    let mut command = desk.command(&["ls"]);
    command.env_remove("MVAULT_CA");
    let start = std::time::Instant::now();
    let message = refused(vault_tests::Output::of(&mut command, b""), 1, "operational");
    assert!(message.contains("certificate"), "{message}");
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn login_keeps_a_key_for_this_user_and_logout_forgets_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let registry = Registry::start();
    let desk = Desk::new(Workspace::empty(), &registry);
    let without = |args: &[&str], input: &[u8]| {
        let mut command = desk.command(args);
        command.env_remove("MVAULT_TOKEN_FILE");
        vault_tests::Output::of(&mut command, input)
    };
    refused(without(&["whoami"], b""), 9, "denied");
    refused(without(&["login", &desk.url, "--token-file", "-"], b"mvk_wrong\n"), 9, "denied");
    refused(without(&["whoami"], b""), 9, "denied");
    let line = format!("{}\n", registry.admin);
    let who = without(&["login", &desk.url, "--token-file", "-"], line.as_bytes()).ok().json();
    assert_eq!(who["name"], "first administrator");
    assert_eq!(without(&["whoami"], b"").ok().json()["id"], who["id"]);
    let kept = desk.work.files("home/mvault/registries");
    assert_eq!(kept.len(), 1);
    let mode =
        std::fs::metadata(desk.work.path("home/mvault/registries").join(&kept[0])).expect("kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    without(&["logout", &desk.url], b"").ok();
    refused(without(&["whoami"], b""), 9, "denied");
    assert_eq!(without(&["logout", &desk.url], b"").ok().json()["forgotten"], false);
}
