//! The example keeper does what a key file does.

use std::time::Instant;

use vault_tests::{Reference, Workspace, noise};

use crate::scripted;

/// `NAME.key` and `NAME.pub` for the key in `FROM.key`, kept by the example program.
fn keep(desk: &Workspace, python: Reference, name: &str, from: &str, public: &[&str]) -> vault_tests::Output {
    let keeper = Reference::folder().join("../../examples/keeper.py").canonicalize().expect("the example");
    let [keeper, python] = [keeper.as_path(), python.python()].map(|path| path.to_str().expect("UTF-8"));
    let key = desk.path(format!("{from}.key").as_str());
    let command = ["--", python, keeper, key.to_str().expect("UTF-8")];
    desk.run(&[&["key", "external", "-o", name], public, &command].concat())
}

#[test]
fn a_keeper_signs_and_unwraps_and_the_vault_is_as_if_from_files() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    let made = keep(&desk, python, "kept", "signer", &[]).ok().json();
    assert_eq!((made["kind"].as_str(), made["private"].as_str()), (Some("signing"), Some("kept.key")));
    assert_eq!(desk.read("kept.pub"), desk.read("signer.pub"));
    let shown = desk.run(&["key", "show", "kept.key"]).ok().json();
    assert_eq!((shown["key_id"].clone(), shown["private"].as_bool()), (made["key_id"].clone(), Some(false)));
    assert_eq!(shown["keeper"].as_str(), python.python().to_str());

    for (name, from) in [("kept-alice", "alice"), ("kept-bob", "bob")] {
        keep(&desk, python, name, from, &["--public", &format!("{from}.pub")]).ok();
    }
    let weights = noise(3 << 20);
    desk.write("model/weights.bin", &weights);
    let to = ["--to", "alice.pub", "--to", "bob.pub"];
    desk.run(&[&["seal", "model", "m:1", "--sign-with", "kept.key"], &to[..]].concat()).ok();
    desk.run(&["verify", "m:1", "--signer", "signer.pub"]).ok();
    for identity in ["kept-alice.key", "kept-bob.key", "alice.key"] {
        let opened = desk.run(&["open", "m:1", "-", "--identity", identity, "--signer", "kept.pub"]).ok();
        assert!(opened.stdout == weights, "{identity}");
    }

    let share = ["share", "m:1", "--to", "eve.pub", "--identity", "kept-bob.key", "--sign-with", "kept.key"];
    desk.run(&share).ok();
    desk.run(&["open", "m:1", "opened", "--identity", "eve.key", "--signer", "signer.pub"]).ok();
}

#[test]
fn refusals_of_a_keeper_have_their_exit_codes() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    let seal = |key: &str| desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", key]);

    // The program keeps another key than the file says.
    keep(&desk, python, "other", "signer", &["--public", "stranger.pub"]).ok();
    let error = seal("other.key").exits(8).error().expect("JSON");
    assert!(error.message.contains("another key is kept here"), "{}", error.message);
    // It keeps an identity, which signs nothing, and the file says so.
    keep(&desk, python, "identity", "alice", &[]).ok();
    let error = seal("identity.key").exits(2).error().expect("JSON");
    assert_eq!(error.message, "identity.key is a recipient key where a signing key is expected");
    // The key it kept is gone.
    keep(&desk, python, "gone", "signer", &[]).ok();
    std::fs::rename(desk.path("signer.key"), desk.path("moved.key")).expect("renamed");
    seal("gone.key").exits(8);
    assert!(keep(&desk, python, "never", "signer", &[]).exits(8).error().is_some());
    assert!(!desk.path("never.key").exists(), "nothing is made for a key that is not there");
    assert!(!desk.path("vault/models").exists(), "nothing was published");
}

#[test]
fn a_key_kept_elsewhere_is_named_once_and_exported_without_asking() {
    let desk = Workspace::new();
    scripted(&desk, "kept", "signer.pub", 5, "exit 1");
    let exported = desk.run(&["key", "export", "kept.key", "-o", "copy.pub"]).ok().json();
    assert_eq!(exported["public"].as_str(), Some("copy.pub"));
    assert_eq!(desk.read("copy.pub"), desk.read("signer.pub"));
    desk.run(&["key", "export", "kept.key", "-o", "copy.pub"]).exits(7);
    desk.run(&["key", "passwd", "kept.key", "--no-passphrase"]).exits(2);
    desk.run(&["key", "import", "kept.key", "-o", "new", "--no-passphrase"]).exits(2);
    desk.run(&["key", "external", "-o", "signer", "--public", "signer.pub", "--", "true"]).exits(7);
    desk.run(&["key", "external", "-o", "new", "--public", "signer.pub", "--", "bin/true"]).exits(2);
    desk.run(&["key", "external", "-o", "new", "--public", "signer.pub", "--timeout", "0", "--", "true"]).exits(2);
}

#[test]
fn another_key_opens_if_a_keeper_cannot() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    let to = ["--to", "alice.pub", "--to", "bob.pub"];
    desk.run(&[&["seal", "model", "m:1", "--sign-with", "signer.key"], &to[..]].concat()).ok();
    scripted(&desk, "broken", "alice.pub", 5, "exit 3");
    let start = Instant::now();
    let identities = ["--identity", "broken.key", "--identity", "bob.key"];
    desk.run(&[&["open", "m:1", "opened", "--signer", "signer.pub"], &identities[..]].concat()).ok();
    assert!(start.elapsed().as_secs() < 5);
    desk.run(&["open", "m:1", "again", "--signer", "signer.pub", "--identity", "broken.key"]).exits(1);
}
