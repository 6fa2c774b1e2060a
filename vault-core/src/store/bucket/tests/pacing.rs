//! With a limit, nobody sends or gets more than it in any moment; measured where the bytes arrive.

use std::{num::NonZeroU64, time::Duration};

use object_store::client::{HttpConnector as _, HttpRequest, HttpRequestBody};

use super::{
    server::{Seen, Server},
    *,
};

const RATE: u64 = 4 << 20;
const WINDOW: Duration = Duration::from_millis(200);
const OBJECTS: usize = 2;
/// What one second carries: far more than may come at once.
const LENGTH: usize = 4 << 20;
/// As a pipeline writes them.
const PIECE: usize = 1 << 20;
/// What may come late and then together on a machine that is busy.
const BURST: usize = 2 << 20;

fn limited(rate: u64) -> Connection {
    Connection { max_bandwidth: NonZeroU64::new(rate), proven: true, ..Connection::default() }
}

/// Stores objects in parallel; gives what the server saw of it.
fn upload(connection: Connection) -> Arc<Seen> {
    let seen = Arc::<Seen>::default();
    let ours = Arc::clone(&seen);
    let server = Server::start(move |request| {
        assert_eq!(request.method, "PUT");
        request.body(&ours);
        request.answer("200 OK", "etag: \"x\"\r\n", b"");
    });
    let bucket = server.bucket(connection);
    for number in 0..OBJECTS {
        let content = vec![u8::try_from(number).expect("few"); LENGTH];
        let staged = bucket.stage(content.len() as u64).expect("stage");
        for (at, piece) in (0..).step_by(PIECE).zip(content.chunks(PIECE)) {
            staged.write_at(at, piece).expect("write");
        }
        staged.commit(&blake3::hash(&content)).expect("commit");
    }
    bucket.sync().expect("sync");
    assert_eq!(seen.total(), OBJECTS * LENGTH);
    seen
}

/// Reads objects in parallel; gives what the server could send of them.
fn download(connection: Connection) -> Arc<Seen> {
    let content = Arc::new(vec![7; LENGTH]);
    let ours = Arc::clone(&content);
    let server = Server::start(move |request| {
        let range = request.range().expect("a range");
        let headers = format!(
            "content-range: bytes {}-{}/{LENGTH}\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\netag: \"x\"\r\n",
            range.start,
            range.end - 1
        );
        request.answer("206 Partial Content", &headers, &ours[range]);
    });
    let bucket = server.bucket(connection);
    let names: Vec<_> = (0..OBJECTS).map(|number| blake3::hash(&number.to_le_bytes())).collect();
    let length = LENGTH as u64;
    let ahead = bucket.ahead(names.iter().map(|name| Wanted { name: *name, length, range: 0..length }).collect());
    for name in names {
        let object = bucket.open_sized(&crate::parts::object_path(&name), length).expect("open");
        let mut buffer = vec![0; LENGTH];
        object.read_exact_at(0, &mut buffer).expect("read");
        assert_eq!(buffer, *content);
    }
    drop(ahead);
    assert_eq!(server.sent.total(), OBJECTS * LENGTH);
    server.sent
}

/// What the line carries in a window.
fn carried(rate: u64) -> usize {
    usize::try_from(rate * u64::try_from(WINDOW.as_millis()).expect("short") / 1000).expect("small")
}

#[test]
fn parts_go_out_no_faster_than_allowed_in_any_moment() {
    let (most, took) = upload(limited(RATE)).most_within(WINDOW);
    assert!(most < carried(RATE) + BURST, "{most} bytes in {WINDOW:?}");
    assert!(took > Duration::from_millis(1500), "{took:?}");
}

#[test]
fn parts_come_in_no_faster_than_allowed_in_any_moment() {
    let (most, took) = download(limited(RATE)).most_within(WINDOW);
    assert!(most < carried(RATE) + BURST, "{most} bytes in {WINDOW:?}");
    assert!(took > Duration::from_millis(1500), "{took:?}");
}

/// A server that takes no body without its length, as Amazon's.
fn strict() -> (Server, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let ours = Arc::clone(&seen);
    let server = Server::start(move |request| {
        if request.method != "DELETE" && !request.headers.contains_key("content-length") {
            request.answer("411 Length Required", "", b"");
            return request.hang_up();
        }
        request.body(&ours);
        request.answer("200 OK", "etag: \"x\"\r\n", b"");
    });
    (server, seen)
}

/// The status of an answer to a request that goes out by a line of this rate.
fn status(request: HttpRequest, rate: Option<NonZeroU64>) -> u16 {
    let line = Arc::new(Throttle::new(rate));
    let connector = Connector::new(&Connection::default(), Some("http://127.0.0.1"), &line).expect("a connector");
    let client = connector.connect(&connect::options().with_allow_http(true)).expect("a client");
    let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(client.execute(request)).expect("answered").status().as_u16()
}

#[test]
fn bodies_say_how_long_they_are_at_any_pace() {
    for rate in [RATE, 0] {
        let (server, seen) = strict();
        let bucket = server.bucket(limited(rate));
        assert_eq!(bucket.create("a", b"content").expect("created"), Created::New);
        bucket.delete("a").expect("deleted");
        let mut request = HttpRequest::new(HttpRequestBody::from(b"a list of what is to go".to_vec()));
        *request.method_mut() = "POST".parse().expect("a method");
        *request.uri_mut() = format!("http://{}/bucket?delete", server.address).parse().expect("a place");
        assert_eq!((status(request, NonZeroU64::new(rate)), seen.total()), (200, 7 + 23), "{rate}");
    }
}

#[test]
fn presigned_bodies_say_how_long_they_are_at_any_pace() {
    for rate in [RATE, 0] {
        let (server, seen) = strict();
        let url = server.bucket(limited(0)).presign("a", Purpose::Create, Duration::from_mins(1)).expect("signed");
        let content: PutPayload = [Bytes::from_static(b"in two "), Bytes::from_static(b"pieces")].into_iter().collect();
        let request = url.expect("signs").request("PUT", content.into()).expect("a request");
        assert_eq!((status(request, NonZeroU64::new(rate)), seen.total()), (200, 13), "{rate}");
    }
}
