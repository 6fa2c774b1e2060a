//! A server that is killed under load.

use std::{sync::Mutex, thread, time::Duration};

use serde_json::Value;
use vault_tests::{Workspace, servers::Registry};

use crate::Desk;

/// What the server said it had done.
#[derive(Default)]
struct Acknowledged {
    objects: Vec<(String, Vec<u8>)>,
    keys: Vec<String>,
}

/// Stores and asks for keys until nobody answers.
fn work(registry: &Registry, name: &str, done: &Mutex<Acknowledged>) {
    for number in 0.. {
        let bytes = format!("{name} {number} ").repeat(2000).into_bytes();
        let hash = blake3::hash(&bytes).to_hex();
        let path = format!("objects/{}/{hash}", &hash[..2]);
        let target = format!("/v1/vaults/main/objects/{path}");
        let Ok(answer) = registry.try_ask(&registry.admin, "PUT", &target, &[("if-none-match", "*")], &bytes) else {
            return;
        };
        assert_eq!(answer.status(), 201, "{}", answer.text());
        done.lock().expect("lock").objects.push((path, bytes));
        let body = r#"{"name":"ci","grants":[{"permissions":["read"],"models":"*","channels":"*"}]}"#;
        let json = [("content-type", "application/json")];
        let Ok(answer) = registry.try_ask(&registry.admin, "POST", "/v1/keys", &json, body.as_bytes()) else { return };
        assert_eq!(answer.status(), 201, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        done.lock().expect("lock").keys.push(answer["key"].as_str().expect("a key").to_owned());
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_server_is_killed() {
    let mut registry = Registry::start();
    let (mut keys, desk) = (Vec::new(), Desk::new(Workspace::empty(), &registry));
    for round in 0..3_u64 {
        let done = Mutex::new(Acknowledged::default());
        thread::scope(|scope| {
            for worker in 0..4 {
                let (registry, done) = (&registry, &done);
                scope.spawn(move || work(registry, &format!("{round} {worker}"), done));
            }
            thread::sleep(Duration::from_millis(400 + 170 * round));
            registry.kill();
        });
        while !registry.has_ended() {
            thread::sleep(Duration::from_millis(10));
        }
        registry.go_on();
        let done = done.into_inner().expect("lock");
        assert!(!done.objects.is_empty() && !done.keys.is_empty(), "it was busy");
        for (path, bytes) in &done.objects {
            assert!(registry.get(&registry.admin, path).body == *bytes, "{path}");
        }
        keys.extend(done.keys);
        for key in &keys {
            assert_eq!(registry.ask(key, "GET", "/v1/vaults/main/objects/vault.json", &[], b"").status(), 200);
        }
    }
    let shown = desk.run(&["log", "show", "--action", "policy"]).ok().json();
    let logged = shown["entries"].as_array().expect("entries");
    assert!(logged.len() > keys.len(), "{} keys and {} entries", keys.len(), logged.len());
    let mut paths: Vec<_> = logged.iter().map(|entry| entry["record"]["path"].to_string()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), logged.len(), "none is in the log twice");
}
