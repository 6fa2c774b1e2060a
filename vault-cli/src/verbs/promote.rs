//! `mvault promote`

use std::path::PathBuf;

use vault_core::{
    keys::Signer,
    names::{Channel, ChannelName, VersionName},
    trust::duration,
    vault::Proposal,
};

use super::proposal::{id, report};
use crate::{
    belief::TrustArgs,
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
};

/// Ask for a channel to point to a version
///
/// Proposes the next generation of the channel. Others approve it with `mvault approve`; when as many holders have signed
/// as the trust root demands, it is in force. Who asks does not count among them unless the trust root says so.
///
/// JSON: {"proposal", "published", "channel", "generation", "version", "digest", "reason", "created", "expires", "requester",
/// "approvers", "threshold", "superseded"}; "superseded" is the generation that is in force, if that is a later one
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault promote llama-ft:1.4.0 --channel production --reason eval-812 --key trainer.key --trust root.json
  mvault promote --withdraw b3:4f1c… --key trainer.key --trust root.json")]
pub struct Args {
    /// The version to promote
    #[arg(value_name = "MODEL:VERSION", required_unless_present = "withdraw")]
    version: Option<VersionName>,
    /// The channel to move
    #[arg(long, value_name = "CHANNEL", required_unless_present = "withdraw")]
    channel: Option<Channel>,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "withdraw")]
    reason: Option<String>,
    /// How long it is to count, like 30d [default: what the trust root says]
    #[arg(long, value_name = "TIME")]
    valid_for: Option<String>,
    /// Take back your own proposal: its generation goes out of use
    #[arg(long, value_name = "PROPOSAL", conflicts_with_all = ["version", "channel", "reason", "valid_for"])]
    withdraw: Option<String>,
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
    let signer: &dyn Signer = signer.as_ref();
    let (proposal, _) = root.with(&vault, session, |gate| -> Result<Proposal> {
        match (&args.withdraw, &args.version, &args.channel) {
            (Some(withdraw), ..) => Ok(gate.withdraw(id(withdraw)?, signer)?),
            (None, Some(version), Some(channel)) => {
                let channel = ChannelName { model: version.model.clone(), channel: channel.clone() };
                let reason = args.reason.as_deref().unwrap_or_default();
                Ok(gate.propose_promotion(&channel, version, (reason, lifetime), signer)?)
            }
            // The command line demands both or the other.
            _ => Err(crate::failure::Failure::usage("name a version and a channel")),
        }
    })?;
    report(&proposal, args.withdraw.is_some(), session)
}
