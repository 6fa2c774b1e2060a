//! A backend that fails on demand, to prove that no crash leaves a vault that lies.
//!
//! It fails one chosen write, either before it happened or after it was stored: the second is what a lost answer of a
//! server looks like. A test counts the writes of an operation first, then repeats it with each of them failing.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Backend, Created, Entry};
use crate::{
    error::{Error, Result},
    parts::{ReadAt, Staged},
};

/// When a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anything was stored.
    Before,
    /// After it was stored.
    After,
}

/// A backend one of whose writes fails. Clones share the count.
///
/// Writes are [`Backend::create`], [`Backend::replace`], [`Backend::delete`], [`Staged::write_at`] and [`Staged::commit`],
/// counted from 1.
///
/// ```
/// use vault_core::store::{Backend, Created, Directory, Durability, faults::{Faulty, When}};
///
/// let folder = tempfile::tempdir().unwrap();
/// let store = Faulty::failing(Directory::create(folder.path(), Durability::NoSync)?, 2, When::After);
/// assert_eq!(store.create("a", b"1")?, Created::New);
/// assert!(store.create("b", b"2").is_err());
/// assert!(store.read("b", 1)?.is_some());
/// assert_eq!(store.writes(), 2);
/// # Ok::<(), vault_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    writes: AtomicU64,
    /// The number of the write that fails; 0 is none.
    fatal: u64,
    when: When,
}

impl Faulty {
    /// Only counts.
    pub fn counting(inner: impl Backend + 'static) -> Self {
        Self::failing(inner, 0, When::Before)
    }

    /// Fails the write of this number.
    pub fn failing(inner: impl Backend + 'static, number: u64, when: When) -> Self {
        let plan = Plan { writes: AtomicU64::new(0), fatal: number, when };
        Self { inner: Arc::new(inner), plan: Arc::new(plan) }
    }

    /// How many writes there were so far, the failed one included.
    pub fn writes(&self) -> u64 {
        self.plan.writes.load(Ordering::SeqCst)
    }
}

impl Plan {
    fn write<T>(&self, what: &str, write: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.fatal {
            return write();
        }
        if self.when == When::After {
            write()?;
        }
        Err(Error::storage(what)(io::Error::other(format!("write {number} fails on purpose"))))
    }
}

impl Backend for Faulty {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.plan.write(path, || self.inner.create(path, bytes))
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.inner.read(path, cap)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.inner.open(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.inner.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.plan.write(path, || self.inner.delete(path))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.plan.write(path, || self.inner.replace(path, bytes))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.inner.list(prefix, each)
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        let inner = self.inner.stage(capacity)?;
        Ok(Box::new(FaultyStaged { inner, plan: Arc::clone(&self.plan) }))
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn discard(&self, path: &str) -> Result<()> {
        self.plan.write(path, || self.inner.discard(path))
    }

    fn leftovers(&self) -> Result<Vec<Entry>> {
        self.inner.leftovers()
    }
}

struct FaultyStaged {
    inner: Box<dyn Staged>,
    plan: Arc<Plan>,
}

impl Staged for FaultyStaged {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.plan.write("staged object", || self.inner.write_at(offset, bytes))
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        let Self { inner, plan } = *self;
        plan.write("staged object", || inner.commit(name))
    }
}
