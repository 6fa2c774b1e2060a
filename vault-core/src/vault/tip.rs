//! Where a channel is: the newest promotion that counts, found from the highest number down.
//!
//! Every number is read once for all that is asked of it. Whether a record counts now, counted once, and is the one that was seen
//! are questions about the same bytes: a store that answered each with others could lead a client around what it saw.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Gate, Skipped, Vault,
    chain::{is_within_reach, record_path},
    channel::{Head, channel_folder, judged},
    withdrawn,
};
use crate::{
    error::{Error, Result},
    names::ChannelName,
    provenance::{Chained, Envelope, MAX_ENVELOPE, Newest, Promotion},
    trust::{Approved, Rooted},
};

/// The most records that never counted, above the one that does.
const MAX_LOOKS: usize = 100;
/// How many links are followed by a client that saw no promotion before.
const FIRST_LINKS: usize = 100;

/// Where a channel is.
pub(super) enum Tip {
    /// At a promotion that counts.
    Counts(Box<Head>),
    /// Nowhere any more: this one counted once, and none counts now.
    Lost(Newest),
    /// Nowhere yet.
    Nothing,
}

/// What the next promotion is built on.
pub(super) struct Base {
    pub(super) head: Option<Head>,
    /// Its number is higher than this one.
    pub(super) above: u64,
}

/// What stands under one number.
struct Look {
    /// The promotion, if it counts now.
    now: Result<Approved<Promotion>>,
    /// Its digest and what it follows, if it does not count now but would regardless of the state of its keys.
    once: Option<(blake3::Hash, Option<blake3::Hash>)>,
    /// The same, if it is shown with signatures enough by whoever is listed: rules may have been others when it counted.
    signed: Option<(blake3::Hash, Option<blake3::Hash>)>,
}

impl Look {
    /// Whether this is the record meant, which is known to have counted, and counts no more.
    fn is_lost(&self, meant: Newest) -> bool {
        self.now.is_err() && self.signed.is_some_and(|(digest, _)| digest == meant.digest)
    }
}

/// What was found under the numbers of a channel so far.
struct Looks<'a> {
    vault: &'a Vault,
    rooted: Arc<Rooted>,
    once: Rooted,
    signed: Rooted,
    channel: &'a ChannelName,
    folder: String,
    looked: BTreeMap<u64, Look>,
}

/// What stands at the upper end of a channel.
#[derive(Default)]
struct Search {
    newest: Option<u64>,
    skipped: Vec<Skipped>,
    lost: Option<Newest>,
}

impl Looks<'_> {
    /// Reads what stands under a number, once.
    fn at(&mut self, generation: u64) -> Result<&Look> {
        if !self.looked.contains_key(&generation) {
            let look = self.look(generation)?;
            self.looked.insert(generation, look);
        }
        // It was put there just now, if it was not there before.
        self.looked.get(&generation).ok_or_else(|| Error::Misuse("a look that was not taken".into()))
    }

    /// Whether a promotion under this number counts. What was not looked at before is not kept.
    fn counts(&self, generation: u64) -> Result<bool> {
        match self.looked.get(&generation) {
            Some(look) => Ok(look.now.is_ok()),
            None => Ok(self.look(generation)?.now.is_ok()),
        }
    }

    fn look(&self, generation: u64) -> Result<Look> {
        let bytes = match self.vault.demand(&record_path(&self.folder, generation), MAX_ENVELOPE) {
            Err(error @ Error::Storage { .. }) => return Err(error),
            Err(error) => return Ok(Look { now: Err(error), once: None, signed: None }),
            Ok(bytes) => bytes,
        };
        let envelope = match parsed(&self.rooted, &bytes) {
            Err(error) => return Ok(Look { now: Err(error), once: None, signed: None }),
            Ok(envelope) => envelope,
        };
        let now = judged(&envelope, &self.rooted, self.channel, generation);
        let by = |rooted: &Rooted| {
            let approved = now.is_err().then(|| judged(&envelope, rooted, self.channel, generation).ok()).flatten();
            approved.map(|approved| (approved.digest, approved.record.predicate.previous()))
        };
        let (once, signed) = (by(&self.once), by(&self.signed));
        Ok(Look { now, once, signed })
    }

    /// From the highest number down to the first record that counts.
    fn search(&mut self, numbers: &[u64]) -> Result<Search> {
        let (mut found, mut junk) = (Search::default(), 0);
        for (lower, &generation) in numbers.iter().enumerate().rev() {
            let within_reach = is_within_reach(generation, lower);
            let look = self.at(generation)?;
            let reason = match &look.now {
                Ok(_) if within_reach => {
                    found.newest = Some(generation);
                    break;
                }
                Ok(_) => "its number is far above the others".to_owned(),
                Err(error) => error.to_string(),
            };
            // What counted once and counts no more was followed by nothing: the older ones are not what is wanted.
            match look.once.filter(|_| within_reach) {
                Some((digest, _)) => found.lost = found.lost.or(Some(Newest { generation, digest })),
                None => junk += 1,
            }
            if junk > MAX_LOOKS {
                let what = format!("{}: above its newest promotion", self.channel);
                let why = "there are more than 100 records that do not count";
                return Err(Error::Untrusted { what, why });
            }
            if found.skipped.len() < MAX_LOOKS {
                found.skipped.push(Skipped { generation, reason: Error::format("record", reason) });
            }
        }
        Ok(found)
    }

    /// The first record that counts, following what a lost one that was seen follows by digest, down through lost ones: a store that
    /// hides what still counts must not make anybody go around it. None if all of it is lost.
    fn first_that_counts(&mut self, seen: Newest, numbers: &[u64]) -> Result<Option<Newest>> {
        let mut from = seen;
        loop {
            let previous = self.at(from.generation)?.signed.and_then(|(_, previous)| previous);
            let next = self.vault.follow(&self.folder, (from.generation, previous), numbers, (1, 1))?;
            let Some(next) = next.first().copied() else { return Ok(None) };
            let look = self.at(next.generation)?;
            if look.now.as_ref().is_ok_and(|approved| approved.digest == next.digest) {
                return Ok(Some(next));
            }
            if !look.is_lost(next) {
                let what = format!("generation {} of {}", next.generation, self.channel);
                return Err(Error::Untrusted { what, why: "is shown as one thing and as another: a fork" });
            }
            from = next;
        }
    }
}

/// The envelope of a record. What is a withdrawal is told as one.
fn parsed(rooted: &Rooted, bytes: &[u8]) -> Result<Envelope> {
    Envelope::parse_record(bytes).map_err(|error| withdrawn::told(rooted, bytes).unwrap_or(error))
}

/// Why a generation that was seen before is not found.
fn missing(skipped: &[Skipped], seen: u64) -> &'static str {
    if skipped.iter().any(|skipped| skipped.generation == seen) {
        "a newer one was seen before, and what stands in its place is not it: it was replaced or damaged"
    } else {
        "a newer one was seen before, and the store does not show it: it was rolled back"
    }
}

impl Gate<'_> {
    /// What the next promotion of a channel is built on: the newest that counts, and the highest number that is taken by what counts or
    /// did once. There is no head if there is none, or none any more: whoever approves the next one may have to replace all that a
    /// stolen key had approved.
    ///
    /// # Errors
    /// As [`Gate::head`], but not if what counted once counts no more; [`Error::Corrupt`] if something is missing that might still count.
    pub(super) fn base(&mut self, channel: &ChannelName) -> Result<Base> {
        Ok(match self.tip(channel)? {
            Tip::Counts(head) => {
                let above = head.lost.max(Some(head.newest().generation)).unwrap_or_default();
                Base { head: Some(*head), above }
            }
            Tip::Lost(Newest { generation, .. }) => {
                self.note(format!(
                    "no promotion to {channel} counts any more, up to generation {generation}: the next one starts anew"
                ));
                Base { head: None, above: generation }
            }
            Tip::Nothing => Base { head: None, above: 0 },
        })
    }

    /// Where a channel is, as far as the store shows it and not before where it was seen.
    pub(super) fn tip(&mut self, channel: &ChannelName) -> Result<Tip> {
        self.rooted.release(channel)?;
        let mut looks = Looks {
            vault: self.vault,
            rooted: Arc::clone(&self.rooted),
            once: self.rooted.regardless(),
            signed: self.rooted.by_whoever_is_listed(),
            channel,
            folder: channel_folder(channel),
            looked: BTreeMap::new(),
        };
        let numbers = self.vault.numbers(&looks.folder)?;
        let known = self.memory.channel(channel);
        let Search { newest, skipped, lost } = looks.search(&numbers)?;
        let stale = |what: u64, seen: Newest, skipped: &[Skipped]| {
            let what = format!("generation {what} of {channel}");
            Err(Error::Stale { what, why: missing(skipped, seen.generation) })
        };
        let Some(newest) = newest else {
            self.note_skipped(channel, &skipped);
            if let Some(seen) = known
                && !looks.at(seen.generation)?.is_lost(seen)
            {
                return stale(seen.generation, seen, &skipped);
            }
            if let Some(seen) = known
                && let Some(hidden) = looks.first_that_counts(seen, &numbers)?
            {
                // The search passed it over, so that it is out of reach, or was shown otherwise.
                return stale(hidden.generation, hidden, &skipped);
            }
            let last = [lost, known].into_iter().flatten().max_by_key(|last| last.generation);
            return Ok(last.map_or(Tip::Nothing, Tip::Lost));
        };
        let above = match known.filter(|known| known.generation > newest) {
            Some(seen) if looks.at(seen.generation)?.is_lost(seen) => {
                if looks.first_that_counts(seen, &numbers)?.is_some_and(|first| first.generation != newest) {
                    let what = format!("{channel} has two valid promotions that contradict each other");
                    return Err(Error::Untrusted { what, why: "a fork" });
                }
                Some(seen)
            }
            Some(seen) => {
                self.note_skipped(channel, &skipped);
                return stale(newest, seen, &skipped);
            }
            None => None,
        };
        let approved = looks.at(newest)?.now.as_ref().ok().cloned();
        let approved = approved.ok_or_else(|| Error::Misuse("a newest promotion that does not count".into()))?;
        let lost = [lost, above].into_iter().flatten().map(|lost| lost.generation).max();
        let mut head = Head { approved, skipped, links: 0, lost };
        if above.is_none() {
            head.links = self.check_links(&mut looks, &head, known, &numbers)?;
            self.memory.saw_channel(channel, head.newest());
        }
        Ok(Tip::Counts(Box::new(head)))
    }

    /// Checks that the newest promotion descends from what was seen before.
    fn check_links(
        &mut self,
        looks: &mut Looks<'_>,
        head: &Head,
        known: Option<Newest>,
        numbers: &[u64],
    ) -> Result<usize> {
        let (newest, channel) = (head.newest(), looks.channel);
        let fork = || {
            let what = format!("{channel} has two valid promotions that contradict each other");
            Err(Error::Untrusted { what, why: "a fork" })
        };
        let until = match known {
            Some(known) if known.generation == newest.generation => {
                return if known.digest == newest.digest { Ok(0) } else { fork() };
            }
            Some(known) => known.generation,
            // At first contact, what lies far below says nothing about the newest; `channel_log` looks at all of it.
            None => 1,
        };
        let previous = head.approved.record.predicate.previous();
        let most = if known.is_some() { usize::MAX } else { FIRST_LINKS };
        let mut followed = self.vault.follow(&looks.folder, (newest.generation, previous), numbers, (until, most))?;
        let mut until = if followed.len() == most { followed[most - 1].generation } else { until };
        if let Some(known) = known.filter(|known| !followed.contains(known)) {
            // It may be that its keys were compromised since: then it counts no more, and the chain goes around it, from the first
            // record below it that does.
            if !looks.at(known.generation)?.is_lost(known) {
                return fork();
            }
            // That one is beside the chain, and a fork, unless the chain leads to it.
            until = looks.first_that_counts(known, numbers)?.map_or(1, |first| first.generation);
            followed = self.vault.follow(&looks.folder, (newest.generation, previous), numbers, (until, most))?;
            self.note(format!("generation {} of {channel}, seen before, counts no more", known.generation));
        }
        // A record beside the chain burns its number; one that counts contradicts the chain.
        let beside = numbers.iter().filter(|n| (until..newest.generation).contains(n));
        for generation in beside.filter(|n| !followed.iter().any(|link| link.generation == **n)) {
            if looks.counts(*generation)? {
                return fork();
            }
        }
        Ok(followed.len())
    }

    /// The envelope of a record of a channel, not checked.
    pub(super) fn promotion_at(&self, folder: &str, generation: u64) -> Result<Envelope> {
        parsed(&self.rooted, &self.vault.demand(&record_path(folder, generation), MAX_ENVELOPE)?)
    }
}
