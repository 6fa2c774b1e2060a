//! What is signed about artifacts: reading it from files, and showing it.

use std::path::Path;

use serde_json::{Value, json};
use vault_core::{
    provenance::{MAX_ENVELOPE, Predicate},
    trust::Policy,
    vault::{Artifact, Found, Vault, Which},
};

use super::describe::ids;
use crate::{documents, failure::Result, session::Session, ui::pretty_json};

/// Reads a document named on the command line.
pub fn read_local(path: &Path) -> Result<Vec<u8>> {
    documents::read(path, MAX_ENVELOPE)
}

/// Prints the predicates of verified attestations.
pub fn show(vault: &Vault, artifact: &Artifact, policy: &Policy, which: &Which, session: &Session) -> Result {
    let found = vault.find_attestations(artifact, policy, which)?;
    let predicate = |found: &Found| json!(found.statement.predicate.predicate().members());
    let object = |found: &Found| {
        json!({
            "sha256": found.sha256,
            "type": found.statement.predicate.predicate_type(),
            "signers": ids(found.statement.signers()),
            "predicate": predicate(found),
        })
    };
    let text: Vec<_> = found.iter().map(|found| pretty_json(&predicate(found))).collect();
    session.ui.result(&text.join("\n"), &json!({ "attestations": found.iter().map(object).collect::<Value>() }))
}
