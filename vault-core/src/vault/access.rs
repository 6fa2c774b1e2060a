//! Who may open an artifact: the recipients that count, and the key they hold.

use super::{
    Artifact, Vault, artifact_folder, recipients_folder, recipients_path,
    shred::{self, Candidates},
    stem,
};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    open::{self, Opened},
    provenance::Statement,
    provenance::{Envelope, MAX_ENVELOPE},
    recipients::{RecipientsRecord, Stanza},
    stream::Dek,
    trust::{Policy, Right, Verified},
    wrap::{self, Keyring},
};

/// The highest generation that is looked at. A store could claim any number.
const MAX_GENERATION: u64 = (1 << 53) - 1;
/// The most generations that are looked at, from the highest down: each may be 4 MiB of somebody's junk.
const MAX_LOOKS: usize = 100;

/// The recipients of an artifact that count: the highest generation that is valid.
#[derive(Debug, Clone)]
pub struct Access {
    /// Its number.
    pub generation: u64,
    /// The stanzas.
    pub stanzas: Vec<Stanza>,
    /// The accepted keys that signed it.
    pub signers: Vec<KeyId>,
    /// The BLAKE3 of its payload, which the next generation names.
    pub digest: blake3::Hash,
    /// What was found above it and does not count.
    pub skipped: Vec<Skipped>,
}

/// A generation that does not count.
#[derive(Debug)]
pub struct Skipped {
    /// Its number.
    pub generation: u64,
    /// Why not.
    pub reason: Error,
}

impl Clone for Skipped {
    fn clone(&self) -> Self {
        Self { generation: self.generation, reason: Error::Misuse(self.reason.to_string()) }
    }
}

impl Vault {
    /// Finds the recipients that count.
    ///
    /// # Errors
    /// [`Error::WrongKey`] if it was shredded; [`Error::Untrusted`] if no generation is valid, or none of the 100 highest;
    /// [`Error::Corrupt`] if more than 10 000 records claim to be a shredding; [`Error::Storage`].
    pub fn access(&self, artifact: &Artifact, policy: &Policy) -> Result<Access> {
        let (numbers, shreddings) = self.generations(artifact)?;
        if let Some(shredded) = self.shredded_by(artifact, policy, shreddings.paths)? {
            return Err(shred::refusal(artifact.digest, &shredded));
        }
        let mut skipped = Vec::new();
        let is_cut = numbers.len() > MAX_LOOKS;
        for &generation in numbers.iter().rev().take(MAX_LOOKS) {
            match self.generation(artifact, policy, generation) {
                Ok((record, digest)) => {
                    let stanzas = record.predicate.stanzas()?;
                    let signers = record.signers().to_vec();
                    return Ok(Access { generation, stanzas, signers, digest, skipped });
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => skipped.push(Skipped { generation, reason }),
            }
        }
        let what = format!("recipients of {}", artifact.digest);
        if is_cut {
            let why =
                "have more than 100 generations that do not count above any that does: remove that junk from the store";
            return Err(Error::Untrusted { what, why });
        }
        match skipped.into_iter().next() {
            Some(Skipped { reason: error @ Error::Untrusted { .. }, .. }) => Err(error),
            Some(_) => Err(Error::Untrusted { what, why: "have no valid generation" }),
            None => Err(Error::Untrusted { what, why: "are missing" }),
        }
    }

    /// The numbers of all generations, ascending, and the records of shreddings: one listing, because each takes its time.
    fn generations(&self, artifact: &Artifact) -> Result<(Vec<u64>, Candidates)> {
        let folder = recipients_folder(artifact.digest);
        let (mut numbers, mut shreddings) = (Vec::new(), Candidates::new(artifact.digest));
        self.store.list(&artifact_folder(artifact.digest), &mut |entry| {
            if shreddings.take(&entry)? {
                return Ok(());
            }
            let number =
                stem(&entry.path, &folder).and_then(|stem| stem.parse::<u64>().ok().filter(|n| n.to_string() == stem));
            if let Some(number) = number.filter(|n| (1..=MAX_GENERATION).contains(n)) {
                numbers.push(number);
                // Only the highest matter, and that there are more; what a hostile store offers beyond that is let go.
                if numbers.len() > 2 * MAX_LOOKS {
                    numbers.sort_unstable();
                    numbers.drain(..numbers.len() - MAX_LOOKS - 1);
                }
            }
            Ok(())
        })?;
        numbers.sort_unstable();
        Ok((numbers, shreddings))
    }

    fn generation(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        generation: u64,
    ) -> Result<(Verified<Statement<RecipientsRecord>>, blake3::Hash)> {
        let path = recipients_path(artifact.digest, generation);
        let what = format!("recipients generation {generation} of {}", artifact.digest);
        let envelope = self.demand(&path, MAX_ENVELOPE)?;
        let record = policy.statement::<RecipientsRecord>(&envelope, Right::share(artifact.model()), &what)?;
        if record.subject != artifact.subject {
            return Err(Error::Untrusted { what, why: "are signed for another artifact" });
        }
        if record.predicate.generation() != generation {
            return Err(Error::Untrusted { what, why: "are signed as another generation" });
        }
        record.predicate.stanzas()?;
        let digest = blake3::hash(Envelope::parse_record(&envelope)?.payload());
        Ok((record, digest))
    }

    /// Unwraps the key of an artifact.
    ///
    /// # Errors
    /// [`Error::WrongKey`] if nothing in the ring opens it; otherwise as [`Vault::access`].
    pub fn unlock(&self, artifact: &Artifact, policy: &Policy, ring: &Keyring) -> Result<Dek> {
        let access = self.access(artifact, policy)?;
        wrap::unwrap(&access.stanzas, artifact.digest, &artifact.manifest, ring)
    }

    /// Opens an artifact for reading.
    ///
    /// # Errors
    /// As [`Vault::unlock`] and [`Opened::new`]; [`Error::Gone`] if it was retired and its contents were collected.
    pub fn open_artifact<'a>(
        &'a self,
        artifact: &'a Artifact,
        policy: &Policy,
        ring: &Keyring,
        options: open::Options,
    ) -> Result<Opened<'a>> {
        let dek = self.unlock(artifact, policy, ring)?;
        let opened = Opened::new(&artifact.manifest, dek, &self.store, options);
        opened.map_err(|error| self.explained(artifact, policy, error))
    }
}
