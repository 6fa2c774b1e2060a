//! `mvault oms verify`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{
    names::FilePath,
    oms::{Scope, Unsigned},
};

use super::{TrustArgs, differs, load_signed, parse_ignore, signer_json, signer_text};
use crate::{
    failure::Result,
    session::Session,
    ui::{bytes, count, one_line},
};

/// Check a folder, or one file, against a bundle
///
/// The signature is checked first, then names, then the digest of every signed file. Files that nobody signed are refused,
/// also in .git; what the signer left out, .gitattributes, .github and .gitignore at the top, and the bundle itself may be
/// there. With --ca a valid chain of certificates must lead from the signer's to one of these roots, at this time.
///
/// JSON: {"model", "root_digest", "algorithm", "files", "bytes", "left_out", "signer": {"method", "key_hint", "curve"}}; with
/// --ca "signer" is {"method", "subject", "issuer"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault oms verify ./llama-ft --signature llama-ft.sig --key release.pub.pem
  mvault oms verify ./llama-ft --signature llama-ft.sig --ca root.pem --at 2026-11-21T20:00:00Z")]
pub struct Args {
    /// A folder, or one file
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Accept that nobody signed this, relative to DIR: a file, or a folder with all in it; repeat for several
    #[arg(long, value_name = "PATH", visible_alias = "ignore-paths", value_parser = parse_ignore)]
    ignore_path: Vec<FilePath>,
    /// Look at signed files only, whatever else is there; what is in .git is refused all the same
    #[arg(long)]
    ignore_unsigned_files: bool,
}

const UNSIGNED: &str =
    "remove it, or accept it with --ignore-path PATH or, if it is not in .git, with --ignore-unsigned-files";

pub fn run(args: &Args, session: &Session) -> Result {
    let trust = args.trust.load()?;
    let signed = load_signed(&args.signature, &trust)?;
    let scope = Scope {
        ignore: &args.ignore_path,
        bundle: Some(&args.signature),
        unsigned: if args.ignore_unsigned_files { Unsigned::Ignore } else { Unsigned::Refuse },
    };
    let selection = signed.select(&args.model, scope).map_err(|e| differs(e, UNSIGNED))?;
    let bar = session.start("verifying", None)?;
    let checked = signed.check(&selection, session.threads(), &bar).map_err(|e| differs(e, UNSIGNED))?;
    drop(bar);

    let claim = signed.claim();
    let text = format!(
        "every signed byte of {} is what was signed by {}\n  {} of {}",
        args.model.display(),
        signer_text(signed.by()),
        count(checked.files as u64, "file"),
        bytes(checked.bytes),
    );
    let object = json!({
        "model": claim.name,
        "root_digest": hex::encode(claim.root),
        "algorithm": claim.algorithm.as_str(),
        "files": checked.files,
        "bytes": checked.bytes,
        "left_out": selection.left_out,
        "signer": signer_json(signed.by()),
    });
    session.ui.result(&text, &object)?;
    for path in &selection.left_out {
        session.ui.warn(&one_line(&format!("not signed, and not looked at: {path}")));
    }
    Ok(())
}
