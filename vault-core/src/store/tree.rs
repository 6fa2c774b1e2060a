//! A folder of the local file system as a tree of objects, every step of the way without following a symbolic link.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, fsync, mkdirat, open, openat, statat, unlinkat},
    io::{Errno, retry_on_intr},
};

use jiff::Timestamp;

use super::{Durability, Entry, corrupt, path};
use crate::{
    error::{Error, Fault, Result},
    parts::ReadAt,
};

/// The permissions of new folders and files, less the umask: what they hold is public.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
/// How folders are opened.
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Folders in folders that a listing enters; a vault has at most 12. Each level costs one descriptor.
const MAX_DEPTH: usize = 64;

/// An open vault folder.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: OwnedFd,
    pub(super) location: PathBuf,
    pub(super) durability: Durability,
    /// Folders with new entries that may not be on disk yet.
    unsynced: Mutex<BTreeSet<String>>,
}

impl Tree {
    pub(super) fn open(location: &Path, durability: Durability) -> Result<Self> {
        match open(location, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(root) => Ok(Self { root, location: location.to_owned(), durability, unsynced: Mutex::default() }),
            Err(Errno::NOENT) => Err(Error::NotFound { what: location.display().to_string() }),
            Err(errno) => Err(Error::storage(location.display())(errno.into())),
        }
    }

    /// For `map_err`: an [`Error::Storage`] about a path of this vault.
    pub(super) fn failed(&self, path: &str) -> impl FnOnce(Errno) -> Error + use<> {
        let what = self.location.join(path);
        move |errno| Error::storage(what.display())(errno.into())
    }

    /// The root opened anew: a duplicate of the descriptor would share its place in a listing.
    fn open_root(&self) -> Result<OwnedFd, Errno> {
        subfolder(&self.root, ".")
    }

    /// Opens a folder without following a symbolic link.
    fn folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        #[cfg(target_os = "linux")]
        match self.folder_at_once(path) {
            // Kernels before 5.6 do not know the call, some sandboxes refuse it.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
            other => return other,
        }
        self.folder_by_steps(path)
    }

    /// In one call, if the kernel promises that no link is followed on the way.
    #[cfg(target_os = "linux")]
    fn folder_at_once(&self, path: &str) -> Result<OwnedFd, Errno> {
        use rustix::fs::{ResolveFlags, openat2};
        let path = if path.is_empty() { "." } else { path };
        openat2(&self.root, path, FOLDER_FLAGS, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    /// Segment by segment, so that none is followed on any system.
    fn folder_by_steps(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut folder = self.open_root()?;
        for segment in segments(path) {
            folder = subfolder(&folder, segment)?;
        }
        Ok(folder)
    }

    /// The same, making what is missing.
    pub(super) fn make_folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut folder = self.open_root()?;
        for segment in segments(path) {
            folder = match subfolder(&folder, segment) {
                Err(Errno::NOENT) => match mkdirat(&folder, segment, FOLDER_MODE) {
                    Ok(()) | Err(Errno::EXIST) => subfolder(&folder, segment)?,
                    Err(errno) => return Err(errno),
                },
                other => other?,
            };
        }
        Ok(folder)
    }

    /// A folder for reading, or `None` if there is none.
    pub(super) fn existing_folder(&self, path: &str) -> Result<Option<OwnedFd>> {
        match self.folder(path) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => {
                Err(corrupt(path, Fault::Format("is not reached through plain folders".into())))
            }
            Err(errno) => Err(self.failed(path)(errno)),
        }
    }

    /// Opens an object, which must be a regular file.
    pub(super) fn object(&self, path: &str) -> Result<Option<Object>> {
        let irregular = || corrupt(path, Fault::Format("is not a regular file".into()));
        let (parent, name) = path::split(path);
        let Some(folder) = self.existing_folder(parent)? else { return Ok(None) };
        // Without NONBLOCK the opening of a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            // A symbolic link, as three systems say it; a socket; a device without a driver.
            Err(Errno::LOOP | Errno::MLINK | Errno::NXIO | Errno::NODEV | Errno::OPNOTSUPP) => return Err(irregular()),
            Err(errno) => return Err(self.failed(path)(errno)),
        };
        let stat = fstat(&file).map_err(self.failed(path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(irregular());
        }
        Ok(Some(Object { path: path.to_owned(), file: file.into(), length: size(&stat), modified: modified(&stat) }))
    }

    /// Removes an object, or whatever else has its name but is no folder.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let (parent, name) = path::split(path);
        let Some(folder) = self.existing_folder(parent)? else { return Ok(()) };
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) if self.durability == Durability::Synced => sync_folder(&folder).map_err(self.failed(path)),
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed(path)(errno)),
        }
    }

    /// Notes that this folder has a new entry, for [`sync_new_entries`](Self::sync_new_entries).
    pub(super) fn note_new_entry(&self, folder: &str) {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
    }

    /// Brings every entry noted so far to disk.
    pub(super) fn sync_new_entries(&self) -> Result<()> {
        let folders = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        if folders.is_empty() { Ok(()) } else { self.sync_folders(folders.iter().map(String::as_str)) }
    }

    /// Syncs these folders and all folders on the way to them. Others may have made those without syncing them.
    pub(super) fn sync_folders<'a>(&self, folders: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut all = BTreeSet::from([""]);
        for folder in folders {
            let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
            all.extend(ends.map(|end| &folder[..end]));
        }
        for path in all {
            let folder = self.folder(path).map_err(self.failed(path))?;
            sync_folder(folder).map_err(self.failed(path))?;
        }
        Ok(())
    }

    /// Calls `each` for everything below `prefix` that is not a folder.
    pub(super) fn walk(&self, prefix: &str, each: &mut dyn FnMut(Found<'_>) -> Result<()>) -> Result<()> {
        let Some(folder) = self.existing_folder(prefix)? else { return Ok(()) };
        let mut levels = vec![(prefix.to_owned(), Dir::new(folder).map_err(self.failed(prefix))?)];
        loop {
            let depth = levels.len();
            let Some((parent, dir)) = levels.last_mut() else { return Ok(()) };
            let Some(entry) = dir.next() else {
                levels.pop();
                continue;
            };
            let entry = entry.map_err(self.failed(parent))?;
            let name = entry.file_name().to_string_lossy();
            if matches!(&*name, "." | "..") || (parent.is_empty() && name == path::STAGING) {
                continue;
            }
            let path = if parent.is_empty() { name.into_owned() } else { format!("{parent}/{name}") };
            let folder = dir.fd().map_err(self.failed(&path))?;
            let mut found = Found { path, tree: self, folder, name: entry.file_name(), stat: None };
            // Not every file system tells the type with the name.
            let told = Some(entry.file_type()).filter(|told| *told != FileType::Unknown);
            let Some(kind) = told.map_or_else(|| found.kind(), |told| Ok(Some(told)))? else { continue };
            if kind != FileType::Directory {
                each(found)?;
            } else if depth == MAX_DEPTH {
                return Err(corrupt(&found.path, Fault::Limit { what: "depth of folders", limit: MAX_DEPTH as u64 }));
            } else {
                let path = found.path;
                match subfolder(folder, entry.file_name()).and_then(Dir::new) {
                    Ok(dir) => levels.push((path, dir)),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.failed(&path)(errno)),
                }
            }
        }
    }
}

/// What a walk comes by. A look at it costs more than its name.
pub(super) struct Found<'a> {
    pub(super) path: String,
    tree: &'a Tree,
    folder: BorrowedFd<'a>,
    name: &'a CStr,
    stat: Option<Stat>,
}

impl Found<'_> {
    /// Its entry; `None` if it is gone.
    pub(super) fn entry(mut self) -> Result<Option<Entry>> {
        let Some(stat) = self.stat()? else { return Ok(None) };
        Ok(Some(Entry { path: self.path, size: size(&stat), modified: modified(&stat) }))
    }

    fn kind(&mut self) -> Result<Option<FileType>> {
        Ok(self.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    fn stat(&mut self) -> Result<Option<Stat>> {
        if self.stat.is_none() {
            self.stat = match statat(self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(self.tree.failed(&self.path)(errno)),
            };
        }
        Ok(self.stat)
    }
}

/// Makes a folder and its missing parents, and syncs the folders that got a new entry.
pub(super) fn make_root(location: &Path, durability: Durability) -> Result<()> {
    let missing: Vec<&Path> = location.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    std::fs::create_dir_all(location).map_err(Error::storage(location.display()))?;
    if durability == Durability::NoSync {
        return Ok(());
    }
    for made in missing {
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| Ok(sync_folder(folder)?)).map_err(Error::storage(parent.display()))?;
    }
    Ok(())
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn subfolder(folder: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(folder, name, FOLDER_FLAGS, Mode::empty())
}

fn sync_folder(folder: impl AsFd) -> Result<(), Errno> {
    match retry_on_intr(|| fsync(&folder)) {
        // File systems without anything to sync for a folder say so like this.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// When the file got its bytes, to the second.
fn modified(stat: &Stat) -> Timestamp {
    Timestamp::from_second(stat.st_mtime).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// An object of a directory, open for reading.
#[derive(Debug)]
pub(super) struct Object {
    path: String,
    pub(super) file: File,
    length: u64,
    modified: Timestamp,
}

impl Object {
    pub(super) fn entry(&self) -> Entry {
        Entry { path: self.path.clone(), size: self.length, modified: self.modified }
    }
}

impl ReadAt for Object {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| {
            let expected = offset.saturating_add(buffer.len() as u64);
            match (error.kind(), self.file.metadata()) {
                (std::io::ErrorKind::UnexpectedEof, Ok(now)) => {
                    corrupt(&self.path, Fault::Length { expected, found: now.len() })
                }
                _ => Error::storage(&self.path)(error),
            }
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_found_or_refused_alike_in_one_call_and_by_steps() {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(place.path().join("vault/a/b")).expect("folders");
        std::fs::write(place.path().join("vault/a/file"), "").expect("a file");
        symlink("a", place.path().join("vault/within")).expect("a link");
        symlink(place.path(), place.path().join("vault/out")).expect("a link");
        let tree = Tree::open(&place.path().join("vault"), Durability::NoSync).expect("opened");
        for path in
            ["", "a", "a/b", "a/b/", "a//b", "none", "a/none/c", "a/file", "a/file/b", "within", "within/b", "out"]
        {
            let (at_once, by_steps) = (tree.folder_at_once(path), tree.folder_by_steps(path));
            assert_eq!(at_once.is_ok(), by_steps.is_ok(), "{path}: {at_once:?} and {by_steps:?}");
            let missing = |opened: &Result<OwnedFd, Errno>| matches!(opened, Err(Errno::NOENT));
            assert_eq!(missing(&at_once), missing(&by_steps), "{path}");
            assert!(tree.existing_folder(path).is_ok() || !missing(&at_once), "{path}");
        }
        assert!(tree.folder_at_once("..").is_err(), "nothing above the vault");
    }
}
