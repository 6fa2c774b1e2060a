//! Where parts go and where they come from: the two traits between the pipelines and a store.
//!
//! A part, like a tree, is an object named by the BLAKE3 hash of its bytes. The pipelines know nothing else of a store.

use std::{any::Any, fmt, ops::Range};

use crate::error::Result;

/// Takes content-addressed objects, each written once.
pub trait Sink: Sync {
    /// Starts an object whose name is not known yet, of at most `capacity` bytes.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>>;

    /// Stores a small object whose bytes are at hand. Storing one that exists already is no error.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    fn put(&self, name: &blake3::Hash, bytes: &[u8]) -> Result<()> {
        let staged = self.stage(bytes.len() as u64)?;
        staged.write_at(0, bytes)?;
        staged.commit(name)
    }
}

/// An object being written. Dropping it uncommitted removes it.
pub trait Staged: Send + Sync {
    /// Writes `bytes` at `offset`. Ranges may come in any order and from several threads, each byte once.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Publishes the object under its name. The caller vouches that `name` is the hash of what was written.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()>;
}

/// Gives content-addressed objects. What it gives is not to be trusted: the caller hashes it.
pub trait Fetch: Sync {
    /// Opens an object of `length` bytes for reading.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with [`Fault::Missing`](crate::error::Fault::Missing) if it is not
    /// there, with [`Fault::Length`](crate::error::Fault::Length) if it has another length; a remote store may say so
    /// only when the object is read. [`Error::Storage`](crate::Error::Storage) if it cannot be read.
    fn open(&self, name: &blake3::Hash, length: u64) -> Result<Box<dyn ReadAt>>;

    /// Tells what will be read soon, in about this order, so that a remote store can fetch it meanwhile, as far as its
    /// memory goes. Only a hint: nothing fails here, and everything may still be read, in any order.
    ///
    /// Dropping what is returned ends the fetching.
    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        drop(wanted);
        Ahead::default()
    }
}

/// A range of an object that will be read soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The object.
    pub name: blake3::Hash,
    /// Its length.
    pub length: u64,
    /// The bytes that will be read, each of them once.
    pub range: Range<u64>,
}

/// Keeps a store fetching ahead until it is dropped.
#[derive(Default)]
pub struct Ahead(Option<Box<dyn Any + Send + Sync>>);

impl Ahead {
    /// Holds on to `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(guard)))
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").field("fetches", &self.0.is_some()).finish()
    }
}

/// An object open for reading.
pub trait ReadAt: Send + Sync + fmt::Debug {
    /// Length in bytes when it was opened.
    fn len(&self) -> u64;

    /// Whether the object has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with a [`Fault::Length`](crate::error::Fault::Length) if the object
    /// ends before the buffer is full, [`Error::Storage`](crate::Error::Storage) if it cannot be read.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

/// The path of an object in the vault tree: `objects/<2 hex>/<64 hex>`.
pub fn object_path(name: &blake3::Hash) -> String {
    let hex = name.to_hex();
    format!("objects/{}/{hex}", &hex[..2])
}
