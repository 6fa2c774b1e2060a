//! `mvault log`

use clap::Subcommand;

use crate::{
    belief::TrustArgs,
    failure::{Failure, Result},
    logged::{LogKeyArgs, LogView},
    session::Session,
};
use vault_core::{
    Error,
    log::{Log, Witnessed},
    vault::Vault,
};

mod append;
mod entries;
mod init;
mod monitor;
mod prove;
mod publish;
mod show;
mod verify;
mod witness;

/// Keep, check and follow the transparency log of a vault
///
/// A vault with a log has an entry for every seal, signature, promotion, revocation and other record, in an order that
/// nobody can change unseen, not even whoever runs the store. Commands add their entries by themselves; `publish` signs how
/// far the log is. Whoever saw a log once notices if it is ever rewritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: LogVerb,
}

#[derive(Debug, Subcommand)]
enum LogVerb {
    Init(init::Args),
    Append(append::Args),
    Publish(publish::Args),
    Show(show::Args),
    Verify(verify::Args),
    Prove(prove::Args),
    Monitor(monitor::Args),
}

pub fn run(args: &Args, session: &Session) -> Result {
    match &args.verb {
        LogVerb::Init(args) => init::run(args, session),
        LogVerb::Append(args) => append::run(args, session),
        LogVerb::Publish(args) => publish::run(args, session),
        LogVerb::Show(args) => show::run(args, session),
        LogVerb::Verify(args) => verify::run(args, session),
        LogVerb::Prove(args) => prove::run(args, session),
        LogVerb::Monitor(args) => monitor::run(args, session),
    }
}

/// Whom to believe about a log.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Whom to believe")]
pub(super) struct BeliefArgs {
    #[command(flatten)]
    keys: LogKeyArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

impl BeliefArgs {
    /// Whether anybody is believed.
    fn is_given(&self) -> bool {
        self.keys.is_given() || self.trust.trust.is_some()
    }

    /// Whether anything is said about the log itself.
    pub(super) fn is_about_log(&self) -> bool {
        self.keys.is_asked()
    }

    /// The keys that count and what was seen.
    pub(super) fn view(&self, vault: &Vault, session: &Session) -> Result<LogView> {
        self.view_with(&self.keys, vault, session)
    }

    /// The same with these keys.
    fn view_with(&self, keys: &LogKeyArgs, vault: &Vault, session: &Session) -> Result<LogView> {
        if keys.is_given() || self.trust.trust.is_none() {
            return keys.view(None, &self.trust, session);
        }
        let root = self.trust.root(session)?;
        let (policy, _) = root.with(vault, session, |gate| Ok(gate.policy()))?;
        keys.view(Some(&policy), &self.trust, session)
    }
}

/// The log of a vault, which must have one.
pub(super) fn open(vault: &Vault) -> Result<Log> {
    let missing = || Failure::from(Error::NotFound { what: "a log in this vault".into() });
    Log::open(vault.store())?.ok_or_else(|| missing().hint("start one with `mvault log init`"))
}

/// The newest checkpoint of a log that counts and continues what was seen, which is remembered.
pub(super) fn signed(log: &Log, LogView { judge, seen }: &mut LogView) -> Result<Witnessed> {
    let checkpoint = log.latest_since(judge, seen.last())?;
    let unsigned = || Error::Untrusted { what: log.origin().to_string(), why: "was never signed" };
    let checkpoint = checkpoint.ok_or_else(|| Failure::from(unsigned()).hint("sign it with `mvault log publish`"))?;
    log.remember(seen, checkpoint.checkpoint())?;
    Ok(checkpoint)
}
