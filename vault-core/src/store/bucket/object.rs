//! An object of a bucket, read by ranges.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};

use super::{Shared, ahead::Fetched};
use crate::{
    error::{Fault, Result},
    parts::ReadAt,
    store::corrupt,
};

/// Bytes that are fetched at least, because the next to be read are most likely those that follow: one segment.
const READ_AHEAD: u64 = 1 << 20;

/// An object of known, or expected, length.
pub(super) struct Object {
    bucket: Arc<Shared>,
    path: String,
    length: u64,
    last: Mutex<Last>,
}

/// Where the last bytes came from.
#[derive(Default)]
enum Last {
    #[default]
    Nowhere,
    /// From a range that was announced.
    Ahead(Arc<Fetched>),
    /// From a request of their own, which began here.
    Own(u64, Bytes),
}

impl Object {
    pub(super) fn new(bucket: &Arc<Shared>, path: &str, length: u64) -> Self {
        Self { bucket: Arc::clone(bucket), path: path.to_owned(), length, last: Mutex::default() }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("path", &self.path).field("length", &self.length).finish_non_exhaustive()
    }
}

impl ReadAt for Object {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let Self { bucket, path, length, last } = self;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > *length {
            return Err(corrupt(path, Fault::Length { expected: end, found: *length }));
        }
        if buffer.is_empty() {
            return Ok(());
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Last::Ahead(fetched) = &*last
            && fetched.has(&(offset..end))
        {
            return fetched.read(offset, buffer);
        }
        if let Last::Own(start, bytes) = &*last
            && let Some(found) = within(*start, bytes, offset, buffer.len())
        {
            buffer.copy_from_slice(found);
            return Ok(());
        }
        if let Some(fetched) = bucket.ranges.find(path, &(offset..end)) {
            let result = fetched.read(offset, buffer);
            *last = Last::Ahead(fetched);
            return result;
        }
        let until = end.max(offset.saturating_add(READ_AHEAD).min(*length));
        let bytes = Mutex::new(BytesMut::new());
        let take = |chunk: Bytes| bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk);
        bucket.wait(bucket.download(path, *length, offset..until, &take))??;
        let bytes = bytes.into_inner().unwrap_or_else(PoisonError::into_inner).freeze();
        // A download that ended well has all of its bytes.
        buffer.copy_from_slice(&bytes[..buffer.len()]);
        *last = Last::Own(offset, bytes);
        Ok(())
    }
}

/// The bytes from `offset` of an object of which `bytes` begin at `start`.
fn within(start: u64, bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(offset.checked_sub(start)?).ok()?;
    bytes.get(from..from.checked_add(len)?)
}
