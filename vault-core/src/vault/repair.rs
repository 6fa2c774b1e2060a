//! Mending: what is damaged or missing here is taken from another copy of the vault, checked before it is used.
//!
//! Objects are written once. Besides garbage collection and shredding this is the only place that deletes: an object that
//! was just read and is not what its name says, when what it should be is at hand, checked and staged. A crash between
//! leaves it missing, which the next repair mends. Repair one vault from one place at a time: of two, one could delete what
//! the other has just mended, and mends it again.

use std::collections::{BTreeSet, HashSet};

use super::{
    Artifact, Finding, Report, Vault, attestations_folder,
    copy::{
        content::{self, Object},
        records,
    },
    fsck::{Look, Reporter},
    listing::parse_version_path,
    manifest_path, recipients_folder, recipients_path, stem, version_path,
};
use crate::{
    error::{Error, Fault, Place, Result},
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
    /// Mends objects of an artifact; says whether any was.
    pub(super) fn contents(
        self,
        manifest: &Manifest,
        damaged: &BTreeSet<String>,
        report: Reporter<'_>,
    ) -> Result<bool> {
        let mut mended = false;
        for object in content::objects(manifest) {
            let path = object_path(&object.name);
            if !damaged.contains(&path) {
                continue;
            }
            match self.object(&object, &path) {
                Ok(()) => {
                    mended = true;
                    report(Finding::Repaired { path, size: object.length })?;
                }
                Err(error) => report(Finding::Unrepaired { path, error })?,
            }
        }
        Ok(mended)
    }

    /// Replaces one object by the other vault's.
    fn object(self, object: &Object<'_>, path: &str) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        let staged = content::fetch_into(self.other, self.vault, object, &mut buffer, &|_| ())?;
        if self.vault.store.stat(path).is_ok_and(|there| there.is_none()) {
            staged.commit(&object.name)?;
            return self.vault.store.sync();
        }
        // What is here is looked at again, now that there is something better: a good object is never deleted.
        let here = Fetch::open(&self.vault.store, &object.name, object.length)
            .and_then(|here| content::check_hash(self.vault, object, &*here, &mut buffer, &mut |_, _| Ok(())));
        match here {
            Ok(()) => Ok(()),
            Err(Error::Corrupt { .. }) => {
                self.vault.store.delete(path)?;
                staged.commit(&object.name)?;
                self.vault.store.sync()
            }
            Err(error) => Err(error),
        }
    }

    /// Mends the record of a version if it is no good here; says whether it was.
    pub(super) fn version(self, name: &VersionName, report: Reporter<'_>) -> Result<()> {
        let good = |bytes: &[u8]| {
            records::envelope(bytes)?;
            self.policy.version_record(bytes, name).map(drop)
        };
        self.record(&version_path(name), MAX_ENVELOPE, &good, report)
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
    pub(super) fn beside(self, digest: ArtifactDigest, report: Reporter<'_>) -> Result<()> {
        let bytes = self.vault.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = Policy::InsecureSkipSignature.unsigned_manifest(digest, &bytes)?;
        let subject = Subject::of(&bytes);
        let artifact = Artifact::of_digest(digest, manifest, subject);

        let folder = recipients_folder(digest);
        let mut numbers: BTreeSet<u64> = self.vault.numbers(&folder)?.into_iter().collect();
        match self.vault.access(&artifact, self.policy) {
            Ok(_) if self.believes_nobody() => {}
            Err(error @ Error::Storage { .. }) => return Err(error),
            _ => numbers.extend(self.other.numbers(&folder)?),
        }
        for generation in numbers {
            let good = |bytes: &[u8]| {
                records::recipients(bytes, &subject, generation)?;
                let what = format!("recipients generation {generation} of {digest}");
                self.policy.statement::<RecipientsRecord>(bytes, Right::share(None), &what).map(drop)
            };
            self.record(&recipients_path(digest, generation), MAX_ENVELOPE, &good, report)?;
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

    /// Replaces a record that is not good here by one that is there. Junk that the other has no better for stays.
    fn record(self, path: &str, cap: u64, good: &dyn Fn(&[u8]) -> Result<()>, report: Reporter<'_>) -> Result<()> {
        let judge = |vault: &Vault| match vault.store.read(path, cap) {
            Ok(Some(bytes)) => good(&bytes).map(|()| Some(bytes)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let here = match judge(self.vault) {
            Ok(Some(_)) => return Ok(()),
            Err(error @ Error::Storage { .. }) => return Err(error),
            Ok(None) => Error::Corrupt { place: Place::Object(path.to_owned()), fault: Fault::Missing },
            Err(error) => error,
        };
        let bytes = match judge(self.other) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(()),
            Err(error) => return report(Finding::Unrepaired { path: path.to_owned(), error }),
        };
        if !matches!(here, Error::Corrupt { fault: Fault::Missing, .. }) {
            self.vault.store.delete(path)?;
        }
        if self.vault.store.create(path, &bytes)? == Created::Exists && judge(self.vault).ok().flatten().is_none() {
            return Err(Error::Conflict { what: path.to_owned() });
        }
        self.vault.store.sync()?;
        report(Finding::Repaired { path: path.to_owned(), size: bytes.len() as u64 })
    }
}

#[cfg(test)]
mod tests;
