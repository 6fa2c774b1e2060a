//! Who may change who may what: policies, two people, and rights for a while.

use std::{process::Command, thread, time::Duration};

use vault_tests::{Output, Workspace, mvault_server, servers::Registry};

use crate::{Desk, refused};

/// Longer than any instance believes what it read.
const STALE: Duration = Duration::from_millis(2100);

/// A registry that `first administrator` and `ben` administer.
fn shared() -> (Registry, Desk) {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::empty(), &registry);
    let add = ["admin", "key", "add", "ben's laptop", "--holder", "ben", "--permission", "admin"];
    let refusal = refused(desk.run(&add), 2, "usage");
    assert!(refusal.contains("letters"), "{refusal}");
    let add = ["admin", "key", "add", "laptop", "--holder", "ben", "--permission", "admin"];
    let ben = desk.run(&add).ok().json();
    assert_eq!(ben["state"], "in-force");
    desk.ask_as("ben", ben["key"].as_str().expect("a key"));
    desk.token = "admin.token".into();
    (registry, desk)
}

fn knows(registry: &Registry, key: &str) -> bool {
    registry.ask(key, "GET", "/v1/whoami", &[], b"").status() == 200
}

/// A key that may read, which one administrator asked for and the other approved.
fn approved(desk: &mut Desk, name: &str) -> String {
    let added = desk.run(&["admin", "key", "add", name, "--permission", "read"]).ok().json();
    desk.token = "ben.token".into();
    desk.run(&["admin", "change", "approve", added["change"].as_str().expect("a change")]).ok();
    desk.token = "admin.token".into();
    added["key"].as_str().expect("a key").to_owned()
}

#[test]
fn rights_are_given_by_two_and_taken_by_one() {
    let (registry, mut desk) = shared();
    let add = ["admin", "key", "add", "ci", "--permission", "read", "--reason", "the new pipeline"];
    let added = desk.run(&add).ok().json();
    let (key, change) = (added["key"].as_str().expect("a key"), added["change"].as_str().expect("a change"));
    assert!(added["state"] == "waiting" && !knows(&registry, key));
    let listed = desk.run(&["admin", "change", "list"]).ok();
    let listed = listed.json();
    let waiting = &listed["changes"][0];
    assert_eq!(
        (waiting["reason"].as_str(), waiting["holder"].as_str()),
        (Some("the new pipeline"), Some("first administrator"))
    );
    assert!(waiting["changes"][0]["hash"].is_null(), "{waiting}");
    let refusal = refused(desk.run(&["admin", "change", "approve", change]), 9, "denied");
    assert!(refusal.contains("another person"), "{refusal}");
    refused(desk.run(&["admin", "change", "approve", "0123456789abcdef"]), 8, "not-found");
    desk.token = "ben.token".into();
    desk.run(&["admin", "change", "approve", change]).ok();
    thread::sleep(STALE);
    assert!(knows(&registry, key));
    refused(desk.run(&["admin", "change", "approve", change]), 8, "not-found");
    // Ben alone: not to become the first administrator, not to set policies; to take away, yes.
    let first = registry.admin.split('_').nth(1).expect("an id");
    assert_eq!(desk.run(&["admin", "key", "rotate", first]).ok().json()["state"], "waiting");
    desk.work.write("all.cedar", b"permit (principal, action, resource);");
    let set = desk.run(&["admin", "policy", "set", "all.cedar", "--reason", "easier"]).ok().json();
    assert_eq!(set["state"], "waiting");
    desk.run(&["admin", "change", "reject", set["change"].as_str().expect("a change")]).ok();
    desk.run(&["admin", "key", "disable", key.split('_').nth(1).expect("an id")]).ok();
    thread::sleep(STALE);
    assert!(!knows(&registry, key));
    // Rights over a part of the registry do not include keys.
    let narrow = ["admin", "key", "add", "x", "--permission", "admin", "--models", "team-*"];
    let refusal = refused(desk.run(&narrow), 2, "usage");
    assert!(refusal.contains("all models"), "{refusal}");
}

#[test]
fn policies_forbid_what_keys_would_allow_and_are_refused_if_they_say_nothing() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    let sealer = registry.key("trainer", &["seal"], "*", "*");
    desk.work.write("bad.cedar", b"permit (principal, action, resource)\nwhen { resource.color == \"red\" };");
    let refusal = refused(desk.run(&["admin", "policy", "set", "bad.cedar", "--reason", "a try"]), 2, "usage");
    assert!(refusal.contains("line 2") && refusal.contains("color"), "{refusal}");
    let text =
        "forbid (principal, action == Action::\"seal\", resource is Model)\nwhen { resource.name like \"secret-*\" };";
    desk.work.write("policies.cedar", text.as_bytes());
    let set = desk.run(&["admin", "policy", "set", "policies.cedar", "--reason", "nobody seals secret models"]).ok();
    assert_eq!(set.json()["state"], "in-force");
    assert_eq!(desk.run(&["admin", "policy", "show"]).ok().json()["text"], text);
    thread::sleep(STALE);
    desk.work.write("model.bin", b"weights");
    desk.ask_as("trainer", &sealer);
    desk.seal("model.bin", "open-one:1").ok();
    let refusal = refused(desk.seal("model.bin", "secret-one:1"), 9, "denied");
    assert!(refusal.contains("seal for secret-one"), "{refusal}");
}

#[test]
fn rights_for_a_while_and_from_a_network() {
    let (registry, mut desk) = shared();
    let reader = approved(&mut desk, "reader");
    desk.ask_as("reader", &reader);
    let version = "/v1/vaults/main/objects?prefix=models";
    assert_eq!(registry.ask(&reader, "GET", "/v1/keys", &[], b"").status(), 403);
    refused(desk.run(&["admin", "elevate", "--permission", "seal", "--for", "25h", "--reason", "x"]), 2, "usage");
    let elevate = ["admin", "elevate", "--permission", "admin", "--for", "4s", "--reason", "incident 4711"];
    let asked = desk.run(&elevate).ok().json();
    let change = asked["change"].as_str().expect("a change").to_owned();
    assert_eq!(desk.run(&["admin", "change", "list"]).ok().json()["changes"][0]["id"], change.as_str(), "their own");
    refused(desk.run(&["admin", "change", "approve", &change]), 9, "denied");
    desk.token = "ben.token".into();
    desk.run(&["admin", "change", "approve", &change]).ok();
    assert_eq!(registry.ask(&reader, "GET", "/v1/keys", &[], b"").status(), 200);
    thread::sleep(Duration::from_millis(4100));
    assert_eq!(registry.ask(&reader, "GET", "/v1/keys", &[], b"").status(), 403);
    assert_eq!(registry.ask(&reader, "GET", version, &[], b"").status(), 200);

    let elsewhere = ["admin", "key", "add", "far", "--permission", "read", "--network", "192.0.2.0/24"];
    let added = desk.run(&elsewhere).ok().json();
    desk.token = "admin.token".into();
    desk.run(&["admin", "change", "approve", added["change"].as_str().expect("a change")]).ok();
    let far = added["key"].as_str().expect("a key");
    assert!(knows(&registry, far));
    let object = "/v1/vaults/main/objects/vault.json";
    assert_eq!(registry.ask(far, "GET", object, &[], b"").status(), 403, "from here they may nothing");
    assert_eq!(registry.ask(&reader, "GET", object, &[], b"").status(), 200);
}

#[test]
fn policies_are_checked_before_they_are_set_and_an_operator_recovers() {
    let registry = Registry::start();
    let work = Workspace::empty();
    let server = |args: &[&str]| Output::of(Command::new(mvault_server()).args(args).current_dir(work.root()), b"");
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../vault-server/policy/example.cedar");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../vault-server/policy/example.tests.json");
    let said = server(&["policy", policies, "--tests", cases]).ok();
    assert!(String::from_utf8_lossy(&said.stdout).contains("cases come out as they should"));
    work.write("none.cedar", b"");
    let wrong = server(&["policy", "none.cedar", "--tests", cases]).exits(2);
    assert!(wrong.stderr.contains("a member of the team reads any model"), "{}", wrong.stderr);
    let config = registry.folder().join("server.toml").display().to_string();
    let said = server(&["recover", "--config", &config, "cleo"]).ok();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let key = text.lines().map(str::trim).find(|line| line.starts_with("mvk_")).expect("a key");
    thread::sleep(STALE);
    assert_eq!(registry.ask(key, "GET", "/v1/keys", &[], b"").status(), 200);
}
