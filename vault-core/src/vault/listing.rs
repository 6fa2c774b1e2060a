//! What a vault holds, as far as can be seen without a key.

use super::{Retired, Retirements, Vault, manifest_path, version_path};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, ChannelName, ModelName, VersionName},
    provenance::MAX_ENVELOPE,
    store::Soon,
    trust::Policy,
};

/// The versions of a vault, sorted by name, and what is there besides.
#[derive(Debug, Default)]
pub struct Listing {
    /// Versions whose record counts.
    pub versions: Vec<VersionEntry>,
    /// Paths of version records that do not count, and why: the first 1000, and one of every further kind of error.
    pub skipped: Vec<(String, Error)>,
    /// How many more records do not count.
    pub more_skipped: u64,
    /// Paths among the models that name no version: the first 1000.
    pub foreign: Vec<String>,
    /// How many more there are.
    pub more_foreign: u64,
}

/// The most paths of a kind that a listing holds: a store could offer any number.
const MAX_REPORTED: usize = 1000;

impl Listing {
    fn skip(&mut self, path: String, error: Error) {
        let is_new = || self.skipped.iter().all(|(_, other)| other.kind() != error.kind());
        if self.skipped.len() < MAX_REPORTED || is_new() {
            self.skipped.push((path, error));
        } else {
            self.more_skipped += 1;
        }
    }

    fn ignore(&mut self, path: String) {
        if self.foreign.len() < MAX_REPORTED {
            self.foreign.push(path);
        } else {
            self.more_foreign += 1;
        }
    }
}

/// One version.
#[derive(Debug, Clone)]
pub struct VersionEntry {
    /// Its name.
    pub name: VersionName,
    /// The artifact it names.
    pub digest: ArtifactDigest,
    /// When the record claims to have been made.
    pub created: String,
    /// The accepted keys that signed it; none if the policy accepts anybody.
    pub signers: Vec<KeyId>,
    /// Its retirement, if it is retired.
    pub retired: Option<Retired>,
    /// Number of streams, the index not counted, and encrypted length; none if the manifest is missing or damaged.
    pub size: Option<(usize, u64)>,
}

/// So many records are asked for at a time: on a bucket the time is round trips.
pub(in crate::vault) const BATCH: usize = 32;

impl Vault {
    /// Lists the versions whose records `policy` accepts.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn list(&self, policy: &Policy) -> Result<Listing> {
        self.list_below("models", &self.retirements(policy, None)?.0, policy)
    }

    /// Lists the versions of one model whose records `policy` accepts. Costs what these versions cost, however many the vault
    /// has besides.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn list_model(&self, model: &ModelName, policy: &Policy) -> Result<Listing> {
        let retirements = self.retirements_of(model, policy)?;
        self.list_below(&format!("models/{model}/versions"), &retirements, policy)
    }

    fn list_below(&self, folder: &str, retirements: &Retirements, policy: &Policy) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut names = Vec::new();
        self.store.list(folder, &mut |entry| {
            match parse_version_path(&entry.path) {
                Some(name) => names.push(name),
                None if is_record_path(&entry.path) => {}
                None => listing.ignore(entry.path),
            }
            Ok(())
        })?;
        names.sort();
        for batch in names.chunks(BATCH) {
            self.soon(batch.iter().map(version_path), MAX_ENVELOPE);
            let mut entries = Vec::new();
            for name in batch {
                match self.version_entry(name, policy, retirements) {
                    Ok(entry) => entries.push(entry),
                    Err(error @ Error::Storage { .. }) => return Err(error),
                    Err(error) => listing.skip(version_path(name), error),
                }
            }
            self.soon(entries.iter().map(|entry| manifest_path(entry.digest)), MAX_MANIFEST);
            for entry in entries {
                let size = self.size(entry.digest);
                listing.versions.push(VersionEntry { size, ..entry });
            }
        }
        Ok(listing)
    }

    /// Tells that these small objects will be read next.
    pub(super) fn soon(&self, paths: impl Iterator<Item = String>, cap: u64) {
        let paths: Vec<_> = paths.collect();
        self.store.soon(&paths.iter().map(|path| Soon::Read { path, cap }).collect::<Vec<_>>());
    }

    /// What a version record says; not yet how large the artifact is.
    fn version_entry(&self, name: &VersionName, policy: &Policy, retirements: &Retirements) -> Result<VersionEntry> {
        let envelope = self.demand(&version_path(name), MAX_ENVELOPE)?;
        let record = policy.version_record(&envelope, name)?;
        let digest = record.subject.blake3;
        let (created, signers) = (record.predicate.created().to_owned(), record.signers().to_vec());
        let retired = retirements.get(name, digest).cloned();
        Ok(VersionEntry { name: name.clone(), digest, created, signers, retired, size: None })
    }

    /// Number of streams and encrypted length of an artifact, if its manifest is good.
    fn size(&self, digest: ArtifactDigest) -> Option<(usize, u64)> {
        let manifest = self.store.read(&manifest_path(digest), MAX_MANIFEST).ok().flatten();
        let manifest = Manifest::parse(&manifest.filter(|bytes| ArtifactDigest::of(bytes) == digest)?).ok()?;
        Some((manifest.streams.len(), manifest.sealed_len()))
    }
}

/// Paths of records that are no version records: promotions.
pub(super) fn is_record_path(path: &str) -> bool {
    parse_promotion_path(path).is_some()
}

/// `models/<model>/channels/<channel>/<generation>.dsse.json`
pub(super) fn parse_promotion_path(path: &str) -> Option<(ChannelName, u64)> {
    let (model, rest) = path.strip_prefix("models/")?.split_once("/channels/")?;
    let (channel, file) = rest.split_once('/')?;
    let number: u64 = file.strip_suffix(".dsse.json")?.parse().ok()?;
    Some((format!("{model}@{channel}").parse().ok()?, number)).filter(|_| number > 0)
}

/// `models/<model>/versions/<version>.dsse.json`
pub(super) fn parse_version_path(path: &str) -> Option<VersionName> {
    let (model, version) = path.strip_prefix("models/")?.strip_suffix(".dsse.json")?.rsplit_once("/versions/")?;
    Some(VersionName { model: model.parse().ok()?, version: version.parse().ok()? })
}
