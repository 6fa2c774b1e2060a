//! What follows a copy: statements of freshness, and proposals that are still open.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::{History, Job, Planned, record_path, records};
use crate::{
    error::{Error, Result},
    names::ChannelName,
    provenance::{Envelope, MAX_ENVELOPE},
    trust::Rooted,
    vault::{freshness, proposals::described, stem},
};

/// The most statements of freshness of one channel that come along, the newest ones.
const MAX_STATEMENTS: usize = 10_000;

impl Job<'_> {
    /// Copies the statements of freshness of these models.
    pub(super) fn place_freshness(&mut self, models: &HashSet<String>) -> Result<()> {
        let mut channels = HashSet::new();
        for model in models {
            self.source.store.list(&format!("freshness/{model}/channels"), &mut |entry| {
                let name = entry.path.strip_prefix("freshness/").and_then(|path| path.split_once("/channels/"));
                let name = name.and_then(|(model, rest)| Some(format!("{model}@{}", rest.split_once('/')?.0)));
                channels.extend(name.and_then(|name| name.parse::<ChannelName>().ok()));
                Ok(())
            })?;
        }
        for channel in channels {
            let folder = freshness::folder(&channel);
            let mut planned = Vec::new();
            for number in self.source.numbers(&folder)?.into_iter().rev().take(MAX_STATEMENTS) {
                let path = record_path(&folder, number);
                let judged = self.source.demand(&path, MAX_ENVELOPE).and_then(|bytes| {
                    records::freshness(&bytes, &channel, number)?;
                    Ok(Planned::new(path.clone(), &bytes))
                });
                self.note(path, judged, &mut planned)?;
            }
            for record in planned {
                // Another statement has the name: that one counts as well as this.
                if self.place(&record)?.is_some() {
                    self.report.skip(record.path.clone(), Error::Conflict { what: record.path });
                }
            }
        }
        Ok(())
    }

    /// Copies the proposals that could still come into force: promotions of these channels above their newest, and
    /// revocations of versions of these models.
    pub(super) fn place_proposals(
        &mut self,
        channels: &BTreeMap<ChannelName, History>,
        models: &HashSet<String>,
    ) -> Result<()> {
        let once = self.rooted().map(Rooted::regardless);
        for id in self.source.proposal_ids()? {
            let mut planned = Vec::new();
            for path in self.source.proposal_paths(id)? {
                let judged = self.proposal_file(id, &path).and_then(|(bytes, envelope)| {
                    let proposal = described(id, envelope.payload())?;
                    let open = match &proposal.channel {
                        Some(channel) => channels.get(channel).is_some_and(|h| proposal.generation > h.chain.last()),
                        None => {
                            models.contains(proposal.version.model.as_str()) && self.is_free(proposal.generation)?
                        }
                    };
                    if once.as_ref().is_some_and(|once| once.counting(&envelope).signatures().is_empty()) {
                        return Err(Error::Untrusted { what: path.clone(), why: "is signed by nobody who is listed" });
                    }
                    Ok(open.then(|| Planned::new(path.clone(), &bytes)))
                });
                match judged {
                    Ok(Some(record)) => planned.push(record),
                    Ok(None) => {}
                    Err(error @ Error::Storage { .. }) => return Err(error),
                    Err(reason) => self.report.skip(path, reason),
                }
            }
            planned.iter().try_for_each(|record| self.place_named(record))?;
        }
        Ok(())
    }

    /// Copies a proposal that was withdrawn. One that is not there any more keeps nobody from copying the rest.
    pub(super) fn place_withdrawn(&mut self, id: blake3::Hash) -> Result<()> {
        for path in self.source.proposal_paths(id)? {
            match self.proposal_file(id, &path) {
                Ok((bytes, _)) => self.place_named(&Planned::new(path, &bytes))?,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => self.report.skip(path, reason),
            }
        }
        Ok(())
    }

    /// One file of a proposal: the record with some signatures, under the hashes of both.
    fn proposal_file(&self, id: blake3::Hash, path: &str) -> Result<(Vec<u8>, Envelope)> {
        let bytes = self.source.demand(path, MAX_ENVELOPE)?;
        let envelope = records::envelope(&bytes)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let named = stem(path, folder) == Some(hex::encode(Sha256::digest(&bytes)).as_str());
        if !named || blake3::hash(envelope.payload()) != id {
            return Err(Error::format("proposal", "is not what its names are the hashes of"));
        }
        Ok((bytes, envelope))
    }

    /// Whether a revocation could still get this number.
    fn is_free(&self, generation: u64) -> Result<bool> {
        let path = record_path(crate::vault::revocations::FOLDER, generation);
        Ok(self.source.store.stat(&path)?.is_none())
    }
}
