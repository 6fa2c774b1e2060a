//! Presigned URLs: with one, whoever has it does one thing with one object of a bucket for a while, without credentials.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use object_store::{
    client::{HttpRequest, HttpRequestBody},
    signer::Url,
};

use super::Store;
use crate::error::{Error, Result};

/// What a presigned URL lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Read the object, whole or in ranges.
    Read,
    /// Create the object, if it is absent.
    Create,
    /// Delete the object.
    Delete,
}

impl Purpose {
    /// The method of the request.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Read => "GET",
            Self::Create => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A URL that is signed. Whoever sees it can use it: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Presigned {
    /// The URL.
    pub url: String,
    /// Headers that the request must have: they are signed, too.
    pub headers: BTreeMap<String, String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presigned").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Presigned {
    /// The request that it is for; none if it is none that can be sent.
    pub(in crate::store) fn request(&self, method: &str, body: HttpRequestBody) -> Option<HttpRequest> {
        // As the client below reads it: what is a URI need not be a URL with a host.
        let url = Url::parse(&self.url).ok().filter(Url::has_host)?;
        let length = body.content_length();
        let mut request = HttpRequest::new(body);
        if length > 0 {
            // Of a body in several pieces the client below does not know it, and stores refuse what comes in chunks.
            request.headers_mut().insert("content-length", length.into());
        }
        *request.method_mut() = method.parse().ok()?;
        *request.uri_mut() = url.as_str().parse().ok()?;
        for (name, value) in &self.headers {
            let name: object_store::signer::HeaderName = name.parse().ok()?;
            request.headers_mut().insert(name, value.parse().ok()?);
        }
        Some(request)
    }
}

impl Store {
    /// A URL with which others begin to do one thing with an object while it lives, to the second; none if the store has no such URLs.
    ///
    /// # Errors
    /// [`Error::Misuse`] for what is no path; [`Error::Storage`] if nothing can be signed.
    pub fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        self.0.presign(path, purpose, lifetime)
    }

    /// Whether presigned URLs of this store do what they are for and nothing else, as a trial shows: a store may not look at signatures at
    /// all, or not at what was signed with them. Creates one small object and deletes it.
    ///
    /// # Errors
    /// [`Error::Storage`] if there was no answer.
    pub fn presigns(&self) -> Result<bool> {
        self.0.presigns()
    }

    /// Deletes an object by a URL that was signed for that before: the store itself refuses it from the moment on at which the
    /// URL ends. An object that is not there is no error.
    pub fn delete_by(&self, path: &str, permit: &Presigned) -> Deletion {
        self.0.delete_by(path, permit)
    }

    /// Whether the store deletes by a URL, and refuses the same URL once it has ended, as a trial of some seconds shows: it
    /// deletes the object at `path`, which is there and which nobody needs. If it shows another thing, that may still be there.
    ///
    /// # Errors
    /// [`Error::Storage`] if there was no answer.
    pub fn expires(&self, path: &str) -> Result<bool> {
        self.0.expires(path)
    }

    /// By what to measure how long something takes.
    pub(crate) fn instant(&self) -> Instant {
        self.0.instant()
    }
}

/// What came of a deletion by a presigned URL.
#[derive(Debug)]
pub struct Deletion {
    /// Whether the object is gone. [`Error::Misuse`] if this store signs no URLs; [`Error::Storage`] if it was refused.
    pub result: Result<()>,
    /// Whether each request for it was answered. One that was not may be on its way until the URL ends, whatever came of others.
    pub is_answered: bool,
}

impl Deletion {
    /// By a store that has none.
    pub(in crate::store) fn impossible(path: &str) -> Self {
        Self::not_begun(Error::Misuse(format!("{path}: this store has no deletions that end")))
    }

    /// Nothing was sent.
    pub(in crate::store) fn not_begun(error: Error) -> Self {
        Self { result: Err(error), is_answered: true }
    }
}
