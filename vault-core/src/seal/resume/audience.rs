//! For whom an artifact is sealed, as a session remembers it.
//!
//! A key that was wrapped to somebody is never wrapped again to others only: whoever was left out would have it all the
//! same. So a session notes for whom, before it wraps, and a seal for others starts under a new key.

use std::sync::PoisonError;

use super::{Plain, Session, record};
use crate::{
    error::Result,
    keys::passphrase::{Context, SALT, slow_digest},
    wrap::Audience,
};

impl Session {
    /// Whether an earlier run wrapped the key, or was about to, to other people than these.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) if there is no memory to digest a passphrase.
    pub(crate) fn is_for_others(&self, audience: &Audience) -> Result<bool> {
        if self.audiences.is_empty() {
            return Ok(false);
        }
        let digest = self.audience_digest(audience)?;
        Ok(self.audiences.iter().any(|noted| *noted != digest))
    }

    /// Notes for whom the key is about to be wrapped. It is on disk when this returns.
    ///
    /// # Errors
    /// As [`Session::is_for_others`]; [`Error::Misuse`](crate::Error::Misuse) if the file is full.
    pub(crate) fn note_audience(&self, audience: &Audience) -> Result<()> {
        let digest = self.audience_digest(audience)?;
        if self.audiences.contains(&digest) {
            return Ok(());
        }
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).demand(&record::audience(&digest))
    }

    /// The digest of key ids and passphrases, each once, in whatever order they were given.
    ///
    /// Passphrases go through Argon2id: who reads the file has the key of this artifact, but is not to guess from it, at the
    /// speed of a hash, what may protect others.
    fn audience_digest(&self, audience: &Audience) -> Result<Plain> {
        let salt = self.digest(b"salt of passphrases");
        let mut short = [0; SALT];
        short.copy_from_slice(&salt[..SALT]);
        let mut members: Vec<[u8; 33]> = Vec::new();
        let mut add = |kind, member: &[u8]| {
            let mut tagged = [kind; 33];
            tagged[1..].copy_from_slice(&self.digest(member));
            members.push(tagged);
        };
        for recipient in &audience.recipients {
            add(b'k', recipient.key_id().to_hex().as_bytes());
        }
        for passphrase in &audience.passphrases {
            add(b'p', slow_digest(passphrase, &short, &Context::resume())?.expose());
        }
        members.sort_unstable();
        members.dedup();
        Ok(self.digest(&members.concat()))
    }
}
