//! The transparency log of a vault: what was done, in an order that nobody can change unseen.
//!
//! Entries stand in a Merkle tree (RFC 6962), laid out as <https://c2sp.org/tlog-tiles> says. Writers put them into
//! batches that are created once ([`Tail`]); from those, whoever holds a key of the log derives the tiles and signs a
//! [`Checkpoint`] ([`Log::publish`]). A [`Judge`] says whose checkpoints count, [`Seen`] holds what a client saw last,
//! and a [`Proof`] shows offline that an entry is in the log.
//!
//! What an entry says is a claim. The log proves that it was made in public, and when in relation to others; what is
//! believed is always the signed record that it names.

use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    error::{Error, Result},
    secret::fill_random,
    store::{Created, Store},
};

mod appender;
mod batch;
mod beside;
mod checkpoint;
mod claims;
mod entry;
mod evidence;
mod find;
mod follow;
mod grow;
mod latest;
mod merkle;
mod note;
mod proof;
mod publish;
mod seen;
mod tail;
mod tile;
mod witness;

pub use appender::Appender;
pub use batch::{Batch, MAX_BATCH, MAX_ENTRIES};
pub use beside::{MAX_BESIDE, ProofName};
pub use checkpoint::{Checkpoint, Judge, LogKeys, SignedCheckpoint, Witnessed};
pub use claims::Coverage;
pub use entry::{Action, Entry, FOLDERS, MAX_ENTRY, RecordRef, is_logged};
pub(crate) use evidence::well_formed;
pub use evidence::{Evidence, Proven, Search};
pub use find::Missing;
pub use follow::{Audit, Event};
pub use merkle::{
    Frontier, MAX_LEAVES, MAX_PROOF, Nodes, TreeHash, is_consistent, is_included, prove_consistency, prove_inclusion,
};
pub use note::{KeyName, MAX_NOTE, Note, NoteSignature, SignatureType, VerifierKey};
pub use proof::{Logged, MAX_PROOF_FILE, Proof};
pub use publish::Published;
pub use seen::Seen;
pub use tail::{Appended, Gap, Tail};
pub use tile::{MAX_BUNDLE, Row, Tile, Tiles, WIDTH, parse_bundle};
#[cfg(any(test, feature = "conformance"))]
pub use witness::cosigner::Cosigner;
pub use witness::{Answer, FORK, MAX_ANSWER, Request, Witness};

const DOCUMENT: &str = "genesis of the log";
const FORMAT: &str = "mvault-log/v1";
const GENESIS: &str = "genesis.json";
const MAX_GENESIS: u64 = 4096;

/// The log of a vault.
#[derive(Debug, Clone)]
pub struct Log {
    store: Store,
    origin: KeyName,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Genesis {
    format: String,
    origin: String,
}

/// A name that no other log has.
fn random_origin() -> Result<KeyName> {
    let mut id = [0; 16];
    fill_random(&mut id)?;
    format!("mvault.invalid/{}", hex::encode(id)).parse()
}

/// The path of an object of the log.
fn path(below: &str) -> String {
    format!("log/{below}")
}

impl Log {
    /// Starts the log of the vault in this store. Without a name it gets one of its own: `mvault.invalid/` and 32 random hex
    /// digits.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the vault has a log.
    pub fn init(store: &Store, origin: Option<KeyName>) -> Result<Self> {
        let origin = origin.map_or_else(random_origin, Ok)?;
        let genesis = Genesis { format: FORMAT.into(), origin: origin.as_str().to_owned() };
        let bytes = canonical::to_vec(DOCUMENT, &genesis)?;
        match store.create(&path(GENESIS), &bytes)? {
            Created::New => Ok(Self { store: store.clone(), origin }),
            // An answer that was lost may have been that of this very create.
            Created::Exists => match Self::open(store)? {
                Some(log) if log.origin == origin => Ok(log),
                _ => Err(Error::Conflict { what: "the log of the vault".into() }),
            },
        }
    }

    /// The log of the vault in this store, if it has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is of another format; [`Error::Storage`].
    pub fn open(store: &Store) -> Result<Option<Self>> {
        let Some(bytes) = store.read(&path(GENESIS), MAX_GENESIS)? else { return Ok(None) };
        let genesis: Genesis = canonical::from_slice(DOCUMENT, &bytes)?;
        if genesis.format != FORMAT {
            return Err(Error::format(DOCUMENT, "is of another format"));
        }
        let origin = genesis.origin.parse().map_err(|_| Error::format(DOCUMENT, "has an origin that is none"))?;
        Ok(Some(Self { store: store.clone(), origin }))
    }

    /// The name of the log, which its checkpoints bear.
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// The store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

#[cfg(test)]
mod tests;
