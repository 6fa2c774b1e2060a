//! Small answers asked for before they are needed, so that several round trips become one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::Shared;
use crate::{
    error::Result,
    store::{Entry, Soon},
};

/// An answer that nobody came for in this time is not used: what is read shall be true now.
const FRESH: Duration = Duration::from_secs(2);
/// The most entries of a listing that are kept; longer ones are asked for again.
const MAX_ENTRIES: usize = 1000;
/// The most answers that are kept.
const MAX_ANSWERS: usize = 64;

/// Answers on their way.
#[derive(Debug, Default)]
pub(super) struct Answers {
    reads: Pending<Option<Vec<u8>>>,
    lists: Pending<Option<Vec<Entry>>>,
}

/// By path, since when.
type Asked<T> = HashMap<String, (Instant, JoinHandle<Result<T>>)>;

#[derive(Debug)]
struct Pending<T>(Mutex<Asked<T>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Pending<T> {
    fn lock(&self) -> MutexGuard<'_, Asked<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, path: &str, answer: JoinHandle<Result<T>>) {
        let mut asked = self.lock();
        asked.retain(|_, (since, _)| since.elapsed() < FRESH);
        if asked.len() < MAX_ANSWERS {
            asked.insert(path.to_owned(), (Instant::now(), answer));
        }
    }

    /// Takes an answer that is fresh.
    async fn take(&self, path: &str) -> Option<Result<T>> {
        let (since, answer) = self.lock().remove(path)?;
        if since.elapsed() < FRESH { answer.await.ok() } else { None }
    }
}

impl Answers {
    /// Asks.
    pub(super) fn ask(&self, bucket: &Arc<Shared>, soon: &[Soon<'_>]) {
        let Ok(runtime) = bucket.runtime() else { return };
        for one in soon {
            let worker = Arc::clone(bucket);
            match *one {
                Soon::Read { path, cap } => {
                    let own = path.to_owned();
                    self.reads.put(path, runtime.spawn(async move { worker.get(&own, cap).await }));
                }
                Soon::List { folder } => {
                    let own = folder.to_owned();
                    let list = async move { worker.list_some(&own, MAX_ENTRIES).await };
                    self.lists.put(folder, runtime.spawn(list));
                }
            }
        }
    }

    /// The answer for an object, if one was asked for lately. It is given once.
    pub(super) async fn read(&self, path: &str) -> Option<Result<Option<Vec<u8>>>> {
        self.reads.take(path).await
    }

    /// The answer for a folder, if one was asked for lately and all of it was kept. It is given once.
    pub(super) async fn list(&self, folder: &str) -> Option<Result<Vec<Entry>>> {
        self.lists.take(folder).await?.transpose()
    }

    /// What was asked before a write is not true after it.
    pub(super) fn forget(&self) {
        self.reads.lock().clear();
        self.lists.lock().clear();
    }
}
