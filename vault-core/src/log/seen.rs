//! What a client saw of a log last, so that a store cannot take it back to an older state or pass another one off for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Log,
    checkpoint::Checkpoint,
    latest::gone,
    merkle::{MAX_LEAVES, TreeHash},
};
use crate::{
    canonical,
    error::{Error, Place, Result},
    trust::Kept,
};

const DOCUMENT: &str = "memory of a log";
const FORMAT: &str = "mvault-log-memory/v1";

/// What was seen of one log. It is filed under what the client vouches for by itself: where it looked for the log, whom it
/// believes, its own key. Never under what the store says of itself, which would let the store choose what is remembered.
#[derive(Debug)]
pub struct Seen {
    memories: Vec<Memory>,
}

/// What was seen under one name.
#[derive(Debug)]
struct Memory {
    place: Option<(PathBuf, String)>,
    last: Option<Checkpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    origin: String,
    root: String,
    size: u64,
}

impl Seen {
    /// Remembers nothing: a store can show such a client any valid old state.
    pub fn nothing() -> Self {
        Self { memories: vec![Memory { place: None, last: None }] }
    }

    /// What is kept in `folder` under this name.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read or locked; [`Error::Corrupt`] if it is damaged; [`Error::Misuse`] if others
    /// can write it.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let name = format!("{}.json", blake3::hash(name.as_bytes()).to_hex());
        let (kept, bytes) = Kept::open(folder, &name)?;
        let last = bytes.map(|bytes| parse(kept.path(), &bytes)).transpose()?;
        Ok(Self { memories: vec![Memory { place: Some((folder.to_owned(), name)), last }] })
    }

    /// Both: a log must continue what either knows, and is remembered in either.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.memories.extend(other.memories);
        self
    }

    /// The largest checkpoint that was seen.
    pub fn last(&self) -> Option<&Checkpoint> {
        self.all().max_by_key(|seen| seen.size())
    }

    /// All that were seen, one under each name.
    pub fn all(&self) -> impl Iterator<Item = &Checkpoint> + Clone {
        self.memories.iter().filter_map(|memory| memory.last.as_ref())
    }

    /// Whether it outlives this process.
    pub fn is_kept(&self) -> bool {
        self.memories.iter().all(|memory| memory.place.is_some())
    }
}

impl Memory {
    /// Keeps a checkpoint that continues what was known, unless another process saw something else meanwhile: gives that.
    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<Option<Checkpoint>> {
        if let Some((folder, name)) = &self.place {
            let (kept, bytes) = Kept::open(folder, name)?;
            let there = bytes.map(|bytes| parse(kept.path(), &bytes)).transpose()?;
            if there.is_some() && there != self.last {
                return Ok(there);
            }
            if there.is_none_or(|there| there.size() < checkpoint.size()) {
                kept.replace(&canonical::to_vec(DOCUMENT, &Wire::of(checkpoint))?)?;
            }
        }
        if self.last.as_ref().is_none_or(|last| last.size() < checkpoint.size()) {
            self.last = Some(checkpoint.clone());
        }
        Ok(None)
    }
}

impl Log {
    /// Remembers a checkpoint that counts and continues what was seen; durable when this returns. What another process saw
    /// meanwhile must be of the same history, and stays if it is more.
    ///
    /// # Errors
    /// As [`Seen::open`]; [`Error::Untrusted`] if another process saw another history; [`Error::Stale`] if it saw more, and
    /// the store does not show that; as [`Log::continues`].
    pub fn remember(&self, seen: &mut Seen, checkpoint: &Checkpoint) -> Result<()> {
        for memory in &mut seen.memories {
            while let Some(other) = memory.keep(checkpoint)? {
                if other.size() <= checkpoint.size() {
                    self.continues(checkpoint, &other)?;
                } else {
                    self.continues(&other, checkpoint).map_err(|error| match error {
                        Error::Corrupt { .. } => gone(&other),
                        error => error,
                    })?;
                }
                memory.last = Some(other);
            }
        }
        Ok(())
    }
}

impl Wire {
    fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            format: FORMAT.into(),
            origin: checkpoint.origin().as_str().to_owned(),
            root: checkpoint.root().to_base64(),
            size: checkpoint.size(),
        }
    }
}

fn parse(place: &Path, bytes: &[u8]) -> Result<Checkpoint> {
    let at = |error: Error| error.at(Place::Object(place.display().to_string()));
    let wire: Wire = canonical::from_slice(DOCUMENT, bytes).map_err(at)?;
    let root = TreeHash::from_base64(&wire.root).filter(|_| wire.format == FORMAT && wire.size <= MAX_LEAVES);
    match (root, wire.origin.parse()) {
        (Some(root), Ok(origin)) => Ok(Checkpoint::new(origin, wire.size, root)),
        _ => Err(at(Error::format(DOCUMENT, "is of another format"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Kind, log::tests::Fixture};

    #[test]
    fn what_was_seen_is_known_next_time_and_never_goes_back() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("log");
        let open = || Seen::open(&folder, "/srv/vault").expect("opened");
        let fixture = Fixture::new();
        let mut sizes = [3, 2].map(|count| {
            fixture.append(count);
            fixture.publish().checkpoint.checkpoint().clone()
        });
        sizes.reverse();
        let [five, three] = sizes;
        let (mut first, mut second) = (open(), open());
        assert!(first.last().is_none() && first.is_kept());
        fixture.log.remember(&mut first, &five).expect("kept");
        fixture.log.remember(&mut second, &three).expect("older, and of the same history");
        assert_eq!((second.last(), open().last()), (Some(&five), Some(&five)));
        assert!(Seen::open(&folder, "/srv/other").expect("opened").last().is_none(), "another vault");
        let kept = std::fs::read_dir(&folder)
            .expect("listed")
            .flatten()
            .find(|f| f.path().extension().is_some_and(|e| e == "json"));
        std::fs::write(kept.expect("a file").path(), "{}").expect("damaged");
        assert_eq!(Seen::open(&folder, "/srv/vault").expect_err("damaged").kind(), Kind::Integrity);
    }

    #[test]
    fn of_two_processes_that_were_shown_different_histories_one_notices() {
        for (honest, lie, kind) in [(5, 5, Kind::Authenticity), (5, 7, Kind::Authenticity), (7, 5, Kind::Stale)] {
            let dir = tempfile::tempdir().expect("folder");
            let folder = dir.path().join("log");
            let open = || Seen::open(&folder, "/srv/vault").expect("opened");
            let fixture = Fixture::new();
            fixture.append(honest);
            let forked = fixture.forked(lie);
            let (mut first, mut second) = (open(), open());
            fixture.log.remember(&mut first, fixture.publish().checkpoint.checkpoint()).expect("kept");
            let fork = forked.publish_fork();
            let noticed = forked.log.remember(&mut second, fork.checkpoint()).expect_err("a fork");
            assert_eq!(noticed.kind(), kind, "{noticed}");
            // Another log altogether.
            let other = Fixture::new();
            other.append(9);
            let mut late = Seen::open(&folder, "/srv/vault").expect("opened");
            late.memories[0].last = None;
            let noticed = other.log.remember(&mut late, other.publish_fork().checkpoint()).expect_err("another");
            assert_eq!(noticed.kind(), Kind::Authenticity);
        }
    }

    #[test]
    fn a_client_without_a_place_remembers_for_this_run() {
        let fixture = Fixture::new();
        fixture.append(5);
        let mut seen = Seen::nothing();
        let five = fixture.publish().checkpoint.checkpoint().clone();
        fixture.log.remember(&mut seen, &five).expect("kept");
        assert_eq!((seen.last(), seen.is_kept()), (Some(&five), false));
    }
}
