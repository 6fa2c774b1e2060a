//! A store of which somebody is told what is created in it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Backend, Created, Deletion, Entry, Presigned, Purpose, Soon, Store};
use crate::{
    error::Result,
    parts::{Ahead, ReadAt, Staged, Wanted},
};

/// Called with path and bytes of every object that was created under a path.
pub(super) type Observer = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// A store and its observer.
#[derive(Clone)]
pub(super) struct Observed {
    pub(super) store: Store,
    pub(super) observer: Observer,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl Backend for Observed {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        let created = self.store.0.create(path, bytes)?;
        if created == Created::New {
            (self.observer)(path, bytes);
        }
        Ok(created)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.store.0.read(path, cap)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.store.0.open(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.store.0.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.store.0.delete(path)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.store.0.replace(path, bytes)
    }

    fn open_sized(&self, path: &str, length: u64) -> Result<Box<dyn ReadAt>> {
        self.store.0.open_sized(path, length)
    }

    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        self.store.0.ahead(wanted)
    }

    fn soon(&self, soon: &[Soon<'_>]) {
        self.store.0.soon(soon);
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.store.0.list(prefix, each)
    }

    fn names(&self, prefix: &str, each: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        self.store.0.names(prefix, each)
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.store.0.stage(capacity)
    }

    fn sync(&self) -> Result<()> {
        self.store.0.sync()
    }

    fn is_proven(&self) -> Option<bool> {
        self.store.0.is_proven()
    }

    fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        self.store.0.presign(path, purpose, lifetime)
    }

    fn presigns(&self) -> Result<bool> {
        self.store.0.presigns()
    }

    fn delete_by(&self, path: &str, permit: &Presigned) -> Deletion {
        self.store.0.delete_by(path, permit)
    }

    fn expires(&self, path: &str) -> Result<bool> {
        self.store.0.expires(path)
    }

    fn instant(&self) -> Instant {
        self.store.0.instant()
    }

    fn describe(&self) -> String {
        self.store.0.describe()
    }

    fn discard(&self, path: &str) -> Result<()> {
        self.store.0.discard(path)
    }

    fn leftovers(&self) -> Result<Vec<Entry>> {
        self.store.0.leftovers()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::store::{Directory, Durability};

    #[test]
    fn what_is_created_is_told_once_and_everything_else_is_as_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let store = Store::new(Directory::create(folder.path(), Durability::NoSync).expect("folder"));
        let store = store.observed(move |path, bytes| {
            listener.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_owned(), bytes.to_vec()));
        });
        assert_eq!(store.create("a", b"1").expect("created"), Created::New);
        assert_eq!(store.create("a", b"2").expect("there"), Created::Exists);
        assert!(store.create("../a", b"3").is_err());
        store.replace(crate::store::MUTABLE, b"4").expect("replaced");
        assert_eq!(*told.lock().expect("whole"), [("a".to_owned(), b"1".to_vec())]);
        assert_eq!(store.read("a", 9).expect("read").as_deref(), Some(&b"1"[..]));
    }

    #[test]
    fn an_observed_store_is_a_store() {
        for (name, check) in crate::store::conformance::CHECKS {
            let folder = tempfile::tempdir().expect("folder");
            let store = Store::new(Directory::create(folder.path(), Durability::NoSync).expect(name));
            check(&Observed { store, observer: Arc::new(|_, _| {}) });
        }
    }
}
