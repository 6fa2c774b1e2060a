//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): how large a log is and what its root is, signed; and whose
//! signatures it takes.

use std::sync::Arc;

use super::{
    merkle::{MAX_LEAVES, TreeHash},
    note::{KeyName, Note, SignatureType, VerifierKey},
};
use crate::{
    error::{Error, Result},
    keys::{Signer, VerifyingKey},
    trust::{Role, Rooted},
};

const DOCUMENT: &str = "checkpoint";

/// What a log says about itself: its first so many entries have this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: KeyName,
    size: u64,
    root: TreeHash,
}

/// A checkpoint and the note it stands in. Not believed yet: see [`Judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

/// A checkpoint that somebody who is believed signed. Only [`Judge::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    signed: SignedCheckpoint,
    signer: VerifyingKey,
    cosigners: Vec<KeyName>,
}

/// Whose signature makes a checkpoint count.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LogKeys {
    /// These keys, each for the log of its name.
    Named(Vec<VerifierKey>),
    /// These keys, for any log.
    Any(Vec<VerifyingKey>),
    /// Any of these.
    Several(Vec<LogKeys>),
    /// The keys to which a trust root gives the role `log`, for any log.
    Rooted(Arc<Rooted>),
}

/// Which checkpoints count: signed by the log, and cosigned by enough witnesses.
#[derive(Debug, Clone)]
pub struct Judge {
    keys: LogKeys,
    /// The log that is meant, if only one is.
    origin: Option<KeyName>,
    witnesses: Vec<VerifierKey>,
    threshold: usize,
}

impl Checkpoint {
    /// What a log of this name says.
    pub fn new(origin: KeyName, size: u64, root: TreeHash) -> Self {
        Self { origin, size, root }
    }

    /// The name of the log.
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over them.
    pub fn root(&self) -> TreeHash {
        self.root
    }

    fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads the text of a note. Extension lines are refused: our logs make none, and nobody could check them.
    fn parse(text: &str) -> Result<Self> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        let [origin, size, root, ""] = text.split('\n').collect::<Vec<_>>()[..] else {
            return Err(rule("is not origin, size and root, each a line of its own"));
        };
        let origin = origin.parse().map_err(|_| rule("has an origin that is no name of a log"))?;
        let size = decimal(size).filter(|size| *size <= MAX_LEAVES).ok_or_else(|| rule("has no legal tree size"))?;
        let root = TreeHash::from_base64(root).ok_or_else(|| rule("has no legal root hash"))?;
        if size == 0 && root != TreeHash::EMPTY {
            return Err(rule("has no entries and yet a root"));
        }
        Ok(Self { origin, size, root })
    }

    /// Signs it.
    ///
    /// # Errors
    /// As [`crate::keys::sign`].
    pub fn sign(self, signer: &dyn Signer) -> Result<SignedCheckpoint> {
        let mut note = Note::unsigned(self.to_text())?;
        note.sign(&self.origin, signer)?;
        Ok(SignedCheckpoint { checkpoint: self, note })
    }
}

/// A decimal number without leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

impl SignedCheckpoint {
    /// Reads a checkpoint. No signature is checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no note or no checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let note = Note::parse(bytes)?;
        Ok(Self { checkpoint: Checkpoint::parse(note.text())?, note })
    }

    /// What it says.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note it stands in.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// As it is stored.
    pub fn to_vec(&self) -> Vec<u8> {
        self.note.to_vec()
    }

    /// The same with another note about the same text.
    pub(super) fn with_note(&self, note: Note) -> Self {
        Self { checkpoint: self.checkpoint.clone(), note }
    }
}

impl Witnessed {
    /// What it says.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.signed.checkpoint
    }

    /// The signed checkpoint, with all its signatures.
    pub fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// The key of the log that signed it.
    pub fn signer(&self) -> &VerifyingKey {
        &self.signer
    }

    /// The known witnesses that cosigned it.
    pub fn cosigners(&self) -> &[KeyName] {
        &self.cosigners
    }
}

impl LogKeys {
    /// The keys whose signatures count for a log of this name.
    fn of(&self, origin: &KeyName) -> Vec<VerifierKey> {
        let named = |key| VerifierKey::new(origin.clone(), SignatureType::Ed25519, key);
        match self {
            Self::Named(keys) => keys.iter().filter(|key| key.name() == origin).cloned().collect(),
            Self::Any(keys) => keys.iter().cloned().map(named).collect(),
            Self::Several(several) => several.iter().flat_map(|keys| keys.of(origin)).collect(),
            Self::Rooted(rooted) => rooted.keys_of(Role::Log).into_iter().map(named).collect(),
        }
    }
}

impl Judge {
    /// Whoever signs for the log is enough.
    pub fn new(keys: LogKeys) -> Self {
        Self { keys, origin: None, witnesses: Vec::new(), threshold: 0 }
    }

    /// Only the log of this name is meant.
    #[must_use]
    pub fn of_log(self, origin: KeyName) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Checks that this log is the one that is meant, if one is.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is another.
    pub fn check_log(&self, origin: &KeyName) -> Result<()> {
        if self.origin.as_ref().is_none_or(|meant| meant == origin) {
            return Ok(());
        }
        Err(Error::Untrusted { what: format!("the log {origin}"), why: "is not the log that was asked for" })
    }

    /// The log that is meant, if one is.
    pub fn meant(&self) -> Option<&KeyName> {
        self.origin.as_ref()
    }

    /// It also takes cosignatures by so many of these witnesses.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there are fewer witnesses with different keys, or one of the keys is not for cosignatures.
    pub fn with_witnesses(self, witnesses: Vec<VerifierKey>, threshold: usize) -> Result<Self> {
        if let Some(unfit) = witnesses.iter().find(|key| key.signature_type() != SignatureType::Cosignature) {
            return Err(Error::Misuse(format!("{unfit} is the key of a log, not of a witness")));
        }
        for (number, key) in witnesses.iter().enumerate() {
            if witnesses[..number].iter().any(|other| other.key() == key.key()) {
                return Err(Error::Misuse(format!("the key of witness {} is given twice", key.name())));
            }
        }
        if threshold > witnesses.len() {
            return Err(Error::Misuse(format!(
                "{threshold} witnesses are demanded, and {} are known",
                witnesses.len()
            )));
        }
        Ok(Self { witnesses, threshold, ..self })
    }

    /// The witnesses that are known.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// How many of them it takes.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The same without witnesses: what a log may build on before it asked any.
    pub(super) fn alone(&self) -> Self {
        Self { witnesses: self.witnesses.clone(), threshold: 0, ..self.clone() }
    }

    /// Checks the signatures of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is not of the log `origin`, nobody who counts signed it, too few witnesses cosigned it, or
    /// a signature under a known name is wrong.
    pub fn judge(&self, shown: SignedCheckpoint, origin: &KeyName) -> Result<Witnessed> {
        self.check_log(origin)?;
        let what = format!("the checkpoint of {} entries", shown.checkpoint.size);
        let untrusted = |why| Err(Error::Untrusted { what: what.clone(), why });
        if shown.checkpoint.origin != *origin {
            return untrusted("is of another log");
        }
        let mut signer = None;
        for key in self.keys.of(origin) {
            if shown.note.is_signed_by(&key)? {
                signer.get_or_insert_with(|| key.key().clone());
            }
        }
        let Some(signer) = signer else {
            return untrusted("has no valid signature by a key of the log");
        };
        let mut cosigners = Vec::new();
        for witness in &self.witnesses {
            if shown.note.cosigned_at(witness)?.is_some() {
                cosigners.push(witness.name().clone());
            }
        }
        if cosigners.len() < self.threshold {
            return untrusted("is cosigned by too few of the known witnesses");
        }
        Ok(Witnessed { signed: shown, signer, cosigners })
    }
}

#[cfg(test)]
mod tests;
