//! Proofs that travel: an entry, its place in the tree, and a checkpoint (<https://c2sp.org/tlog-proof>).
//!
//! The extra data of our proofs is the entry itself, so that the file and a key are all it takes.

use super::{
    checkpoint::{Checkpoint, Judge, SignedCheckpoint, Witnessed, decimal},
    entry::{Entry, MAX_ENTRY},
    merkle::{MAX_PROOF, TreeHash, is_included, strict_base64},
    note::{KeyName, MAX_NOTE},
};
use crate::{
    canonical::encode_base64,
    error::{Error, Result},
};

const DOCUMENT: &str = "log proof";
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The longest proof that is read: the longest note, the longest entry in base64, and 63 hashes.
pub const MAX_PROOF_FILE: u64 = MAX_NOTE + (64 << 10);

/// A proof as it is written. Nothing about it is checked: see [`Proof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The number of the entry, from 0.
    pub index: u64,
    /// The hashes from the leaf's sibling to the root's child.
    pub hashes: Vec<TreeHash>,
    /// The checkpoint of the tree.
    pub checkpoint: SignedCheckpoint,
    /// The entry.
    pub entry: Vec<u8>,
}

/// An entry of which a proof showed that it is in a log. Only [`Proof::verify`] and the log itself make one.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The entry. It is a claim: that it was made, in public and in this place, is what is proven.
    pub entry: Entry,
    /// Its number, from 0.
    pub index: u64,
    /// The checkpoint it was proven with.
    pub checkpoint: Witnessed,
}

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, longer than 320 KiB, or carries no entry.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        if bytes.len() as u64 > MAX_PROOF_FILE {
            return Err(Error::limit(DOCUMENT, "length", MAX_PROOF_FILE));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| rule("is not UTF-8"))?;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or_else(|| rule("has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(rule("does not begin with `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next();
        let extra = line.and_then(|line| line.strip_prefix("extra "));
        let entry = extra.ok_or_else(|| rule("does not carry the entry it is about as extra data"))?;
        let entry = strict_base64(entry).ok_or_else(|| rule("has extra data that is not base64"))?;
        if entry.len() > MAX_ENTRY {
            return Err(Error::limit(DOCUMENT, "length of its entry", MAX_ENTRY as u64));
        }
        line = lines.next();
        let index = line.and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or_else(|| rule("has no line with a legal index"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == MAX_PROOF {
                return Err(Error::limit(DOCUMENT, "number of hashes", MAX_PROOF as u64));
            }
            hashes.push(TreeHash::from_base64(line).ok_or_else(|| rule("has a line that is no hash"))?);
        }
        let checkpoint = SignedCheckpoint::parse(checkpoint.as_bytes())?;
        Ok(Self { index, hashes, checkpoint, entry })
    }

    /// The proof as a file; such files end in `.tlog-proof`.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\nextra {}\nindex {}\n", encode_base64(&self.entry), self.index);
        text.extend(self.hashes.iter().map(|hash| format!("{hash}\n")));
        text.push('\n');
        [text.into_bytes(), self.checkpoint.to_vec()].concat()
    }

    /// Checks the checkpoint, that the entry is in its tree, and the entry itself. `origin` is the log it must be from; the
    /// one the checkpoint names, if any log of the judge's keys will do.
    ///
    /// # Errors
    /// As [`Judge::judge`]; [`Error::Untrusted`] if the proof does not hold; [`Error::Corrupt`] if what is proven is no entry.
    pub fn verify(self, judge: &Judge, origin: Option<&KeyName>) -> Result<Logged> {
        let origin = origin.unwrap_or(self.checkpoint.checkpoint().origin()).clone();
        let checkpoint = judge.judge(self.checkpoint, &origin)?;
        is_rooted(&self.entry, self.index, &self.hashes, checkpoint.checkpoint())?;
        Ok(Logged { entry: Entry::parse(&self.entry)?, index: self.index, checkpoint })
    }

    /// Checks that the entry is in the tree of the checkpoint, whoever signed that.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is not.
    pub(super) fn check_root(&self) -> Result<()> {
        is_rooted(&self.entry, self.index, &self.hashes, self.checkpoint.checkpoint())
    }
}

fn is_rooted(entry: &[u8], index: u64, hashes: &[TreeHash], checkpoint: &Checkpoint) -> Result<()> {
    if is_included(TreeHash::leaf(entry), index, checkpoint.size(), hashes, checkpoint.root()) {
        return Ok(());
    }
    Err(Error::Untrusted {
        what: format!("the proof of entry {index}"),
        why: "does not lead to the root of its checkpoint",
    })
}

#[cfg(test)]
mod tests;
