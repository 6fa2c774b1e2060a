//! What is signed about artifacts: reading it from files, and showing it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde_json::{Value, json};
use vault_core::{
    Error,
    provenance::{MAX_ENVELOPE, Predicate},
    trust::Policy,
    vault::{Artifact, Found, Vault, Which},
};

use super::describe::ids;
use crate::{
    failure::{Failure, Result},
    session::Session,
    ui::pretty_json,
};

/// Reads a document named on the command line.
pub fn read_local(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::local(path, &Error::NotFound { what: name.clone() }),
        _ => Failure::io(&name, &error),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_ENVELOPE + 1).read_to_end(&mut bytes).map_err(|e| Failure::io(&name, &e))?;
    if bytes.len() as u64 > MAX_ENVELOPE {
        return Err(Failure::usage(format!("{name} is longer than {MAX_ENVELOPE} bytes")));
    }
    Ok(bytes)
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
