//! `mvault inspect`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    index::File,
    manifest::{SUITE, Stream},
    names::Reference,
    open::Opened,
    recipients::Stanza,
    safetensors::{self, Tensor},
    tree::INDEX_STREAM,
    vault::Artifact,
};

use super::{
    describe::{Beside, NOBODY, ids},
    open::keyring,
};
use crate::{
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, Signers},
    session::Session,
    ui::{bytes, count, one_line, table},
};

/// Show what a version consists of
///
/// Without --signer no signature is checked, and what is shown is what the store claims. With --identity the files are
/// shown, too, and for .safetensors files the tensors; only the heads of files are read.
///
/// JSON: {"name", "digest", "signature_checked", "signers", "artifact_id", "suite", "part_size", "sealed_bytes",
/// "streams": [{"number", "sealed_bytes", "plaintext_bytes", "parts"}], "attestations", "recipients", "warnings"} and
/// with a key "files": [{"path", "bytes", "executable", "sha256", "tensors": [{"name", "dtype", "shape", "bytes"}]}] and, if
/// it was sealed with --require-oms, "oms": {"model", "root_digest", "algorithm", "files", "key_hint", "certificate"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault inspect llama-ft:1.4.0
  mvault inspect llama-ft:1.4.0 --signer release.pub --identity node.key")]
pub struct Args {
    /// MODEL:VERSION or b3:DIGEST
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Whose signature counts; repeat for several
    #[arg(long, value_name = "FILE.pub")]
    signer: Vec<PathBuf>,
    /// A private key that opens it, to show the files; repeat for several
    #[arg(long, value_name = "FILE.key")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let signers = Signers::load(&args.signer, session.global.examples())?;
    let policy = signers.or_anybody()?;
    let vault = session.vault()?;
    let artifact = vault.resolve(&args.reference, &policy)?;
    let beside = Beside::read(&vault, &artifact, &policy)?;

    let mut lines = outside(&artifact, &beside, &signers, args);
    let mut object = outside_json(&artifact, &beside, args);
    let mut passphrases = Passphrases::new(&args.passphrase);
    if !args.identity.is_empty() || passphrases.is_given() {
        let ring = keyring(session, &args.identity, &mut passphrases, &args.reference.to_string())?;
        let opened = vault.open_artifact(&artifact, &policy, &ring, session.open_options())?;
        let contents = contents(&opened)?;
        lines.extend(inside(&contents));
        if let Some(bundle) = opened.index().oms() {
            lines.extend(super::oms::kept_lines(bundle));
            object["oms"] = super::oms::kept_json(bundle);
        }
        object["files"] = contents.iter().map(Content::object).collect();
    }
    session.ui.result(&lines.join("\n"), &object)?;
    for warning in beside.warnings() {
        session.ui.warn(&warning);
    }
    Ok(())
}

fn outside(artifact: &Artifact, beside: &Beside, signers: &Signers, args: &Args) -> Vec<String> {
    let manifest = &artifact.manifest;
    let checked = !args.signer.is_empty();
    let signed = if checked {
        format!("signed by {}", signers.names(manifest.signers(), NOBODY))
    } else {
        "signature not checked; give --signer to check it".to_owned()
    };
    let (sealed, streams) = (bytes(manifest.sealed_len()), count(manifest.streams.len() as u64, "stream"));
    let mut lines = vec![
        args.reference.to_string(),
        signed,
        format!("  digest:      {}", artifact.digest),
        format!("  artifact id: {}", hex::encode(manifest.artifact_id)),
        format!("  suite:       {SUITE}, parts of {}", bytes(manifest.part_size.get())),
        format!("  sealed:      {sealed} in {streams} and the index"),
    ];
    lines.extend(beside.lines(signers, if checked { NOBODY } else { "a key that was not checked" }));
    lines.extend(stanzas(beside));
    let mut rows = vec![["  stream", "sealed", "plaintext", "parts"].map(str::to_owned).to_vec()];
    rows.extend(manifest.numbered_streams().map(|(number, stream)| {
        let (layout, parts) = (stream.layout, stream.parts.len().to_string());
        let name = if number == INDEX_STREAM { "  index".into() } else { format!("  {number}") };
        vec![name, bytes(layout.length()), bytes(layout.plaintext_len()), parts]
    }));
    lines.extend(table(&rows).lines().map(str::to_owned));
    lines
}

fn outside_json(artifact: &Artifact, beside: &Beside, args: &Args) -> Value {
    let manifest = &artifact.manifest;
    let stream = |(number, stream): (u32, &Stream)| {
        json!({
            "number": if number == INDEX_STREAM { json!("index") } else { json!(number) },
            "sealed_bytes": stream.layout.length(),
            "plaintext_bytes": stream.layout.plaintext_len(),
            "parts": stream.parts.len(),
        })
    };
    json!({
        "name": artifact.name.as_ref().map(ToString::to_string),
        "digest": artifact.digest.to_string(),
        "signature_checked": !args.signer.is_empty(),
        "signers": ids(manifest.signers()),
        "artifact_id": hex::encode(manifest.artifact_id),
        "suite": SUITE,
        "part_size": manifest.part_size.get(),
        "sealed_bytes": manifest.sealed_len(),
        "streams": manifest.numbered_streams().map(stream).collect::<Value>(),
        "attestations": beside.attestations_json(),
        "recipients": beside.recipients_json(),
        "warnings": beside.warnings(),
    })
}

fn stanzas(beside: &Beside) -> Vec<String> {
    let line = |stanza: &Stanza| match stanza.key_id() {
        Some(id) => format!("    {} {id}", stanza.type_str()),
        None => "    passphrase".to_owned(),
    };
    beside.access.iter().flat_map(|access| access.stanzas.iter().map(line)).collect()
}

/// One file, and its tensors if it has any.
struct Content<'a> {
    file: &'a File,
    tensors: Option<Result<Vec<Tensor>, String>>,
}

fn contents<'a>(opened: &'a Opened<'_>) -> Result<Vec<Content<'a>>> {
    let mut contents = Vec::new();
    for file in opened.index().files() {
        let is_safetensors = file.path.as_str().ends_with(".safetensors");
        let tensors = match is_safetensors.then(|| safetensors::read(opened, file)) {
            // Sealed bytes that differ are the vault's fault; a header that makes no sense is the file's.
            Some(Err(error)) if !is_about_header(&error) => return Err(error.into()),
            Some(Err(error)) => Some(Err(error.to_string())),
            Some(Ok(tensors)) => Some(Ok(tensors)),
            None => None,
        };
        contents.push(Content { file, tensors });
    }
    Ok(contents)
}

fn is_about_header(error: &vault_core::Error) -> bool {
    use vault_core::{Error, error::Place};
    matches!(error, Error::Corrupt { place: Place::Document(safetensors::DOCUMENT), .. })
}

fn inside(contents: &[Content<'_>]) -> Vec<String> {
    let mut lines = vec!["files:".to_owned()];
    for content in contents {
        let file = content.file;
        let executable = if file.executable { ", executable" } else { "" };
        let sha256 = file.sha256.map(|digest| format!(", sha256 {}", hex::encode(digest))).unwrap_or_default();
        lines.push(format!("  {}  {}{executable}{sha256}", file.path, bytes(file.size)));
        match &content.tensors {
            None => {}
            Some(Err(fault)) => lines.push(format!("    {}", one_line(fault))),
            Some(Ok(tensors)) => {
                let row = |t: &Tensor| {
                    vec![format!("    {}", t.name), t.dtype.as_str().into(), format!("{:?}", t.shape), bytes(t.length)]
                };
                let rows = table(&tensors.iter().map(row).collect::<Vec<_>>());
                lines.extend(rows.lines().map(str::to_owned));
            }
        }
    }
    lines
}

impl Content<'_> {
    fn object(&self) -> Value {
        let mut object = json!({
            "path": self.file.path.as_str(),
            "bytes": self.file.size,
            "executable": self.file.executable,
            "sha256": self.file.sha256.map(hex::encode),
        });
        let tensor =
            |t: &Tensor| json!({ "name": t.name, "dtype": t.dtype.as_str(), "shape": t.shape, "bytes": t.length });
        match &self.tensors {
            None => {}
            Some(Ok(tensors)) => object["tensors"] = tensors.iter().map(tensor).collect(),
            Some(Err(fault)) => object["tensors_error"] = json!(fault),
        }
        object
    }
}
