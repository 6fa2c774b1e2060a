//! The proxy before a server of a few lines, which counts and echoes.

use std::sync::atomic::AtomicUsize;

use super::*;

/// Answers every request with ten digits, as a range if one is asked for; counts them.
fn upstream() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let Ok(Some(request)) = Message::read_request(&mut reader, || Ok(())) else { continue };
            let number = count.fetch_add(1, Ordering::SeqCst);
            let mut answer = Message { first: "HTTP/1.1 200 OK".into(), ..Message::default() };
            answer.body = if Kind::of(&request) == Kind::List {
                format!("listing {number}").into_bytes()
            } else {
                b"0123456789".to_vec()
            };
            if request.header("range").is_some() {
                answer.first = "HTTP/1.1 206 Partial Content".into();
                answer.set("Content-Range", "bytes 0-9/20");
            }
            answer.set("Content-Length", &answer.body.len().to_string());
            let _ = (&stream).write_all(&answer.bytes());
        }
    });
    (address, served)
}

fn ask(proxy: &Proxy, line: &str, headers: &[(&str, &str)]) -> io::Result<Message> {
    let mut request = Message { first: format!("{line} HTTP/1.1"), ..Message::default() };
    request.set("Host", proxy.address());
    for (name, value) in headers {
        request.set(name, value);
    }
    exchange(proxy.address(), &request, Duration::from_secs(10))
}

#[test]
fn each_fault_happens_to_the_requests_it_is_meant_for() {
    let (address, served) = upstream();
    let proxy = Proxy::before(&address);
    let get = |path: &str| ask(&proxy, &format!("GET {path}"), &[]);
    let served = || served.swap(0, Ordering::SeqCst);

    proxy.add(Rule::new("GET", "/bad", Fault::SLOW_DOWN).after(1).times(2));
    let statuses: Vec<u16> = (0..4).map(|_| get("/bad").expect("answered").status()).collect();
    assert_eq!((statuses, served()), (vec![200, 503, 503, 200], 2));
    assert!(proxy.clear());

    proxy.add(Rule::new("GET", "", Fault::ERROR_AFTER));
    let refused = get("/x").expect("answered");
    assert_eq!((refused.status(), served()), (500, 1));
    assert!(refused.text().contains("<Code>InternalError</Code>"));

    for (fault, reached) in [(Fault::CutBefore, 0), (Fault::CutAfter, 1), (Fault::CutDuring, 1)] {
        proxy.add(Rule::new("GET", "", fault.clone()));
        get("/x").expect_err("cut");
        assert_eq!(served(), reached, "{fault:?}");
    }
    proxy.add(Rule::new("GET", "", Fault::Truncate(3)));
    assert_eq!(get("/x").expect("answered").body, b"0123456");
    proxy.add(Rule::new("GET", "", Fault::Flip(2)));
    assert_eq!(get("/x").expect("answered").body, b"0133456789");
    proxy.add(Rule::new("GET", "", Fault::WrongRange(5)).with_header("range"));
    assert_eq!(get("/x").expect("answered").header("content-range"), None);
    let shifted = ask(&proxy, "GET /x", &[("Range", "bytes=0-9")]).expect("answered");
    assert_eq!(shifted.header("content-range"), Some("bytes 5-14/20"));
    assert!(proxy.clear());
    proxy.add(Rule::new("PUT", "", Fault::ERROR));
    assert_eq!(get("/x").expect("answered").status(), 200);
    assert!(!proxy.clear(), "a rule that never happened is told");
}

#[test]
fn a_stale_listing_is_what_the_first_one_was() {
    let (address, served) = upstream();
    let proxy = Proxy::before(&address);
    let list = || ask(&proxy, "GET /b?list-type=2", &[]).expect("answered").text();
    proxy.add(Rule::new("GET", "list-type", Fault::StaleListing).after(2).times(1));
    assert_eq!([list(), list(), list(), list()], ["listing 0", "listing 1", "listing 0", "listing 2"]);
    assert_eq!(served.load(Ordering::SeqCst), 3);
}

#[test]
fn requests_are_counted_and_those_sent_together_are_one_round_trip() {
    let (address, _) = upstream();
    let proxy = Proxy::before(&address);
    ask(&proxy, "GET /b?list-type=2", &[]).expect("answered");
    proxy.set_latency(Duration::from_millis(300));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(&proxy, "GET /b/k", &[]).expect("answered"));
        }
    });
    let seen = proxy.take_requests();
    assert_eq!((seen.count(Kind::List), seen.count(Kind::Get), seen.count_of("/b/k")), (1, 4, 4));
    assert_eq!(seen.round_trips(), 2);
    assert_eq!(proxy.take_requests().all().len(), 0);
}

#[test]
fn a_write_is_held_before_the_server_sees_it_or_after_and_reads_pass() {
    let (address, served) = upstream();
    let proxy = Proxy::before(&address);
    let patience = Duration::from_secs(10);
    for (moment, release, reached) in [
        (Moment::Arrived, Release::GoOn, 3),
        (Moment::Arrived, Release::Cut, 2),
        (Moment::Done, Release::GoOn, 3),
        (Moment::Done, Release::Cut, 3),
    ] {
        served.store(0, Ordering::SeqCst);
        proxy.hold(2, moment);
        ask(&proxy, "PUT /a", &[]).expect("the first write passes");
        thread::scope(|scope| {
            let second = scope.spawn(|| ask(&proxy, "DELETE /a", &[]));
            assert!(proxy.is_held_within(patience));
            ask(&proxy, "GET /a", &[]).expect("reads pass");
            assert_eq!(served.load(Ordering::SeqCst), if moment == Moment::Arrived { 2 } else { 3 });
            proxy.release(release);
            assert_eq!(second.join().expect("no panic").is_ok(), release == Release::GoOn);
        });
        assert_eq!(served.load(Ordering::SeqCst), reached, "{moment:?} {release:?}");
        assert!(proxy.is_quiet_within(patience));
    }
    proxy.hold(1, Moment::Done);
    assert!(!proxy.is_held_within(Duration::from_millis(10)));
}
