//! `mvault seal`

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use vault_core::{
    keys::SigningKey,
    names::{FilePath, VersionName},
    oms::{Scope, Signed},
    provenance::{MAX_ENVELOPE, Provenance},
    seal::{Digests, Options},
    source::{Data, Input, Symlinks, files_below},
    store::Durability,
    tree::PartSize,
    vault::{Receipt, SealRequest},
    wrap::Audience,
};

use super::oms::{differs, load_signed, load_trust};
use crate::{
    failure::{Failure, Result},
    interrupt::Interrupt,
    secrets::{PassphraseArgs, Passphrases, load_recipients, load_signing},
    session::Session,
    ui::{bytes, count, one_line},
};

const STDIN: &str = "-";
/// What to do about a file that is not in the bundle.
const UNSIGNED: &str = "only what the bundle vouches for is sealed with --require-oms; move it away";
/// How often a silent input is asked whether a signal came meanwhile.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Encrypt, sign and publish a file or folder as a version
///
/// PATH is a file, a folder (all files below it), or `-` for standard input. Its contents are encrypted to the
/// recipients, its manifest is signed, and the version record is written last: after a failure nothing is published.
/// A version that exists is never replaced. Prints the artifact's digest, `b3:…`, and nothing else, on standard output.
///
/// JSON: {"digest", "name", "files", "plaintext_bytes", "sealed_bytes", "signer", "recipients": [{"type", "key_id"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault seal ./llama-ft llama-ft:1.4.0 --to node.pub --sign-with release.key
  mvault seal ./llama llama:3 --require-oms llama.sig --oms-key vendor.pem --to node.pub --sign-with release.key
  tar c llama-ft | mvault seal - llama-ft:1.4.0-tar --name llama-ft.tar --to node.pub --sign-with release.key")]
pub struct Args {
    /// A file, a folder, or `-` for standard input
    path: PathBuf,
    /// The name to publish
    #[arg(value_name = "MODEL:VERSION")]
    publish_as: VersionName,
    /// Who is to be able to open it; repeat for several
    #[arg(long, value_name = "FILE.pub")]
    to: Vec<PathBuf>,
    /// Let a passphrase open it, too; asked on the terminal
    #[arg(long)]
    to_passphrase: bool,
    /// The same, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    to_passphrase_file: Option<PathBuf>,
    /// Whose signature it carries
    #[arg(long, value_name = "FILE.key")]
    sign_with: PathBuf,
    /// How it came to be: a SLSA provenance v1 predicate
    #[arg(long, value_name = "FILE.json")]
    provenance: Option<PathBuf>,
    /// Size of the stored parts in MiB: 8, 16, 32 or 64
    #[arg(long, value_name = "MIB", default_value = "16", hide_possible_values = true, value_parser = part_size())]
    part_size: PartSize,
    /// Take this digest of every file in the same pass, into the encrypted index
    #[arg(long, value_enum, value_name = "NAME")]
    digest: Option<Digest>,
    /// Seal what symbolic links inside the folder lead to, instead of refusing them
    #[arg(long)]
    follow_symlinks: bool,
    /// What standard input is called in the artifact [default: stdin]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Do not wait for the disk: a power cut may leave a damaged vault
    #[arg(long)]
    no_sync: bool,
    /// Seal only what this OpenSSF Model Signing bundle vouches for: nothing else, and every byte of it
    #[arg(long, value_name = "FILE", conflicts_with = "follow_symlinks", requires = "oms_trust")]
    require_oms: Option<PathBuf>,
    #[command(flatten)]
    vendor: VendorArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Whose OMS signature counts.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "oms_trust", multiple = true)]
struct VendorArgs {
    /// The public key of whoever made the bundle
    #[arg(id = "oms_key", long = "oms-key", value_name = "PUB.pem", requires = "require_oms")]
    #[arg(conflicts_with_all = ["oms_ca", "oms_at"])]
    key: Option<PathBuf>,
    /// A root authority that vouches for whoever made the bundle; repeat for several
    #[arg(id = "oms_ca", long = "oms-ca", value_name = "ROOT.pem", requires = "require_oms")]
    ca: Vec<PathBuf>,
    /// Judge certificates as of this time instead of now
    #[arg(id = "oms_at", long = "oms-at", value_name = "TIME", requires = "oms_ca")]
    at: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Digest {
    Sha256,
}

fn part_size() -> impl TypedValueParser<Value = PartSize> {
    PossibleValuesParser::new(["8", "16", "32", "64"]).try_map(|mib| {
        let mib: u64 = mib.parse().map_err(|_| vault_core::Error::Misuse("is no number".into()))?;
        PartSize::new(mib << 20)
    })
}

pub fn run(args: Args, session: &Session) -> Result {
    let durability = if args.no_sync { Durability::NoSync } else { Durability::Synced };
    let vault = session.vault_with(durability)?;
    let mut audience =
        Audience { recipients: load_recipients(&args.to, session.global.examples())?, passphrases: Vec::new() };
    let provenance = args.provenance.as_deref().map(read_provenance).transpose()?;
    let vendor = vendor(&args)?;
    let (inputs, total) = inputs(&args, vendor.as_ref(), session)?;
    if args.to_passphrase || args.to_passphrase_file.is_some() {
        let mut new = Passphrases::from_file(args.to_passphrase_file.as_ref());
        audience.passphrases.push(new.fresh(&args.publish_as.to_string())?);
    }
    audience.check().map_err(|e| Failure::from(e).hint("name recipients: --to FILE.pub, or --to-passphrase"))?;
    let signer = load_signing(&args.sign_with, &mut Passphrases::new(&args.passphrase), session.global.examples())?;

    let options = Options {
        part_size: args.part_size,
        threads: session.threads(),
        engine: session.global.engine.into(),
        digests: args.digest.map_or(Digests::None, |Digest::Sha256| Digests::Sha256),
    };
    let name = args.publish_as;
    let vendor = vendor.as_ref();
    let request =
        SealRequest { name, inputs, audience: audience.clone(), signer: &signer, provenance, vendor, options };
    let bar = session.start("sealing", total)?;
    let receipt = vault
        .seal(request, &bar)
        .map_err(|error| if vendor.is_some() { differs(error, UNSIGNED) } else { error.into() })?;
    drop(bar);
    report(&receipt, &audience, &signer, session)
}

/// What somebody signed, if that is demanded. Checked before anything is read that is to be sealed.
fn vendor(args: &Args) -> Result<Option<Signed>> {
    let Some(bundle) = &args.require_oms else { return Ok(None) };
    let VendorArgs { key, ca, at } = &args.vendor;
    let trust = load_trust(key.as_deref(), ca, at.as_deref(), "--oms-key PUB.pem or --oms-ca ROOT.pem")?;
    load_signed(bundle, &trust).map(Some)
}

fn report(receipt: &Receipt, audience: &Audience, signer: &SigningKey, session: &Session) -> Result {
    let signer = signer.verifying_key().key_id();
    session.ui.note(&format!(
        "sealed {}: {} of {} in {}, {} stored",
        receipt.name,
        count(receipt.files as u64, "file"),
        bytes(receipt.plaintext),
        receipt.digest,
        bytes(receipt.sealed),
    ));
    session.ui.note(&format!("signed by {signer}, for {}", count(recipients(audience).len() as u64, "recipient")));
    let object = json!({
        "digest": receipt.digest.to_string(),
        "name": receipt.name.to_string(),
        "files": receipt.files,
        "plaintext_bytes": receipt.plaintext,
        "sealed_bytes": receipt.sealed,
        "signer": signer.to_hex(),
        "recipients": recipients(audience),
    });
    session.ui.result(&receipt.digest.to_string(), &object)
}

fn recipients(audience: &Audience) -> Vec<serde_json::Value> {
    let keys = audience.recipients.iter();
    let keys = keys.map(|key| json!({ "type": key.kind().as_str(), "key_id": key.key_id().to_hex() }));
    keys.chain(audience.passphrases.iter().map(|_| json!({ "type": "argon2id", "key_id": null }))).collect()
}

/// The files to seal, and their length together if that is known.
fn inputs(args: &Args, vendor: Option<&Signed>, session: &Session) -> Result<(Vec<Input<'static>>, Option<u64>)> {
    if args.path == Path::new(STDIN) {
        if args.passphrase.passphrase_fd == Some(0) {
            return Err(Failure::usage("standard input cannot be both the passphrase and what is sealed"));
        }
        return Ok((vec![standard_input(args.name.as_deref(), session)?], None));
    }
    if args.name.is_some() {
        return Err(Failure::usage("--name is for standard input; files keep their names"));
    }
    let symlinks = if args.follow_symlinks { Symlinks::FollowInside } else { Symlinks::Refuse };
    let inputs = match vendor {
        None => files_below(&args.path, symlinks)?,
        Some(vendor) => {
            let scope = Scope { bundle: args.require_oms.as_deref(), ..Scope::default() };
            let selection = vendor.select(&args.path, scope).map_err(|e| differs(e, UNSIGNED))?;
            for path in &selection.left_out {
                session.ui.warn(&one_line(&format!("not signed by the vendor, and not sealed: {path}")));
            }
            selection.inputs
        }
    };
    let length = |input: &Input<'_>| match &input.data {
        Data::Path(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        _ => 0,
    };
    let total = inputs.iter().map(length).sum();
    Ok((inputs, Some(total)))
}

fn standard_input(name: Option<&str>, session: &Session) -> Result<Input<'static>> {
    let name = name.unwrap_or("stdin");
    let path = FilePath::new(name).map_err(|rule| Failure::usage(format!("--name {name:?} {rule}")))?;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|e| Failure::io("standard input", &e))?;
    let reader = Patient { file: stdin.into(), interrupt: session.interrupt.clone() };
    Ok(Input { path, executable: false, data: Data::Reader(Box::new(reader)) })
}

/// An input that may stay silent for long, but not deaf to signals.
struct Patient {
    file: File,
    interrupt: Interrupt,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.interrupt.requested() {
                return Err(io::Error::other("interrupted"));
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&PATIENCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read_provenance(path: &Path) -> Result<Provenance> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::local(path, &vault_core::Error::NotFound { what: name.clone() }),
        _ => Failure::io(&name, &error),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_ENVELOPE + 1).read_to_end(&mut bytes).map_err(|e| Failure::io(&name, &e))?;
    if bytes.len() as u64 > MAX_ENVELOPE {
        return Err(Failure::usage(format!("{name} is longer than {MAX_ENVELOPE} bytes")));
    }
    Provenance::parse(&bytes).map_err(|e| Failure::local(path, &e))
}
