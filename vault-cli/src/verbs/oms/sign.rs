//! `mvault oms sign`

use std::path::{Path, PathBuf};

use serde_json::json;
use vault_core::{
    Error,
    keys::file,
    names::FilePath,
    oms::{EcPrivateKey, SignRequest, Signer, sign},
    source::Symlinks,
};

use super::{differs, load_certificates, parse_ignore};
use crate::{
    failure::{Failure, Result},
    session::Session,
    ui::{bytes, count},
};

/// Sign a folder, or one file
///
/// Hashes every file (SHA-256) and writes a bundle that verifies with `mvault oms verify`, model_signing and others. Left
/// out are the bundle itself, .git, .gitattributes, .github and .gitignore at the top, and what --ignore-path names.
///
/// JSON: {"signature", "model", "root_digest", "files", "bytes", "left_out", "signer": {"method", "key_hint", "curve"}}; with
/// --cert "signer" is {"method", "subject", "issuer"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault oms sign ./llama-ft --key release.pem -o llama-ft.sig
  mvault oms sign ./llama-ft --key release.pem --cert release-cert.pem --chain intermediate.pem -o llama-ft.sig")]
pub struct Args {
    /// A folder, or one file
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// The private key, P-256, P-384 or P-521 in PEM, readable by its owner only
    #[arg(long, value_name = "EC.pem")]
    key: PathBuf,
    /// The certificate of that key, to be carried in the bundle
    #[arg(long, value_name = "CERT.pem")]
    cert: Option<PathBuf>,
    /// Certificates above that one; repeat for several
    #[arg(long, value_name = "CHAIN.pem", requires = "cert")]
    chain: Vec<PathBuf>,
    /// Where to write the bundle; it must not exist
    #[arg(short, long = "output", value_name = "FILE")]
    output: PathBuf,
    /// Leave this out, relative to DIR: a file, or a folder with all in it; repeat for several
    #[arg(long, value_name = "PATH", visible_alias = "ignore-paths", value_parser = parse_ignore)]
    ignore_path: Vec<FilePath>,
    /// Sign what symbolic links inside the folder lead to, instead of refusing them
    #[arg(long)]
    follow_symlinks: bool,
}

pub fn run(args: &Args, session: &Session) -> Result {
    check_output(&args.output)?;
    let signer = load_signer(args)?;
    let bar = session.start("signing", None)?;
    let request = SignRequest {
        model: &args.model,
        signer: &signer,
        output: Some(&args.output),
        ignore: &args.ignore_path,
        symlinks: if args.follow_symlinks { Symlinks::FollowInside } else { Symlinks::Refuse },
        threads: session.threads(),
    };
    let (bundle, receipt) = sign(&request, &bar).map_err(|error| differs(error, ""))?;
    drop(bar);
    let text = bundle.as_str();
    file::write_public(&args.output, text)?;

    let by = signer_of(&signer);
    let output = args.output.display().to_string();
    for path in &receipt.left_out {
        session.ui.note(&format!("left out: {path}"));
    }
    let matches = |path: &FilePath| receipt.left_out.iter().any(|left| Path::new(path.as_str()).starts_with(left));
    for path in args.ignore_path.iter().filter(|path| !matches(path)) {
        session.ui.warn(&format!("--ignore-path {path}: there is no such file or folder"));
    }
    let summary = format!(
        "signed {}: {} of {}, by {}\n  {output}",
        receipt.name,
        count(receipt.files as u64, "file"),
        bytes(receipt.bytes),
        super::signer_text(&by),
    );
    let object = json!({
        "signature": output,
        "model": receipt.name,
        "root_digest": hex::encode(receipt.root),
        "files": receipt.files,
        "bytes": receipt.bytes,
        "left_out": receipt.left_out,
        "signer": super::signer_json(&by),
    });
    session.ui.result(&summary, &object)
}

/// Refuses an output that cannot be written before everything is hashed.
fn check_output(output: &Path) -> Result {
    if std::fs::symlink_metadata(output).is_ok() {
        return Err(Error::Conflict { what: output.display().to_string() }.into());
    }
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Error::NotFound { what: format!("folder {}", folder.display()) }.into())
        }
        _ => Ok(()),
    }
}

fn signer_of(signer: &Signer) -> vault_core::oms::SignedBy {
    use vault_core::oms::SignedBy;
    match signer.certificate() {
        Some(certificate) => SignedBy::Certificate(Box::new(certificate.clone())),
        None => SignedBy::Key(signer.private_key().public().clone()),
    }
}

fn load_signer(args: &Args) -> Result<Signer> {
    let local = |path: &Path| {
        let path = path.to_owned();
        move |e: Error| Failure::local(&path, &e)
    };
    let pem = file::read_private(&args.key).map_err(local(&args.key))?;
    let key = EcPrivateKey::from_pem(pem.expose()).map_err(local(&args.key))?;
    let Some(cert) = &args.cert else { return Ok(Signer::key(key)) };
    let mut certificates = load_certificates(cert)?;
    for path in &args.chain {
        certificates.extend(load_certificates(path)?);
    }
    let certificate = certificates.remove(0);
    Signer::certified(key, certificate, certificates).map_err(local(cert))
}
