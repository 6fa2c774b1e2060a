//! Files that do not have their name yet.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, linkat, openat, renameat, unlinkat},
    io::Errno,
};

use super::{
    Created, Durability, corrupt,
    path::{self, STAGING},
    tree::Tree,
};
use crate::{
    error::{Error, Fault, Result},
    parts::ReadAt,
    secret::fill_random,
};

/// A file in `staging/`, removed from there when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    tree: Arc<Tree>,
    /// From the root of the vault. Dozens may wait to be flushed, so they hold no descriptor of their folder.
    name: String,
    file: File,
}

impl Staging {
    pub(super) fn new(tree: &Arc<Tree>) -> Result<Self> {
        let mut random = [0; 16];
        fill_random(&mut random)?;
        let name = hex::encode(random);
        let folder = tree.make_folder(STAGING).map_err(tree.failed(STAGING))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::from_raw_mode(0o666)).map_err(tree.failed(STAGING))?;
        Ok(Self { tree: Arc::clone(tree), name: format!("{STAGING}/{name}"), file: file.into() })
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let failed = |error| {
            let what = self.tree.location.join(&self.name);
            Error::storage(what.display())(error)
        };
        self.file.write_all_at(bytes, offset).map_err(failed)
    }

    /// Gives the file its name, after its bytes are on disk if the vault is to be durable.
    ///
    /// If the name is taken, the object that has it is made durable instead: whoever wrote it may not have waited.
    pub(super) fn publish(self, path: &str) -> Result<Created> {
        let synced = self.tree.durability == Durability::Synced;
        let failed = |error| Error::storage(self.tree.location.join(path).display())(error);
        if synced {
            self.file.sync_all().map_err(failed)?;
        }
        let (parent, name) = path::split(path);
        let folder = self.tree.make_folder(parent).map_err(self.tree.failed(path))?;
        match give_name(&self.tree.root, &self.name, &folder, name) {
            Ok(()) => Ok(Created::New),
            Err(Errno::EXIST) if !synced => Ok(Created::Exists),
            Err(Errno::EXIST) => {
                if let Some(object) = self.tree.object(path)? {
                    object.file.sync_all().map_err(failed)?;
                }
                Ok(Created::Exists)
            }
            Err(errno) => Err(self.tree.failed(path)(errno)),
        }
    }

    /// The same, in the place of whatever has that name.
    pub(super) fn publish_over(self, path: &str) -> Result<()> {
        if self.tree.durability == Durability::Synced {
            self.file.sync_all().map_err(Error::storage(self.tree.location.join(path).display()))?;
        }
        let (parent, name) = path::split(path);
        let folder = self.tree.make_folder(parent).map_err(self.tree.failed(path))?;
        renameat(&self.tree.root, &self.name, &folder, name).map_err(self.tree.failed(path))
    }

    /// Publishes a content object. One that exists must have the same length: a power cut can leave a shorter one where
    /// nobody synced, and to build on that would lose the bytes at hand.
    pub(super) fn publish_content(self, path: &str) -> Result<()> {
        let tree = Arc::clone(&self.tree);
        let expected = self.file.metadata().map_err(Error::storage(path))?.len();
        let created = self.publish(path)?;
        if tree.durability == Durability::Synced {
            tree.note_new_entry(path::split(path).0);
        }
        if created == Created::New {
            return Ok(());
        }
        match tree.object(path)?.map(|object| object.len()) {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(corrupt(path, Fault::Length { expected, found })),
            None => Err(corrupt(path, Fault::Missing)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The file has its name by now or is not wanted; if this fails, fsck finds it.
        let _ = unlinkat(&self.tree.root, &self.name, AtFlags::empty());
    }
}

/// Names a file without ever replacing another: by a hard link, or by renaming where there are none.
fn give_name(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    // Not a pattern: on Linux two of them are the same number.
    let unsupported = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::MLINK, Errno::NOSYS];
    match linkat(&from, old, &to, new, AtFlags::empty()) {
        Err(errno) if unsupported.contains(&errno) => {
            rename(from, old, to, new).map_err(|second| if second == Errno::NOSYS { errno } else { second })
        }
        other => other,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename(from: impl AsFd, old: &str, to: impl AsFd, new: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename(_: impl AsFd, _: &str, _: impl AsFd, _: &str) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_name_a_file_refuse_to_replace_another() {
        let folder = tempfile::tempdir().expect("folder");
        let at = File::open(folder.path()).expect("open");
        let write = |name: &str| std::fs::write(folder.path().join(name), name).expect("write");
        for name in ["a", "b", "taken"] {
            write(name);
        }
        assert_eq!(give_name(&at, "a", &at, "taken"), Err(Errno::EXIST));
        assert_eq!(rename(&at, "a", &at, "taken"), Err(Errno::EXIST));
        assert_eq!(give_name(&at, "a", &at, "linked"), Ok(()));
        assert_eq!(rename(&at, "b", &at, "renamed"), Ok(()));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!([read("taken"), read("linked"), read("renamed")], ["taken", "a", "b"]);
    }
}
