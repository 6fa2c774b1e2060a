//! `mvault freshness`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use vault_core::{
    names::ChannelName,
    trust::duration,
    vault::{DEFAULT_FRESHNESS, Stated},
};

use crate::{
    belief::TrustArgs,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
};

/// State what is newest, so that a store cannot hide it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: FreshnessVerb,
}

#[derive(Debug, Subcommand)]
enum FreshnessVerb {
    Sign(SignArgs),
}

/// Sign that a channel's newest promotion and the newest revocation are what the vault shows now
///
/// For a channel whose rule demands freshness, run this more often than the rule's time, with an online key of the
/// freshness role. A reader then notices a store that holds back a newer promotion, revocation or trust root.
///
/// JSON: {"stated": [{"channel", "generation", "revocation", "root_version", "expires"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault freshness sign llama-ft@production --key timekeeper.key --trust root.json")]
pub struct SignArgs {
    /// The channels
    #[arg(value_name = "MODEL@CHANNEL", required = true)]
    channels: Vec<ChannelName>,
    /// How long the statement counts [default: 24h]
    #[arg(long = "for", value_name = "TIME")]
    valid_for: Option<String>,
    /// A key of the freshness role
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let FreshnessVerb::Sign(args) = &args.verb;
    let root = args.trust.root_now(session)?;
    if args.trust.stateless {
        return Err(Failure::usage("who remembers nothing cannot say what is newest")
            .hint("leave out --stateless; --state names a folder to remember in"));
    }
    let seconds = args.valid_for.as_deref().map_or(Ok(DEFAULT_FRESHNESS), duration)?;
    let vault = session.vault()?;
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let (stated, _) = root.with(&vault, session, |gate| -> Result<Vec<Stated>> {
        args.channels.iter().map(|channel| Ok(gate.state_freshness(channel, seconds, signer.as_ref())?)).collect()
    })?;
    let pairs = || args.channels.iter().zip(&stated);
    let text = pairs().map(|(channel, stated)| {
        let revocations = stated.revocation.map_or("no revocations".into(), |n| format!("revocation {n}"));
        let Stated { generation, root_version, expires, .. } = stated;
        format!("{channel}: generation {generation}, {revocations}, trust root version {root_version}, counts until {expires}")
    });
    let text = text.collect::<Vec<_>>().join("\n");
    let each = |(channel, stated): (&ChannelName, &Stated)| {
        json!({
            "channel": channel.to_string(),
            "generation": stated.generation,
            "revocation": stated.revocation,
            "root_version": stated.root_version,
            "expires": stated.expires,
        })
    };
    session.ui.result(&text, &json!({ "stated": pairs().map(each).collect::<Vec<_>>() }))
}
