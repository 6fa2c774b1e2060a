//! What channels and proposals point to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    error::{Error, Result},
    names::{ArtifactDigest, ChannelName, VersionName},
    provenance::{Envelope, Predicate as _, Promotion, Statement, predicate_type},
    vault::{Gate, Vault, stem},
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
        let folder = crate::vault::channel::channel_folder(channel);
        let envelope = match self.record(&crate::vault::chain::record_path(&folder, generation)) {
            Ok(envelope) => envelope,
            Err(Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(promotion(&envelope).filter(|(_, _, of)| of == channel).map(|(name, artifact, _)| Pointer {
            generation,
            name,
            artifact,
        }))
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
            if expires >= since {
                proposed.push(statement.subject.blake3);
            }
        }
        Ok(proposed)
    }
}

fn promotion(envelope: &Envelope) -> Option<(VersionName, ArtifactDigest, ChannelName)> {
    use crate::provenance::Chained as _;
    if predicate_type(envelope.payload()).as_deref() != Some(Promotion::TYPE) {
        return None;
    }
    let statement = Statement::<Promotion>::parse(envelope.payload()).ok()?;
    let (name, channel) = (statement.predicate.version_name().ok()?, statement.predicate.channel_name().ok()?);
    Some((name, statement.subject.blake3, channel))
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
    let number = stem(path, &crate::vault::channel::channel_folder(&name))?;
    let generation = number.parse().ok().filter(|n: &u64| *n > 0 && n.to_string() == number)?;
    Some((name, generation))
}
