//! Going on with a seal that was interrupted, without sealing again what is stored.
//!
//! A [`Session`] is a private local file. It keeps the artifact's id and key, and for each part that is durably in the store
//! the values of its segments and a keyed digest of their plaintext. Going on reads all of the input again: what the
//! session has is digested, compared and skipped, everything else is sealed with fresh IVs. The index and every stream of which
//! nothing was noted start anew, under FLOE headers of their own.
//!
//! As long as it exists, the file opens what was sealed with it: whoever ends a seal ends the session.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blake3::hazmat::ChainingValue;

use super::{Options, Reuse, Sealed, seal_with};
use crate::{
    error::{Error, Result},
    floe::Header,
    index::Notes,
    names::{FilePath, VersionName},
    oms::Signed,
    parts::Sink,
    secret::{Secret, fill_random},
    source::{Data, Input},
    stream::{ArtifactId, Dek},
    workers::Progress,
};

mod audience;
mod file;
mod keeper;
mod notes;
mod record;

use keeper::Keeper;
pub(super) use notes::StreamNotes;
pub use record::Summary;
use record::{History, Start};

/// How often a session may be gone on with. Every time, what was being sealed at the interruption is encrypted once more,
/// at the very most the whole stream: so no AES key encrypts more than 2^26 segments (`docs/FORMAT.md`, section 5).
pub const MAX_RUNS: u32 = 64;
/// How long an interrupted seal can be gone on with, unless its caller says otherwise.
pub const DEFAULT_AGE: Duration = Duration::from_hours(7 * 24);

/// So many seconds may a session be younger than nothing: clocks are set right now and then.
const MAX_AHEAD: u64 = 300;

/// What a session is about. Another one's is refused.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The vault's id.
    pub vault: &'a str,
    /// What is to be published.
    pub name: &'a VersionName,
    /// Where the input is.
    pub source: &'a str,
}

/// A store that says when what it took will last.
pub trait Lasting: Sink {
    /// Waits until every object committed so far is durable.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn settle(&self) -> Result<()>;

    /// The length of an object, if it is there.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn length(&self, name: &blake3::Hash) -> Result<Option<u64>>;
}

/// The digest of a segment's plaintext under a key of the session.
type Plain = [u8; 32];

/// What is known of a stored part's segments: their values in the tree, and digests of their plaintext.
type Segments = Vec<(ChainingValue, Plain)>;

/// What an earlier run left of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeptStream {
    /// The path of its file, digested.
    path: Plain,
    /// Plaintext bytes.
    length: u64,
    header: Header,
    parts: BTreeMap<u64, Segments>,
}

/// A seal that can be gone on with. Nobody else can use its file as long as this exists.
pub struct Session {
    path: PathBuf,
    start: Start,
    kept: BTreeMap<u32, KeptStream>,
    /// To whom earlier runs wrapped the key.
    audiences: BTreeSet<Plain>,
    keeper: Mutex<Keeper>,
    changed: Condvar,
    skipped: AtomicU64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("path", &self.path).field("streams", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Session {
    /// Takes up the session in the file `path`, or begins one there; its folder must exist. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is about something else, has parts of another size, or is not private; [`Error::Stale`] if it is older
    /// than `max_age`, from the future, or was gone on with too often: it is deleted then; [`Error::Corrupt`] if it breaks a rule;
    /// [`Error::Storage`] if somebody else is using it, or it cannot be read or written.
    pub fn open(path: &Path, subject: Subject<'_>, options: Options, (now, max_age): (u64, Duration)) -> Result<Self> {
        let (mut journal, records) = file::open(path)?;
        let session = |start, history: History, journal| {
            let known = history.streams.keys().copied().collect::<BTreeSet<_>>();
            Self {
                path: path.to_owned(),
                start,
                kept: history.streams,
                audiences: history.audiences,
                keeper: Mutex::new(Keeper::new(journal, known)),
                changed: Condvar::new(),
                skipped: AtomicU64::new(0),
            }
        };
        let Some((start, history)) = record::read(records.iter())? else {
            let start = Start::new(subject, options.part_size, now)?;
            journal.append(&start.to_record())?;
            journal.sync()?;
            file::sync_folder(path)?;
            return Ok(session(start, History::default(), journal));
        };
        start.check(subject, options.part_size, journal.what())?;
        let over = if start.created > now.saturating_add(MAX_AHEAD) {
            Some("it was begun in the future, so its age is not known, and is deleted; the seal starts anew next time")
        } else if now.saturating_sub(start.created) > max_age.as_secs() {
            Some("it was begun too long ago, and is deleted; the seal starts anew next time")
        } else if history.runs >= MAX_RUNS {
            Some("it was gone on with too often, and is deleted; the seal starts anew next time")
        } else {
            None
        };
        if let Some(why) = over {
            file::remove(&journal, path)?;
            return Err(Error::Stale { what: format!("resume file {}", path.display()), why });
        }
        // Counted before anything is encrypted, or a crash would lose count.
        if !journal.append(&record::run(now))? {
            return Err(Error::Misuse(format!("{} is full; remove it", path.display())));
        }
        journal.sync()?;
        Ok(session(start, history, journal))
    }

    /// Deletes the session in the file `path`, if there is one and nobody is using it.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no session; [`Error::Storage`] if it is in use or cannot be deleted.
    pub fn discard(path: &Path) -> Result<()> {
        if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(());
        }
        let (journal, _) = file::open(path)?;
        file::remove(&journal, path)
    }

    /// Ends the session: nothing is left of its file.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be deleted: the key of the artifact is still in it.
    pub fn end(self) -> Result<()> {
        let keeper = self.keeper.into_inner().unwrap_or_else(PoisonError::into_inner);
        file::remove(keeper.journal(), &self.path)
    }

    /// Whether no part is noted, so that nothing would be lost with it.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.keeper.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Bytes of plaintext that were found to be stored, and not sealed again.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The objects that an earlier run stored and this one relies on.
    pub fn kept(&self) -> impl Iterator<Item = blake3::Hash> {
        self.kept.values().flat_map(|stream| stream.parts.values()).map(record::name_of)
    }

    pub(crate) fn artifact_id(&self) -> ArtifactId {
        self.start.artifact_id
    }

    pub(super) fn dek(&self) -> &Dek {
        &self.start.dek
    }

    fn digest(&self, bytes: &[u8]) -> Plain {
        *blake3::keyed_hash(self.start.digest_key.expose(), bytes).as_bytes()
    }

    /// What an earlier run left of a stream; an error if the file that goes there now cannot be the same.
    fn stream(&self, number: u32, path: &FilePath, length: u64) -> Result<Option<&KeptStream>> {
        let Some(kept) = self.kept.get(&number) else { return Ok(None) };
        let changed = |why| Err(Error::InputChanged { what: path.to_string(), why });
        if kept.path != self.digest(path.as_str().as_bytes()) {
            return changed("the interrupted seal found another file in its place");
        }
        let from = |first: u64, why| Err(Error::InputChanged { what: format!("{path} from byte {first}"), why });
        match length.cmp(&kept.length) {
            std::cmp::Ordering::Less => from(length, "it is shorter than when the interrupted seal read it"),
            std::cmp::Ordering::Greater => from(kept.length, "it is longer than when the interrupted seal read it"),
            std::cmp::Ordering::Equal => Ok(Some(kept)),
        }
    }
}

/// Seals as [`super::seal`] does, noting in `session` what is stored, and skipping what it has.
///
/// # Errors
/// [`Error::Misuse`] if an input is a reader, which cannot be read again; [`Error::InputChanged`] if a file is not what
/// the interrupted run sealed; [`Error::Storage`] if the session cannot be written; otherwise as [`super::seal`].
pub fn seal(
    inputs: Vec<Input<'_>>,
    notes: Notes,
    vendor: Option<&Signed>,
    store: &dyn Lasting,
    (options, reuse, session): (Options, Reuse<'_>, &Session),
    progress: &dyn Progress,
) -> Result<Sealed> {
    if let Reuse::Of(..) = reuse {
        return Err(Error::Misuse("a seal that reuses an earlier version cannot be resumed: it stores little".into()));
    }
    if let Some(input) = inputs.iter().find(|input| matches!(input.data, Data::Reader(_))) {
        let path = &input.path;
        return Err(Error::Misuse(format!("{path} comes from a stream, which cannot be read again to resume")));
    }
    keeper::during(session, store, || {
        seal_with(inputs, reuse, notes, vendor, (store, options), progress, Some((session, store)))
    })
}

impl Start {
    fn new(subject: Subject<'_>, part_size: crate::tree::PartSize, created: u64) -> Result<Self> {
        let mut artifact_id: ArtifactId = [0; 32];
        fill_random(&mut artifact_id)?;
        let (dek, digest_key) = (Dek::random()?, Secret::random()?);
        Ok(Self { created, artifact_id, dek, digest_key, part_size, subject: record::digests_of(subject) })
    }
}

#[cfg(test)]
mod tests;
