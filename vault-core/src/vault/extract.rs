//! Opening to disk: files appear under their final names only when all of them are good.

use std::{ffi::OsStr, ops::Range, path::Path};

use rustix::fs::{AtFlags, Mode};

use crate::{
    error::{Error, Result},
    index,
    open::Opened,
    workers::Progress,
};

mod place;

use place::{Partial, Place};

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

fn one_file(
    opened: &Opened<'_>,
    file: &index::File,
    range: Range<u64>,
    target: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let (parent, name) = parent_of(target)?;
    parent.refuse_name(name)?;
    let partial = Partial::inside(&parent)?;
    write(opened, file, range, (&partial.place, "file"), progress)?;
    partial.place.publish("file", &parent, name)
}

fn new_folder(opened: &Opened<'_>, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let (parent, name) = parent_of(folder)?;
    let partial = Partial::inside(&parent)?;
    let made = partial.place.make("files")?;
    let _announced = opened.announce(opened.index().files());
    for file in opened.index().files() {
        let (folder, name) = made.parent_of(file.path.as_str(), &mut Vec::new())?;
        write(opened, file, 0..file.size, (&folder, name), progress)?;
    }
    partial.place.publish("files", &parent, name)
}

fn into_folder(opened: &Opened<'_>, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let (files, folder) = (opened.index().files(), Place::open(folder)?);
    for file in files {
        folder.refuse_existing(file.path.as_str())?;
    }
    let partial = Partial::inside(&folder)?;
    let _announced = opened.announce(files);
    for (number, file) in files.iter().enumerate() {
        write(opened, file, 0..file.size, (&partial.place, &number.to_string()), progress)?;
    }
    let mut published = Published { folder: &folder, files: Vec::new(), folders: Vec::new() };
    for (number, file) in files.iter().enumerate() {
        let path = file.path.as_str();
        let (parent, name) = folder.parent_of(path, &mut published.folders)?;
        partial.place.publish(&number.to_string(), &parent, name.as_ref())?;
        published.files.push(path);
    }
    published.keep();
    Ok(())
}

/// Files that have their final names although not all have, and folders made for them; removed again when dropped.
struct Published<'a> {
    folder: &'a Place,
    files: Vec<&'a str>,
    folders: Vec<String>,
}

impl Published<'_> {
    fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        for path in &self.files {
            self.folder.remove(path, AtFlags::empty());
        }
        for path in self.folders.iter().rev() {
            self.folder.remove(path, AtFlags::REMOVEDIR);
        }
    }
}

fn write(
    opened: &Opened<'_>,
    file: &index::File,
    range: Range<u64>,
    (folder, name): (&Place, &str),
    progress: &dyn Progress,
) -> Result<()> {
    let mode = if file.executable { Mode::RWXU } else { Mode::RUSR | Mode::WUSR };
    let out = folder.create(name, mode)?;
    opened.extract_range(file, range, &out, progress).map_err(|e| match e {
        Error::Storage { what, source } if what == "output" => Error::storage(file.path.as_str())(source),
        other => other,
    })
}

/// The folder that `path` is to be made in, and its name there.
fn parent_of(path: &Path) -> Result<(Place, &OsStr)> {
    let Some(name) = path.file_name() else {
        return Err(Error::Misuse(format!("{} cannot be made: it has no name of its own", path.display())));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Place::open(parent)?, name))
}
