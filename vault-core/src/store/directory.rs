//! A vault in a folder of the local file system.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Backend, Created, Durability, Entry, Upload, check_mutable, corrupt, end_within,
    flusher::Flusher,
    path,
    staging::Staging,
    tree::{Tree, make_root},
};
use crate::{
    error::{Error, Fault, Result},
    parts::{ReadAt, Staged, object_path},
};

/// A vault in a folder.
///
/// Files are written to `staging/` and hard-linked to their names, which is create-if-absent on every file system.
/// With [`Durability::Synced`] a few threads sync committed objects and name them; [`Backend::sync`] waits for them.
/// Dropping the last handle waits for them too, but only `sync` says whether all went well.
#[derive(Debug)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tree: Arc<Tree>,
    flusher: Flusher,
    /// Held while folders are synced, so that nobody else finds none left to sync and takes that for done.
    syncing: Mutex<()>,
}

impl Directory {
    /// Opens the folder, making it and its parents if they are not there.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    pub fn create(path: impl AsRef<Path>, durability: Durability) -> Result<Self> {
        make_root(path.as_ref(), durability)?;
        Self::open(path, durability)
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if it is not there, [`Error::Storage`](crate::Error::Storage).
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self> {
        let tree = Arc::new(Tree::open(path.as_ref(), durability)?);
        Ok(Self(Arc::new(Shared { tree, flusher: Flusher::default(), syncing: Mutex::default() })))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.0.flusher.close();
    }
}

impl Backend for Directory {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        path::check(path)?;
        let file = Staging::new(&self.0.tree)?;
        file.write_at(0, bytes)?;
        name(&self.0.tree, file, path)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        path::check(path)?;
        let Some(object) = self.0.tree.object(path)? else { return Ok(None) };
        let length = usize::try_from(object.len()).ok().filter(|_| object.len() <= cap);
        let length = length.ok_or_else(|| corrupt(path, Fault::Limit { what: "length", limit: cap }))?;
        let mut bytes = vec![0; length];
        object.read_exact_at(0, &mut bytes)?;
        Ok(Some(bytes))
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        path::check(path)?;
        Ok(self.0.tree.object(path)?.map(|object| Box::new(object) as Box<dyn ReadAt>))
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        path::check(path)?;
        Ok(self.0.tree.object(path)?.map(|object| object.entry()))
    }

    fn delete(&self, path: &str) -> Result<()> {
        path::check(path)?;
        self.0.tree.remove(path)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_mutable(path)?;
        let file = Staging::new(&self.0.tree)?;
        file.write_at(0, bytes)?;
        file.publish_over(path)?;
        if self.0.tree.durability == Durability::Synced {
            self.0.tree.sync_folders([path::split(path).0])?;
        }
        Ok(())
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        path::check_prefix(prefix)?;
        self.0.tree.walk(prefix, &mut |found| found.entry()?.map_or(Ok(()), &mut *each))
    }

    fn names(&self, prefix: &str, each: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        path::check_prefix(prefix)?;
        self.0.tree.walk(prefix, &mut |found| each(found.path))
    }

    fn upload(&self, path: &str) -> Result<Option<Box<dyn Upload>>> {
        path::check(path)?;
        let (file, tree) = (Staging::new(&self.0.tree)?, Arc::clone(&self.0.tree));
        Ok(Some(Box::new(UploadedFile { file, tree, path: path.to_owned(), length: 0 })))
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        let file = Staging::new(&self.0.tree)?;
        Ok(Box::new(StagedFile { file, capacity, directory: Arc::clone(&self.0) }))
    }

    fn sync(&self) -> Result<()> {
        let Shared { tree, flusher, syncing } = &*self.0;
        flusher.drain()?;
        let _one_at_a_time = syncing.lock().unwrap_or_else(PoisonError::into_inner);
        // If this fails a second fsync could succeed without having written anything: the failure is final.
        tree.sync_new_entries().map_err(|error| flusher.fail(error))
    }

    fn describe(&self) -> String {
        self.0.tree.location.display().to_string()
    }

    fn discard(&self, path: &str) -> Result<()> {
        match path.strip_prefix(path::STAGING).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) if !name.contains('/') && path::check(name).is_ok() => self.0.tree.remove(path),
            _ => Err(Error::Misuse(format!("{path:?} is nothing that was left behind"))),
        }
    }

    fn leftovers(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        self.0.tree.walk(path::STAGING, &mut |leftover| {
            found.extend(leftover.entry()?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// A file that is written from its beginning to its end.
struct UploadedFile {
    file: Staging,
    tree: Arc<Tree>,
    path: String,
    length: u64,
}

impl Upload for UploadedFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Created> {
        let Self { file, tree, path, length: _ } = *self;
        name(&tree, file, &path)
    }
}

/// Gives a file its name, durable with the folders that lead to it.
fn name(tree: &Tree, file: Staging, path: &str) -> Result<Created> {
    let created = file.publish(path)?;
    if tree.durability == Durability::Synced {
        tree.sync_folders([path::split(path).0])?;
    }
    Ok(created)
}

struct StagedFile {
    file: Staging,
    capacity: u64,
    directory: Arc<Shared>,
}

impl Staged for StagedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        end_within(self.capacity, offset, bytes)?;
        self.file.write_at(offset, bytes)
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        let path = object_path(name);
        match self.directory.tree.durability {
            Durability::NoSync => self.file.publish_content(&path),
            Durability::Synced => self.directory.flusher.submit(self.file, path),
        }
    }
}
