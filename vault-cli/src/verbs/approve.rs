//! `mvault approve`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{names::ArtifactDigest, vault::Proposal};

use super::proposal::{details, id, names, object, report, what};
use crate::{
    belief::TrustArgs,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
};

/// Approve what somebody proposed, or list what is open
///
/// Says what the proposal does, checks that it can still come into force and that its version verifies, and adds your signature. What
/// it does stands on standard error before the passphrase is asked for. --expect refuses if it is about another artifact. The last
/// approval that is needed puts it in force. Each key signs one record of a generation, ever.
///
/// Without --key, a proposal that has its approvals is put in force; without PROPOSAL, all open ones are listed.
///
/// JSON: as `mvault promote`; of a list {"proposals": [each the same]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault approve --trust root.json
  mvault approve b3:4f1c… --key alice.key --trust root.json")]
pub struct Args {
    /// The proposal, as `mvault promote` printed it
    #[arg(value_name = "PROPOSAL")]
    proposal: Option<String>,
    /// Whose signature approves it
    #[arg(long, value_name = "FILE.key", requires = "proposal")]
    key: Option<PathBuf>,
    /// Refuse to sign unless it is about this artifact
    #[arg(long, value_name = "b3:DIGEST", requires = "key")]
    expect: Option<ArtifactDigest>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let root = if args.key.is_some() { args.trust.root_now(session)? } else { args.trust.root(session)? };
    let vault = session.vault()?;
    let Some(proposal) = &args.proposal else {
        let (open, _) = root.with(&vault, session, |gate| Ok(gate.proposals()?))?;
        return list(&open, session);
    };
    let proposal = id(proposal)?;
    // Before anybody gives a passphrase for it. Its name is its hash: what is shown is what is signed.
    let (shown, _) = root.with(&vault, session, |gate| Ok(gate.look(proposal)?))?;
    if !shown.published {
        session.ui.note(&format!("{}: {}", if args.key.is_some() { "to be signed" } else { "proposed" }, what(&shown)));
        for line in details(&shown) {
            session.ui.note(&line);
        }
    }
    let signer = match &args.key {
        Some(key) => Some(load_signing(key, &mut Passphrases::new(&args.passphrase), session.global.examples())?),
        None => None,
    };
    let (proposal, _) = root.with(&vault, session, |gate| -> Result<Proposal> {
        match &signer {
            Some(signer) => Ok(gate.approve(proposal, args.expect, signer.as_ref())?),
            None => gate
                .publish(proposal)
                .map_err(|e| Failure::from(e).hint("add an approval with --key, or wait for others to approve it")),
        }
    })?;
    if signer.is_some() && !proposal.published && proposal.approvers == shown.approvers {
        session.ui.warn(&format!(
            "the signature changes nothing: its holder approved already, or asked for it and does not count among those who approve ({})",
            names(&shown.approvers)
        ));
    }
    report(&proposal, false, session)
}

fn list(open: &[Proposal], session: &Session) -> Result {
    let told = |p: &Proposal| {
        let by = format!("  approved: {} ({} of {})", names(&p.approvers), p.approvers.len(), p.threshold);
        let sign = format!("  to sign:  mvault approve b3:{} --expect {} --key …", p.id, p.artifact);
        [vec![what(p)], details(p), vec![by, sign]].concat().join("\n")
    };
    let text = match open {
        [] => "no open proposals".to_owned(),
        open => open.iter().map(told).collect::<Vec<_>>().join("\n\n"),
    };
    session.ui.result(&text, &json!({ "proposals": open.iter().map(object).collect::<Value>() }))
}
