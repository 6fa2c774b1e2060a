use std::fs;

use crate::{Office, text};

#[test]
fn what_the_store_does_to_a_channel_has_its_exit_code() {
    let office = Office::new();
    office.release("m:1");
    office.release("m:2");
    office.open("m@production").ok();
    let path = |path: &str| office.0.path(format!("vault/{path}"));
    let (hidden, second) = (office.0.path("hidden"), path("models/m/channels/production/2.dsse.json"));

    fs::rename(&second, &hidden).expect("hidden");
    let message = Office::refused(office.open("m@production"), 5, "stale");
    assert!(message.contains("seen before"), "{message}");
    // A node that remembers nothing is protected by the statement of freshness.
    let fresh = ["open", "m@production", "out", "--identity", "node.key", "--trust", "root.json", "--stateless"];
    assert!(Office::refused(office.run(&fresh), 5, "stale").contains("a newer one exists"));
    fs::rename(&hidden, &second).expect("shown");

    let first = path("models/m/channels/production/1.dsse.json");
    fs::rename(&first, &hidden).expect("hidden");
    Office::refused(office.run(&fresh), 3, "integrity");
    fs::rename(&hidden, &first).expect("shown");

    fs::rename(path("freshness"), &hidden).expect("hidden");
    Office::refused(office.open("m@production"), 5, "stale");
    fs::rename(&hidden, path("freshness")).expect("shown");

    let twin = fs::read(&first).expect("read");
    let kept = fs::read(&second).expect("read");
    fs::write(&second, &twin).expect("swapped");
    Office::refused(office.open("m@production"), 5, "stale");
    fs::write(&second, kept).expect("put back");

    office.trusting(&["promote", "m:3", "--channel", "staging", "--reason", "try", "--key", "carol.key"]).ok();
    fs::copy(path("models/m/channels/staging/1.dsse.json"), path("models/m/channels/production/3.dsse.json"))
        .expect("planted");
    office.open("m@production").ok();
    assert_eq!(office.opened(), "2".repeat(5000).as_bytes(), "what is staged is not released");
}

#[test]
fn who_may_not_is_told_so() {
    let office = Office::new();
    let promote = |version: &str, channel: &str, by: &str| {
        let key = format!("{by}.key");
        office.trusting(&["promote", version, "--channel", channel, "--reason", "because", "--key", &key])
    };
    Office::refused(promote("m:1", "production", "clock"), 4, "authenticity");
    Office::refused(promote("m:1", "nightly", "alice"), 4, "authenticity");
    Office::refused(promote("m:9", "production", "trainer"), 8, "not-found");
    let proposal = office.propose("m:1", "production", "trainer");
    for nobody in ["clock", "carol", "trainer"] {
        Office::refused(office.approve(&proposal, nobody), 4, "authenticity");
    }
    let other = ["approve", &proposal, "--key", "alice.key", "--expect", &format!("b3:{}", "0".repeat(64))];
    Office::refused(office.trusting(&other), 4, "authenticity");
    assert_eq!(office.trusting(&["approve"]).ok().json()["proposals"][0]["approvers"], serde_json::json!([]));
    Office::refused(office.approve(&format!("b3:{}", "0".repeat(64)), "alice"), 8, "not-found");
    Office::refused(office.approve("b3:1", "alice"), 2, "usage");
    Office::refused(office.trusting(&["approve", &proposal]), 4, "authenticity");
    Office::refused(promote("m:2", "production", "trainer"), 7, "conflict");
    office.approve(&proposal, "alice").ok();
    let other = office.propose("m:2", "production", "bob");
    Office::refused(office.approve(&other, "alice"), 7, "conflict");
    Office::refused(office.trusting(&["revoke", "m:1", "--reason", "x", "--key", "trainer.key"]), 4, "authenticity");
    Office::refused(office.trusting(&["freshness", "sign", "m@production", "--key", "clock.key"]), 8, "not-found");
    Office::refused(office.open("m@production"), 8, "not-found");
    let sealed = office.trusting(&["seal", "model", "m:4", "--to", "node.pub", "--sign-with", "alice.key"]);
    Office::refused(sealed, 4, "authenticity");
    let later = ["verify", "m:1", "--trust", "root.json", "--stateless", "--verify-time", "2046-01-01T00:00:00Z"];
    Office::refused(office.run(&later), 5, "stale");
}

#[test]
fn a_channel_that_cannot_be_stated_fresh_keeps_no_other_from_it() {
    let office = Office::new();
    office.release("m:1");
    office.trusting(&["promote", "m:3", "--channel", "staging", "--reason", "try", "--key", "carol.key"]).ok();
    let sign = |key: &str| {
        let channels = ["m@staging", "m@nowhere", "x@staging", "m@production"];
        office.trusting(&[&["freshness", "sign"], &channels[..], &["--key", key]].concat())
    };
    let signed = sign("clock.key");
    let message = Office::refused(signed.clone(), 4, "authenticity");
    assert!(message.starts_with("2 of 4 refused; the worst: m@nowhere: is governed by no rule"), "{message}");
    let object = signed.json();
    let channels = |list: &str| {
        let list = object[list].as_array().expect("a list").iter();
        list.map(|one| text(&one["channel"])).collect::<Vec<_>>()
    };
    assert_eq!(channels("stated"), ["m@staging", "m@production"]);
    assert_eq!(channels("refused"), ["m@nowhere", "x@staging"]);
    assert_eq!(object["refused"][1]["error"]["kind"], "not-found");
    let message = Office::refused(sign("alice.key"), 4, "authenticity");
    assert!(message.starts_with("4 of 4 refused; the worst: "), "{message}");
}

#[test]
fn command_lines_that_cannot_be_are_refused_before_anything_happens() {
    let office = Office::new();
    office.0.write("junk.json", b"{}");
    for args in [
        &["verify", "m:1", "--trust", "root.json", "--signer", "trainer.pub"][..],
        &["verify", "m@production", "--signer", "trainer.pub"],
        &["verify", "m:1", "--signer", "trainer.pub", "--stateless"],
        &["verify", "m:1", "--trust", "junk.json"],
        &["promote", "m:1", "--channel", "production", "--reason", "x", "--key", "trainer.key"],
        &["promote", "m:1", "--channel", "Production", "--reason", "x", "--key", "trainer.key", "--trust", "root.json"],
        &["trust", "init", "--root", "node.pub"],
        &["trust", "init", "--root", "alice.pub", "--threshold", "2"],
        &["trust", "sign", "junk.json", "--key", "alice.key", "-o", "x.json"],
        &["trust", "sign", "root.json", "--after", "root.json", "--key", "alice.key", "-o", "x.json"],
        &["trust", "sign", "root.json", "--key", "trainer.key", "-o", "x.json"],
    ] {
        Office::refused(office.run(args), 2, "usage");
    }
    Office::refused(office.run(&["verify", "m:1", "--trust", "absent.json"]), 8, "not-found");
    Office::refused(office.run(&["trust", "publish", "root.json", "--vault", "nowhere"]), 8, "not-found");
    // Made from a version and signed as if it were from nothing.
    office.run(&["trust", "edit", "root.json", "-o", "trust-2.toml"]).ok();
    let forgotten = office.run(&["trust", "sign", "trust-2.toml", "--key", "alice.key", "-o", "x.json"]);
    assert!(Office::refused(forgotten, 2, "usage").contains("made from another trust root"));
    let source = String::from_utf8(office.0.read("trust-2.toml")).expect("UTF-8");
    let another: Vec<_> = source.lines().filter(|line| !line.starts_with("follows")).collect();
    let another = another.join("\n");
    office.0.write("other.toml", another.as_bytes());
    office.run(&["trust", "sign", "other.toml", "--key", "alice.key", "-o", "other.json"]).ok();
    office.run(&["trust", "sign", "other.json", "--key", "bob.key", "-o", "other.json"]).ok();
    Office::refused(office.run(&["trust", "publish", "other.json", "--trust", "root.json"]), 2, "usage");
}

#[test]
fn the_example_trust_root_is_refused_unless_it_is_allowed() {
    let office = Office::new();
    let args = ["verify", "m:1", "--trust", "root.json", "--stateless"];
    office.run(&args).ok();
    let message = Office::refused(office.0.run(&args), 2, "usage");
    assert!(message.contains("example key"), "{message}");
}
