//! What one key signed, for the trust root that retires it.

use super::{Record, Vault};
use crate::{
    error::{Error, Result},
    keys::VerifyingKey,
    provenance::{Envelope, MAX_ENVELOPE},
};

/// A record that a key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The BLAKE3 of its payload.
    pub digest: blake3::Hash,
    /// The record, of the same bytes: what is shown at its path another time may be something else.
    pub record: Record,
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
            let bytes = match self.demand(&path, MAX_ENVELOPE) {
                Ok(bytes) => bytes,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => continue,
            };
            if let Some(envelope) = Envelope::parse_record(&bytes).ok().filter(|envelope| envelope.is_signed_by(key)) {
                signed.push(Signed { digest: blake3::hash(envelope.payload()), record: Record::new(path, &bytes) });
            }
        }
        Ok(signed)
    }
}
