//! What one key signed, for the trust root that retires it.

use super::Vault;
use crate::{
    error::{Error, Result},
    keys::VerifyingKey,
};

/// A record that a key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The BLAKE3 of its payload.
    pub digest: blake3::Hash,
    /// Its path in the vault.
    pub path: String,
}

/// Where records are that outlive a key.
const FOLDERS: [&str; 4] = ["models", "artifacts", "retired", "revocations"];

impl Vault {
    /// The records of the vault that carry a valid signature by this key, sorted by path.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn signed_by(&self, key: &VerifyingKey) -> Result<Vec<Signed>> {
        let mut paths = Vec::new();
        for folder in FOLDERS {
            self.store.list(folder, &mut |entry| {
                if entry.path.ends_with(".dsse.json") {
                    paths.push(entry.path);
                }
                Ok(())
            })?;
        }
        paths.sort();
        let mut signed = Vec::new();
        for path in paths {
            match self.record(&path) {
                Ok(envelope) if envelope.is_signed_by(key) => {
                    signed.push(Signed { digest: blake3::hash(envelope.payload()), path });
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(signed)
    }
}
