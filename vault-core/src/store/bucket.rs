//! A vault in an object store.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_core::Stream;
use jiff::Timestamp;
use object_store::{
    GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path,
};
use tokio::runtime::{Builder, Runtime};

use super::{Backend, Created, Entry, corrupt, end_within, path};
use crate::{
    error::{Error, Fault, Result},
    parts::{ReadAt, Staged, object_path},
};

/// How often to try a create that is refused because of an object that is not there. S3 answers so while another
/// writer is at work.
const ATTEMPTS: usize = 3;

/// A vault in an object store that can create an object only if it is absent.
///
/// Objects are staged in memory. Calls may come from several threads at once, but not from inside an async runtime.
#[derive(Debug)]
pub struct Bucket(Arc<Shared>);

struct Shared {
    store: Arc<dyn ObjectStore>,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl Bucket {
    /// Uses `store`, whose root is the vault's.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system refuses what an async runtime needs.
    pub fn new(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::storage("async runtime"))?;
        Ok(Self(Arc::new(Shared { store, runtime: Some(runtime) })))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A store's own Debug may show its configuration.
        f.debug_struct("Shared").field("store", &self.store.to_string()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A plain drop panics inside an async runtime, where the last handle may well be dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        let runtime = self.runtime.as_ref().ok_or_else(|| Error::Misuse("this bucket is closed".into()))?;
        Ok(runtime.block_on(future))
    }

    fn create(&self, path: &str, bytes: Vec<u8>) -> Result<Created> {
        let location = location(path)?;
        let payload = object_store::PutPayload::from(bytes);
        let mut refusal = None;
        for _ in 0..ATTEMPTS {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.wait(self.store.put_opts(&location, payload.clone(), options))? {
                Ok(_) => return Ok(Created::New),
                Err(error @ object_store::Error::AlreadyExists { .. }) => refusal = Some(error),
                Err(error) => return Err(failed(path, error)),
            }
            if self.length(path)?.is_some() {
                return Ok(Created::Exists);
            }
        }
        Err(refusal.map_or_else(|| corrupt(path, Fault::Missing), |error| failed(path, error)))
    }

    fn length(&self, path: &str) -> Result<Option<u64>> {
        let location = location(path)?;
        Ok(present(path, self.wait(self.store.head(&location))?)?.map(|meta| meta.size))
    }

    /// Collects the body of an answer, which must be exactly as long as the answer said.
    fn body(&self, path: &str, answer: GetResult, length: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut stream = answer.into_stream();
        let (mut found, expected) = (0, length as u64);
        while let Some(chunk) = self.wait(next(&mut stream))? {
            let chunk = chunk.map_err(|error| failed(path, error))?;
            found += chunk.len() as u64;
            if found > expected {
                break;
            }
            take(&chunk);
        }
        if found == expected { Ok(()) } else { Err(corrupt(path, Fault::Length { expected, found })) }
    }
}

impl Backend for Bucket {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.0.create(path, bytes.to_vec())
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        let location = location(path)?;
        let answer = self.0.wait(self.0.store.get_opts(&location, GetOptions::default()))?;
        let Some(answer) = present(path, answer)? else { return Ok(None) };
        let size = answer.range.end.saturating_sub(answer.range.start);
        let length = usize::try_from(size).ok().filter(|_| size <= cap);
        let length = length.ok_or_else(|| corrupt(path, Fault::Limit { what: "length", limit: cap }))?;
        let mut bytes = Vec::with_capacity(length);
        self.0.body(path, answer, length, &mut |chunk| bytes.extend_from_slice(chunk))?;
        Ok(Some(bytes))
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        let Some(length) = self.0.length(path)? else { return Ok(None) };
        Ok(Some(Box::new(Object { bucket: Arc::clone(&self.0), path: path.to_owned(), length })))
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        let location = location(path)?;
        Ok(present(path, self.0.wait(self.0.store.head(&location))?)?.as_ref().map(entry))
    }

    fn delete(&self, path: &str) -> Result<()> {
        let location = location(path)?;
        present(path, self.0.wait(self.0.store.delete(&location))?).map(drop)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        path::check_prefix(prefix)?;
        let prefix_path = if prefix.is_empty() { None } else { Some(location(prefix)?) };
        let mut stream = self.0.store.list(prefix_path.as_ref());
        // One wait for each entry: `each` may use this store itself.
        while let Some(meta) = self.0.wait(next(&mut stream))? {
            let meta = meta.map_err(|error| failed(prefix, error))?;
            each(entry(&meta))?;
        }
        Ok(())
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        Ok(Box::new(StagedBytes { bucket: Arc::clone(&self.0), capacity, bytes: Mutex::default() }))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        self.0.store.to_string()
    }
}

#[derive(Debug)]
struct Object {
    bucket: Arc<Shared>,
    path: String,
    length: u64,
}

impl ReadAt for Object {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let Self { bucket, path, length } = self;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > *length {
            return Err(corrupt(path, Fault::Length { expected: end, found: *length }));
        }
        if buffer.is_empty() {
            return Ok(());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(offset..end)), ..GetOptions::default() };
        let answer = bucket.wait(bucket.store.get_opts(&location(path)?, options))?;
        let answer = present(path, answer)?.ok_or_else(|| corrupt(path, Fault::Missing))?;
        if answer.range != (offset..end) {
            return Err(corrupt(path, Fault::Length { expected: end, found: answer.range.end }));
        }
        let wanted = buffer.len();
        let mut filled = 0;
        bucket.body(path, answer, wanted, &mut |chunk| {
            buffer[filled..filled + chunk.len()].copy_from_slice(chunk);
            filled += chunk.len();
        })
    }
}

struct StagedBytes {
    bucket: Arc<Shared>,
    capacity: u64,
    bytes: Mutex<Vec<u8>>,
}

impl Staged for StagedBytes {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = end_within(self.capacity, offset, bytes)?;
        let too_large = |_| Error::Misuse(format!("{end} bytes do not fit the memory of this machine"));
        let (start, end) = (usize::try_from(offset).map_err(too_large)?, usize::try_from(end).map_err(too_large)?);
        let mut all = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < end {
            all.resize(end, 0);
        }
        all[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        let path = object_path(name);
        let bytes = self.bytes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let expected = bytes.len() as u64;
        if self.bucket.create(&path, bytes)? == Created::New {
            return Ok(());
        }
        match self.bucket.length(&path)? {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(corrupt(&path, Fault::Length { expected, found })),
            None => Err(corrupt(&path, Fault::Missing)),
        }
    }
}

fn entry(meta: &ObjectMeta) -> Entry {
    let modified = Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    Entry { path: meta.location.to_string(), size: meta.size, modified }
}

fn location(path: &str) -> Result<Path> {
    path::check(path)?;
    Path::parse(path).map_err(|error| Error::Misuse(format!("{path:?}: {error}")))
}

async fn next<T>(stream: &mut Pin<Box<dyn Stream<Item = T> + Send + 'static>>) -> Option<T> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// Tells absence apart from failure.
fn present<T>(path: &str, answer: object_store::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn failed(path: &str, error: object_store::Error) -> Error {
    Error::storage(path)(io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_works_below_an_async_runtime_and_may_be_dropped_inside_it() {
        let outer = Builder::new_current_thread().build().expect("runtime");
        outer.block_on(async {
            let bucket = Arc::new(Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket"));
            let worker = Arc::clone(&bucket);
            let created = tokio::task::spawn_blocking(move || worker.create("a", b"1")).await.expect("no panic");
            assert_eq!(created.expect("create"), Created::New);
            drop(bucket);
        });
    }
}
