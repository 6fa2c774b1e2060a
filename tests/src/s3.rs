//! Raw requests to a server of the S3 protocol, signed with AWS Signature Version 4: for what the programs under test
//! have no verb for, and as a second opinion on what they did.
//!
//! Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::wire::{Message, exchange};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who may talk to a server.
#[derive(Debug, Clone)]
pub struct Client {
    /// `host:port`.
    pub address: String,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

impl Client {
    /// Sends one request to `path`, which must not need percent encoding, and returns the answer whatever it says.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let request = self.signed("s3", method, path, query, headers, body);
        exchange(&self.address, &request, PATIENCE).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// The same, which must succeed.
    #[track_caller]
    pub fn must(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let answer = self.request(method, path, query, headers, body);
        assert!((200..300).contains(&answer.status()), "{method} {path}: {} {}", answer.first, answer.text());
        answer
    }

    /// Makes a bucket; it must not be there.
    #[track_caller]
    pub fn make_bucket(&self, bucket: &str) {
        self.must("PUT", &format!("/{bucket}"), &[], &[], b"");
    }

    /// Makes a bucket with versions and Object Lock.
    #[track_caller]
    pub fn make_locked_bucket(&self, bucket: &str) {
        self.must("PUT", &format!("/{bucket}"), &[], &[("x-amz-bucket-object-lock-enabled", "true")], b"");
    }

    /// Lets a bucket keep older versions of its objects.
    #[track_caller]
    pub fn keep_versions(&self, bucket: &str) {
        let body = b"<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Status>Enabled</Status></VersioningConfiguration>";
        self.must("PUT", &format!("/{bucket}"), &[("versioning", "")], &[], body);
    }

    /// Stores an object, over whatever is there.
    #[track_caller]
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        self.must("PUT", &format!("/{bucket}/{key}"), &[], &[], bytes);
    }

    /// Stores an object unless there is one, and returns the status.
    #[track_caller]
    pub fn create(&self, bucket: &str, key: &str, bytes: &[u8]) -> u16 {
        self.request("PUT", &format!("/{bucket}/{key}"), &[], &[("if-none-match", "*")], bytes).status()
    }

    /// The bytes of an object.
    #[track_caller]
    pub fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.must("GET", &format!("/{bucket}/{key}"), &[], &[], b"").body
    }

    /// The keys that begin with `prefix`, in order.
    #[track_caller]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let query = [("list-type", "2"), ("prefix", prefix), ("start-after", &after)];
            let page = self.must("GET", &format!("/{bucket}"), &query, &[], b"").text();
            let found: Vec<String> = between(&page, "<Key>", "</Key>").map(str::to_owned).collect();
            let more = page.contains("<IsTruncated>true</IsTruncated>") && !found.is_empty();
            keys.extend(found);
            if !more {
                return keys;
            }
            after.clone_from(keys.last().expect("not empty"));
        }
    }

    /// A request as it is sent, signed for `service`.
    pub fn signed(
        &self,
        service: &str,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let content = hex::encode(Sha256::digest(body));
        let mut all = vec![
            ("host".to_owned(), self.address.clone()),
            ("x-amz-content-sha256".to_owned(), content.clone()),
            ("x-amz-date".to_owned(), time.clone()),
        ];
        all.extend(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())));
        all.sort();
        let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
        pairs.sort();
        let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let names = all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines = all.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join("\n");
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n\n{names}\n{content}");

        let (day, region) = (&time[..8], &self.region);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for word in [day, region, service, "aws4_request", &text] {
            key = mac(&key, word);
        }
        let (access, signature) = (&self.access_key, hex::encode(key));
        let value =
            format!("AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}");
        all.push(("authorization".to_owned(), value));
        all.push(("content-length".to_owned(), body.len().to_string()));
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        Message { first: format!("{method} {target} HTTP/1.1"), headers: all, body: body.to_vec() }
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// RFC 3986 as AWS uses it: everything but unreserved characters.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What stands between two words, each time.
pub fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after)).map(|(found, _)| found)
}
