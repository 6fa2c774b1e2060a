//! Retiring versions: a signed statement that one is no longer kept. Garbage collection then deletes its contents; its
//! name, signatures and documents stay.

use std::collections::HashMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Artifact, Gate, Vault, seal::sign};
use crate::{
    error::{Error, Fault, Result},
    keys::{KeyId, Signer},
    names::{ArtifactDigest, ModelName, Reference, VersionName},
    provenance::{MAX_ENVELOPE, Retirement},
    store::Created,
    trust::{Policy, Right},
};

mod rules;

pub use rules::{Fate, History, Judged, Keep};

const FOLDER: &str = "retired";

/// A retirement that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The version.
    pub name: VersionName,
    /// Its artifact.
    pub artifact: ArtifactDigest,
    /// Why.
    pub reason: String,
    /// When the record claims to have been made.
    pub created: String,
    /// The accepted keys that signed it; none if the policy accepts anybody.
    pub signers: Vec<KeyId>,
}

/// The retirements that count.
#[derive(Debug, Clone, Default)]
pub struct Retirements(HashMap<(VersionName, [u8; 32]), Retired>);

impl Retirements {
    /// The retirement of this version of exactly this artifact.
    pub fn get(&self, name: &VersionName, artifact: ArtifactDigest) -> Option<&Retired> {
        self.0.get(&(name.clone(), *artifact.hash().as_bytes()))
    }

    /// Whether this version is retired.
    pub fn contains(&self, name: &VersionName, artifact: ArtifactDigest) -> bool {
        self.get(name, artifact).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The earliest claim is what people are told.
    fn add(&mut self, retired: Retired) {
        let key = (retired.name.clone(), *retired.artifact.hash().as_bytes());
        let earlier = self.0.get(&key).is_some_and(|there| there.created <= retired.created);
        if !earlier {
            self.0.insert(key, retired);
        }
    }
}

/// What a version is allowed to be while it is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// A version that a channel points to is not retired.
    Refuse,
    /// It is retired although a channel points to it: nothing opens through that channel once its contents are collected.
    Allow,
}

impl Vault {
    /// The retirements that `policy` accepts, and the records that do not count. With `before`, only those that the store
    /// got before that time.
    pub(super) fn retirements(
        &self,
        policy: &Policy,
        before: Option<Timestamp>,
    ) -> Result<(Retirements, Vec<(String, Error)>)> {
        self.retirements_below(FOLDER, policy, before)
    }

    /// The retirements of versions of one model that `policy` accepts.
    pub(super) fn retirements_of(&self, model: &ModelName, policy: &Policy) -> Result<Retirements> {
        Ok(self.retirements_below(&format!("{FOLDER}/{model}/versions"), policy, None)?.0)
    }

    fn retirements_below(
        &self,
        folder: &str,
        policy: &Policy,
        before: Option<Timestamp>,
    ) -> Result<(Retirements, Vec<(String, Error)>)> {
        let mut records = Vec::new();
        self.store.list(folder, &mut |entry| {
            if before.is_none_or(|before| entry.modified < before) {
                records.extend(parse_path(&entry.path).map(|name| (name, entry.path)));
            }
            Ok(())
        })?;
        let (mut found, mut ignored) = (Retirements::default(), Vec::new());
        for (name, path) in records {
            match self.retirement_at(&path, name, policy) {
                Ok(retired) => found.add(retired),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) if ignored.len() < MAX_IGNORED => ignored.push((path, error)),
                Err(_) => {}
            }
        }
        Ok((found, ignored))
    }

    /// The retirement of this version of this artifact, if `policy` accepts one.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn retired(&self, name: &VersionName, artifact: ArtifactDigest, policy: &Policy) -> Result<Option<Retired>> {
        let (found, _) = self.retirements_below(&folder(name), policy, None)?;
        Ok(found.get(name, artifact).cloned())
    }

    fn retirement_at(&self, path: &str, name: VersionName, policy: &Policy) -> Result<Retired> {
        judged(&self.demand(path, MAX_ENVELOPE)?, name, policy)
    }

    /// Retires a version under a policy without channels: refused if any channel ever pointed to it, because only a trust
    /// root says which promotion is in force.
    ///
    /// # Errors
    /// As [`Gate::retire`].
    pub fn retire(
        &self,
        name: &VersionName,
        reason: &str,
        policy: &Policy,
        in_use: InUse,
        signer: &dyn Signer,
    ) -> Result<Retired> {
        let artifact = self.retirable(name, policy, signer)?;
        self.refuse_pointed_to(name, &artifact, in_use, &mut |_| Ok(0))?;
        self.write_retirement(name, &artifact, reason, policy, signer)
    }

    /// The version, if this key may retire it.
    fn retirable(&self, name: &VersionName, policy: &Policy, signer: &dyn Signer) -> Result<Artifact> {
        let id = signer.verifying_key().key_id();
        if !policy.accepts(&id, Right::retire(Some(&name.model))) {
            return Err(Error::Untrusted {
                what: format!("key {id}"),
                why: "is not given the right to retire versions of this model",
            });
        }
        self.resolve(&Reference::Version(name.clone()), policy)
    }

    fn refuse_pointed_to(
        &self,
        name: &VersionName,
        artifact: &Artifact,
        in_use: InUse,
        current_from: &mut dyn FnMut(&crate::names::ChannelName) -> Result<u64>,
    ) -> Result<()> {
        if in_use == InUse::Allow {
            return Ok(());
        }
        for (channel, pointers) in self.pointers(&format!("models/{}/channels", name.model))? {
            let mut ours: Vec<_> =
                pointers.iter().filter(|p| p.artifact == artifact.digest).map(|p| p.generation).collect();
            ours.sort_unstable();
            if let Some(last) = ours.last()
                && *last >= current_from(&channel)?
            {
                return Err(Error::InUse {
                    what: name.to_string(),
                    by: format!("generation {last} of {channel} points to it"),
                });
            }
        }
        Ok(())
    }

    fn write_retirement(
        &self,
        name: &VersionName,
        artifact: &Artifact,
        reason: &str,
        policy: &Policy,
        signer: &dyn Signer,
    ) -> Result<Retired> {
        if let Some(retired) = self.retired(name, artifact.digest, policy)? {
            return Ok(retired);
        }
        let record = Retirement::new(name, reason, policy.origin())?;
        let created = record.created().to_owned();
        let envelope = sign(artifact.subject, record, signer)?;
        let path = format!("{}/{}.dsse.json", folder(name), hex::encode(Sha256::digest(&envelope)));
        // The name is the hash of what is in it.
        let (Created::New | Created::Exists) = self.store.create(&path, &envelope)?;
        self.store.sync()?;
        Ok(Retired {
            name: name.clone(),
            artifact: artifact.digest,
            reason: reason.to_owned(),
            created,
            signers: vec![signer.verifying_key().key_id()],
        })
    }

    /// The reason behind a failure to read an artifact, if that is that it was retired and its contents collected: an
    /// [`Error::Gone`]. Otherwise the same error.
    pub fn explained(&self, artifact: &Artifact, policy: &Policy, error: Error) -> Error {
        let Error::Corrupt { fault: Fault::Missing, .. } = &error else { return error };
        let Some(name) = &artifact.name else { return error };
        match self.retired(name, artifact.digest, policy) {
            Ok(Some(Retired { created, reason, .. })) => Error::Gone {
                what: name.to_string(),
                why: format!("was retired on {created} ({reason}), and its contents were collected"),
            },
            _ => error,
        }
    }

    /// Versions whose contents may be missing without being damaged, whoever signed that: by name and artifact.
    pub(super) fn claimed_retirements(&self) -> Result<Retirements> {
        Ok(self.retirements(&Policy::InsecureSkipSignature, None)?.0)
    }

    /// Refuses a version that is retired.
    pub(super) fn refuse_retired(&self, name: &VersionName, artifact: ArtifactDigest, policy: &Policy) -> Result<()> {
        match self.retired(name, artifact, policy)? {
            None => Ok(()),
            Some(Retired { created, reason, .. }) => {
                Err(Error::Gone { what: name.to_string(), why: format!("was retired on {created} ({reason})") })
            }
        }
    }
}

impl Gate<'_> {
    /// Retires a version: garbage collection may delete its contents, when the record is as old as its grace. The name
    /// stays taken. One that is retired already stays so, and its record is returned.
    ///
    /// # Errors
    /// [`Error::InUse`] if a channel points to it, unless that is allowed; [`Error::Untrusted`] if the key may not, or the
    /// version does not verify; [`Error::Misuse`] if the reason is not one line; [`Error::Storage`].
    pub fn retire(&mut self, name: &VersionName, reason: &str, in_use: InUse, signer: &dyn Signer) -> Result<Retired> {
        let (vault, policy) = (self.vault, self.policy());
        let artifact = vault.retirable(name, &policy, signer)?;
        vault.refuse_pointed_to(name, &artifact, in_use, &mut |channel| self.current_from(channel))?;
        vault.write_retirement(name, &artifact, reason, &policy, signer)
    }
}

/// What a record in the folder of this version says, if it counts.
pub(super) fn judged(envelope: &[u8], name: VersionName, policy: &Policy) -> Result<Retired> {
    let what = format!("retirement of {name}");
    let record = policy.statement::<Retirement>(envelope, Right::retire(Some(&name.model)), &what)?;
    if record.predicate.version_name()? != name {
        return Err(Error::Untrusted { what, why: "is signed for another version" });
    }
    Ok(Retired {
        name,
        artifact: record.subject.blake3,
        reason: record.predicate.reason().to_owned(),
        created: record.predicate.created().to_owned(),
        signers: record.signers().to_vec(),
    })
}

/// The most records that do not count that are reported.
const MAX_IGNORED: usize = 1000;

/// `retired/<model>/versions/<version>`: many records may stand there, so that junk burns no name.
pub(super) fn folder(name: &VersionName) -> String {
    format!("{FOLDER}/{}/versions/{}", name.model, name.version)
}

/// The version that the record at this path claims to retire.
pub(super) fn parse_path(path: &str) -> Option<VersionName> {
    let (rest, file) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.rsplit_once('/')?;
    ArtifactDigest::from_hex(file.strip_suffix(".dsse.json")?).ok()?;
    let (model, version) = rest.rsplit_once("/versions/")?;
    Some(VersionName { model: model.parse().ok()?, version: version.parse().ok()? })
}
