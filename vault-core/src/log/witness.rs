//! Asking witnesses (<https://c2sp.org/tlog-witness>) to cosign a checkpoint. How a request travels is for others to say.

use std::fmt;

use super::{
    Log,
    checkpoint::{Judge, SignedCheckpoint, decimal},
    merkle::{MAX_PROOF, TreeHash, prove_consistency},
    note::{Note, VerifierKey},
    tile::Tiles,
};
use crate::error::{Error, Result};

#[cfg(any(test, feature = "conformance"))]
pub mod cosigner;

/// Why a checkpoint is refused by a witness that can prove that there are two histories.
pub const FORK: &str = "saw another history of this log: a fork";
const DOCUMENT: &str = "answer of a witness";
/// The longest body of an answer that is looked at: sixteen signatures with the longest names.
pub const MAX_ANSWER: u64 = 128 << 10;

/// Something that passes a request on to a witness.
pub trait Witness: fmt::Debug {
    /// Sends the body of an `add-checkpoint` request, and gives what came back.
    ///
    /// # Errors
    /// [`Error::Storage`] if nothing came back.
    fn add_checkpoint(&self, body: &[u8]) -> Result<Answer>;
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, at most [`MAX_ANSWER`] bytes.
    pub body: Vec<u8>,
}

/// A request to cosign, as a witness reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The size of the tree that the witness cosigned last; 0 if none.
    pub old: u64,
    /// The proof that that tree is the beginning of this one.
    pub proof: Vec<TreeHash>,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

impl Request {
    /// The body of the request.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        text.extend(self.proof.iter().map(|hash| format!("{hash}\n")));
        text.push('\n');
        [text.into_bytes(), self.checkpoint.to_vec()].concat()
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const DOCUMENT: &str = "request to a witness";
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        if bytes.len() as u64 > 2 * MAX_ANSWER {
            return Err(Error::limit(DOCUMENT, "length", 2 * MAX_ANSWER));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| rule("is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| rule("has no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or_else(|| rule("does not begin with the old size"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return Err(Error::limit(DOCUMENT, "number of hashes", MAX_PROOF as u64));
            }
            proof.push(TreeHash::from_base64(line).ok_or_else(|| rule("has a line that is no hash"))?);
        }
        Ok(Self { old, proof, checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())? })
    }
}

impl Log {
    /// Asks a witness to cosign a checkpoint, unless it did. Gives the checkpoint with its newest cosignature, and no other
    /// by it.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it does not cosign, or saw another history of this log; [`Error::Corrupt`] if its answer makes
    /// no sense; [`Error::Storage`].
    pub fn ask(
        &self,
        checkpoint: &SignedCheckpoint,
        key: &VerifierKey,
        witness: &dyn Witness,
    ) -> Result<SignedCheckpoint> {
        if checkpoint.note().cosigned_at(key)?.is_some() {
            return Ok(checkpoint.clone());
        }
        let mut old = 0;
        // The first answer may be how far the witness is.
        for _ in 0..2 {
            let answer = witness.add_checkpoint(&self.request(checkpoint, old)?.to_vec())?;
            match answer.status {
                200 => return cosigned(checkpoint, key, &answer.body),
                409 => old = size_in(&answer.body)?,
                status => return Err(refused(key, status)),
            }
        }
        Err(Error::Lost {
            what: format!("the cosignature of witness {}", key.name()),
            why: "somebody else asked meanwhile",
        })
    }

    fn request(&self, checkpoint: &SignedCheckpoint, old: u64) -> Result<Request> {
        let (size, root) = (checkpoint.checkpoint().size(), checkpoint.checkpoint().root());
        if old > size {
            let what = format!("the log at {size} entries");
            return Err(Error::Stale { what, why: "the witness has seen more than the store shows" });
        }
        let proof = if old == 0 || old == size {
            Vec::new()
        } else {
            prove_consistency(&mut Tiles::open(&self.store, size, root)?, old, size)?
        };
        Ok(Request { old, proof, checkpoint: checkpoint.clone() })
    }

    /// Stores a checkpoint with the cosignatures that were gathered, be they enough or not. Gives why it is not in the cache,
    /// if so.
    ///
    /// # Errors
    /// As [`Judge::judge`], witnesses left aside; [`Error::Storage`].
    pub fn store_cosigned(&self, judge: &Judge, signed: &SignedCheckpoint) -> Result<Option<String>> {
        judge.alone().judge(signed.clone(), self.origin())?;
        self.store_checkpoint(judge, signed)
    }
}

/// The checkpoint with the newest cosignature of this witness out of its answer; what else is in it is left out.
fn cosigned(checkpoint: &SignedCheckpoint, key: &VerifierKey, body: &[u8]) -> Result<SignedCheckpoint> {
    let lines = std::str::from_utf8(body).map_err(|_| Error::format(DOCUMENT, "is not UTF-8"))?;
    let signatures = Note::parse_signatures(lines).map_err(|_| Error::format(DOCUMENT, "holds no signature lines"))?;
    let mut note = checkpoint.note().clone();
    let mut newest = None;
    for signature in signatures {
        let time = note.with_signatures(vec![signature.clone()]).cosigned_at(key)?;
        if time.is_some_and(|time| newest.as_ref().is_none_or(|(newest, _)| time > *newest)) {
            newest = time.map(|time| (time, signature));
        }
    }
    let Some((_, signature)) = newest else {
        let what = format!("the answer of witness {}", key.name());
        return Err(Error::Untrusted { what, why: "has no cosignature by its key" });
    };
    note.put(signature)?;
    Ok(checkpoint.with_note(note))
}

/// The size that a witness says it has seen.
fn size_in(body: &[u8]) -> Result<u64> {
    let size = std::str::from_utf8(body).ok().and_then(|text| decimal(text.strip_suffix('\n')?));
    size.ok_or_else(|| Error::format(DOCUMENT, "is no tree size"))
}

fn refused(key: &VerifierKey, status: u16) -> Error {
    let what = format!("witness {}", key.name());
    match status {
        422 => Error::Untrusted { what, why: FORK },
        403 => Error::Untrusted { what, why: "does not accept the key of this log" },
        404 => Error::NotFound { what: format!("this log at {what}") },
        400 => Error::format(DOCUMENT, "says that the request makes no sense"),
        _ => Error::Storage { what, source: std::io::Error::other(format!("answered with status {status}")) },
    }
}

#[cfg(test)]
mod tests;
