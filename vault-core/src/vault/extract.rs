//! Opening to disk: files appear under their final names only when all of them are good.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    error::{Error, Result},
    index,
    open::Opened,
    secret::fill_random,
    workers::Progress,
};

/// Where opened files go.
#[derive(Debug, Clone)]
pub enum Destination<'a> {
    /// Every file of the artifact, below this folder, which is made if it is not there.
    Folder(&'a Path),
    /// One file of the artifact, under this name.
    File {
        /// Its path in the artifact.
        path: &'a str,
        /// Its path on disk.
        target: &'a Path,
    },
    /// A range of one file of the artifact, under this name.
    Range {
        /// Its path in the artifact.
        path: &'a str,
        /// Which bytes of it.
        range: Range<u64>,
        /// Its path on disk.
        target: &'a Path,
    },
}

/// Decrypts to disk. Files are readable by their owner only; nothing that exists is replaced; after an error nothing is
/// left.
///
/// # Errors
/// [`Error::Conflict`] if something is in the way, noticed before anything is decrypted; [`Error::Storage`] if it cannot
/// be written; otherwise as [`Opened::read`].
pub fn extract(opened: &Opened<'_>, destination: Destination<'_>, progress: &dyn Progress) -> Result<()> {
    match destination {
        Destination::File { path, target } => {
            let file = opened.index().file(path)?;
            one_file(opened, file, 0..file.size, target, progress)
        }
        Destination::Range { path, range, target } => {
            one_file(opened, opened.index().file(path)?, range, target, progress)
        }
        Destination::Folder(folder) if folder.symlink_metadata().is_ok() => into_folder(opened, folder, progress),
        Destination::Folder(folder) => new_folder(opened, folder, progress),
    }
}

/// A folder for files that are not good yet. Removed with all that is in it when dropped.
struct Partial(PathBuf);

impl Partial {
    fn inside(parent: &Path) -> Result<Self> {
        let mut random = [0; 8];
        fill_random(&mut random)?;
        let path = parent.join(format!(".mvault-partial-{}", hex::encode(random)));
        make_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // If this fails nobody is left to tell; the name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn one_file(
    opened: &Opened<'_>,
    file: &index::File,
    range: Range<u64>,
    target: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    refuse_existing(target)?;
    let partial = Partial::inside(parent_of(target)?)?;
    let made = partial.0.join("file");
    write(opened, file, range, &made, progress)?;
    publish(&made, target)
}

fn new_folder(opened: &Opened<'_>, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let partial = Partial::inside(parent_of(folder)?)?;
    let made = partial.0.join("files");
    make_folder(&made)?;
    for file in opened.index().files() {
        let path = made.join(file.path.as_str());
        make_parents(&made, file, &mut Vec::new())?;
        write(opened, file, 0..file.size, &path, progress)?;
    }
    publish(&made, folder)
}

fn into_folder(opened: &Opened<'_>, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let files = opened.index().files();
    for file in files {
        refuse_in_the_way(folder, file)?;
    }
    let partial = Partial::inside(folder)?;
    for (number, file) in files.iter().enumerate() {
        write(opened, file, 0..file.size, &partial.0.join(number.to_string()), progress)?;
    }
    let mut published = Published::default();
    for (number, file) in files.iter().enumerate() {
        let target = folder.join(file.path.as_str());
        make_parents(folder, file, &mut published.folders)?;
        publish(&partial.0.join(number.to_string()), &target)?;
        published.files.push(target);
    }
    published.keep();
    Ok(())
}

/// Files that have their final names although not all have, and folders made for them; removed again when dropped.
#[derive(Default)]
struct Published {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Published {
    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        for path in &self.files {
            let _ = fs::remove_file(path);
        }
        for path in self.folders.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

fn write(
    opened: &Opened<'_>,
    file: &index::File,
    range: Range<u64>,
    path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let mode = if file.executable { 0o700 } else { 0o600 };
    let out = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let out: File = out.map_err(Error::storage(path.display()))?;
    opened.extract_range(file, range, &out, progress).map_err(|e| match e {
        Error::Storage { what, source } if what == "output" => Error::storage(file.path.as_str())(source),
        other => other,
    })
}

/// The folders above a file, below `root`, from the top.
fn parents<'a>(root: &'a Path, file: &'a index::File) -> impl Iterator<Item = PathBuf> + 'a {
    let path = file.path.as_str();
    path.match_indices('/').map(move |(at, _)| root.join(&path[..at]))
}

/// Refuses a file that exists, and anything but a folder where one must be. A symbolic link could lead anywhere.
fn refuse_in_the_way(root: &Path, file: &index::File) -> Result<()> {
    for folder in std::iter::once(root.to_path_buf()).chain(parents(root, file)) {
        let is_root = folder == root;
        let found = if is_root { folder.metadata() } else { folder.symlink_metadata() };
        match found {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(Error::Conflict { what: folder.display().to_string() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !is_root => return Ok(()),
            Err(e) => return Err(Error::storage(folder.display())(e)),
        }
    }
    refuse_existing(&root.join(file.path.as_str()))
}

/// Makes the folders above a file, below `root`, and adds those that are new to `made`.
fn make_parents(root: &Path, file: &index::File, made: &mut Vec<PathBuf>) -> Result<()> {
    for folder in parents(root, file) {
        match folder.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(Error::Conflict { what: folder.display().to_string() }),
            Err(_) => {
                make_folder(&folder)?;
                made.push(folder);
            }
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(Error::storage(path.display()))
}

fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::storage(path.display())(e)),
        Ok(_) => Err(Error::Conflict { what: path.display().to_string() }),
    }
}

/// Gives what is made its final name, unless something took that name meanwhile.
fn publish(made: &Path, target: &Path) -> Result<()> {
    match renameat_with(CWD, made, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(Error::Conflict { what: target.display().to_string() }),
        // A file system that cannot refuse to replace: look, then rename.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            refuse_existing(target)?;
            fs::rename(made, target).map_err(Error::storage(target.display()))
        }
        Err(e) => Err(Error::storage(target.display())(e.into())),
    }
}

fn parent_of(path: &Path) -> Result<&Path> {
    if path.file_name().is_none() {
        return Err(Error::Misuse(format!("{} cannot be made: it has no name of its own", path.display())));
    }
    Ok(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}
