//! Looking over a whole vault: what is missing, damaged, or belongs to nothing.

use std::collections::HashSet;

use super::{
    VAULT_JSON, Vault,
    listing::{is_record_path, parse_version_path},
    manifest_path, version_path,
};
use crate::{
    error::{Error, Result},
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, VersionName},
    parts::object_path,
    provenance::{Envelope, MAX_ENVELOPE, Statement, VersionRecord},
    trust::{Policy, Verified},
    verify,
    workers::{Progress, Threads},
};

/// Something that is not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Bytes that are not what a manifest says, or are not there at all.
    Damaged {
        /// The artifact.
        artifact: ArtifactDigest,
        /// Where, and what.
        error: Error,
    },
    /// A version whose record cannot be read or whose manifest is not there.
    BrokenVersion {
        /// The version.
        name: VersionName,
        /// What is wrong.
        error: Error,
    },
    /// An artifact that no version names: an interrupted seal, or one whose record was removed.
    Unpublished {
        /// The artifact.
        artifact: ArtifactDigest,
    },
    /// An object that no manifest names.
    Orphan {
        /// Its path.
        path: String,
        /// Its length in bytes.
        size: u64,
    },
    /// Something that has no place in a vault.
    Foreign {
        /// Its path.
        path: String,
    },
}

impl Finding {
    /// Whether something that was published cannot be opened any more.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::BrokenVersion { .. })
    }
}

/// What [`Vault::fsck`] looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Versions.
    pub versions: u64,
    /// Artifacts.
    pub artifacts: u64,
    /// Content-addressed objects.
    pub objects: u64,
    /// Bytes of ciphertext that were read and checked.
    pub bytes: u64,
}

impl Vault {
    /// Checks every artifact against its manifest and reports all that is not as it should be. It says nothing about
    /// who signed anything: that is what verifying is for.
    ///
    /// # Errors
    /// [`Error::Storage`] if something cannot be read at all, and what `report` returns.
    pub fn fsck(
        &self,
        threads: Threads,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<Report> {
        let mut totals = Report::default();
        let (mut artifacts, mut versions) = (Vec::new(), Vec::new());
        let mut foreign = Vec::new();
        self.store.list("", &mut |entry| {
            if entry.path.starts_with("objects/") || entry.path == VAULT_JSON {
            } else if let Some(digest) = parse_manifest_path(&entry.path) {
                artifacts.push(digest);
            } else if let Some(name) = parse_version_path(&entry.path) {
                versions.push(name);
            } else if !is_statement_path(&entry.path) {
                foreign.push(entry.path);
            }
            Ok(())
        })?;
        let mut published = HashSet::new();
        for name in versions {
            totals.versions += 1;
            match self.named_artifact(&name) {
                Ok(digest) => {
                    published.insert(*digest.hash().as_bytes());
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => report(Finding::BrokenVersion { name, error })?,
            }
        }
        let mut used = HashSet::new();
        for artifact in artifacts {
            totals.artifacts += 1;
            if !published.contains(artifact.hash().as_bytes()) {
                report(Finding::Unpublished { artifact })?;
            }
            match self.unsigned_manifest(artifact) {
                Ok(manifest) => {
                    used.extend(manifest.objects().map(|(name, _)| *name.as_bytes()));
                    totals.bytes += manifest.sealed_len();
                    self.check_contents(artifact, &manifest, threads, progress, report)?;
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => report(Finding::Damaged { artifact, error })?,
            }
        }
        self.store.list("objects", &mut |entry| {
            totals.objects += 1;
            let name = entry.path.rsplit('/').next().and_then(|hex| ArtifactDigest::from_hex(hex).ok());
            match name.filter(|name| object_path(&name.hash()) == entry.path) {
                None => report(Finding::Foreign { path: entry.path }),
                Some(name) if used.contains(name.hash().as_bytes()) => Ok(()),
                Some(_) => report(Finding::Orphan { path: entry.path, size: entry.size }),
            }
        })?;
        foreign.into_iter().try_for_each(|path| report(Finding::Foreign { path }))?;
        Ok(totals)
    }

    /// The artifact a version record names, if its manifest is there.
    fn named_artifact(&self, name: &VersionName) -> Result<ArtifactDigest> {
        let envelope = Envelope::parse_record(&self.demand(&version_path(name), MAX_ENVELOPE)?)?;
        let digest = Statement::<VersionRecord>::parse(envelope.payload())?.subject.blake3;
        self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        Ok(digest)
    }

    fn unsigned_manifest(&self, artifact: ArtifactDigest) -> Result<Verified<Manifest>> {
        let bytes = self.demand(&manifest_path(artifact), MAX_MANIFEST)?;
        Policy::InsecureSkipSignature.unsigned_manifest(artifact, &bytes)
    }

    /// First all of it at full speed; only if something is wrong, once more to name everything that is.
    fn check_contents(
        &self,
        artifact: ArtifactDigest,
        manifest: &Verified<Manifest>,
        threads: Threads,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<()> {
        match verify::contents(manifest, &self.store, threads, progress) {
            Ok(_) => Ok(()),
            Err(Error::Corrupt { .. }) => verify::damage(manifest, &self.store, &Counted(progress), &mut |error| {
                report(Finding::Damaged { artifact, error })
            }),
            Err(error) => Err(error),
        }
    }
}

/// Stops when the caller wants to, and counts nothing a second time.
struct Counted<'a>(&'a dyn Progress);

impl Progress for Counted<'_> {
    fn advance(&self, _bytes: u64) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

fn parse_manifest_path(path: &str) -> Option<ArtifactDigest> {
    let hex = path.strip_prefix("artifacts/")?.strip_suffix("/manifest.json")?;
    ArtifactDigest::from_hex(hex).ok()
}

/// Recipients and attestations; promotions, proposals, revocations, statements of freshness, trust roots.
fn is_statement_path(path: &str) -> bool {
    let segments: Vec<_> = path.split('/').collect();
    let hex = |text: &str| ArtifactDigest::from_hex(text).is_ok();
    let placed = match segments[..] {
        ["artifacts", artifact, "recipients" | "attestations", _] => hex(artifact),
        ["proposals", proposal, _] => hex(proposal),
        ["trust", version, _] => version.parse::<u64>().is_ok(),
        ["revocations", _] => true,
        ["freshness", .., "channels", _, _] => true,
        _ => is_record_path(path),
    };
    placed && path.ends_with(".dsse.json")
}
