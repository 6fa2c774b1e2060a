//! Servers that lead elsewhere, or never come to an end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{
    server::{Request, Seen, Server},
    *,
};

/// Bytes that are between two programs on one machine: what the system keeps for a reader that is gone.
const BETWEEN: usize = 8 << 20;

fn impatient() -> Connection {
    Connection { patience: Duration::from_millis(300), proven: true, ..Connection::default() }
}

/// What a bucket is asked for, each once.
fn questions(bucket: &Bucket) -> Vec<(&'static str, Error)> {
    let list = bucket.list("models", &mut |_| Ok(())).map(|()| "");
    let answers = [
        ("create", bucket.create("a/b", b"record").map(|_| "")),
        ("read", bucket.read("a/b", 1000).map(|_| "")),
        ("stat", bucket.stat("a/b").map(|_| "")),
        ("list", list),
        ("delete", bucket.delete("a/b").map(|()| "")),
        ("range", bucket.open_sized("a/b", 100).and_then(|it| it.read_exact_at(0, &mut [0; 100])).map(|()| "")),
    ];
    answers.into_iter().map(|(what, answer)| (what, answer.expect_err(what))).collect()
}

#[test]
fn redirects_are_not_followed_and_nothing_is_told_elsewhere() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let ours = Arc::clone(&asked);
        let elsewhere = Server::start(move |request| {
            ours.fetch_add(1, Ordering::SeqCst);
            request.answer("200 OK", "", b"");
        });
        let target = format!("location: http://{}/bucket/a/b\r\n", elsewhere.address);
        let here = Server::start(move |request| {
            assert!(request.headers.contains_key("authorization") && request.target.starts_with("/bucket"));
            request.body(&Seen::default());
            request.answer(status, &target, b"<Error><Code>PermanentRedirect</Code></Error>");
        });
        for (what, error) in questions(&here.bucket(impatient())) {
            assert_eq!(error.kind(), crate::error::Kind::Operational, "{status} {what}: {error}");
            assert!(!error.to_string().contains("very-secret"), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{status}");
    }
}

/// Asks a server that answers so, for ever; gives what came of it, and how much of each answer was taken.
fn endless(answer: impl Fn(&mut Request) + Send + Sync + 'static) -> (Vec<(&'static str, Error)>, usize) {
    let answers = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&answers);
    let server = Server::start(move |request| {
        ours.fetch_add(1, Ordering::SeqCst);
        request.body(&Seen::default());
        answer(request);
    });
    let begun = Instant::now();
    let errors = questions(&server.bucket(impatient()));
    assert!(begun.elapsed() < Duration::from_mins(1), "cut off long before anybody loses patience");
    (errors, server.sent.total() / answers.load(Ordering::SeqCst).max(1))
}

#[test]
fn what_a_server_says_about_a_failure_is_cut_off() {
    for status in ["500 Oh", "403 Forbidden"] {
        let (errors, taken) = endless(move |request| {
            request.answer_for_ever(status, "connection: close\r\n", &[b'x'; 16 << 10]);
        });
        assert!(taken < BETWEEN, "{status}: {taken} bytes");
        for (what, error) in errors {
            assert_eq!(error.kind(), crate::error::Kind::Operational, "{what}: {error}");
            assert!(error.to_string().len() < 2000, "{what}: {error}");
        }
    }
}

#[test]
fn answers_that_never_end_are_cut_off() {
    let entry = b"<Contents><Key>models/a/versions/1.dsse.json</Key><Size>1</Size></Contents>".repeat(200);
    let (errors, taken) = endless(move |request| {
        let headers = "connection: close\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\netag: \"x\"\r\n";
        match request.range() {
            // More than the range that it says it is.
            Some(_) => {
                let headers = format!("{headers}content-range: bytes 0-99/100\r\ncontent-length: 1000000000\r\n");
                request.answer_for_ever("206 Partial Content", &headers, &entry);
            }
            None if request.method == "HEAD" => request.answer("403 Forbidden", headers, b""),
            None if request.target.contains("list-type=2") => request.answer_for_ever("200 OK", headers, &entry),
            None if request.method == "GET" => {
                let headers = format!("{headers}content-length: 1000000000000\r\n");
                request.answer_for_ever("200 OK", &headers, &entry);
            }
            None => request.answer_for_ever("412 Precondition Failed", headers, &entry),
        }
    });
    assert!(taken < 2 * BETWEEN, "{taken} bytes");
    let said = |wanted: &str| {
        let (_, error) = errors.iter().find(|(what, _)| *what == wanted).expect(wanted);
        error.to_string()
    };
    assert!(said("list").contains("an answer of more than 8388608 bytes"), "{}", said("list"));
    assert!(said("read").contains("length exceeds the limit of 1000"), "{}", said("read"));
    assert!(said("range").contains("expected 100"), "{}", said("range"));
}
