//! A small private file that remembers something between runs, held under a lock.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{
    error::{Error, Result},
    secret::fill_random,
};

/// The longest such file: a hundred thousand channels and revocations fit.
pub(crate) const MAX_KEPT: u64 = 64 << 20;
/// How long another process may hold the lock: it holds it while it checks a few small records.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file. Other processes wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// The lock lasts as long as this is open.
    _lock: File,
}

impl Kept {
    /// Locks the file of this name, and reads it if it is there. The folder is made if it is not (mode 0700).
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read, made or locked within 30 seconds; [`Error::Corrupt`] if it is longer than
    /// [`MAX_KEPT`]; [`Error::Misuse`] if others can write it.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<(Self, Option<Vec<u8>>)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::storage(folder.display()))?;
        refuse_open_to_others(folder, &fs::metadata(folder).map_err(Error::storage(folder.display()))?)?;
        let path = folder.join(name);
        let lock = lock(&path.with_extension("lock"))?;
        let bytes = read(&path)?;
        Ok((Self { path, _lock: lock }, bytes))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts other bytes in their place, in one step; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<()> {
        replace(&self.path, bytes).map_err(Error::storage(self.path.display()))
    }
}

fn refuse_open_to_others(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(Error::Misuse(format!("{} can be written by others, so it remembers nothing", path.display())));
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File> {
    let failed = |error| Error::storage(path.display())(error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::WOULDBLOCK) => {
                let by = "another process holds the lock".to_owned();
                return Err(Error::InUse { what: path.display().to_string(), by });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::storage(path.display())(error);
    // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblock).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::Misuse(format!("{} is not a regular file", path.display())));
    }
    refuse_open_to_others(path, &metadata)?;
    let mut bytes = Vec::new();
    file.take(MAX_KEPT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEPT {
        return Err(Error::limit("memory", "length", MAX_KEPT));
    }
    Ok(Some(bytes))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut nonce = [0; 8];
    fill_random(&mut nonce).map_err(io::Error::other)?;
    let temporary = path.with_extension(format!("{}.tmp", hex::encode(nonce)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The write is what failed; a leftover is the lesser news.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        for (mode, is_private) in [(0o770, false), (0o707, false), (0o755, true)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).expect("mode");
            let refusal = Kept::open(dir.path(), "state.json").err().map(|error| error.kind());
            assert_eq!(refusal, (!is_private).then_some(Kind::Usage), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("folder");
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().expect("mkfifo runs").success());
        symlink(&pipe, dir.path().join("link")).expect("linked");
        fs::DirBuilder::new().mode(0o700).create(dir.path().join("folder")).expect("made");
        for name in ["pipe", "link", "folder"] {
            let refused = Kept::open(dir.path(), name).expect_err(name);
            assert_eq!(refused.kind(), Kind::Usage, "{name}: {refused}");
        }
    }
}
