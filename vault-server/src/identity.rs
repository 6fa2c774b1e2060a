//! Who asks: API keys here, tokens and certificates below.
//!
//! A key is `mvk_`, sixteen hex digits that name it, `_`, and 32 random bytes in base64url. Only a hash of the random bytes is
//! kept; a slow one would gain nothing, because nobody guesses 256 bits.

use std::{collections::BTreeSet, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use vault_core::{
    Result,
    secret::{Secret, fill_random},
};
use zeroize::Zeroizing;

use crate::rights::Grant;

pub mod certificate;
pub mod claims;
mod fetch;
pub mod issuer;
pub mod jwks;
pub mod settings;
pub mod token;

/// What every key begins with, so that scanners of leaked secrets know it.
pub const PREFIX: &str = "mvk_";
/// BLAKE3 `derive_key` context.
const CONTEXT: &str = "mvault-server 2026-11-22 API key at rest v1";
/// Random bytes of a key, and of its id.
const SECRET: usize = 32;
const ID: usize = 8;

/// By what somebody identified themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// An API key of this registry.
    Key,
    /// A token of an OpenID provider.
    #[default]
    Token,
    /// A client certificate.
    Certificate,
}

/// Who asks, once that is known.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The id of the key, or another name of who asks. No two principals share one, whatever their means.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The person behind it: where two different people are needed, two keys of one holder are one.
    pub holder: String,
    /// By what it identified itself.
    pub means: Means,
    /// The groups that its issuer says it is in, each behind the short name of the issuer: `corp:release`.
    pub groups: BTreeSet<String>,
    /// How it was authenticated, as its issuer says: OpenID Connect Core 1.0 section 2, `acr` and `amr`.
    pub acr: Option<String>,
    /// The same: `amr`, such as `pwd` and `otp` (RFC 8176).
    pub amr: BTreeSet<String>,
    /// What it may do of itself.
    pub grants: Vec<Grant>,
}

impl Principal {
    /// Somebody with an API key.
    pub fn of_key(id: &str, name: &str, holder: &str, grants: &[Grant]) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            means: Means::Key,
            groups: BTreeSet::new(),
            acr: None,
            amr: BTreeSet::new(),
            grants: grants.to_vec(),
        }
    }
}

/// The longest subject that stands in an id as it is.
const MAX_PLAIN: usize = 100;
/// The most characters of a name.
const MAX_NAME: usize = 100;
/// Hexadecimal digits of a hash that stands for a name.
const HASH_DIGITS: usize = 32;

/// The id of a subject of an issuer: `ISSUER:SUBJECT`, or with `~` and the first 32 digits of the subject's BLAKE3 if it is long
/// or holds anything but `[A-Za-z0-9._@-]`. No subject begins with `~` otherwise, so no two share an id.
fn safe_id(issuer: &str, subject: &str) -> String {
    bounded_id(issuer, subject, MAX_PLAIN, |c| c.is_ascii_alphanumeric() || b"._@-".contains(&c))
}

fn bounded_id(prefix: &str, name: &str, longest: usize, is_plain: impl Fn(u8) -> bool) -> String {
    if name.len() <= longest && name.bytes().all(is_plain) {
        return format!("{prefix}:{name}");
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("{prefix}:~{}", &hash[..HASH_DIGITS])
}

/// A name as it may stand on a terminal and in a log.
fn safe_name(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " ._@+-:/".contains(c);
    name.chars().take(MAX_NAME).map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// A new key, to be shown once.
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// What is kept.
    pub hash: blake3::Hash,
    text: Zeroizing<String>,
}

impl NewKey {
    /// A random key.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`] if there is no randomness.
    pub fn random() -> Result<Self> {
        let mut id = [0; ID];
        fill_random(&mut id)?;
        let id = hex::encode(id);
        let secret = Secret::<SECRET>::random()?;
        let text = Zeroizing::new(format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret.expose())));
        Ok(Self { hash: hash(secret.expose()), id, text })
    }

    /// The key itself. It is shown once.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that somebody presents.
#[derive(Debug)]
pub struct Presented<'a> {
    /// Which key it claims to be.
    pub id: &'a str,
    hash: blake3::Hash,
}

impl<'a> Presented<'a> {
    /// Reads the text of a key; none if it is not one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let mut bytes = Zeroizing::new([0; SECRET]);
        let is_id = id.len() == 2 * ID && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_length = secret.len() == (SECRET * 8).div_ceil(6);
        if !is_id || !is_length || URL_SAFE_NO_PAD.decode_slice(secret, &mut *bytes) != Ok(SECRET) {
            return None;
        }
        Some(Self { id, hash: hash(&bytes) })
    }

    /// Whether it is the key of which this is the hash.
    pub fn is(&self, kept: &blake3::Hash) -> bool {
        self.hash.as_bytes().ct_eq(kept.as_bytes()).into()
    }
}

fn hash(secret: &[u8; SECRET]) -> blake3::Hash {
    blake3::Hash::from_bytes(blake3::derive_key(CONTEXT, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_no_other_is() {
        let (key, other) = (NewKey::random().expect("key"), NewKey::random().expect("key"));
        let presented = Presented::parse(key.expose()).expect("a key");
        assert_eq!(presented.id, key.id);
        assert!(presented.is(&key.hash) && !presented.is(&other.hash));
        let debug = format!("{key:?} {presented:?}");
        assert!(!debug.contains(&key.expose()[PREFIX.len() + 2 * ID + 1..]));
    }

    #[test]
    fn no_two_subjects_share_an_id() {
        assert_eq!(safe_id("corp", "alice@x.example"), "corp:alice@x.example");
        let odd = safe_id("ci", "repo:org/app:ref:refs/heads/main");
        assert_eq!(odd, "ci:~ec20a06bd8f5c8601a8ba88dedb7ac70");
        let digits = odd.strip_prefix("ci:~").expect("a hash");
        assert_ne!(safe_id("ci", digits), odd);
        assert_ne!(safe_id("ci", &format!("~{digits}")), odd);
        assert_eq!(safe_id("ci", &"a".repeat(101)).len(), "ci:~".len() + HASH_DIGITS);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = NewKey::random().expect("key");
        let text = key.expose();
        for bad in [
            "",
            "mvk_",
            &text[4..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.to_uppercase(),
            &text.replacen("mvk_", "mvk_0", 1),
            &format!("{}!", &text[..text.len() - 1]),
            "mvk_0123456789abcdef_",
            "Bearer x",
        ] {
            assert!(Presented::parse(bad).is_none(), "{bad}");
        }
    }
}
