//! What the path of an object says it is.

use super::{
    VAULT_JSON,
    gc::runs,
    listing::{parse_promotion_path, parse_version_path},
    retire, session,
};
use crate::{
    log::ProofName,
    names::{ArtifactDigest, ChannelName, VersionName},
    parts::object_path,
};

/// The thing that an object of a vault is, as its path says. Each has one path, but sessions and collections have several
/// objects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectName {
    /// `vault.json`.
    Vault,
    /// A part, a tree or an index: content under the BLAKE3 of its bytes.
    Content(blake3::Hash),
    /// The manifest of an artifact.
    Manifest(ArtifactDigest),
    /// A generation of an artifact's recipients.
    Recipients(ArtifactDigest, u64),
    /// An attestation about an artifact, under the SHA-256 (hex) of its envelope.
    Attestation(ArtifactDigest, String),
    /// A record that an artifact's keys were destroyed, under the SHA-256 (hex) of its envelope.
    Shredding(ArtifactDigest, String),
    /// A version record.
    Version(VersionName),
    /// A promotion, by its generation; or the withdrawal of the proposal that had the number.
    Promotion(ChannelName, u64),
    /// A statement of freshness, by the second it was made in.
    Freshness(ChannelName, u64),
    /// The retirement of a version, under the SHA-256 (hex) of its envelope.
    Retirement(VersionName, String),
    /// A revocation, by its generation; or a withdrawal.
    Revocation(u64),
    /// A proposal with a signature: the BLAKE3 of the record, and the SHA-256 (hex) of the envelope.
    Proposal(blake3::Hash, String),
    /// A trust root: its version, and the SHA-256 (hex) of its envelope.
    TrustRoot(u64, String),
    /// A lease or the outcome of a session.
    Session(String),
    /// What a garbage collection says to writers.
    Collection(String),
    /// What writers add to the log: a batch of entries, or a hint where the entry about a record is. Its path.
    LogEntries(String),
    /// What is derived from them and published: the log's beginning, tiles and checkpoints. Its path.
    LogTree(String),
    /// A proof that a record stands in a log: maybe in that of another vault, which this one was copied from.
    LogProof(ProofName),
}

impl ObjectName {
    /// Reads a path. None for what has no place in a vault.
    pub fn parse(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.split('/').collect();
        match segments[..] {
            [VAULT_JSON] => Some(Self::Vault),
            ["objects", _, hex] => {
                let name = hash(hex)?;
                (object_path(&name) == path).then_some(Self::Content(name))
            }
            ["artifacts", artifact, "manifest.json"] => Some(Self::Manifest(digest(artifact)?)),
            ["artifacts", artifact, "recipients", file] => Some(Self::Recipients(digest(artifact)?, number(file)?)),
            ["artifacts", artifact, "attestations", file] => Some(Self::Attestation(digest(artifact)?, sha256(file)?)),
            ["artifacts", artifact, "shredded", file] => Some(Self::Shredding(digest(artifact)?, sha256(file)?)),
            ["revocations", file] => Some(Self::Revocation(number(file)?)),
            ["proposals", id, file] => Some(Self::Proposal(hash(id)?, sha256(file)?)),
            ["trust", version, file] => Some(Self::TrustRoot(plain_number(version)?, sha256(file)?)),
            ["models", .., file] => parse_version_path(path).map(Self::Version).or_else(|| {
                number(file)?;
                parse_promotion_path(path).map(|(channel, generation)| Self::Promotion(channel, generation))
            }),
            ["freshness", .., file] => {
                // The same path but for the folder.
                let promotion = format!("models/{}", path.strip_prefix("freshness/")?);
                number(file)?;
                parse_promotion_path(&promotion).map(|(channel, second)| Self::Freshness(channel, second))
            }
            ["retired", .., file] => Some(Self::Retirement(retire::parse_path(path)?, sha256(file)?)),
            ["sessions", ..] => session::parse_path(path).map(|(id, _)| Self::Session(id.to_owned())),
            ["log", "batch", name] => batch(name).then(|| Self::LogEntries(path.to_owned())),
            ["log", "record", start, key] => (hash(key).is_some() && key.starts_with(start) && start.len() == 2)
                .then(|| Self::LogEntries(path.to_owned())),
            ["log", "genesis.json" | "checkpoint"] | ["log", "checkpoints", _] | ["log", "tile", _, ..] => {
                Some(Self::LogTree(path.to_owned()))
            }
            ["log", "proof", ..] => ProofName::parse(path).map(Self::LogProof),
            ["gc", ..] => runs::parse_path(path).map(|(id, _)| Self::Collection(id.to_owned())),
            _ => None,
        }
    }
}

/// `<index of the first entry>.<attempt>`
fn batch(name: &str) -> bool {
    let is_number = |text: &str| text.parse().is_ok_and(|number: u64| number.to_string() == text);
    name.split_once('.').is_some_and(|(first, attempt)| is_number(first) && is_number(attempt))
}

fn digest(hex: &str) -> Option<ArtifactDigest> {
    hash(hex).map(Into::into)
}

/// 64 lower-case hex digits.
fn hash(hex: &str) -> Option<blake3::Hash> {
    ArtifactDigest::from_hex(hex).ok().filter(|digest| digest.to_hex() == hex).map(|digest| digest.hash())
}

fn plain_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == text)
}

fn number(file: &str) -> Option<u64> {
    plain_number(file.strip_suffix(".dsse.json")?)
}

fn sha256(file: &str) -> Option<String> {
    let hex = file.strip_suffix(".dsse.json")?;
    hash(hex).map(|_| hex.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_object_has_a_path_and_nothing_else_has() {
        let h = "ab".repeat(32);
        let good = [
            "vault.json".to_owned(),
            format!("objects/ab/{h}"),
            format!("artifacts/{h}/manifest.json"),
            format!("artifacts/{h}/recipients/1.dsse.json"),
            format!("artifacts/{h}/attestations/{h}.dsse.json"),
            format!("artifacts/{h}/shredded/{h}.dsse.json"),
            "models/a/b/versions/1.0.dsse.json".to_owned(),
            "models/a/b/channels/production/7.dsse.json".to_owned(),
            "freshness/a/channels/production/1700000000.dsse.json".to_owned(),
            format!("retired/a/versions/1.0/{h}.dsse.json"),
            "revocations/1.dsse.json".to_owned(),
            format!("proposals/{h}/{h}.dsse.json"),
            format!("trust/1/{h}.dsse.json"),
            format!("sessions/{}/lease-1.json", "ab".repeat(16)),
            format!("sessions/{}/outcome.json", "cd".repeat(16)),
            format!("gc/{}/started.json", "ab".repeat(16)),
            "log/batch/0.0".to_owned(),
            "log/batch/256.3".to_owned(),
            format!("log/record/ab/{h}"),
            "log/genesis.json".to_owned(),
            "log/checkpoint".to_owned(),
            "log/tile/0/x001/234.p/5".to_owned(),
            format!("log/proof/ab/{h}/7.{h}"),
        ];
        let mut seen = Vec::new();
        for path in &good {
            let name = ObjectName::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert!(!seen.contains(&name), "{path}");
            seen.push(name);
        }
        let bad = [
            String::new(),
            "vault.json/x".to_owned(),
            format!("objects/ac/{h}"),
            format!("objects/AB/{}", h.to_uppercase()),
            format!("artifacts/{h}/recipients/01.dsse.json"),
            format!("artifacts/{h}/recipients/0.dsse.json"),
            format!("artifacts/{h}/other.json"),
            "models/A/versions/1.dsse.json".to_owned(),
            "models/a/channels/production/+7.dsse.json".to_owned(),
            "models/a/versions/../1.dsse.json".to_owned(),
            "freshness/a/versions/1.dsse.json".to_owned(),
            "revocations/1.json".to_owned(),
            "server/state/1.dsse.json".to_owned(),
            "log/batch/01.0".to_owned(),
            "log/batch/1".to_owned(),
            format!("log/record/ac/{h}"),
            "log/other".to_owned(),
            format!("log/proof/ac/{h}/7.{h}"),
            format!("log/proof/ab/{h}/07.{h}"),
            format!("log/proof/ab/{h}/9007199254740993.{h}"),
            format!("log/proof/ab/{h}/7"),
            format!("log/proof/ab/{h}/7.{h}/x"),
            "log/tile".to_owned(),
            "sessions/x/outcome.json".to_owned(),
            format!("gc/{}/other.json", "ab".repeat(16)),
        ];
        for path in bad {
            assert_eq!(ObjectName::parse(&path), None, "{path}");
        }
    }
}
