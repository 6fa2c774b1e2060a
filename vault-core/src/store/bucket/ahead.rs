//! Fetching ahead: ranges of objects on their way into memory before somebody waits for them.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::Shared;
use crate::{
    error::{Error, Result},
    parts::{Ahead, Wanted, object_path},
    store::again,
};

/// What is being fetched, by path.
#[derive(Debug, Default)]
pub(super) struct Ranges(Mutex<HashMap<String, Vec<Arc<Fetched>>>>);

impl Ranges {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Fetched>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetched range of an object that has all of these bytes.
    pub(super) fn find(&self, path: &str, range: &Range<u64>) -> Option<Arc<Fetched>> {
        let found = self.lock();
        found.get(path)?.iter().find(|fetched| fetched.has(range)).cloned()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&self, path: &str, fetched: &Arc<Fetched>) {
        self.lock().entry(path.to_owned()).or_default().push(Arc::clone(fetched));
    }

    fn remove(&self, path: &str, fetched: &Arc<Fetched>) {
        let mut all = self.lock();
        if let Some(of_object) = all.get_mut(path) {
            of_object.retain(|other| !Arc::ptr_eq(other, fetched));
            if of_object.is_empty() {
                all.remove(path);
            }
        }
    }
}

/// A range of one object, arriving.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Whom to tell that it was read.
    plan: Weak<Plan>,
    range: Range<u64>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What has arrived, in order, each with the offset in the object where it begins.
    chunks: Vec<(u64, Bytes)>,
    /// Bytes that have arrived.
    length: u64,
    /// Bytes that were read.
    read: u64,
    /// How it ended.
    end: Option<Result<()>>,
}

impl Fetched {
    fn new(range: Range<u64>) -> Self {
        Self { plan: Weak::new(), range, state: Mutex::default(), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these bytes are in the range.
    pub(super) fn has(&self, range: &Range<u64>) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }

    /// Takes the next bytes that arrived.
    fn push(&self, chunk: Bytes) {
        let mut state = self.lock();
        let offset = self.range.start + state.length;
        state.length += chunk.len() as u64;
        state.chunks.push((offset, chunk));
        self.arrived.notify_all();
    }

    fn end(&self, result: Result<()>) {
        self.lock().end.get_or_insert(result);
        self.arrived.notify_all();
    }

    /// Waits for `buffer.len()` bytes from `offset` and copies them. When all of the range has been read, lets go of it.
    ///
    /// # Errors
    /// What ended the transfer before they arrived.
    pub(super) fn read(self: &Arc<Self>, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        let mut state = self.lock();
        while self.range.start + state.length < end {
            match &state.end {
                Some(Err(error)) => return Err(again(error)),
                // It ended well only if all has arrived.
                Some(Ok(())) => break,
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let first = state.chunks.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        // The handles are cloned, so that the bytes are copied while others go on.
        let chunks: Vec<_> = state.chunks[first..].iter().take_while(|(start, _)| *start < end).cloned().collect();
        state.read += buffer.len() as u64;
        let complete = state.read >= self.range.end - self.range.start;
        drop(state);
        for (start, chunk) in chunks {
            let (from, to) = (start.max(offset), (start + chunk.len() as u64).min(end));
            if from < to {
                buffer[index(from - offset)..index(to - offset)]
                    .copy_from_slice(&chunk[index(from - start)..index(to - start)]);
            }
        }
        if complete && let Some(plan) = self.plan.upgrade() {
            plan.finished(self);
        }
        Ok(())
    }
}

/// Offsets within a buffer that is in memory.
#[expect(clippy::cast_possible_truncation, reason = "no more than the length of a slice")]
fn index(offset: u64) -> usize {
    offset as usize
}

/// Whoever waits for a range is told, also if the task that fetches it is gone.
struct Ending(Arc<Fetched>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(Error::storage("transfer")(std::io::Error::other("it was given up"))));
    }
}

/// Starts fetching what is wanted, in order, as far as memory goes.
pub(super) fn start(bucket: &Arc<Shared>, wanted: Vec<Wanted>) -> Ahead {
    let plan =
        Arc::new(Plan { bucket: Arc::downgrade(bucket), queue: Mutex::new(wanted.into()), running: Mutex::default() });
    // The first are under way before anybody asks for them.
    for _ in 0..bucket.jobs {
        plan.next();
    }
    Ahead::new(Guard(plan))
}

/// What one caller wants: what is in its memory or on its way, and what follows.
#[derive(Debug)]
struct Plan {
    bucket: Weak<Shared>,
    queue: Mutex<VecDeque<Wanted>>,
    running: Mutex<Vec<Running>>,
}

#[derive(Debug)]
struct Running {
    path: String,
    fetched: Arc<Fetched>,
    task: AbortHandle,
}

impl Plan {
    /// Starts the next transfer, if there is one.
    fn next(self: &Arc<Self>) {
        let Some(bucket) = self.bucket.upgrade() else { return };
        let Some(wanted) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
        let Wanted { name, length, range } = wanted;
        let path = object_path(&name);
        let fetched = Arc::new(Fetched { plan: Arc::downgrade(self), ..Fetched::new(range.clone()) });
        let task = {
            let (bucket, path, fetched) = (Arc::clone(&bucket), path.clone(), Arc::clone(&fetched));
            async move {
                let _ending = Ending(Arc::clone(&fetched));
                let result = bucket.download(&path, length, range, &|chunk| fetched.push(chunk)).await;
                fetched.end(result);
            }
        };
        // Without a runtime whoever needs the bytes reads them.
        let Ok(task) = bucket.spawn(task) else { return };
        bucket.ranges.insert(&path, &fetched);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(Running { path, fetched, task });
    }

    /// Lets go of a range that was read, and starts the next.
    fn finished(self: &Arc<Self>, fetched: &Arc<Fetched>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = running.iter().position(|one| Arc::ptr_eq(&one.fetched, fetched)) else { return };
        let done = running.swap_remove(at);
        drop(running);
        if let Some(bucket) = self.bucket.upgrade() {
            bucket.ranges.remove(&done.path, fetched);
        }
        self.next();
    }
}

/// Ends all that is left when it is dropped.
struct Guard(Arc<Plan>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let running = std::mem::take(&mut *self.0.running.lock().unwrap_or_else(PoisonError::into_inner));
        for Running { path, fetched, task } in running {
            task.abort();
            let ended = std::io::Error::other("the transfer was given up");
            fetched.end(Err(Error::storage(&path)(ended)));
            if let Some(bucket) = self.0.bucket.upgrade() {
                bucket.ranges.remove(&path, &fetched);
            }
        }
    }
}
