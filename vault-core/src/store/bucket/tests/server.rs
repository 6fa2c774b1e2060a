//! A server on loopback that answers as a test says, and sees every byte come and go.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use super::*;

/// What came in, or went out, and when.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Vec<(Instant, usize)>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, usize)>> {
        self.0.lock().expect("no panic")
    }

    fn add(&self, bytes: usize) {
        self.lock().push((Instant::now(), bytes));
    }

    pub(super) fn total(&self) -> usize {
        self.lock().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The most bytes in any time of this length, and how long it took in all.
    pub(super) fn most_within(&self, window: Duration) -> (usize, Duration) {
        let mut seen = self.lock();
        seen.sort();
        let within = |start: usize| {
            let from = seen[start].0;
            seen[start..].iter().take_while(|(at, _)| *at - from < window).map(|(_, bytes)| bytes).sum()
        };
        let most = (0..seen.len()).map(within).max().unwrap_or(0);
        let took = seen.last().zip(seen.first()).map_or(Duration::ZERO, |(last, first)| last.0 - first.0);
        (most, took)
    }
}

/// A request whose body has not been read.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
    stream: BufReader<TcpStream>,
    sent: Arc<Seen>,
}

impl Request {
    fn read(mut stream: BufReader<TcpStream>, sent: &Arc<Seen>) -> Option<Self> {
        let mut line = || {
            let mut line = String::new();
            let read = stream.read_line(&mut line).ok()?;
            (read > 0).then(|| line.trim_end().to_owned())
        };
        let first = line()?;
        let (method, rest) = first.split_once(' ')?;
        let (target, _) = rest.split_once(' ')?;
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = HashMap::new();
        while let Some(line) = line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Some(Self { method, target, headers, stream, sent: Arc::clone(sent) })
    }

    /// Reads the body, and sees it come.
    pub(super) fn body(&mut self, seen: &Seen) -> Vec<u8> {
        let length = self.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (mut body, mut piece) = (Vec::new(), [0; 16 << 10]);
        while body.len() < length {
            let most = piece.len().min(length - body.len());
            match self.stream.read(&mut piece[..most]) {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    seen.add(read);
                    body.extend_from_slice(&piece[..read]);
                }
            }
        }
        body
    }

    /// Ends the connection without an answer.
    pub(super) fn hang_up(&mut self) {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Both);
    }

    /// The range that is asked for.
    pub(super) fn range(&self) -> Option<Range<usize>> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
    }

    /// Answers with these headers; the body is `content`, again and again for as long as the other end takes it.
    pub(super) fn answer_for_ever(&mut self, status: &str, headers: &str, content: &[u8]) {
        let stream = self.stream.get_mut();
        let mut go_on = write!(stream, "HTTP/1.1 {status}\r\n{headers}\r\n").is_ok();
        while go_on {
            go_on = stream.write_all(content).is_ok();
            if go_on {
                self.sent.add(content.len());
            }
        }
    }

    pub(super) fn answer(&mut self, status: &str, headers: &str, body: &[u8]) {
        let stream = self.stream.get_mut();
        let length = if headers.contains("content-length") { String::new() } else { length(body.len()) };
        let mut go_on = write!(stream, "HTTP/1.1 {status}\r\n{length}{headers}\r\n").is_ok();
        for piece in body.chunks(16 << 10) {
            go_on = go_on && stream.write_all(piece).is_ok();
            if go_on {
                self.sent.add(piece.len());
            }
        }
    }
}

fn length(bytes: usize) -> String {
    format!("content-length: {bytes}\r\n")
}

/// A server. Its threads end with the process.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Bytes of bodies that went out.
    pub(super) sent: Arc<Seen>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&mut Request) + Send + Sync + 'static) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
        // The system would take more off a server's hands than a slow client does.
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("socket");
            socket.set_send_buffer_size(8 << 10).expect("set");
            socket.bind(([127, 0, 0, 1], 0).into()).expect("bound");
            socket.listen(64).expect("listening").into_std().expect("a socket")
        });
        listener.set_nonblocking(false).expect("set");
        let (address, sent, answer) = (listener.local_addr().expect("bound"), Arc::<Seen>::default(), Arc::new(answer));
        let ours = Arc::clone(&sent);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, sent) = (Arc::clone(&answer), Arc::clone(&ours));
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(mut request) = Request::read(stream, &sent) {
                        answer(&mut request);
                        stream = request.stream;
                    }
                });
            }
        });
        Self { address, sent }
    }

    /// The bucket that is there.
    pub(super) fn bucket(&self, connection: Connection) -> Bucket {
        let settings = [
            ("AWS_ACCESS_KEY_ID", "ak".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "very-secret".to_owned()),
            ("AWS_SESSION_TOKEN", "very-secret-token".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
        ];
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Bucket::connect("s3://bucket", &Connection { settings, ..connection }).expect("a bucket")
    }
}
