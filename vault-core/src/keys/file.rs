//! Key files on disk: created whole or not at all, never overwritten by accident, never read if others can read them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{DOCUMENT, MAX_KEY_FILE};
use crate::{
    error::{Error, Result},
    secret::{SecretVec, fill_random},
};

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;
/// Every right of group and world.
const OTHERS: u32 = 0o077;
/// How the error about a private key that group or world has rights to ends.
pub const OPEN_TO_OTHERS: &str = ", so others can get at the private key";

/// Creates `path` with mode 0600 and writes `bytes` to it.
///
/// # Errors
/// [`Error::Conflict`] if something is there already, even a dangling link; [`Error::Storage`] if it cannot be created or
/// written, in which case no file is left behind.
pub fn write_private(path: &Path, bytes: &SecretVec) -> Result<()> {
    create(path, PRIVATE_MODE, |file| file.write_all(bytes.expose()))
}

/// Creates `path` with mode 0644 and writes `text` to it.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, text: &str) -> Result<()> {
    create(path, PUBLIC_MODE, |file| file.write_all(text.as_bytes()))
}

/// Replaces the private key file `path` in one step: whoever reads it meanwhile sees the old bytes or the new.
///
/// If `path` is a link, the file it leads to is replaced.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Storage`] if it cannot be replaced, in which case the old file
/// is as it was.
pub fn replace_private(path: &Path, bytes: &SecretVec) -> Result<()> {
    let target = path.canonicalize().map_err(|e| failed(path, e))?;
    let mut nonce = [0; 8];
    fill_random(&mut nonce)?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", hex::encode(nonce)));
    let temporary = target.with_file_name(name);
    write_private(&temporary, bytes)?;
    fs::rename(&temporary, &target).map_err(|e| {
        // The rename is what failed; a leftover is the lesser news.
        let _ = fs::remove_file(&temporary);
        failed(path, e)
    })?;
    sync_folder(&target).map_err(|e| failed(path, e))
}

/// Reads a private key file of at most 64 KiB.
///
/// # Errors
/// [`Error::Misuse`] if it is not a regular file or if its group or the world has any right to it, [`Error::Corrupt`] if
/// it is too long, [`Error::NotFound`] and [`Error::Storage`] as the operating system says.
pub fn read_private(path: &Path) -> Result<SecretVec> {
    let file = open_regular(path)?;
    // Asked of the open file: between a question about the path and the reading, the path could lead elsewhere.
    let mode = file.metadata().map_err(|e| failed(path, e))?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        let name = path.display();
        return Err(Error::Misuse(format!("{name} has mode {mode:04o}{OPEN_TO_OTHERS}")));
    }
    read_capped(path, file)
}

/// Reads a public key file of at most 64 KiB.
///
/// # Errors
/// [`Error::Misuse`] if it is not a regular file, [`Error::Corrupt`] if it is too long or not UTF-8, [`Error::NotFound`]
/// and [`Error::Storage`] as the operating system says.
pub fn read_public(path: &Path) -> Result<String> {
    let bytes = read_capped(path, open_regular(path)?)?;
    String::from_utf8(bytes.expose().to_vec()).map_err(|_| Error::format(DOCUMENT, "is not UTF-8 text"))
}

fn create(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    // `create_new` is O_EXCL, which follows no link.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| failed(path, e))?;
    write(&mut file).and_then(|()| file.sync_all()).and_then(|()| sync_folder(path)).map_err(|e| {
        // The write is what failed; a leftover is the lesser news.
        let _ = fs::remove_file(path);
        failed(path, e)
    })
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn open_regular(path: &Path) -> Result<File> {
    // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|e| failed(path, e))?;
    if file.metadata().map_err(|e| failed(path, e))?.is_file() {
        Ok(file)
    } else {
        Err(Error::Misuse(format!("{} is not a regular file", path.display())))
    }
}

fn read_capped(path: &Path, file: File) -> Result<SecretVec> {
    // Room for one byte too many and then some, so that the buffer never grows and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE + 64));
    file.take(MAX_KEY_FILE as u64 + 1).read_to_end(&mut bytes).map_err(|e| failed(path, e))?;
    if bytes.len() > MAX_KEY_FILE {
        return Err(Error::limit(DOCUMENT, "length", MAX_KEY_FILE as u64));
    }
    Ok(SecretVec::new(std::mem::take(&mut *bytes)))
}

fn failed(path: &Path, error: io::Error) -> Error {
    let what = path.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Conflict { what },
        io::ErrorKind::NotFound => Error::NotFound { what },
        _ => Error::Storage { what, source: error },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn secret(text: &str) -> SecretVec {
        SecretVec::new(text.as_bytes().to_vec())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").file_name()).collect()
    }

    #[test]
    fn private_files_are_for_their_owner_only_and_are_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        write_private(&path, &secret("private")).expect("writes");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_private(&path).expect("reads").expose(), b"private");
        let path = folder.path().join("key.pub");
        write_public(&path, "public").expect("writes");
        assert_eq!(mode(&path) & !0o044, 0o600);
        assert_eq!(read_public(&path).expect("reads"), "public");
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        fs::write(&path, "old").expect("writes");
        let link = folder.path().join("link");
        symlink(folder.path().join("nowhere"), &link).expect("links");
        for path in [&path, &link] {
            let message = format!("{} exists already", path.display());
            assert_eq!(write_private(path, &secret("new")).expect_err("exists").to_string(), message);
            assert_eq!(write_public(path, "new").expect_err("exists").to_string(), message);
        }
        assert_eq!(fs::read(&path).expect("reads"), b"old");
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn a_failed_write_leaves_no_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let error = create(&path, PRIVATE_MODE, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk is gone"))
        });
        assert_eq!(error.expect_err("fails").to_string(), format!("{}: disk is gone", path.display()));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn replacing_keeps_the_mode_private_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        assert!(matches!(replace_private(&path, &secret("new")), Err(Error::NotFound { .. })));
        fs::write(&path, "old").expect("writes");
        let link = folder.path().join("link");
        symlink(&path, &link).expect("links");
        replace_private(&link, &secret("new")).expect("replaces");
        assert!(link.is_symlink());
        assert_eq!(read_private(&path).expect("reads").expose(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn private_files_that_others_can_get_at_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        write_private(&path, &secret("private")).expect("writes");
        for bad in [0o640, 0o604, 0o620, 0o602, 0o644, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bad)).expect("chmod");
            let name = path.display();
            let message = format!("{name} has mode {bad:04o}, so others can get at the private key");
            assert_eq!(read_private(&path).expect_err("too open").to_string(), message);
        }
        for good in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(good)).expect("chmod");
            read_private(&path).expect("private enough");
        }
    }

    #[test]
    fn only_short_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let error = read_private(&path).expect_err("missing");
        assert_eq!(error.to_string(), format!("{} does not exist", path.display()));
        let error = read_private(folder.path()).expect_err("folder");
        assert_eq!(error.to_string(), format!("{} is not a regular file", folder.path().display()));
        assert!(matches!(read_public(Path::new("/dev/zero")), Err(Error::Misuse(_))));

        write_private(&path, &SecretVec::new(vec![b' '; MAX_KEY_FILE])).expect("writes");
        assert_eq!(read_private(&path).expect("at the limit").expose().len(), MAX_KEY_FILE);
        replace_private(&path, &SecretVec::new(vec![b' '; MAX_KEY_FILE + 1])).expect("writes");
        for error in [read_private(&path).map(drop), read_public(&path).map(drop)] {
            assert_eq!(error.expect_err("too long").to_string(), "key file: length exceeds the limit of 65536");
        }
        replace_private(&path, &SecretVec::new(vec![0xff])).expect("writes");
        assert_eq!(read_public(&path).expect_err("binary").to_string(), "key file: is not UTF-8 text");
    }

    #[test]
    fn a_fifo_is_refused_without_waiting_for_a_writer() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        assert!(matches!(read_private(&path), Err(Error::Misuse(_))));
    }
}
