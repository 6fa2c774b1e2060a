//! What an instance saw last, remembered over restarts in a file of its own.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vault_core::{
    Error, Result,
    error::{Fault, Place},
};

/// The last record an instance saw.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCheckpoint {
    number: u64,
    digest: String,
}

/// The number and the digest of the record that was seen last.
///
/// # Errors
/// [`Error::Corrupt`] if the file is damaged; [`Error::Storage`].
pub(super) fn read(path: &Path) -> Result<Option<(u64, blake3::Hash)>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::storage(path.display())(error)),
    };
    let broken = || Error::Corrupt { place: Place::Document("checkpoint"), fault: Fault::Format("is damaged".into()) };
    let wire: WireCheckpoint = serde_json::from_slice(&bytes).map_err(|_| broken())?;
    let digest = blake3::Hash::from_hex(&wire.digest).map_err(|_| broken())?;
    Ok(Some((wire.number, digest)))
}

/// Remembers a record.
///
/// # Errors
/// [`Error::Storage`].
pub(super) fn write(path: &Path, number: u64, digest: blake3::Hash) -> Result<()> {
    let failed = |error| Error::storage(path.display())(error);
    let wire = WireCheckpoint { number, digest: digest.to_hex().to_string() };
    let bytes = serde_json::to_vec(&wire).map_err(|error| failed(error.into()))?;
    // Each instance has a file of its own, so nobody else writes this one.
    let temporary = path.with_extension("tmp");
    let write = || {
        std::fs::write(&temporary, &bytes)?;
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| Error::storage(path.display())(error))
}
