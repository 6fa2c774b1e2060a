//! What is sealed: files, folders, buffers and readers.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use crate::{
    error::{Error, Result},
    names::FilePath,
};

pub(crate) mod abreast;
mod buffer;
mod folder;

pub use buffer::Buffer;
pub(crate) use folder::files_below_where;
pub use folder::{Symlinks, files_below};

/// One file of an artifact to be.
#[derive(Debug)]
pub struct Input<'a> {
    /// Its path in the artifact.
    pub path: FilePath,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its contents.
    pub data: Data<'a>,
}

/// The contents of an [`Input`].
pub enum Data<'a> {
    /// A file on disk, opened when its turn comes.
    Path(PathBuf),
    /// A file that was found on disk before, and must be the same one when its turn comes.
    Found(PathBuf, FileId),
    /// A buffer in memory.
    Bytes(&'a [u8]),
    /// Anything that can be read, of unknown length.
    Reader(Box<dyn Read + Send + 'a>),
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) | Self::Found(path, _) => f.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

/// Which file a path led to: device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// A file open for sealing. It must stay as it was when it was opened.
#[derive(Debug)]
pub(crate) struct SealedFile {
    file: File,
    name: String,
    state: FileState,
}

/// What changes when a file is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileState {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl SealedFile {
    /// Opens a regular file. The last component must not be a symbolic link.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let name = path.display().to_string();
        // Without NONBLOCK, opening a named pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::storage(&name)(e.into()))?;
        let file = File::from(file);
        let state = FileState::of(&file, &name)?;
        let metadata = file.metadata().map_err(Error::storage(&name))?;
        if !metadata.is_file() {
            return Err(Error::Misuse(format!("{name} is not a regular file")));
        }
        Ok(Arc::new(Self { file, name, state }))
    }

    /// Opens what a file input names; if it was found before, it must be the same file.
    pub(crate) fn open_data(data: &Data<'_>) -> Result<Arc<Self>> {
        match data {
            Data::Path(path) => Self::open(path),
            Data::Found(path, id) => Self::open_found(path, Some(*id)),
            Data::Bytes(_) | Data::Reader(_) => Err(Error::Misuse("an input that is no file".into())),
        }
    }

    /// Opens a regular file; the one with this id, if there is one.
    pub(crate) fn open_found(path: &Path, id: Option<FileId>) -> Result<Arc<Self>> {
        let file = Self::open(path)?;
        id.map_or(Ok(()), |id| file.check_id(id))?;
        Ok(file)
    }

    /// How it was when it was opened.
    pub(crate) fn state(&self) -> FileState {
        self.state.clone()
    }

    /// Refuses the file if it was different when it was opened before.
    pub(crate) fn check_state(&self, before: &FileState) -> Result<()> {
        if self.state == *before { Ok(()) } else { Err(self.changed("it was written to")) }
    }

    /// Length when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.state.size
    }

    /// Fills `buffer` from `offset`, within the length it had when it was opened.
    pub(crate) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.changed("it shrank"),
            _ => Error::storage(&self.name)(e),
        })
    }

    /// Refuses the file if it is not the one that was found before: somebody put another, or a link, in its place.
    pub(crate) fn check_id(&self, expected: FileId) -> Result<()> {
        let metadata = self.file.metadata().map_err(Error::storage(&self.name))?;
        if FileId::of(&metadata) == expected { Ok(()) } else { Err(self.changed("another file took its place")) }
    }

    /// Whether the file is still what was opened; to be asked after the last byte was read.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        // Some files, like those of /proc, hold more than their size says.
        if self.file.read_at(&mut [0], self.len()).map_err(Error::storage(&self.name))? != 0 {
            return Err(self.changed("it is longer than its size"));
        }
        let now = FileState::of(&self.file, &self.name)?;
        match now.size.cmp(&self.state.size) {
            std::cmp::Ordering::Less => Err(self.changed("it shrank")),
            std::cmp::Ordering::Greater => Err(self.changed("it grew")),
            std::cmp::Ordering::Equal if now != self.state => Err(self.changed("it was written to")),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    fn changed(&self, why: &'static str) -> Error {
        Error::InputChanged { what: self.name.clone(), why }
    }
}

impl FileState {
    fn of(file: &File, name: &str) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::storage(name))?;
        Ok(Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads until `buffer` is full or the input ends; returns how much it read.
pub(crate) fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn a_file_that_shrinks_grows_or_changes_is_noticed() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        let check = |change: &dyn Fn(&mut File)| {
            fs::write(&path, b"weights").expect("written");
            let sealed = SealedFile::open(&path).expect("opens");
            let mut file = File::options().write(true).open(&path).expect("opens");
            // Time stamps are as coarse as the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(&mut file);
            sealed.check_unchanged().map_err(|e| e.to_string())
        };
        assert_eq!(check(&|_| ()), Ok(()));
        for (change, why) in [
            (&(|f: &mut File| f.set_len(3).expect("cut")) as &dyn Fn(&mut File), "it shrank"),
            (&|f: &mut File| f.set_len(30).expect("grown"), "it is longer than its size"),
            (&|f: &mut File| f.write_all(b"W").expect("written"), "it was written to"),
        ] {
            let error = check(change).expect_err(why);
            assert!(error.ends_with(why), "{error}");
        }
    }

    #[test]
    fn links_pipes_and_folders_are_not_sealed() {
        let dir = tempfile::tempdir().expect("folder");
        assert!(SealedFile::open(dir.path()).is_err());
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).expect("link");
        assert!(SealedFile::open(&dir.path().join("link")).is_err());
        if let Ok(proc) = SealedFile::open(Path::new("/proc/version")) {
            assert!(proc.check_unchanged().is_err(), "no bytes by its size, and some all the same");
        }
        let pipe = dir.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(status.success());
        assert!(SealedFile::open(&pipe).expect_err("a pipe").to_string().ends_with("is not a regular file"));
    }
}
