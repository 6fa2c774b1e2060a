//! A few threads that bring committed files to disk, so that the threads that encrypt never wait for it.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use super::{again, staging::Staging};
use crate::error::{Error, Result};

/// Enough to keep one disk busy; they sleep in `fsync`.
const THREADS: usize = 3;
/// Files that may wait, each with an open descriptor.
const WAITING: usize = 64;

/// A file and the path it shall get.
type Job = (Staging, String);

#[derive(Debug, Default)]
pub(super) struct Flusher {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    /// Tickets of files that wait or are being flushed.
    unfinished: BTreeSet<u64>,
    next_ticket: u64,
    /// Kept for ever: after it, nobody can tell any more whose objects are whole.
    failure: Option<Error>,
    closed: bool,
}

impl Flusher {
    /// Hands a file over; waits only if too many wait already. Fails if an earlier one did.
    pub(super) fn submit(&self, file: Staging, path: String) -> Result<()> {
        self.add_thread();
        let mut state = self.queue.lock();
        while state.waiting.len() >= WAITING && !state.closed {
            state = self.queue.wait(state);
        }
        if let Some(failure) = &state.failure {
            return Err(again(failure));
        }
        if state.closed {
            drop(state);
            return file.publish_content(&path);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.unfinished.insert(ticket);
        state.waiting.push_back((ticket, (file, path)));
        self.queue.changed.notify_all();
        Ok(())
    }

    /// Waits for every file handed over before this call.
    pub(super) fn drain(&self) -> Result<()> {
        let mut state = self.queue.lock();
        let until = state.next_ticket;
        while state.unfinished.first().is_some_and(|oldest| *oldest < until) {
            state = self.queue.wait(state);
        }
        state.failure.as_ref().map_or(Ok(()), |failure| Err(again(failure)))
    }

    /// Remembers a failure, if it is the first, so that every later call reports it too.
    pub(super) fn fail(&self, error: Error) -> Error {
        again(self.queue.lock().failure.get_or_insert(error))
    }

    /// Threads start with the first files, so that a reader has none.
    fn add_thread(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() < THREADS {
            let queue = Arc::clone(&self.queue);
            match std::thread::Builder::new().name("mvault-flush".into()).spawn(move || queue.work()) {
                Ok(thread) => threads.push(thread),
                // Without any thread whoever submits does the work.
                Err(_) if threads.is_empty() => self.queue.lock().closed = true,
                Err(_) => {}
            }
        }
    }

    /// Finishes what waits and ends the threads.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It catches the panics of its work.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((number, (file, path))) = state.waiting.pop_front() {
                drop(state);
                self.changed.notify_all();
                // Whoever waits for this file would wait for ever if a panic ended this thread.
                let panicked = |_| Err(Error::storage(&path)(io::Error::other("the flushing thread panicked")));
                let published = catch_unwind(AssertUnwindSafe(|| file.publish_content(&path))).unwrap_or_else(panicked);
                state = self.lock();
                if let Err(error) = published {
                    state.failure.get_or_insert(error);
                }
                state.unfinished.remove(&number);
                self.changed.notify_all();
            } else if state.closed {
                return;
            } else {
                state = self.wait(state);
            }
        }
    }
}
