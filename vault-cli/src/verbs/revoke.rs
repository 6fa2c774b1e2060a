//! `mvault revoke`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{names::VersionName, vault::Revoked};

use super::proposal::report;
use crate::{
    belief::TrustArgs,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
    ui::{short, table},
};

/// Take a version out of use for good, or list what is revoked
///
/// A revoked version opens nowhere, whatever name or channel leads to it, as soon as a reader sees the revocation; what
/// was opened before stays open. It takes one release key of the model unless the trust root says otherwise.
///
/// JSON: as `mvault promote`; of a list {"revocations": [{"generation", "version", "digest", "reason", "created", "by"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault revoke llama-ft:1.3.2 --reason leaks --key alice.key --trust root.json
  mvault revoke --list --trust root.json")]
pub struct Args {
    /// The version to revoke
    #[arg(value_name = "MODEL:VERSION", required_unless_present = "list")]
    version: Option<VersionName>,
    /// List what is revoked
    #[arg(long, conflicts_with_all = ["version", "reason", "key"])]
    list: bool,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    reason: Option<String>,
    /// Whose signature revokes it
    #[arg(long, value_name = "FILE.key", required_unless_present = "list")]
    key: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let root = if args.list { args.trust.root(session)? } else { args.trust.root_now(session)? };
    let vault = session.vault()?;
    let (Some(version), Some(key)) = (&args.version, &args.key) else {
        let (all, _) = root.with(&vault, session, |gate| Ok(gate.all_revocations()?))?;
        return list(&all, session);
    };
    let signer = load_signing(key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let reason = args.reason.as_deref().ok_or_else(|| Failure::usage("no reason is given"))?;
    let (proposal, _) =
        root.with(&vault, session, |gate| Ok(gate.propose_revocation(version, reason, signer.as_ref())?))?;
    report(&proposal, false, session)
}

fn list(all: &[Revoked], session: &Session) -> Result {
    let mut rows = vec![["NUMBER", "VERSION", "DIGEST", "CREATED", "BY", "REASON"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|r| {
        let (number, version) = (r.generation.to_string(), r.name.to_string());
        vec![number, version, short(&r.artifact.to_string()), r.created.clone(), r.by.join(", "), r.reason.clone()]
    }));
    let text = if all.is_empty() { "nothing is revoked".to_owned() } else { table(&rows) };
    let object = |r: &Revoked| {
        json!({
            "generation": r.generation,
            "version": r.name.to_string(),
            "digest": r.artifact.to_string(),
            "reason": r.reason,
            "created": r.created,
            "by": r.by,
        })
    };
    session.ui.result(&text, &json!({ "revocations": all.iter().map(object).collect::<Value>() }))
}
