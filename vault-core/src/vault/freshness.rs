//! Statements of freshness: what is newest, said often, so that a store cannot hide it for long.

use super::{Gate, chain::record_path, channel::Head};
use crate::{
    error::{Error, Result},
    keys::Signer,
    names::ChannelName,
    provenance::{Chained, Freshness, MAX_ENVELOPE, Newest, Statement},
    store::Created,
    trust::{NAMES, Role},
};

/// How long a statement counts if nothing else is said, in seconds: a day.
pub const DEFAULT_FRESHNESS: u64 = 24 * 3600;
/// The most statements that are looked at, from the newest down.
const MAX_LOOKS: usize = 10_000;

/// A published statement of freshness.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The channel's newest generation.
    pub generation: u64,
    /// Number of the newest revocation, if there is one.
    pub revocation: Option<u64>,
    /// Version of the trust root.
    pub root_version: u64,
    /// Until when it counts.
    pub expires: String,
}

impl Gate<'_> {
    /// Says what is newest of a channel now, for so many seconds.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the key has no freshness role for the model; [`Error::NotFound`] if nothing was promoted;
    /// as [`Gate::head`].
    pub fn state_freshness(&mut self, channel: &ChannelName, seconds: u64, signer: &dyn Signer) -> Result<Stated> {
        let id = signer.verifying_key().key_id();
        if !self.rooted.is_usable(&id) || !self.rooted.root().holds(Role::Freshness, &id, Some(&channel.model)) {
            return Err(self.rooted.not_allowed(&id, "is not given the freshness role for this model"));
        }
        let Some(head) = self.head(channel)? else {
            return Err(Error::NotFound { what: format!("a promotion to {channel}") });
        };
        head.refuse_lost(channel)?;
        let clock = self.rooted.clock();
        let root_version = self.rooted.root().version();
        let (created, expires) = (clock.time(), clock.after(seconds));
        let first = u64::try_from(created.seconds()).unwrap_or(0).max(1);
        // The newest that is whole: a reader demands it with all that it leads to.
        let revocation = self.all_of_revocations()?.base();
        let stated = Stated {
            generation: head.newest().generation,
            revocation: revocation.map(|newest| newest.generation),
            root_version,
            expires: expires.as_str().to_owned(),
        };
        let predicate = Freshness::new(
            channel,
            (head.newest(), revocation),
            (self.rooted.origin(), root_version),
            (created, expires),
        );
        let envelope = super::seal::sign(head.approved.record.subject, predicate, signer)?;
        for number in first..=first + NAMES {
            match self.vault.store.create(&record_path(&folder(channel), number), &envelope)? {
                Created::New => {
                    self.vault.store.sync()?;
                    return Ok(stated);
                }
                Created::Exists => {}
            }
        }
        Err(Error::Conflict { what: format!("every next statement of freshness for {channel}") })
    }

    /// Demands a statement of freshness if the channel does, and that nothing newer than what was found is known to it.
    pub(super) fn check_freshness(&mut self, channel: &ChannelName, head: &Head) -> Result<()> {
        // A statement that nobody demands is not read: a stolen freshness key must not stop such a channel.
        let Some(oldest) = self.rooted.release(channel)?.freshness() else {
            let (created, until) =
                (head.approved.record.predicate.created(), head.approved.lapses.as_deref().unwrap_or_default());
            self.step(format!(
                "freshness: none is demanded; a store may have hidden newer promotions and revocations since {created}, until {until} at the latest"
            ));
            return Ok(());
        };
        let statement = self.newest_statement(channel, oldest)??;
        let stale = |what: String, why| Err(Error::Stale { what, why });
        let fork = |what: String| {
            Err(Error::Untrusted { what, why: "is another one than the statement of freshness knows: a fork" })
        };
        if statement.root_version() > self.rooted.root().version() {
            let what = format!("trust root version {}", self.rooted.root().version());
            return stale(what, "a newer one exists, and the store does not show it");
        }
        let shown = head.newest();
        let what = format!("generation {} of {channel}", shown.generation);
        match compare(statement.head(), shown) {
            Compared::Newer => return stale(what, "a newer one exists, and the store does not show it"),
            Compared::Other => return fork(what),
            Compared::NotNewer => {}
        }
        match (statement.revocations(), self.revocations.newest()) {
            (Some(_), None) => return stale("the list of revocations".into(), "the store shows none"),
            (Some(stated), Some(shown)) => match compare(stated, shown) {
                Compared::Newer => {
                    let what = format!("revocation {}", shown.generation);
                    return stale(what, "a newer one exists, and the store does not show it");
                }
                Compared::Other => return fork(format!("revocation {}", shown.generation)),
                Compared::NotNewer if !self.revocations.is_whole(stated) => {
                    let what = format!("revocation {}, or one that it leads to", stated.generation);
                    return stale(what, "the statement of freshness knows it, and the store does not show it");
                }
                Compared::NotNewer => {}
            },
            (None, _) => {}
        }
        self.step(format!(
            "freshness: stated {}, counts until {}",
            statement.created().as_str(),
            statement.expires().as_str()
        ));
        Ok(())
    }

    /// The newest statement that counts, or why there is none.
    fn newest_statement(&self, channel: &ChannelName, oldest: u64) -> Result<Result<Freshness>> {
        let folder = folder(channel);
        // Whoever may create objects can make files of any name: only names within the time that counts are looked at.
        let clock = self.rooted.clock();
        let (first, last) = clock.window(oldest);
        let numbers = self.vault.numbers(&folder)?;
        let is_older = numbers.first().is_some_and(|oldest| *oldest < first);
        let why = if is_older { "those that are there are too old" } else { "there is none" };
        let mut refusal = Err(Error::Stale { what: format!("a statement of freshness for {channel}"), why });
        let within = numbers.into_iter().rev().filter(|n| (first..=last).contains(n));
        for number in within.take(MAX_LOOKS) {
            let judged = self
                .vault
                .demand(&record_path(&folder, number), MAX_ENVELOPE)
                .and_then(|bytes| self.rooted.freshness(&bytes, channel, number, oldest));
            match judged {
                Ok(statement) => {
                    let Statement { predicate, .. } = statement.into_inner();
                    return Ok(Ok(predicate));
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                // An expired one says more than one that nobody signed.
                Err(error @ Error::Stale { .. }) => refusal = Err(error),
                Err(_) => {}
            }
        }
        Ok(refusal)
    }
}

enum Compared {
    Newer,
    Other,
    NotNewer,
}

fn compare(stated: Newest, shown: Newest) -> Compared {
    match stated.generation.cmp(&shown.generation) {
        std::cmp::Ordering::Greater => Compared::Newer,
        std::cmp::Ordering::Equal if stated.digest != shown.digest => Compared::Other,
        _ => Compared::NotNewer,
    }
}

pub(super) fn folder(channel: &ChannelName) -> String {
    format!("freshness/{}/channels/{}", channel.model, channel.channel)
}
