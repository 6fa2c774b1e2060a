//! What was asked of a server: how often, of what kind, and how much of it one after the other.

use crate::wire::Message;

/// What a request is for, by what it costs and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A listing.
    List,
    /// The whole of an object.
    Get,
    /// A range of an object.
    GetRange,
    Head,
    /// A put that overwrites.
    Put,
    /// A put with `If-None-Match`.
    Create,
    /// A request about an upload in parts: its start, a part, its end.
    Multipart,
    Delete,
    Other,
}

impl Kind {
    /// The kind of a request.
    pub fn of(request: &Message) -> Self {
        let query = request.target().split_once('?').map_or("", |(_, query)| query);
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        match request.method() {
            _ if has("uploads") || has("uploadId") => Self::Multipart,
            "GET" if has("list-type") || has("versions") => Self::List,
            "GET" | "PUT" if !query.is_empty() => Self::Other,
            "GET" if request.header("range").is_some() => Self::GetRange,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" if request.header("if-none-match").is_some() => Self::Create,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: Kind,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Bytes of its body.
    pub sent: u64,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// Bytes of the answer's body.
    pub received: u64,
    /// When it came and when its answer went, by a clock that ticks once for each of either.
    begun: u64,
    ended: u64,
}

/// Requests in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    clock: u64,
    all: Vec<Request>,
    /// How many were taken away before: numbers of requests under way stay valid.
    first: u64,
}

impl Requests {
    /// All of them.
    pub fn all(&self) -> &[Request] {
        &self.all
    }

    /// How many of this kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.all.iter().filter(|request| request.kind == kind).count()
    }

    /// How many to targets that contain this.
    pub fn count_of(&self, target: &str) -> usize {
        self.all.iter().filter(|request| request.target.contains(target)).count()
    }

    /// The most requests of which each came after the one before was answered: what a client waits for however fast its
    /// line is. Requests sent together count once only if they overlap, for which [`super::Proxy::set_latency`] sees.
    pub fn round_trips(&self) -> usize {
        let mut spans: Vec<_> = self.all.iter().map(|request| (request.ended, request.begun)).collect();
        spans.sort_unstable();
        let mut last = None;
        let disjoint = spans.into_iter().filter(|(ended, begun)| {
            let later = last.is_none_or(|last| *begun > last);
            if later {
                last = Some(*ended);
            }
            later
        });
        disjoint.count()
    }

    pub(super) fn begin(&mut self, request: &Message) -> u64 {
        self.clock += 1;
        self.all.push(Request {
            kind: Kind::of(request),
            method: request.method().to_owned(),
            target: request.target().to_owned(),
            sent: request.body.len() as u64,
            status: 0,
            received: 0,
            begun: self.clock,
            ended: u64::MAX,
        });
        self.first + self.all.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64, status: u16, received: u64) {
        self.clock += 1;
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| self.all.get_mut(index)) {
            (request.status, request.received, request.ended) = (status, received, self.clock);
        }
    }

    /// Gives what there is and goes on with nothing.
    pub(super) fn take(&mut self) -> Self {
        let next = Self { clock: self.clock, all: Vec::new(), first: self.first + self.all.len() as u64 };
        std::mem::replace(self, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Message {
        let mut message = Message { first: format!("{text} HTTP/1.1"), ..Message::default() };
        if text.starts_with("PUT /b/new") {
            message.set("If-None-Match", "*");
        }
        message
    }

    #[test]
    fn requests_are_told_apart() {
        for (text, kind) in [
            ("GET /b?list-type=2&prefix=x", Kind::List),
            ("GET /b/k", Kind::Get),
            ("GET /b?versioning", Kind::Other),
            ("HEAD /b/k", Kind::Head),
            ("PUT /b/k", Kind::Put),
            ("PUT /b/new", Kind::Create),
            ("PUT /b/k?partNumber=1&uploadId=7", Kind::Multipart),
            ("POST /b/k?uploads=", Kind::Multipart),
            ("DELETE /b/k", Kind::Delete),
        ] {
            assert_eq!(Kind::of(&request(text)), kind, "{text}");
        }
    }

    #[test]
    fn round_trips_are_what_does_not_overlap() {
        let mut requests = Requests::default();
        assert_eq!(requests.round_trips(), 0);
        let first = requests.begin(&request("GET /1"));
        requests.end(first, 200, 0);
        let together = [requests.begin(&request("GET /2")), requests.begin(&request("GET /3"))];
        for number in together {
            requests.end(number, 200, 0);
        }
        let last = requests.begin(&request("GET /4"));
        let taken = requests.take();
        requests.end(last, 200, 0);
        assert_eq!((taken.all().len(), taken.round_trips()), (4, 3));
        assert_eq!(requests.all().len(), 0);
    }
}
