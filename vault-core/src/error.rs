//! The one error type of the library, made of facts: what, where, expected, found.
//!
//! Advice on what to do next belongs to the program that shows the error.

use std::fmt;

mod kind;

pub use kind::Kind;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes are not what was signed, or a document breaks its format.
    #[error("{place}: {fault}")]
    Corrupt {
        /// Where.
        place: Place,
        /// What is wrong there.
        fault: Fault,
    },
    /// A signature is missing, wrong, or by nobody who is accepted.
    #[error("{what}: {why}")]
    Untrusted {
        /// The record or artifact that was to be believed.
        what: String,
        /// Why it was not.
        why: &'static str,
    },
    /// A record is expired, or older than one already seen.
    #[error("{what} is stale: {why}")]
    Stale {
        /// The record.
        what: String,
        /// In what way.
        why: &'static str,
    },
    /// None of the keys at hand opens this.
    #[error("{what}: {why}")]
    WrongKey {
        /// The artifact or key file that stays closed.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// Something of this name exists already, or another writer was first.
    #[error("{what} exists already")]
    Conflict {
        /// The name.
        what: String,
    },
    /// Somebody else was first, and this operation gave way: nothing came of it.
    #[error("{what}: {why}")]
    Lost {
        /// What it was about.
        what: String,
        /// To whom it was lost.
        why: &'static str,
    },
    /// Something else builds on this, which is why it is left alone.
    #[error("{what} is in use: {by}")]
    InUse {
        /// What was to go.
        what: String,
        /// What needs it.
        by: String,
    },
    /// This was here once, and is not any more, as somebody who may say so said.
    #[error("{what}: {why}")]
    Gone {
        /// What is not there.
        what: String,
        /// When and why it went.
        why: String,
    },
    /// A registry does not let whoever asked do this.
    #[error("{what}: {why}")]
    Denied {
        /// What was to be done.
        what: String,
        /// What is missing, in the registry's words.
        why: String,
    },
    /// Nothing of this name exists.
    #[error("{what} does not exist")]
    NotFound {
        /// The name.
        what: String,
    },
    /// The storage, the network or the operating system failed.
    #[error("{what}: {source}")]
    Storage {
        /// The file or object it happened to.
        what: String,
        /// The reason given.
        source: std::io::Error,
    },
    /// The input of a seal was not the same at its end as at its start.
    #[error("{what} changed while it was read: {why}")]
    InputChanged {
        /// The input file.
        what: String,
        /// In what way.
        why: &'static str,
    },
    /// The caller asked for something that cannot be: a bad name, a bad option, an unfit file.
    #[error("{0}")]
    Misuse(String),
}

/// The most characters of a rule that an error repeats.
const MAX_RULE: usize = 200;

/// Where a [`Error::Corrupt`] was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// An object of the vault, by its path.
    Object(String),
    /// One part of one stream.
    Part {
        /// Stream number; `u32::MAX` is the index.
        stream: u32,
        /// Part number within the stream, from 0.
        part: u64,
        /// The part's object path.
        object: String,
    },
    /// One segment of one stream.
    Segment {
        /// Stream number; `u32::MAX` is the index.
        stream: u32,
        /// Segment number within the stream, from 0.
        position: u64,
    },
    /// A header of a stream.
    Header {
        /// Stream number; `u32::MAX` is the index.
        stream: u32,
    },
    /// A document without a path of its own: "manifest", "index", "key file", …
    Document(&'static str),
}

/// What is wrong at a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The object is not there.
    Missing,
    /// The hash differs.
    Digest {
        /// What was signed.
        expected: blake3::Hash,
        /// What is there.
        found: blake3::Hash,
    },
    /// The length differs.
    Length {
        /// Bytes that should be there.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The authentication tag does not fit key, position and bytes.
    Tag,
    /// More than a limit of the format allows.
    Limit {
        /// What is limited.
        what: &'static str,
        /// The most that is accepted.
        limit: u64,
    },
    /// The document breaks a rule of the format.
    Format(String),
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Corrupt { .. } => Kind::Integrity,
            Self::Untrusted { .. } => Kind::Authenticity,
            Self::Stale { .. } => Kind::Stale,
            Self::WrongKey { .. } => Kind::NoKey,
            Self::Conflict { .. } | Self::Lost { .. } | Self::InUse { .. } => Kind::Conflict,
            Self::NotFound { .. } | Self::Gone { .. } => Kind::NotFound,
            Self::Denied { .. } => Kind::Denied,
            Self::Storage { .. } | Self::InputChanged { .. } => Kind::Operational,
            Self::Misuse(_) => Kind::Usage,
        }
    }

    /// An [`Error::Storage`] about `what`; for use with `map_err`.
    pub fn storage(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Storage { what: what.to_string(), source }
    }

    /// The same fault at a place that the caller knows better.
    pub(crate) fn at(self, place: Place) -> Self {
        match self {
            Self::Corrupt { place: Place::Document(_), fault } => Self::Corrupt { place, fault },
            other => other,
        }
    }

    /// An [`Error::Corrupt`] for a document that breaks a rule of its format.
    pub(crate) fn format(document: &'static str, rule: impl Into<String>) -> Self {
        let mut rule = rule.into();
        // Parsers quote what they refuse; a hostile document is not to fill memory and logs with itself.
        if let Some((end, _)) = rule.char_indices().nth(MAX_RULE) {
            rule.truncate(end);
            rule.push('…');
        }
        Self::Corrupt { place: Place::Document(document), fault: Fault::Format(rule) }
    }

    /// An [`Error::Corrupt`] for a document above a limit of the format.
    pub(crate) fn limit(document: &'static str, what: &'static str, limit: u64) -> Self {
        Self::Corrupt { place: Place::Document(document), fault: Fault::Limit { what, limit } }
    }
}

/// Writes "stream 3", or "index" for the index stream.
struct StreamName(u32);

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u32::MAX => f.write_str("index"),
            i => write!(f, "stream {i}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(path) => f.write_str(path),
            Self::Part { stream, part, object } => write!(f, "part {part} of {} ({object})", StreamName(*stream)),
            Self::Segment { stream, position } => write!(f, "segment {position} of {}", StreamName(*stream)),
            Self::Header { stream } => write!(f, "header of {}", StreamName(*stream)),
            Self::Document(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Digest { expected, found } => write!(f, "expected BLAKE3 {expected}, found {found}"),
            Self::Length { expected, found } => write!(f, "expected {expected} bytes, found {found}"),
            Self::Tag => f.write_str("does not authenticate"),
            Self::Limit { what, limit } => write!(f, "{what} exceeds the limit of {limit}"),
            Self::Format(rule) => f.write_str(rule),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_and_kind_is_as_documented() {
        let hash = blake3::hash(b"");
        let hex = hash.to_hex();
        let at = |place, fault| Error::Corrupt { place, fault };
        let cases: [(Error, String, &str); 18] = [
            (at(Place::Object("objects/a".into()), Fault::Missing), "objects/a: is missing".into(), "integrity"),
            (
                at(
                    Place::Part { stream: 1, part: 2, object: "objects/a".into() },
                    Fault::Digest { expected: hash, found: hash },
                ),
                format!("part 2 of stream 1 (objects/a): expected BLAKE3 {hex}, found {hex}"),
                "integrity",
            ),
            (
                at(Place::Segment { stream: u32::MAX, position: 0 }, Fault::Tag),
                "segment 0 of index: does not authenticate".into(),
                "integrity",
            ),
            (
                at(Place::Header { stream: 7 }, Fault::Tag),
                "header of stream 7: does not authenticate".into(),
                "integrity",
            ),
            (
                at(Place::Document("index"), Fault::Length { expected: 2, found: 1 }),
                "index: expected 2 bytes, found 1".into(),
                "integrity",
            ),
            (Error::limit("manifest", "length", 9), "manifest: length exceeds the limit of 9".into(), "integrity"),
            (Error::format("manifest", "is not canonical JSON"), "manifest: is not canonical JSON".into(), "integrity"),
            (
                Error::Untrusted { what: "m:1".into(), why: "is not signed" },
                "m:1: is not signed".into(),
                "authenticity",
            ),
            (Error::Stale { what: "m@p".into(), why: "expired" }, "m@p is stale: expired".into(), "stale"),
            (Error::WrongKey { what: "a".into(), why: "no identity fits" }, "a: no identity fits".into(), "no-key"),
            (Error::Conflict { what: "m:1".into() }, "m:1 exists already".into(), "conflict"),
            (Error::Lost { what: "session 1".into(), why: "was ended" }, "session 1: was ended".into(), "conflict"),
            (
                Error::InUse { what: "m:1".into(), by: "m@p points to it".into() },
                "m:1 is in use: m@p points to it".into(),
                "conflict",
            ),
            (Error::Gone { what: "m:1".into(), why: "was retired".into() }, "m:1: was retired".into(), "not-found"),
            (Error::Denied { what: "a/b".into(), why: "needs seal".into() }, "a/b: needs seal".into(), "denied"),
            (Error::NotFound { what: "m:1".into() }, "m:1 does not exist".into(), "not-found"),
            (
                Error::InputChanged { what: "f".into(), why: "it shrank" },
                "f changed while it was read: it shrank".into(),
                "operational",
            ),
            (Error::Misuse("bad name".into()), "bad name".into(), "usage"),
        ];
        for (error, message, kind) in cases {
            assert_eq!(error.to_string(), message);
            assert_eq!(error.kind().as_str(), kind);
        }
        let long = Error::format("index", "ä".repeat(5000)).to_string();
        assert_eq!(long.chars().count(), "index: ".len() + MAX_RULE + 1);
        let io = Error::storage("f")(std::io::Error::other("disk is gone"));
        assert_eq!(io.to_string(), "f: disk is gone");
        assert_eq!(io.kind(), Kind::Operational);
    }
}
