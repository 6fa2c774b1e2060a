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
    error::Kind,
    keys::Signer,
    names::{FilePath, ModelName, Reference, VersionName},
    oms::{Scope, Signed},
    provenance::{Draft, Provenance},
    seal::{Digests, Options},
    source::{Data, Input, Symlinks, files_below},
    store::Durability,
    tree::PartSize,
    trust::{Policy, Right},
    vault::{Artifact, Receipt, SealRequest, Vault},
    wrap::Audience,
};

mod reuse;

use reuse::{ReuseArgs, Reused};

use super::{
    describe::ids,
    oms::{differs, load_signed, load_trust},
    resume::{self, ResumeArgs},
    statements::read_local,
};
use crate::{
    belief::{Belief, BeliefArgs, View},
    failure::{Failure, Result},
    interrupt::Interrupt,
    secrets::{PassphraseArgs, Passphrases, load_recipients, load_signing},
    session::Session,
    streams::{STANDARD, was_closed},
    ui::{bytes, count, one_line},
};

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
/// Provenance is a SLSA provenance v1 predicate, or a short form of it: {"builder": URI, "source": {"repository", "commit"},
/// "base": [REF or {"name" or "uri", "digest": {"sha256": HEX}}], "data": [the same], "parameters": {…}}, in JSON or TOML, each
/// member optional. A base model that is a version of this vault is looked up now and linked by digest.
///
/// With --resume, a seal that is interrupted leaves a private file that holds the artifact's key and says what is stored; the
/// same command then reads the input again, compares and skips that, and seals the rest. The file is deleted when the
/// version is published.
///
/// JSON: {"digest", "name", "files", "plaintext_bytes", "sealed_bytes", "signer", "recipients": [{"type", "key_id"}],
/// "bases": [{"reference", "digest", "signers"}], "private_provenance", "resumed_bytes", "stored_bytes",
/// "reused": null or {"reference", "digest", "streams", "bytes"}}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault seal ./llama-ft llama-ft:1.4.0 --to node.pub --sign-with release.key
  mvault seal ./llama-ft llama-ft:1.4.1 --base llama:3 --signer meta.pub --provenance run.toml --to node.pub --sign-with release.key
  mvault seal ./llama llama:3 --require-oms llama.sig --oms-key vendor.pem --to node.pub --sign-with release.key
  mvault seal ./llama-ft llama-ft:1.4.0 --resume --to node.pub --sign-with release.key
  mvault seal ./llama-ft llama-ft:1.5.0 --reuse llama-ft:1.4.0 --identity node.key --to node.pub --sign-with release.key
  mvault seal ./llama-ft llama-ft:1.4.0 --reusable --reuse-cache ~/.cache/mvault --to node.pub --sign-with release.key
  tar c llama-ft | mvault seal - llama-ft:1.4.0-tar --name llama-ft.tar --to node.pub --sign-with release.key
  mvault seal ./llama-ft llama-ft:1.4.0 --to node.pub --sign-with 'pkcs11:token=hsm;object=release?module-path=/usr/lib/p11.so'")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// Whose signature it carries: a private key file, or the pkcs11: URI of a key on a token
    #[arg(long, value_name = "FILE.key|URI")]
    sign_with: PathBuf,
    /// How it came to be: SLSA provenance v1, or the short form, in JSON or TOML
    #[arg(long, value_name = "FILE.json|FILE.toml")]
    provenance: Option<PathBuf>,
    /// A version of this vault that it was made from; repeat for several
    #[arg(long, value_name = "REF")]
    base: Vec<Reference>,
    /// Put the provenance into the encrypted index, for those who can open it only
    #[arg(long)]
    private_provenance: bool,
    /// Size of the stored parts in MiB: 8, 16, 32 or 64 [default: 16, or that of the version to reuse]
    #[arg(long, value_name = "MIB", hide_possible_values = true, value_parser = part_size())]
    part_size: Option<PartSize>,
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
    #[command(flatten)]
    resume: ResumeArgs,
    /// Seal only what this OpenSSF Model Signing bundle vouches for: nothing else, and every byte of it
    #[arg(long, value_name = "FILE", conflicts_with = "follow_symlinks", requires = "oms_trust")]
    require_oms: Option<PathBuf>,
    #[command(flatten)]
    vendor: VendorArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    belief: BeliefArgs,
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
    let belief = args.belief.load_now(session)?;
    let view = belief.view(&vault, session)?;
    let history = History::read(&args, &vault, (&belief, &view), session)?;
    let vendor = vendor(&args)?;
    let place = args.resume.place(&args.path, &args.publish_as, session)?;
    let (inputs, total) = inputs(&args, vendor.as_ref(), session)?;
    if args.to_passphrase || args.to_passphrase_file.is_some() {
        let mut new = Passphrases::from_file(args.to_passphrase_file.as_ref());
        audience.passphrases.push(new.fresh(&args.publish_as.to_string())?);
    }
    audience.check().map_err(|e| Failure::from(e).hint("name recipients: --to FILE.pub, or --to-passphrase"))?;
    let mut passphrases = Passphrases::new(&args.passphrase);
    let signer = load_signing(&args.sign_with, &mut passphrases, session.global.examples())?;
    let reused = reused(&args, &vault, (signer.as_ref(), &history.bases), &mut passphrases, session)?;

    let options = Options {
        part_size: reused.part_size(args.part_size),
        threads: session.threads(),
        engine: session.global.engine.into(),
        digests: args.digest.map_or(Digests::None, |Digest::Sha256| Digests::Sha256),
    };
    let trust_root = check_role(&belief, &view.policy, &args.publish_as.model, signer.as_ref())?;
    let (provenance, private_provenance) =
        if args.private_provenance { (None, history.provenance.clone()) } else { (history.provenance.clone(), None) };
    let vendor = vendor.as_ref();
    let request = SealRequest {
        name: args.publish_as,
        inputs,
        audience: audience.clone(),
        signer: signer.as_ref(),
        trust_root,
        provenance,
        private_provenance,
        vendor,
        deduplication: reused.deduplication(),
        cache: reused.cache(),
        options,
    };
    let bar = session.start("sealing", total)?;
    let (receipt, resumed) = resume::seal(&vault, request, place.as_ref(), &bar).map_err(|error| {
        let was_changed = matches!(error, vault_core::Error::InputChanged { .. });
        let failure = if vendor.is_some() { differs(error, UNSIGNED) } else { reused.advise(error.into()) };
        resume::explain(failure, place.as_ref(), was_changed)
    })?;
    drop(bar);
    resume::note(resumed, session);
    let skipped = resumed.map(|(skipped, _)| skipped);
    let private = args.private_provenance;
    report((&receipt, skipped, &reused), &audience, signer.as_ref(), &history, private, session)
}

/// The version to reuse, signed by somebody who is believed or by the key that signs now.
fn reused(
    args: &Args,
    vault: &Vault,
    (signer, bases): (&dyn Signer, &[(Reference, Artifact)]),
    passphrases: &mut Passphrases,
    session: &Session,
) -> Result<Reused> {
    let belief = || match args.belief.load_now(session)? {
        Belief::Signers(signers) => Ok(Belief::Signers(signers.and(&args.sign_with, signer.verifying_key()))),
        root @ Belief::Root(_) => Ok(root),
    };
    args.reuse.load(vault, belief, bases, passphrases, session)
}

/// What somebody signed, if that is demanded. Checked before anything is read that is to be sealed.
fn vendor(args: &Args) -> Result<Option<Signed>> {
    let Some(bundle) = &args.require_oms else { return Ok(None) };
    let VendorArgs { key, ca, at } = &args.vendor;
    let trust = load_trust(key.as_deref(), ca, at.as_deref(), "--oms-key PUB.pem or --oms-ca ROOT.pem")?;
    load_signed(bundle, &trust).map(Some)
}

/// The trust root to seal under, if there is one; it must let this key seal this model.
fn check_role(
    belief: &Belief,
    policy: &Policy,
    model: &ModelName,
    signer: &dyn Signer,
) -> Result<Option<blake3::Hash>> {
    let Belief::Root(root) = belief else { return Ok(None) };
    let id = signer.verifying_key().key_id();
    if policy.accepts(&id, Right::seal(Some(model))) {
        return Ok(Some(root.pinned().origin()));
    }
    Err(Failure::new(Kind::Authenticity, format!("the trust root does not let key {id} seal versions of {model}"))
        .hint("nothing was sealed; sign with a key that has the sealer role for this model"))
}

/// How it came to be.
struct History {
    provenance: Option<Provenance>,
    bases: Vec<(Reference, Artifact)>,
}

impl History {
    /// Reads what is said about it, and finds the base models: before anything is sealed.
    fn read(args: &Args, vault: &Vault, (belief, view): (&Belief, &View), session: &Session) -> Result<Self> {
        if args.provenance.is_none() && args.base.is_empty() {
            if args.private_provenance {
                return Err(Failure::usage("--private-provenance without any; give --provenance FILE or --base REF"));
            }
            return Ok(Self { provenance: None, bases: Vec::new() });
        }
        let mut draft = match &args.provenance {
            Some(path) => read_provenance(path)?,
            None => Draft::of_seal(&args.publish_as),
        };
        let new = args.base.iter().filter(|base| !draft.bases.contains(base)).cloned().collect::<Vec<_>>();
        draft.bases.extend(new);
        let (provenance, found) = vault.link(draft.provenance, &draft.bases, &view.policy)?;
        draft.bases.iter().zip(&found).try_for_each(|(base, artifact)| view.refuse_revoked(artifact, base))?;
        if belief.is_anybody() && !found.is_empty() {
            session.ui.warn("base models are linked as found: no signature was checked; give --signer to check it");
        }
        Ok(Self { provenance: Some(provenance), bases: draft.bases.into_iter().zip(found).collect() })
    }
}

fn report(
    (receipt, skipped, reused): (&Receipt, Option<u64>, &Reused),
    audience: &Audience,
    signer: &dyn Signer,
    history: &History,
    private: bool,
    session: &Session,
) -> Result {
    let signer = signer.verifying_key().key_id();
    session.ui.note(&format!(
        "sealed {}: {} of {} in {}, {} stored",
        receipt.name,
        count(receipt.files as u64, "file"),
        bytes(receipt.plaintext),
        receipt.digest,
        bytes(receipt.stored),
    ));
    if let Some(note) = reused.note(receipt) {
        session.ui.note(&note);
    }
    session.ui.note(&format!("signed by {signer}, for {}", count(recipients(audience).len() as u64, "recipient")));
    let object = json!({
        "digest": receipt.digest.to_string(),
        "name": receipt.name.to_string(),
        "files": receipt.files,
        "plaintext_bytes": receipt.plaintext,
        "sealed_bytes": receipt.sealed,
        "signer": signer.to_hex(),
        "recipients": recipients(audience),
        "bases": history.bases.iter().map(base_json).collect::<serde_json::Value>(),
        "private_provenance": private,
        "resumed_bytes": skipped,
        "stored_bytes": receipt.stored,
        "reused": reused.object(receipt),
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
    if args.path == Path::new(STANDARD) {
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
    let total = inputs.iter().map(length).sum();
    Ok((inputs, Some(total)))
}

/// For the progress only: 0 if it is not known.
fn length(input: &Input<'_>) -> u64 {
    match &input.data {
        Data::Path(path) | Data::Found(path, _) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Data::Bytes(bytes) => bytes.len() as u64,
        Data::Reader(_) => 0,
    }
}

fn standard_input(name: Option<&str>, session: &Session) -> Result<Input<'static>> {
    let name = name.unwrap_or("stdin");
    let path = FilePath::new(name).map_err(|rule| Failure::usage(format!("--name {name:?} {rule}")))?;
    if was_closed(io::stdin()) {
        return Err(Failure::operational("standard input is closed")
            .hint("to seal an empty file, open the empty input for reading only: `< /dev/null`"));
    }
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

fn base_json((reference, artifact): &(Reference, Artifact)) -> serde_json::Value {
    json!({
        "reference": reference.to_string(),
        "digest": artifact.digest.to_string(),
        "signers": ids(artifact.manifest.signers()),
    })
}

fn read_provenance(path: &Path) -> Result<Draft> {
    let bytes = read_local(path)?;
    let is_toml = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let draft = if is_toml { Draft::parse_toml(&bytes) } else { Draft::parse_json(&bytes) };
    draft.map_err(|e| Failure::local(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_a_folder_has_an_end() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("a"), "four").expect("written");
        std::fs::write(dir.path().join("b"), "b").expect("written");
        let inputs = files_below(dir.path(), Symlinks::Refuse).expect("found");
        assert_eq!(inputs.iter().map(length).sum::<u64>(), 5);
    }
}
