//! API keys: disabled, expired, replaced; and what is never written down.

use std::{thread, time::Duration};

use vault_tests::{Workspace, servers::Registry};

use crate::{Desk, refused};

/// Longer than any instance believes what it read.
const STALE: Duration = Duration::from_millis(2100);

fn id(key: &str) -> &str {
    key.split('_').nth(1).expect("an id")
}

/// What is behind the id; it may have a `_` of its own.
fn secret(key: &str) -> &str {
    key.splitn(3, '_').nth(2).expect("a secret")
}

#[test]
fn a_disabled_key_opens_nothing_within_two_seconds_also_after_a_restart() {
    let mut registry = Registry::start();
    let desk = Desk::new(Workspace::empty(), &registry);
    let added = desk.run(&["admin", "key", "add", "ci", "--permission", "read"]).ok().json();
    let key = added["key"].as_str().expect("a key").to_owned();
    assert_eq!(registry.ask(&key, "GET", "/v1/whoami", &[], b"").status(), 200);
    desk.run(&["admin", "key", "disable", id(&key)]).ok();
    thread::sleep(STALE);
    assert_eq!(registry.ask(&key, "GET", "/v1/whoami", &[], b"").status(), 401);
    registry.restart();
    assert_eq!(registry.ask(&key, "GET", "/v1/whoami", &[], b"").status(), 401);
    refused(desk.run(&["admin", "key", "disable", "0123456789abcdef"]), 8, "not-found");
    // Only who may.
    let reader = registry.key("reader", &["read", "audit"], "*", "*");
    for (method, target) in [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("POST", "/v1/keys/x/disable")] {
        let answer = registry.ask(&reader, method, target, &[("content-type", "application/json")], b"{}");
        assert_eq!(answer.status(), 403, "{method} {target}: {}", answer.text());
    }
}

#[test]
fn an_expired_key_opens_nothing_and_a_rotated_one_goes_on_for_the_overlap() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::empty(), &registry);
    let knows = |key: &str| registry.ask(key, "GET", "/v1/whoami", &[], b"").status() == 200;
    let add = ["admin", "key", "add", "short", "--permission", "read", "--expires-in", "2s"];
    let short = desk.run(&add).ok().json()["key"].as_str().expect("a key").to_owned();
    assert!(knows(&short));
    thread::sleep(STALE);
    assert!(!knows(&short));

    let key = registry.key("ci", &["read"], "*", "*");
    let rotate = |key: &str, overlap: &str| {
        let rotated = desk.run(&["admin", "key", "rotate", id(key), "--overlap", overlap]).ok().json();
        rotated["key"].as_str().expect("a key").to_owned()
    };
    let next = rotate(&key, "1h");
    assert!(knows(&key) && knows(&next));
    let last = rotate(&next, "0s");
    assert!(!knows(&next) && knows(&last));
    let listed = desk.run(&["admin", "key", "list"]).ok();
    let keys = listed.json()["keys"].as_array().expect("keys").clone();
    assert!(keys.iter().filter(|one| one["id"] == id(&last)).all(|one| one["last_use"].is_string()));
    let text = String::from_utf8(listed.stdout.clone()).expect("UTF-8");
    for key in [&key, &next, &last] {
        assert!(text.contains(id(key)) && !text.contains(secret(key)));
    }
}

#[test]
fn a_store_that_brings_back_a_disabled_key_stops_the_server() {
    let mut registry = Registry::start();
    let key = registry.key("ci", &["read"], "*", "*");
    let disable = format!("/v1/keys/{}/disable", id(&key));
    assert_eq!(registry.ask(&registry.admin, "POST", &disable, &[], b"").status(), 200);
    let state = registry.folder().join("vault/server/state");
    let last = (1..1000).take_while(|n| state.join(format!("{n}.dsse.json")).exists()).last().expect("records");
    std::fs::remove_file(state.join(format!("{last}.dsse.json"))).expect("removed");
    thread::sleep(STALE);
    assert_eq!(registry.ask(&key, "GET", "/v1/whoami", &[], b"").status(), 401, "what was seen is not forgotten");
    registry.terminate();
    while !registry.has_ended() {
        thread::sleep(Duration::from_millis(20));
    }
    let mut again = std::process::Command::new(vault_tests::mvault_server());
    again.arg("--config").arg(registry.folder().join("server.toml"));
    let output = vault_tests::Output::of(&mut again, b"").exits(5);
    assert!(output.stderr.contains("is stale"), "{}", output.stderr);
}

#[test]
fn no_key_and_no_token_is_ever_written_down() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::new(), &registry);
    let key = registry.key("ci", &["read", "seal"], "*", "*");
    desk.work.write("weights", b"weights");
    desk.seal("weights", "m:1").ok();
    for (method, target) in [("GET", "/v1/whoami"), ("GET", "/v1/keys"), ("PUT", "/v1/vaults/main/objects/vault.json")]
    {
        registry.ask(&key, method, target, &[], b"x");
        registry.ask(&format!("{key}x"), method, target, &[], b"x");
        registry.ask(&registry.admin, method, &format!("{target}?token={}", &key[..10]), &[], b"x");
    }
    registry.terminate();
    thread::sleep(Duration::from_millis(500));
    let log = registry.log();
    assert!(log.lines().count() > 10 && log.contains(r#""event":"create""#), "{log}");
    let vault = registry.folder().join("vault");
    let mut written = log;
    for path in vault_tests::tree(&vault).into_values() {
        written.push_str(&String::from_utf8_lossy(&path.bytes));
    }
    for key in [&registry.admin, &key] {
        let secret = secret(key);
        assert!(!written.contains(secret) && !written.contains(&secret[..20]));
    }
}

#[test]
fn a_request_that_is_repeated_is_done_once() {
    let registry = Registry::start();
    let reader = registry.key("reader", &["read", "audit"], "*", "*");
    let ask = |key: &str, name: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", name)];
        registry.ask(key, "POST", "/v1/keys", &headers, body.as_bytes())
    };
    let body = |name: &str| {
        format!(r#"{{"name":"{name}","grants":[{{"permissions":["read"],"models":"*","channels":"*"}}]}}"#)
    };
    let count = || {
        let answer = registry.ask(&registry.admin, "GET", "/v1/keys", &[], b"");
        let listed: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        listed["keys"].as_array().expect("keys").len()
    };
    let before = count();
    let first = ask(&registry.admin, "4711", &body("once"));
    let again = ask(&registry.admin, "4711", &body("once"));
    assert_eq!((first.status(), again.status(), &first.body), (201, 201, &again.body));
    assert_eq!(count(), before + 1);
    assert_eq!(ask(&registry.admin, "4711", &body("other")).status(), 422, "another request");
    assert_eq!(ask(&reader, "4711", &body("once")).status(), 403, "nobody else is given the answer");
    assert_eq!(ask(&registry.admin, "", &body("once")).status(), 400);
    assert_eq!(ask(&registry.admin, &"x".repeat(129), &body("once")).status(), 400);
    // What came to nothing is tried again.
    assert_eq!(ask(&registry.admin, "4712", "{}").status(), 422);
    assert_eq!(ask(&registry.admin, "4712", &body("then")).status(), 201);
    assert_eq!(count(), before + 2);
}
