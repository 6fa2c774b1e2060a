//! Signed notes, exactly as <https://c2sp.org/signed-note> says, with the two Ed25519 signature types that logs use.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::merkle::strict_base64;
use crate::{
    canonical::encode_base64,
    error::{Error, Result},
    keys::{self, Signer, VerifyingKey},
};

const DOCUMENT: &str = "signed note";
/// The longest note that is read: sixteen post-quantum signatures, which the specification wants accepted, fit twice.
pub const MAX_NOTE: u64 = 256 << 10;
/// The most signatures of a note; the specification wants 16 accepted.
const MAX_SIGNATURES: usize = 64;
/// The longest name of a key, in bytes.
const MAX_NAME: usize = 255;
/// What a signature line starts with.
const DASH: &str = "\u{2014} ";

/// What a signature says, by the byte that the specification assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureType {
    /// Ed25519 over the text: how a log signs (0x01).
    Ed25519,
    /// A time, and Ed25519 over it and a checkpoint: how a witness cosigns (0x04, <https://c2sp.org/tlog-cosignature>).
    Cosignature,
}

/// A name that keys and logs have: not empty, at most 255 bytes, without spaces, plus signs and control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// A key whose signatures are looked for, and the name under which it signs. Written as a verifier key ("vkey").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: KeyName,
    signature_type: SignatureType,
    key: VerifyingKey,
}

/// A text and the signatures under it. Nothing about it is true before a signature by a known key verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl SignatureType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.len() > MAX_NAME || text.contains(unfit) {
            let rule = "is no name of a log or witness: 1 to 255 bytes without spaces, `+` and control characters";
            return Err(Error::Misuse(format!("{text:?} {rule}")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VerifierKey {
    /// This key under this name.
    pub fn new(name: KeyName, signature_type: SignatureType, key: VerifyingKey) -> Self {
        Self { name, signature_type, key }
    }

    /// The name under which it signs.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What its signatures say.
    pub fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The first four bytes of the SHA-256 of name, newline, type and key.
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(self.name.as_str()).chain_update([b'\n', self.signature_type.byte()]);
        let hash: [u8; 32] = hash.chain_update(self.key.as_bytes()).finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.signature_type.byte()][..], self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), encode_base64(&key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    /// Reads `<name>+<hex id>+<base64 of type and key>`.
    fn from_str(text: &str) -> Result<Self> {
        let misuse = |rule: &str| Error::Misuse(format!("{text:?} is no verifier key: {rule}"));
        let [name, id, key] = text.splitn(3, '+').collect::<Vec<_>>()[..] else {
            return Err(misuse("it is not NAME+ID+KEY"));
        };
        let bytes = strict_base64(key).ok_or_else(|| misuse("its key is not base64"))?;
        let (signature_type, bytes) = match bytes.split_first() {
            Some((0x01, rest)) => (SignatureType::Ed25519, rest),
            Some((0x04, rest)) => (SignatureType::Cosignature, rest),
            _ => return Err(misuse("it is of none of the types 0x01 and 0x04")),
        };
        let bytes = bytes.try_into().map_err(|_| misuse("its key has not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|e| misuse(&e.to_string()))?;
        let verifier = Self { name: name.parse()?, signature_type, key };
        if id != hex::encode(verifier.id()) {
            return Err(misuse("its id is not that of its name and key"));
        }
        Ok(verifier)
    }
}

impl NoteSignature {
    /// The name under which it says it was made.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = strict_base64(encoded)?;
        let (id, signature) = bytes.split_first_chunk()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.parse().ok()?, id: *id, signature: signature.to_vec() })
    }

    /// The line of a note, with its newline.
    pub fn to_line(&self) -> String {
        format!("{DASH}{} {}\n", self.name, encode_base64(&[&self.id[..], &self.signature].concat()))
    }
}

impl Note {
    /// A note without signatures yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the text is none that a note can have.
    pub(super) fn unsigned(text: String) -> Result<Self> {
        check_text(&text)?;
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note. No signature is checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, longer than 256 KiB, or has no signature or more than 64.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        if bytes.len() as u64 > MAX_NOTE {
            return Err(Error::limit(DOCUMENT, "length", MAX_NOTE));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| rule("is not UTF-8"))?;
        // The last empty line divides text and signatures.
        let (text, _) = all.rsplit_once("\n\n").ok_or_else(|| rule("has no empty line before its signatures"))?;
        let (text, lines) = (&all[..=text.len()], &all[text.len() + 2..]);
        let signatures = Self::parse_signatures(lines)?;
        if signatures.is_empty() {
            return Err(rule("has no signature"));
        }
        check_text(text)?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Reads signature lines alone, as a witness answers them.
    ///
    /// # Errors
    /// As [`Note::parse`].
    pub(super) fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        if !lines.is_empty() && !lines.ends_with('\n') {
            return Err(rule("does not end with a newline"));
        }
        let mut signatures = Vec::new();
        // Not `lines`, which would take a carriage return for part of the newline.
        for line in lines.split_terminator('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(Error::limit(DOCUMENT, "number of signatures", MAX_SIGNATURES as u64));
            }
            signatures.push(NoteSignature::parse(line).ok_or_else(|| rule("has a malformed signature line"))?);
        }
        Ok(signatures)
    }

    /// The text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, not checked.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note as it is stored.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = format!("{}\n", self.text);
        all.extend(self.signatures.iter().map(NoteSignature::to_line));
        all.into_bytes()
    }

    /// Whether this key signed it, as a log does.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if a signature stands under the key's name and id and is none: the note is then to be refused.
    pub fn is_signed_by(&self, key: &VerifierKey) -> Result<bool> {
        let verify = |signature: &NoteSignature| {
            key.signature_type == SignatureType::Ed25519 && key.key.verify(self.text.as_bytes(), &signature.signature)
        };
        self.all_by(key, verify)
    }

    /// When this witness cosigned it, in seconds since 1970; the newest, if there are several.
    ///
    /// # Errors
    /// As [`Note::is_signed_by`].
    pub fn cosigned_at(&self, key: &VerifierKey) -> Result<Option<u64>> {
        let mut newest = None;
        self.all_by(key, |signature| {
            let time = (key.signature_type == SignatureType::Cosignature)
                .then(|| cosignature_time(&self.text, &signature.signature, &key.key))
                .flatten();
            newest = newest.max(time);
            time.is_some()
        })?;
        Ok(newest)
    }

    /// Whether there is a signature under this key's name and id; all that are there must be good.
    fn all_by(&self, key: &VerifierKey, mut is_good: impl FnMut(&NoteSignature) -> bool) -> Result<bool> {
        let id = key.id();
        let mut found = false;
        for signature in self.signatures.iter().filter(|s| s.id == id && s.name == key.name) {
            if !is_good(signature) {
                let what = format!("the note of {}", self.text.lines().next().unwrap_or_default());
                return Err(Error::Untrusted {
                    what,
                    why: "has a signature under the name and id of a key that did not make it",
                });
            }
            found = true;
        }
        Ok(found)
    }

    /// Adds a signature of the text, as a log makes it.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub(super) fn sign(&mut self, name: &KeyName, signer: &dyn Signer) -> Result<()> {
        let key = VerifierKey::new(name.clone(), SignatureType::Ed25519, signer.verifying_key());
        let signature = keys::sign(signer, self.text.as_bytes())?.to_vec();
        self.add(NoteSignature { name: name.clone(), id: key.id(), signature })
    }

    /// Adds a cosignature of this time, as a witness makes it. The text is a checkpoint.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn cosign(&mut self, name: &KeyName, signer: &dyn Signer, seconds: u64) -> Result<()> {
        let key = VerifierKey::new(name.clone(), SignatureType::Cosignature, signer.verifying_key());
        let signature = keys::sign(signer, &cosigned_message(&self.text, seconds))?;
        let signature = [&seconds.to_be_bytes()[..], &signature].concat();
        self.add(NoteSignature { name: name.clone(), id: key.id(), signature })
    }

    /// Adds a signature that is not there yet.
    pub(super) fn add(&mut self, signature: NoteSignature) -> Result<()> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() == MAX_SIGNATURES {
            return Err(Error::limit(DOCUMENT, "number of signatures", MAX_SIGNATURES as u64));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Puts a signature in the place of all others under its name and id.
    pub(super) fn put(&mut self, signature: NoteSignature) -> Result<()> {
        self.signatures.retain(|other| (&other.name, other.id) != (&signature.name, signature.id));
        self.add(signature)
    }

    /// The same text with these signatures.
    pub(super) fn with_signatures(&self, signatures: Vec<NoteSignature>) -> Self {
        Self { text: self.text.clone(), signatures }
    }
}

fn check_text(text: &str) -> Result<()> {
    if !text.ends_with('\n') || text.bytes().any(|b| b < 0x20 && b != b'\n') {
        return Err(Error::format(DOCUMENT, "has a text with control characters, or without a newline at its end"));
    }
    Ok(())
}

/// What a witness signs.
fn cosigned_message(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

/// The time of a cosignature that verifies.
fn cosignature_time(text: &str, signature: &[u8], key: &VerifyingKey) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk()?;
    let seconds = u64::from_be_bytes(*time);
    let message = cosigned_message(text, seconds);
    (seconds <= i64::MAX.unsigned_abs() && key.verify(&message, signature)).then_some(seconds)
}

#[cfg(test)]
pub(in crate::log) mod tests;
