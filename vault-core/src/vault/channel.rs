//! Channels: the newest promotion that counts, and what it takes to open through it.

use super::{Artifact, Gate, Skipped, tip::Tip};
use crate::{
    error::{Error, Fault, Place, Result},
    names::{ChannelName, Reference},
    provenance::{Chained, Envelope, Newest, Promotion},
    trust::{Approved, Required, Right, Rooted},
};

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
            Tip::Lost(Newest { generation, .. }) => Err(Error::Stale {
                what: format!("generation {generation} of {channel}"),
                why: "it counts no more, because its keys were compromised or retired, and nothing newer is there",
            }),
            Tip::Nothing => Ok(None),
        }
    }

    pub(super) fn note_skipped(&mut self, channel: &ChannelName, skipped: &[Skipped]) {
        for Skipped { generation, reason } in skipped {
            self.note(format!("generation {generation} of {channel} does not count: {reason}"));
        }
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
            let envelope = match self.promotion_at(&folder, generation) {
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
