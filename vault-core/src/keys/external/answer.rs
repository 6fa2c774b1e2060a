//! What a keeper answers, read strictly: one JSON object with nothing unknown, nothing twice and nothing behind it.
//!
//! What is wrong is said without quoting the answer, which may hold a secret.

use std::{borrow::Cow, io};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::PROTOCOL;
use crate::{
    canonical::{decode_base64, objects},
    error::{Error, Result},
    keys::PublicKey,
    secret::Secret,
};

/// The longest answer, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// The most characters of a keeper's own words that an error repeats.
const MAX_WORDS: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow, default)]
    signature: Option<Cow<'a, str>>,
    /// Borrowed, so that no copy of it is left behind by the parser; a spelling with escapes is therefore refused.
    #[serde(borrow, default)]
    secret: Option<&'a str>,
    #[serde(borrow, default)]
    public_key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// A signature, which nobody has checked yet.
pub(super) fn signature(keeper: &str, bytes: &[u8]) -> Result<[u8; 64]> {
    match read(keeper, bytes)? {
        Wire { signature: Some(text), secret: None, public_key: None, error: None, .. } => decode_base64(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| misbehaves(keeper, "its signature is not 64 bytes in base64")),
        Wire { signature: None, secret: None, public_key: None, error: Some(refusal), .. } => {
            Err(refused(keeper, &refusal))
        }
        _ => Err(misbehaves(keeper, "its answer is neither a signature nor an error")),
    }
}

/// A secret, or `None` if the keeper says that it does not open.
pub(super) fn secret(keeper: &str, bytes: &[u8]) -> Result<Option<Secret<32>>> {
    match read(keeper, bytes)? {
        Wire { signature: None, secret: Some(text), public_key: None, error: None, .. } => {
            let bytes = decode_base64(text).map(Zeroizing::new).filter(|bytes| bytes.len() == 32);
            let bytes = bytes.ok_or_else(|| misbehaves(keeper, "its secret is not 32 bytes in base64"))?;
            let mut secret = Secret::new([0; 32]);
            secret.expose_mut().copy_from_slice(&bytes);
            Ok(Some(secret))
        }
        Wire { signature: None, secret: None, public_key: None, error: Some(refusal), .. } => {
            if refusal.kind == "does-not-open" { Ok(None) } else { Err(refused(keeper, &refusal)) }
        }
        _ => Err(misbehaves(keeper, "its answer is neither a secret nor an error")),
    }
}

/// A public key.
pub(super) fn public_key(keeper: &str, bytes: &[u8]) -> Result<PublicKey> {
    match read(keeper, bytes)? {
        Wire { signature: None, secret: None, public_key: Some(pem), error: None, .. } => PublicKey::from_pem(&pem)
            .map_err(|error| misbehaves(keeper, &format!("its public key is refused: {error}"))),
        Wire { signature: None, secret: None, public_key: None, error: Some(refusal), .. } => {
            Err(refused(keeper, &refusal))
        }
        _ => Err(misbehaves(keeper, "its answer is neither a public key nor an error")),
    }
}

/// Whether this is an error in the form of the protocol.
pub(super) fn is_refusal(bytes: &[u8]) -> bool {
    read("", bytes).is_ok_and(|wire| wire.error.is_some())
}

fn read<'a>(keeper: &str, bytes: &'a [u8]) -> Result<Wire<'a>> {
    if bytes.len() > MAX_ANSWER {
        return Err(misbehaves(keeper, &format!("its answer is longer than {MAX_ANSWER} bytes")));
    }
    if bytes.is_empty() {
        return Err(misbehaves(keeper, "it gave no answer"));
    }
    let wire: Wire<'a> = objects::from_slice(bytes).map_err(|error| {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Eof => "its answer ends in the middle",
            Category::Syntax | Category::Io => "its answer is not one JSON object and nothing else",
            Category::Data => "its answer has a member that is unknown, missing, given twice or of another type",
        };
        misbehaves(keeper, &format!("{what} (line {}, column {})", error.line(), error.column()))
    })?;
    if wire.protocol != PROTOCOL {
        return Err(misbehaves(keeper, &format!("it does not speak {PROTOCOL}")));
    }
    Ok(wire)
}

/// A keeper does not do what it is there for.
fn misbehaves(keeper: &str, how: &str) -> Error {
    Error::Storage { what: keeper.to_owned(), source: io::Error::new(io::ErrorKind::InvalidData, how) }
}

fn refused(keeper: &str, refusal: &Refusal<'_>) -> Error {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let words: String = refusal.message.chars().take(MAX_WORDS).map(visible).collect();
    let said = if words.is_empty() { keeper.to_owned() } else { format!("{keeper} (\"{words}\")") };
    match &*refusal.kind {
        "denied" => Error::WrongKey { what: said, why: "refuses the use of the key" },
        "not-found" => Error::NotFound { what: format!("the key asked of {said}") },
        "unsupported" => Error::Misuse(format!("{said} does not support what was asked")),
        "unavailable" => Error::Storage { what: said, source: io::Error::other("the key is unavailable") },
        _ => Error::Storage { what: said, source: io::Error::other("it failed") },
    }
}
