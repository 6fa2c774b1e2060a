//! `mvault ls`

use serde_json::{Value, json};
use vault_core::{names::ModelName, vault::VersionEntry};

use super::describe::ids;
use crate::{
    belief::{BeliefArgs, View},
    failure::Result,
    secrets::Signers,
    session::Session,
    ui::{bytes, count, short, table},
};

/// List the versions of a vault
///
/// Without --signer nobody's signature is checked, and the list is what the store claims. Records that do not count are
/// reported on standard error.
///
/// JSON: {"versions": [{"name", "digest", "created", "streams", "sealed_bytes", "signers", "revoked", "retired"}], "signatures_checked",
/// "skipped": [{"path", "reason"}], "foreign": [path], "more": {"skipped", "foreign"}}; what is more was not listed
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault ls --signer release.pub
  mvault ls llama-ft --signer release.pub")]
pub struct Args {
    /// Only the versions of this model, which is quick in a vault of many others
    #[arg(value_name = "MODEL")]
    model: Option<ModelName>,
    #[command(flatten)]
    belief: BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?;
    let vault = session.vault()?;
    let View { policy, signers, revocations } = belief.view(&vault, session)?;
    let listing = match &args.model {
        Some(model) => vault.list_model(model, &policy)?,
        None => vault.list(&policy)?,
    };
    let head = ["VERSION", "DIGEST", "STREAMS", "SEALED", "CREATED", "SIGNER"].map(str::to_owned).to_vec();
    let rows = listing
        .versions
        .iter()
        .map(|entry| row(entry, &signers, revocations.contains(entry.digest, Some(&entry.name.model))));
    let text = table(&[head].into_iter().chain(rows).collect::<Vec<_>>());
    let skipped = listing.skipped.iter();
    let object = json!({
        "versions": listing.versions.iter().map(|entry| object(entry, revocations.contains(entry.digest, Some(&entry.name.model)))).collect::<Value>(),
        "signatures_checked": !belief.is_anybody(),
        "skipped": skipped.map(|(path, e)| json!({ "path": path, "reason": e.to_string() })).collect::<Value>(),
        "foreign": listing.foreign,
        "more": { "skipped": listing.more_skipped, "foreign": listing.more_foreign },
    });
    session.ui.result(if listing.versions.is_empty() { "no versions" } else { &text }, &object)?;
    for (path, error) in &listing.skipped {
        session.ui.warn(&format!("{path} does not count: {error}"));
    }
    for path in &listing.foreign {
        session.ui.warn(&format!("{path} names no version"));
    }
    let more = listing.more_skipped.saturating_add(listing.more_foreign);
    if more > 0 {
        session.ui.warn(&format!("{} more that do not count", count(more, "path")));
    }
    Ok(())
}

fn row(entry: &VersionEntry, signers: &Signers, revoked: bool) -> Vec<String> {
    let (streams, sealed) = match entry.size {
        Some((streams, sealed)) => (streams.to_string(), bytes(sealed)),
        None => ("?".into(), "manifest damaged".into()),
    };
    let signer = match &entry.signers[..] {
        _ if revoked => "REVOKED".to_owned(),
        _ if entry.retired.is_some() => "RETIRED".to_owned(),
        [] => "not checked".to_owned(),
        [id, ..] => signers.file_of(id).map_or_else(|| short(&id.to_hex()), str::to_owned),
    };
    vec![entry.name.to_string(), short(&entry.digest.to_string()), streams, sealed, entry.created.clone(), signer]
}

fn object(entry: &VersionEntry, revoked: bool) -> Value {
    json!({
        "name": entry.name.to_string(),
        "digest": entry.digest.to_string(),
        "created": entry.created,
        "streams": entry.size.map(|(streams, _)| streams),
        "sealed_bytes": entry.size.map(|(_, sealed)| sealed),
        "signers": ids(&entry.signers),
        "revoked": revoked,
        "retired": entry.retired.as_ref().map(|retired| json!({ "created": retired.created, "reason": retired.reason })),
    })
}
