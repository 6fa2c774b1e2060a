//! `mvault open`

use std::path::{Path, PathBuf};

use serde_json::json;
use vault_core::{
    Error,
    index::File,
    keys::file,
    manifest::Manifest,
    names::{Glob, Reference},
    open::{self, Opened},
    provenance::PredicateType,
    safetensors::{self, Excerpt},
    secret::SecretVec,
    vault::{Artifact, Destination, Reopen, extract, extract_resumable},
    wrap::Keyring,
};

use super::describe::while_reading;
use crate::{
    belief::{BeliefArgs, View},
    failure::{Failure, Result},
    logged::RequireLogArgs,
    secrets::{PassphraseArgs, Passphrases, load_identities},
    session::Session,
    streams::{STANDARD, was_closed},
    ui::{bytes, count},
};

/// Check and decrypt a version
///
/// DEST is a folder that all files go into; it is made if it is not there. With --file it is a file, and `-` is standard
/// output; if --file has a * or is repeated, it is a folder again. With --tensor only the tensors that fit are opened, and
/// only their segments fetched: DEST is a folder of safetensors files under the paths of those they are from, or `-` for
/// all of them as one. Their headers are written anew, so these are derived files, which nobody signed as they are. Everything is checked before it is written: signature, manifest, every segment. Files are made readable by
/// their owner only, they appear under their names when all of them are good, and nothing that exists is overwritten.
/// To standard output, every piece is checked before it is written, but a later one may still fail: mind the exit code.
///
/// Without --identity, a passphrase is asked.
///
/// With a trust root (--trust), MODEL@CHANNEL opens what the channel points to, if approvals, freshness, attestations and
/// everything else are as the trust root demands; --explain says what was checked.
///
/// With --resume, files that are complete stay in a private folder `.mvault-resume…` beside DEST (in it, if it exists) when
/// the opening is interrupted; the same command compares them, opens the rest and removes the folder.
///
/// JSON: {"name", "channel", "generation", "digest", "signers", "destination", "files", "bytes", "tensors",
/// "resumed_bytes"}; not with DEST `-`; "tensors" is null without --tensor
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault open llama-ft:1.4.0 ./llama-ft --identity node.key --signer release.pub
  mvault open llama-ft@production ./llama-ft --identity node.key --trust root.json
  mvault open llama-ft:1.4.0 ./llama-ft --resume --identity node.key --signer release.pub
  mvault open llama-ft:1.4.0 - --file config.json --identity node.key --signer release.pub
  mvault open llama-ft:1.4.0 ./layer0 --tensor 'model.layers.0.*' --identity node.key --signer release.pub
  mvault open llama-ft:1.4.0 head.bin --file model.safetensors --range 0..4096 --identity node.key --signer release.pub")]
pub struct Args {
    /// MODEL:VERSION, MODEL@CHANNEL or b3:DIGEST
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Where to: a folder, a file with --file, or `-` for standard output
    dest: PathBuf,
    /// The private key that opens it; repeat for several
    #[arg(long, value_name = "FILE.key")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    belief: BeliefArgs,
    /// Believe whatever the store gives, signed by nobody: it may be anything
    #[arg(long, conflicts_with_all = ["signer", "trust", "require_attestation"])]
    insecure_skip_signature: bool,
    /// Open nothing without an attestation of this type by an accepted signer; repeat for several
    #[arg(long, value_name = "TYPE")]
    require_attestation: Vec<PredicateType>,
    #[command(flatten)]
    log: RequireLogArgs,
    /// Open this file only; with a *, which stands for anything, or repeated, all that fit
    #[arg(long, value_name = "PATTERN")]
    file: Vec<Glob>,
    /// Open only the tensors of safetensors files that are like this, where * stands for anything; repeat for several
    #[arg(long, value_name = "PATTERN", conflicts_with = "range")]
    tensor: Vec<Glob>,
    /// Only these bytes of a single file, from 0, the end excluded: A..B, A.. or ..B
    #[arg(long, value_name = "A..B")]
    range: Option<ByteRange>,
    /// Keep what is complete if it is interrupted, and go on with what an interrupted one kept
    #[arg(long, conflicts_with = "tensor")]
    resume: bool,
    /// Write the OpenSSF Model Signing bundle that it was sealed with to this new file, too
    #[arg(long, value_name = "FILE")]
    oms_out: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A range whose ends may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteRange {
    start: u64,
    end: Option<u64>,
}

impl std::str::FromStr for ByteRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "not of the form A..B, A.. or ..B";
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let (start, end) = text.split_once("..").ok_or(RULE)?;
        let start = if start.is_empty() { 0 } else { digits(start).ok_or(RULE)? };
        let end = if end.is_empty() { None } else { Some(digits(end).ok_or(RULE)?) };
        if end.is_some_and(|end| end < start) {
            return Err("it ends before it starts");
        }
        Ok(Self { start, end })
    }
}

impl ByteRange {
    fn within(self, file: &File) -> std::ops::Range<u64> {
        // A start behind the file stays there, for the library to refuse.
        self.start..self.end.unwrap_or(file.size.max(self.start))
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    let to_standard_output = args.dest == Path::new(STANDARD);
    if to_standard_output && args.resume {
        return Err(Failure::usage("what went to standard output cannot be resumed")
            .hint("open to a file or folder, or leave out --resume"));
    }
    if to_standard_output && was_closed(std::io::stdout()) {
        return Err(Failure::operational("standard output is closed")
            .hint("to throw the bytes away, open the null device for writing only: `> /dev/null`"));
    }
    let belief = args.belief.load(session)?;
    let belief = if args.insecure_skip_signature { belief } else { belief.demand()? };
    let vault = session.vault_for(&args.reference)?;
    let (artifact, View { policy, signers, .. }) = belief.resolve(&vault, &args.reference, session)?;
    args.require_attestation.iter().try_for_each(|wanted| vault.require_attestation(&artifact, &policy, wanted))?;
    args.log.check(&vault, &artifact, &policy, &args.belief.trust, session)?;
    let mut passphrases = Passphrases::new(&args.passphrase);
    let ring = keyring(session, &args.identity, &mut passphrases, &args.reference.to_string())?;
    let options = open::Options { beginnings: !args.tensor.is_empty(), ..session.open_options() };
    let opened = vault.open_artifact(&artifact, &policy, &ring, options)?;
    let bundle = bundle(args, &opened)?;
    if args.insecure_skip_signature {
        session.ui.warn("no signature was checked: these bytes may be from anybody");
    }
    if to_standard_output {
        to_stdout(args, &opened, &artifact.manifest, session)?;
        return write_bundle(bundle);
    }
    let Written { files, bytes: length, tensors, resumed } = to_disk(args, &opened, &artifact, session)?;
    write_bundle(bundle)?;
    let dest = args.dest.display().to_string();
    let signed = signers.names(artifact.manifest.signers(), "nobody");
    let text = format!(
        "opened {}, signed by {signed}\n  {} of {} in {dest}",
        args.reference,
        count(files, "file"),
        bytes(length)
    );
    let object = json!({
        "name": artifact.name.as_ref().map(ToString::to_string),
        "channel": artifact.channel.as_ref().map(|(channel, _)| channel.to_string()),
        "generation": artifact.channel.as_ref().map(|(_, generation)| generation),
        "digest": artifact.digest.to_string(),
        "signers": super::describe::ids(artifact.manifest.signers()),
        "destination": dest,
        "files": files,
        "bytes": length,
        "tensors": tensors,
        "resumed_bytes": resumed,
    });
    session.ui.result(&text, &object)
}

/// The OMS bundle to write, and where to, if that is asked for and can be.
fn bundle<'a>(args: &'a Args, opened: &'a Opened<'_>) -> Result<Option<(&'a Path, &'a str)>> {
    let Some(path) = &args.oms_out else { return Ok(None) };
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::Conflict { what: path.display().to_string() }.into());
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Noticed before anything is opened: after a failure nothing is left.
    if !folder.is_dir() {
        return Err(Error::NotFound { what: format!("the folder {}", folder.display()) }.into());
    }
    let Some(bundle) = opened.index().oms() else {
        let what = format!("an OMS bundle in {}", args.reference);
        return Err(Failure::from(Error::NotFound { what }).hint("only what was sealed with --require-oms has one"));
    };
    Ok(Some((path, bundle)))
}

/// Writes it, readable by its owner only like everything opened: it tells digests of the plaintext.
fn write_bundle(bundle: Option<(&Path, &str)>) -> Result {
    let Some((path, bundle)) = bundle else { return Ok(()) };
    Ok(file::write_private(path, &SecretVec::new(bundle.as_bytes().to_vec()))?)
}

/// The keys to open with. Without a private key, a passphrase is all there can be.
pub fn keyring(
    session: &Session,
    identities: &[PathBuf],
    passphrases: &mut Passphrases,
    what: &str,
) -> Result<Keyring> {
    let identities = load_identities(identities, passphrases, session.global.examples())?;
    let mut ring = Keyring { identities, passphrases: Vec::new() };
    if ring.identities.is_empty() || passphrases.is_given() {
        let asked = passphrases.existing(what);
        let asked = asked.map_err(|f| if ring.identities.is_empty() { no_key(f) } else { f })?;
        ring.passphrases.push(asked);
    }
    Ok(ring)
}

fn no_key(failure: Failure) -> Failure {
    match failure.advice() {
        Some(_) => failure.hint("give --identity FILE.key, or --passphrase-file FILE"),
        None => failure,
    }
}

/// How much was written.
struct Written {
    files: u64,
    bytes: u64,
    tensors: Option<u64>,
    /// Bytes that were there already.
    resumed: Option<u64>,
}

fn to_disk(args: &Args, opened: &Opened<'_>, artifact: &Artifact, session: &Session) -> Result<Written> {
    let manifest = &artifact.manifest;
    let (target, index) = (args.dest.as_path(), opened.index());
    let all: Vec<&File> = index.files().iter().collect();
    let chosen = if args.file.is_empty() { all } else { index.select(&args.file)? };
    let excerpts = excerpts(args, opened, &chosen, manifest)?;
    let mut written = Written {
        files: chosen.len() as u64,
        bytes: chosen.iter().map(|file| file.size).sum(),
        tensors: None,
        resumed: None,
    };
    let destination = if !args.tensor.is_empty() {
        written = Written {
            files: excerpts.len() as u64,
            bytes: excerpts.iter().map(Excerpt::length).sum(),
            resumed: None,
            tensors: Some(excerpts.iter().map(|excerpt| excerpt.tensors() as u64).sum()),
        };
        Destination::Excerpts { excerpts: &excerpts, folder: target }
    } else if args.range.is_none() && (args.file.len() > 1 || args.file.iter().any(|glob| is_wild(glob, opened))) {
        Destination::Files { files: &chosen, folder: target }
    } else if args.file.is_empty() && args.range.is_none() {
        Destination::Folder(target)
    } else {
        let file = single(&chosen)?;
        let path = file.path.as_str();
        match args.range.map(|range| range.within(file)) {
            Some(range) => {
                written.bytes = range.end - range.start;
                Destination::Range { path, range, target }
            }
            None => Destination::File { path, target },
        }
    };
    let bar = session.start("opening", Some(written.bytes))?;
    if !args.resume {
        extract(opened, destination, &bar).map_err(while_reading(manifest))?;
        return Ok(written);
    }
    let reopen = Reopen { artifact: artifact.digest, threads: session.threads() };
    let there = extract_resumable(opened, &destination, reopen, &bar).map_err(while_reading(manifest))?;
    drop(bar);
    if there > 0 {
        session.ui.note(&format!("resumed: {} were there already", bytes(there)));
    }
    written.resumed = Some(there);
    Ok(written)
}

/// Whether it may mean several files. A name may hold a `*` itself.
fn is_wild(glob: &Glob, opened: &Opened<'_>) -> bool {
    !glob.is_literal() && opened.index().file(glob.as_str()).is_err()
}

/// The tensors that are asked for, a file for each that they are from.
fn excerpts(args: &Args, opened: &Opened<'_>, files: &[&File], manifest: &Manifest) -> Result<Vec<Excerpt>> {
    if args.tensor.is_empty() {
        return Ok(Vec::new());
    }
    let selected = safetensors::select(opened, files, &args.tensor).map_err(while_reading(manifest))?;
    Ok(selected.chunks(1).map(Excerpt::new).collect::<Result<_, _>>()?)
}

/// The file meant: the only one there is.
fn single<'a>(files: &[&'a File]) -> Result<&'a File> {
    match files {
        [only] => Ok(only),
        files => Err(Failure::usage(format!("it has {} files, and only one can go there", files.len()))
            .hint("name one with --file; `mvault inspect --identity` lists them")),
    }
}

fn to_stdout(args: &Args, opened: &Opened<'_>, manifest: &Manifest, session: &Session) -> Result {
    let all: Vec<&File> = opened.index().files().iter().collect();
    let chosen = if args.file.is_empty() { all } else { opened.index().select(&args.file)? };
    let mut write = |bytes: &[u8]| session.ui.write_bytes(bytes).map_err(Error::storage("standard output"));
    if !args.tensor.is_empty() {
        let selected = safetensors::select(opened, &chosen, &args.tensor).map_err(while_reading(manifest))?;
        let excerpt = Excerpt::new(&selected)?;
        let bar = session.start("opening", Some(excerpt.length()))?;
        return excerpt.stream(opened, &mut write, &bar).map_err(while_reading(manifest));
    }
    let file = single(&chosen)?;
    let range = args.range.map_or(0..file.size, |range| range.within(file));
    let bar = session.start("opening", Some(range.end.saturating_sub(range.start)))?;
    opened.stream(file, range, &mut write, &bar).map_err(while_reading(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        let range = |start, end| Ok(ByteRange { start, end });
        assert_eq!("1..9".parse(), range(1, Some(9)));
        assert_eq!("1..".parse(), range(1, None));
        assert_eq!("..9".parse(), range(0, Some(9)));
        assert_eq!("..".parse(), range(0, None));
        assert_eq!("4..4".parse(), range(4, Some(4)));
        for bad in ["", "1", "1.2", "a..b", "+1..2", "1..=2", "-1..2", "9..1", "1...2", "99999999999999999999.."] {
            assert!(bad.parse::<ByteRange>().is_err(), "{bad}");
        }
    }
}
