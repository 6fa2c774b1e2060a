//! A vault: where sealed artifacts, their signatures and their recipients are kept. The only orchestration.

use crate::{
    canonical,
    error::{Error, Fault, Place, Result},
    names::{ArtifactDigest, VersionName},
    secret::fill_random,
    store::{Created, Store},
};

use serde::{Deserialize, Serialize};

mod access;
mod attest;
mod chain;
mod channel;
mod extract;
mod freshness;
mod fsck;
mod gate;
mod lineage;
mod listing;
mod promote;
mod proposals;
mod resolve;
mod reuse;
mod revocations;
mod seal;
mod share;
mod signed;

pub use access::{Access, Skipped};
pub use attest::{Added, Attestation, Found, Which};
pub use channel::{Entry, Head, Promoted};
pub use extract::{Destination, extract};
pub use freshness::{DEFAULT_FRESHNESS, Stated};
pub use fsck::{Finding, Report};
pub use gate::Gate;
pub use lineage::{Ancestor, State};
pub use listing::{Listing, VersionEntry};
pub use proposals::Proposal;
pub use resolve::Artifact;
pub use reuse::{Comparison, Deduplication, Disclosure, Knowledge, Previous, ReuseCache};
pub use revocations::{Revocations, Revoked};
pub use seal::{Receipt, SealRequest};
pub use share::Change;
pub use signed::Signed;

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

/// The name before `.dsse.json` of an object that stands directly in `folder`.
fn stem<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".dsse.json")?;
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests;
