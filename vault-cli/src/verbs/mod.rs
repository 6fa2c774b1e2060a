//! The verbs, one file each.

use clap::Subcommand;

use crate::{failure::Result, session::Session};

mod admin;
mod approve;
mod channel;
mod completions;
mod copy;
mod describe;
mod doctor;
mod freshness;
mod fsck;
mod gc;
mod init;
mod inspect;
mod key;
mod lineage;
mod log;
mod login;
mod logout;
mod ls;
mod manpages;
mod oms;
mod open;
mod promote;
mod proposal;
mod quickstart;
mod resume;
mod retire;
mod revoke;
mod rollback;
mod seal;
mod share;
mod shred;
mod sign;
mod statements;
mod trust;
mod verify;
mod whoami;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Quickstart(quickstart::Args),
    Init(init::Args),
    Key(key::Args),
    Seal(Box<seal::Args>),
    Verify(verify::Args),
    Open(open::Args),
    Copy(copy::Args),
    Ls(ls::Args),
    Inspect(inspect::Args),
    Share(share::Args),
    Trust(trust::Args),
    Promote(promote::Args),
    Approve(approve::Args),
    Rollback(rollback::Args),
    Revoke(revoke::Args),
    Channel(channel::Args),
    Freshness(freshness::Args),
    Sign(sign::Args),
    Log(Box<log::Args>),
    Oms(oms::Args),
    Retire(retire::Args),
    Gc(gc::Args),
    Shred(shred::Args),
    Fsck(fsck::Args),
    Doctor(doctor::Args),
    Login(login::Args),
    Logout(logout::Args),
    Whoami(whoami::Args),
    Admin(admin::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Manpages(manpages::Args),
}

/// Does it.
pub fn run(verb: Verb, session: &Session) -> Result {
    match verb {
        Verb::Quickstart(args) => quickstart::run(&args, session),
        Verb::Init(args) => init::run(args, session),
        Verb::Key(args) => key::run(args, session),
        Verb::Seal(args) => seal::run(*args, session),
        Verb::Verify(args) => verify::run(&args, session),
        Verb::Open(args) => open::run(&args, session),
        Verb::Copy(args) => copy::run(&args, session),
        Verb::Ls(args) => ls::run(&args, session),
        Verb::Inspect(args) => inspect::run(&args, session),
        Verb::Share(args) => share::run(&args, session),
        Verb::Trust(args) => trust::run(args, session),
        Verb::Promote(args) => promote::run(&args, session),
        Verb::Approve(args) => approve::run(&args, session),
        Verb::Rollback(args) => rollback::run(&args, session),
        Verb::Revoke(args) => revoke::run(&args, session),
        Verb::Channel(args) => channel::run(&args, session),
        Verb::Freshness(args) => freshness::run(&args, session),
        Verb::Sign(args) => sign::run(&args, session),
        Verb::Log(args) => log::run(&args, session),
        Verb::Oms(args) => oms::run(&args, session),
        Verb::Retire(args) => retire::run(&args, session),
        Verb::Gc(args) => gc::run(&args, session),
        Verb::Shred(args) => shred::run(&args, session),
        Verb::Fsck(args) => fsck::run(&args, session),
        Verb::Doctor(args) => doctor::run(&args, session),
        Verb::Login(args) => login::run(&args, session),
        Verb::Logout(args) => logout::run(&args, session),
        Verb::Whoami(args) => whoami::run(&args, session),
        Verb::Admin(args) => admin::run(&args, session),
        Verb::Completions(args) => completions::run(&args, session),
        Verb::Manpages(args) => manpages::run(&args, session),
    }
}
