//! Looking over a whole vault: what is missing, damaged, or belongs to nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    Retirements, VAULT_JSON, Vault, gc,
    listing::parse_version_path,
    manifest_path,
    naming::ObjectName,
    repair::{Mender, Tried},
    session, version_path,
};
use crate::{
    error::{Error, Fault, Result},
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, VersionName},
    parts::object_path,
    provenance::{Envelope, MAX_ENVELOPE, Statement, VersionRecord},
    store::Entry,
    trust::{Policy, Verified},
    verify::{self, Flaw, Sound},
    workers::{Progress, Threads},
};

mod records;

/// Where a registry keeps its own records, which are its own business.
const REGISTRY: &str = "server/";

/// Something that is not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Bytes that are not what a manifest says, or are not there at all.
    Damaged {
        /// The artifact.
        artifact: ArtifactDigest,
        /// The path of the object.
        object: String,
        /// Where, and what.
        error: Error,
    },
    /// An artifact has so many flaws that the others are only counted.
    MoreDamage {
        /// The artifact.
        artifact: ArtifactDigest,
        /// How many.
        count: u64,
    },
    /// Something that cannot be read, so that nothing is known about it.
    Unreadable {
        /// The path of the object, or of the folder that cannot be listed; empty for the vault itself.
        path: String,
        /// Why not: an [`Error::Storage`].
        error: Error,
    },
    /// A version whose record cannot be read or whose manifest is not there.
    BrokenVersion {
        /// The version.
        name: VersionName,
        /// What is wrong.
        error: Error,
    },
    /// A small signed record that is none, or not what its path says: damaged, or planted, which nobody can tell who does not
    /// know what it was. Readers pass over it.
    BrokenRecord {
        /// Its path.
        path: String,
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
    /// Something that was damaged or missing and was taken from another vault.
    Repaired {
        /// Its path.
        path: String,
        /// Its length in bytes.
        size: u64,
    },
    /// Something that is damaged or missing and that the other vault has no better.
    Unrepaired {
        /// Its path.
        path: String,
        /// Why not.
        error: Error,
    },
    /// An artifact all of whose versions are retired, if the records of that count, and contents of which are gone.
    Collected {
        /// The artifact.
        artifact: ArtifactDigest,
        /// Its versions.
        names: Vec<VersionName>,
    },
    /// Something that has no place in a vault.
    Foreign {
        /// Its path.
        path: String,
    },
}

impl Finding {
    /// Whether something that was published cannot be opened any more, or a record may be lost that said something about it.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::MoreDamage { .. } | Self::BrokenVersion { .. } | Self::BrokenRecord { .. }
        )
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
    /// Checks every artifact against its manifest, and whether every record is one, and reports all that is not as it should
    /// be. It says nothing about who signed anything: that is what verifying is for. Every part is read once, however many
    /// artifacts share it.
    ///
    /// # Errors
    /// [`Error::Storage`] if `progress` asks to stop, and what `report` returns. What cannot be read is reported; whether
    /// something is unpublished or an orphan is then not said, because it cannot be known.
    pub fn fsck(
        &self,
        threads: Threads,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<Report> {
        Look::new(self, threads, progress, None).over_all(report)
    }

    /// The artifact a version record names, if its manifest is there.
    fn named_artifact(&self, name: &VersionName) -> Result<ArtifactDigest> {
        let envelope = Envelope::parse_record(&self.demand(&version_path(name), MAX_ENVELOPE)?)?;
        let digest = Statement::<VersionRecord>::parse(envelope.payload())?.subject.blake3;
        self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        Ok(digest)
    }

    pub(super) fn unsigned_manifest(&self, artifact: ArtifactDigest) -> Result<Verified<Manifest>> {
        let bytes = self.demand(&manifest_path(artifact), MAX_MANIFEST)?;
        Policy::InsecureSkipSignature.unsigned_manifest(artifact, &bytes)
    }
}

pub(super) type Reporter<'a> = &'a mut dyn FnMut(Finding) -> Result<()>;

/// One look over a vault.
pub(super) struct Look<'a> {
    vault: &'a Vault,
    mender: Option<Mender<'a>>,
    threads: Threads,
    progress: &'a dyn Progress,
    totals: Report,
    /// Whether everything could be read so far.
    is_complete: bool,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        vault: &'a Vault,
        threads: Threads,
        progress: &'a dyn Progress,
        mender: Option<Mender<'a>>,
    ) -> Self {
        Self { vault, mender, threads, progress, totals: Report::default(), is_complete: true }
    }

    pub(super) fn over_all(mut self, report: Reporter<'_>) -> Result<Report> {
        let (mut artifacts, mut versions) = (Vec::new(), Vec::new());
        self.list("", report, &mut |entry, report| {
            if entry.path.starts_with("objects/") || entry.path == VAULT_JSON {
            } else if let Some(digest) = parse_manifest_path(&entry.path) {
                artifacts.push(digest);
            } else if let Some(name) = parse_version_path(&entry.path) {
                versions.push(name);
            } else if !records::is_record_path(&entry.path) && !is_coordination_path(&entry.path) {
                report(Finding::Foreign { path: entry.path })?;
            }
            Ok(())
        })?;
        let is_listed = self.is_complete;
        let mut published: HashMap<[u8; 32], Vec<VersionName>> = HashMap::new();
        for name in versions {
            self.totals.versions += 1;
            self.go_on()?;
            if let Some(mender) = self.mender {
                mender.version(&name, report)?;
            }
            if let Some(missing) = self.mend_manifest(&name, report)?.filter(|digest| !artifacts.contains(digest)) {
                artifacts.push(missing);
            }
            match self.vault.named_artifact(&name) {
                Ok(digest) => {
                    published.entry(*digest.hash().as_bytes()).or_default().push(name);
                }
                Err(error @ Error::Storage { .. }) => self.unreadable(version_path(&name), error, report)?,
                Err(error) => report(Finding::BrokenVersion { name, error })?,
            }
        }
        if let Some(mender) = self.mender.filter(|_| self.is_complete) {
            let unnamed = artifacts.iter().map(|digest| *digest.hash().as_bytes());
            let unnamed: HashSet<_> = unnamed.filter(|digest| !published.contains_key(digest)).collect();
            for (name, digest) in mender.missing_versions(&unnamed, report)? {
                self.totals.versions += 1;
                published.entry(*digest.hash().as_bytes()).or_default().push(name);
            }
        }
        let retirements = match self.retirements() {
            Err(error @ Error::Storage { .. }) => {
                self.unreadable("retired".into(), error, report)?;
                Retirements::default()
            }
            other => other?,
        };
        let (mut used, mut sound) = (HashSet::new(), Sound::default());
        for artifact in artifacts {
            self.totals.artifacts += 1;
            self.go_on()?;
            let is_unpublished = self.is_complete && !published.contains_key(artifact.hash().as_bytes());
            if is_unpublished {
                report(Finding::Unpublished { artifact })?;
            }
            if let Some(mender) = self.mender {
                mender.manifest(artifact, report)?;
            }
            match self.vault.unsigned_manifest(artifact) {
                Ok(manifest) => {
                    used.extend(manifest.objects().map(|(name, _)| *name.as_bytes()));
                    let names = published.get(artifact.hash().as_bytes()).map_or(&[][..], Vec::as_slice);
                    if let Some(mender) = self.mender {
                        mender.beside(artifact, names, report)?;
                    }
                    let is_retired = !names.is_empty() && names.iter().all(|name| retirements.contains(name, artifact));
                    // Contents of what was never published may be gone, too: its writer stood still, was ended by garbage
                    // collection, and stored the manifest before it noticed.
                    let is_collected = (is_retired || is_unpublished) && self.is_collected(&manifest)?;
                    if is_collected && is_retired {
                        report(Finding::Collected { artifact, names: names.to_vec() })?;
                    } else if !is_collected {
                        self.over_contents(
                            artifact,
                            (&manifest, !names.is_empty() || !self.is_complete),
                            &mut sound,
                            report,
                        )?;
                    }
                }
                Err(error @ Error::Storage { .. }) => self.unreadable(manifest_path(artifact), error, report)?,
                Err(error) => report(Finding::Damaged { artifact, object: manifest_path(artifact), error })?,
            }
        }
        let (mut objects, all_known) = (0, self.is_complete);
        self.list("objects", report, &mut |entry, report| {
            objects += 1;
            let name = entry.path.rsplit('/').next().and_then(|hex| ArtifactDigest::from_hex(hex).ok());
            match name.filter(|name| object_path(&name.hash()) == entry.path) {
                None => report(Finding::Foreign { path: entry.path }),
                Some(name) if !all_known || used.contains(name.hash().as_bytes()) => Ok(()),
                Some(_) => report(Finding::Orphan { path: entry.path, size: entry.size }),
            }
        })?;
        self.over_records(is_listed, report)?;
        Ok(Report { objects, ..self.totals })
    }

    /// What is retired. Whoever mends says whose word counts; a claim by anybody would keep contents from being mended.
    fn retirements(&self) -> Result<Retirements> {
        match self.mender {
            Some(mender) => mender.retirements(),
            None => self.vault.claimed_retirements(),
        }
    }

    /// Whether contents of an artifact are missing. What is left of one that was collected is not looked at.
    fn is_collected(&self, manifest: &Manifest) -> Result<bool> {
        for (name, _) in manifest.objects() {
            self.go_on()?;
            // What cannot be looked at is reported when it is read.
            if let Ok(None) = self.vault.store.stat(&object_path(&name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn over_contents(
        &mut self,
        artifact: ArtifactDigest,
        (manifest, is_published): (&Verified<Manifest>, bool),
        sound: &mut Sound,
        report: Reporter<'_>,
    ) -> Result<()> {
        let mut survey = verify::damage(manifest, &self.vault.store, self.threads, self.progress, sound)?;
        self.totals.bytes += survey.bytes;
        let mut tried = Tried::new();
        // A tree that is mended shows which of its parts are damaged: as long as something is mended, it is looked at again.
        while let Some(mender) = self.mender {
            let is_damage = |flaw: &&Flaw| matches!(flaw.error, Error::Corrupt { .. });
            let damaged: BTreeSet<_> = survey.flaws.iter().filter(is_damage).map(|flaw| flaw.object.clone()).collect();
            if damaged.is_empty() || !mender.contents(manifest, &damaged, &mut tried, report)? {
                break;
            }
            survey = verify::damage(manifest, &self.vault.store, self.threads, self.progress, sound)?;
            self.totals.bytes += survey.bytes;
        }
        for Flaw { object, error } in survey.flaws {
            match error {
                Error::Storage { .. } => report(Finding::Unreadable { path: object, error })?,
                // A copy stores the manifest first, and may have been interrupted.
                Error::Corrupt { fault: Fault::Missing, .. } if !is_published => {}
                error => report(Finding::Damaged { artifact, object, error })?,
            }
        }
        if survey.more > 0 { report(Finding::MoreDamage { artifact, count: survey.more }) } else { Ok(()) }
    }

    /// The artifact of a version whose manifest was not there and was mended.
    fn mend_manifest(&self, name: &VersionName, report: Reporter<'_>) -> Result<Option<ArtifactDigest>> {
        let Some(mender) = self.mender else { return Ok(None) };
        let Ok(envelope) = self.vault.record(&version_path(name)) else { return Ok(None) };
        let Ok(statement) = Statement::<VersionRecord>::parse(envelope.payload()) else { return Ok(None) };
        let digest = statement.subject.blake3;
        mender.manifest(digest, report)?;
        Ok(self.vault.store.stat(&manifest_path(digest))?.map(|_| digest))
    }

    /// A record or manifest that cannot be read: what it names cannot be told from what nothing names.
    fn unreadable(&mut self, path: String, error: Error, report: Reporter<'_>) -> Result<()> {
        self.is_complete = false;
        report(Finding::Unreadable { path, error })
    }

    /// Lists as far as the store can.
    fn list(
        &mut self,
        prefix: &str,
        report: Reporter<'_>,
        each: &mut dyn FnMut(Entry, Reporter<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut is_ours = false;
        let listed = self.vault.store.list(prefix, &mut |entry| {
            let result = each(entry, &mut *report).and_then(|()| self.go_on());
            is_ours = result.is_err();
            result
        });
        match listed {
            Err(error @ Error::Storage { .. }) if !is_ours => self.unreadable(prefix.to_owned(), error, report),
            other => other,
        }
    }

    fn go_on(&self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::storage("operation")(std::io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }
}

pub(super) fn parse_manifest_path(path: &str) -> Option<ArtifactDigest> {
    let hex = path.strip_prefix("artifacts/")?.strip_suffix("/manifest.json")?;
    ArtifactDigest::from_hex(hex).ok()
}

/// What writers and garbage collection tell one another, the log, and what a registry keeps for itself.
fn is_coordination_path(path: &str) -> bool {
    let of_the_log = || {
        let name = ObjectName::parse(path);
        matches!(name, Some(ObjectName::LogEntries(_) | ObjectName::LogTree(_) | ObjectName::LogProof(_)))
    };
    path.starts_with(REGISTRY)
        || session::parse_path(path).is_some()
        || gc::runs::parse_path(path).is_some()
        || of_the_log()
}
