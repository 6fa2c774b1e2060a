//! The one place through which every action and every denial passes.
//!
//! For now it writes one line of JSON each to standard error. A transparency log takes the same events by another [`Audit`].

use std::{fmt, io::Write, sync::Mutex};

use jiff::Timestamp;
use serde_json::json;

/// What happened.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The request.
    pub request: &'a str,
    /// From where.
    pub address: &'a str,
    /// Who; none if nobody said.
    pub principal: Option<&'a str>,
    /// What was to be done, such as `create`.
    pub action: &'a str,
    /// To what: the path of an object or the id of a key. Never a secret.
    pub target: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why it was not done.
    pub reason: Option<&'a str>,
    /// Bytes that were stored, or promised.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Keeps events.
pub trait Audit: Send + Sync + fmt::Debug {
    /// Keeps one.
    fn record(&self, event: &Event<'_>);

    /// Keeps what the server says about itself.
    fn note(&self, message: &str);
}

/// Lines of JSON.
pub struct JsonLines(Mutex<Box<dyn Write + Send>>);

impl JsonLines {
    /// Writes to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(out)))
    }

    fn line(&self, mut value: serde_json::Value) {
        value["time"] = json!(Timestamp::now().to_string());
        let mut line = value.to_string();
        line.push('\n');
        // Nobody is left to tell if this fails.
        let _ = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(line.as_bytes());
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

impl Audit for JsonLines {
    fn record(&self, event: &Event<'_>) {
        let Event { request, address, principal, action, target, status, reason, bytes, millis } = event;
        self.line(json!({
            "event": action, "request": request, "address": address, "principal": principal, "target": target,
            "status": status, "reason": reason, "bytes": bytes, "millis": millis,
        }));
    }

    fn note(&self, message: &str) {
        self.line(json!({ "event": "server", "message": message }));
    }
}
