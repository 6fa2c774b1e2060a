//! Witnesses over HTTP: a small server around a witness that does what tlog-witness says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use serde_json::json;
use vault_core::{
    keys::PublicKey,
    log::{Answer, Cosigner, Judge, LogKeys},
};

use crate::Office;

/// A witness on a loopback port, for as long as the test runs.
struct Server {
    url: String,
    witness: Arc<Cosigner>,
}

impl Server {
    /// A witness of this name for the log of the office.
    fn start(office: &Office, name: &str) -> Self {
        let pem = String::from_utf8(office.0.read("log.pub")).expect("UTF-8");
        let Ok(PublicKey::Signing(key)) = PublicKey::from_pem(&pem) else { panic!("log.pub is a signing key") };
        let log = ("example.com/log".parse().expect("a name"), Judge::new(LogKeys::Any(vec![key])));
        let witness = Arc::new(Cosigner::new(name.parse().expect("a name"), [log]));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/prefix", listener.local_addr().expect("bound"));
        let served = Arc::clone(&witness);
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(&stream, &served)));
        Self { url, witness }
    }

    fn key(&self) -> String {
        self.witness.verifier_key().to_string()
    }

    fn option(&self) -> String {
        format!("{} {}", self.key(), self.url)
    }
}

/// Answers one request.
fn serve(mut stream: &TcpStream, witness: &Cosigner) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).expect("a request");
    let known = line.starts_with("POST /prefix/add-checkpoint ");
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let Answer { status, body } = if known { witness.answer(&body) } else { Answer { status: 404, body: Vec::new() } };
    let kind = if status == 409 { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

#[test]
fn witnesses_cosign_and_readers_demand_as_many_as_they_like() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    let (one, two) = (Server::start(&office, "w.example/1"), Server::start(&office, "w.example/2"));
    let publish = |witnesses: &[&Server], more: &[&str]| {
        let options: Vec<_> = witnesses.iter().map(|witness| witness.option()).collect();
        let mut line = vec!["log", "publish", "--key", "log.key"];
        for option in &options {
            line.extend(["--witness", option]);
        }
        office.believing(&[&line, more].concat())
    };
    let published = publish(&[&one], &[]).ok().json();
    assert_eq!(published["cosigned"], json!(1));
    let (first, second) = (one.key(), two.key());
    let demand = |more: &[&str]| office.demand("m:1", more);
    demand(&["--witness-key", &first]).ok();
    Office::refused(demand(&["--witness-key", &first, "--witness-key", &second]), 4, "authenticity");
    demand(&["--witness-key", &first, "--witness-key", &second, "--witnesses", "1"]).ok();
    Office::refused(demand(&["--witness-key", &first, "--witness-key", &first]), 2, "usage");
    Office::refused(demand(&["--witness-key", &first, "--witnesses", "2"]), 2, "usage");

    // The next checkpoint is cosigned from where each witness is: one needs a proof, the other none.
    office.seal("m:2").ok();
    assert_eq!(publish(&[&one, &two], &[]).ok().json()["cosigned"], json!(2));
    // Nothing new: nobody is asked again, and nothing is stored.
    let listed = || std::fs::read_dir(office.0.path("vault/log/checkpoints")).expect("listed").count();
    let stored = listed();
    assert_eq!(publish(&[&one, &two], &[]).ok().json()["cosigned"], json!(2));
    assert_eq!(listed(), stored);
    demand(&["--witness-key", &first, "--witness-key", &second]).ok();
    let proof = ["log", "prove", "m:2", "--output", "p.tlog-proof", "--witness-key", &first, "--witness-key", &second];
    assert_eq!(office.believing(&proof).ok().json()["cosigners"], json!(["w.example/1", "w.example/2"]));
}

#[test]
fn a_witness_that_is_away_is_an_error_and_one_that_saw_a_fork_another() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    let witness = Server::start(&office, "w.example/1");
    let option = witness.option();
    let publish = |vault: &str, option: &str, more: &[&str]| {
        office.run(
            &[&["--vault", vault, "log", "publish", "--key", "log.key", "--stateless", "--witness", option], more]
                .concat(),
        )
    };
    let away = format!("{} http://127.0.0.1:9", witness.key());
    Office::refused(publish("vault", &away, &[]), 1, "operational");
    // It was signed all the same, and the next one asks again.
    office.0.copy("vault", "fork");
    publish("vault", &away, &["--witnesses", "0"]).ok();
    publish("vault", &option, &[]).ok();
    office.run(&["--vault", "fork", "seal", "model", "m:7", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    office.seal("m:2").ok();
    publish("vault", &option, &[]).ok();
    let why = Office::refused(publish("fork", &option, &[]), 4, "authenticity");
    assert!(why.contains("a fork"), "{why}");
    Office::refused(publish("vault", "no key", &[]), 2, "usage");
}

#[test]
fn a_witness_that_refuses_does_not_undo_what_others_cosigned() {
    let office = Office::new();
    office.run(&["log", "append"]).ok();
    let (honest, ahead, forked) = (
        Server::start(&office, "w.example/1"),
        Server::start(&office, "w.example/2"),
        Server::start(&office, "w.example/3"),
    );
    office.0.copy("vault", "other");
    let publish = |vault: &str, witnesses: &[&Server]| {
        let options: Vec<_> = witnesses.iter().map(|witness| witness.option()).collect();
        let mut line = vec!["--vault", vault, "log", "publish", "--key", "log.key", "--stateless", "--witnesses", "1"];
        for option in &options {
            line.extend(["--witness", option]);
        }
        office.run(&line)
    };
    // One witness sees another history, one a longer one.
    let seal = |vault: &str, name: &str| {
        office.run(&["--vault", vault, "seal", "model", name, "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    };
    seal("other", "m:7");
    publish("other", &[&forked]).ok();
    seal("other", "m:8");
    seal("other", "m:9");
    publish("other", &[&ahead]).ok();
    seal("vault", "m:2");
    seal("vault", "m:3");
    let why = Office::refused(publish("vault", &[&ahead, &honest]), 5, "stale");
    assert!(why.contains("w.example/2"), "{why}");
    office.demand("m:1", &["--witness-key", &honest.key()]).ok();
    seal("vault", "m:4");
    seal("vault", "m:5");
    seal("vault", "m:6");
    let output = publish("vault", &[&forked, &honest, &ahead]);
    let why = Office::refused(output.clone(), 4, "authenticity");
    assert!(why.contains("a fork"), "{why}");
    assert_eq!(output.json()["cosigned"], json!(1));
    office.demand("m:4", &["--witness-key", &honest.key()]).ok();
}
