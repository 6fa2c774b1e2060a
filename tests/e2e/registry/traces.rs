//! Traces, with a small collector; and that nothing secret is in anything that a server says.

use std::{
    io::{BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use vault_tests::{Workspace, servers::Registry, wire::Message};

use crate::Desk;

/// Collects what is sent to it.
struct Collector {
    url: String,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || keep(&stream, &kept));
            }
        });
        Self { url, requests }
    }

    /// Every byte that came, as text.
    fn text(&self) -> String {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |one: &Message| [one.first.clone(), format!("{:?}", one.headers), one.text()].join(" ");
        requests.iter().map(said).collect::<Vec<_>>().join("\n")
    }

    fn wait_for(&self, words: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if text.contains(words) {
                return text;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{words} is not in {text}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Answers until the other end is gone.
fn keep(stream: &TcpStream, kept: &Mutex<Vec<Message>>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read_request(&mut reader, || Ok(())) {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let mut stream = stream;
        let answered = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        if answered.is_err() {
            return;
        }
    }
}

fn traced(endpoint: &str) -> String {
    format!("[metrics]\naddress = \"127.0.0.1:0\"\n[traces]\nendpoint = \"{endpoint}\"\n")
}

#[test]
fn a_request_is_a_span_below_that_of_its_client() {
    let collector = Collector::start();
    let registry = Registry::with(&traced(&collector.url));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let target = "/v1/vaults/main/objects/models/private-name/versions/1.dsse.json?token=query";
    let answer = registry.ask(&registry.admin, "GET", target, &[("traceparent", &parent)], b"");
    let text = collector.wait_for("GET /v1/vaults/{vault}/objects/{*path}");
    assert!(
        text.contains("POST /v1/traces")
            && text.contains("mvault-server")
            && text.contains("http.response.status_code")
    );
    assert!(text.contains(answer.header("x-request-id").expect("an id")), "{text}");
    let ids: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let requests = collector.requests.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        requests.iter().any(|one| one.body.windows(16).filter(|window| *window == ids).count() >= 2),
        "the store's calls too"
    );
    drop(requests);
    assert!(!text.contains("private-name") && !text.contains("query") && !text.contains("healthz"));
}

#[test]
fn the_environment_names_the_collector_and_the_last_spans_are_sent_at_the_end() {
    let collector = Collector::start();
    let registry = Registry::over("vault", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)], "");
    registry.ask(&registry.admin, "GET", "/v1/whoami", &[], b"");
    registry.terminate();
    collector.wait_for("GET /v1/whoami");
}

#[test]
fn a_collector_that_is_silent_or_gone_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        listener.local_addr().expect("bound")
    };
    for address in [silent.local_addr().expect("bound"), gone] {
        let mut registry = Registry::with(&traced(&format!("http://{address}")));
        let start = Instant::now();
        // More than its queue holds.
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..150 {
                        assert_eq!(registry.ask(&registry.admin, "GET", "/v1/whoami", &[], b"").status(), 200);
                    }
                });
            }
        });
        assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
        let start = Instant::now();
        registry.stop();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn no_secret_is_in_logs_metrics_or_traces() {
    let collector = Collector::start();
    let registry = Registry::with(&traced(&collector.url));
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", b"weights");
    desk.run(&["login", &desk.url]).ok();
    desk.run(&["seal", "weights", "m:1", "--to-passphrase-file", "pass", "--sign-with", "signer.key"]).ok();
    desk.run(&["open", "m:1", "out", "--passphrase-file", "wrong", "--signer", "signer.pub"]).exits(6);
    desk.run(&["open", "m:1", "out", "--passphrase-file", "pass", "--signer", "signer.pub"]).ok();
    let added = desk.run(&["admin", "key", "add", "ci", "--permission", "read"]).ok().json();
    let added = added["key"].as_str().expect("a key").to_owned();
    let id = added.split('_').nth(1).expect("an id");
    let rotated = desk.run(&["admin", "key", "rotate", id, "--overlap", "0s"]).ok().json();
    let rotated = rotated["key"].as_str().expect("a key").to_owned();
    // Keys that are wrong, old, in the wrong place or of another scheme; a document with a secret that is refused.
    let json = [("content-type", "application/json")];
    let body = format!("{{\"name\":\"{added}\",\"grants\":[],\"secret\":\"{rotated}\"}}");
    for key in [&added, &format!("{rotated}x"), &registry.admin.to_uppercase(), &rotated] {
        registry.ask(key, "GET", "/v1/whoami", &[], b"");
        registry.ask(
            key,
            "GET",
            &format!("/v1/whoami?key={key}"),
            &[("x-key", key), ("tracestate", &format!("k={key}"))],
            b"",
        );
        registry.ask(key, "POST", "/v1/keys", &json, body.as_bytes());
    }
    desk.ask_as("old", &added);
    desk.run(&["ls"]).exits(9);
    registry.ask("", "GET", "/v1/whoami", &[("authorization", &format!("Basic {}", registry.admin))], b"");
    let metrics = registry.metrics();
    registry.terminate();
    thread::sleep(Duration::from_secs(3));
    let traces = collector.wait_for("/v1/keys/{id}/rotate");
    let said = [registry.log(), metrics, traces].concat();
    assert!(said.contains("mvault_http_requests_total") && said.contains("\"event\":"));
    let private = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).expect("a private key");
        text.lines().nth(1).expect("its Base64").to_owned()
    };
    let mut secrets = vec!["PRIVATE KEY".to_owned(), "correct horse".into(), "battery staple".into(), "Bearer".into()];
    secrets.extend(["tls.key", "server.key"].map(|file| private(&registry.folder().join(file))));
    secrets.extend(["signer.key", "alice.key"].map(|file| private(&desk.work.path(file))));
    for key in [&registry.admin, &added, &rotated] {
        let secret = key.splitn(3, '_').nth(2).expect("a secret");
        secrets.extend([secret.to_owned(), secret[..20].to_owned(), secret[..20].to_uppercase()]);
    }
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret} is in {said}");
    }
}
