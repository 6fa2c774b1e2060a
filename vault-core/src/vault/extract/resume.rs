//! Opening to disk in several goes: what is complete stays, and is compared before it is trusted.
//!
//! Files are written under numbers into a private folder beside their destination. A record in it says which are complete,
//! with a digest under a key that derives from the artifact's: a record that somebody wrote who has not that key says
//! nothing. Going on reads the files again. Whatever differs, or is of another artifact or selection, is opened anew. As
//! always, files get their names only when all of them are good.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::Mode;

use super::{
    Destination, Published, Source,
    digest::{Digest, digest},
    parent_of,
    place::Place,
    refuse_reserved, write,
};
use crate::{
    error::{Error, Result},
    journal::{Journal, Records},
    names::ArtifactDigest,
    open::Opened,
    secret::{Secret, fill_random},
    workers::{Progress, Threads},
};

const MAGIC: &[u8] = b"mvault-open/v1\n";
/// Enough for a million files.
const MAX_RECORD_FILE: u64 = 64 << 20;
/// How the folder is called, in an existing destination or, with a digest of the destination's name, beside a new one.
const FOLDER: &str = ".mvault-resume";
const RECORD: &str = "record";
const FILES: &str = "files";
/// Every right.
const MODE: u32 = 0o7777;

/// What is to be opened in several goes: the artifact and what of it.
#[derive(Debug, Clone, Copy)]
pub struct Reopen {
    /// The artifact. What was opened of another is opened anew.
    pub artifact: ArtifactDigest,
    /// How many threads compare what is there.
    pub threads: Threads,
}

/// Decrypts to disk like [`super::extract`], but what is complete is kept after a failure, and taken up by the next call with the
/// same destination. Returns how many bytes were there already.
///
/// # Errors
/// As [`super::extract`]; [`Error::Storage`] too if somebody else is opening to the same place.
pub fn extract_resumable(
    opened: &Opened<'_>,
    destination: &Destination<'_>,
    reopen: Reopen,
    progress: &dyn Progress,
) -> Result<u64> {
    let sources = sources(opened, destination)?;
    if let Destination::Folder(_) | Destination::Files { .. } = destination {
        sources.iter().try_for_each(|(file, _)| refuse_reserved(file.path.as_str()))?;
    }
    let what = What { artifact: reopen.artifact, selection: selection(destination) };
    let into = match *destination {
        Destination::Folder(folder) | Destination::Files { folder, .. } if folder.symlink_metadata().is_ok() => {
            let folder = Place::open(folder)?;
            sources.iter().try_for_each(|(file, _)| folder.refuse_existing(file.path.as_str()))?;
            Into::Existing(folder)
        }
        Destination::Folder(target) | Destination::Files { folder: target, .. } => Into::new(target, FILES)?,
        Destination::Excerpts { .. } => return Err(excerpts()),
        Destination::File { target, .. } | Destination::Range { target, .. } => {
            let into = Into::new(target, "0")?;
            if let Into::New { parent, name, .. } = &into {
                parent.refuse_name(name)?;
            }
            into
        }
    };
    let mut kept = Kept::open(&into, what, opened)?;
    let done = kept.complete(opened, &sources, reopen.threads, progress);
    if done.is_err() && kept.done.is_empty() {
        kept.remove(&into)?;
    }
    let there = done?;
    kept.publish(&into, &sources)?;
    kept.remove(&into)?;
    Ok(there)
}

fn excerpts() -> Error {
    Error::Misuse("tensors are opened in one go: what was written of them cannot be resumed".into())
}

fn sources<'a>(opened: &'a Opened<'_>, destination: &Destination<'a>) -> Result<Vec<Source<'a>>> {
    let index = opened.index();
    Ok(match destination {
        Destination::Folder(_) => index.files().iter().map(|file| (file, 0..file.size)).collect(),
        Destination::Files { files, .. } => files.iter().map(|file| (*file, 0..file.size)).collect(),
        Destination::Excerpts { .. } => return Err(excerpts()),
        Destination::File { path, .. } => {
            let file = index.file(path)?;
            vec![(file, 0..file.size)]
        }
        Destination::Range { path, range, .. } => vec![(index.file(path)?, range.clone())],
    })
}

fn selection(destination: &Destination<'_>) -> Digest {
    let text = match destination {
        Destination::Folder(_) | Destination::Excerpts { .. } => "all".to_owned(),
        Destination::Files { files, .. } => {
            files.iter().fold("files".into(), |all, file| format!("{all}\n{}", file.path))
        }
        Destination::File { path, .. } => format!("file {path}"),
        Destination::Range { path, range, .. } => format!("range {}..{} {path}", range.start, range.end),
    };
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// Where it all goes at the end.
enum Into<'a> {
    Existing(Place),
    New { parent: Place, name: &'a std::ffi::OsStr, from: &'static str },
}

impl<'a> Into<'a> {
    fn new(target: &'a Path, from: &'static str) -> Result<Self> {
        let (parent, name) = parent_of(target)?;
        Ok(Self::New { parent, name, from })
    }

    /// The folder that the private folder is in, and its name there.
    fn folder(&self) -> (&Place, String) {
        match self {
            Self::Existing(place) => (place, FOLDER.to_owned()),
            Self::New { parent, name, .. } => {
                let digest = blake3::hash(name.as_encoded_bytes()).to_hex();
                (parent, format!("{FOLDER}-{}", &digest[..16]))
            }
        }
    }
}

/// What a record is about.
#[derive(Clone, Copy)]
struct What {
    artifact: ArtifactDigest,
    selection: Digest,
}

/// Beside the artifact's key, what the key of the digests derives from.
type Salt = [u8; 32];

impl What {
    fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (artifact, selection) = bytes.split_at_mut(32);
        artifact.copy_from_slice(self.artifact.hash().as_bytes());
        selection.copy_from_slice(&self.selection);
        bytes
    }
}

/// Complete files by number, with their lengths.
type Done = BTreeMap<u32, (u64, Digest)>;

/// The private folder.
struct Kept {
    place: Place,
    journal: Journal,
    key: Secret<32>,
    done: Done,
}

impl Kept {
    fn open(into: &Into<'_>, what: What, opened: &Opened<'_>) -> Result<Self> {
        let (parent, name) = into.folder();
        let place = match parent.enter(&name)? {
            Some(place) => place,
            None => parent.make(&name)?,
        };
        place.demand_private()?;
        let shown = place.shown(RECORD);
        let (mut journal, records) = Journal::take(place.open_record(RECORD)?, shown, MAGIC, MAX_RECORD_FILE)?;
        let what = what.to_bytes();
        if let Some((salt, done)) = read(&records, &what) {
            return Ok(Self { place, journal, key: opened.reopen_key(&salt, &what), done });
        }
        journal.restart()?;
        let mut salt = Salt::default();
        fill_random(&mut salt)?;
        journal.append(&[&salt[..], &what].concat())?;
        Ok(Self { place, journal, key: opened.reopen_key(&salt, &what), done: BTreeMap::new() })
    }

    /// Opens every file that is not there already. Returns how many bytes were.
    fn complete(
        &mut self,
        opened: &Opened<'_>,
        sources: &[Source<'_>],
        threads: Threads,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let mut there = 0;
        for (number, (file, range)) in (0u32..).zip(sources) {
            let (name, length) = (number.to_string(), range.end.saturating_sub(range.start));
            let mode = if file.executable { Mode::RWXU } else { Mode::RUSR | Mode::WUSR };
            if self.done.contains_key(&number) && self.is_good(number, length, mode, threads, progress)? {
                there += length;
                continue;
            }
            self.done.remove(&number);
            self.place.remove_all(&name);
            write(opened, file, range.clone(), (&self.place, &name), progress)?;
            // Read back, so that it says what is on disk: bytes that never got there differ next time.
            let digest = match self.place.open_file(&name)? {
                Some(file) => digest(&self.key, &file, length, (threads, progress))?,
                None => None,
            };
            let Some(digest) = digest else { continue };
            let record = [&number.to_le_bytes()[..], &length.to_le_bytes(), &digest].concat();
            // A record that is full notes no more; what follows is opened again.
            self.journal.append(&record)?;
            self.done.insert(number, (length, digest));
        }
        Ok(there)
    }

    /// Whether the file of this number is what was written.
    fn is_good(&self, number: u32, length: u64, mode: Mode, threads: Threads, progress: &dyn Progress) -> Result<bool> {
        let Some(&(noted, expected)) = self.done.get(&number).filter(|(noted, _)| *noted == length) else {
            return Ok(false);
        };
        let Some(file) = self.place.open_file(&number.to_string())? else { return Ok(false) };
        let metadata = file.metadata().map_err(Error::storage(self.place.shown(number.to_string())))?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.nlink() == 1;
        if !is_ours || metadata.mode() & MODE != mode.as_raw_mode() || metadata.len() != noted {
            return Ok(false);
        }
        let found = digest(&self.key, &file, length, (threads, progress))?;
        // `blake3::Hash` compares in constant time.
        let is_good = found.map(blake3::Hash::from_bytes) == Some(blake3::Hash::from_bytes(expected));
        if is_good {
            progress.advance(length);
        }
        Ok(is_good)
    }

    /// Gives all files their names.
    fn publish(&self, into: &Into<'_>, sources: &[Source<'_>]) -> Result<()> {
        match into {
            Into::Existing(folder) => {
                let numbered = sources.iter().map(|(file, _)| file.path.as_str()).enumerate();
                Published::publish(folder, &self.place, numbered)
            }
            Into::New { parent, name, from } => {
                if *from == FILES {
                    // What an interrupted run, or somebody else, left there is not part of the artifact.
                    self.place.remove_all(FILES);
                    let made = self.place.make(FILES)?;
                    for (number, (file, _)) in sources.iter().enumerate() {
                        let (folder, name) = made.parent_of(file.path.as_str(), &mut Vec::new())?;
                        self.place.publish(&number.to_string(), &folder, name.as_ref())?;
                    }
                }
                self.place.publish(from, parent, name)
            }
        }
    }

    fn remove(&self, into: &Into<'_>) -> Result<()> {
        self.journal.erase()?;
        let (parent, name) = into.folder();
        parent.remove_all(&name);
        Ok(())
    }
}

/// Reads a record about `what`; none if it is about something else, or makes no sense. Whether what it says is true, the
/// digests in it will show.
fn read(records: &Records, what: &[u8; 64]) -> Option<(Salt, Done)> {
    let mut records = records.iter();
    let (salt, about) = records.next()?.split_first_chunk()?;
    if about != what {
        return None;
    }
    let mut done = BTreeMap::new();
    for record in records {
        let (number, rest) = record.split_first_chunk()?;
        let (length, digest) = rest.split_first_chunk()?;
        done.insert(u32::from_le_bytes(*number), (u64::from_le_bytes(*length), digest.try_into().ok()?));
    }
    Some((*salt, done))
}
