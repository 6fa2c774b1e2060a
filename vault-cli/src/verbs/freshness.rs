//! `mvault freshness`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
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
    ui::one_line,
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
/// freshness role. A reader then notices a store that holds back a newer promotion, revocation or trust root. Of several
/// channels each is stated that can be; the worst refusal decides the exit code.
///
/// JSON: {"stated": [{"channel", "generation", "revocation", "root_version", "expires"}], "refused": [{"channel", "error"}]}
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
    let (tally, _) = root.with(&vault, session, |gate| {
        let mut tally = Tally::default();
        for channel in &args.channels {
            match gate.state_freshness(channel, seconds, signer.as_ref()) {
                Ok(stated) => tally.state(channel, &stated),
                Err(error) if session.interrupt.requested() => return Err(error.into()),
                Err(error) => tally.refuse(channel, error.into()),
            }
        }
        Ok(tally)
    })?;
    session.ui.result(&tally.lines.join("\n"), &json!({ "stated": tally.stated, "refused": tally.refused }))?;
    tally.verdict()
}

/// How all channels fared.
#[derive(Default)]
struct Tally {
    lines: Vec<String>,
    stated: Vec<Value>,
    refused: Vec<Value>,
    worst: Option<Failure>,
}

impl Tally {
    fn state(&mut self, channel: &ChannelName, stated: &Stated) {
        let revocations = stated.revocation.map_or("no revocations".into(), |n| format!("revocation {n}"));
        let Stated { generation, root_version, expires, .. } = stated;
        self.lines.push(format!("{channel}: generation {generation}, {revocations}, trust root version {root_version}, counts until {expires}"));
        self.stated.push(json!({
            "channel": channel.to_string(),
            "generation": generation,
            "revocation": stated.revocation,
            "root_version": root_version,
            "expires": expires,
        }));
    }

    fn refuse(&mut self, channel: &ChannelName, failure: Failure) {
        self.lines.push(one_line(&format!("REFUSED {channel}: {}", failure.message())));
        self.refused.push(json!({ "channel": channel.to_string(), "error": failure.to_json()["error"].take() }));
        self.worst = Some(match self.worst.take() {
            Some(worst) => worst.worse(failure),
            None => failure,
        });
    }

    fn verdict(self) -> Result {
        let (refused, total) = (self.refused.len(), self.refused.len() + self.stated.len());
        match self.worst {
            None => Ok(()),
            Some(only) if total == 1 => Err(only),
            Some(worst) => Err(worst.prefixed(&format!("{refused} of {total} refused; the worst: "))),
        }
    }
}
