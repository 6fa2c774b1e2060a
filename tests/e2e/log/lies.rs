use std::fs;

use crate::Office;

#[test]
fn what_does_not_stand_in_the_log_is_not_opened() {
    let office = Office::new();
    Office::refused(office.demand("m:1", &[]), 4, "authenticity");
    office.run(&["log", "append"]).ok();
    let never = Office::refused(office.demand("m:1", &[]), 4, "authenticity");
    assert!(never.contains("never signed"), "{never}");
    office.publish();
    office.demand("m:1", &[]).ok();
    // Not covered by a checkpoint yet.
    office.seal("m:2").ok();
    Office::refused(office.demand("m:2", &[]), 4, "authenticity");
    office.publish();
    office.demand("m:2", &[]).ok();
    // Another key of the log, none at all, a digest, all versions.
    let by = |key: &[&str]| {
        office.run(&[&["verify", "m:1", "--signer", "signer.pub", "--require-log", "--state", "s2"], key].concat())
    };
    Office::refused(by(&["--log-key", "stranger.pub"]), 4, "authenticity");
    Office::refused(by(&[]), 2, "usage");
    Office::refused(by(&["--log-key", "alice.pub"]), 2, "usage");
    let without = office.run(&["verify", "m:1", "--signer", "signer.pub", "--log-key", "log.pub"]);
    Office::refused(without, 2, "usage");
    let all = office.believing(&["verify", "--all", "--signer", "signer.pub", "--require-log"]);
    Office::refused(all, 2, "usage");
    // The record is changed where it stands: by somebody who is believed, even.
    office.run(&["log", "prove", "m:1", "--output", "m1.proof", "--log-key", "log.pub", "--stateless"]).ok();
    fs::remove_file(office.0.path("vault/models/m/versions/1.dsse.json")).expect("removed");
    fs::remove_file(office.0.path("vault/log/genesis.json")).expect("hidden");
    office.seal("m:1").ok();
    Office::refused(office.demand("m:1", &["--log-proof", "m1.proof"]), 4, "authenticity");
}

#[test]
fn a_log_that_goes_back_or_was_rewritten_is_refused() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    office.0.copy("vault", "old");
    office.seal("m:2").ok();
    office.publish();
    office.demand("m:1", &[]).ok();
    // The log key is known by where the log was, too: it signs no second history anywhere.
    let in_old = |args: &[&str]| office.believing(&[&["--vault", "old"], args].concat());
    Office::refused(in_old(&["log", "publish", "--key", "log.key"]), 5, "stale");
    // Somebody puts the old state back, and calls it another vault.
    fs::rename(office.0.path("vault"), office.0.path("new")).expect("moved");
    fs::rename(office.0.path("old"), office.0.path("vault")).expect("put back");
    let document = String::from_utf8(office.0.read("vault/vault.json")).expect("UTF-8");
    let digit = document.rfind(|c: char| c.is_ascii_digit()).expect("an id");
    let other =
        format!("{}{}{}", &document[..digit], (document.as_bytes()[digit] - b'0' + 1) % 10, &document[digit + 1..]);
    let vault = |args: &[&str]| office.believing(args);
    for renamed in [&document, &other] {
        fs::write(office.0.path("vault/vault.json"), renamed).expect("renamed");
        for key in [&[][..], &["--log-key", "stranger.pub"]] {
            Office::refused(
                vault(&[&["verify", "m:1", "--signer", "signer.pub", "--require-log"], key].concat()),
                5,
                "stale",
            );
        }
        Office::refused(vault(&["log", "verify"]), 5, "stale");
        Office::refused(vault(&["log", "monitor", "--once"]), 5, "stale");
    }
    // Another future of the old log, signed by its own key.
    office.run(&["seal", "model", "m:9", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    let why = Office::refused(vault(&["log", "publish", "--key", "log.key"]), 4, "authenticity");
    assert!(why.contains("a fork"), "{why}");
    office.run(&["log", "publish", "--key", "log.key", "--stateless"]).ok();
    for args in [
        &["log", "verify"][..],
        &["log", "monitor", "--once"],
        &["log", "show"],
        &["log", "publish", "--key", "log.key"],
    ] {
        let why = Office::refused(vault(args), 4, "authenticity");
        assert!(why.contains("a fork"), "{why}");
    }
}

#[test]
fn the_log_of_another_vault_with_the_same_key_is_not_taken_for_this_one() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    office.run(&["init", "other"]).ok();
    office.run(&["--vault", "other", "log", "init", "--origin", "example.com/other"]).ok();
    office.run(&["--vault", "other", "seal", "model", "m:8", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    office.run(&["--vault", "other", "log", "publish", "--key", "log.key", "--state", "state"]).ok();
    office.demand("m:1", &["--log-origin", "example.com/log"]).ok();
    fs::remove_dir_all(office.0.path("vault/log")).expect("taken away");
    vault_tests::copy(&office.0.path("other/log"), &office.0.path("vault/log"));
    // Whoever saw the log before notices by its name, and whoever did not can say which it must be.
    let fresh = ["log", "verify", "--log-key", "log.pub", "--state", "fresh"];
    let why = Office::refused(office.believing(&["log", "verify"]), 4, "authenticity");
    assert!(why.contains("another log"), "{why}");
    for line in
        [&["log", "verify"][..], &["log", "show"], &["verify", "m:1", "--signer", "signer.pub", "--require-log"]]
    {
        let believing = ["--log-key", "log.pub", "--state", "fresh", "--log-origin", "example.com/log"];
        let why = Office::refused(office.run(&[line, &believing].concat()), 4, "authenticity");
        assert!(why.contains("not the log that was asked for"), "{why}");
    }
    office.run(&fresh).ok();
}

#[test]
fn damage_is_named_and_what_is_missing_fails_on_request() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    fs::write(office.0.path("vault/log/tile/entries/000.p/3"), "damaged").expect("written");
    let damaged = office.believing(&["log", "verify"]);
    let why = Office::refused(damaged.clone(), 3, "integrity");
    assert!(why.contains("1 tile"), "{why}");
    assert_eq!(damaged.json()["damaged"], serde_json::json!(["log/tile/entries/000.p/3"]));
    Office::refused(office.demand("m:1", &[]), 3, "integrity");
    fs::remove_file(office.0.path("vault/log/tile/entries/000.p/3")).expect("removed");
    // A record that appeared without a command.
    office.seal("m:2").ok();
    office.publish();
    let record = office.0.read("vault/models/m/versions/2.dsse.json");
    office.0.write("vault/models/m/versions/3.dsse.json", &record);
    office.believing(&["log", "verify"]).ok();
    let why = Office::refused(office.believing(&["log", "verify", "--complete"]), 4, "authenticity");
    assert!(why.contains("1 record"), "{why}");
}

#[test]
fn an_entry_that_cannot_be_added_is_said_and_added_later() {
    let office = Office::new();
    // Nothing can be created among the batches.
    fs::write(office.0.path("vault/log/batch"), "in the way").expect("written");
    let error = office.seal("m:2").exits(3).error().expect("an error in JSON");
    assert!(error.message.contains("not in its log"), "{}", error.message);
    office.run(&["verify", "m:2", "--signer", "signer.pub"]).ok();
    fs::remove_file(office.0.path("vault/log/batch")).expect("removed");
    assert_eq!(office.run(&["log", "append"]).ok().json()["appended"].as_array().expect("a list").len(), 6);
}

#[test]
fn a_log_that_nobody_signed_is_not_verified_and_what_is_not_signed_is_not_complete() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    let unsigned = office.believing(&["log", "verify"]);
    let why = Office::refused(unsigned.clone(), 4, "authenticity");
    assert!(why.contains("never signed"), "{why}");
    assert_eq!(unsigned.json()["verified"], false);
    office.publish();
    office.believing(&["log", "verify", "--complete"]).ok();
    office.seal("m:2").ok();
    let behind = office.believing(&["log", "verify"]).ok().json();
    assert_eq!((&behind["missing"], behind["unsigned"].as_array().map(Vec::len)), (&serde_json::json!([]), Some(3)));
    let why = Office::refused(office.believing(&["log", "verify", "--complete"]), 4, "authenticity");
    assert!(why.contains("not signed yet"), "{why}");
    office.publish();
    office.believing(&["log", "verify", "--complete"]).ok();
}

#[test]
fn a_proof_from_a_fork_is_refused_by_whoever_saw_the_log() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.0.copy("vault", "fork");
    let in_fork = |args: &[&str]| office.run(&[&["--vault", "fork"], args].concat()).ok();
    in_fork(&["seal", "model", "m:7", "--to", "alice.pub", "--sign-with", "signer.key"]);
    in_fork(&["log", "publish", "--key", "log.key", "--stateless"]);
    in_fork(&["log", "prove", "m:1", "--output", "fork.tlog-proof", "--log-key", "log.pub", "--stateless"]);
    office.publish();
    office.believing(&["log", "prove", "m:1", "--output", "old.tlog-proof"]).ok();
    for version in ["m:2", "m:3"] {
        office.seal(version).ok();
        office.publish();
        office.demand("m:1", &[]).ok();
        office.demand("m:1", &["--log-proof", "old.tlog-proof"]).ok();
        let why = Office::refused(office.demand("m:1", &["--log-proof", "fork.tlog-proof"]), 4, "authenticity");
        assert!(why.contains("a fork"), "{why}");
    }
    // Without a log to ask, it is said.
    fs::remove_dir_all(office.0.path("vault/log")).expect("hidden");
    let line = ["verify", "m:1", "--signer", "signer.pub", "--require-log", "--log-proof", "old.tlog-proof"];
    let said = office.warnings(&[&line[..], &["--log-key", "log.pub", "--state", "state"]].concat());
    assert!(said.contains("could not be compared"), "{said}");
}

#[test]
fn what_is_planted_where_a_log_begins_stops_no_seal() {
    let office = Office(vault_tests::Workspace::new());
    office.0.write("model/weights.bin", b"weights");
    office.seal("m:1").ok();
    fs::create_dir(office.0.path("vault/log")).expect("a folder");
    office.0.write("vault/log/genesis.json", b"junk");
    let said = office.warnings(&["seal", "model", "m:2", "--to", "alice.pub", "--sign-with", "signer.key"]);
    assert!(said.contains("log/genesis.json"), "{said}");
    let refusal = office.run(&["log", "init"]).exits(3).error().expect("an error in JSON");
    assert!(refusal.message.contains("log/genesis.json"), "{}", refusal.message);
    fs::remove_file(office.0.path("vault/log/genesis.json")).expect("removed");
    office.run(&["log", "init"]).ok();
}

#[test]
fn a_log_gets_another_key_and_its_tiles_are_mended() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    office.publish();
    office.seal("m:2").ok();
    office.run(&["key", "generate", "--kind", "signing", "-o", "new-log", "--no-passphrase"]).ok();
    let publish =
        |more: &[&str]| office.run(&[&["log", "publish", "--key", "new-log.key", "--state", "state"], more].concat());
    assert_eq!(publish(&["--log-key", "log.pub"]).ok().json()["added"], 3);
    // The old key is not believed any more.
    office.seal("m:3").ok();
    let by_new = ["--log-key", "new-log.pub", "--state", "state"];
    assert_eq!(publish(&[]).ok().json()["size"], 9);
    office.run(&[&["log", "verify", "--complete"][..], &by_new].concat()).ok();
    fs::remove_dir_all(office.0.path("vault/log/tile")).expect("removed");
    Office::refused(office.run(&[&["log", "verify"][..], &by_new].concat()), 3, "integrity");
    assert_eq!(publish(&["--repair"]).ok().json()["mended"], 2);
    office.run(&[&["log", "verify"][..], &by_new].concat()).ok();
}
