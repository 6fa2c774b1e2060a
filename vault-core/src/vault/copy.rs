//! Copying between two vaults, without any key: bytes travel unchanged, each object is hashed on its way, and only what
//! is missing travels.
//!
//! Everything that can be refused is refused before the first write. Then the order is that of a seal: trust roots and
//! revocations, which say less than nothing without the rest; manifest, shreddings, parts and trees, recipients,
//! attestations; retirements and the version record; the promotions of a channel, oldest first; statements of freshness and proposals.
//! Behind each version record and promotion come the proofs that it was logged. A crash anywhere
//! leaves the target valid, and the same copy goes on where it was.

use std::collections::{BTreeMap, HashSet};

use super::{Artifact, Vault, chain::record_path};
use crate::{
    error::{Error, Result},
    names::{ChannelName, ModelName, Pattern, VersionName},
    provenance::Subject,
    trust::{Policy, Rooted},
    workers::{Progress, Threads},
};

pub(super) mod chains;
pub(super) mod content;
mod endings;
mod history;
mod proofs;
mod proposals;
pub(super) mod records;
mod report;
mod roots;
mod versions;

pub use proofs::{Believed, LogProofs};
pub use report::{Copied, Moved};

use chains::Chain;
use history::History;
use proofs::{Need, Shown};
use records::Planned;
use versions::{Arrived, Twins};

/// What to copy.
#[derive(Debug)]
pub enum Selection {
    /// One artifact as it was resolved in the source; with its channel, if it was asked for by one.
    One(Box<Artifact>),
    /// A channel that nobody is asked about: its newest record is what the source says it is.
    Unjudged(ChannelName),
    /// Every version and channel whose model is like the pattern; of the whole vault, if there is none.
    Models(Option<Pattern>),
}

/// Which artifacts of a channel come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifacts {
    /// The one it points to.
    Head,
    /// Those of every promotion that is copied.
    All,
}

/// How objects that the target has already are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Their length is compared.
    Length,
    /// They are read and hashed.
    Hash,
}

/// What to copy, from where, and how carefully.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// The vault to copy from.
    pub source: &'a Vault,
    /// What to copy.
    pub selection: Selection,
    /// Which artifacts of channels.
    pub artifacts: Artifacts,
    /// Whom to believe about the source. Under [`Policy::InsecureSkipSignature`] records need only be well formed.
    pub policy: &'a Policy,
    /// How to look at objects that are there.
    pub existing: Existing,
    /// Which proofs come along that it was logged.
    pub proofs: LogProofs<'a>,
    /// How many objects travel at a time.
    pub jobs: Threads,
}

/// A version or artifact to copy.
#[derive(Debug)]
struct Wanted {
    subject: Subject,
    /// Its name and record, unless it was asked for by its digest.
    version: Option<(VersionName, Planned)>,
}

impl Wanted {
    fn name(&self) -> String {
        self.version.as_ref().map_or_else(|| self.subject.blake3.to_string(), |(name, _)| name.to_string())
    }
}

/// One copy at work.
struct Job<'a> {
    source: &'a Vault,
    target: &'a Vault,
    policy: &'a Policy,
    existing: Existing,
    proofs: LogProofs<'a>,
    jobs: Threads,
    progress: &'a dyn Progress,
    report: Copied,
    /// Whether what fails is noted, and the rest goes on.
    many: bool,
}

/// What a copy consists of besides the artifacts.
struct Plan {
    roots: Vec<Planned>,
    revocations: Chain,
    wanted: Vec<Wanted>,
    /// Versions that cannot be copied.
    broken: HashSet<String>,
    channels: BTreeMap<ChannelName, History>,
    models: HashSet<String>,
    shown: Shown,
}

impl Vault {
    /// Copies into this vault.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not in the source; [`Error::Corrupt`] if bytes of either vault are not what they should
    /// be; [`Error::Untrusted`] if the policy does not accept it, or two valid records of one number contradict each other;
    /// [`Error::Conflict`] if the target has something else under a name; [`Error::Storage`]. Contradictions and conflicts
    /// that are there at the start are noticed before anything is written. When many versions are copied, one that
    /// cannot be is in the report and the others go on.
    pub fn copy(&self, request: CopyRequest<'_>, progress: &dyn Progress) -> Result<Copied> {
        let CopyRequest { source, selection, artifacts, policy, existing, proofs, jobs } = request;
        let many = matches!(selection, Selection::Models(_));
        let report = Copied::default();
        let mut job = Job { source, target: self, policy, existing, proofs, jobs, progress, report, many };
        let mut plan = job.plan(selection, artifacts)?;
        job.demand_proofs(&mut plan)?;
        job.run(plan)?;
        Ok(job.report)
    }
}

impl Job<'_> {
    /// The trust root to judge by, if there is one.
    fn rooted(&self) -> Option<&Rooted> {
        match self.policy {
            Policy::Rooted(rooted) => Some(rooted),
            _ => None,
        }
    }

    /// Looks at everything that is small, and refuses what can be refused.
    fn plan(&mut self, selection: Selection, artifacts: Artifacts) -> Result<Plan> {
        let (mut wanted, mut models) = (Vec::new(), HashSet::new());
        let mut names: Vec<(ChannelName, Option<u64>)> = Vec::new();
        match selection {
            Selection::One(artifact) => {
                let version = artifact.name.as_ref().map(|name| self.version(name)).transpose()?;
                models.extend(artifact.name.iter().map(|name| name.model.to_string()));
                if version.as_ref().is_some_and(|version| version.subject != artifact.subject) {
                    return Err(changed(&artifact.digest));
                }
                wanted.push(version.unwrap_or(Wanted { subject: artifact.subject, version: None }));
                names.extend(artifact.channel.map(|(channel, generation)| (channel, Some(generation))));
            }
            Selection::Unjudged(channel) => names.push((channel, None)),
            Selection::Models(pattern) => {
                let fits = |model: &ModelName| pattern.as_ref().is_none_or(|pattern| pattern.matches(model.as_str()));
                let (versions, channels) = self.names(&fits)?;
                for name in versions {
                    models.insert(name.model.to_string());
                    match self.version(&name) {
                        Ok(version) => wanted.push(version),
                        Err(error) => self.fail(name.to_string(), error)?,
                    }
                }
                names.extend(channels.into_iter().map(|channel| (channel, None)));
            }
        }
        let (roots, revocations) = (self.plan_roots()?, self.plan_revocations()?);
        let mut channels = BTreeMap::new();
        let mut known: HashSet<_> = wanted.iter().map(Wanted::name).collect();
        for (channel, generation) in names {
            models.insert(channel.model.to_string());
            let history = self.history(&channel, generation, artifacts);
            match history.and_then(|history| Ok((self.needed(&history, &mut known)?, history))) {
                Ok((more, history)) => {
                    wanted.extend(more);
                    channels.insert(channel, history);
                }
                Err(error) => self.fail(channel.to_string(), error)?,
            }
        }
        let (mut free, mut broken, mut twins) = (Vec::new(), HashSet::new(), Twins::default());
        for version in wanted {
            match self.refuse_taken(&version, &mut twins) {
                Ok(()) => free.push(version),
                Err(error) => {
                    broken.insert(version.name());
                    self.fail(version.name(), error)?;
                }
            }
        }
        let shown = self.shown()?;
        Ok(Plan { roots, revocations, wanted: free, broken, channels, models, shown })
    }

    /// Writes, in the order that makes a crash harmless.
    fn run(&mut self, plan: Plan) -> Result<()> {
        let Plan { roots, revocations, wanted, mut broken, channels, models, shown } = plan;
        roots.iter().try_for_each(|root| self.place_named(root))?;
        self.place_chain(&revocations)?;
        let mut done = HashSet::new();
        for version in wanted {
            let copied = if done.contains(&version.digest()) { Ok(Arrived::before()) } else { self.artifact(&version) };
            let copied = copied.and_then(|arrived| {
                self.commit(&version, &arrived)?;
                let path = version.version.as_ref().map(|(_, record)| &record.path);
                path.map_or(Ok(()), |path| self.place_proofs(&shown, path, Need::IfDemanded))?;
                Ok(arrived)
            });
            match copied {
                Ok(arrived) => {
                    // Under another name, of which nobody says that it was retired, its contents are demanded.
                    done.extend(arrived.is_whole.then(|| version.digest()));
                }
                Err(error) => {
                    broken.insert(version.name());
                    self.fail(version.name(), error)?;
                }
            }
        }
        for (channel, history) in &channels {
            // A channel that points to what is not there would only be an error for whoever opens it.
            if let Some(head) = history.head.as_ref().filter(|head| broken.contains(&head.to_string())) {
                let what = format!("{head}, to which {channel} points");
                self.report.skip(channel.to_string(), Error::NotFound { what });
                continue;
            }
            self.place_chain(&history.chain)?;
            if let Err(error) = self.prove_history(history, &shown) {
                self.fail(channel.to_string(), error)?;
                continue;
            }
            self.report.channels += 1;
        }
        self.place_freshness(&models)?;
        self.place_proposals(&channels, &models)?;
        self.target.store.sync()
    }

    /// Notes what cannot be copied if the rest is to go on; what only the system can mend ends the copy.
    fn fail(&mut self, what: String, error: Error) -> Result<()> {
        match error {
            error @ Error::Storage { .. } => Err(error),
            error if !self.many => Err(error),
            error => {
                self.report.fail(what, error);
                Ok(())
            }
        }
    }

    /// Whether the caller asks to stop.
    fn go_on(&self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::storage("operation")(std::io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }
}

/// Something was verified, and the store gives something else now.
fn changed(what: &impl ToString) -> Error {
    Error::InputChanged { what: what.to_string(), why: "the source gave something else before" }
}

/// The path of a record that has a number in a folder, and its vault, for errors about one of two vaults.
fn placed(vault: &Vault, path: &str) -> String {
    format!("{path} in {}", vault.store.describe())
}

#[cfg(test)]
mod tests;
