//! Withdrawals: what stands under the number of a proposal that is out of use.
//!
//! A withdrawal names a proposal and nothing else, so by itself it could be put under any number of any chain. Readers take whatever
//! is there for a gap; who lets records in asks the proposal where it belongs.

use super::{
    Admission, Vault,
    chain::record_path,
    channel::channel_folder,
    promote::WITHDRAWN,
    proposals::{Proposal, described},
    revocations,
};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    names::{ChannelName, VersionName},
    provenance::Envelope,
    trust::Rooted,
};

/// What a withdrawal says.
pub(super) fn payload(id: blake3::Hash) -> Vec<u8> {
    format!(r#"{{"proposal":"{id}"}}"#).into_bytes()
}

/// A withdrawal, and the proposal that it names; none for what is something else.
pub(super) fn parse(bytes: &[u8]) -> Option<(Envelope, blake3::Hash)> {
    let envelope = Envelope::parse_record_of(bytes, WITHDRAWN).ok()?;
    let text = std::str::from_utf8(envelope.payload()).ok()?;
    let id = text.strip_prefix(r#"{"proposal":""#)?.strip_suffix(r#""}"#)?;
    let id = crate::names::parse_hash(id)?;
    Some((envelope, id))
}

/// Why a withdrawal is no record, for people: who took what back; none for what is something else.
pub(super) fn told(rooted: &Rooted, bytes: &[u8]) -> Option<Error> {
    let (envelope, id) = parse(bytes)?;
    let signers = rooted.counted_signers(&envelope);
    let by: Vec<_> = signers.iter().filter_map(|id| rooted.root().holder(id)).map(ToString::to_string).collect();
    let by = if by.is_empty() { "nobody whose signature counts".to_owned() } else { by.join(", ") };
    Some(Error::format("record", format!("is the withdrawal of proposal b3:{id} by {by}")))
}

/// The path of the record that a proposal would become.
fn path(proposal: &Proposal) -> String {
    let folder = proposal.channel.as_ref().map_or_else(|| revocations::FOLDER.to_owned(), channel_folder);
    record_path(&folder, proposal.generation)
}

/// Whether a key may take a proposal back: one that may approve it, or that asked for it and still may.
pub(super) fn may_withdraw(rooted: &Rooted, key: &KeyId, proposal: &Proposal, has_asked: bool) -> Result<bool> {
    Ok(match &proposal.channel {
        Some(channel) => {
            let (asks, approves) = rooted.may_promote(key, channel)?;
            approves || asks && has_asked
        }
        None => rooted.may_revoke(key, &proposal.version.model),
    })
}

impl Vault {
    /// The version, and the channel if there is one, about which the withdrawal under this path is; none for what is no withdrawal. To be
    /// let in it must name a proposal of this vault, stand in that one's place and be signed by somebody who may take it back.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such proposal; [`Error::Corrupt`] if its place is another; [`Error::Untrusted`] if nobody who may
    /// has signed it; [`Error::Storage`].
    pub fn withdrawn(
        &self,
        admission: &Admission,
        at: &str,
        bytes: &[u8],
    ) -> Result<Option<(VersionName, Option<ChannelName>)>> {
        let Some((envelope, id)) = parse(bytes) else { return Ok(None) };
        let record = self.any_proposal(id)?;
        let proposal = described(id, record.payload())?;
        if path(&proposal) != at {
            return Err(Error::format("withdrawal", "names a proposal that is for another number"));
        }
        if let Some(rooted) = admission.rooted()? {
            let asked = self.proposal(id, rooted)?;
            let is_by = |envelope: &Envelope, key: &KeyId| rooted.counted_signers(envelope).contains(key);
            let mut may = false;
            for key in rooted.counted_signers(&envelope) {
                may |= may_withdraw(rooted, &key, &proposal, is_by(&asked, &key))?;
            }
            if !may {
                let why = "is signed by nobody who asked for the proposal, or may approve it";
                return Err(Error::Untrusted { what: format!("withdrawal of {id}"), why });
            }
        }
        Ok(Some((proposal.version, proposal.channel)))
    }

    /// Whether a withdrawal stands where the proposal that it names belongs.
    ///
    /// # Errors
    /// As [`Vault::withdrawn`].
    pub(super) fn demand_in_place(&self, at: &str, bytes: &[u8]) -> Result<()> {
        self.withdrawn(&Admission::WellFormed, at, bytes).map(drop)
    }

    /// A proposal with whatever signatures one of its files has.
    fn any_proposal(&self, id: blake3::Hash) -> Result<Envelope> {
        for path in self.proposal_paths(id)? {
            match self.record(&path) {
                Ok(envelope) if blake3::hash(envelope.payload()) == id => return Ok(envelope),
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => {}
            }
        }
        Err(Error::NotFound { what: format!("proposal {id}, which is to be withdrawn") })
    }
}
