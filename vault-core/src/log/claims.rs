//! What the entries of a log say of the records of the vault, and what the records themselves say.

use std::collections::HashMap;

use super::{
    Log,
    entry::{Entry, RecordRef},
    find::Missing,
};
use crate::error::Result;

/// What entries say, by path and bytes of the record.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<blake3::Hash, Vec<Claim>>);

#[derive(Debug)]
struct Claim {
    index: u64,
    /// What stands for the record as the entry has it.
    key: blake3::Hash,
}

/// How the records of a vault stand in its log.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Records that no entry names.
    pub missing: Vec<Missing>,
    /// Records whose entry no checkpoint covers yet.
    pub unsigned: Vec<Missing>,
    /// The numbers of entries that name other signers of a record than the record does. Whoever may add entries can write
    /// such; they count for nothing.
    pub false_claims: Vec<u64>,
}

impl Claims {
    /// Takes note of an entry.
    pub(super) fn add(&mut self, index: u64, entry: &Entry) {
        if let Some(record) = entry.record() {
            self.0.entry(record.subject()).or_default().push(Claim { index, key: record.key() });
        }
    }

    /// Compares them with the records at these paths; `covered` is how many entries a checkpoint covers.
    pub(super) fn compare(&self, log: &Log, paths: Vec<String>, covered: u64) -> Result<Coverage> {
        let mut coverage = Coverage::default();
        for path in paths {
            let Some((digest, signers)) = log.record_at(&path)? else { continue };
            let record = RecordRef { path: &path, digest, signers: &signers };
            let claims = self.0.get(&record.subject()).map(Vec::as_slice).unwrap_or_default();
            let (right, wrong): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| claim.key == record.key());
            coverage.false_claims.extend(wrong.iter().map(|claim| claim.index));
            match right.iter().map(|claim| claim.index).min() {
                None => coverage.missing.push(Missing { path, digest }),
                Some(index) if index >= covered => coverage.unsigned.push(Missing { path, digest }),
                Some(_) => {}
            }
        }
        coverage.false_claims.sort_unstable();
        Ok(coverage)
    }
}
