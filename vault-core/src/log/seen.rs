//! What a client saw of a log last, so that a store cannot take it back to an older state or pass another one off for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    checkpoint::Checkpoint,
    merkle::{MAX_LEAVES, TreeHash},
};
use crate::{
    canonical,
    error::{Error, Place, Result},
    trust::Kept,
};

const DOCUMENT: &str = "memory of a log";
const FORMAT: &str = "mvault-log-memory/v1";

/// What was seen of the log of one vault, under the keys of one authority.
#[derive(Debug)]
pub struct Seen {
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
        Self { place: None, last: None }
    }

    /// What is kept in `folder` about the log of the vault with this id, whose checkpoints `authority` signs: the BLAKE3 of
    /// trust root 1, or of the keys that are believed.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read or locked; [`Error::Corrupt`] if it is damaged; [`Error::Misuse`] if others
    /// can write it.
    pub fn open(folder: &Path, authority: blake3::Hash, vault_id: &str) -> Result<Self> {
        let name = format!("{}-{vault_id}.json", authority.to_hex());
        let (kept, bytes) = Kept::open(folder, &name)?;
        let last = bytes.map(|bytes| parse(kept.path(), &bytes)).transpose()?;
        Ok(Self { place: Some((folder.to_owned(), name)), last })
    }

    /// The largest checkpoint that was seen.
    pub fn last(&self) -> Option<&Checkpoint> {
        self.last.as_ref()
    }

    /// Whether it outlives this process.
    pub fn is_kept(&self) -> bool {
        self.place.is_some()
    }

    /// Remembers a checkpoint that counts and continues what was seen; durable when this returns. Another process may have
    /// seen a larger one meanwhile, and that stays.
    ///
    /// # Errors
    /// As [`Seen::open`]; [`Error::Untrusted`] if another process saw another log, or another root of this size.
    pub fn remember(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if let Some((folder, name)) = &self.place {
            let (kept, bytes) = Kept::open(folder, name)?;
            if let Some(other) = bytes.map(|bytes| parse(kept.path(), &bytes)).transpose()? {
                let same_size = other.size() == checkpoint.size();
                if other.origin() != checkpoint.origin() || same_size && other.root() != checkpoint.root() {
                    let what = format!("the log at {} entries", checkpoint.size());
                    return Err(Error::Untrusted { what, why: "is another log than the one seen before: a fork" });
                }
                if other.size() >= checkpoint.size() {
                    self.last = Some(other);
                    return Ok(());
                }
            }
            kept.replace(&canonical::to_vec(DOCUMENT, &Wire::of(checkpoint))?)?;
        }
        self.last = Some(checkpoint.clone());
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
    use crate::error::Kind;

    fn checkpoint(origin: &str, size: u64) -> Checkpoint {
        Checkpoint::new(origin.parse().expect("a name"), size, TreeHash::leaf(&size.to_be_bytes()))
    }

    #[test]
    fn what_was_seen_is_known_next_time_and_never_goes_back() {
        let dir = tempfile::tempdir().expect("folder");
        let (folder, authority) = (dir.path().join("log"), blake3::hash(b"root"));
        let open = || Seen::open(&folder, authority, "0a").expect("opened");
        let (mut first, mut second) = (open(), open());
        assert!(first.last().is_none() && first.is_kept());
        first.remember(&checkpoint("l", 5)).expect("kept");
        second.remember(&checkpoint("l", 3)).expect("older, and known");
        assert_eq!(second.last(), Some(&checkpoint("l", 5)));
        assert_eq!(open().last(), Some(&checkpoint("l", 5)));
        let fork = Checkpoint::new("l".parse().expect("a name"), 5, TreeHash::EMPTY);
        assert_eq!(second.remember(&fork).expect_err("a fork").kind(), Kind::Authenticity);
        assert_eq!(second.remember(&checkpoint("k", 9)).expect_err("another log").kind(), Kind::Authenticity);
        assert!(Seen::open(&folder, authority, "0b").expect("opened").last().is_none(), "another vault");
        let file = std::fs::read_dir(&folder)
            .expect("listed")
            .flatten()
            .find(|f| f.path().extension().is_some_and(|e| e == "json"));
        std::fs::write(file.expect("a file").path(), "{}").expect("damaged");
        assert_eq!(Seen::open(&folder, authority, "0a").expect_err("damaged").kind(), Kind::Integrity);
    }

    #[test]
    fn a_client_without_a_place_remembers_for_this_run() {
        let mut seen = Seen::nothing();
        seen.remember(&checkpoint("l", 5)).expect("kept");
        assert_eq!((seen.last(), seen.is_kept()), (Some(&checkpoint("l", 5)), false));
    }
}
