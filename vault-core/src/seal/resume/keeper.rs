//! A thread that writes down which parts are stored, behind the backs of those that seal.
//!
//! A part may be noted only when it is durable, and waiting for that costs a disk time. So parts are noted in batches: one wait
//! for all that were stored meanwhile, then one for the notes. After each batch the thread rests nine times as long as it took.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{KeptStream, Lasting, Segments, Session, file, record};
use crate::{
    error::{Error, Result},
    journal::Journal,
};

/// So much longer than it worked does the keeper rest: a tenth of its time is all it takes.
const REST: u32 = 9;
/// It never rests longer, however slow the disk is.
const LONGEST_REST: Duration = Duration::from_secs(20);

/// A part that is stored, and not noted yet.
pub(super) struct Pending {
    pub(super) number: u32,
    pub(super) part: u64,
    pub(super) segments: Segments,
    /// Its stream, without parts.
    pub(super) stream: KeptStream,
}

/// What is still to be noted, and where.
pub(super) struct Keeper {
    journal: Journal,
    pending: Vec<Pending>,
    /// Streams that are noted.
    known: BTreeSet<u32>,
    /// No more parts will come.
    is_over: bool,
    /// Why nothing more can be noted.
    failure: Option<Error>,
}

impl Keeper {
    pub(super) fn new(journal: Journal, known: BTreeSet<u32>) -> Self {
        Self { journal, pending: Vec::new(), known, is_over: false, failure: None }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Whether no stream was ever noted.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Appends what was stored; it is durable in the store.
    pub(super) fn append(&mut self, stored: &[Pending]) -> Result<()> {
        for Pending { number, part, segments, stream } in stored {
            // A journal that is full notes no more; what follows is sealed again. A shorter record may find room later: a
            // part never does without its stream.
            let is_noted = self.known.contains(number) || self.note(&record::stream(*number, stream))?;
            if !is_noted {
                continue;
            }
            self.known.insert(*number);
            self.note(&record::part(*number, *part, segments))?;
        }
        self.journal.sync()
    }

    /// Appends a record, unless only the room is left that is kept for what must be written.
    fn note(&mut self, record: &[u8]) -> Result<bool> {
        Ok(self.journal.has_room(record.len(), file::RESERVE) && self.journal.append(record)?)
    }

    /// Appends a record that must not be missing, and brings it to disk.
    pub(super) fn demand(&mut self, record: &[u8]) -> Result<()> {
        if !self.journal.append(record)? {
            return Err(Error::Misuse(format!("{} is full; remove it", self.journal.what())));
        }
        self.journal.sync()
    }
}

impl Session {
    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a part was stored. Fails if an earlier one could not be noted.
    pub(super) fn stored(&self, number: u32, part: u64, segments: Segments, stream: KeptStream) -> Result<()> {
        let mut keeper = self.keeper();
        if let Some(failure) = keeper.failure.take() {
            return Err(failure);
        }
        keeper.pending.push(Pending { number, part, segments, stream });
        self.changed.notify_all();
        Ok(())
    }

    /// Notes batch after batch until it is over and nothing is left.
    fn keep(&self, store: &dyn Lasting) {
        let mut keeper = self.keeper();
        loop {
            while keeper.pending.is_empty() && !keeper.is_over {
                keeper = self.changed.wait(keeper).unwrap_or_else(PoisonError::into_inner);
            }
            let stored = std::mem::take(&mut keeper.pending);
            if stored.is_empty() {
                return;
            }
            drop(keeper);
            let begun = Instant::now();
            let settled = store.settle();
            keeper = self.keeper();
            if let Err(error) = settled.and_then(|()| keeper.append(&stored)) {
                keeper.failure.get_or_insert(error);
                return;
            }
            let until = Instant::now() + (begun.elapsed() * REST).min(LONGEST_REST);
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|_| !keeper.is_over) {
                keeper = self.changed.wait_timeout(keeper, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// Seals, and notes meanwhile what is stored; after a failure, too, so that as little as possible is sealed again.
pub(super) fn during<T>(session: &Session, store: &dyn Lasting, seal: impl FnOnce() -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let keeper = thread::Builder::new().name("mvault-resume".into()).spawn_scoped(scope, || session.keep(store));
        let sealed = seal();
        session.keeper().is_over = true;
        session.changed.notify_all();
        if keeper.is_err() {
            session.keep(store);
        }
        // What is sealed is sealed, whether or not the last parts of it could be noted.
        sealed
    })
}
