//! A vault: where sealed artifacts, their signatures and their recipients are kept. The only orchestration.

use crate::{
    canonical,
    error::{Error, Fault, Place, Result},
    manifest::MAX_MANIFEST,
    names::{ArtifactDigest, Reference, VersionName},
    provenance::MAX_ENVELOPE,
    secret::fill_random,
    store::{Created, Soon, Store},
};

use serde::{Deserialize, Serialize};

mod access;
mod admission;
mod attest;
mod chain;
mod channel;
mod copy;
mod extract;
mod freshness;
mod fsck;
mod gate;
mod gc;
mod lineage;
mod listing;
mod naming;
mod promote;
mod proposals;
mod repair;
mod resolve;
mod resume;
mod retire;
mod reuse;
mod revocations;
mod seal;
mod session;
mod share;
mod shred;
mod signed;
mod tip;
mod walk;
mod whereabouts;
mod withdrawn;

pub use access::{Access, Skipped};
pub use admission::{Admission, moves, names, publishes};
pub use attest::{Added, Attestation, Found, Which};
pub use channel::{Entry, Head, Promoted};
pub use copy::{Artifacts, Believed, Copied, CopyRequest, Existing, LogProofs, Moved, Selection};
pub use extract::{Destination, Reopen, extract, extract_resumable};
pub use freshness::{DEFAULT_FRESHNESS, Stated};
pub use fsck::{Finding, Report};
pub use gate::Gate;
pub use gc::{
    Collected, Collection, Condemned, DEFAULT_GRACE, Decision, Done, Event as GarbageEvent, Kept, Mode, Pending,
    Promise, Revocation, Started,
};
pub use lineage::{Ancestor, State};
pub use listing::{Listing, VersionEntry};
pub use naming::ObjectName;
pub use proposals::Proposal;
pub use resolve::{Artifact, Record};
pub use resume::{Afresh, Resume, Resumed};
pub use retire::{Fate, History, InUse, Judged, Keep, Retired, Retirements};
pub use reuse::{Comparison, Deduplication, Disclosure, Knowledge, Previous, ReuseCache};
pub use revocations::{Revocations, Revoked};
pub use seal::{Receipt, SealRequest};
pub use session::{BEAT, Lease, Outcome, Session, Work};
pub use share::Change;
pub use shred::{Shredded, Shreds};
pub use signed::Signed;
pub use whereabouts::{Hit, Tensors, Whereabouts};

const DOCUMENT: &str = "vault.json";
const FORMAT: &str = "mvault-vault/v1";
const VAULT_JSON: &str = "vault.json";
/// `vault.json` has about a hundred bytes.
const MAX_VAULT_JSON: u64 = 4096;

/// A vault.
#[derive(Debug, Clone)]
pub struct Vault {
    store: Store,
    id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVault {
    format: String,
    vault_id: canonical::Hex<16>,
}

impl Vault {
    /// Makes a vault of an empty store.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is a vault already; [`Error::Misuse`] if something else is in it.
    pub fn init(store: Store) -> Result<Self> {
        let what = store.describe();
        if store.read(VAULT_JSON, MAX_VAULT_JSON)?.is_some() {
            return Err(Error::Conflict { what: format!("vault {what}") });
        }
        // The first thing found ends the listing.
        store.list("", &mut |entry| Err(Error::Misuse(format!("{what} is not empty: it holds {}", entry.path))))?;
        let mut id = [0; 16];
        fill_random(&mut id)?;
        let wire = WireVault { format: FORMAT.into(), vault_id: canonical::Hex(id) };
        match store.create(VAULT_JSON, &canonical::to_vec(DOCUMENT, &wire)?)? {
            Created::New => Ok(Self { store, id: hex::encode(id) }),
            Created::Exists => Err(Error::Conflict { what: format!("vault {what}") }),
        }
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the store is no vault; [`Error::Corrupt`] if it is one of another format.
    pub fn open(store: Store) -> Result<Self> {
        let Some(bytes) = store.read(VAULT_JSON, MAX_VAULT_JSON)? else {
            return Err(Error::NotFound { what: format!("a vault at {}", store.describe()) });
        };
        let wire: WireVault = canonical::from_slice(DOCUMENT, &bytes)?;
        if wire.format != FORMAT {
            return Err(Error::format(DOCUMENT, format!("is of format {:?}", wire.format)));
        }
        Ok(Self { store, id: hex::encode(wire.vault_id.0) })
    }

    /// Opens a vault to resolve `reference` next: a bucket is asked for both at the same time.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_for(store: Store, reference: &Reference) -> Result<Self> {
        let vault_json = Soon::Read { path: VAULT_JSON, cap: MAX_VAULT_JSON };
        match reference {
            Reference::Version(name) => {
                store.soon(&[vault_json, Soon::Read { path: &version_path(name), cap: MAX_ENVELOPE }]);
            }
            Reference::Digest(digest) => {
                store.soon(&[vault_json, Soon::Read { path: &manifest_path(*digest), cap: MAX_MANIFEST }]);
            }
            Reference::Channel(_) => {}
        }
        Self::open(store)
    }

    /// The vault's id. It claims nothing: a store can copy it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store the vault is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads an object that must be there.
    fn demand(&self, path: &str, cap: u64) -> Result<Vec<u8>> {
        self.store
            .read(path, cap)?
            .ok_or_else(|| Error::Corrupt { place: Place::Object(path.to_owned()), fault: Fault::Missing })
    }
}

fn manifest_path(digest: ArtifactDigest) -> String {
    format!("artifacts/{}/manifest.json", digest.to_hex())
}

fn artifact_folder(digest: ArtifactDigest) -> String {
    format!("artifacts/{}", digest.to_hex())
}

fn recipients_folder(digest: ArtifactDigest) -> String {
    format!("artifacts/{}/recipients", digest.to_hex())
}

fn recipients_path(digest: ArtifactDigest, generation: u64) -> String {
    format!("{}/{generation}.dsse.json", recipients_folder(digest))
}

fn attestations_folder(digest: ArtifactDigest) -> String {
    format!("artifacts/{}/attestations", digest.to_hex())
}

fn versions_folder(name: &VersionName) -> String {
    format!("models/{}/versions", name.model)
}

fn version_path(name: &VersionName) -> String {
    format!("{}/{}.dsse.json", versions_folder(name), name.version)
}

/// The name of something that nobody else can have named: 32 hex digits.
fn random_id() -> Result<String> {
    let mut id = [0; 16];
    fill_random(&mut id)?;
    Ok(hex::encode(id))
}

fn is_random_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The name before `.dsse.json` of an object that stands directly in `folder`.
fn stem<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".dsse.json")?;
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests;
