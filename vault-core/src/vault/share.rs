//! Sharing: a new signed generation of recipients. No weights are touched.

use super::{Access, Artifact, Disclosure, Vault, recipients_path, seal::sign};
use crate::{
    error::{Error, Result},
    keys::{KeyId, Signer},
    recipients::{RecipientsRecord, Stanza},
    store::Created,
    trust::{Policy, Right},
    wrap::{self, Audience, Keyring},
};

/// How many numbers that are taken, by other writers or by junk, are passed over.
const MAX_TRIES: u64 = 1000;

/// What is to change about the recipients.
#[derive(Debug, Default)]
pub struct Change {
    /// Who is to be able to open it from now on, too.
    pub add: Audience,
    /// Whose stanzas are to go.
    pub remove: Vec<KeyId>,
    /// Whether passphrase stanzas are to go.
    pub remove_passphrases: bool,
    /// What to do if the artifact reuses streams that hold more than it does.
    pub disclosure: Disclosure,
}

impl Vault {
    /// Publishes a new generation of recipients and returns it. If nothing changes, there is no new generation.
    ///
    /// `ring` must open the artifact if somebody is added; to remove somebody, no key is needed.
    ///
    /// # Errors
    /// [`Error::NotFound`] if somebody to remove is no recipient; [`Error::Misuse`] if nobody would be left;
    /// also if somebody new could read more than the files of the artifact and [`Change::disclosure`] does not allow it;
    /// [`Error::WrongKey`] if `ring` does not open it, or it was shredded; [`Error::Conflict`] if other writers keep being faster.
    pub fn share(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        ring: &Keyring,
        change: &Change,
        signer: &dyn Signer,
    ) -> Result<Access> {
        let id = signer.verifying_key().key_id();
        if !policy.accepts(&id, Right::share(artifact.model())) {
            let what = format!("key {id}");
            return Err(Error::Untrusted { what, why: "is not accepted as a signer of recipients" });
        }
        let mut current = self.access(artifact, policy)?;
        let mut generation = current.generation;
        for _ in 0..MAX_TRIES {
            let stanzas = self.changed(artifact, &current, ring, change)?;
            if stanzas == current.stanzas {
                return Ok(current);
            }
            // The first number that is free, not the one behind the highest: junk under a high number burns only itself.
            generation += 1;
            let record = RecipientsRecord::new(generation, Some(current.digest), policy.origin(), &stanzas)?;
            let envelope = sign(artifact.subject, record, signer)?;
            let path = recipients_path(artifact.digest, generation);
            match self.store.create(&path, &envelope)? {
                Created::Exists if self.demand(&path, envelope.len() as u64).ok().as_ref() != Some(&envelope) => {
                    // Another writer may have published a valid one meanwhile: what is changed is always the latest.
                    let latest = self.access(artifact, policy)?;
                    generation = generation.max(latest.generation);
                    current = latest;
                }
                Created::New | Created::Exists => {
                    self.store.sync()?;
                    let published = match self.access(artifact, policy) {
                        // It was shredded meanwhile, maybe after its last look: what was just added must not outlive that.
                        Err(error) if self.shredded(artifact, policy)?.is_some() => {
                            self.store.delete(&path).map_err(|cause| {
                                let what = format!("{path}, added while its artifact was shredded: shred it again");
                                Error::storage(what)(std::io::Error::other(cause))
                            })?;
                            return Err(error);
                        }
                        other => other?,
                    };
                    if published.generation < generation {
                        let what = format!("recipients generation {generation} of {}", artifact.digest);
                        return Err(Error::Untrusted { what, why: "were published and are not what the store shows" });
                    }
                    return Ok(published);
                }
            }
        }
        Err(Error::Conflict { what: format!("every next generation of recipients of {}", artifact.digest) })
    }

    fn changed(&self, artifact: &Artifact, current: &Access, ring: &Keyring, change: &Change) -> Result<Vec<Stanza>> {
        let held = |id: &KeyId| current.stanzas.iter().any(|stanza| stanza.key_id() == Some(*id));
        if let Some(id) = change.remove.iter().find(|id| !held(id)) {
            return Err(Error::NotFound { what: format!("recipient {id} of {}", artifact.digest) });
        }
        let goes = |stanza: &Stanza| match stanza.key_id() {
            Some(id) => change.remove.contains(&id),
            None => change.remove_passphrases,
        };
        let mut stanzas: Vec<_> = current.stanzas.iter().filter(|stanza| !goes(stanza)).cloned().collect();
        let new = Audience {
            recipients: change.add.recipients.iter().filter(|r| !held(&r.key_id())).cloned().collect(),
            passphrases: change.add.passphrases.clone(),
        };
        if !(new.recipients.is_empty() && new.passphrases.is_empty()) {
            new.check()?;
            let dek = wrap::unwrap(&current.stanzas, artifact.digest, &artifact.manifest, ring)?;
            self.check_sharing(artifact, &dek, change.disclosure)?;
            stanzas.extend(wrap::wrap(&dek, artifact.digest, &new)?);
        }
        if stanzas.is_empty() {
            return Err(Error::Misuse("no recipient would be left: nobody could open it".into()));
        }
        Ok(stanzas)
    }
}
