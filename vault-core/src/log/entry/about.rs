//! What a record is about, as its path tells.

use super::Action;
use crate::names::{ArtifactDigest, Channel, ModelName, Version};

/// The folders in which records stand that a log names.
pub const FOLDERS: [&str; 7] = ["models", "artifacts", "proposals", "revocations", "retired", "trust", "server/state"];

/// Whether a log names the record at this path. Statements of freshness it does not: there are many, and what they say
/// is over soon.
pub fn is_logged(path: &str) -> bool {
    About::of(path).is_some()
}

/// What was done, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) action: Action,
    pub(super) model: Option<ModelName>,
    pub(super) version: Option<Version>,
    pub(super) channel: Option<Channel>,
    pub(super) artifact: Option<ArtifactDigest>,
}

impl About {
    pub(super) fn just(action: Action) -> Self {
        Self { action, model: None, version: None, channel: None, artifact: None }
    }

    /// What the record at this path is about; `None` if a log names no such record.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (folder, rest) = path.strip_suffix(".dsse.json")?.split_once('/')?;
        match folder {
            "models" => Self::of_model(rest),
            "artifacts" => Self::of_artifact(rest),
            "proposals" => {
                let (proposal, name) = rest.split_once('/')?;
                (is_hash(proposal) && is_hash(name)).then(|| Self::just(Action::Approve))
            }
            "revocations" => is_number(rest).then(|| Self::just(Action::Revoke)),
            "trust" => {
                let (version, name) = rest.split_once('/')?;
                (is_number(version) && is_hash(name)).then(|| Self::just(Action::Trust))
            }
            "server" => rest.strip_prefix("state/").is_some_and(is_number).then(|| Self::just(Action::Policy)),
            "retired" => {
                let (rest, name) = rest.rsplit_once('/')?;
                let (model, version) = rest.split_once("/versions/")?;
                is_hash(name).then_some(())?;
                let (model, version) = (Some(model.parse().ok()?), Some(version.parse().ok()?));
                Some(Self { model, version, ..Self::just(Action::Retire) })
            }
            _ => None,
        }
    }

    fn of_model(rest: &str) -> Option<Self> {
        if let Some((model, version)) = rest.split_once("/versions/") {
            let (model, version) = (Some(model.parse().ok()?), Some(version.parse().ok()?));
            return Some(Self { model, version, ..Self::just(Action::Seal) });
        }
        let (model, rest) = rest.split_once("/channels/")?;
        let (channel, generation) = rest.split_once('/')?;
        is_number(generation).then_some(())?;
        let (model, channel) = (Some(model.parse().ok()?), Some(channel.parse().ok()?));
        Some(Self { model, channel, ..Self::just(Action::Promote) })
    }

    fn of_artifact(rest: &str) -> Option<Self> {
        let (artifact, rest) = rest.split_once('/')?;
        let (folder, name) = rest.split_once('/')?;
        let action = match folder {
            "recipients" => is_number(name).then_some(Action::Share)?,
            "attestations" => is_hash(name).then_some(Action::Sign)?,
            "shredded" => is_hash(name).then_some(Action::Shred)?,
            _ => return None,
        };
        Some(Self { artifact: Some(ArtifactDigest::from_hex(artifact).ok()?), ..Self::just(action) })
    }
}

/// 64 lower-case hexadecimal digits.
fn is_hash(text: &str) -> bool {
    ArtifactDigest::from_hex(text).is_ok()
}

/// A number as records have it: from 1, without leading zeros.
fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number > 0 && number < 1 << 53 && number.to_string() == text)
}
