//! The promotions of a channel: which of them come along, and which versions they need.

use std::collections::HashSet;

use super::{
    Artifacts, Job, Wanted,
    chains::{Chain, Link, is_withdrawal, not_in_force, out_of_reach},
    changed, record_path, records,
};
use crate::{
    error::{Error, Result},
    names::{ChannelName, VersionName},
    provenance::{Chained, MAX_ENVELOPE, Promotion, Statement, Subject},
    trust::Rooted,
    vault::{
        chain::is_within_reach,
        channel::{channel_folder, judged},
    },
};

/// What is copied of a channel.
pub(super) struct History {
    pub(super) chain: Chain,
    /// The version it points to.
    pub(super) head: Option<VersionName>,
    /// Where the promotion stands that says so.
    pub(super) newest: Option<String>,
    /// The versions that come along, the newest first.
    needed: Vec<(VersionName, Subject)>,
}

/// A trust root now, and as if no key were retired.
struct Judges<'a> {
    now: &'a Rooted,
    once: Rooted,
}

/// What a record of a channel is.
enum Found {
    Promotion {
        statement: Box<Statement<Promotion>>,
        /// Whether it counts now, or could be the newest where nobody is asked.
        counts: bool,
    },
    Withdrawal,
}

impl Job<'_> {
    /// The history of a channel, of which `seen` was found to be the newest.
    ///
    /// Under a trust root: the newest promotion that counts, what it descends from, and whatever else counts or counted
    /// once, because readers draw conclusions from that. Otherwise every record that is well formed.
    pub(super) fn history(
        &mut self,
        channel: &ChannelName,
        seen: Option<u64>,
        artifacts: Artifacts,
    ) -> Result<History> {
        let (folder, policy) = (channel_folder(channel), self.policy.clone());
        let judges = match &policy {
            crate::trust::Policy::Rooted(now) => {
                now.release(channel)?;
                Some(Judges { now: now.as_ref(), once: now.regardless() })
            }
            _ => None,
        };
        let (mut links, mut versions, mut head, mut newest) = (Vec::new(), Vec::new(), None, None);
        // The digest of the record that the one above it names, once the newest is found.
        let mut named: Option<Option<blake3::Hash>> = None;
        for (lower, generation) in self.source.numbers(&folder)?.into_iter().enumerate().rev() {
            self.go_on()?;
            let path = record_path(&folder, generation);
            let bytes = match self.source.demand(&path, MAX_ENVELOPE) {
                Ok(bytes) => bytes,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => {
                    self.report.skip(path, reason);
                    continue;
                }
            };
            let is_named = |digest| named.flatten() == Some(digest);
            let (found, digest) = match self.judge(&bytes, channel, (generation, lower), judges.as_ref(), &is_named) {
                Ok(found) => found,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => {
                    self.report.skip(path, reason);
                    continue;
                }
            };
            links.push(Link::new(generation, path.clone(), &bytes, digest));
            let Found::Promotion { statement, counts } = found else { continue };
            let (predicate, version) = (&statement.predicate, statement.predicate.version_name()?);
            if head.is_none() && counts {
                if seen.is_some_and(|seen| seen != generation) {
                    return Err(changed(&channel));
                }
                head = Some(version.clone());
                newest = Some(path);
                named = Some(predicate.previous());
                versions.push((version, statement.subject));
            } else {
                if is_named(digest) {
                    named = Some(predicate.previous());
                }
                if artifacts == Artifacts::All {
                    versions.push((version, statement.subject));
                }
            }
        }
        if links.is_empty() {
            return Err(Error::NotFound { what: format!("a promotion to {channel}") });
        }
        let chain = Chain::new(format!("{channel}, generation"), links);
        self.refuse_fork(&chain)?;
        self.refuse_beside(channel, &folder, &chain, judges.as_ref())?;
        Ok(History { chain, head, newest, needed: versions })
    }

    /// What a record is and the digest of its payload; or why it is not copied.
    fn judge(
        &self,
        bytes: &[u8],
        channel: &ChannelName,
        (generation, lower): (u64, usize),
        judges: Option<&Judges<'_>>,
        is_named: &dyn Fn(blake3::Hash) -> bool,
    ) -> Result<(Found, blake3::Hash)> {
        let in_reach = is_within_reach(generation, lower);
        if in_reach && is_withdrawal(bytes, judges.map(|judges| &judges.once)) {
            self.source.demand_in_place(&record_path(&channel_folder(channel), generation), bytes)?;
            return Ok((Found::Withdrawal, blake3::hash(bytes)));
        }
        let envelope = records::envelope(bytes)?;
        let statement = Box::new(records::promotion(&envelope, channel, generation)?);
        let digest = blake3::hash(envelope.payload());
        let counts = match judges {
            Some(judges) => judged(&envelope, judges.now, channel, generation).is_ok(),
            None => self.names_what_is_there(&statement)?,
        } && in_reach;
        let counted = judges.is_none_or(|judges| judged(&envelope, &judges.once, channel, generation).is_ok());
        match (is_named(digest) || counts, in_reach) {
            (true, _) => Ok((Found::Promotion { statement, counts }, digest)),
            (false, true) if counted => Ok((Found::Promotion { statement, counts }, digest)),
            (false, true) => Err(not_in_force(&format!("generation {generation} of {channel}"))),
            (false, false) => Err(out_of_reach()),
        }
    }

    /// Whether the version that a promotion names is there and is the artifact it says.
    fn names_what_is_there(&self, statement: &Statement<Promotion>) -> Result<bool> {
        match self.version(&statement.predicate.version_name()?) {
            Ok(version) => Ok(version.subject == statement.subject),
            Err(error @ Error::Storage { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Refuses a history that would make the target's own contradict it: a record there that counts and is not copied.
    fn refuse_beside(
        &self,
        channel: &ChannelName,
        folder: &str,
        chain: &Chain,
        judges: Option<&Judges<'_>>,
    ) -> Result<()> {
        let Some(judges) = judges else { return Ok(()) };
        let numbers = self.target.numbers(folder)?;
        for generation in numbers.into_iter().filter(|number| *number < chain.last() && !chain.has(*number)) {
            match self.target.record(&record_path(folder, generation)) {
                Ok(envelope) if judged(&envelope, judges.now, channel, generation).is_ok() => {
                    let what = format!("generation {generation} of {channel} in {}", self.target.store.describe());
                    return Err(Error::Untrusted { what, why: "counts and is not in the source: a fork" });
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The versions that a history needs and that are not known yet. One that only an older promotion names may be gone.
    pub(super) fn needed(&mut self, history: &History, known: &mut HashSet<String>) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for (at, (name, subject)) in history.needed.iter().enumerate() {
            if !known.insert(name.to_string()) {
                continue;
            }
            let found = self.version(name).and_then(|version| {
                if version.subject == *subject {
                    return Ok(version);
                }
                let why = "is another artifact than the one that was promoted";
                Err(Error::Untrusted { what: name.to_string(), why })
            });
            match found {
                Ok(version) => wanted.push(version),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) if at == 0 && history.head.as_ref() == Some(name) => return Err(error),
                Err(reason) => self.report.skip(format!("version {name}"), reason),
            }
        }
        Ok(wanted)
    }
}
