//! What the log holds: entries, each a claim that something was done.
//!
//! An entry names a record of the vault by its digest, or an event of a server. It holds no plaintext, no reason and no
//! person's name: people stand in it under pseudonyms. The log proves that an entry was made in public, and in which
//! order; whether it is true is asked of the signed record that it names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    canonical::{self, Hex, Time},
    error::{Error, Result},
    keys::KeyId,
    names::{ArtifactDigest, Channel, ModelName, Version},
    provenance::Envelope,
    secret::fill_random,
};

mod about;

pub use about::{FOLDERS, is_logged};

const DOCUMENT: &str = "log entry";
const FORMAT: &str = "mvault-log-entry/v1";
/// The longest entry, in bytes.
pub const MAX_ENTRY: usize = 16 << 10;
/// The longest path of a record.
const MAX_PATH: usize = 1024;
/// The most keys that an entry names; an envelope has at most as many.
const MAX_SIGNERS: usize = 64;
/// The longest pseudonym and the longest name of a permission.
const MAX_WORD: usize = 128;

macro_rules! actions {
    ($($name:ident $text:literal $doc:literal),+ $(,)?) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Action {
            $(#[doc = $doc] $name),+
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

actions! {
    Seal "seal" "A version was published.",
    Sign "sign" "Something was attested about an artifact.",
    Share "share" "The recipients of an artifact changed.",
    Approve "approve" "A promotion or revocation was proposed, approved or withdrawn.",
    Promote "promote" "A channel was moved.",
    Revoke "revoke" "A version was taken out of use.",
    Retire "retire" "A version is kept no longer.",
    Shred "shred" "The keys of an artifact were destroyed.",
    Trust "trust" "A version of the trust root was published.",
    Policy "policy" "Rights or the state of a server changed.",
    Delete "delete" "A record was removed through a server.",
    Login "login" "Somebody identified themselves to a server.",
    Denial "denial" "A server refused somebody something.",
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().copied().find(|action| action.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ");
            Error::Misuse(format!("{text:?} is nothing that a log holds: {all}"))
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record of the vault, and whom it names as its signers: an entry that names others is about something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordRef<'a> {
    /// Where it stands.
    pub path: &'a str,
    /// The BLAKE3 of its bytes.
    pub digest: blake3::Hash,
    /// The keys that its envelope says signed it, ascending; none if it is no envelope.
    pub signers: &'a [KeyId],
}

impl RecordRef<'_> {
    /// What stands for it where only its identity matters.
    pub(super) fn key(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.digest.as_bytes()).update(&(self.signers.len() as u64).to_be_bytes());
        for signer in self.signers {
            hasher.update(signer.as_bytes());
        }
        hasher.update(self.path.as_bytes()).finalize()
    }

    /// What stands for path and bytes, whoever is said to have signed them.
    pub(super) fn subject(&self) -> blake3::Hash {
        RecordRef { signers: &[], ..*self }.key()
    }
}

/// One entry, well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    wire: Wire,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    action: Text<Action>,
    /// The pseudonym of whoever did it, as a server knows them.
    actor: Option<String>,
    artifact: Option<Hex<32>>,
    channel: Option<Text<Channel>>,
    created: Time,
    format: String,
    model: Option<Text<ModelName>>,
    nonce: Hex<16>,
    /// The permission that was missing.
    permission: Option<String>,
    record: Option<WireRecord>,
    /// The keys that the record says signed it, ascending.
    signers: Vec<KeyId>,
    version: Option<Text<Version>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRecord {
    blake3: Hex<32>,
    path: String,
}

/// Something that documents hold as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| de::Error::custom("expected the name of something else"))
    }
}

impl Entry {
    /// An entry about a record that was created, with these bytes. What it is about is told from its path.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no record that a log names; [`Error::Storage`] if there is no randomness.
    pub fn about_record(path: &str, bytes: &[u8], actor: Option<&str>) -> Result<Self> {
        let about = about::About::of(path)
            .ok_or_else(|| Error::Misuse(format!("{path:?} is not the path of a record that a log names")))?;
        // What is no envelope was signed by nobody; the log says all the same that it appeared.
        let signers = Envelope::signers_claimed_in(bytes);
        let record = WireRecord { blake3: blake3::hash(bytes).into(), path: path.to_owned() };
        Self::new(about, actor, None, Some(record), signers)
    }

    /// An entry about an event that left no record in the vault: a login, or a refusal and the permission that was
    /// missing. `actor` is a pseudonym.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a pseudonym or permission is not made of at most 128 `A-Z a-z 0-9 . _ : -`;
    /// [`Error::Storage`].
    pub fn about_event(
        action: Action,
        actor: &str,
        permission: Option<&str>,
        model: Option<ModelName>,
    ) -> Result<Self> {
        let about = about::About { model, ..about::About::just(action) };
        Self::new(about, Some(actor), permission, None, Vec::new())
    }

    /// An entry about the removal of what stands at this path; none if it is no record that a log names. `actor` is a pseudonym.
    ///
    /// # Errors
    /// As [`Entry::about_event`].
    pub fn about_removal(path: &str, actor: &str) -> Result<Option<Self>> {
        let Some(about) = about::About::of(path) else { return Ok(None) };
        let about = about::About { action: Action::Delete, ..about };
        Self::new(about, Some(actor), None, None, Vec::new()).map(Some)
    }

    fn new(
        about: about::About,
        actor: Option<&str>,
        permission: Option<&str>,
        record: Option<WireRecord>,
        signers: Vec<KeyId>,
    ) -> Result<Self> {
        let mut nonce = [0; 16];
        fill_random(&mut nonce)?;
        let about::About { action, model, version, channel, artifact } = about;
        let wire = Wire {
            action: Text(action),
            actor: actor.map(str::to_owned),
            artifact: artifact.map(|artifact| artifact.hash().into()),
            channel: channel.map(Text),
            created: Time::now(),
            format: FORMAT.into(),
            model: model.map(Text),
            nonce: Hex(nonce),
            permission: permission.map(str::to_owned),
            record,
            signers,
            version: version.map(Text),
        };
        let unfit = |error: Error| Error::Misuse(error.to_string());
        wire.check().map_err(unfit)?;
        Ok(Self { wire })
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not canonical, breaks a rule of the format or is longer than 16 KiB.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_ENTRY {
            return Err(Error::limit(DOCUMENT, "length", MAX_ENTRY as u64));
        }
        let wire: Wire = canonical::from_slice(DOCUMENT, bytes)?;
        wire.check()?;
        Ok(Self { wire })
    }

    /// The entry as it stands in the log: canonical JSON, without a newline in it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is longer than 16 KiB.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let bytes = canonical::to_vec(DOCUMENT, &self.wire)?;
        if bytes.len() > MAX_ENTRY {
            return Err(Error::limit(DOCUMENT, "length", MAX_ENTRY as u64));
        }
        Ok(bytes)
    }

    /// What was done.
    pub fn action(&self) -> Action {
        self.wire.action.0
    }

    /// The pseudonym of whoever did it, as a server knows them.
    pub fn actor(&self) -> Option<&str> {
        self.wire.actor.as_deref()
    }

    /// When it says it was made (RFC 3339): a claim.
    pub fn created(&self) -> &str {
        self.wire.created.as_str()
    }

    /// The model it is about.
    pub fn model(&self) -> Option<&ModelName> {
        self.wire.model.as_ref().map(|model| &model.0)
    }

    /// The version it is about.
    pub fn version(&self) -> Option<&Version> {
        self.wire.version.as_ref().map(|version| &version.0)
    }

    /// The channel it is about.
    pub fn channel(&self) -> Option<&Channel> {
        self.wire.channel.as_ref().map(|channel| &channel.0)
    }

    /// The artifact it is about.
    pub fn artifact(&self) -> Option<ArtifactDigest> {
        self.wire.artifact.map(|hex| blake3::Hash::from(hex).into())
    }

    /// The permission that was missing.
    pub fn permission(&self) -> Option<&str> {
        self.wire.permission.as_deref()
    }

    /// The record it names.
    pub fn record(&self) -> Option<RecordRef<'_>> {
        let signers = &self.wire.signers;
        self.wire.record.as_ref().map(|record| RecordRef { path: &record.path, digest: record.blake3.into(), signers })
    }

    /// What stands for what it says of a record: which, and who did it. Another entry that says the same adds nothing.
    pub(super) fn claim(&self) -> Option<blake3::Hash> {
        let key = self.record()?.key();
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).update(self.actor().unwrap_or_default().as_bytes());
        Some(hasher.finalize())
    }

    /// The keys that the record says signed it. Nobody checked that.
    pub fn signers(&self) -> &[KeyId] {
        &self.wire.signers
    }
}

impl Wire {
    fn check(&self) -> Result<()> {
        let rule = |rule: &str| Err(Error::format(DOCUMENT, rule));
        if self.format != FORMAT {
            return rule("is of another format");
        }
        if ![&self.actor, &self.permission].into_iter().flatten().all(|word| is_word(word)) {
            return rule("has a pseudonym or permission that is not made of at most 128 `A-Z a-z 0-9 . _ : -`");
        }
        if self.signers.len() > MAX_SIGNERS || !self.signers.is_sorted_by(|a, b| a < b) {
            return rule("names signers twice, out of order, or more than 64 of them");
        }
        if let Some(record) = &self.record
            && (record.path.len() > MAX_PATH
                || about::About::of(&record.path).is_none_or(|about| !self.is_about(&about)))
        {
            return rule("names a record that it is not about");
        }
        if self.record.is_none() && !matches!(self.action.0, Action::Delete | Action::Login | Action::Denial) {
            return rule("names no record");
        }
        Ok(())
    }

    fn is_about(&self, about: &about::About) -> bool {
        self.action.0 == about.action
            && self.model.as_ref().map(|model| &model.0) == about.model.as_ref()
            && self.version.as_ref().map(|version| &version.0) == about.version.as_ref()
            && self.channel.as_ref().map(|channel| &channel.0) == about.channel.as_ref()
            && self.artifact.map(blake3::Hash::from) == about.artifact.map(|artifact| artifact.hash())
    }
}

fn is_word(text: &str) -> bool {
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

#[cfg(test)]
mod tests;
