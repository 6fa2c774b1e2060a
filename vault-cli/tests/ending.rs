//! Retiring, collecting and shredding, through the real binary.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{
    fs,
    time::{Duration, SystemTime},
};

use common::Desk;

/// Makes everything in the vault look as if it had been there for weeks.
fn age(desk: &Desk) {
    let long_ago = SystemTime::now() - Duration::from_hours(1000);
    for path in desk.files("vault") {
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

fn retire(desk: &Desk, more: &[&str]) -> common::Ran {
    desk.run(&[&["retire", "--reason", "superseded", "--key", "release.key"], more].concat())
}

#[test]
fn a_retired_version_is_collected_and_every_command_says_so() {
    let desk = Desk::sealed();
    desk.seal("model", "demo:2").ok();
    let retired = retire(&desk, &["demo:1", "--json"]).json();
    assert_eq!((&retired["retired"][0]["version"], &retired["dry_run"]), (&"demo:1".into(), &false.into()));
    let listed = desk.signed(&["ls", "--json"]).json();
    assert_eq!(listed["versions"][0]["retired"]["reason"], "superseded");
    assert!(listed["versions"][1]["retired"].is_null());
    assert!(desk.signed(&["ls"]).ok().contains("RETIRED"));

    let young = desk.signed(&["gc", "--json"]).json();
    assert_eq!((&young["condemned"], &young["deleted"]), (&0.into(), &0.into()), "within the grace");
    age(&desk);
    let before = desk.files("vault");
    let dry = desk.signed(&["gc", "--dry-run", "--json"]).json();
    assert!(dry["condemned"].as_u64().unwrap() >= 3 && dry["run"].is_null(), "{dry}");
    assert_eq!(dry["events"][0]["event"], "condemned");
    assert_eq!(desk.files("vault"), before, "a dry run touches nothing");
    assert_eq!(desk.run(&["gc", "--json"]).json()["deleted"], 0, "nobody is believed, so nothing is retired");
    age(&desk);
    let text = desk.signed(&["gc"]).ok();
    assert!(text.contains("garbage: objects/") && text.contains("deleted "), "{text}");

    for args in [&["verify", "demo:1"][..], &["inspect", "demo:1", "--identity", "node.key"]] {
        let ran = desk.signed(args);
        assert!(ran.fails(8).contains("demo:1: was retired on 2"), "{}", ran.err);
    }
    let opened = desk.open(&["demo:1", "out"]);
    assert!(opened.fails(8).contains("(superseded), and its contents were collected"), "{}", opened.err);
    let all = desk.signed(&["verify", "--all"]).ok();
    assert!(all.contains("retired demo:1: on 2"), "{all}");
    assert!(all.ends_with("1 of 1 version verified, 1 retired and collected\n"), "{all}");
    assert_eq!(desk.signed(&["verify", "--all", "--json"]).json()["retired"], 1);
    let looked = desk.run(&["fsck", "--json"]).json();
    assert_eq!(looked["collected"][0]["versions"][0], "demo:1");
    assert_eq!((looked["damage"].as_array().unwrap().len(), looked["foreign"].as_array().unwrap().len()), (0, 0));
    desk.open(&["demo:2", "out"]).ok();
    desk.seal("model", "demo:1").fails(7);
}

#[test]
fn a_rule_keeps_the_last_and_says_why() {
    let desk = Desk::sealed();
    for name in ["demo:2", "demo:3", "other:1"] {
        desk.seal("model", name).ok();
    }
    let rule = ["retire", "--model", "demo", "--keep-last", "1", "--signer", "release.pub"];
    let young = desk.run(&[&rule[..], &["--min-age", "1h", "--dry-run", "--json"]].concat()).json();
    assert_eq!(young["retired"].as_array().unwrap().len(), 0);
    let plan = desk.run(&[&rule[..], &["--dry-run", "--json"]].concat()).json();
    assert_eq!((plan["retired"].as_array().unwrap().len(), plan["kept"].as_array().unwrap().len()), (2, 1));
    assert_eq!(plan["kept"][0]["why"], "among the last");
    assert!(desk.files("vault/retired").is_empty());
    let text = retire(&desk, &["--model", "demo", "--keep-last", "1", "--signer", "release.pub"]).ok();
    assert!(text.ends_with("retired 2 versions\n"), "{text}");
    assert_eq!(desk.files("vault/retired").len(), 2);
    let again = retire(&desk, &["--model", "demo", "--keep-last", "1", "--json"]).json();
    assert_eq!(again["retired"].as_array().unwrap().len(), 0);
}

#[test]
fn what_cannot_be_retired_collected_or_shredded_is_refused() {
    let desk = Desk::sealed();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "stranger", "--no-passphrase"]).ok();
    let strangers = ["--key", "stranger.key", "--reason", "because", "--signer", "release.pub"];
    desk.run(&["retire", "demo:1", "--reason", "because", "--key", "stranger.key"]).fails(4);
    retire(&desk, &["demo:7"]).fails(8);
    retire(&desk, &["demo:1", "--keep-last", "1"]).fails(2);
    retire(&desk, &["--model", "demo"]).fails(2);
    desk.run(&["retire", "demo:1", "--key", "release.key"]).fails(2);
    desk.run(&["retire", "demo:1", "--key", "release.key", "--reason", " "]).fails(2);
    desk.run(&["gc", "--grace", "48"]).fails(2);
    desk.run(&["gc", "--declare-finished", &"0".repeat(32)]).fails(8);
    desk.run(&["gc", "--declare-finished", "x"]).fails(2);
    let asked = desk.run(&["shred", "demo:1", "--key", "release.key", "--reason", "because"]);
    assert!(asked.fails(2).contains("--yes"), "{}", asked.err);
    desk.run(&[&["shred", "demo:7", "--yes"][..], &strangers].concat()).fails(8);
    assert!(desk.files("vault/retired").is_empty());
    desk.open(&["demo:1", "out"]).ok();
}

/// A vault with a version, all of it old, and something that nothing names.
fn littered() -> (Desk, String) {
    let desk = Desk::sealed();
    let litter = format!("vault/objects/ab/ab{}", "0".repeat(62));
    desk.write(&litter, b"litter");
    age(&desk);
    (desk, litter)
}

#[test]
fn junk_keeps_what_it_may_name_and_everything_else_is_collected() {
    let hex = |digit: &str, length: usize| digit.repeat(length);
    let record = "vault/models/demo/versions/junk.dsse.json".to_owned();
    for (junk, kept, goes) in [
        (record, "artifacts", true),
        (format!("vault/sessions/{}/lease-1.json", hex("5", 32)), "artifacts", true),
        (format!("vault/sessions/{}/outcome.json", hex("5", 32)), "artifacts", true),
        (format!("vault/artifacts/{}/manifest.json", hex("5", 64)), "itself", true),
        (format!("vault/gc/{}/outcome.json", hex("5", 32)), "itself", true),
    ] {
        let (desk, litter) = littered();
        desk.write(&junk, b"{}");
        let ran = desk.signed(&["gc", "--json"]);
        assert!(ran.fails(3).contains("1 object could not be read"), "{junk}: {}", ran.err);
        let said: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
        let event = &said["events"][0];
        assert_eq!(
            (&said["unreadable"], &event["event"], &event["kept"]),
            (&1.into(), &"unreadable".into(), &kept.into())
        );
        assert_eq!(format!("vault/{}", event["path"].as_str().unwrap()), junk);
        assert_eq!(!desk.path(&litter).exists(), goes, "{junk}");
        assert!(desk.path(&junk).exists(), "{junk}");
        desk.signed(&["verify", "demo:1"]).ok();
        fs::remove_file(desk.path(&junk)).unwrap();
        desk.signed(&["gc"]).ok();
    }
    // The manifest of a version: any contents may be its own.
    let (desk, litter) = littered();
    let manifest = desk.files("vault/artifacts").into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, b"{}").unwrap();
    let ran = desk.signed(&["gc"]);
    ran.fails(3);
    let text = String::from_utf8_lossy(&ran.out).into_owned();
    assert!(text.contains("manifest.json cannot be read, and may name any contents, so all are kept"), "{text}");
    assert!(desk.path(&litter).exists());
    fs::write(&manifest, good).unwrap();
    desk.signed(&["gc"]).ok();
    assert!(!desk.path(&litter).exists());
    desk.open(&["demo:1", "out"]).ok();
}

#[test]
fn a_shredded_artifact_opens_for_nobody() {
    let desk = Desk::sealed();
    let shred = ["shred", "demo:1", "--key", "release.key", "--reason", "customer left", "--yes", "--json"];
    let shredded = desk.run(&shred).json();
    assert_eq!((&shredded["shredded"], shredded["destroyed"].as_array().unwrap().len()), (&true.into(), 1));
    assert!(shredded["beyond_reach"].as_array().unwrap().len() >= 3);
    let opened = desk.open(&["demo:1", "out"]);
    assert!(opened.fails(6).contains("customer left"), "{}", opened.err);
    desk.run(&["key", "generate", "--kind", "recipient", "-o", "late", "--no-passphrase"]).ok();
    let share = ["share", "demo:1", "--to", "late.pub", "--identity", "node.key", "--sign-with", "release.key"];
    desk.run(&share).fails(6);
    desk.signed(&["verify", "demo:1"]).ok();
    desk.run(&["fsck"]).ok();
    assert_eq!(desk.run(&shred).json()["destroyed"].as_array().unwrap().len(), 0, "nothing is left to destroy");
}
