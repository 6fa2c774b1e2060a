//! `mvault rollback`

use std::path::PathBuf;

use vault_core::{
    Error,
    names::{ChannelName, Version, VersionName},
    trust::duration,
    vault::{Entry, Proposal},
};

use super::proposal::report;
use crate::{
    belief::TrustArgs,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
};

/// Ask for a channel to point to an earlier version again
///
/// A rollback is a promotion like any other: it needs the same approvals and makes the next generation.
///
/// JSON: as `mvault promote`
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault rollback llama-ft@production --reason loops --key alice.key --trust root.json
  mvault rollback llama-ft@production --to 1.3.2 --reason 'loops' --key alice.key --trust root.json")]
pub struct Args {
    /// The channel to move
    #[arg(value_name = "MODEL@CHANNEL")]
    channel: ChannelName,
    /// Back to this version [default: the one that it pointed to before the present one]
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long it is to count, like 30d [default: what the trust root says]
    #[arg(long, value_name = "TIME")]
    valid_for: Option<String>,
    /// Whose signature asks for it
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let root = args.trust.root_now(session)?;
    let vault = session.vault()?;
    let lifetime = args.valid_for.as_deref().map(duration).transpose()?;
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let (proposal, _) = root.with(&vault, session, |gate| -> Result<Proposal> {
        let (history, _) = gate.channel_log(&args.channel)?;
        let name = earlier(args, &history)?;
        let proposed = gate.propose_promotion(&args.channel, &name, (&args.reason, lifetime), signer.as_ref());
        proposed.map_err(|error| match error {
            Error::Untrusted { why: "is revoked", .. } => Failure::from(error)
                .hint("`mvault channel log` lists the earlier versions; --to goes back to one that is not revoked"),
            other => other.into(),
        })
    })?;
    report(&proposal, false, session)
}

/// The version meant: it must have been in the channel before.
fn earlier(args: &Args, history: &[Entry]) -> Result<VersionName> {
    let mut past: Vec<&str> = history
        .iter()
        .filter(|e| e.linked && e.fault.is_none())
        .filter_map(|e| e.promotion.as_ref())
        .map(|p| p.version.as_str())
        .collect();
    let present = past.pop();
    let wanted = args.to.as_ref().map(|version| format!("{}:{version}", args.channel.model));
    let found = past.into_iter().rev().find(|version| match &wanted {
        Some(wanted) => version == wanted,
        None => Some(*version) != present,
    });
    let Some(version) = found else {
        let what = wanted.unwrap_or_else(|| "another version".into());
        return Err(Error::NotFound { what: format!("{what} among the earlier ones of {}", args.channel) }.into());
    };
    Ok(version.parse()?)
}
