//! `mvault admin who`

use super::key::id;
use crate::{
    failure::Result,
    session::Session,
    verbs::whoami::{connect, text},
};

/// Say who is behind a pseudonym of the log, which takes the permission audit
///
/// JSON: {"id", "name", "holder", "means"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin who 0123456789abcdef0123456789abcdef")]
pub struct Args {
    /// The actor of an entry
    #[arg(value_name = "PSEUDONYM")]
    pseudonym: String,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let person = connect(session)?.get(&format!("people/{}", id(&args.pseudonym)?))?;
    let said = format!("{} ({}), held by {}", text(&person["name"]), text(&person["id"]), text(&person["holder"]));
    session.ui.result(&said, &person)
}
