//! The file of a session: made for its owner only, locked, and deleted for good.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use crate::{
    error::{Error, Result},
    journal::{Journal, Records},
};

pub(super) const MAGIC: &[u8] = b"mvault-resume/v1\n";
/// Enough for the parts of 4 TiB; what is sealed behind that is not noted, and is sealed again.
const MAX_FILE: u64 = 256 << 20;
/// Kept free by notes of parts for records that must not be missing: runs and audiences, some thousand bytes at most.
pub(super) const RESERVE: u64 = 64 << 10;
/// How often a file may be deleted by its last user while this process opens it.
const TRIES: usize = 100;

/// Opens and locks the file, making it if it is not there.
pub(super) fn open(path: &Path) -> Result<(Journal, Records)> {
    let what = path.display().to_string();
    for _ in 0..TRIES {
        // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(flags);
        let file = options.open(path).map_err(Error::storage(&what))?;
        let (journal, records) = Journal::take(file, what.clone(), MAGIC, MAX_FILE)?;
        // Whoever had the lock before may have deleted it meanwhile.
        match fs::symlink_metadata(path) {
            Ok(there) if is_same(&there, journal.file()).map_err(Error::storage(&what))? => {
                return Ok((journal, records));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::storage(&what)(error)),
            _ => {}
        }
    }
    Err(Error::storage(&what)(io::Error::new(io::ErrorKind::WouldBlock, "others keep deleting it")))
}

fn is_same(there: &fs::Metadata, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
}

/// Makes the name of a new file durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::storage(folder.display()))
}

/// Empties the file, then takes its name away.
pub(super) fn remove(journal: &Journal, path: &Path) -> Result<()> {
    journal.erase()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::storage(path.display())(error)),
        _ => sync_folder(path),
    }
}
