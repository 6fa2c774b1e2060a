//! Large objects on their way into the bucket, a few at a time, while the pipeline makes the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use object_store::PutPayload;

use super::Shared;
use crate::{
    error::{Error, Fault, Result},
    parts::{Staged, object_path},
    store::{Created, again, corrupt, end_within},
};

/// Counts transfers, and remembers the first failure: nobody can tell after it whose objects are whole.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Tickets of transfers that have not ended.
    running: BTreeSet<u64>,
    next_ticket: u64,
    failure: Option<Error>,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `most` are running, and takes a place among them.
    fn enter(&self, most: usize) -> Result<u64> {
        let mut state = self.lock();
        while state.running.len() >= most && state.failure.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.as_ref().map_or(Ok(()), |failure| Err(again(failure)))?;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.running.insert(ticket);
        Ok(ticket)
    }

    fn leave(&self, ticket: u64, result: Result<()>) {
        let mut state = self.lock();
        state.running.remove(&ticket);
        if let Err(error) = result {
            state.failure.get_or_insert(error);
        }
        self.changed.notify_all();
    }

    /// Waits for all that started before this call.
    pub(super) fn drain(&self) -> Result<()> {
        let mut state = self.lock();
        let until = state.next_ticket;
        while state.running.first().is_some_and(|oldest| *oldest < until) && state.failure.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.as_ref().map_or(Ok(()), |failure| Err(again(failure)))
    }
}

/// An object that is being put together in memory.
pub(super) struct StagedBytes {
    bucket: Arc<Shared>,
    capacity: u64,
    /// What was written, by offset.
    pieces: Mutex<BTreeMap<u64, Bytes>>,
}

impl StagedBytes {
    pub(super) fn new(bucket: &Arc<Shared>, capacity: u64) -> Self {
        Self { bucket: Arc::clone(bucket), capacity, pieces: Mutex::default() }
    }
}

impl Staged for StagedBytes {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        end_within(self.capacity, offset, bytes)?;
        if !bytes.is_empty() {
            let copy = Bytes::copy_from_slice(bytes);
            self.pieces.lock().unwrap_or_else(PoisonError::into_inner).insert(offset, copy);
        }
        Ok(())
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        let Self { bucket, capacity: _, pieces } = *self;
        let path = object_path(name);
        let payload = joined(&path, pieces.into_inner().unwrap_or_else(PoisonError::into_inner))?;
        let ticket = bucket.uploads.enter(bucket.jobs)?;
        let (place, worker) = (Place(Some((Arc::clone(&bucket), ticket))), Arc::clone(&bucket));
        let upload = async move {
            let result = store(&worker, &path, payload).await;
            place.leave(result);
        };
        bucket.spawn(upload).map(drop)
    }
}

/// A place among the uploads, given back also if the task that has it is dropped.
struct Place(Option<(Arc<Shared>, u64)>);

impl Place {
    fn leave(mut self, result: Result<()>) {
        if let Some((bucket, ticket)) = self.0.take() {
            bucket.uploads.leave(ticket, result);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((bucket, ticket)) = self.0.take() {
            let ended = std::io::Error::other("the transfer was given up");
            bucket.uploads.leave(ticket, Err(Error::storage("upload")(ended)));
        }
    }
}

/// Creates a content object. One that exists must have the same length.
async fn store(bucket: &Shared, path: &str, payload: PutPayload) -> Result<()> {
    let expected = payload.content_length() as u64;
    if bucket.create(path, payload).await? == Created::New {
        return Ok(());
    }
    match bucket.head(path).await?.map(|meta| meta.size) {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(corrupt(path, Fault::Length { expected, found })),
        None => Err(corrupt(path, Fault::Missing)),
    }
}

/// The pieces as one body. They must touch: a gap would be bytes nobody wrote.
fn joined(path: &str, pieces: BTreeMap<u64, Bytes>) -> Result<PutPayload> {
    let mut end = 0;
    for (offset, piece) in &pieces {
        if *offset != end {
            return Err(Error::Misuse(format!("{path}: byte {end} was not written once")));
        }
        end += piece.len() as u64;
    }
    Ok(pieces.into_values().collect())
}
