//! A proxy that fails on purpose, in front of a server on loopback.
//!
//! It speaks plain HTTP/1.1. Signature Version 4 signs the `Host` header, so a client addresses the proxy, and the proxy
//! passes that header on as it is: the servers here compare signatures with what they were sent. What it does to which
//! request is said by rules, by method, part of the target and number, so that a test is the same every time.

mod fault;
mod hold;
mod requests;

use std::{
    collections::HashMap,
    io::{self, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

pub use fault::{Fault, Rule};
use hold::Latch;
pub use hold::{Moment, Release};
pub use requests::{Kind, Request, Requests};

use crate::{
    s3::Client,
    wire::{Message, exchange},
};

/// How long a server behind the proxy may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    closed: AtomicBool,
    state: Mutex<State>,
    latch: Latch,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Requests,
    /// The first answer to each listing, by its target.
    listings: HashMap<String, Message>,
    /// Before every request that is passed on.
    latency: Duration,
}

impl Proxy {
    /// In front of `upstream`, `host:port`.
    pub fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (upstream, closed) = (upstream.to_owned(), AtomicBool::new(false));
        let shared = Arc::new(Shared { upstream, closed, state: Mutex::default(), latch: Latch::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.closed.load(Ordering::Acquire) {
                    return;
                }
                serving.latch.connect();
                let serving = Arc::clone(&serving);
                // A connection that breaks is the client's business, and often what a rule wants.
                thread::spawn(move || serving.serve(&stream));
            }
        });
        Self { address, shared }
    }

    /// Where clients find it, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same user, by way of this proxy.
    pub fn client(&self, client: &Client) -> Client {
        Client { address: self.address.clone(), ..client.clone() }
    }

    /// Adds a rule. Of several that fit a request the first that is not used up decides.
    pub fn add(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Takes all rules away, and returns whether each had come to its end: a fault that never happened tests nothing.
    pub fn clear(&self) -> bool {
        let rules = std::mem::take(&mut self.shared.lock().rules);
        rules.iter().all(Rule::is_used_up)
    }

    /// Delays every request by so much, so that those sent together overlap: see [`Requests::round_trips`].
    pub fn set_latency(&self, latency: Duration) {
        self.shared.lock().latency = latency;
    }

    /// Holds the write (`PUT`, `POST` or `DELETE`) of this number, counted from 1 from now on, until it is released.
    pub fn hold(&self, number: u32, moment: Moment) {
        self.shared.latch.set(number, moment);
    }

    /// Waits for the write that is to be held; returns whether it came in time.
    pub fn is_held_within(&self, patience: Duration) -> bool {
        self.shared.latch.is_held_within(patience)
    }

    /// Lets go of what is held, or would be.
    pub fn release(&self, release: Release) {
        self.shared.latch.release(release);
    }

    /// Waits until nobody is connected: what a client that was killed had sent has come to its end. Returns whether it did in
    /// time.
    pub fn is_quiet_within(&self, patience: Duration) -> bool {
        self.shared.latch.is_quiet_within(patience)
    }

    /// Whether a request of this kind has come since the last time.
    pub fn has_seen(&self, kind: Kind) -> bool {
        self.shared.lock().seen.count(kind) > 0
    }

    /// What was asked since the last time.
    pub fn take_requests(&self) -> Requests {
        self.shared.lock().seen.take()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let _ = stream.set_nodelay(true);
        loop {
            let proceed = || (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            let Ok(Some(request)) = Message::read_request(&mut reader, proceed) else { break };
            if self.closed.load(Ordering::Acquire) || self.handle(stream, &request).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        self.latch.disconnect();
    }

    /// Deals with one request. An error means that the connection is to be cut.
    fn handle(&self, stream: &TcpStream, request: &Message) -> io::Result<()> {
        let (fault, number, latency) = {
            let mut state = self.lock();
            let fault = state.rules.iter_mut().find_map(|rule| rule.take(request));
            let number = state.seen.begin(request);
            (fault, number, state.latency)
        };
        thread::sleep(latency);
        let write = self.latch.count(request);
        let pass = |moment| match self.latch.pass(write, moment) {
            Release::GoOn => Ok(()),
            Release::Cut => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
        };
        let answer = pass(Moment::Arrived).and_then(|()| self.answer(request, fault.as_ref()));
        let outcome = answer.and_then(|answer| pass(Moment::Done).map(|()| answer));
        // Over for the client when it has the answer; noted before, so that what it asks next cannot come first.
        let (status, received) =
            outcome.as_ref().map_or((0, 0), |(answer, _)| (answer.status(), answer.body.len() as u64));
        self.lock().seen.end(number, status, received);
        let (answer, sent) = outcome?;
        let (mut stream, head, body) = (stream, answer.head(), &answer.body);
        match sent {
            Sent::Whole => stream.write_all(&[&head, &body[..]].concat()),
            Sent::Cut => {
                stream.write_all(&[&head, &body[..body.len() / 2]].concat())?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// What is answered, and how much of it is sent.
    fn answer(&self, request: &Message, fault: Option<&Fault>) -> io::Result<(Message, Sent)> {
        let cut = || Err(io::ErrorKind::ConnectionAborted.into());
        match fault {
            Some(Fault::Refuse { status, code }) => return Ok((fault::refusal(request, *status, code), Sent::Whole)),
            Some(Fault::CutBefore) => return cut(),
            Some(Fault::Delay(time)) => thread::sleep(*time),
            Some(Fault::StaleListing) => {
                if let Some(stale) = self.lock().listings.get(request.target()) {
                    return Ok((stale.clone(), Sent::Whole));
                }
            }
            _ => {}
        }
        let mut answer = self.forward(request)?;
        match fault {
            Some(Fault::RefuseAfter { status, code }) => answer = fault::refusal(request, *status, code),
            Some(Fault::CutAfter) => return cut(),
            Some(Fault::CutDuring) => return Ok((answer, Sent::Cut)),
            Some(other) => other.spoil(&mut answer),
            None => {}
        }
        Ok((answer, Sent::Whole))
    }

    fn forward(&self, request: &Message) -> io::Result<Message> {
        let mut answer = exchange(&self.upstream, request, PATIENCE)?;
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            answer.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        }
        if request.method() != "HEAD" && answer.status() != 204 && answer.status() != 304 {
            answer.set("Content-Length", &answer.body.len().to_string());
        }
        if Kind::of(request) == Kind::List && answer.status() == 200 {
            self.lock().listings.entry(request.target().to_owned()).or_insert_with(|| answer.clone());
        }
        Ok(answer)
    }
}

/// How much of an answer reaches the client.
enum Sent {
    Whole,
    /// Half of the body, and then the connection ends.
    Cut,
}

#[cfg(test)]
mod tests;
