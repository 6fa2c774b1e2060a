//! What the servers of these tests do themselves: the ground everything else stands on.

use std::{sync::Barrier, thread};

use vault_tests::{
    proxy::{Fault, Kind, Proxy, Rule},
    s3::Client,
    servers::{Moto, Rclone, Seaweed},
};

/// How many of several creators of one object are told that they made it.
fn winners(client: &Client, key: &str) -> usize {
    let start = Barrier::new(8);
    let race = |number: u8| {
        start.wait();
        client.create("race", key, &[number; 100])
    };
    let statuses: Vec<u16> = thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|number| scope.spawn(move || race(number))).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
    statuses.into_iter().filter(|status| *status == 200).count()
}

#[test]
fn seaweed_creates_once_keeps_versions_and_locks() {
    let Some(server) = Seaweed::start() else { return };
    let client = server.client();
    client.make_bucket("race");
    for round in 0..5 {
        assert_eq!(winners(client, &format!("r/{round}")), 1);
    }
    assert_eq!(client.keys("race", "r/").len(), 5);
    client.make_locked_bucket("locked");
    assert_eq!((client.create("locked", "a", b"1"), client.create("locked", "a", b"2")), (200, 412));
    client.make_bucket("versioned");
    client.keep_versions("versioned");
    assert_eq!((client.create("versioned", "a", b"1"), client.create("versioned", "a", b"2")), (200, 412));
    assert_eq!(client.get("versioned", "a"), b"1");
    let stranger = Client { secret_key: "other".into(), ..client.clone() };
    assert_eq!(stranger.create("race", "x", b""), 403);
}

#[test]
fn moto_creates_once_and_checks_signatures_and_policies() {
    let Some(server) = Moto::start() else { return };
    let client = server.client();
    client.make_bucket("race");
    assert_eq!((client.create("race", "a", b"1"), client.create("race", "a", b"2")), (200, 412));
    assert_eq!(client.get("race", "a"), b"1");
    let reader = server.user(
        "reader",
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#,
    );
    assert_eq!(reader.get("race", "a"), b"1");
    let refused = reader.request("PUT", "/race/b", &[], &[], b"");
    assert!(refused.status() == 403 && refused.text().contains("AccessDenied"), "{}", refused.text());
    for (stranger, code) in [
        (Client { secret_key: "other".into(), ..client.clone() }, "SignatureDoesNotMatch"),
        (Client { access_key: "AKIAOTHER".into(), ..client.clone() }, "InvalidAccessKeyId"),
    ] {
        let refused = stranger.request("GET", "/race/a", &[], &[], b"");
        assert!(refused.status() == 403 && refused.text().contains(code), "{}", refused.text());
    }
}

#[test]
fn rclone_lets_every_creator_win() {
    let Some(server) = Rclone::start() else { return };
    let client = server.client();
    client.make_bucket("race");
    assert_eq!((client.create("race", "a", b"1"), client.create("race", "a", b"2")), (200, 200));
}

#[test]
fn signatures_hold_by_way_of_the_proxy_and_an_answer_is_lost() {
    let (Some(seaweed), Some(moto)) = (Seaweed::start(), Moto::start()) else { return };
    for client in [seaweed.client(), moto.client()] {
        let proxy = Proxy::before(&client.address);
        let client = proxy.client(client);
        client.make_bucket("race");
        proxy.add(Rule::new("PUT", "/race/a", Fault::ERROR_AFTER));
        assert_eq!((client.create("race", "a", b"1"), client.create("race", "a", b"1")), (500, 412));
        assert_eq!(client.get("race", "a"), b"1");
        assert_eq!(client.keys("race", ""), ["a"]);
        let seen = proxy.take_requests();
        assert_eq!((seen.count(Kind::Create), seen.count(Kind::Get), seen.count(Kind::List)), (2, 1, 1));
    }
}
