//! `mvault trust`

use clap::Subcommand;

use crate::{failure::Result, session::Session};

mod edit;
mod init;
mod keeps;
mod publish;
mod show;
mod sign;
mod verify;

/// Say whose signatures count for what: the trust root
///
/// A trust root lists keys, who holds them, and their roles. It is written as TOML, signed by as many root holders as it
/// demands, and published in the vault. Everybody else starts from one version of it, given with --trust, and follows
/// signed newer versions from there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: TrustVerb,
}

#[derive(Debug, Subcommand)]
enum TrustVerb {
    Init(init::Args),
    Show(show::Args),
    Edit(edit::Args),
    Sign(sign::Args),
    Publish(publish::Args),
    Verify(verify::Args),
    Keeps(keeps::Args),
}

pub fn run(args: Args, session: &Session) -> Result {
    match args.verb {
        TrustVerb::Init(args) => init::run(&args, session),
        TrustVerb::Show(args) => show::run(&args, session),
        TrustVerb::Edit(args) => edit::run(&args, session),
        TrustVerb::Sign(args) => sign::run(&args, session),
        TrustVerb::Publish(args) => publish::run(&args, session),
        TrustVerb::Verify(args) => verify::run(&args, session),
        TrustVerb::Keeps(args) => keeps::run(&args, session),
    }
}
