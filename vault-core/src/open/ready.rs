//! The streams that were read from last, ready to be read from again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Reader;
use crate::error::Result;

/// The most streams that are kept ready. A file may be spread over a hundred thousand.
pub(super) const MAX_READY: usize = 64;
/// The most segments that the trees of streams kept ready have, unless it is one stream: 64 MiB of values.
const MAX_READY_SEGMENTS: u64 = 1 << 21;

/// Streams whose trees were read and whose headers were checked, the one used last at the end.
#[derive(Default)]
pub(super) struct Ready<'a>(Mutex<Vec<(u32, Arc<Reader<'a>>)>>);

impl<'a> Ready<'a> {
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Arc<Reader<'a>>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream by its number. The first to come gets it with `read`, while the others wait.
    pub(super) fn get(&self, stream: u32, read: impl FnOnce() -> Result<Reader<'a>>) -> Result<Arc<Reader<'a>>> {
        let mut ready = self.lock();
        let entry = match ready.iter().position(|(other, _)| *other == stream) {
            Some(at) => ready.remove(at),
            None => (stream, Arc::new(read()?)),
        };
        let reader = Arc::clone(&entry.1);
        ready.push(entry);
        while ready.len() > MAX_READY || (ready.len() > 1 && segments(&ready) > MAX_READY_SEGMENTS) {
            ready.remove(0);
        }
        Ok(reader)
    }

    /// Whether a stream is ready.
    pub(super) fn has(&self, stream: u32) -> bool {
        self.lock().iter().any(|(other, _)| *other == stream)
    }

    /// How many streams are ready.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

fn segments(ready: &[(u32, Arc<Reader<'_>>)]) -> u64 {
    ready.iter().map(|(_, reader)| reader.body.stream().layout.segments()).sum()
}
