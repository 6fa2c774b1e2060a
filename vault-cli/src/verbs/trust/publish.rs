//! `mvault trust publish`

use std::path::PathBuf;

use serde_json::json;

use crate::{
    belief::{read_document, read_root},
    failure::{Failure, Result},
    session::Session,
};

/// Put a signed trust root into the vault, where everybody finds it
///
/// Version 1 vouches for itself; whoever uses it must get it from you some other way. A later version is published only if
/// the ones before it in the vault, followed from --trust, vouch for it.
///
/// JSON: {"version", "digest", "origin"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust publish root.json
  mvault trust publish root-2.json --trust root.json")]
pub struct Args {
    /// The signed trust root
    #[arg(value_name = "ROOT.json")]
    root: PathBuf,
    /// An older version to follow it from
    #[arg(long, value_name = "ROOT.json", env = "MVAULT_TRUST")]
    trust: Option<PathBuf>,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let examples = session.global.examples();
    let vault = session.vault()?;
    let pinned = args.trust.as_deref().map(|path| read_root(path, examples)).transpose()?;
    let bytes = read_document(&args.root)?;
    let candidate = vault_core::trust::Candidate::parse(&bytes).map_err(|e| Failure::local(&args.root, &e))?;
    if candidate.root().version() > 1 && pinned.is_none() {
        return Err(Failure::usage(format!("version {} follows another one", candidate.root().version()))
            .hint("give --trust ROOT.json, an older version to follow it from"));
    }
    if let Some(other) = pinned.as_ref().filter(|other| other.root().version() == 1 && candidate.root().version() == 1)
        && other.digest() != candidate.digest()
    {
        return Err(Failure::usage("another version 1 than the one that --trust names")
            .hint("a vault has one trust root: `mvault trust sign --after` makes its next version"));
    }
    candidate.root().keys().try_for_each(|(id, _)| examples.check(&args.root, *id))?;
    let published = vault.publish_root(&bytes, pinned)?;
    let (version, digest) = (published.root().version(), published.digest());
    session.ui.result(
        &format!("published trust root version {version}, b3:{digest}, in {}", vault.store().describe()),
        &json!({ "version": version, "digest": format!("b3:{digest}"), "origin": format!("b3:{}", published.origin()) }),
    )
}
