//! A few threads that pull work until there is none, or until one of them fails.

use std::{
    num::NonZeroUsize,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::error::{Error, Result};

/// Hears how far a pipeline is, and may stop it.
pub trait Progress: Sync {
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);

    /// Whether to stop; asked at every segment.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody listens.
impl Progress for () {
    fn advance(&self, _bytes: u64) {}
}

/// How many threads a pipeline uses. Each holds one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads(NonZeroUsize);

/// More threads than this only cost memory.
const MAX_THREADS: usize = 64;

impl Threads {
    /// `count` threads, at most 64.
    pub fn new(count: NonZeroUsize) -> Self {
        Self(count.min(NonZeroUsize::new(MAX_THREADS).unwrap_or(count)))
    }

    /// One for every processor this process may use, as it was when this was asked first: the system reads files to find out.
    pub fn available() -> Self {
        static AVAILABLE: LazyLock<NonZeroUsize> =
            LazyLock::new(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        Self::new(*AVAILABLE)
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0.get()
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::available()
    }
}

/// Tells workers to stop early.
pub(crate) struct Stop<'a> {
    failed: AtomicBool,
    progress: &'a dyn Progress,
}

impl Stop<'_> {
    /// Whether another worker failed. An error if the caller asked to stop.
    pub(crate) fn requested(&self) -> Result<bool> {
        if self.progress.cancelled() {
            return Err(Error::storage("operation")(std::io::ErrorKind::Interrupted.into()));
        }
        Ok(self.failed.load(Ordering::Relaxed))
    }
}

/// Runs `work` on every thread and waits for all. The first error of any counts.
///
/// # Errors
/// The first error; [`Error::Storage`] if a thread cannot be started.
pub(crate) fn run(
    threads: Threads,
    progress: &dyn Progress,
    work: impl Fn(&Stop<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let stop = Stop { failed: AtomicBool::new(false), progress };
    let first = Mutex::new(None);
    let guarded = || {
        if let Err(error) = work(&stop) {
            stop.failed.store(true, Ordering::Relaxed);
            first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            // With fewer threads than asked for the work still gets done.
            let _ = thread::Builder::new().name("mvault-worker".into()).spawn_scoped(scope, guarded);
        }
        guarded();
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What `work` makes of each of these, in their order, on all threads. What is alone is done here.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let threads = Threads::available().get().min(items.len());
    let (next, slots) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let pull = || {
        while let Some((at, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            let made = work(item);
            slots.lock().unwrap_or_else(PoisonError::into_inner).push((at, made));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // With fewer threads than asked for the work still gets done.
            let _ = thread::Builder::new().name("mvault-worker".into()).spawn_scoped(scope, pull);
        }
        pull();
    });
    let mut slots = slots.into_inner().unwrap_or_else(PoisonError::into_inner);
    slots.sort_unstable_by_key(|(at, _)| *at);
    slots.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_stops_all_and_is_returned() {
        let next = AtomicUsize::new(0);
        let result = run(Threads::new(NonZeroUsize::new(4).expect("4")), &(), |stop| {
            loop {
                if stop.requested()? {
                    return Ok(());
                }
                if next.fetch_add(1, Ordering::Relaxed) == 100 {
                    return Err(Error::Misuse("the hundredth".into()));
                }
            }
        });
        assert_eq!(result.expect_err("failed").to_string(), "the hundredth");
    }

    #[test]
    fn a_cancelled_operation_is_an_error() {
        struct Cancelled;
        impl Progress for Cancelled {
            fn advance(&self, _: u64) {}
            fn cancelled(&self) -> bool {
                true
            }
        }
        let error = run(Threads::available(), &Cancelled, |stop| stop.requested().map(drop)).expect_err("cancelled");
        assert_eq!(error.kind(), crate::error::Kind::Operational);
    }

    #[test]
    fn what_is_made_of_many_comes_in_their_order() {
        for count in [0, 1, 2, 100] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
