//! What goes wrong, and with which requests.

use std::time::Duration;

use crate::wire::Message;

/// What happens to a request or to its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees the request, the client gets this error.
    Refuse { status: u16, code: &'static str },
    /// The server does what it is asked; the client gets this error instead of its answer.
    RefuseAfter { status: u16, code: &'static str },
    /// The connection ends before the server sees the request.
    CutBefore,
    /// The server does what it is asked; the connection ends without an answer.
    CutAfter,
    /// The connection ends in the middle of the answer's body.
    CutDuring,
    /// The answer's body loses so many bytes at its end, and its length says so too.
    Truncate(usize),
    /// `Content-Range` names a range that begins so many bytes later.
    WrongRange(u64),
    /// A byte of the answer's body is another; the number counts from its start.
    Flip(usize),
    /// A header of the answer has this value.
    Header(&'static str, &'static str),
    /// A listing is answered as the first of the same target was.
    StaleListing,
    /// The request waits so long before it is passed on.
    Delay(Duration),
}

impl Fault {
    /// 503, as S3 asks its clients to slow down.
    pub const SLOW_DOWN: Self = Self::Refuse { status: 503, code: "SlowDown" };
    /// 500 before anything happened.
    pub const ERROR: Self = Self::Refuse { status: 500, code: "InternalError" };
    /// 500 after everything happened.
    pub const ERROR_AFTER: Self = Self::RefuseAfter { status: 500, code: "InternalError" };
    /// 409, as S3 answers a create while another one of the same name is at work.
    pub const RACING: Self = Self::Refuse { status: 409, code: "ConditionalRequestConflict" };

    /// Changes an answer, as far as this is about answers.
    pub(super) fn spoil(&self, answer: &mut Message) {
        match self {
            Self::Truncate(bytes) => {
                let length = answer.body.len().saturating_sub(*bytes);
                answer.body.truncate(length);
                answer.set("Content-Length", &length.to_string());
            }
            Self::WrongRange(by) => {
                if let Some(range) = answer.header("content-range").and_then(|range| shifted(range, *by)) {
                    answer.set("Content-Range", &range);
                }
            }
            Self::Flip(at) => {
                if let Some(byte) = answer.body.get_mut(*at) {
                    *byte ^= 1;
                }
            }
            Self::Header(name, value) => answer.set(name, value),
            _ => {}
        }
    }
}

/// `bytes 0-9/20` as `bytes 5-14/20`.
fn shifted(range: &str, by: u64) -> Option<String> {
    let (first, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
    let (last, all) = rest.split_once('/')?;
    let moved = |number: &str| number.parse::<u64>().ok().map(|number| number + by);
    Some(format!("bytes {}-{}/{all}", moved(first)?, moved(last)?))
}

/// An error as S3 words it.
pub(super) fn refusal(request: &Message, status: u16, code: &str) -> Message {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>Made by the proxy of the \
         tests.</Message><RequestId>0</RequestId></Error>"
    );
    let mut answer = Message { first: format!("HTTP/1.1 {status} Made"), ..Message::default() };
    answer.set("Content-Type", "application/xml");
    answer.set("Content-Length", &body.len().to_string());
    if request.method() != "HEAD" {
        answer.body = body.into_bytes();
    }
    answer
}

/// A fault, and the requests it happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    method: &'static str,
    target: String,
    header: Option<&'static str>,
    skip: u32,
    times: u32,
    fault: Fault,
}

impl Rule {
    /// Happens to the first request of this method whose target (path and query) contains `target`.
    pub fn new(method: &'static str, target: impl Into<String>, fault: Fault) -> Self {
        Self { method, target: target.into(), header: None, skip: 0, times: 1, fault }
    }

    /// Happens only to requests with this header.
    #[must_use]
    pub fn with_header(self, name: &'static str) -> Self {
        Self { header: Some(name), ..self }
    }

    /// Lets so many requests that fit pass first.
    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Happens so often.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Happens for ever.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// The fault, if it happens to this request.
    pub(super) fn take(&mut self, request: &Message) -> Option<Fault> {
        let fits = request.method() == self.method
            && request.target().contains(&self.target)
            && self.header.is_none_or(|name| request.header(name).is_some());
        if !fits || self.times == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.times != u32::MAX {
            self.times -= 1;
        }
        Some(self.fault.clone())
    }

    /// Whether it has happened as often as it should. One that happens always never has to.
    pub(super) fn is_used_up(&self) -> bool {
        self.times == 0 || self.times == u32::MAX
    }
}
