//! Retiring by rule: which versions of a model are no longer needed.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    error::Result,
    names::{ArtifactDigest, ChannelName, ModelName, Pattern, VersionName},
    trust::Policy,
    vault::{Gate, Vault, VersionEntry},
};

/// What is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The models that the rule is for.
    pub models: Pattern,
    /// So many versions of each model, the newest by what their records say.
    pub last: usize,
    /// And those that are younger, by what their records say.
    pub younger_than: Duration,
    /// And those that a channel pointed to at any time.
    pub history: History,
}

/// What becomes of versions that a channel pointed to once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// They are kept.
    Keep,
    /// They are retired like others. What a channel points to now is kept.
    Drop,
}

/// What a rule says about a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The version.
    pub name: VersionName,
    /// Its artifact.
    pub artifact: ArtifactDigest,
    /// When its record claims to have been made.
    pub created: String,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of a version, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is to be retired.
    Retire,
    /// It is among the last of its model.
    Last,
    /// It is too young.
    Young,
    /// This channel points to it, or may.
    PointedTo(ChannelName),
    /// This channel pointed to it once.
    WasPointedTo(ChannelName),
    /// An open proposal would have a channel point to it.
    Proposed,
    /// It is retired already.
    RetiredAlready,
}

/// What holds on to versions of one model.
struct Held {
    /// Channel, artifact, and whether it points there now.
    pointers: Vec<(ChannelName, ArtifactDigest, bool)>,
    proposed: HashSet<[u8; 32]>,
}

impl Vault {
    /// Judges versions by a rule, without a trust root: then whatever a channel ever pointed to is kept.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    pub fn judge(&self, keep: &Keep, policy: &Policy) -> Result<Vec<Judged>> {
        self.judge_with(keep, policy, &mut |_| Ok(0))
    }

    fn judge_with(
        &self,
        keep: &Keep,
        policy: &Policy,
        current_from: &mut dyn FnMut(&ChannelName) -> Result<u64>,
    ) -> Result<Vec<Judged>> {
        let mut models: BTreeMap<ModelName, Vec<VersionEntry>> = BTreeMap::new();
        for entry in self.list(policy)?.versions {
            if keep.models.matches(entry.name.model.as_str()) {
                models.entry(entry.name.model.clone()).or_default().push(entry);
            }
        }
        let now = Timestamp::now();
        let proposed: HashSet<_> = self.proposed(now)?.into_iter().map(|a| *a.hash().as_bytes()).collect();
        let mut judged = Vec::new();
        for (model, mut versions) in models {
            let mut held = Held { pointers: Vec::new(), proposed: proposed.clone() };
            for (channel, pointers) in self.pointers(&format!("models/{model}/channels"))? {
                let from = current_from(&channel)?;
                let pointers = pointers.into_iter().map(|p| (channel.clone(), p.artifact, p.generation >= from));
                held.pointers.extend(pointers);
            }
            versions.sort_by(|a, b| (&b.created, &b.name).cmp(&(&a.created, &a.name)));
            let mut left = keep.last;
            for entry in versions {
                let fate = fate(keep, &entry, &held, &mut left, now);
                judged.push(Judged { name: entry.name, artifact: entry.digest, created: entry.created, fate });
            }
        }
        Ok(judged)
    }
}

fn fate(keep: &Keep, entry: &VersionEntry, held: &Held, left: &mut usize, now: Timestamp) -> Fate {
    if entry.retired.is_some() {
        return Fate::RetiredAlready;
    }
    if *left > 0 {
        *left -= 1;
        return Fate::Last;
    }
    let age = entry.created.parse::<Timestamp>().map_or(0, |made| now.as_second().saturating_sub(made.as_second()));
    if u64::try_from(age).unwrap_or(0) < keep.younger_than.as_secs() {
        return Fate::Young;
    }
    let by = |is_current: bool| {
        let mut fitting = held.pointers.iter().filter(|(_, a, current)| *a == entry.digest && *current == is_current);
        fitting.next().map(|(channel, ..)| channel.clone())
    };
    match (by(true), by(false).filter(|_| keep.history == History::Keep)) {
        (Some(channel), _) => Fate::PointedTo(channel),
        (None, Some(channel)) => Fate::WasPointedTo(channel),
        (None, None) if held.proposed.contains(entry.digest.hash().as_bytes()) => Fate::Proposed,
        (None, None) => Fate::Retire,
    }
}

impl Gate<'_> {
    /// Judges versions by a rule. Those to be retired are then given to [`Gate::retire`], one by one.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    pub fn judge(&mut self, keep: &Keep) -> Result<Vec<Judged>> {
        let (vault, policy) = (self.vault, self.policy());
        vault.judge_with(keep, &policy, &mut |channel| self.current_from(channel))
    }
}
