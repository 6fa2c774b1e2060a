//! The vault tree: immutable objects under relative paths, in a folder or in a bucket.
//!
//! A [`Backend`] needs four verbs, create-if-absent, read, open and list, and a way to stage large objects whose name
//! is their hash. Nothing but one cache is ever overwritten. What a store gives is not to be trusted: callers hash or verify it.
//!
//! Everything here is synchronous; a caller on an async runtime uses its `spawn_blocking`.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    error::{Error, Fault, Place, Result},
    parts::{Ahead, Fetch, ReadAt, Sink, Staged, Wanted, object_path},
};

pub mod aws;
mod bucket;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod connection;
mod directory;
#[cfg(test)]
mod directory_tests;
pub mod examine;
pub mod faults;
mod flusher;
mod observed;
mod page;
mod path;
mod presigned;
mod registry;
mod staging;
mod tree;
mod url;

pub use bucket::Bucket;
pub use connection::{Connection, Durability};
pub use directory::Directory;
pub use page::Keep;
pub use path::{check as check_path, check_prefix};
pub use presigned::{Deletion, Presigned, Purpose};
pub use registry::{Access, Address, ClientCertificate, MAX_TOKEN, Registry, Token, is_registry, is_vault_name};
pub use url::{is_remote, local_path};

/// An object that is overwritten: the newest checkpoint of the log, which <https://c2sp.org/tlog-tiles> wants under one
/// name. It is a cache of what stands elsewhere, created once.
pub const MUTABLE: &str = "log/checkpoint";
/// Where objects are that follow from others and are checked on every use: a wrong one may be overwritten by the right one.
pub const DERIVED: &str = "log/tile/";

/// What a store must be able to do: four verbs on immutable objects, plus staging.
///
/// Paths are relative to the vault, segments of `A-Z a-z 0-9 . _ + -` joined by `/`; none is empty, `.` or `..`, and
/// the first is not `staging`. Every verb answers [`Error::Misuse`] to another path.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Stores `bytes` under `path` unless something has that name already.
    ///
    /// When this returns the object is durable, together with the folders that lead to it (except with
    /// [`Durability::NoSync`]). Objects staged and committed before it are not: call [`sync`](Self::sync) first.
    /// A bucket whose client repeats requests may answer [`Created::Exists`] about these very bytes: a caller that must
    /// know reads them back and compares.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created>;

    /// The bytes of a small object, or `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with [`Fault::Limit`] if it is larger than `cap` (nothing is allocated then), with
    /// [`Fault::Format`] if it is not a regular file; [`Error::Storage`].
    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>>;

    /// Opens a large object for positional reads, or `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with [`Fault::Format`] if it is not a regular file; [`Error::Storage`].
    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>>;

    /// The object's entry in a listing, or `None` if there is none.
    ///
    /// # Errors
    /// As [`Backend::open`].
    fn stat(&self, path: &str) -> Result<Option<Entry>>;

    /// Removes an object; that it is gone already is no error. For garbage collection and shredding alone.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn delete(&self, path: &str) -> Result<()>;

    /// Stores `bytes` under `path` whatever is there. For the object that is a cache, [`MUTABLE`], and what is [`DERIVED`].
    ///
    /// # Errors
    /// [`Error::Misuse`] for any other path, or where the store cannot; [`Error::Storage`].
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let _ = bytes;
        Err(Error::Misuse(format!("{path:?} cannot be replaced in {}", self.describe())))
    }

    /// See [`Fetch::open`], which this is for objects by path.
    ///
    /// # Errors
    /// As there.
    fn open_sized(&self, path: &str, length: u64) -> Result<Box<dyn ReadAt>> {
        let object = self.open(path)?.ok_or_else(|| corrupt(path, Fault::Missing))?;
        match object.len() {
            found if found == length => Ok(object),
            found => Err(corrupt(path, Fault::Length { expected: length, found })),
        }
    }

    /// See [`Fetch::ahead`].
    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        drop(wanted);
        Ahead::default()
    }

    /// Tells which small objects and folders will be read next, each once, so that a remote store can ask for all of them
    /// at the same time. Only a hint.
    fn soon(&self, soon: &[Soon<'_>]) {
        let _ = soon;
    }

    /// Calls `each` for every object below the folder `prefix`, the whole vault if that is empty, in no particular order.
    ///
    /// Memory does not grow with the number of objects. A folder that does not exist has no objects. What is not an
    /// object (a symbolic link, a name outside the path alphabet) is listed too, and refused when it is read.
    ///
    /// # Errors
    /// The first error of `each`; [`Error::Corrupt`] if folders nest too deep; [`Error::Storage`].
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()>;

    /// Calls `each` with the path of all that [`list`](Self::list) lists: for who needs no more, where the rest costs more.
    ///
    /// # Errors
    /// As [`Backend::list`].
    fn names(&self, prefix: &str, each: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        self.list(prefix, &mut |entry| each(entry.path))
    }

    /// The first `limit` objects below the folder `prefix` whose paths are behind `after`, in the byte order of their paths.
    /// Others than those that `keep` wants are passed over. Memory does not grow with the number of objects. Each page lists the whole
    /// folder: stores list in orders of their own (`SeaweedFS` folder by folder), so that none can be told where to go on.
    ///
    /// # Errors
    /// As [`Backend::list`].
    fn page(&self, prefix: &str, after: &str, limit: usize, keep: Keep<'_>) -> Result<Vec<Entry>> {
        let mut page = page::Page::new(after, limit, keep);
        self.list(prefix, &mut |entry| {
            page.offer(entry);
            Ok(())
        })?;
        Ok(page.into_entries())
    }

    /// Starts an object that is durable when its own [`Upload::finish`] returns, whatever became of others: for servers,
    /// which answer for each. `None` if the store has no better way than to gather the bytes and [`create`](Self::create).
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn upload(&self, path: &str) -> Result<Option<Box<dyn Upload>>> {
        let _ = path;
        Ok(None)
    }

    /// Starts a content-addressed object of at most `capacity` bytes. See [`Staged`].
    ///
    /// A committed object can be read under its name when [`sync`](Self::sync) has returned, maybe earlier.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>>;

    /// Waits until everything created or committed so far is durable, folders included.
    ///
    /// # Errors
    /// The first error of a commit that was still going on when [`Staged::commit`] returned. It is final: later calls
    /// repeat it, so that of several callers each learns of it.
    fn sync(&self) -> Result<()>;

    /// See [`Store::is_proven`].
    fn is_proven(&self) -> Option<bool> {
        None
    }

    /// See [`Store::presign`].
    ///
    /// # Errors
    /// As there.
    fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        let _ = (path, purpose, lifetime);
        Ok(None)
    }

    /// See [`Store::presigns`].
    ///
    /// # Errors
    /// As there.
    fn presigns(&self) -> Result<bool> {
        Ok(false)
    }

    /// See [`Store::delete_by`].
    fn delete_by(&self, path: &str, _: &Presigned) -> Deletion {
        Deletion::impossible(path)
    }

    /// See [`Store::expires`].
    ///
    /// # Errors
    /// As there.
    fn expires(&self, path: &str) -> Result<bool> {
        let _ = path;
        Ok(false)
    }

    /// By what is measured how long something takes; that of a test turns with its store.
    fn instant(&self) -> Instant {
        Instant::now()
    }

    /// What this store is, for messages.
    fn describe(&self) -> String;

    /// Removes what [`leftovers`](Self::leftovers) told of. For garbage collection alone.
    ///
    /// # Errors
    /// [`Error::Misuse`] for any other path; [`Error::Storage`].
    fn discard(&self, path: &str) -> Result<()> {
        Err(Error::Misuse(format!("{path:?} is nothing that was left behind")))
    }

    /// Objects being staged, by writers at work or left by writers that were killed. None where such objects are out of
    /// sight.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn leftovers(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }
}

/// An object on its way into a store, its bytes in order. Dropping it unfinished leaves nothing behind.
pub trait Upload: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Gives the object its name unless that is taken, and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn finish(self: Box<Self>) -> Result<Created>;
}

/// Something that will be read next. See [`Backend::soon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soon<'a> {
    /// A small object.
    Read {
        /// Its path.
        path: &'a str,
        /// The most bytes it may have.
        cap: u64,
    },
    /// What is in a folder.
    List {
        /// The folder.
        folder: &'a str,
    },
}

/// What became of a [`Backend::create`].
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The bytes are stored under this name now.
    New,
    /// The name was taken; nothing was stored.
    Exists,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the vault. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the clock of the store. Claims nothing: it serves to compare ages of one store.
    pub modified: Timestamp,
}

/// A store, whichever it is. Clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<dyn Backend>);

impl Store {
    /// Wraps a backend.
    pub fn new(backend: impl Backend + 'static) -> Self {
        Self(Arc::new(backend))
    }

    /// Opens the store at a path, a `file://` URL, the URL of an object store (`s3://bucket/prefix`, `az://`, `gs://`), or
    /// that of a registry: `https://host/vault`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such folder, [`Error::Misuse`] for other kinds of URL, [`Error::Storage`].
    pub fn open_url(url: &str, connection: &Connection) -> Result<Self> {
        if is_remote(url) {
            return Bucket::connect(url, connection).map(Self::new);
        }
        Directory::open(local_path(url)?, connection.durability).map(Self::new)
    }

    /// The same, making the folder if it is not there. A bucket must be there.
    ///
    /// # Errors
    /// [`Error::Misuse`] for other kinds of URL, [`Error::Storage`].
    pub fn create_url(url: &str, connection: &Connection) -> Result<Self> {
        if is_remote(url) {
            return Bucket::connect(url, connection).map(Self::new);
        }
        Directory::create(local_path(url)?, connection.durability).map(Self::new)
    }

    /// The same store, of which `observer` is told path and bytes of whatever is created under a path. Objects that are
    /// staged are not told.
    #[must_use]
    pub fn observed(self, observer: impl Fn(&str, &[u8]) + Send + Sync + 'static) -> Self {
        Self::new(observed::Observed { store: self, observer: Arc::new(observer) })
    }

    /// See [`Backend::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.0.create(path, bytes)
    }

    /// See [`Backend::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.0.read(path, cap)
    }

    /// See [`Backend::open`]. To open an object by its hash use [`Fetch::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.0.open(path)
    }

    /// See [`Backend::open_sized`].
    ///
    /// # Errors
    /// As there.
    pub fn open_sized(&self, path: &str, length: u64) -> Result<Box<dyn ReadAt>> {
        self.0.open_sized(path, length)
    }

    /// See [`Backend::stat`].
    ///
    /// # Errors
    /// As there.
    pub fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.0.stat(path)
    }

    /// See [`Backend::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.0.delete(path)
    }

    /// See [`Backend::replace`].
    ///
    /// # Errors
    /// As there.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.0.replace(path, bytes)
    }

    /// See [`Backend::soon`].
    pub fn soon(&self, soon: &[Soon<'_>]) {
        self.0.soon(soon);
    }

    /// Whether this object store was seen to refuse the second of two creates. None for a folder, which needs no proof.
    pub fn is_proven(&self) -> Option<bool> {
        self.0.is_proven()
    }

    /// See [`Backend::list`].
    ///
    /// # Errors
    /// As there.
    pub fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.0.list(prefix, each)
    }

    /// See [`Backend::names`].
    ///
    /// # Errors
    /// As there.
    pub fn names(&self, prefix: &str, each: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        self.0.names(prefix, each)
    }

    /// See [`Backend::page`].
    ///
    /// # Errors
    /// As there.
    pub fn page(&self, prefix: &str, after: &str, limit: usize, keep: Keep<'_>) -> Result<Vec<Entry>> {
        self.0.page(prefix, after, limit, keep)
    }

    /// See [`Backend::upload`].
    ///
    /// # Errors
    /// As there.
    pub fn upload(&self, path: &str) -> Result<Option<Box<dyn Upload>>> {
        self.0.upload(path)
    }

    /// See [`Backend::stage`].
    ///
    /// # Errors
    /// As there.
    pub fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.0.stage(capacity)
    }

    /// See [`Backend::sync`].
    ///
    /// # Errors
    /// As there.
    pub fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    /// See [`Backend::describe`].
    pub fn describe(&self) -> String {
        self.0.describe()
    }

    /// See [`Backend::discard`].
    ///
    /// # Errors
    /// As there.
    pub fn discard(&self, path: &str) -> Result<()> {
        self.0.discard(path)
    }

    /// See [`Backend::leftovers`].
    ///
    /// # Errors
    /// As there.
    pub fn leftovers(&self) -> Result<Vec<Entry>> {
        self.0.leftovers()
    }
}

impl Sink for Store {
    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.0.stage(capacity)
    }
}

impl Fetch for Store {
    fn open(&self, name: &blake3::Hash, length: u64) -> Result<Box<dyn ReadAt>> {
        self.0.open_sized(&object_path(name), length)
    }

    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        self.0.ahead(wanted)
    }
}

/// An [`Error::Corrupt`] about an object.
fn corrupt(path: &str, fault: Fault) -> Error {
    Error::Corrupt { place: Place::Object(path.to_owned()), fault }
}

/// Refuses to overwrite anything but [`MUTABLE`] and what is [`DERIVED`].
fn check_mutable(path: &str) -> Result<()> {
    if path == MUTABLE || path.starts_with(DERIVED) {
        Ok(())
    } else {
        Err(Error::Misuse(format!("{path:?} is never replaced")))
    }
}

/// The same error once more.
pub(crate) fn again(error: &Error) -> Error {
    match error {
        Error::Storage { what, source } => Error::Storage {
            what: what.clone(),
            source: source
                .raw_os_error()
                .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error),
        },
        Error::Corrupt { place, fault } => Error::Corrupt { place: place.clone(), fault: fault.clone() },
        other => Error::storage("writing thread")(io::Error::other(other.to_string())),
    }
}

/// Checks a write against the capacity its object was staged with; returns the end of the range.
fn end_within(capacity: u64, offset: u64, bytes: &[u8]) -> Result<u64> {
    let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= capacity);
    end.ok_or_else(|| {
        let length = bytes.len();
        Error::Misuse(format!("{length} bytes at {offset} do not fit an object staged for {capacity} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_gives_objects_by_hash_and_names_the_missing() {
        let folder = tempfile::tempdir().expect("folder");
        let url = folder.path().join("new/vault").display().to_string();
        assert!(matches!(Store::open_url(&url, &Connection::default()), Err(Error::NotFound { .. })));
        let store = Store::create_url(&url, &Connection::default()).expect("create");
        let name = blake3::hash(b"part");
        let missing = Fetch::open(&store, &name, 4).expect_err("not stored yet");
        assert_eq!(missing.to_string(), format!("{}: is missing", object_path(&name)));
        store.put(&name, b"part").expect("put");
        store.clone().sync().expect("sync");
        let object = Fetch::open(&store, &name, 4).expect("stored");
        let mut buffer = [0; 2];
        object.read_exact_at(1, &mut buffer).expect("read");
        assert_eq!(&buffer, b"ar");
    }
}
