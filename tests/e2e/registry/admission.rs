//! What a registry does not let into a vault, whatever a client says.

use vault_tests::{
    Workspace,
    servers::{Registry, drain, request},
    wire::Message,
};

use crate::Desk;

const HEX: &str = "abababababababababababababababababababababababababababababababab";

#[track_caller]
fn kind(answer: &Message) -> String {
    let problem: serde_json::Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
    assert_eq!(problem["status"], answer.status());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    problem["kind"].as_str().expect("a kind").to_owned()
}

#[test]
fn content_that_is_not_its_name_and_documents_that_are_none_are_refused() {
    let registry = Registry::start();
    let admin = &registry.admin;
    for (path, bytes) in [
        (format!("objects/ab/{HEX}"), &b"something else"[..]),
        (format!("artifacts/{HEX}/manifest.json"), b"{}"),
        (format!("artifacts/{HEX}/recipients/1.dsse.json"), b"{}"),
        (format!("artifacts/{HEX}/attestations/{HEX}.dsse.json"), b"{}"),
        ("models/m/versions/1.dsse.json".into(), b"{}"),
        ("models/m/channels/production/1.dsse.json".into(), b"{}"),
        ("revocations/1.dsse.json".into(), b"not even JSON"),
        (format!("proposals/{HEX}/{HEX}.dsse.json"), b"{}"),
        (format!("trust/1/{HEX}.dsse.json"), b"{}"),
        (format!("sessions/{}/lease-1.json", &HEX[..32]), b"{}"),
        (format!("sessions/{}/outcome.json", &HEX[..32]), b"{}"),
        (format!("gc/{}/started.json", &HEX[..32]), b"{}"),
    ] {
        let answer = registry.put(admin, &path, bytes);
        assert_eq!((answer.status(), kind(&answer).as_str()), (422, "integrity"), "{path}: {}", answer.text());
        assert_eq!(registry.get(admin, &path).status(), 404, "{path}");
    }
    let staged = registry.folder().join("vault/staging");
    let left = std::fs::read_dir(staged).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing that was refused is left behind");
}

#[test]
fn a_record_by_nobody_whom_the_trust_root_lists_is_refused() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::with_examples(), &registry);
    for name in ["mallory", "signer"] {
        desk.run(&["key", "generate", "--kind", "signing", "-o", name, "--no-passphrase"]).ok();
    }
    desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    // A vault of one's own, whose records are then brought along by a raw client.
    desk.work.write("weights", b"weights");
    let there = |args: &[&str]| desk.run(&[&["--vault", "own", "--allow-example-keys"], args].concat());
    there(&["init"]).ok();
    there(&["seal", "weights", "m:1", "--to", "node.pub", "--sign-with", "mallory.key"]).ok();
    let mut refused = 0;
    for (path, entry) in vault_tests::tree(&desk.work.path("own")) {
        let path = path.clone();
        let answer = registry.put(&registry.admin, &path, &entry.bytes);
        if path.ends_with(".dsse.json") || path.ends_with("outcome.json") {
            assert_eq!((answer.status(), kind(&answer).as_str()), (422, "authenticity"), "{path}: {}", answer.text());
            refused += 1;
        } else if path != "vault.json" {
            assert_eq!(answer.status(), 201, "{path}: {}", answer.text());
        }
    }
    assert!(refused >= 3, "version, recipients and provenance");
    // The same by who may is let in.
    desk.run(&[
        "--allow-example-keys",
        "seal",
        "weights",
        "m:2",
        "--to",
        "node.pub",
        "--sign-with",
        "trainer.key",
        "--trust",
        "root.json",
        "--state",
        "state",
    ])
    .ok();
}

#[test]
fn an_object_is_created_once_and_read_by_ranges() {
    let registry = Registry::start();
    let admin = &registry.admin;
    let bytes: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    let hash = blake3::hash(&bytes).to_hex();
    let path = format!("objects/{}/{hash}", &hash[..2]);
    let target = format!("/v1/vaults/main/objects/{path}");
    assert_eq!(registry.put(admin, &path, &bytes).status(), 201);
    let again = registry.put(admin, &path, &bytes);
    assert_eq!((again.status(), kind(&again).as_str()), (412, "conflict"));
    let whole = registry.get(admin, &path);
    assert!(whole.body == bytes);
    assert_eq!(whole.header("etag"), Some(format!("\"{hash}\"").as_str()));
    let range = registry.ask(admin, "GET", &target, &[("range", "bytes=300000-300009")], b"");
    assert_eq!((range.status(), &range.body[..]), (206, &bytes[300_000..300_010]));
    assert_eq!(range.header("content-range"), Some("bytes 300000-300009/700000"));
    let head = registry.ask(admin, "HEAD", &target, &[], b"");
    assert_eq!((head.status(), head.header("content-length")), (200, Some("700000")));
    let tag = whole.header("etag").expect("a tag").to_owned();
    assert_eq!(registry.ask(admin, "GET", &target, &[("if-none-match", &tag)], b"").status(), 304);
    let many = format!("bytes=0-0{}", ",1-1".repeat(2000));
    assert_eq!(registry.ask(admin, "GET", &target, &[("range", &many)], b"").status(), 416);

    // A refusal arrives although the body is still being sent.
    let reader = registry.key("reader", &["read"], "*", "*");
    let long = vec![0; 30_000_000];
    let denied = registry.put(&reader, &path, &long);
    assert_eq!((denied.status(), kind(&denied).as_str()), (403, "denied"));

    // Without the condition, without a length, with another length.
    assert_eq!(registry.ask(admin, "PUT", &target, &[], &bytes).status(), 428);
    let unsure = request(admin, "PUT", &target, &[("if-none-match", "*"), ("content-length", "10")], b"");
    let mut connection = registry.connect().expect("connected");
    std::io::Write::write_all(&mut connection, &unsure).expect("sent");
    connection.sock.shutdown(std::net::Shutdown::Write).expect("closed");
    drain(&mut connection);
    assert_eq!(registry.get(admin, "objects/ab/".to_owned().as_str()).status(), 400);
}

#[test]
fn a_withdrawal_is_not_replayed_elsewhere() {
    let registry = Registry::start();
    let desk = Desk::new(Workspace::with_examples(), &registry);
    let run = |args: &[&str]| {
        let more = ["--allow-example-keys", "--trust", "root.json", "--state", "state"];
        desk.run(&[&more[..1], args, &more[1..]].concat())
    };
    desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    desk.work.write("weights", b"weights");
    run(&["seal", "weights", "m:1", "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
    let asked = ["promote", "m:1", "--channel", "production", "--reason", "good", "--key", "trainer.key"];
    let proposal = run(&asked).ok().json()["proposal"].as_str().expect("a proposal").to_owned();
    run(&["promote", "--withdraw", &proposal, "--key", "trainer.key"]).ok();
    let withdrawal = registry.get(&registry.admin, "models/m/channels/production/1.dsse.json");
    assert_eq!(withdrawal.status(), 200);
    let promoter = registry.key("promoter", &["promote", "sign"], "m", "production");
    for path in [
        "models/m/channels/production/2.dsse.json",
        "models/m/channels/production/101.dsse.json",
        "revocations/1.dsse.json",
    ] {
        for key in [&registry.admin, &promoter] {
            let answer = registry.put(key, path, &withdrawal.body);
            assert_eq!((answer.status(), kind(&answer).as_str()), (422, "integrity"), "{path}: {}", answer.text());
        }
    }
    // Who may not move that channel may not take back its proposals either.
    let other = registry.key("other", &["promote", "sign"], "other", "*");
    assert_eq!(registry.put(&other, "models/m/channels/production/1.dsse.json", &withdrawal.body).status(), 403);
    let proposal = run(&asked).ok().json()["proposal"].as_str().expect("a proposal").to_owned();
    for by in ["alice.key", "bob.key"] {
        run(&["approve", &proposal, "--key", by]).ok();
    }
    run(&["freshness", "sign", "m@production", "--key", "clock.key"]).ok();
    // It travels with what it withdraws, into a registry, too.
    run(&["copy", "m@production", "--from", &desk.url, "--to", "air-gap", "--init"]).ok();
    let next = Registry::start();
    let there = Desk { work: desk.work, ..Desk::new(Workspace::new(), &next) };
    there.work.write("admin.token", format!("{}\n", next.admin).as_bytes());
    let copied = [
        "--allow-example-keys",
        "copy",
        "m@production",
        "--from",
        "air-gap",
        "--to",
        &there.url,
        "--trust",
        "root.json",
    ];
    there.run(&[&copied[..], &["--state", "other-state"]].concat()).ok();
    assert_eq!(next.get(&next.admin, "models/m/channels/production/1.dsse.json").body, withdrawal.body);
}

#[test]
fn what_is_about_an_artifact_takes_rights_for_its_model() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", b"weights");
    let sealed = desk.seal("weights", "ours/m:1").ok().json();
    let artifact = sealed["digest"].as_str().and_then(|text| text.strip_prefix("b3:")).expect("a digest").to_owned();
    // A vault of somebody else's, with the same artifact: its owner could sign a new generation of recipients for it.
    desk.run(&["copy", "ours/m:1", "--from", &desk.url, "--to", "own", "--init", "--signer", "signer.pub"]).ok();
    let share = ["share", "ours/m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", "signer.key"];
    desk.run(&[&["--vault", "own"], &share[..]].concat()).ok();
    let attest = [
        "sign",
        "ours/m:1",
        "--key",
        "signer.key",
        "--signer",
        "signer.pub",
        "--predicate-type",
        "https://x.example/p",
        "--predicate",
        "p.json",
    ];
    desk.work.write("p.json", br#"{"score":1}"#);
    desk.run(&[&["--vault", "own"], &attest[..]].concat()).ok();
    let (theirs, ours) = (
        registry.key("theirs", &["seal", "sign"], "theirs/*", "*"),
        registry.key("ours", &["seal", "sign"], "ours/*", "*"),
    );
    let below = format!("artifacts/{artifact}/");
    let mut tried = 0;
    for (path, entry) in vault_tests::tree(&desk.work.path("own")) {
        if !path.starts_with(&below) || registry.get(&registry.admin, &path).status() == 200 {
            continue;
        }
        let answer = registry.put(&theirs, &path, &entry.bytes);
        assert_eq!((answer.status(), kind(&answer).as_str()), (403, "denied"), "{path}: {}", answer.text());
        assert!(answer.text().contains("ours/m"), "{}", answer.text());
        assert_eq!(registry.put(&ours, &path, &entry.bytes).status(), 201, "{path}");
        tried += 1;
    }
    assert_eq!(tried, 2, "recipients and an attestation");
    // Another name for it makes nobody its owner.
    desk.ask_as("theirs", &theirs);
    desk.work.write("other", b"other");
    desk.seal("other", "theirs/m:1").ok();
}
