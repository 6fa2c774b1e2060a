//! `mvault manpages`

use std::path::PathBuf;

use serde_json::json;

use crate::{
    cli,
    failure::{Failure, Result},
    session::Session,
};

/// Write manual pages into a folder
///
/// JSON: {"folder", "pages"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault manpages target/man")]
pub struct Args {
    /// The folder; made if it is not there
    folder: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let failed = |error: std::io::Error| Failure::io(args.folder.display(), &error);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(cli::command(), &args.folder).map_err(failed)?;
    let pages = std::fs::read_dir(&args.folder).map_err(failed)?.count();
    let text = format!("wrote manual pages to {}", args.folder.display());
    session.ui.result(&text, &json!({ "folder": args.folder.display().to_string(), "pages": pages }))
}
