//! Mending: what is damaged or missing here is taken from another copy of the vault, checked before it is used.
//!
//! Objects are written once. Besides garbage collection and shredding this is the only place that deletes: an object that
//! was just read and is not what its name says, when what it should be is at hand, checked and staged. A crash between
//! leaves it missing, which the next repair mends. A version record is decided like a commit before it is deleted, so that
//! garbage collection mends it, too, instead of taking its artifact for one that nobody names. Repair one vault from one place at a time: of two, one could delete what
//! the other has just mended, and mends it again.

use std::collections::{BTreeSet, HashSet};

use blake3::Hash;

use super::{
    Artifact, Finding, Outcome, Report, Retirements, Vault, Work, attestations_folder,
    copy::{
        content::{self, Object},
        records,
    },
    fsck::{Look, Reporter},
    listing::parse_version_path,
    manifest_path, recipients_folder, recipients_path, stem, version_path,
};
use crate::{
    error::{Error, Result},
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, VersionName},
    parts::{Fetch, object_path},
    provenance::{MAX_ENVELOPE, Subject},
    recipients::RecipientsRecord,
    store::Created,
    trust::{Policy, Right},
    workers::{Progress, Threads},
};

/// Bytes that are read and hashed at a time.
const PIECE: usize = 1 << 20;

/// Another copy of a vault, and whom to believe about its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mender<'a> {
    vault: &'a Vault,
    other: &'a Vault,
    policy: &'a Policy,
}

/// Objects of an artifact that were mended, or could not be: names and lengths.
pub(super) type Tried = HashSet<(Hash, u64)>;

/// What came of mending an object.
enum Mended {
    Yes,
    WasGood,
}

/// A record of the other vault that is to stand where there is none here, or none that is good.
struct Better {
    bytes: Vec<u8>,
    in_place_of: Here,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Here {
    Nothing,
    NoGood,
}

/// Judges the bytes of a record.
type Judge<'a> = &'a dyn Fn(&[u8]) -> Result<()>;

impl Vault {
    /// Looks over the vault as [`Vault::fsck`] does and replaces what is damaged or missing by what `other` has, if that is
    /// what it should be: parts, trees and manifests by their hashes; version records, recipients and attestations if
    /// the one here is not well formed, or not accepted by `policy`, and the one there is. What was mended is reported as
    /// [`Finding::Repaired`], what could not be as [`Finding::Unrepaired`] besides the damage. What cannot be read is
    /// never replaced: it may be good.
    ///
    /// # Errors
    /// As [`Vault::fsck`]; [`Error::Storage`] if the vault cannot be written.
    pub fn repair(
        &self,
        other: &Self,
        policy: &Policy,
        threads: Threads,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<Report> {
        let mender = Mender { vault: self, other, policy };
        Look::new(self, threads, progress, Some(mender)).over_all(report)
    }
}

impl Mender<'_> {
    /// Mends objects of an artifact, each once; says whether any was, and so whether it is worth looking again. A store that
    /// shows something else each time is not asked for ever.
    pub(super) fn contents(
        self,
        manifest: &Manifest,
        damaged: &BTreeSet<String>,
        tried: &mut Tried,
        report: Reporter<'_>,
    ) -> Result<bool> {
        let mut mended = false;
        for object in content::objects(manifest) {
            let path = object_path(&object.name);
            if !damaged.contains(&path) || !tried.insert((object.name, object.length)) {
                continue;
            }
            match self.object(&object, &path) {
                Ok(Mended::Yes) => {
                    mended = true;
                    report(Finding::Repaired { path, size: object.length })?;
                }
                // A manifest may name one object with two lengths: of the other one it is not what it should be.
                Ok(Mended::WasGood) => {}
                Err(error) => report(Finding::Unrepaired { path, error })?,
            }
        }
        Ok(mended)
    }

    /// Replaces one object by the other vault's.
    fn object(self, object: &Object<'_>, path: &str) -> Result<Mended> {
        let mut buffer = vec![0; PIECE];
        let staged = content::fetch_into(self.other, self.vault, object, &mut buffer, &|_| ())?;
        if self.vault.store.stat(path).is_ok_and(|there| there.is_none()) {
            staged.commit(&object.name)?;
            self.vault.store.sync()?;
            return Ok(Mended::Yes);
        }
        // What is here is looked at again, now that there is something better: a good object is never deleted.
        let here = Fetch::open(&self.vault.store, &object.name, object.length)
            .and_then(|here| content::check_hash(self.vault, object, &*here, &mut buffer, &mut |_, _| Ok(())));
        match here {
            Ok(()) => Ok(Mended::WasGood),
            Err(Error::Corrupt { .. }) => {
                self.vault.store.delete(path)?;
                staged.commit(&object.name)?;
                self.vault.store.sync()?;
                Ok(Mended::Yes)
            }
            Err(error) => Err(error),
        }
    }

    /// Mends the record of a version if it is no good here.
    pub(super) fn version(self, name: &VersionName, report: Reporter<'_>) -> Result<()> {
        let good = |bytes: &[u8]| {
            records::envelope(bytes)?;
            self.policy.version_record(bytes, name).map(drop)
        };
        let path = version_path(name);
        let Some(better) = self.better(&path, MAX_ENVELOPE, &good, report)? else { return Ok(()) };
        match self.publish(name, &better, &good, report) {
            // A collection is at work, and may be deleting what the version consists of.
            Err(error @ Error::Lost { .. }) => report(Finding::Unrepaired { path, error }),
            Err(error) => Err(error),
            Ok(()) => report(Finding::Repaired { path, size: better.bytes.len() as u64 }),
        }
    }

    /// Gives a version its record in a session: until it stands there, nothing else in the vault names the artifact.
    fn publish(self, name: &VersionName, better: &Better, good: Judge<'_>, report: Reporter<'_>) -> Result<()> {
        let artifact = self.policy.version_record(&better.bytes, name)?.subject.blake3;
        self.manifest(artifact, report)?;
        let paths = match self.vault.paths_of(artifact) {
            Err(error @ Error::Storage { .. }) => return Err(error),
            // Without its manifest there is nothing of it that could be kept.
            other => other.unwrap_or_default(),
        };
        let pins = if paths.is_empty() { &[][..] } else { &[artifact] };
        let session = self.vault.open_session(Work::Repair, pins)?;
        session.rely_on(&paths)?;
        session.decide(&Outcome::committed(name, better.bytes.clone())?)?;
        self.replace(&version_path(name), MAX_ENVELOPE, good, better)
    }

    /// Brings the versions of artifacts that are here and that no version here names: an interrupted repair left them
    /// like that, or somebody took the record away.
    pub(super) fn missing_versions(
        self,
        unnamed: &HashSet<[u8; 32]>,
        report: Reporter<'_>,
    ) -> Result<Vec<(VersionName, ArtifactDigest)>> {
        let (mut names, mut brought) = (Vec::new(), Vec::new());
        if unnamed.is_empty() {
            return Ok(brought);
        }
        self.other.store.list("models", &mut |entry| {
            names.extend(parse_version_path(&entry.path));
            Ok(())
        })?;
        for name in names {
            if self.vault.store.stat(&version_path(&name))?.is_some() {
                continue;
            }
            let record = self.other.demand(&version_path(&name), MAX_ENVELOPE);
            let Ok(record) = record.and_then(|bytes| self.policy.version_record(&bytes, &name)) else { continue };
            let digest = record.subject.blake3;
            if unnamed.contains(digest.hash().as_bytes()) {
                self.version(&name, report)?;
                brought.push((name, digest));
            }
        }
        Ok(brought)
    }

    /// The retirements that count.
    pub(super) fn retirements(self) -> Result<Retirements> {
        Ok(self.vault.retirements(self.policy, None)?.0)
    }

    fn believes_nobody(self) -> bool {
        matches!(self.policy, Policy::InsecureSkipSignature)
    }

    /// Mends a manifest.
    pub(super) fn manifest(self, digest: ArtifactDigest, report: Reporter<'_>) -> Result<()> {
        let good = |bytes: &[u8]| Policy::InsecureSkipSignature.unsigned_manifest(digest, bytes).map(drop);
        self.record(&manifest_path(digest), MAX_MANIFEST, &good, report)
    }

    /// Mends what stands beside an artifact: recipients and attestations that are no good, and those that are not there at
    /// all, so that what a crash between deleting and creating took comes back. Where nobody is believed, only
    /// what is there and no good is mended, and recipients if no generation here counts.
    ///
    /// Recipients of what was shredded stay away, under whatever of its `names` it was.
    pub(super) fn beside(self, digest: ArtifactDigest, names: &[VersionName], report: Reporter<'_>) -> Result<()> {
        let bytes = self.vault.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = Policy::InsecureSkipSignature.unsigned_manifest(digest, &bytes)?;
        let subject = Subject::of(&bytes);
        let artifact = Artifact::of_digest(digest, manifest, subject);

        match self.vault.is_shredded(&artifact, names, self.policy) {
            Ok(false) => self.recipients(&artifact, names, report)?,
            Ok(true) => {}
            // There is too much junk to tell.
            Err(error @ Error::Corrupt { .. }) => {
                report(Finding::Unrepaired { path: recipients_folder(digest), error })?;
            }
            Err(error) => return Err(error),
        }
        let folder = attestations_folder(digest);
        let mut paths: BTreeSet<_> = self.vault.attestation_paths(digest)?.into_iter().collect();
        if !self.believes_nobody() {
            paths.extend(self.other.attestation_paths(digest)?);
        }
        for path in paths {
            let name = stem(&path, &folder).unwrap_or_default().to_owned();
            self.record(&path, MAX_ENVELOPE, &|bytes| records::attestation(bytes, &subject, &name), report)?;
        }
        Ok(())
    }

    fn recipients(self, artifact: &Artifact, names: &[VersionName], report: Reporter<'_>) -> Result<()> {
        let (digest, subject) = (artifact.digest, &artifact.subject);
        let folder = recipients_folder(digest);
        let mut numbers: BTreeSet<u64> = self.vault.numbers(&folder)?.into_iter().collect();
        match self.vault.access(artifact, self.policy) {
            Ok(_) if self.believes_nobody() => {}
            Err(error @ Error::Storage { .. }) => return Err(error),
            _ => numbers.extend(self.other.numbers(&folder)?),
        }
        for generation in numbers {
            let good = |bytes: &[u8]| {
                records::recipients(bytes, subject, generation)?;
                let what = format!("recipients generation {generation} of {digest}");
                self.policy.statement::<RecipientsRecord>(bytes, Right::share(None), &what).map(drop)
            };
            let path = recipients_path(digest, generation);
            let Some(better) = self.better(&path, MAX_ENVELOPE, &good, report)? else { continue };
            self.replace(&path, MAX_ENVELOPE, &good, &better)?;
            // It may have been shredded meanwhile, after its last look: what was just added must not outlive that.
            match self.vault.is_shredded(artifact, names, self.policy) {
                Ok(false) => report(Finding::Repaired { path, size: better.bytes.len() as u64 })?,
                other => return self.vault.store.delete(&path).and(other.map(drop)),
            }
        }
        Ok(())
    }

    /// Replaces a record that is not good here by one that is there.
    fn record(self, path: &str, cap: u64, good: Judge<'_>, report: Reporter<'_>) -> Result<()> {
        let Some(better) = self.better(path, cap, good, report)? else { return Ok(()) };
        self.replace(path, cap, good, &better)?;
        report(Finding::Repaired { path: path.to_owned(), size: better.bytes.len() as u64 })
    }

    /// What the other vault has in the place of a record that is not good here. Junk that the other has no better for stays.
    fn better(self, path: &str, cap: u64, good: Judge<'_>, report: Reporter<'_>) -> Result<Option<Better>> {
        let in_place_of = match judge(self.vault, path, cap, good) {
            Ok(Some(_)) => return Ok(None),
            Err(error @ Error::Storage { .. }) => return Err(error),
            Ok(None) => Here::Nothing,
            Err(_) => Here::NoGood,
        };
        match judge(self.other, path, cap, good) {
            Ok(bytes) => Ok(bytes.map(|bytes| Better { bytes, in_place_of })),
            Err(error) => report(Finding::Unrepaired { path: path.to_owned(), error }).map(|()| None),
        }
    }

    fn replace(self, path: &str, cap: u64, good: Judge<'_>, better: &Better) -> Result<()> {
        if better.in_place_of == Here::NoGood {
            self.vault.store.delete(path)?;
        }
        let created = self.vault.store.create(path, &better.bytes)?;
        if created == Created::Exists && judge(self.vault, path, cap, good).ok().flatten().is_none() {
            return Err(Error::Conflict { what: path.to_owned() });
        }
        self.vault.store.sync()
    }
}

/// A record that is good, none if there is none.
fn judge(vault: &Vault, path: &str, cap: u64, good: Judge<'_>) -> Result<Option<Vec<u8>>> {
    let bytes = vault.store.read(path, cap)?;
    bytes.map(|bytes| good(&bytes).map(|()| bytes)).transpose()
}

#[cfg(test)]
mod tests;
