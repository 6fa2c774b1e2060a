//! Looking over a whole log: does everything in it follow from its batches, and is all that was ever signed one history?

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{
    Log,
    checkpoint::{Checkpoint, Judge, Witnessed},
    claims::{Claims, Coverage},
    entry::Entry,
    grow::Growth,
    latest::Listed,
    merkle::MAX_LEAVES,
    seen::Seen,
    tail::Gap,
    tile::{MAX_BUNDLE, Tile},
};
use crate::error::{Error, Result};

/// What was found out about a log.
#[derive(Debug)]
pub struct Audit {
    /// The newest checkpoint that counts.
    pub checkpoint: Option<Witnessed>,
    /// How many entries there are, those that no checkpoint covers yet included.
    pub entries: u64,
    /// Tiles that are missing, or are not what follows from the entries.
    pub damaged: Vec<String>,
    /// Checkpoints in the list that nobody who counts signed, and things that stand among the batches and are no part of the
    /// log.
    pub foreign: u64,
    /// Batches that something which was deleted hides.
    pub gap: Option<Gap>,
    /// How many signed checkpoints were found to be of one history.
    pub checkpoints: u64,
    /// How the records of the vault stand in it.
    pub records: Coverage,
}

/// What a walk over the log meets.
#[derive(Debug)]
pub enum Event<'a> {
    /// An entry.
    Entry {
        /// Its number, from 0.
        index: u64,
        /// What it says; an error if it is of a kind that this program does not know.
        entry: Result<&'a Entry>,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// The most damaged tiles that are named.
const MAX_NAMED: usize = 1000;

impl Log {
    /// Goes over the whole log: every batch, every tile of the newest checkpoint, every signed checkpoint, and every record
    /// of the vault.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if a signed checkpoint is not of the history that the batches tell, or nothing signed is left;
    /// [`Error::Stale`] if the log ends before what was `seen`; the first error of `each`; [`Error::Storage`].
    pub fn audit(
        &self,
        judge: &Judge,
        seen: &mut Seen,
        each: &mut dyn FnMut(Event<'_>) -> Result<()>,
    ) -> Result<Audit> {
        // Records first: what is written after this is not called missing.
        let paths = self.record_paths()?;
        let mut claims = Claims::default();
        let checkpoint = self.latest_since(judge, seen.last())?;
        let covered = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.checkpoint().size());
        let (mut roots, unsigned) = self.signed_roots(judge, checkpoint.as_ref(), seen)?;
        let checkpoints = roots.values().map(Vec::len).sum::<usize>() as u64;
        let (damaged, records) = (Vec::new(), Coverage::default());
        let mut audit = Audit { checkpoint, entries: 0, damaged, foreign: unsigned, gap: None, checkpoints, records };
        let mut growth = Growth::default();
        Self::compare(&mut roots, &growth)?;
        let mut tail = self.tail_from(growth.frontier()).noting();
        tail.advance(&mut |index, bytes| {
            let damaged = &mut audit.damaged;
            growth.push(bytes, &mut |tile, bytes| {
                if index < covered { self.check_tile(tile, bytes, damaged) } else { Ok(()) }
            })?;
            if index + 1 == covered {
                growth.tell_partial(0, &mut |tile, bytes| self.check_tile(tile, bytes, damaged))?;
            }
            Self::compare(&mut roots, &growth)?;
            let entry = Entry::parse(bytes);
            if let Ok(entry) = &entry {
                claims.add(index, entry);
            }
            each(Event::Entry { index, entry: entry.as_ref().map_err(|e| Error::Misuse(e.to_string())), bytes })
        })?;
        let (unreached, gap) = tail.unreached()?;
        audit.entries = growth.size();
        audit.foreign += tail.skipped() + unreached;
        audit.gap = gap;
        if let Some((size, _)) = roots.first_key_value() {
            let what = format!("the log at {size} entries");
            return Err(Error::Untrusted {
                what,
                why: "was signed, and its batches end before: entries were taken away",
            });
        }
        audit.records = claims.compare(self, paths, covered)?;
        if let Some(checkpoint) = &audit.checkpoint {
            self.remember(seen, checkpoint.checkpoint())?;
        }
        Ok(audit)
    }

    /// The roots that were signed or seen, by size, and how many listed checkpoints do not count.
    fn signed_roots(
        &self,
        judge: &Judge,
        latest: Option<&Witnessed>,
        seen: &Seen,
    ) -> Result<(BTreeMap<u64, Vec<Checkpoint>>, u64)> {
        let judge = judge.alone();
        let mut roots = BTreeMap::<u64, Vec<Checkpoint>>::new();
        let mut foreign = 0;
        let mut add = |checkpoint: &Checkpoint| {
            let there = roots.entry(checkpoint.size()).or_default();
            if !there.contains(checkpoint) {
                there.push(checkpoint.clone());
            }
        };
        for known in latest.map(Witnessed::checkpoint).into_iter().chain(seen.last()) {
            add(known);
        }
        self.each_listed(MAX_LEAVES, &mut |Listed { path, .. }| {
            match self.judged_at(&judge, &path) {
                Ok(found) => add(found.checkpoint()),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => foreign += 1,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((roots, foreign))
    }

    /// Compares what was signed for this size, and takes it out.
    fn compare(roots: &mut BTreeMap<u64, Vec<Checkpoint>>, growth: &Growth) -> Result<()> {
        let size = growth.size();
        let Some(signed) = roots.remove(&size) else { return Ok(()) };
        let root = growth.frontier().root();
        if signed.iter().all(|signed| signed.root() == root) {
            return Ok(());
        }
        let what = format!("the log at {size} entries");
        Err(Error::Untrusted { what, why: "was signed with another root than its batches have: a fork" })
    }

    fn check_tile(&self, tile: Tile, bytes: &[u8], damaged: &mut Vec<String>) -> Result<()> {
        let path = super::path(&tile.path());
        let found = match self.store.read(&path, MAX_BUNDLE) {
            Ok(found) => found,
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        if found.as_deref() != Some(bytes) && damaged.len() < MAX_NAMED {
            damaged.push(path);
        }
        Ok(())
    }
}
