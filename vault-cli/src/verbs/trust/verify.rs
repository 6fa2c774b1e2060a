//! `mvault trust verify`

use serde_json::json;
use vault_core::trust::Candidate;

use super::show::describe;
use crate::{belief::TrustArgs, failure::Result, session::Session};

/// Follow the trust root through the vault and show where that leads
///
/// Every step must be signed by the root holders of the version before and of the version itself; what does not count is
/// reported. The result is what every other command would judge by.
///
/// JSON: as `mvault trust show`, and "origin", "pinned_version", "notes"
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust verify --trust root.json")]
pub struct Args {
    #[command(flatten)]
    trust: TrustArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let root = args.trust.root(session)?;
    let vault = session.vault()?;
    let ((envelope, notes), _) =
        root.with(&vault, session, |gate| Ok((gate.rooted().reached().envelope().to_vec(), gate.notes().to_vec())))?;
    let (text, mut object) = describe(&Candidate::parse(&envelope)?);
    object["origin"] = json!(format!("b3:{}", root.pinned().origin()));
    object["pinned_version"] = json!(root.pinned().root().version());
    object["notes"] = json!(notes);
    session.ui.result(&format!("verified from version {}: {text}", root.pinned().root().version()), &object)
}
