//! A vault in an object store.

use std::{fmt, future::poll_fn, io, ops::Range, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use jiff::Timestamp;
use object_store::{
    Extensions, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, path::Path,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::OnceCell,
    task::AbortHandle,
};

use super::{Backend, Connection, Created, Deletion, Entry, Presigned, Purpose, Soon, check_mutable, corrupt, path};
use crate::{
    error::{Error, Fault, Result},
    parts::{Ahead, ReadAt, Staged, Wanted},
};

mod ahead;
mod attempt;
pub(super) mod connect;
mod http;
mod object;
mod paced;
mod signed;
mod soon;
mod throttle;
mod upload;

use ahead::Ranges;
use attempt::{Attempts, Failed};
use connect::Connected;
pub(super) use http::{Connector, between, is_loopback, shown};
use object::Object;
pub(super) use paced::Paced;
use signed::Signing;
use soon::Answers;
pub(super) use throttle::Throttle;
use throttle::Waited;
use upload::{StagedBytes, Uploads};

/// The largest object that is compared byte by byte with what is there; larger ones are content, named by their hash.
const COMPARED: u64 = 64 << 10;
/// How long to wait for the first answer ever: a wrong address is no outage.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How long a server may stay silent in the middle of an answer.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a page of a listing may take.
const PAGE: Duration = Duration::from_mins(2);
/// Bytes of a download after which it counts as moving, and patience begins anew.
const MOVING: u64 = 1 << 20;

/// A vault in an object store that can create an object only if it is absent.
///
/// Objects are staged in memory and stored in the background, [`Connection::jobs`] at a time; [`Backend::sync`] waits
/// for them. Calls may come from several threads at once, but not from inside an async runtime.
#[derive(Debug)]
pub struct Bucket(Arc<Shared>);

struct Shared {
    store: Arc<dyn ObjectStore>,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    jobs: usize,
    patience: Duration,
    /// Whether the store ever answered.
    reached: OnceCell<()>,
    /// Whether the store was seen to refuse a second create.
    proven: OnceCell<()>,
    uploads: Uploads,
    ranges: Ranges,
    answers: Answers,
    /// What the vault is called in messages.
    name: String,
    /// What answers come in by.
    inward: Throttle,
    /// What signs URLs for others, if the store has such.
    signing: Option<Signing>,
}

impl Bucket {
    /// Uses `store`, whose root is the vault's.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system refuses what an async runtime needs.
    pub fn new(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let name = store.to_string();
        Self::with((store, None), name, &Connection::default())
    }

    /// Connects to the object store that an `s3://`, `az://` or `gs://` URL names, or to a registry. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the URL names none; [`Error::Storage`] if the settings do not fit.
    pub fn connect(url: &str, connection: &Connection) -> Result<Self> {
        let outward = Arc::new(Throttle::new(connection.max_bandwidth));
        Self::with(connect::connect(url, connection, &outward)?, url.trim_end_matches('/').to_owned(), connection)
    }

    fn with((store, signing): Connected, name: String, connection: &Connection) -> Result<Self> {
        // Transfers mostly wait; two threads keep a fast line busy and leave the processors to the pipeline.
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("mvault-transfer").enable_all().build();
        let runtime = Some(runtime.map_err(Error::storage("async runtime"))?);
        let (jobs, patience) = (connection.jobs.get(), connection.patience);
        Ok(Self(Arc::new(Shared {
            store,
            runtime,
            jobs,
            patience,
            reached: OnceCell::new(),
            proven: if connection.proven { OnceCell::new_with(Some(())) } else { OnceCell::new() },
            uploads: Uploads::default(),
            ranges: Ranges::default(),
            answers: Answers::default(),
            name,
            inward: Throttle::new(connection.max_bandwidth),
            signing,
        })))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A store's own Debug may show its configuration.
        f.debug_struct("Shared").field("store", &self.name).finish_non_exhaustive()
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
    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| Error::Misuse("this bucket is closed".into()))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        Ok(self.runtime()?.block_on(future))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<AbortHandle> {
        Ok(self.runtime()?.spawn(task).abort_handle())
    }

    /// Less patience for a store that never answered.
    fn attempts<'a>(&self, path: &'a str) -> Attempts<'a> {
        if self.reached.initialized() {
            Attempts::new(path, self.patience)
        } else {
            Attempts::from_now(path, self.patience.min(FIRST_ANSWER))
        }
    }

    /// Stores an object unless its name is taken. The first of all creates is made twice, to see the second refused.
    async fn create(&self, path: &str, payload: PutPayload) -> Result<Created> {
        if self.proven.initialized() {
            return self.create_once(path, payload).await;
        }
        let mut created = None;
        let prove = async || {
            let (first, second) =
                tokio::join!(self.create_once(path, payload.clone()), self.create_once(path, payload.clone()));
            let both = [first.map_err(Some)?, second.map_err(Some)?];
            created = Some(if both.contains(&Created::New) { Created::New } else { Created::Exists });
            match both {
                // Somebody else's object is no proof: a refusal may have been about two at once.
                [Created::Exists, Created::Exists] => Err(None),
                // After a lost answer both may take the object for their own: a third create decides.
                [Created::New, Created::New]
                    if self.put(path, &payload, &mut self.attempts(path)).await.map_err(Some)?.is_none() =>
                {
                    Err(Some(overwrites(path)))
                }
                _ => Ok(()),
            }
        };
        if let Err(Some(error)) = self.proven.get_or_try_init(prove).await {
            return Err(error);
        }
        match created {
            Some(created) => Ok(created),
            // Somebody else proved it meanwhile.
            None => self.create_once(path, payload).await,
        }
    }

    /// Goes on until the store says `New`, or something is there that explains why it does not.
    async fn create_once(&self, path: &str, payload: PutPayload) -> Result<Created> {
        let length = payload.content_length() as u64;
        let mut attempts = self.attempts(path);
        loop {
            let Some(refusal) = self.put(path, &payload, &mut attempts).await? else { return Ok(Created::New) };
            // Either it is there, or another writer was at work and failed, or the answer is not true.
            match self.head(path).await? {
                None => attempts.wait(io::Error::from(refusal)).await?,
                Some(meta) if attempts.is_repeated() && meta.size == length && length <= COMPARED => {
                    // An attempt of ours whose answer was lost may have stored it.
                    let there = self.get(path, length).await?;
                    let ours: Vec<u8> = payload.into_iter().flatten().collect();
                    return Ok(if there.as_deref() == Some(&ours[..]) { Created::New } else { Created::Exists });
                }
                Some(_) => return Ok(Created::Exists),
            }
        }
    }

    /// One create. Returns the answer of a store that has an object of this name, or says so.
    async fn put(
        &self,
        path: &str,
        payload: &PutPayload,
        attempts: &mut Attempts<'_>,
    ) -> Result<Option<object_store::Error>> {
        let location = location(path)?;
        let length = payload.content_length() as u64;
        let put = |waited| {
            let options = PutOptions { mode: PutMode::Create, extensions: saying(waited), ..PutOptions::default() };
            self.store.put_opts(&location, payload.clone(), options)
        };
        let refusal = match attempts.run_paced(length, put).await {
            Ok(_) => None,
            Err(Failed::Answer(error @ object_store::Error::AlreadyExists { .. })) => Some(error),
            Err(failed) => return Err(failed.about(path)),
        };
        let _ = self.reached.set(());
        Ok(refusal)
    }

    async fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        let location = location(path)?;
        let answer = self.attempts(path).run(0, || self.store.head(&location)).await;
        self.present(path, answer)
    }

    /// Tells absence apart from failure.
    fn present<T>(&self, path: &str, answer: object_store::Result<T, Failed>) -> Result<Option<T>> {
        let found = match answer {
            Ok(value) => Some(value),
            Err(Failed::Answer(object_store::Error::NotFound { source, .. })) if is_no_bucket(&source.to_string()) => {
                return Err(Error::NotFound { what: format!("the bucket of {}", self.name) });
            }
            Err(Failed::Answer(object_store::Error::NotFound { .. })) => None,
            Err(failed) => return Err(failed.about(path)),
        };
        let _ = self.reached.set(());
        Ok(found)
    }

    /// The bytes of a small object.
    async fn get(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        let location = location(path)?;
        let mut attempts = self.attempts(path);
        loop {
            let request = || self.store.get_opts(&location, GetOptions::default());
            let answer = attempts.run(cap, request).await;
            let Some(answer) = self.present(path, answer)? else { return Ok(None) };
            let size = answer.range.end.saturating_sub(answer.range.start);
            let length = usize::try_from(size).ok().filter(|_| size <= cap);
            let length = length.ok_or_else(|| corrupt(path, Fault::Limit { what: "length", limit: cap }))?;
            let mut bytes = Vec::with_capacity(length);
            match self.body(answer, size, &mut |chunk| bytes.extend_from_slice(&chunk)).await {
                Ok(found) if found == size => return Ok(Some(bytes)),
                Ok(found) if found > size => return Err(corrupt(path, Fault::Length { expected: size, found })),
                Ok(found) => attempts.wait(ended_early(size, found)).await?,
                Err(error) => attempts.wait(error).await?,
            }
        }
    }

    /// Gives `range` of an object of `length` bytes to `take`, in order. A transfer that breaks goes on where it broke.
    async fn download(&self, path: &str, length: u64, range: Range<u64>, take: &(impl Fn(Bytes) + Sync)) -> Result<()> {
        let location = location(path)?;
        let mut attempts = self.attempts(path);
        let mut at = range.start;
        while at < range.end {
            let wanted = at..range.end;
            let options = GetOptions { range: Some(GetRange::Bounded(wanted.clone())), ..GetOptions::default() };
            let request = || self.store.get_opts(&location, options.clone());
            let answer = match attempts.run(range.end - at, request).await {
                Err(Failed::Answer(error)) if is_outside(&error) => return Err(self.cut(path, length, error).await?),
                answer => self.present(path, answer)?.ok_or_else(|| corrupt(path, Fault::Missing))?,
            };
            if answer.meta.size != length {
                return Err(corrupt(path, Fault::Length { expected: length, found: answer.meta.size }));
            }
            if answer.range != wanted {
                return Err(corrupt(path, Fault::Length { expected: wanted.end, found: answer.range.end }));
            }
            let (before, left) = (at, wanted.end - wanted.start);
            let result = self
                .body(answer, left, &mut |chunk| {
                    at += chunk.len() as u64;
                    take(chunk);
                })
                .await;
            let failure = match result {
                Ok(found) if found == left => return Ok(()),
                Ok(found) if found > left => {
                    return Err(corrupt(path, Fault::Length { expected: left, found }));
                }
                Ok(found) => ended_early(left, found),
                Err(error) => error,
            };
            if at - before >= MOVING {
                // It moves: only standing still uses up patience.
                attempts = self.attempts(path);
            }
            attempts.wait(failure).await?;
        }
        Ok(())
    }

    /// What to say of an object that has not the bytes that were asked for.
    async fn cut(&self, path: &str, expected: u64, refusal: object_store::Error) -> Result<Error> {
        Ok(match self.head(path).await?.map(|meta| meta.size) {
            None => corrupt(path, Fault::Missing),
            Some(found) if found != expected => corrupt(path, Fault::Length { expected, found }),
            Some(_) => Failed::Answer(refusal).about(path),
        })
    }

    /// What is in a folder, unless it is more than `most` entries.
    async fn list_some(&self, folder: &str, most: usize) -> Result<Option<Vec<Entry>>> {
        let location = location(folder)?;
        let mut stream = self.store.list(Some(&location));
        let mut entries = Vec::new();
        loop {
            let meta = match within(PAGE, next(&mut stream)).await {
                Ok(Some(Ok(meta))) => meta,
                Ok(None) => return Ok(Some(entries)),
                // Whoever needs it asks again, with patience.
                Ok(Some(Err(_))) | Err(_) => return Ok(None),
            };
            if entries.len() == most {
                return Ok(None);
            }
            entries.push(entry(&meta));
        }
    }

    /// Gives the body of an answer to `take`, but never more than `most` bytes. Returns how many there were, or more
    /// than `most`.
    async fn body(&self, answer: GetResult, most: u64, take: &mut (dyn FnMut(Bytes) + Send)) -> io::Result<u64> {
        let mut stream = answer.into_stream();
        let mut found = 0;
        while let Some(chunk) = within(SILENCE, next(&mut stream)).await? {
            let chunk = chunk?;
            found += chunk.len() as u64;
            if found > most {
                break;
            }
            self.inward.pass(chunk.len() as u64, &Waited::default()).await;
            take(chunk);
        }
        Ok(found)
    }
}

impl Backend for Bucket {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        path::check(path)?;
        self.0.answers.forget();
        self.0.wait(self.0.create(path, PutPayload::from(bytes.to_vec())))?
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        if let Some(answer) = self.0.wait(self.0.answers.read(path))? {
            return match answer? {
                Some(bytes) if bytes.len() as u64 > cap => {
                    Err(corrupt(path, Fault::Limit { what: "length", limit: cap }))
                }
                answer => Ok(answer),
            };
        }
        self.0.wait(self.0.get(path, cap))?
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        let meta = self.0.wait(self.0.head(path))??;
        Ok(meta.map(|meta| Box::new(Object::new(&self.0, path, meta.size)) as Box<dyn ReadAt>))
    }

    fn open_sized(&self, path: &str, length: u64) -> Result<Box<dyn ReadAt>> {
        // Without asking: the first answer will say whether it is there and how long it is.
        path::check(path)?;
        Ok(Box::new(Object::new(&self.0, path, length)))
    }

    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        ahead::start(&self.0, wanted)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        Ok(self.0.wait(self.0.head(path))??.as_ref().map(entry))
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.0.answers.forget();
        let location = location(path)?;
        let mut attempts = self.0.attempts(path);
        let answer = self.0.wait(attempts.run(0, || self.0.store.delete(&location)))?;
        self.0.present(path, answer).map(drop)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_mutable(path)?;
        self.0.answers.forget();
        let location = location(path)?;
        let payload = PutPayload::from(bytes.to_vec());
        let mut attempts = self.0.attempts(path);
        let put = |waited| {
            let options = PutOptions { extensions: saying(waited), ..PutOptions::default() };
            self.0.store.put_opts(&location, payload.clone(), options)
        };
        match self.0.wait(attempts.run_paced(bytes.len() as u64, put))? {
            Ok(_) => Ok(()),
            Err(failed) => Err(failed.about(path)),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        path::check_prefix(prefix)?;
        if let Some(answer) = self.0.wait(self.0.answers.list(prefix))? {
            return answer?.into_iter().try_for_each(each);
        }
        let folder = if prefix.is_empty() { None } else { Some(location(prefix)?) };
        let what = if prefix.is_empty() { &self.0.name } else { prefix };
        let mut attempts = self.0.attempts(what);
        let mut last: Option<Path> = None;
        loop {
            let mut stream = match &last {
                None => self.0.store.list(folder.as_ref()),
                Some(last) => self.0.store.list_with_offset(folder.as_ref(), last),
            };
            // One wait for each entry: `each` may use this store itself.
            let failure = loop {
                match self.0.wait(within(PAGE, next(&mut stream)))? {
                    Ok(Some(Ok(meta))) => {
                        let _ = self.0.reached.set(());
                        last = Some(meta.location.clone());
                        // Only standing still uses up patience.
                        attempts = self.0.attempts(what);
                        each(entry(&meta))?;
                    }
                    Ok(None) => return Ok(()),
                    Ok(Some(Err(error))) => break Ok(error),
                    Err(silence) => break Err(silence),
                }
            };
            // A listing that breaks goes on after the last entry it gave; listings of buckets are in order.
            match failure {
                Ok(object_store::Error::NotFound { source, .. }) if is_no_bucket(&source.to_string()) => {
                    return Err(Error::NotFound { what: format!("the bucket of {}", self.0.name) });
                }
                Ok(failure) => self.0.wait(attempts.again(failure))??,
                Err(silence) => self.0.wait(attempts.wait(silence))??,
            }
        }
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        Ok(Box::new(StagedBytes::new(&self.0, capacity)))
    }

    fn sync(&self) -> Result<()> {
        self.0.uploads.drain()
    }

    fn describe(&self) -> String {
        self.0.name.clone()
    }

    fn is_proven(&self) -> Option<bool> {
        Some(self.0.proven.initialized())
    }

    fn soon(&self, soon: &[Soon<'_>]) {
        self.0.answers.ask(&self.0, soon);
    }

    fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        self.0.wait(self.0.presign(path, purpose, lifetime))?
    }

    fn presigns(&self) -> Result<bool> {
        self.0.wait(self.0.presigns())?
    }

    fn delete_by(&self, path: &str, permit: &Presigned) -> Deletion {
        self.0.answers.forget();
        self.0.wait(self.0.delete_by(path, permit)).unwrap_or_else(Deletion::not_begun)
    }

    fn expires(&self, path: &str) -> Result<bool> {
        self.0.answers.forget();
        self.0.wait(self.0.expires(path))?
    }
}

/// Lets a request say how long it waits for its turns.
fn saying(waited: Waited) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.insert(waited);
    extensions
}

/// Whether it is the bucket that is missing, and not only an object of it. No path has such characters.
fn is_no_bucket(answer: &str) -> bool {
    let codes = ["<Code>NoSuchBucket<", "<Code>ContainerNotFound<", "The specified bucket does not exist"];
    codes.iter().any(|it| answer.contains(it))
}

/// Whether a range was refused because the object ends before it.
fn is_outside(refusal: &object_store::Error) -> bool {
    refusal.to_string().contains("status code: 416")
}

/// What comes within a time.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> io::Result<T> {
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "the server fell silent");
    tokio::time::timeout(time, future).await.map_err(silent)
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

fn ended_early(expected: u64, found: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the answer ended after {found} of {expected} bytes"))
}

/// A store that lets every writer win would lose records; no vault may be in it.
fn overwrites(path: &str) -> Error {
    let why = "this store ignores `If-None-Match: *`: two creates of one object both succeeded, so two writers could \
               replace one another's records. Amazon S3, SeaweedFS, MinIO, Ceph (from Squid), Cloudflare R2, Azure and \
               Google Cloud Storage refuse the second; `rclone serve s3` and s3rver are known not to";
    Error::storage(path)(io::Error::new(io::ErrorKind::Unsupported, why))
}

#[cfg(test)]
mod tests;
