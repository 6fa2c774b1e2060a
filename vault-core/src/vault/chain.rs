//! Numbered records in a folder of the vault, and the links between them.

use super::{Vault, stem};
use crate::{
    error::{Error, Fault, Place, Result},
    provenance::{Envelope, MAX_ENVELOPE, Newest, peek},
    store::Soon,
    workers,
};

/// The highest number that is looked at: JSON holds no more exactly.
const MAX_GENERATION: u64 = (1 << 53) - 1;
/// More records than any chain has; a store could offer any number.
const MAX_RECORDS: usize = 1_000_000;

/// The most records of a chain that are read at once.
const MAX_AHEAD: usize = 32;

/// How far above the records that are there a number may be. Writers take the first free one, so that only junk and
/// withdrawn proposals make gaps; without this, one record under the highest number would be the last.
const MAX_GAP: u64 = 10_000;

/// Whether a record may have this number, with so many records under lower ones.
pub(super) fn is_within_reach(generation: u64, lower: usize) -> bool {
    generation <= (lower as u64).saturating_add(MAX_GAP)
}

/// What a record of a chain says of itself, signed by anybody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linked {
    pub(super) digest: blake3::Hash,
    pub(super) previous: Option<blake3::Hash>,
}

impl Vault {
    /// The numbers of the records that stand directly in a folder, ascending.
    pub(super) fn numbers(&self, folder: &str) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        self.store.names(folder, &mut |path| {
            let number =
                stem(&path, folder).and_then(|stem| stem.parse::<u64>().ok().filter(|n| n.to_string() == stem));
            if let Some(number) = number.filter(|n| (1..=MAX_GENERATION).contains(n)) {
                if numbers.len() == MAX_RECORDS {
                    let fault = Fault::Limit { what: "number of records", limit: MAX_RECORDS as u64 };
                    return Err(Error::Corrupt { place: Place::Object(folder.to_owned()), fault });
                }
                numbers.push(number);
            }
            Ok(())
        })?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The envelope of a record, not checked.
    pub(super) fn record(&self, path: &str) -> Result<Envelope> {
        Envelope::parse_record(&self.demand(path, MAX_ENVELOPE)?)
    }

    /// What a record says of itself; `None` for what is none.
    fn linked(&self, folder: &str, generation: u64) -> Result<Option<Linked>> {
        let envelope = match self.store.read(&record_path(folder, generation), MAX_ENVELOPE) {
            Ok(bytes) => bytes.and_then(|bytes| Envelope::parse(&bytes).ok()),
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let said = envelope.and_then(|envelope| {
            let (number, previous) = peek(envelope.payload()).ok()?;
            let digest = blake3::hash(envelope.payload());
            (number == generation).then_some(Linked { digest, previous })
        });
        Ok(said)
    }

    /// What several records say of themselves, in one round trip and on all threads.
    fn linked_all(&self, folder: &str, generations: &[u64]) -> Vec<Result<Option<Linked>>> {
        if generations.len() > 1 {
            let paths: Vec<_> = generations.iter().map(|generation| record_path(folder, *generation)).collect();
            self.store.soon(&paths.iter().map(|path| Soon::Read { path, cap: MAX_ENVELOPE }).collect::<Vec<_>>());
        }
        workers::map(generations, |generation| self.linked(folder, *generation))
    }

    /// Follows at most so many links down from a record, not below `until`. The digests of those found, the newest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a record that a link names is not there, and `until` is the first.
    pub(super) fn follow(
        &self,
        folder: &str,
        (from, previous): (u64, Option<blake3::Hash>),
        numbers: &[u64],
        (until, most): (u64, usize),
    ) -> Result<Vec<Newest>> {
        let mut wanted = previous;
        let mut found = Vec::new();
        let mut left: Vec<u64> = numbers.iter().rev().filter(|n| (until..from).contains(*n)).copied().collect();
        let mut width = 1;
        while !left.is_empty() && wanted.is_some() && found.len() < most {
            // Most of what stands below a record belongs to the chain: so more and more is read at once.
            let rest = left.split_off(width.min(most - found.len()).min(left.len()));
            for (&generation, record) in left.iter().zip(self.linked_all(folder, &left)) {
                if wanted.is_none() || found.len() == most {
                    break;
                }
                // Anything else under this number is no part of the chain.
                if let Some(record) = record?.filter(|record| wanted == Some(record.digest)) {
                    found.push(Newest { generation, digest: record.digest });
                    wanted = record.previous;
                }
            }
            (left, width) = (rest, (width * 2).min(MAX_AHEAD));
        }
        // Below `until` nothing was looked at.
        if let Some(missing) = wanted.filter(|_| until <= 1 && found.len() < most) {
            let what = format!("the record with digest {missing} of {folder}, which the one behind it names");
            return Err(Error::Corrupt { place: Place::Object(what), fault: Fault::Missing });
        }
        Ok(found)
    }
}

pub(super) fn record_path(folder: &str, generation: u64) -> String {
    format!("{folder}/{generation}.dsse.json")
}
