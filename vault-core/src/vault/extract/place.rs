//! An open folder on disk. What happens in it happens there, even if its path leads elsewhere meanwhile; no symbolic link
//! is followed below it.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, fstat, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use crate::{
    error::{Error, Result},
    secret::fill_random,
};

const FOLDER_MODE: Mode = Mode::RWXU;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open folder, and its path for messages.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    shown: PathBuf,
}

impl Place {
    /// Opens a folder that the caller named; that path may lead through links.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match openat(CWD, path, FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Self { folder, shown: path.to_owned() }),
            Err(Errno::NOTDIR) => Err(Error::Conflict { what: path.display().to_string() }),
            Err(errno) => Err(Error::storage(path.display())(errno.into())),
        }
    }

    pub(super) fn shown(&self, name: impl AsRef<Path>) -> String {
        self.shown.join(name).display().to_string()
    }

    /// For `map_err`: an [`Error::Storage`] about a path in this folder.
    fn failed<P: AsRef<Path>>(&self, name: P) -> impl FnOnce(Errno) -> Error + use<P> {
        let what = self.shown(name);
        move |errno| match errno {
            Errno::EXIST => Error::Conflict { what },
            errno => Error::storage(what)(errno.into()),
        }
    }

    /// A folder in this one, `None` if there is none; [`Error::Conflict`] if it is something else.
    pub(super) fn enter(&self, name: &str) -> Result<Option<Self>> {
        match openat(&self.folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(folder) => Ok(Some(Self { folder, shown: self.shown.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => Err(Error::Conflict { what: self.shown(name) }),
            Err(errno) => Err(self.failed(name)(errno)),
        }
    }

    /// Makes a folder in this one.
    pub(super) fn make(&self, name: &str) -> Result<Self> {
        mkdirat(&self.folder, name, FOLDER_MODE).map_err(self.failed(name))?;
        self.enter(name)?.ok_or_else(|| self.failed(name)(Errno::NOENT))
    }

    /// The folder that the file `path` is in, from the top, and the file's name. Folders that are missing are made, and
    /// added to `made`.
    pub(super) fn parent_of<'a>(&self, path: &'a str, made: &mut Vec<String>) -> Result<(Self, &'a str)> {
        let mut folder = self.again()?;
        let mut start = 0;
        for (end, _) in path.match_indices('/') {
            let name = &path[start..end];
            folder = if let Some(inner) = folder.enter(name)? {
                inner
            } else {
                let inner = folder.make(name)?;
                made.push(path[..end].to_owned());
                inner
            };
            start = end + 1;
        }
        Ok((folder, &path[start..]))
    }

    /// The same, if it is there.
    fn existing_parent_of<'a>(&self, path: &'a str) -> Result<Option<(Self, &'a str)>> {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = self.again()?;
        for segment in parents.split('/').filter(|segment| !segment.is_empty()) {
            match folder.enter(segment)? {
                Some(inner) => folder = inner,
                None => return Ok(None),
            }
        }
        Ok(Some((folder, name)))
    }

    fn again(&self) -> Result<Self> {
        let folder = self.folder.try_clone().map_err(Error::storage(self.shown.display()))?;
        Ok(Self { folder, shown: self.shown.clone() })
    }

    /// [`Error::Conflict`] if the file `path` exists, or anything but a folder is on the way to it.
    pub(super) fn refuse_existing(&self, path: &str) -> Result<()> {
        match self.existing_parent_of(path)? {
            Some((folder, name)) => folder.refuse_name(name.as_ref()),
            None => Ok(()),
        }
    }

    /// [`Error::Conflict`] if this folder has something of this name.
    pub(super) fn refuse_name(&self, name: &OsStr) -> Result<()> {
        match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Error::Conflict { what: self.shown(name) }),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed(name)(errno)),
        }
    }

    /// A new file in this folder.
    pub(super) fn create(&self, name: &str, mode: Mode) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.folder, name, flags, mode).map(File::from).map_err(self.failed(name))
    }

    /// A file in this folder that holds records, made for its owner only if it is not there.
    pub(super) fn open_record(&self, name: &str) -> Result<File> {
        // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(self.failed(name))
    }

    /// A regular file in this folder, `None` if there is none or something else.
    pub(super) fn open_file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::MLINK | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(self.failed(name)(errno)),
        };
        let is_file = file.metadata().map_err(Error::storage(self.shown(name)))?.is_file();
        Ok(is_file.then_some(file))
    }

    /// [`Error::Misuse`] unless the folder is its user's own and nobody else has any right to it.
    pub(super) fn demand_private(&self) -> Result<()> {
        let stat = fstat(&self.folder).map_err(self.failed(""))?;
        let is_private = Mode::from_raw_mode(stat.st_mode) == FOLDER_MODE;
        if is_private && stat.st_uid == geteuid().as_raw() {
            return Ok(());
        }
        Err(Error::Misuse(format!("{} is not private: remove it", self.shown.display())))
    }

    /// Removes `name` with all that is in it, if that is possible.
    pub(super) fn remove_all(&self, name: &str) {
        if let Ok(name) = CString::new(name) {
            remove_all(&self.folder, &name);
        }
    }

    /// Moves `name` from this folder to another, unless something has that name there.
    pub(super) fn publish(&self, name: &str, to: &Self, new_name: &OsStr) -> Result<()> {
        match renameat_with(&self.folder, name, &to.folder, new_name, RenameFlags::NOREPLACE) {
            // A file system that cannot refuse to replace: look, then rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                to.refuse_name(new_name)?;
                renameat(&self.folder, name, &to.folder, new_name).map_err(to.failed(new_name))
            }
            other => other.map_err(to.failed(new_name)),
        }
    }

    /// Removes the file or empty folder `path`, if that is possible.
    pub(super) fn remove(&self, path: &str, flags: AtFlags) {
        if let Ok(Some((folder, name))) = self.existing_parent_of(path) {
            let _ = unlinkat(&folder.folder, name, flags);
        }
    }
}

/// A folder for files that are not good yet. Removed with all that is in it when dropped.
pub(super) struct Partial {
    parent: Place,
    name: String,
    pub(super) place: Place,
}

impl Partial {
    pub(super) fn inside(parent: &Place) -> Result<Self> {
        let mut random = [0; 8];
        fill_random(&mut random)?;
        let name = format!(".mvault-partial-{}", hex::encode(random));
        let parent = parent.again()?;
        let place = parent.make(&name)?;
        Ok(Self { parent, name, place })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // If this fails nobody is left to tell; the name says what it is.
        self.parent.remove_all(&self.name);
    }
}

/// Removes a file, or a folder with all that is in it. What we make is at most 64 folders deep.
fn remove_all(parent: &OwnedFd, name: &CStr) {
    if unlinkat(parent, name, AtFlags::empty()).is_ok() {
        return;
    }
    if let Ok(folder) = openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
        let entries = Dir::read_from(&folder).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name().to_owned()).collect();
        names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).for_each(|name| remove_all(&folder, name));
    }
    let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
}
