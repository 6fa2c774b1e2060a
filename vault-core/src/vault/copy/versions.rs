//! Versions and artifacts: read from the source, checked against names that are taken, brought to the target.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use super::{Job, Planned, Wanted, chains::out_of_reach, placed, records};
use crate::{
    error::{Error, Result},
    manifest::MAX_MANIFEST,
    names::{ArtifactDigest, ChannelName, ModelName, Reference, VersionName},
    parts::object_path,
    provenance::{MAX_ENVELOPE, Subject},
    store::Created,
    trust::Policy,
    vault::{
        Artifact, Outcome, Session, Shredded, Work,
        chain::is_within_reach,
        listing::{parse_promotion_path, parse_version_path},
        manifest_path, recipients_folder, recipients_path, stem, version_path, versions_folder,
    },
};

/// An artifact of which everything is in the target but its name.
pub(super) struct Arrived<'a> {
    /// Keeps garbage collection away from it, if nothing there names it yet.
    session: Option<Session<'a>>,
    /// Whether its contents are there: they are not if they were collected in the source.
    pub(super) is_whole: bool,
}

impl Arrived<'_> {
    /// One that this copy brought already.
    pub(super) fn before() -> Self {
        Self { session: None, is_whole: true }
    }
}

/// What lies beside a manifest and is to be copied.
struct Documents {
    shreddings: Vec<Planned>,
    shredded: Option<Shredded>,
    recipients: Vec<Planned>,
    attestations: Vec<Planned>,
}

/// The versions of the target's models that were listed, by model and name in lower case.
#[derive(Debug, Default)]
pub(super) struct Twins(HashMap<String, HashMap<String, String>>);

impl<'a> Job<'a> {
    /// The versions and channels of the models that fit, sorted.
    pub(super) fn names(
        &mut self,
        fits: &dyn Fn(&ModelName) -> bool,
    ) -> Result<(BTreeSet<VersionName>, BTreeSet<ChannelName>)> {
        let (mut versions, mut channels) = (BTreeSet::new(), BTreeSet::new());
        let report = &mut self.report;
        self.source.store.list("models", &mut |entry| {
            if let Some(name) = parse_version_path(&entry.path) {
                versions.extend(fits(&name.model).then_some(name));
            } else if let Some((channel, _)) = parse_promotion_path(&entry.path) {
                channels.extend(fits(&channel.model).then_some(channel));
            } else {
                report.skip(entry.path, Error::format("record", "names no version and no promotion"));
            }
            Ok(())
        })?;
        Ok((versions, channels))
    }

    /// The record of a version in the source, judged.
    pub(super) fn version(&self, name: &VersionName) -> Result<Wanted> {
        let path = version_path(name);
        let Some(bytes) = self.source.store.read(&path, MAX_ENVELOPE)? else {
            return Err(Error::NotFound { what: format!("version {name} in {}", self.source.store.describe()) });
        };
        records::envelope(&bytes)?;
        let subject = self.policy.version_record(&bytes, name)?.subject;
        Ok(Wanted { subject, version: Some((name.clone(), Planned::new(path, &bytes))) })
    }

    /// Refuses a version whose name, or its twin in another case, the target has for something else. Every model is
    /// listed once.
    pub(super) fn refuse_taken(&self, wanted: &Wanted, twins: &mut Twins) -> Result<()> {
        let Some((name, record)) = &wanted.version else { return Ok(()) };
        let version = name.version.as_str();
        let there = match twins.0.entry(name.model.to_string()) {
            Entry::Occupied(listed) => listed.into_mut(),
            Entry::Vacant(unlisted) => unlisted.insert(self.versions_there(name)?),
        };
        match there.get(&version.to_ascii_lowercase()) {
            Some(twin) if twin != version => return Err(self.taken(&format!("{}:{twin}", name.model))),
            Some(_) => {}
            // Two versions of the source may be twins themselves: the second one is refused.
            None => {
                there.insert(version.to_ascii_lowercase(), version.to_owned());
            }
        }
        match self.standing(record)? {
            records::Standing::Other(there) => self.demand_same_version(name, &wanted.subject, &there),
            _ => Ok(()),
        }
    }

    /// The versions of a model in the target, by their names in lower case.
    fn versions_there(&self, name: &VersionName) -> Result<HashMap<String, String>> {
        let (folder, mut there) = (versions_folder(name), HashMap::new());
        self.target.store.list(&folder, &mut |entry| {
            if let Some(version) = stem(&entry.path, &folder) {
                let known = there.entry(version.to_ascii_lowercase()).or_insert_with(|| version.to_owned());
                if version == name.version.as_str() {
                    version.clone_into(known);
                }
            }
            Ok(())
        })?;
        Ok(there)
    }

    fn taken(&self, name: &str) -> Error {
        Error::Conflict { what: format!("version {name} in {}", self.target.store.describe()) }
    }

    /// Another record of the same version is as good, if it says the same and counts.
    fn demand_same_version(&self, name: &VersionName, subject: &Subject, there: &[u8]) -> Result<()> {
        match self.policy.version_record(there, name) {
            Ok(record) if record.subject == *subject && records::envelope(there).is_ok() => Ok(()),
            _ => Err(self.taken(&name.to_string())),
        }
    }

    /// Brings an artifact to the target, everything but its name. If nothing there names it yet, a session keeps garbage
    /// collection away from it, also from those of its objects that were there before: so the manifest comes first. Contents
    /// that were collected in the source, because the version was retired, are not demanded; of an artifact that was
    /// shredded, in the source or in the target, no wrapped key travels.
    pub(super) fn artifact(&mut self, wanted: &Wanted) -> Result<Arrived<'a>> {
        let digest = wanted.subject.blake3;
        let path = manifest_path(digest);
        let bytes = self.source.demand(&path, MAX_MANIFEST)?;
        if Subject::of(&bytes) != wanted.subject {
            return Err(records::damaged(placed(self.source, &path), "is not what its version record names"));
        }
        let manifest = Policy::InsecureSkipSignature.unsigned_manifest(digest, &bytes)?;
        let name = wanted.version.as_ref().map(|(name, _)| name.clone());
        let artifact = Artifact { name, ..Artifact::of_digest(digest, manifest, wanted.subject) };
        let (shreddings, shredded) = self.shreddings(&artifact)?;
        let recipients = if shredded.is_some() { Vec::new() } else { self.recipients(&artifact)? };
        let attestations = self.attestations(&artifact)?;

        let session =
            if self.is_named(wanted)? { None } else { Some(self.target.open_session(Work::Copy, &[digest])?) };
        self.place_manifest(&path, &bytes)?;
        if let Some(session) = &session {
            let objects = artifact.manifest.objects().map(|(name, _)| object_path(&name));
            session.rely_on(&objects.chain([path]).collect::<Vec<_>>())?;
        }
        let documents = Documents { shreddings, shredded, recipients, attestations };
        match self.fill(&artifact, documents, session.as_ref()) {
            Ok(is_whole) => Ok(Arrived { session, is_whole }),
            // What a collection took is missing, and that is not what went wrong.
            Err(error) => Err(match session {
                Some(session) => session.explained(error),
                None => error,
            }),
        }
    }

    /// Brings everything but the manifest. Whether the contents are there.
    fn fill(&mut self, artifact: &Artifact, documents: Documents, session: Option<&Session<'_>>) -> Result<bool> {
        let Documents { shreddings, shredded, recipients, attestations } = documents;
        // No wrapped key comes to where one of them is.
        shreddings.iter().try_for_each(|record| self.place_named(record))?;
        let shredded = if shredded.is_some() { shredded } else { self.target.shredded(artifact, self.policy)? };
        let contents = self.content(&artifact.manifest, session);
        let is_whole = contents.is_ok();
        contents.or_else(|error| self.is_collected(artifact, error))?;
        // Parts and trees are durable before a record names them.
        self.target.store.sync()?;
        match &shredded {
            Some(shredded) => self.leave_recipients(artifact, shredded),
            None => self.place_recipients(artifact, &recipients)?,
        }
        attestations.iter().try_for_each(|record| self.place_named(record))?;
        self.target.store.sync()?;
        self.report.artifacts += 1;
        Ok(is_whole)
    }

    fn place_recipients(&mut self, artifact: &Artifact, recipients: &[Planned]) -> Result<()> {
        for record in recipients {
            if self.place(record)?.is_some() {
                let reason = Error::Conflict { what: placed(self.target, &record.path) };
                self.report.skip(record.path.clone(), reason);
            }
        }
        // The target's own generations may be others: whatever counts there, something must.
        let Err(error) = self.target.access(artifact, self.policy) else { return Ok(()) };
        let is_judged = !matches!(self.policy, Policy::InsecureSkipSignature);
        if is_judged && self.target.shredded(artifact, self.policy)?.is_some() {
            // It was shredded meanwhile, maybe after its last look: what was just added must not outlive that.
            recipients.iter().try_for_each(|record| self.target.store.delete(&record.path))?;
        }
        Err(error)
    }

    /// Whether the target has a version record of this name. What stands there is judged elsewhere.
    fn is_named(&self, wanted: &Wanted) -> Result<bool> {
        match &wanted.version {
            Some((_, record)) => Ok(self.target.store.stat(&record.path)?.is_some()),
            None => Ok(false),
        }
    }

    /// Publishes a version in the target: the commit. Then reads it there as anybody would.
    pub(super) fn commit(&mut self, wanted: &Wanted, arrived: &Arrived<'_>) -> Result<()> {
        let reference = match &wanted.version {
            None => Reference::Digest(wanted.subject.blake3),
            Some((name, record)) => {
                // Of many, names were compared a moment ago: to list them again for each would take the square of the time.
                if !self.many {
                    self.refuse_taken(wanted, &mut Twins::default())?;
                }
                self.place_retirements(wanted)?;
                if let Some(session) = &arrived.session {
                    session.decide(&Outcome::committed(name, self.again(record)?)?)?;
                }
                if let Some(there) = self.place(record)? {
                    self.demand_same_version(name, &wanted.subject, &there)?;
                    self.report.records.there(0);
                }
                self.target.store.sync()?;
                self.report.versions += 1;
                Reference::Version(name.clone())
            }
        };
        let there = self.target.resolve(&reference, self.policy)?;
        if there.subject == wanted.subject { Ok(()) } else { Err(self.taken(&reference.to_string())) }
    }

    fn place_manifest(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.target.store.stat(path)?.is_none() && self.target.store.create(path, bytes)? == Created::New {
            self.report.records.copied(bytes.len() as u64);
            return Ok(());
        }
        match self.target.store.read(path, MAX_MANIFEST) {
            Ok(Some(there)) if there == bytes => {
                self.report.records.there(bytes.len() as u64);
                Ok(())
            }
            Err(error @ Error::Storage { .. }) => Err(error),
            _ => Err(records::damaged(placed(self.target, path), "is not what its name is the hash of")),
        }
    }

    /// The generations of recipients up to the one that counts. What stands above it never did.
    fn recipients(&mut self, artifact: &Artifact) -> Result<Vec<Planned>> {
        let access = self.source.access(artifact, self.policy)?;
        let folder = recipients_folder(artifact.digest);
        let mut planned = Vec::new();
        for (lower, generation) in self.source.numbers(&folder)?.into_iter().enumerate() {
            let path = recipients_path(artifact.digest, generation);
            let judged = self.source.demand(&path, MAX_ENVELOPE).and_then(|bytes| {
                records::recipients(&bytes, &artifact.subject, generation)?;
                if !is_within_reach(generation, lower) {
                    return Err(out_of_reach());
                }
                if generation > access.generation {
                    return Err(Error::Untrusted { what: path.clone(), why: "does not count" });
                }
                Ok(Planned::new(path.clone(), &bytes))
            });
            self.note(path, judged, &mut planned)?;
        }
        Ok(planned)
    }

    fn attestations(&mut self, artifact: &Artifact) -> Result<Vec<Planned>> {
        let (mut planned, folder) = (Vec::new(), super::super::attestations_folder(artifact.digest));
        for path in self.source.attestation_paths(artifact.digest)? {
            let judged = self.source.demand(&path, MAX_ENVELOPE).and_then(|bytes| {
                records::attestation(&bytes, &artifact.subject, stem(&path, &folder).unwrap_or_default())?;
                Ok(Planned::new(path.clone(), &bytes))
            });
            self.note(path, judged, &mut planned)?;
        }
        Ok(planned)
    }

    /// Keeps a record that was judged fit, and the reason if it was not.
    pub(super) fn note(&mut self, path: String, judged: Result<Planned>, planned: &mut Vec<Planned>) -> Result<()> {
        match judged {
            Ok(record) => planned.push(record),
            Err(error @ Error::Storage { .. }) => return Err(error),
            Err(reason) => self.report.skip(path, reason),
        }
        self.go_on()
    }
}

impl Wanted {
    /// The artifact.
    pub(super) fn digest(&self) -> ArtifactDigest {
        self.subject.blake3
    }
}
