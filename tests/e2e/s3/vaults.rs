//! Everything a vault does, in buckets of several kinds.

use serde_json::json;
use vault_tests::{
    Workspace, noise,
    servers::{Moto, Rclone, Seaweed},
};

use crate::{Desk, refused, within};

/// From sealing to the check of all bytes.
fn seal_and_open(desk: &Desk) {
    desk.work.write("model/a.safetensors", &noise(9_000_000));
    desk.work.write("model/b/config.json", b"{}");
    desk.seal("model", "m:1").ok();
    desk.verify("m:1").ok();
    desk.open("m:1", "out").ok();
    assert_eq!(vault_tests::tree(&desk.work.path("out")), vault_tests::tree(&desk.work.path("model")));
    refused(desk.seal("model", "m:1"), 7, "conflict");
    refused(desk.open("m:2", "none"), 8, "not-found");

    let open_as_bob = ["open", "m:1", "bob", "--identity", "bob.key", "--signer", "signer.pub"];
    refused(desk.run(&open_as_bob), 6, "no-key");
    desk.run(&["share", "m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", "signer.key"]).ok();
    desk.run(&open_as_bob).ok();
    desk.seal("model/b", "n/deep:2.0").ok();
    assert_eq!(desk.run(&["ls"]).ok().json()["versions"].as_array().map(Vec::len), Some(2));
    let report = desk.run(&["fsck"]).ok().json();
    assert_eq!((&report["versions"], &report["damage"], &report["foreign"]), (&json!(2), &json!([]), &json!([])));
}

/// A channel moves and comes back, and everybody can read how.
fn promote(desk: &Desk) {
    let run = |args: &[&str]| {
        let more = ["--allow-example-keys", "--trust", "root.json", "--state", "state"];
        desk.run(&[&more[..1], args, &more[1..]].concat())
    };
    desk.run(&["init"]).ok();
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
    let log = run(&["channel", "log", "m@production"]).ok().json();
    assert_eq!(log["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.run(&["fsck"]).ok().json()["foreign"], json!([]));
}

#[test]
fn a_vault_in_seaweed_seals_opens_shares_and_checks() {
    within(90, || {
        let Some(server) = Seaweed::shared() else { return };
        seal_and_open(&Desk::new(server.client()));
    });
}

#[test]
fn a_vault_in_moto_seals_opens_shares_and_checks() {
    within(90, || {
        let Some(server) = Moto::shared() else { return };
        seal_and_open(&Desk::new(server.client()));
    });
}

#[test]
fn channels_move_in_both() {
    within(120, || {
        let (Some(seaweed), Some(moto)) = (Seaweed::shared(), Moto::shared()) else { return };
        for client in [seaweed.client(), moto.client()] {
            let desk = Desk::on(Workspace::with_examples(), client);
            client.make_bucket(&desk.bucket);
            promote(&desk);
        }
    });
}

#[test]
fn buckets_that_keep_versions_or_lock_objects_hold_vaults() {
    within(120, || {
        let Some(server) = Seaweed::shared() else { return };
        let client = server.client();
        for locked in [false, true] {
            let desk = Desk::on(Workspace::new(), client);
            if locked {
                client.make_locked_bucket(&desk.bucket);
            } else {
                client.make_bucket(&desk.bucket);
                client.keep_versions(&desk.bucket);
            }
            desk.run(&["init"]).ok();
            seal_and_open(&desk);
        }
    });
}

#[test]
fn a_server_that_lets_every_creator_win_is_refused_before_it_holds_anything() {
    within(60, || {
        let Some(server) = Rclone::start() else { return };
        let desk = Desk::on(Workspace::empty(), server.client());
        desk.client.make_bucket(&desk.bucket);
        let message = refused(desk.run(&["init"]), 1, "operational");
        assert!(message.contains("If-None-Match") && message.contains("rclone serve s3"), "{message}");
    });
}

#[test]
fn what_is_missing_or_forbidden_is_said() {
    within(90, || {
        let (Some(seaweed), Some(moto)) = (Seaweed::shared(), Moto::shared()) else { return };
        for client in [seaweed.client(), moto.client()] {
            let nowhere = Desk::on(Workspace::empty(), client);
            let message = nowhere.run(&["init"]).exits(8).error().expect("refused").message;
            assert!(message.contains("bucket"), "{message}");
            client.make_bucket(&nowhere.bucket);
            refused(nowhere.run(&["ls"]), 8, "not-found");
            let mut stranger = nowhere;
            stranger.by(&vault_tests::s3::Client { secret_key: "wrong".into(), ..client.clone() });
            let message = stranger.run(&["ls"]).exits(1).error().expect("refused").message;
            assert!(message.contains("403") || message.contains("Forbidden"), "{message}");
            assert!(!message.contains("wrong"), "{message}");
        }
    });
}
