//! What channels and proposals point to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    error::{Error, Result},
    names::{ArtifactDigest, ChannelName, VersionName},
    provenance::{Chained as _, Envelope, Predicate as _, Promotion, Statement, predicate_type},
    vault::{Gate, Vault, chain::record_path, channel::channel_folder, stem},
};

/// One promotion, as it lies in a channel, whoever signed it.
#[derive(Debug, Clone)]
pub(in crate::vault) struct Pointer {
    pub(in crate::vault) generation: u64,
    pub(in crate::vault) name: VersionName,
    pub(in crate::vault) artifact: ArtifactDigest,
}

impl Vault {
    /// Every promotion of the vault, by channel. What is no promotion of its channel points nowhere, for any reader.
    pub(in crate::vault) fn pointers(&self, below: &str) -> Result<BTreeMap<ChannelName, Vec<Pointer>>> {
        let mut found: BTreeMap<ChannelName, Vec<u64>> = BTreeMap::new();
        self.store().list(below, &mut |entry| {
            if let Some((channel, generation)) = parse_promotion_path(&entry.path) {
                found.entry(channel).or_default().push(generation);
            }
            Ok(())
        })?;
        let mut channels = BTreeMap::new();
        for (channel, generations) in found {
            let mut pointers = Vec::new();
            for generation in generations {
                pointers.extend(self.pointer(&channel, generation)?);
            }
            channels.insert(channel, pointers);
        }
        Ok(channels)
    }

    fn pointer(&self, channel: &ChannelName, generation: u64) -> Result<Option<Pointer>> {
        let folder = channel_folder(channel);
        let envelope = match self.record(&record_path(&folder, generation)) {
            Ok(envelope) => envelope,
            Err(Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Under a number or in a channel that is not its own it counts for no reader.
        let said = promotion(&envelope).filter(|(of, pointer)| of == channel && pointer.generation == generation);
        Ok(said.map(|(_, pointer)| pointer))
    }

    /// What open proposals would have channels point to: those that could come into force, or did, after `since`.
    pub(in crate::vault) fn proposed(&self, since: Timestamp) -> Result<Vec<ArtifactDigest>> {
        let mut paths = Vec::new();
        self.store().list("proposals", &mut |entry| {
            paths.push(entry.path);
            Ok(())
        })?;
        let mut proposed = Vec::new();
        for path in paths.into_iter().filter(|path| path.ends_with(".dsse.json")) {
            let envelope = match self.record(&path) {
                Ok(envelope) => envelope,
                // Signatures of something that is none count for nobody.
                Err(Error::Corrupt { .. } | Error::Misuse(_)) => continue,
                Err(error) => return Err(error),
            };
            let Ok(statement) = Statement::<Promotion>::parse(envelope.payload()) else { continue };
            let expires = statement.predicate.expires().parse().unwrap_or(Timestamp::MAX);
            // One whose number is taken came into force, and is found in the channel, or never will.
            let is_open = match statement.predicate.channel_name() {
                Ok(channel) if expires >= since => {
                    let folder = channel_folder(&channel);
                    self.store().stat(&record_path(&folder, statement.predicate.generation()))?.is_none()
                }
                _ => false,
            };
            if is_open {
                proposed.push(statement.subject.blake3);
            }
        }
        Ok(proposed)
    }
}

/// What a promotion says, whoever signed it.
fn promotion(envelope: &Envelope) -> Option<(ChannelName, Pointer)> {
    if predicate_type(envelope.payload()).as_deref() != Some(Promotion::TYPE) {
        return None;
    }
    let Statement { subject, predicate } = Statement::<Promotion>::parse(envelope.payload()).ok()?;
    let (generation, name) = (predicate.generation(), predicate.version_name().ok()?);
    Some((predicate.channel_name().ok()?, Pointer { generation, name, artifact: subject.blake3 }))
}

impl Gate<'_> {
    /// The generation from which on promotions of this channel are in force, or might be for somebody.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(in crate::vault) fn current_from(&mut self, channel: &ChannelName) -> Result<u64> {
        match self.head(channel) {
            Ok(Some(head)) if head.lost.is_none() => Ok(head.newest().generation),
            Err(error @ Error::Storage { .. }) => Err(error),
            // Nobody can say which of them counts: all might.
            _ => Ok(0),
        }
    }
}

/// `models/<model>/channels/<channel>/<generation>.dsse.json`
fn parse_promotion_path(path: &str) -> Option<(ChannelName, u64)> {
    let (model, rest) = path.strip_prefix("models/")?.split_once("/channels/")?;
    let (channel, _) = rest.split_once('/')?;
    let name = ChannelName { model: model.parse().ok()?, channel: channel.parse().ok()? };
    let number = stem(path, &channel_folder(&name))?;
    let generation = number.parse().ok().filter(|n: &u64| *n > 0 && n.to_string() == number)?;
    Some((name, generation))
}
