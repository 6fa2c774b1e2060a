//! `mvault trust sign`

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;
use vault_core::{
    keys::{KeyId, file},
    provenance::Envelope,
    secret::SecretVec,
    trust::{Candidate, Changes, Clock, Holder, ROOT_PAYLOAD_TYPE, Reached, Role, TrustRoot, draft},
};

use super::show::{changes_object, lines};

use crate::{
    belief::{public_text, read_document, read_root},
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
    ui::one_line,
};

/// Sign a trust root: make it of its source, or add a signature
///
/// Of TOML, a new document is made: version 1, or with --after the next version. Of a document, a copy with one more
/// signature is made; -o may name the document itself. With --after, it says what changes before it asks for the passphrase,
/// and refuses a document that does not follow that version.
///
/// JSON: {"root", "version", "digest", "signed_by", "threshold"}, and with --after "changes": {"removed", "added"} and
/// "before": {"signed_by", "threshold"}, what the root holders of the version before demand
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust sign trust.toml --key alice.key -o root.json
  mvault trust sign root.json --key bob.key -o root.json
  mvault trust sign trust-2.toml --after root.json --key alice.key -o root-2.json
  mvault trust sign root-2.json --after root.json --key bob.key -o root-2.json")]
pub struct Args {
    /// The source, or the document to sign
    #[arg(value_name = "FILE.toml|ROOT.json")]
    source: PathBuf,
    /// The trust root that the new one follows
    #[arg(long, value_name = "ROOT.json")]
    after: Option<PathBuf>,
    /// Whose signature to add
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    /// Where to write it
    #[arg(long, short, value_name = "ROOT.json")]
    output: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let bytes = read_document(&args.source)?;
    let is_document = bytes.trim_ascii_start().first() == Some(&b'{');
    let previous = args.after.as_deref().map(|path| read_root(path, session.global.examples())).transpose()?;
    let mut envelope = if is_document {
        Envelope::parse_record_of(&bytes, ROOT_PAYLOAD_TYPE).map_err(|e| Failure::local(&args.source, &e))?
    } else {
        made(args, bytes, previous.as_ref(), session)?
    };
    let changes = changes(args, &envelope, previous.as_ref(), session)?;
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    check_listed(
        args,
        &candidate(&args.source, &envelope)?,
        previous.as_ref(),
        signer.verifying_key().key_id(),
        session,
    )?;
    envelope.add_signature(signer.as_ref())?;
    let candidate = candidate(&args.source, &envelope)?;
    write(&args.output, &envelope.to_vec()?, is_document && args.output == args.source)?;
    let (holders, threshold) = candidate.progress();
    let before = previous.as_ref().map(|previous| candidate.progress_before(previous.root()));
    let mut text = format!(
        "wrote {}: trust root version {}\n  its own root holders:           {}",
        args.output.display(),
        candidate.root().version(),
        progress(&holders, threshold),
    );
    if let Some((holders, threshold)) = &before {
        text = [text, format!("\n  those of the version before it: {}", progress(holders, *threshold))].concat();
    }
    let mut object = json!({
        "root": args.output.display().to_string(),
        "version": candidate.root().version(),
        "digest": format!("b3:{}", candidate.digest()),
        "signed_by": names(&holders),
        "threshold": threshold,
    });
    if let (Some(changes), Some((holders, threshold))) = (changes, before) {
        object["changes"] = changes_object(&changes);
        object["before"] = json!({ "signed_by": names(&holders), "threshold": threshold });
    }
    session.ui.result(&text, &object)
}

fn names(holders: &BTreeSet<Holder>) -> Vec<&str> {
    holders.iter().map(Holder::as_str).collect()
}

fn progress(holders: &BTreeSet<Holder>, threshold: u64) -> String {
    let by = if holders.is_empty() { "nobody yet".to_owned() } else { names(holders).join(", ") };
    let missing = if (holders.len() as u64) < threshold { ": more signatures are needed" } else { "" };
    format!("{by} ({} of {threshold}){missing}", holders.len())
}

/// Refuses a signature that could count for nothing.
fn check_listed(
    args: &Args,
    candidate: &Candidate,
    previous: Option<&Reached>,
    id: KeyId,
    session: &Session,
) -> Result {
    let holds = |root: &TrustRoot| root.holds(Role::Root, &id, None);
    let root = candidate.root();
    if holds(root) || previous.is_some_and(|previous| holds(previous.root())) {
        return Ok(());
    }
    if root.version() == 1 || previous.is_some() {
        return Err(Failure::usage(format!("{} gives key {id} no root role", args.source.display()))
            .hint("only the root holders of a trust root and of the version before it sign it"));
    }
    session.ui.warn(&format!(
        "{} gives key {id} no root role; its signature counts only if the version before does",
        args.source.display()
    ));
    Ok(())
}

/// What the document changes, said before anybody gives a passphrase for it.
fn changes(args: &Args, envelope: &Envelope, previous: Option<&Reached>, session: &Session) -> Result<Option<Changes>> {
    let candidate = candidate(&args.source, envelope)?;
    let version = candidate.root().version();
    let Some(previous) = previous else {
        if version > 1 {
            session.ui.warn(&format!("what version {version} changes is not shown: --after names the version before"));
        }
        return Ok(None);
    };
    previous.check_next(&candidate).map_err(|e| Failure::local(&args.source, &e))?;
    let changes = Changes::between(previous.root(), candidate.root());
    session
        .ui
        .note(&format!("to be signed: version {version} of the trust root b3:{}, which changes", previous.origin()));
    for line in lines(&changes) {
        session.ui.note(&line);
    }
    for loss in Changes::losses(previous.root(), candidate.root()) {
        session.ui.warn(&loss);
    }
    Ok(Some(changes))
}

fn made(args: &Args, bytes: Vec<u8>, previous: Option<&Reached>, session: &Session) -> Result<Envelope> {
    let examples = session.global.examples();
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not UTF-8 text", args.source.display())))?;
    let folder = args.source.parent().unwrap_or(Path::new(""));
    let root = draft(&text, previous, Clock::now(), &mut |name| public_text(folder, name)).map_err(|e| {
        let failure = Failure::usage(format!("{}: {e}", args.source.display()));
        if e.to_string().starts_with("follows: ") {
            failure.hint("--after names the version it was made from")
        } else {
            failure
        }
    })?;
    root.keys().try_for_each(|(id, _)| examples.check(&args.source, *id))?;
    Ok(Envelope::unsigned(ROOT_PAYLOAD_TYPE, root.to_vec()?))
}

fn candidate(source: &Path, envelope: &Envelope) -> Result<Candidate> {
    Candidate::parse(&envelope.to_vec()?).map_err(|e| Failure::local(source, &e))
}

fn write(path: &Path, bytes: &[u8], replace: bool) -> Result {
    if replace {
        return Ok(file::replace_private(path, &SecretVec::new(bytes.to_vec()))?);
    }
    let text = String::from_utf8(bytes.to_vec()).map_err(|e| Failure::operational(one_line(&e.to_string())))?;
    Ok(file::write_public(path, &text)?)
}
