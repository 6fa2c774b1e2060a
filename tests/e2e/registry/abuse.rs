//! What a server has to bear.

use std::{
    io::{BufReader, Read, Write},
    thread,
    time::{Duration, Instant},
};

use vault_tests::{
    Workspace, noise,
    servers::{Registry, drain, request},
    wire::{Asked, Message},
};

use crate::Desk;

const HEX: &str = "abababababababababababababababababababababababababababababababab";

#[test]
fn paths_that_escape_or_surprise_are_no_paths() {
    let registry = Registry::start();
    for path in [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "models/%2e%2e/vault.json",
        "models/m%00/versions/1.dsse.json",
        "models/m%0d%0aSet-Cookie:x/versions/1.dsse.json",
        "models/m%1b[31m/versions/1.dsse.json",
        "vault%2ejson",
        "staging/x",
        "server/state/1.dsse.json",
        "log/other",
        "models//versions/1.dsse.json",
        "objects/ab/ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB",
        "models/m/versions/1.dsse.json/",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let target = format!("/v1/vaults/main/objects/{path}");
            let answer = registry.ask(&registry.admin, method, &target, &[("if-none-match", "*")], b"x");
            assert_eq!(answer.status(), 400, "{method} {path}: {}", answer.text());
        }
    }
    for query in ["prefix=../x", "prefix=server%2F..", "after=%00", "limit=-1", "limit=x", "other=1", "prefix=a%20b"] {
        let target = format!("/v1/vaults/main/objects?{query}");
        assert_eq!(registry.ask(&registry.admin, "GET", &target, &[], b"").status(), 400, "{query}");
    }
    // The registry's own records are in the vault, and in no listing.
    let listed = registry.ask(&registry.admin, "GET", "/v1/vaults/main/objects?prefix=server", &[], b"");
    assert_eq!((listed.status(), listed.text().as_str()), (200, r#"{"objects":[],"more":false}"#));
    assert_eq!(registry.ask(&registry.admin, "GET", "/v1/vaults/other/objects", &[], b"").status(), 404);
    assert_eq!(registry.ask(&registry.admin, "PATCH", "/v1/whoami", &[], b"").status(), 405);
    assert_eq!(registry.ask(&registry.admin, "GET", "/v2", &[], b"").status(), 404);
}

#[test]
fn bodies_too_long_too_deep_or_of_another_form_are_refused() {
    let registry = Registry::with("max_object = 1000000\n");
    let admin = &registry.admin;
    let path = format!("/v1/vaults/main/objects/objects/ab/{HEX}");
    let headers = [("if-none-match", "*"), ("content-length", "1000001")];
    assert_eq!(registry.exchange(&request(admin, "PUT", &path, &headers, b"")).status(), 413);
    let deep = "[".repeat(100_000);
    let json = [("content-type", "application/json")];
    for body in
        [deep.as_bytes(), b"", b"{}", br#"{"name":"x","grants":[],"role":"admin"}"#, br#"{"name":3,"grants":[]}"#]
    {
        let answer = registry.ask(admin, "POST", "/v1/keys", &json, body);
        assert!((400..500).contains(&answer.status()), "{}", answer.text());
    }
    let long = vec![b' '; 3 << 20];
    assert_eq!(registry.ask(admin, "POST", "/v1/keys", &json, &long).status(), 413);
}

#[test]
fn a_flood_of_headers_is_cut_off() {
    let registry = Registry::start();
    let mut flood = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    for number in 0..10_000 {
        flood.extend_from_slice(format!("x-{number}: {}\r\n", "a".repeat(100)).as_bytes());
    }
    let mut connection = registry.connect().expect("connected");
    let _ = connection.write_all(&flood);
    let said = String::from_utf8_lossy(&drain(&mut connection)).into_owned();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431") || said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(registry.ask("", "GET", "/healthz", &[], b"").status(), 200);
}

#[test]
fn whoever_dawdles_is_hung_up_on() {
    let registry = Registry::with("idle_seconds = 1\n");
    let start = Instant::now();
    // A head that never ends.
    let mut head = registry.connect().expect("connected");
    head.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").expect("sent");
    head.flush().expect("sent");
    // A body that never ends.
    let mut body = registry.connect().expect("connected");
    let target = format!("/v1/vaults/main/objects/objects/ab/{HEX}");
    let headers = [("if-none-match", "*"), ("content-length", "100000")];
    body.write_all(&request(&registry.admin, "PUT", &target, &headers, b"beginning")).expect("sent");
    body.flush().expect("sent");
    let answer = Message::read_answer(&mut BufReader::new(body), Asked::Other).expect("an answer");
    assert_eq!(answer.status(), 408, "{}", answer.text());
    let said = drain(&mut head);
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(std::fs::read_dir(registry.folder().join("vault/staging")).map_or(0, Iterator::count), 0);
}

#[test]
fn more_requests_than_the_rate_are_asked_to_wait() {
    let registry = Registry::with("per_principal = 5\nstrangers_per_minute = 5\n");
    let statuses = |key: &str| -> Vec<u16> {
        (0..20)
            .map(|_| registry.ask(key, "GET", "/v1/whoami", &[], b""))
            .map(|answer| {
                assert!(answer.status() != 429 || answer.header("retry-after").is_some());
                answer.status()
            })
            .collect()
    };
    let known = statuses(&registry.admin);
    assert!(known.contains(&200) && known.contains(&429), "{known:?}");
    let strangers = statuses("mvk_nobody");
    assert!(strangers[0] == 401 && strangers.contains(&429), "{strangers:?}");
    // Who keeps to the rate gets in all the same.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(registry.ask(&registry.admin, "GET", "/v1/whoami", &[], b"").status(), 200);
}

#[test]
fn a_transfer_that_has_begun_ends_before_the_server_does() {
    let mut registry = Registry::start();
    let bytes = noise(40_000_000);
    let hash = blake3::hash(&bytes).to_hex();
    let path = format!("objects/{}/{hash}", &hash[..2]);
    assert_eq!(registry.put(&registry.admin, &path, &bytes).status(), 201);
    let mut connection = registry.connect().expect("connected");
    let target = format!("/v1/vaults/main/objects/{path}");
    connection.write_all(&request(&registry.admin, "GET", &target, &[], b"")).expect("sent");
    connection.flush().expect("sent");
    let mut first = [0; 1000];
    connection.read_exact(&mut first).expect("it has begun");
    registry.terminate();
    thread::sleep(Duration::from_millis(500));
    assert!(!registry.has_ended(), "it waits for the transfer");
    assert!(registry.connect().is_err(), "nobody new gets in");
    let rest = drain(&mut connection);
    assert!(rest.ends_with(&bytes[bytes.len() - 1000..]), "all of it arrives");
    let start = Instant::now();
    while !registry.has_ended() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(registry.has_ended());
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let registry = Registry::start();
    let other = Registry::start();
    assert_eq!(registry.ask("", "GET", "/healthz", &[], b"").status(), 200);
    let old = registry.folder().join("old.crt");
    std::fs::copy(registry.certificate(), &old).expect("copied");
    for file in ["tls.key", "tls.crt"] {
        std::fs::copy(other.folder().join(file), registry.folder().join(file)).expect("copied");
    }
    let start = Instant::now();
    loop {
        // The client believes the new certificate alone.
        if registry.connect().is_ok_and(|mut connection| {
            let sent = connection.write_all(&request("", "GET", "/healthz", &[], b""));
            sent.is_ok() && connection.flush().is_ok() && !drain(&mut connection).is_empty()
        }) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the new certificate is not shown");
        thread::sleep(Duration::from_millis(200));
    }
    let mut desk = Desk::new(Workspace::empty(), &registry);
    desk.run(&["whoami"]).ok();
    desk.certificate = old.display().to_string();
    desk.run(&["whoami"]).exits(1);
}

#[test]
fn whoever_leaves_before_the_answer_is_written_down_all_the_same() {
    let registry = Registry::start();
    let mut connection = registry.connect().expect("a connection");
    let headers = [("content-type", "application/json"), ("content-length", "400")];
    let asked = request(&registry.admin, "POST", "/v1/policies", &headers, br#"{"text":"#);
    connection.write_all(&asked).and_then(|()| connection.flush()).expect("sent");
    thread::sleep(Duration::from_millis(300));
    drop(connection);
    let begun = Instant::now();
    let line = loop {
        let log = registry.log();
        if let Some(line) = log.lines().find(|line| line.contains("/v1/policies")) {
            break line.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "nothing is written down: {log}");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(line.contains("\"status\":499") || line.contains("\"status\":400"), "{line}");
    let id = registry.admin.split('_').nth(1).expect("an id");
    assert!(line.contains(id), "{line}");
}

#[test]
fn one_address_does_not_take_all_connections_and_those_it_has_still_serve() {
    let registry = Registry::with("connections = 64\nconnections_per_address = 8\n");
    let mut idle: Vec<_> = (0..8).map(|_| registry.connect().expect("a connection")).collect();
    for connection in &mut idle {
        // The handshake is over once something went through.
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
        Message::read_answer(&mut BufReader::new(&mut *connection), Asked::Other).expect("an answer");
    }
    let asked = request(&registry.admin, "GET", "/v1/whoami", &[("connection", "close")], b"");
    let refused = registry.connect().and_then(|mut ninth| {
        ninth.write_all(&asked)?;
        Message::read_answer(&mut BufReader::new(ninth), Asked::Other)
    });
    assert!(refused.is_err(), "a ninth connection is not served");
    let last = idle.last_mut().expect("eight");
    last.write_all(&asked).expect("sent");
    assert_eq!(Message::read_answer(&mut BufReader::new(last), Asked::Other).expect("an answer").status(), 200);
    drop(idle);
    let begun = Instant::now();
    while registry.try_ask(&registry.admin, "GET", "/v1/whoami", &[], b"").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "places are given back");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn listings_of_one_principal_leave_room_for_those_of_others() {
    let registry = Registry::with("listings = 2\n");
    let (flooder, other) = (registry.key("flooder", &["read"], "*", "*"), registry.key("other", &["read"], "*", "*"));
    let target = "/v1/vaults/main/objects?prefix=";
    thread::scope(|scope| {
        let flood: Vec<_> =
            (0..24).map(|_| scope.spawn(|| registry.ask(&flooder, "GET", target, &[], b"").status())).collect();
        for _ in 0..5 {
            assert_eq!(registry.ask(&other, "GET", target, &[], b"").status(), 200);
        }
        for answer in flood {
            assert!([200, 429, 503].contains(&answer.join().expect("no panic")));
        }
    });
}

#[test]
fn what_is_still_being_sent_when_its_key_is_disabled_is_not_stored() {
    let registry = Registry::start();
    let sealer = registry.key("sealer", &["seal"], "*", "*");
    let id = sealer.split('_').nth(1).expect("an id").to_owned();
    let bytes = noise(700_000);
    let hash = blake3::hash(&bytes).to_hex();
    let path = format!("objects/{}/{hash}", &hash[..2]);
    let head = request(&sealer, "PUT", &format!("/v1/vaults/main/objects/{path}"), &[("if-none-match", "*")], &bytes);
    let mut connection = registry.connect().expect("a connection");
    let half = head.len() - bytes.len() / 2;
    connection.write_all(&head[..half]).and_then(|()| connection.flush()).expect("sent");
    let disabled = registry.ask(&registry.admin, "POST", &format!("/v1/keys/{id}/disable"), &[], b"");
    assert_eq!(disabled.status(), 200);
    thread::sleep(Duration::from_millis(2100));
    connection.write_all(&head[half..]).and_then(|()| connection.flush()).expect("sent");
    let answer = Message::read_answer(&mut BufReader::new(connection), Asked::Other).expect("an answer");
    assert_eq!(answer.status(), 401, "{}", answer.text());
    assert_eq!(registry.get(&registry.admin, &path).status(), 404);
}
