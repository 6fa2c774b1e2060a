//! `mvault trust edit`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{keys::file, trust::to_toml};

use crate::{belief::read_root, failure::Result, session::Session};

/// Write a trust root out as TOML again, to be edited into its next version
///
/// JSON: {"source", "version"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust edit root.json -o trust-2.toml
  mvault trust sign trust-2.toml --after root.json --key alice.key -o root-2.json")]
pub struct Args {
    /// The newest trust root
    #[arg(value_name = "ROOT.json")]
    root: PathBuf,
    /// Where to write it
    #[arg(long, short, value_name = "FILE.toml")]
    output: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let reached = read_root(&args.root, session.global.examples())?;
    file::write_public(&args.output, &to_toml(reached.root(), reached.digest()))?;
    let (output, root) = (args.output.display().to_string(), args.root.display().to_string());
    let version = reached.root().version();
    session.ui.result(
        &format!(
            "wrote {output}\n  edit it, then: mvault trust sign {output} --after {root} --key … -o root-{}.json",
            version + 1
        ),
        &json!({ "source": output, "version": version }),
    )
}
