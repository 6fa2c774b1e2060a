//! How artifacts, recipients and attestations are told, in text and JSON alike.

use serde_json::{Value, json};
use vault_core::{
    Error,
    error::Place,
    keys::KeyId,
    manifest::Manifest,
    parts::object_path,
    recipients::Stanza,
    trust::Policy,
    vault::{Access, Artifact, Attestation, Vault},
};

use crate::{
    failure::{Failure, Result},
    secrets::Signers,
    ui::{count, one_line},
};

/// What stands beside an artifact: who may open it, and who said what about it.
pub struct Beside {
    pub access: Result<Access>,
    pub attestations: Vec<Attestation>,
    /// Whether signatures were checked.
    checked: bool,
}

impl Beside {
    pub fn read(vault: &Vault, artifact: &Artifact, policy: &Policy) -> Result<Self> {
        let access = match vault.access(artifact, policy) {
            Err(error @ Error::Storage { .. }) => return Err(error.into()),
            other => other.map_err(Into::into),
        };
        let checked = !matches!(policy, Policy::InsecureSkipSignature);
        Ok(Self { access, attestations: vault.attestations(artifact, policy)?, checked })
    }

    /// What somebody should know who is about to rely on this.
    pub fn warnings(&self) -> Vec<String> {
        match &self.access {
            Ok(access) => access
                .skipped
                .iter()
                .map(|s| format!("recipients generation {} does not count: {}", s.generation, s.reason))
                .collect(),
            Err(failure) => vec![format!("nobody can open it: {}", failure.message())],
        }
    }

    /// One line for each attestation and one for the recipients.
    pub fn lines(&self, signers: &Signers, nobody: &str) -> Vec<String> {
        let attestation = |attestation: &Attestation| {
            let who = match &attestation.refusal {
                Some(reason) => format!("does not count: {reason}"),
                None => format!("signed by {}", signers.names(&attestation.signers, nobody)),
            };
            let (kind, sha256) = (&attestation.predicate_type, &attestation.sha256);
            one_line(&format!("  attestation: {kind} ({sha256}), {who}"))
        };
        let recipients = self.access.iter().map(|access| {
            format!(
                "  recipients:  {}, generation {}, signed by {}",
                count(access.stanzas.len() as u64, "recipient"),
                access.generation,
                signers.names(&access.signers, nobody)
            )
        });
        self.attestations.iter().map(attestation).chain(recipients).collect()
    }

    pub fn attestations_json(&self) -> Value {
        let each = |a: &Attestation| {
            json!({
                "path": a.path,
                "sha256": a.sha256,
                "type": a.predicate_type,
                "signers": ids(&a.signers),
                "counts": self.checked.then_some(a.refusal.is_none()),
                "reason": a.refusal.as_ref().map(ToString::to_string),
            })
        };
        self.attestations.iter().map(each).collect()
    }

    pub fn recipients_json(&self) -> Value {
        let Ok(access) = &self.access else { return Value::Null };
        let stanza = |s: &Stanza| json!({ "type": s.type_str(), "key_id": s.key_id().map(|id| id.to_hex()) });
        json!({
            "generation": access.generation,
            "signers": ids(&access.signers),
            "stanzas": access.stanzas.iter().map(stanza).collect::<Value>(),
        })
    }
}

/// What stands for the signers under a policy that demands some.
pub const NOBODY: &str = "nobody accepted";

pub fn ids(ids: &[KeyId]) -> Value {
    ids.iter().map(|id| json!(id.to_hex())).collect()
}

/// The object of the vault that a damaged segment is in.
pub fn damaged_object(manifest: &Manifest, error: &Error) -> Option<String> {
    let Error::Corrupt { place: Place::Segment { stream, position }, .. } = error else { return None };
    let stream = manifest.stream(*stream)?;
    let part = usize::try_from(stream.layout.part_of(*position)).ok()?;
    stream.parts.get(part).map(object_path)
}

/// The failure of reading an artifact, with the object to replace if it is known.
pub fn while_reading(manifest: &Manifest) -> impl FnOnce(Error) -> Failure {
    |error| match damaged_object(manifest, &error) {
        Some(object) => Failure::from(error).hint(format!("the damage is in {object}; restore it from another copy")),
        None => error.into(),
    }
}
