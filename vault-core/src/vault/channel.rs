//! Channels: the newest promotion that counts, and what it takes to open through it.

use super::{
    Artifact, Gate, Skipped, Vault,
    chain::{is_within_reach, record_path},
    withdrawn,
};
use crate::{
    error::{Error, Fault, Place, Result},
    names::{ChannelName, Reference},
    provenance::{Chained, Envelope, MAX_ENVELOPE, Newest, Promotion},
    trust::{Approved, Required, Right, Rooted},
};

/// The most records above the one that counts, and beside the chain, that are judged.
const MAX_LOOKS: usize = 100;
/// How many links are followed by a client that saw no promotion before.
const FIRST_LINKS: usize = 100;

/// The newest promotion of a channel.
#[derive(Debug, Clone)]
pub struct Head {
    /// The promotion and who approved it.
    pub approved: Approved<Promotion>,
    /// What stands under higher numbers and does not count.
    pub skipped: Vec<Skipped>,
    /// How many records before it were followed by their digests.
    pub links: usize,
    /// A later generation that this client saw and that counts no more, because its keys were compromised or retired
    /// since. What is left is older: a new promotion may be built on it, but it is not to be opened.
    pub lost: Option<u64>,
}

/// Where a channel is.
enum Tip {
    /// At a promotion that counts.
    Counts(Box<Head>),
    /// Nowhere any more: this generation counted once, and none counts now.
    Lost(u64),
    /// Nowhere yet.
    Nothing,
}

/// What stands at the upper end of a channel.
#[derive(Default)]
struct Search {
    newest: Option<Approved<Promotion>>,
    skipped: Vec<Skipped>,
    lost: Option<u64>,
}

/// Why a generation that was seen before is not found.
fn missing(skipped: &[Skipped], seen: u64) -> &'static str {
    if skipped.iter().any(|skipped| skipped.generation == seen) {
        "a newer one was seen before, and what stands in its place is not it: it was replaced or damaged"
    } else {
        "a newer one was seen before, and the store does not show it: it was rolled back"
    }
}

/// One record of a channel's history.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub generation: u64,
    /// The record, if it can be read.
    pub promotion: Option<Promoted>,
    /// Why it does not count, or no longer: the keys of old promotions may be retired since.
    pub fault: Option<Error>,
    /// Whether the newest promotion descends from it, or is it.
    pub linked: bool,
}

/// What a record of a channel's history says.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// The version.
    pub version: String,
    /// The artifact.
    pub artifact: String,
    /// Why.
    pub reason: String,
    /// When it claims to have been made.
    pub created: String,
    /// Until when it counts.
    pub expires: String,
    /// The BLAKE3 of its payload.
    pub digest: blake3::Hash,
    /// Who asked for it; empty if the signature does not count.
    pub requester: String,
    /// Who approved it.
    pub approvers: Vec<String>,
}

impl Head {
    /// Its number and digest.
    pub fn newest(&self) -> Newest {
        Newest { generation: self.approved.record.predicate.generation(), digest: self.approved.digest }
    }

    /// Refuses what is older than what was seen.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub(super) fn refuse_lost(&self, channel: &ChannelName) -> Result<()> {
        match self.lost {
            None => Ok(()),
            Some(generation) => Err(Error::Stale {
                what: format!("generation {generation} of {channel}"),
                why: "it was seen before and counts no more, and nothing newer is there",
            }),
        }
    }
}

impl Vault {
    /// One promotion of a channel, if it counts.
    fn promotion(&self, rooted: &Rooted, channel: &ChannelName, generation: u64) -> Result<Approved<Promotion>> {
        let envelope = self.record(&record_path(&channel_folder(channel), generation))?;
        judged(&envelope, rooted, channel, generation)
    }
}

/// Judges a promotion that stands under this number of this channel.
pub(super) fn judged(
    envelope: &Envelope,
    rooted: &Rooted,
    channel: &ChannelName,
    generation: u64,
) -> Result<Approved<Promotion>> {
    let approved = rooted.promotion(envelope)?;
    let untrusted = |why| Err(Error::Untrusted { what: format!("generation {generation} of {channel}"), why });
    let predicate = &approved.record.predicate;
    if predicate.channel_name().ok().as_ref() != Some(channel) {
        return untrusted("is signed for another channel");
    }
    if predicate.generation() != generation {
        return untrusted("is signed as another generation");
    }
    if !approved.suffices() {
        return untrusted("is not approved by enough holders");
    }
    Ok(approved)
}

fn judged_once(envelope: &Envelope, once: &Rooted, channel: &ChannelName, generation: u64) -> bool {
    judged(envelope, once, channel, generation).is_ok()
}

impl Gate<'_> {
    /// The newest promotion of a channel that counts: approved as the trust root demands, with an unbroken chain of digests
    /// to the one this client saw last or to the first. Whether it has expired is not judged here.
    ///
    /// # Errors
    /// [`Error::Stale`] if a newer one was seen before, or those that counted once count no more; [`Error::Untrusted`] if two valid ones
    /// contradict each other, or the channel is governed by no rule; [`Error::Corrupt`] if a record of the chain is missing.
    pub fn head(&mut self, channel: &ChannelName) -> Result<Option<Head>> {
        match self.tip(channel)? {
            Tip::Counts(head) => Ok(Some(*head)),
            Tip::Lost(generation) => Err(Error::Stale {
                what: format!("generation {generation} of {channel}"),
                why: "it counts no more, because its keys were compromised or retired, and nothing newer is there",
            }),
            Tip::Nothing => Ok(None),
        }
    }

    /// What the next promotion of a channel is built on: the newest that counts. None if there is none, or none any more: whoever
    /// approves the next one may have to replace all that a stolen key had approved.
    ///
    /// # Errors
    /// As [`Gate::head`], but not if what counted once counts no more.
    pub(super) fn base(&mut self, channel: &ChannelName) -> Result<Option<Newest>> {
        Ok(match self.tip(channel)? {
            Tip::Counts(head) => Some(head.newest()),
            Tip::Lost(generation) => {
                self.note(format!(
                    "no promotion to {channel} counts any more, up to generation {generation}: the next one starts anew"
                ));
                None
            }
            Tip::Nothing => None,
        })
    }

    fn tip(&mut self, channel: &ChannelName) -> Result<Tip> {
        self.rooted.release(channel)?;
        let folder = channel_folder(channel);
        let numbers = self.vault.numbers(&folder)?;
        let known = self.memory.channel(channel);
        let Search { newest, skipped, lost } = self.search(channel, &numbers)?;
        let Some(approved) = newest else {
            let seen = known.filter(|known| !self.counted_once(channel, *known));
            let tip = match (seen, lost) {
                (Some(seen), _) => Err(Error::Stale {
                    what: format!("generation {} of {channel}", seen.generation),
                    why: missing(&skipped, seen.generation),
                }),
                (None, lost) => Ok(lost.max(known.map(|known| known.generation)).map_or(Tip::Nothing, Tip::Lost)),
            };
            self.note_skipped(channel, &skipped);
            return tip;
        };
        let mut head = Head { approved, skipped, links: 0, lost };
        match known.filter(|known| known.generation > head.newest().generation) {
            Some(known) if self.counted_once(channel, known) => head.lost = head.lost.max(Some(known.generation)),
            Some(known) => {
                self.note_skipped(channel, &head.skipped);
                let what = format!("generation {} of {channel}", head.newest().generation);
                return Err(Error::Stale { what, why: missing(&head.skipped, known.generation) });
            }
            None => {
                head.links = self.check_links(channel, &head, known, &numbers)?;
                self.memory.saw_channel(channel, head.newest());
            }
        }
        Ok(Tip::Counts(Box::new(head)))
    }

    /// From the highest number down to the first record that counts.
    fn search(&self, channel: &ChannelName, numbers: &[u64]) -> Result<Search> {
        let (mut found, folder) = (Search::default(), channel_folder(channel));
        let once = self.rooted.regardless();
        for (lower, &generation) in numbers.iter().enumerate().rev() {
            let envelope = self.record(&folder, generation);
            let judged = |rooted: &Rooted| -> Result<Approved<Promotion>> {
                match &envelope {
                    Ok(envelope) => judged(envelope, rooted, channel, generation),
                    Err(error) => Err(Error::format("record", error.to_string())),
                }
            };
            if let Err(error @ Error::Storage { .. }) = envelope {
                return Err(error);
            }
            let reason = match judged(&self.rooted) {
                Ok(approved) if is_within_reach(generation, lower) => {
                    found.newest = Some(approved);
                    break;
                }
                Ok(_) => Error::format("record", "its number is far above the others"),
                Err(error) => error,
            };
            // What counted once and counts no more was followed by nothing: the older ones are not what is wanted.
            if found.lost.is_none() && is_within_reach(generation, lower) && judged(&once).is_ok() {
                found.lost = Some(generation);
            }
            if found.skipped.len() == MAX_LOOKS {
                let what = format!("{channel}: above its newest promotion");
                let why = "there are more than 100 records that do not count";
                return Err(Error::Untrusted { what, why });
            }
            found.skipped.push(Skipped { generation, reason });
        }
        Ok(found)
    }

    /// The envelope of a record, not checked. What is a withdrawal is told as one.
    fn record(&self, folder: &str, generation: u64) -> Result<Envelope> {
        let bytes = self.vault.demand(&record_path(folder, generation), MAX_ENVELOPE)?;
        Envelope::parse_record(&bytes).map_err(|error| withdrawn::told(&self.rooted, &bytes).unwrap_or(error))
    }

    fn note_skipped(&mut self, channel: &ChannelName, skipped: &[Skipped]) {
        for Skipped { generation, reason } in skipped {
            self.note(format!("generation {generation} of {channel} does not count: {reason}"));
        }
    }

    /// Whether the very record that was seen still stands under its number, with signatures that made it count once.
    fn counted_once(&self, channel: &ChannelName, seen: Newest) -> bool {
        let once = self.rooted.regardless();
        self.vault.promotion(&once, channel, seen.generation).is_ok_and(|approved| approved.digest == seen.digest)
    }

    /// Checks that the newest promotion descends from what was seen before.
    fn check_links(
        &mut self,
        channel: &ChannelName,
        head: &Head,
        known: Option<Newest>,
        numbers: &[u64],
    ) -> Result<usize> {
        let newest = head.newest();
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
        let folder = channel_folder(channel);
        let previous = head.approved.record.predicate.previous();
        let most = if known.is_some() { usize::MAX } else { FIRST_LINKS };
        let followed = self.vault.follow(&folder, (newest.generation, previous), numbers, (until, most))?;
        let until = if followed.len() == most { followed[most - 1].generation } else { until };
        let beside = numbers.iter().filter(|n| (until..newest.generation).contains(n));
        let beside = beside.filter(|n| !followed.iter().any(|link| link.generation == **n));
        // A record beside the chain burns its number; one that counts contradicts the chain.
        for generation in beside {
            match self.vault.promotion(&self.rooted, channel, *generation) {
                Ok(_) => return fork(),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(known) = known.filter(|known| !followed.contains(known)) {
            // It may be that its keys were compromised since: then it counts no more, and the chain goes around it.
            if !self.counted_once(channel, known) {
                return fork();
            }
            self.note(format!("generation {} of {channel}, seen before, counts no more", known.generation));
        }
        Ok(followed.len())
    }

    /// Opens a channel: everything that the trust root demands is checked, and each check is noted in [`Gate::steps`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing was ever promoted; [`Error::Stale`] if the promotion has expired, was rolled back, or
    /// a demanded statement of freshness is missing, old, or knows of something newer; [`Error::Untrusted`] if approvals or
    /// attestations are missing, the artifact is revoked or another one than was promoted; [`Error::Corrupt`].
    pub fn resolve_channel(&mut self, channel: &ChannelName) -> Result<Artifact> {
        let Some(head) = self.head(channel)? else {
            return Err(Error::NotFound { what: format!("a promotion to {channel}") });
        };
        head.refuse_lost(channel)?;
        let Newest { generation, .. } = head.newest();
        self.note_skipped(channel, &head.skipped);
        let Approved { record, requester, approvers, threshold, lapses, .. } = &head.approved;
        let by = approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.step(format!(
            "channel: generation {generation} of {channel}, asked for by {requester}, approved by {by} ({} of {threshold})",
            approvers.len()
        ));
        self.step(match head.links {
            0 => "history: the promotion seen last time, or the first".to_owned(),
            links => format!("history: {links} promotions before it follow each other by digest"),
        });
        let what = format!("generation {generation} of {channel}");
        if lapses.as_deref().is_some_and(|lapses| self.rooted.clock().is_past(lapses)) {
            return Err(Error::Stale { what, why: "it has expired" });
        }
        self.step(format!("expiry: {}", lapses.as_deref().unwrap_or_default()));
        self.check_freshness(channel, &head)?;

        let name = record.predicate.version_name()?;
        let mut artifact = self.vault.resolve(&Reference::Version(name.clone()), &self.policy())?;
        if artifact.subject != record.subject {
            let what = format!("{name} in {channel}");
            return Err(Error::Untrusted { what, why: "is another artifact than the one that was promoted" });
        }
        let sealers = self.holders(artifact.manifest.signers());
        self.step(format!("artifact: {name}, {}, sealed by {sealers}", artifact.digest));
        self.refuse_revoked(artifact.digest, Some(&channel.model), &name.to_string())?;
        self.check_attestations(channel, &artifact)?;
        artifact.channel = Some((channel.clone(), generation));
        artifact.promotion = Some(head.approved.digest);
        Ok(artifact)
    }

    /// Demands the attestations that the trust root demands of the channel.
    pub(super) fn check_attestations(&mut self, channel: &ChannelName, artifact: &Artifact) -> Result<()> {
        let demanded = self.rooted.release(channel)?.attestations().to_vec();
        for Required { predicate_type, role } in demanded {
            let right = Right::attest_as(role, Some(&channel.model));
            self.vault.require_attestation_by(artifact, &self.policy(), right, &predicate_type.parse()?)?;
            self.step(format!("attestation: {predicate_type}, by the role {}", role.as_str()));
        }
        Ok(())
    }

    /// The history of a channel, the oldest first, and what is wrong with it: a record of the chain is missing, or a newer
    /// one was seen before. Every record is judged, by the trust root of today.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if no rule governs the channel; [`Error::Storage`].
    pub fn channel_log(&mut self, channel: &ChannelName) -> Result<(Vec<Entry>, Option<Error>)> {
        self.rooted.release(channel)?;
        let folder = channel_folder(channel);
        let numbers = self.vault.numbers(&folder)?;
        let (mut entries, once): (Vec<_>, _) = (Vec::new(), self.rooted.regardless());
        let mut wanted: Option<Option<blake3::Hash>> = None;
        for &generation in numbers.iter().rev() {
            // One reading: what is shown is what was judged.
            let envelope = match self.record(&folder, generation) {
                Err(error @ Error::Storage { .. }) => return Err(error),
                other => other,
            };
            let (judged, read) = match envelope {
                Ok(envelope) => {
                    let judged = judged(&envelope, &self.rooted, channel, generation);
                    // What nobody ever vouched for says nothing here.
                    let vouched = judged.is_ok() || judged_once(&envelope, &once, channel, generation);
                    let read = promoted(&envelope, &judged).ok();
                    (judged, read.map(|(promoted, previous)| (promoted, previous, vouched)))
                }
                Err(error) => (Err(error), None),
            };
            let linked = match (&wanted, &read) {
                // The chain starts at the newest that counts.
                (None, _) => judged.is_ok(),
                (Some(Some(wanted)), Some((promoted, ..))) => promoted.digest == *wanted,
                _ => false,
            };
            if linked && let Some((_, previous, _)) = &read {
                wanted = Some(*previous);
            }
            entries.push(Entry {
                generation,
                promotion: read.filter(|(.., vouched)| linked || *vouched).map(|(promoted, ..)| promoted),
                fault: judged.err(),
                linked,
            });
        }
        entries.reverse();
        let fault = match (self.head(channel), wanted) {
            (Err(error @ Error::Storage { .. }), _) => return Err(error),
            (Err(error), _) => Some(error),
            (Ok(_), Some(Some(missing))) => {
                let what = format!("the promotion to {channel} with digest {missing}, which the one behind it names");
                Some(Error::Corrupt { place: Place::Object(what), fault: Fault::Missing })
            }
            (Ok(_), _) => None,
        };
        Ok((entries, fault))
    }
}

/// What a record says, and which one it names as the one before it.
fn promoted(envelope: &Envelope, judged: &Result<Approved<Promotion>>) -> Result<(Promoted, Option<blake3::Hash>)> {
    let statement = crate::provenance::Statement::<Promotion>::parse(envelope.payload())?;
    let predicate = &statement.predicate;
    predicate.check()?;
    let judged = judged.as_ref().ok();
    let promoted = Promoted {
        version: predicate.version_name()?.to_string(),
        artifact: statement.subject.blake3.to_string(),
        reason: predicate.reason().to_owned(),
        created: predicate.created().to_owned(),
        expires: predicate.expires().to_owned(),
        digest: blake3::hash(envelope.payload()),
        requester: judged.map(|approved| approved.requester.to_string()).unwrap_or_default(),
        approvers: judged.map_or_else(Vec::new, |a| a.approvers.iter().map(ToString::to_string).collect()),
    };
    Ok((promoted, predicate.previous()))
}

pub(super) fn channel_folder(channel: &ChannelName) -> String {
    format!("models/{}/channels/{}", channel.model, channel.channel)
}
