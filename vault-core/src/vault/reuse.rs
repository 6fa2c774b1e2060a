//! Reusing what an earlier version holds: whom that discloses it to, whether it is there, and whether it is what it is said
//! to be.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Artifact, Vault, listing::BATCH, stem, version_path};
use crate::{
    error::{Error, Fault, Place, Result},
    index::{Index, Region},
    keys::KeyId,
    manifest::Manifest,
    names::{ArtifactDigest, ModelName, VersionName},
    open::{self, Opened},
    parts::object_path,
    provenance::MAX_ENVELOPE,
    safetensors,
    seal::{Basis, Reuse},
    stream::Dek,
    trust::Policy,
    workers::{self, Progress, Threads},
    wrap::{Audience, Keyring},
};

mod cache;

pub use cache::ReuseCache;

/// What a seal does so that unchanged data is not stored twice.
#[derive(Debug, Clone, Copy, Default)]
pub enum Deduplication<'a> {
    /// Nothing.
    #[default]
    None,
    /// Later versions can reuse this one.
    Reusable,
    /// It reuses an earlier version, and later ones can reuse it.
    Reuse(&'a Previous),
}

/// What to do if reuse would show somebody more than the new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disclosure {
    /// Refuse.
    #[default]
    Refuse,
    /// Go on: somebody decided that they may see it.
    Allow,
}

/// How an earlier version is known.
#[derive(Debug)]
pub enum Knowledge<'a> {
    /// By its own index, which these keys open.
    Opened(&'a Keyring, open::Options),
    /// By what this machine remembers of having sealed it.
    Remembered(&'a ReuseCache),
}

/// Whether bytes that are reused are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comparison {
    /// Digests are compared; who signed the earlier version is believed about them.
    #[default]
    Digests,
    /// What is reused is decrypted and digested again.
    Bytes,
}

/// An earlier version of which streams may be reused.
#[derive(Debug)]
pub struct Previous {
    artifact: Artifact,
    basis: Basis,
    /// Who can open it.
    holders: Vec<KeyId>,
    /// Its key and index, if they are known.
    opened: Option<(Dek, Index, open::Options)>,
    disclosure: Disclosure,
    comparison: Comparison,
}

impl Vault {
    /// Looks at a version to reuse, which is verified already.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it was not sealed to be reused; [`Error::NotFound`] if nothing is remembered of it; as
    /// [`Vault::unlock`], [`Vault::access`] and [`Opened::new`].
    pub fn previous(&self, artifact: &Artifact, policy: &Policy, knowledge: &Knowledge<'_>) -> Result<Previous> {
        let access = self.access(artifact, policy)?;
        let holders = access.stanzas.iter().filter_map(crate::recipients::Stanza::key_id).collect();
        let (basis, opened) = match knowledge {
            Knowledge::Remembered(cache) => (cache.load(artifact)?, None),
            Knowledge::Opened(ring, options) => {
                let dek = self.unlock(artifact, policy, ring)?;
                let index = Opened::new(&artifact.manifest, dek.clone(), &self.store, *options)?.index().clone();
                (Basis::of_index(&artifact.manifest, &dek, &index)?, Some((dek, index, *options)))
            }
        };
        if basis.is_empty() {
            return Err(Error::Misuse(format!(
                "{} was not sealed to be reused: it has no digests to find unchanged data by",
                artifact.digest
            )));
        }
        let artifact = artifact.clone();
        Ok(Previous {
            artifact,
            basis,
            holders,
            opened,
            disclosure: Disclosure::Refuse,
            comparison: Comparison::Digests,
        })
    }

    /// The version of a model whose record says it is the latest.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none that `policy` accepts; [`Error::Storage`].
    pub fn latest(&self, model: &ModelName, policy: &Policy) -> Result<VersionName> {
        let name = |version: &str| Some(VersionName { model: model.clone(), version: version.parse().ok()? });
        let folder = format!("models/{model}/versions");
        let mut names = Vec::new();
        self.store.list(&folder, &mut |entry| {
            names.extend(stem(&entry.path, &folder).and_then(name));
            Ok(())
        })?;
        let mut latest: Option<(String, VersionName)> = None;
        for batch in names.chunks(BATCH) {
            self.soon(batch.iter().map(version_path), MAX_ENVELOPE);
            for name in batch {
                let record = self.demand(&version_path(name), MAX_ENVELOPE);
                match record.and_then(|bytes| policy.version_record(&bytes, name)) {
                    Ok(record) => {
                        // Times have one spelling, so they compare as text.
                        let found = (record.predicate.created().to_owned(), name.clone());
                        let is_later = latest.as_ref().is_none_or(|(time, name)| {
                            (time, name.version.as_str()) < (&found.0, found.1.version.as_str())
                        });
                        if is_later {
                            latest = Some(found);
                        }
                    }
                    Err(error @ Error::Storage { .. }) => return Err(error),
                    // Whoever may write to the store can put records there that do not count.
                    Err(_) => {}
                }
            }
        }
        let none = || Error::NotFound { what: format!("a version of {model} that counts") };
        latest.map(|(_, name)| name).ok_or_else(none)
    }

    /// Every object of these artifacts, by path: what garbage collection must not take once a session relies on it.
    pub(super) fn relied_on(&self, pins: &[ArtifactDigest]) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for digest in pins {
            let manifest = self.unsigned_manifest(*digest)?;
            paths.extend(manifest.objects().map(|(name, _)| object_path(&name)));
        }
        Ok(paths)
    }

    /// Whether all objects of reused streams are there, at their full length. Their bytes are for verification.
    pub(super) fn check_reused(&self, manifest: &Manifest, threads: Threads, progress: &dyn Progress) -> Result<()> {
        let objects: Vec<_> = manifest.reused_streams().flat_map(|(_, stream, _)| stream.objects()).collect();
        let next = AtomicUsize::new(0);
        workers::run(threads, progress, |stop| {
            while !stop.requested()? {
                let Some((name, expected)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let path = object_path(name);
                let fault = match self.store.stat(&path)? {
                    None => Fault::Missing,
                    Some(entry) if entry.size != *expected => Fault::Length { expected: *expected, found: entry.size },
                    Some(_) => continue,
                };
                return Err(Error::Corrupt { place: Place::Object(path), fault });
            }
            Ok(())
        })
    }

    /// Whether giving the key of an artifact to somebody new shows more than its files: what else is in the streams that it
    /// reuses.
    pub(super) fn check_sharing(&self, artifact: &Artifact, dek: &Dek, disclosure: Disclosure) -> Result<()> {
        if disclosure == Disclosure::Allow || artifact.manifest.reused_streams().next().is_none() {
            return Ok(());
        }
        let opened = Opened::new(&artifact.manifest, dek.clone(), &self.store, open::Options::default())?;
        let mut used: BTreeMap<u32, u64> = BTreeMap::new();
        for extent in opened.index().files().iter().flat_map(|file| &file.extents) {
            *used.entry(extent.stream).or_default() += extent.length;
        }
        // Extents do not overlap, so their sum tells.
        let unused = |(number, stream, _): (u32, &crate::manifest::Stream, _)| {
            stream.layout.plaintext_len() - used.get(&number).copied().unwrap_or_default()
        };
        match artifact.manifest.reused_streams().map(unused).sum() {
            0u64 => Ok(()),
            bytes => Err(Error::Misuse(format!(
                "{} reuses streams of an earlier version, and whoever can open it can read {bytes} bytes of that version that are not in it",
                artifact.digest
            ))),
        }
    }
}

impl Deduplication<'_> {
    /// Refuses what would disclose too much; before anything is read.
    pub(super) fn check(&self, audience: &Audience) -> Result<()> {
        match self {
            Self::Reuse(previous) => previous.check_disclosure(audience),
            Self::None | Self::Reusable => Ok(()),
        }
    }

    /// The artifacts that a session has to pin from now until the version is published: garbage collection must not take
    /// what is relied on.
    pub(super) fn pins(&self) -> Vec<ArtifactDigest> {
        match self {
            Self::Reuse(previous) => vec![previous.artifact.digest],
            Self::None | Self::Reusable => Vec::new(),
        }
    }

    /// The same for the pipeline.
    pub(super) fn reuse(&self) -> Reuse<'_> {
        match self {
            Self::None => Reuse::No,
            Self::Reusable => Reuse::Later(tensor_lengths),
            Self::Reuse(previous) => Reuse::Of(&previous.basis, tensor_lengths),
        }
    }
}

impl Previous {
    /// What to do about recipients who cannot open it.
    #[must_use]
    pub fn with_disclosure(self, disclosure: Disclosure) -> Self {
        Self { disclosure, ..self }
    }

    /// Whether to look at the bytes.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they are to be looked at and the version is known from memory only.
    pub fn with_comparison(self, comparison: Comparison) -> Result<Self> {
        if comparison == Comparison::Bytes && self.opened.is_none() {
            return Err(Error::Misuse("to decrypt what is reused takes a key that opens it".into()));
        }
        Ok(Self { comparison, ..self })
    }

    /// The artifact.
    pub fn digest(&self) -> ArtifactDigest {
        self.artifact.digest
    }

    /// What can be found in it.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    fn check_disclosure(&self, audience: &Audience) -> Result<()> {
        if self.disclosure == Disclosure::Allow {
            return Ok(());
        }
        let digest = self.artifact.digest;
        let stranger = audience.recipients.iter().find(|recipient| !self.holders.contains(&recipient.key_id()));
        if let Some(stranger) = stranger {
            let id = stranger.key_id();
            return Err(Error::Misuse(format!(
                "recipient {id} cannot open {digest}, and would get keys of its streams"
            )));
        }
        if !audience.passphrases.is_empty() {
            return Err(Error::Misuse(format!(
                "whoever knows the passphrase would get keys of streams of {digest}, and nobody can tell whether they have them"
            )));
        }
        Ok(())
    }

    /// Decrypts every region that `index` reuses and digests it again, if that was asked for: the digests were a claim of
    /// whoever signed the earlier version.
    pub(super) fn compare(
        &self,
        vault: &Vault,
        manifest: &Manifest,
        index: &Index,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some((dek, old, options)) = self.opened.as_ref().filter(|_| self.comparison == Comparison::Bytes) else {
            return Ok(());
        };
        let reused = reused_regions(manifest, index);
        let opened = Opened::new(&self.artifact.manifest, dek.clone(), &vault.store, *options)?;
        for file in old.files() {
            let mut at = 0;
            for region in &file.regions {
                let range = at..at + region.length;
                at = range.end;
                if !reused.contains(region) {
                    continue;
                }
                let hasher = Mutex::new(blake3::Hasher::new());
                let mut take = |bytes: &[u8]| {
                    hasher.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
                    Ok(())
                };
                opened.stream(file, range, &mut take, &Quiet(progress))?;
                if hasher.into_inner().unwrap_or_else(PoisonError::into_inner).finalize() != region.blake3 {
                    return Err(Error::Untrusted {
                        what: self.artifact.digest.to_string(),
                        why: "has digests in its index that are not those of its bytes: whoever signed it did not tell the truth",
                    });
                }
            }
        }
        Ok(())
    }
}

/// The regions of files that lie in reused streams and nowhere else.
fn reused_regions(manifest: &Manifest, index: &Index) -> HashSet<Region> {
    let reused: HashSet<u32> = manifest.reused_streams().map(|(number, _, _)| number).collect();
    let mut found = HashSet::new();
    for file in index.files() {
        // Where reused bytes begin and end in the file.
        let (mut at, mut bounds) = (0u64, Vec::new());
        for extent in &file.extents {
            if reused.contains(&extent.stream) {
                bounds.push(at..at + extent.length);
            }
            at += extent.length;
        }
        let mut start = 0;
        for region in &file.regions {
            let first = bounds.partition_point(|range| range.end <= start);
            if bounds.get(first).is_some_and(|range| range.start <= start) {
                found.insert(*region);
            }
            start += region.length;
        }
    }
    found
}

/// Passes on that a caller wants to stop.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn advance(&self, _: u64) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

fn tensor_lengths(header: &[u8], data_len: u64) -> Option<Vec<u64>> {
    let tensors = safetensors::parse(header, data_len).ok()?;
    Some(tensors.iter().map(|tensor| tensor.length).collect())
}
