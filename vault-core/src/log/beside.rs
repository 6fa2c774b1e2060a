//! Proofs that lie in a vault beside the records they are about: what a copy brings along, so that its readers need no log.
//!
//! Each has a name of its own, so one can be renewed under a later checkpoint, and junk stands in the way of none. Whoever may
//! create objects can put any there: it is believed no more than a proof in a file.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    checkpoint::decimal,
    entry::{Entry, RecordRef},
    merkle::MAX_LEAVES,
    proof::{MAX_PROOF_FILE, Proof},
};
use crate::{
    error::{Error, Result},
    names::parse_hash,
    store::Store,
};

const DOCUMENT: &str = "log proof";
/// The most proofs about one record that are looked at in either order.
pub const MAX_BESIDE: usize = 100;

/// Where a proof lies: `log/proof/<2 hex>/<64 hex>/<tree size>.<SHA-256 of the file>`. The folder has the name of the hint of the
/// same record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofName {
    record: blake3::Hash,
    size: u64,
    sha256: String,
}

/// The proofs about a record that are worth a look, the best first.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) names: Vec<ProofName>,
    /// How many more are listed.
    pub(super) more: u64,
}

struct Listed {
    name: ProofName,
    modified: Timestamp,
}

fn folder(record: &blake3::Hash) -> String {
    let key = record.to_hex();
    super::path(&format!("proof/{}/{key}", &key[..2]))
}

impl ProofName {
    /// Reads a path, which must be spelled as [`ProofName::path`] spells it.
    pub fn parse(path: &str) -> Option<Self> {
        let (_, rest) = path.strip_prefix("log/proof/")?.split_once('/')?;
        let (record, name) = rest.split_once('/')?;
        let (size, sha256) = name.split_once('.')?;
        parse_hash(sha256)?;
        let size = decimal(size).filter(|size| *size <= MAX_LEAVES)?;
        let name = Self { record: parse_hash(record)?, size, sha256: sha256.to_owned() };
        (name.path() == path).then_some(name)
    }

    /// The name of a proof that is well formed: of an entry about a record, and leading to the root that its checkpoint names.
    ///
    /// # Errors
    /// As [`Proof::parse`]; [`Error::Corrupt`] if it is about no record; [`Error::Untrusted`] if it does not hold.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).map(|(name, _)| name)
    }

    fn read(bytes: &[u8]) -> Result<(Self, Proof)> {
        let proof = Proof::parse(bytes)?;
        proof.check_root()?;
        let entry = Entry::parse(&proof.entry)?;
        let record = entry.record().ok_or_else(|| Error::format(DOCUMENT, "is about no record"))?;
        let (size, sha256) = (proof.checkpoint.checkpoint().size(), hex::encode(Sha256::digest(bytes)));
        Ok((Self { record: record.key(), size, sha256 }, proof))
    }

    /// The path in the vault.
    pub fn path(&self) -> String {
        format!("{}/{}.{}", folder(&self.record), self.size, self.sha256)
    }

    /// Reads the proof of this name. Nobody's signature is looked at.
    ///
    /// # Errors
    /// As [`ProofName::of`]; [`Error::Corrupt`] if it has another name.
    pub fn check(&self, bytes: &[u8]) -> Result<Proof> {
        let (name, proof) = Self::read(bytes)?;
        if name == *self { Ok(proof) } else { Err(Error::format(DOCUMENT, "is another one than its name says")) }
    }

    /// Reads it from a store; none if it is gone.
    pub(super) fn fetch(&self, store: &Store) -> Result<Option<(Vec<u8>, Proof)>> {
        let Some(bytes) = store.read(&self.path(), MAX_PROOF_FILE)? else { return Ok(None) };
        let proof = self.check(&bytes)?;
        Ok(Some((bytes, proof)))
    }
}

impl Shelf {
    /// Lists the proofs about a record. Those that claim the largest trees come first; then the oldest, by the clock of the
    /// store, so that who comes later and claims more hides nothing that was there.
    pub(super) fn of(store: &Store, record: RecordRef<'_>) -> Result<Self> {
        let (mut largest, mut oldest, mut count) = (Vec::new(), Vec::new(), 0);
        let listed = store.list(&folder(&record.key()), &mut |entry| {
            if let Some(name) = ProofName::parse(&entry.path).filter(|_| entry.size <= MAX_PROOF_FILE) {
                count += 1;
                keep(&mut largest, Listed { name: name.clone(), modified: entry.modified }, by_size);
                keep(&mut oldest, Listed { name, modified: entry.modified }, by_age);
            }
            Ok(())
        });
        match listed {
            // What is no folder holds no proofs.
            Ok(()) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        cut(&mut largest, by_size);
        cut(&mut oldest, by_age);
        let mut names: Vec<_> = largest.into_iter().map(|listed| listed.name).collect();
        for Listed { name, .. } in oldest {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let more = count - names.len() as u64;
        Ok(Self { names, more })
    }
}

fn by_size(one: &Listed, other: &Listed) -> Ordering {
    let key = |listed: &Listed| (Reverse(listed.name.size), listed.modified, listed.name.sha256.clone());
    key(one).cmp(&key(other))
}

fn by_age(one: &Listed, other: &Listed) -> Ordering {
    // Clocks are coarse: of one moment, what the other order would show last goes first.
    let key = |listed: &Listed| (listed.modified, listed.name.size, listed.name.sha256.clone());
    key(one).cmp(&key(other))
}

/// Keeps one more, in memory that does not grow.
fn keep(best: &mut Vec<Listed>, listed: Listed, order: fn(&Listed, &Listed) -> Ordering) {
    best.push(listed);
    if best.len() > 10 * MAX_BESIDE {
        cut(best, order);
    }
}

fn cut(best: &mut Vec<Listed>, order: fn(&Listed, &Listed) -> Ordering) {
    best.sort_by(order);
    best.truncate(MAX_BESIDE);
}
