//! Opening to disk: files appear under their final names only when all of them are good.

use std::{ffi::OsStr, io::Write, ops::Range, path::Path};

use rustix::fs::{AtFlags, Mode};

use crate::{
    error::{Error, Result},
    index,
    names::is_reserved,
    open::{Announced, Opened},
    safetensors::Excerpt,
    workers::Progress,
};

mod digest;
mod place;
mod resume;

use place::{Partial, Place};
pub use resume::{Reopen, extract_resumable};

/// A file, or a range of it.
type Source<'a> = (&'a index::File, Range<u64>);

/// Where opened files go.
#[derive(Debug, Clone)]
pub enum Destination<'a> {
    /// Every file of the artifact, below this folder, which is made if it is not there.
    Folder(&'a Path),
    /// These files of the artifact, under their paths below this folder.
    Files {
        /// Which.
        files: &'a [&'a index::File],
        /// The folder, which is made if it is not there.
        folder: &'a Path,
    },
    /// Tensors of files of the artifact, as safetensors files under the paths of those, below this folder.
    Excerpts {
        /// Which.
        excerpts: &'a [Excerpt],
        /// The folder, which is made if it is not there.
        folder: &'a Path,
    },
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

/// Something that becomes a file.
#[derive(Clone, Copy)]
enum Item<'a> {
    Whole(&'a index::File),
    Excerpt(&'a Excerpt),
}

impl Item<'_> {
    fn path(&self) -> &str {
        match self {
            Self::Whole(file) => file.path.as_str(),
            Self::Excerpt(excerpt) => excerpt.path(),
        }
    }
}

/// Decrypts to disk. Files are readable by their owner only; nothing that exists is replaced; after an error nothing is
/// left.
///
/// # Errors
/// [`Error::Corrupt`] if a path below a folder is reserved ([`is_reserved`]); [`Error::Conflict`] if something is in the way, noticed before anything is decrypted; [`Error::Storage`] if it cannot
/// be written; otherwise as [`Opened::read`].
pub fn extract(opened: &Opened<'_>, destination: Destination<'_>, progress: &dyn Progress) -> Result<()> {
    let (items, folder): (Vec<Item<'_>>, _) = match destination {
        Destination::File { path, target } => {
            let file = opened.index().file(path)?;
            return one_file(opened, file, 0..file.size, target, progress);
        }
        Destination::Range { path, range, target } => {
            return one_file(opened, opened.index().file(path)?, range, target, progress);
        }
        Destination::Folder(folder) => (opened.index().files().iter().map(Item::Whole).collect(), folder),
        Destination::Files { files, folder } => (files.iter().map(|file| Item::Whole(file)).collect(), folder),
        Destination::Excerpts { excerpts, folder } => (excerpts.iter().map(Item::Excerpt).collect(), folder),
    };
    items.iter().try_for_each(|item| refuse_reserved(item.path()))?;
    if folder.symlink_metadata().is_ok() {
        into_folder(opened, &items, folder, progress)
    } else {
        new_folder(opened, &items, folder, progress)
    }
}

/// Refuses a path under which this program keeps files of its own in the destination: somebody else's would be taken for
/// those, or be cleared away with them.
fn refuse_reserved(path: &str) -> Result<()> {
    if is_reserved(path) {
        let rule = format!("path {path:?} has a segment that begins with `.mvault-`, which is reserved");
        return Err(Error::format("index", rule));
    }
    Ok(())
}

/// Tells a remote store about all files at once. An excerpt says itself what it will read.
fn announce<'a>(opened: &'a Opened<'_>, items: &[Item<'_>]) -> Option<Announced<'a>> {
    let whole = |item: &Item<'_>| matches!(item, Item::Whole(_));
    items.iter().all(whole).then(|| {
        opened.announce(items.iter().filter_map(|item| match item {
            Item::Whole(file) => Some(*file),
            Item::Excerpt(_) => None,
        }))
    })
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

fn new_folder(opened: &Opened<'_>, items: &[Item<'_>], folder: &Path, progress: &dyn Progress) -> Result<()> {
    let (parent, name) = parent_of(folder)?;
    let partial = Partial::inside(&parent)?;
    let made = partial.place.make("files")?;
    let _announced = announce(opened, items);
    for item in items {
        let (folder, name) = made.parent_of(item.path(), &mut Vec::new())?;
        write_item(opened, *item, (&folder, name), progress)?;
    }
    partial.place.publish("files", &parent, name)
}

fn into_folder(opened: &Opened<'_>, items: &[Item<'_>], folder: &Path, progress: &dyn Progress) -> Result<()> {
    let folder = Place::open(folder)?;
    for item in items {
        folder.refuse_existing(item.path())?;
    }
    let partial = Partial::inside(&folder)?;
    let _announced = announce(opened, items);
    for (number, item) in items.iter().enumerate() {
        write_item(opened, *item, (&partial.place, &number.to_string()), progress)?;
    }
    Published::publish(&folder, &partial.place, items.iter().map(Item::path).enumerate())
}

/// Files that have their final names although not all have, and folders made for them; removed again when dropped.
struct Published<'a> {
    folder: &'a Place,
    files: Vec<&'a str>,
    folders: Vec<String>,
}

impl<'a> Published<'a> {
    /// Moves numbered files to their paths below a folder; if one cannot be, all are removed again.
    fn publish(folder: &Place, from: &Place, files: impl Iterator<Item = (usize, &'a str)>) -> Result<()> {
        let mut published = Published { folder, files: Vec::new(), folders: Vec::new() };
        for (number, path) in files {
            let (parent, name) = folder.parent_of(path, &mut published.folders)?;
            from.publish(&number.to_string(), &parent, name.as_ref())?;
            published.files.push(path);
        }
        published.keep();
        Ok(())
    }

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

fn write_item(opened: &Opened<'_>, item: Item<'_>, at: (&Place, &str), progress: &dyn Progress) -> Result<()> {
    match item {
        Item::Whole(file) => write(opened, file, 0..file.size, at, progress),
        Item::Excerpt(excerpt) => {
            let mut out = at.0.create(at.1, Mode::RUSR | Mode::WUSR)?;
            let mut give = |bytes: &[u8]| out.write_all(bytes).map_err(Error::storage(excerpt.path()));
            excerpt.stream(opened, &mut give, progress)
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
