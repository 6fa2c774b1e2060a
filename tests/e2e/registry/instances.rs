//! Several servers in front of one vault, in a folder and in a bucket.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use vault_tests::{
    Workspace, noise,
    servers::{Registry, Seaweed},
};

use crate::{Desk, refused};

#[test]
fn what_one_instance_is_told_all_know_within_two_seconds() {
    let one = Registry::start();
    let two = one.beside();
    let knows = |registry: &Registry, key: &str| registry.ask(key, "GET", "/v1/whoami", &[], b"").status() == 200;
    let soon = |what: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_millis(2500), "not within two seconds");
            thread::sleep(Duration::from_millis(50));
        }
    };
    let keys: Vec<String> = thread::scope(|scope| {
        let adding: Vec<_> = (0..6)
            .map(|number| {
                let registry = if number % 2 == 0 { &one } else { &two };
                scope.spawn(move || registry.key(&format!("ci-{number}"), &["read"], "*", "*"))
            })
            .collect();
        adding.into_iter().map(|adding| adding.join().expect("no panic")).collect()
    });
    for key in &keys {
        soon(&|| knows(&one, key) && knows(&two, key));
    }
    let id = keys[0].split('_').nth(1).expect("an id");
    assert_eq!(two.ask(&two.admin, "POST", &format!("/v1/keys/{id}/disable"), &[], b"").status(), 200);
    soon(&|| !knows(&one, &keys[0]) && !knows(&two, &keys[0]));
}

#[test]
fn of_many_who_promote_through_two_instances_one_wins_each_generation() {
    let one = Registry::start();
    let two = one.beside();
    let mut desk = Desk::new(Workspace::with_examples(), &one);
    desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    let trusting = ["--allow-example-keys", "--trust", "root.json"];
    desk.work.write("weights", b"weights");
    let seal = ["seal", "weights", "m:1", "--to", "node.pub", "--sign-with", "trainer.key", "--state", "state"];
    desk.run(&[&trusting[..1], &seal, &trusting[1..]].concat()).ok();
    let urls = [one.url(), two.url()];
    desk.url = String::new();
    let winners: Vec<u64> = thread::scope(|scope| {
        let promoting: Vec<_> = (0..12)
            .map(|number| {
                let (desk, url) = (&desk, &urls[number % 2]);
                scope.spawn(move || {
                    // People who have never heard of one another.
                    let state = format!("state-{number}");
                    let by = ["alice.key", "bob.key", "carol.key"][number % 3];
                    let ask =
                        ["promote", "m:1", "--channel", "staging", "--reason", "good", "--key", by, "--state", &state];
                    let output = desk.run(&[&["--vault", url], &trusting[..1], &ask, &trusting[1..]].concat());
                    match output.code {
                        0 => output.json()["generation"].as_u64(),
                        7 => None,
                        _ => panic!("{}", output.stderr),
                    }
                })
            })
            .collect();
        promoting.into_iter().filter_map(|promoting| promoting.join().expect("no panic")).collect()
    });
    assert!(!winners.is_empty());
    assert_eq!(winners.iter().collect::<BTreeSet<_>>().len(), winners.len(), "one winner per generation: {winners:?}");
    desk.url = one.url();
    let log = desk.run(&[&trusting[..1], &["channel", "log", "m@staging", "--state", "late"], &trusting[1..]].concat());
    let log = log.ok().json();
    let published =
        log["history"].as_array().expect("a history").iter().filter(|entry| entry["counts"] == true).count();
    assert_eq!(published, winners.len(), "{log}");
}

#[test]
fn a_registry_stands_in_front_of_a_bucket_as_well() {
    let Some(server) = Seaweed::shared() else { return };
    let client = server.client();
    client.make_bucket("registry");
    let registry = Registry::over_bucket("s3://registry/some/models", client, "");
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &noise(20_000_000));
    desk.seal("weights", "m:1").ok();
    desk.verify("m:1").ok();
    desk.open("m:1", "out").ok();
    assert_eq!(desk.work.read("out/weights"), noise(20_000_000));
    refused(desk.seal("weights", "m:1"), 7, "conflict");
    assert_eq!(desk.run(&["ls"]).ok().json()["versions"].as_array().map(Vec::len), Some(1));
    let other = registry.beside();
    desk.url = other.url();
    desk.verify("m:1").ok();
    desk.run(&["fsck"]).ok();
}
