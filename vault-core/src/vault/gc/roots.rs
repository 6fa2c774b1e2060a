//! What is kept: everything that a version, a channel, a proposal or a session can reach.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::{Event, Kept, Reporter, Round, documents::may_be_condemned, sessions::Claims};
use crate::{
    error::{Error, Place, Result},
    names::{ArtifactDigest, VersionName},
    parts::object_path,
    provenance::{MAX_ENVELOPE, Statement, VersionRecord},
    vault::{fsck::parse_manifest_path, listing::parse_version_path, manifest_path, retire::Retirements, version_path},
};

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Artifacts that are kept with all they name.
    artifacts: HashSet<[u8; 32]>,
    /// Artifacts that were published: their documents are kept, whatever becomes of their contents.
    published: HashSet<[u8; 32]>,
    /// Content objects.
    objects: HashSet<[u8; 32]>,
    /// Whether something could not be read that may name any artifact, so that all of them are kept.
    holds_all: bool,
    /// Whether a manifest could not be read that may name any content object, so that all of them are kept.
    holds_contents: bool,
    /// Artifacts whose manifests could not be read, each reported once.
    unreadable: HashSet<[u8; 32]>,
}

/// Objects that may go, by their paths.
pub(super) type Paths = BTreeMap<String, Garbage>;

/// What is known of an object that may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Garbage {
    /// Its length in bytes.
    pub(super) size: u64,
    /// When the store got it.
    pub(super) modified: Timestamp,
}

impl Reach {
    pub(super) fn artifacts(&self) -> u64 {
        self.artifacts.len() as u64
    }

    /// Whether this path of an object or artifact is kept.
    pub(super) fn keeps(&self, path: &str) -> bool {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["objects", ..] if self.holds_contents => true,
            ["objects", _, name] => digest(name).is_none_or(|name| self.objects.contains(&name)),
            ["artifacts", ..] if self.holds_all => true,
            ["artifacts", artifact, ..] => {
                digest(artifact).is_none_or(|a| self.artifacts.contains(&a) || self.published.contains(&a))
            }
            _ => true,
        }
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    ArtifactDigest::from_hex(hex).ok().map(|digest| *digest.hash().as_bytes())
}

impl Round<'_, '_> {
    /// Adds everything that counts to what is kept.
    pub(super) fn mark(&mut self, claims: &Claims, reach: &mut Reach, report: Reporter<'_>) -> Result<()> {
        let retirements = self.retirements(report)?;
        reach.holds_all |= claims.may_be_any;
        // Where all are kept, so are these.
        for artifact in claims.pins().filter(|_| !claims.may_be_any) {
            self.keep_if_there(artifact, reach, report)?;
        }
        for artifact in claims.committed.iter().copied() {
            reach.published.insert(*artifact.hash().as_bytes());
            self.keep_or_hold(artifact, reach, report)?;
        }
        for artifact in self.vault.proposed(self.since)? {
            self.keep_if_there(artifact, reach, report)?;
        }
        let mut names = Vec::new();
        self.vault.store().list("models", &mut |entry| {
            names.extend(parse_version_path(&entry.path).filter(|name| version_path(name) == entry.path));
            self.go_on()
        })?;
        for name in names {
            let artifact = match self.version(&name) {
                Ok(artifact) => artifact,
                Err(error @ Error::Corrupt { .. }) => {
                    reach.holds_all = true;
                    report(Event::Unreadable { path: version_path(&name), kept: Kept::Artifacts, error })?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            reach.published.insert(*artifact.hash().as_bytes());
            if retirements.contains(&name, artifact) {
                continue;
            }
            match self.keep(artifact, reach) {
                Err(error @ Error::Corrupt { .. }) if self.is_junk(&name)? => {
                    report(Event::Unbelieved { path: version_path(&name), error })?;
                }
                Err(error @ Error::Corrupt { .. }) => hold(artifact, error, reach, report)?,
                other => other?,
            }
        }
        if reach.holds_all {
            self.keep_all(reach, report)?;
        }
        for (channel, pointers) in self.vault.pointers("models")? {
            let mut from = None;
            for pointer in pointers {
                if retirements.contains(&pointer.name, pointer.artifact) {
                    let current = match (from, &mut self.gate) {
                        (Some(from), _) => from,
                        (None, Some(gate)) => gate.current_from(&channel)?,
                        // Without a trust root nobody can tell which promotion is in force.
                        (None, None) => 0,
                    };
                    from = Some(current);
                    if pointer.generation < current {
                        continue;
                    }
                }
                self.keep_if_there(pointer.artifact, reach, report)?;
            }
        }
        Ok(())
    }

    /// The retirements that are older than the grace.
    fn retirements(&self, report: Reporter<'_>) -> Result<Retirements> {
        let Some(policy) = &self.policy else { return Ok(Retirements::default()) };
        let (found, ignored) = self.vault.retirements(policy, Some(self.since))?;
        ignored.into_iter().try_for_each(|(path, error)| report(Event::Ignored { path, error }))?;
        Ok(found)
    }

    /// The artifact of a version, whoever signed its record.
    fn version(&self, name: &VersionName) -> Result<ArtifactDigest> {
        self.go_on()?;
        let path = version_path(name);
        let read = || {
            let envelope = self.vault.record(&path)?;
            Ok(Statement::<VersionRecord>::parse(envelope.payload())?.subject.blake3)
        };
        read().map_err(|error: Error| error.at(Place::Object(path.clone())))
    }

    /// Whether nobody who goes by the trust root would open what a version record names. Where there is none, nobody can tell.
    fn is_junk(&self, name: &VersionName) -> Result<bool> {
        let (Some(policy), Some(_)) = (&self.policy, &self.gate) else { return Ok(false) };
        let envelope = self.vault.demand(&version_path(name), MAX_ENVELOPE)?;
        Ok(matches!(policy.version_record(&envelope, name), Err(Error::Untrusted { .. })))
    }

    /// Keeps every artifact that is there.
    fn keep_all(&self, reach: &mut Reach, report: Reporter<'_>) -> Result<()> {
        let mut found = Vec::new();
        self.vault.store().list("artifacts", &mut |entry| {
            found.extend(parse_manifest_path(&entry.path));
            self.go_on()
        })?;
        found.into_iter().try_for_each(|artifact| self.keep_or_hold(artifact, reach, report))
    }

    /// Keeps what is not demanded to be there: junk in a channel names anything, and a writer that pins an artifact may not
    /// have stored its manifest yet. It then asks what is condemned before it builds on anything.
    fn keep_if_there(&self, artifact: ArtifactDigest, reach: &mut Reach, report: Reporter<'_>) -> Result<()> {
        let is_there = self.vault.store().stat(&manifest_path(artifact))?.is_some();
        if is_there { self.keep_or_hold(artifact, reach, report) } else { Ok(()) }
    }

    /// Keeps an artifact; if nobody can tell what that is, whatever it may be.
    fn keep_or_hold(&self, artifact: ArtifactDigest, reach: &mut Reach, report: Reporter<'_>) -> Result<()> {
        match self.keep(artifact, reach) {
            Err(error @ Error::Corrupt { .. }) => hold(artifact, error, reach, report),
            other => other,
        }
    }

    fn keep(&self, artifact: ArtifactDigest, reach: &mut Reach) -> Result<()> {
        self.go_on()?;
        if reach.artifacts.contains(artifact.hash().as_bytes()) {
            return Ok(());
        }
        let path = manifest_path(artifact);
        let manifest = self.vault.unsigned_manifest(artifact).map_err(|error| error.at(Place::Object(path)))?;
        // Only now: one that cannot be read must be noticed by everybody who needs it.
        reach.artifacts.insert(*artifact.hash().as_bytes());
        reach.objects.extend(manifest.objects().map(|(name, _)| *name.as_bytes()));
        Ok(())
    }

    /// What nothing reaches and is older than the cutoff. An artifact with anything young in its folder is kept.
    pub(super) fn condemn(&self, reach: &mut Reach, report: Reporter<'_>) -> Result<Paths> {
        let mut condemned = self.condemned_artifacts(reach, report)?;
        self.vault.store().list("objects", &mut |entry| {
            if entry.modified < self.cutoff && may_be_condemned(&entry.path) && !reach.keeps(&entry.path) {
                condemned.insert(entry.path, Garbage { size: entry.size, modified: entry.modified });
            }
            self.go_on()
        })?;
        Ok(condemned)
    }

    fn condemned_artifacts(&self, reach: &mut Reach, report: Reporter<'_>) -> Result<Paths> {
        #[derive(Default)]
        struct Folder {
            is_young: bool,
            paths: Paths,
        }
        let mut folders: HashMap<[u8; 32], Folder> = HashMap::new();
        self.vault.store().list("artifacts", &mut |entry| {
            let artifact = entry.path.split('/').nth(1).and_then(digest);
            if let Some(artifact) = artifact.filter(|_| !reach.keeps(&entry.path)) {
                let folder = folders.entry(artifact).or_default();
                folder.is_young |= entry.modified >= self.cutoff;
                if may_be_condemned(&entry.path) {
                    folder.paths.insert(entry.path, Garbage { size: entry.size, modified: entry.modified });
                }
            }
            self.go_on()
        })?;
        let mut condemned = Paths::new();
        for (artifact, Folder { is_young, paths }) in folders {
            let artifact = ArtifactDigest::from(blake3::Hash::from_bytes(artifact));
            if !is_young {
                condemned.extend(paths);
            } else if paths.contains_key(&manifest_path(artifact)) {
                match self.keep(artifact, reach) {
                    // Its folder stays because it is young. Nothing that counts names it: what a writer at work needs is kept by
                    // its lease, and no other can publish it any more.
                    Err(error @ Error::Corrupt { .. }) => {
                        report(Event::Unreadable { path: manifest_path(artifact), kept: Kept::Itself, error })?;
                    }
                    other => other?,
                }
            }
        }
        Ok(condemned)
    }
}

/// Keeps whatever an artifact may name whose manifest cannot be read, and what is left of it.
fn hold(artifact: ArtifactDigest, error: Error, reach: &mut Reach, report: Reporter<'_>) -> Result<()> {
    let digest = *artifact.hash().as_bytes();
    reach.holds_contents = true;
    reach.published.insert(digest);
    if !reach.unreadable.insert(digest) {
        return Ok(());
    }
    report(Event::Unreadable { path: manifest_path(artifact), kept: Kept::Contents, error })
}

impl crate::vault::Vault {
    /// The paths of everything that an artifact consists of: its manifest and the objects that this names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the manifest is not there or damaged; [`Error::Storage`].
    pub fn paths_of(&self, artifact: ArtifactDigest) -> Result<Vec<String>> {
        let manifest = self.unsigned_manifest(artifact)?;
        let objects = manifest.objects().map(|(name, _)| object_path(&name));
        Ok(std::iter::once(manifest_path(artifact)).chain(objects).collect())
    }
}
