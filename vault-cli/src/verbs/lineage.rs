//! `mvault inspect --lineage`

use serde_json::{Value, json};
use vault_core::vault::{Ancestor, Artifact, Revocations, State, Vault};

use super::describe::{NOBODY, ids};
use crate::{
    belief::View,
    failure::{Failure, Result},
    secrets::Signers,
    session::Session,
    ui::{count, one_line, short},
};

/// Prints the ancestry, and fails if an ancestor in this vault does not verify. What is revoked is said, and is no failure:
/// it opens nowhere itself, and what was made from it may be good.
pub fn show(vault: &Vault, artifact: &Artifact, view: &View, session: &Session) -> Result {
    let lineage = vault.lineage(artifact, &view.policy)?;
    let lines: Vec<_> = lineage.iter().map(|ancestor| line(ancestor, view)).collect();
    let objects = lineage.iter().map(|ancestor| object(ancestor, &view.revocations)).collect::<Value>();
    session.ui.result(&lines.join("\n"), &json!({ "lineage": objects }))?;
    let revoked = lineage.iter().filter(|ancestor| is_revoked(ancestor, &view.revocations)).count() as u64;
    if revoked > 0 {
        session.ui.warn(&format!("{} revoked", count(revoked, "ancestor")));
    }
    let refused = lineage.into_iter().filter_map(|ancestor| match ancestor.state {
        State::Refused(error) => Some(Failure::from(error)),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    let number = refused.len() as u64;
    match refused.into_iter().reduce(Failure::worse) {
        None => Ok(()),
        Some(worst) => Err(worst.prefixed(&format!("{} not verified; the worst: ", count(number, "ancestor")))),
    }
}

/// As a version of whichever model: an ancestor is named by its digest.
fn is_revoked(ancestor: &Ancestor, revocations: &Revocations) -> bool {
    ancestor.artifact.is_some_and(|digest| revocations.contains(digest, None))
}

fn line(ancestor: &Ancestor, view: &View) -> String {
    let indent = "  ".repeat(ancestor.depth);
    let role = ancestor.role.map(|role| format!("{}: ", role.as_str())).unwrap_or_default();
    let label = ancestor.label.as_deref().unwrap_or("without a name");
    let digests = match ancestor.artifact {
        Some(digest) => format!(" ({})", short(&digest.to_string())),
        None => ancestor.digests.iter().flat_map(|(algorithm, hex)| [" ", algorithm, ":", hex]).collect(),
    };
    let revoked = if is_revoked(ancestor, &view.revocations) { ", REVOKED" } else { "" };
    one_line(&format!("{indent}{role}{label}{digests}: {}{revoked}", told(&ancestor.state, &view.signers)))
}

fn told(state: &State, signers: &Signers) -> String {
    match state {
        State::Verified(ids) => format!("verified, signed by {}", signers.names(ids, NOBODY)),
        State::Refused(error) => format!("NOT VERIFIED: {error}"),
        State::Missing => "missing: not in this vault".to_owned(),
        State::Outside => "outside any vault, not checked".to_owned(),
        State::Repeated => "as above".to_owned(),
        State::Cycle => "a cycle: it is its own ancestor".to_owned(),
        other => format!("{other:?}"),
    }
}

fn object(ancestor: &Ancestor, revocations: &Revocations) -> Value {
    let (state, signers, reason) = match &ancestor.state {
        State::Verified(keys) => ("verified", ids(keys), None),
        State::Refused(error) => ("refused", json!([]), Some(error.to_string())),
        State::Missing => ("missing", json!([]), None),
        State::Repeated => ("repeated", json!([]), None),
        State::Cycle => ("cycle", json!([]), None),
        State::Outside | _ => ("outside", json!([]), None),
    };
    json!({
        "depth": ancestor.depth,
        "went_into": ancestor.went_into,
        "label": ancestor.label,
        "artifact": ancestor.artifact.map(|digest| digest.to_string()),
        "role": ancestor.role.map(vault_core::provenance::Role::as_str),
        "digests": ancestor.digests,
        "state": state,
        "signers": signers,
        "reason": reason,
        "revoked": is_revoked(ancestor, revocations),
    })
}
