//! A vault seen through a trust root: as far as the root was reached, what is revoked, what this client remembers.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    Artifact, Vault,
    revocations::{Extent, Revocations, Revoked},
    walk::root_folder,
};
use crate::{
    error::{Error, Result},
    names::{ArtifactDigest, ModelName, Reference},
    provenance::MAX_ENVELOPE,
    store::Created,
    trust::{Candidate, Clock, Memory, Policy, Reached, Rooted},
};

/// The most notes that are kept.
pub(super) const MAX_NOTES: usize = 100;

/// A vault seen through a trust root. Holds the lock on its [`Memory`] until it is closed.
#[derive(Debug)]
pub struct Gate<'a> {
    pub(super) vault: &'a Vault,
    pub(super) rooted: Arc<Rooted>,
    pub(super) memory: Memory,
    pub(super) revocations: Revocations,
    notes: Vec<String>,
    steps: Vec<String>,
}

impl Vault {
    /// Walks from a pinned trust root as far as the vault leads, and reads what is revoked.
    ///
    /// # Errors
    /// [`Error::Stale`] if the root reached has expired, or the store shows less than `memory` knows;
    /// [`Error::Untrusted`] if two valid roots have one number; [`Error::Corrupt`], [`Error::Storage`].
    pub fn gate(&self, pinned: &Reached, mut memory: Memory, clock: Clock) -> Result<Gate<'_>> {
        let mut notes = Vec::new();
        let start = self.start(pinned, &memory)?;
        let reached = self.walk(start, &mut notes)?;
        let mut steps = vec![format!(
            "trust root: version {} of {}, reached from version {}, expires {}",
            reached.root().version(),
            reached.origin(),
            pinned.root().version(),
            reached.root().expires()
        )];
        if !memory.is_kept() {
            notes.push("nothing is remembered, so a store can show any older state that is still valid".into());
        } else if !memory.was_known() {
            notes.push(
                "nothing was remembered about this trust root: an older state could not be told from the newest".into(),
            );
        }
        // Written down before anything else can fail, so that no failure takes a client back.
        if memory.root()?.is_none_or(|(_, digest, _)| digest != reached.digest()) {
            memory.saw_root(reached.root().version(), reached.digest(), reached.envelope());
            memory.save()?;
        }
        let rooted = Arc::new(Rooted::new(reached, clock)?);
        let revocations = self.load_revocations(&rooted, &mut memory, Extent::News, &mut notes)?;
        steps.push(revocations.summary());
        notes.truncate(MAX_NOTES);
        Ok(Gate { vault: self, rooted, memory, revocations, notes, steps })
    }

    /// The pinned root, or the one that was reached before if that is newer.
    fn start(&self, pinned: &Reached, memory: &Memory) -> Result<Reached> {
        let Some((version, digest, envelope)) = memory.root()? else { return Ok(pinned.clone()) };
        let what = format!("trust root version {version}");
        if version < pinned.root().version() {
            return Ok(pinned.clone());
        }
        let remembered = Reached::pin(&envelope)?;
        if (remembered.digest(), remembered.origin()) != (digest, pinned.origin()) {
            return Err(Error::format("memory", "holds another trust root than it says"));
        }
        if version == pinned.root().version() {
            if digest != pinned.digest() {
                return Err(Error::Untrusted { what, why: "is another one than the one seen before: a fork" });
            }
            return Ok(pinned.clone());
        }
        let shown = |path: String| {
            let bytes = self.store.read(&path, MAX_ENVELOPE).ok().flatten();
            bytes.and_then(|bytes| Candidate::parse(&bytes).ok()).is_some_and(|c| c.digest() == digest)
        };
        if self.root_paths(version)?.into_iter().any(shown) {
            return Ok(remembered);
        }
        // Another one in its place that counts just as much is worse than none.
        if self.walk(pinned.clone(), &mut Vec::new())?.root().version() >= version {
            return Err(Error::Untrusted { what, why: "is another one than the one seen before: a fork" });
        }
        Err(Error::Stale { what, why: "it was seen before, and the store does not show it any more" })
    }

    /// Publishes a version of the trust root that the versions before it in this vault vouch for, starting from `pinned`.
    /// Version 1 vouches for itself.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another one of this number is there already; [`Error::Untrusted`] if too few signed it;
    /// [`Error::Misuse`] if the version before it is not published; [`Error::Corrupt`].
    pub fn publish_root(&self, envelope: &[u8], pinned: Option<Reached>) -> Result<Reached> {
        let candidate = Candidate::parse(envelope)?;
        let version = candidate.root().version();
        let name = format!("{}/{}.dsse.json", root_folder(version), hex::encode(Sha256::digest(envelope)));
        let what = format!("trust root version {version}");
        if version == 1 {
            let root = Reached::pin(envelope)?;
            let (Created::New | Created::Exists) = self.store.create(&name, envelope)?;
            self.store.sync()?;
            return Ok(root);
        }
        let Some(pinned) = pinned.filter(|pinned| pinned.root().version() < version) else {
            return Err(Error::Misuse(format!("{what} is published from an older version, and none is given")));
        };
        let mut notes = Vec::new();
        let reached = self.walk(pinned.clone(), &mut notes)?;
        if reached.root().version() >= version && reached.digest() != candidate.digest() {
            return Err(Error::Conflict { what });
        }
        if reached.root().version() + 1 < version {
            let (last, missing) = (reached.root().version(), version - 1);
            return Err(Error::Misuse(format!(
                "{what} follows version {missing}, and the vault leads to version {last} only: publish version {missing} first"
            )));
        }
        let root = if reached.digest() == candidate.digest() { reached } else { reached.next(envelope)? };
        let (Created::New | Created::Exists) = self.store.create(&name, envelope)?;
        self.store.sync()?;
        // Somebody may have been faster, or the store may show something else.
        if self.walk(pinned, &mut notes)?.digest() != root.digest() {
            return Err(Error::Untrusted { what, why: "was published and is not what the store shows" });
        }
        Ok(root)
    }
}

impl Gate<'_> {
    /// The policy under which everything behind this gate is read.
    pub fn policy(&self) -> Policy {
        Policy::Rooted(Arc::clone(&self.rooted))
    }

    /// The trust root at work.
    pub fn rooted(&self) -> &Rooted {
        &self.rooted
    }

    /// The revocations that count.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// All revocations that count, with their reasons, by number.
    ///
    /// # Errors
    /// As [`Vault::gate`].
    pub fn all_revocations(&mut self) -> Result<Vec<Revoked>> {
        Ok(self.all_of_revocations()?.all().to_vec())
    }

    /// The revocations, every one of them looked at.
    pub(super) fn all_of_revocations(&mut self) -> Result<Revocations> {
        self.vault.load_revocations(&self.rooted, &mut self.memory, Extent::All, &mut Vec::new())
    }

    /// What a careful reader should know: what was skipped, what was not remembered.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was checked so far, one line each, in order; also after a refusal.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    pub(super) fn step(&mut self, step: String) {
        self.steps.push(step);
    }

    /// Finds an artifact, verifies its manifest, and refuses what is revoked. By channel, everything that the trust root
    /// demands of the channel is checked.
    ///
    /// # Errors
    /// As [`Vault::resolve`]; [`Error::Untrusted`] if it is revoked; for channels see [`Gate::resolve_channel`].
    pub fn resolve(&mut self, reference: &Reference) -> Result<Artifact> {
        if let Reference::Channel(channel) = reference {
            return self.resolve_channel(channel);
        }
        let artifact = self.vault.resolve(reference, &self.policy())?;
        let signers = self.holders(artifact.manifest.signers());
        self.step(format!("artifact: {}, sealed by {signers}", artifact.digest));
        self.refuse_revoked(artifact.digest, artifact.model(), &reference.to_string())?;
        Ok(artifact)
    }

    /// Refuses an artifact that is revoked as a version of this model; of any, if none is given.
    ///
    /// # Errors
    /// As [`Revocations::refuse`].
    pub fn refuse_revoked(&mut self, artifact: ArtifactDigest, model: Option<&ModelName>, what: &str) -> Result<()> {
        self.revocations.refuse(artifact, model, what)?;
        self.step("revocation: not revoked".into());
        Ok(())
    }

    /// The holders of these keys, as people read them.
    pub(super) fn holders(&self, ids: &[crate::keys::KeyId]) -> String {
        let name = |id| self.rooted.root().holder(id).map_or_else(|| id.to_string(), ToString::to_string);
        ids.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Writes down what was learnt and lets go of the lock.
    ///
    /// # Errors
    /// As [`Memory::save`].
    pub fn close(mut self) -> Result<Policy> {
        self.memory.save()?;
        Ok(self.policy())
    }
}
