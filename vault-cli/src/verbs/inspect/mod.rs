//! `mvault inspect`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    manifest::{SUITE, Stream},
    names::Reference,
    open::Opened,
    provenance::Provenance,
    recipients::Stanza,
    tree::INDEX_STREAM,
    vault::{Artifact, Which},
};

use super::{
    describe::{Beside, NOBODY, ids},
    open::keyring,
};
use crate::{
    belief::{BeliefArgs, View},
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, Signers},
    session::Session,
    ui::{bytes, count, pretty_json, table},
};

mod contents;

/// Show what a version consists of
///
/// Without --signer no signature is checked, and what is shown is what the store claims. With --identity the files are
/// shown, too, and for .safetensors files the tensors; only the heads of files are read. They are printed as they are read:
/// if one cannot be read, those before it are printed, and the exit code says so.
///
/// JSON: {"name", "digest", "signature_checked", "signers", "artifact_id", "suite", "part_size", "sealed_bytes",
/// "streams": [{"number", "sealed_bytes", "plaintext_bytes", "parts", "origin": null or {"artifact_id", "stream"}}], "attestations", "recipients", "warnings"} and
/// with a key "files": [{"path", "bytes", "executable", "sha256", "reused_bytes", "tensors": [{"name", "dtype", "shape", "bytes"}]}],
/// "private_provenance" and, if it was sealed with --require-oms, "oms": {"model", "root_digest", "algorithm", "files",
/// "key_hint", "certificate"}.
///
/// With --lineage: {"lineage": [{"depth", "went_into", "label", "artifact", "role", "digests", "state", "signers", "reason"}]},
/// the artifact first, everything after what it went into ("went_into" is a place in this list); "state" is "verified", "refused",
/// "missing", "outside", "repeated" or "cycle". A refused ancestor ends with exit code 3 or 4, one that is missing or outside does
/// not. Manifests and signatures are verified, the bytes of weights are not: that is what `mvault verify` is for.
///
/// With --attestation: {"attestations": [{"sha256", "type", "signers", "predicate"}]}; as text, the predicates alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault inspect llama-ft:1.4.0
  mvault inspect llama-ft:1.4.0 --signer release.pub --identity node.key
  mvault inspect llama-ft:1.4.0 --lineage --signer release.pub --signer meta.pub
  mvault inspect llama-ft:1.4.0 --attestation https://example.com/eval/v1 --signer eval.pub --signer release.pub")]
pub struct Args {
    /// MODEL:VERSION, MODEL@CHANNEL or b3:DIGEST
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    belief: BeliefArgs,
    /// A private key that opens it, to show the files; repeat for several
    #[arg(long, value_name = "FILE.key")]
    identity: Vec<PathBuf>,
    /// Show and verify the ancestry instead; needs --signer
    #[arg(long, conflicts_with_all = ["identity", "attestation"])]
    lineage: bool,
    /// Show what an attestation says instead: the one with this SHA-256, or all of this type; needs --signer
    #[arg(long, value_name = "SHA256|TYPE", conflicts_with = "identity")]
    attestation: Option<Which>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?;
    let belief = if args.lineage || args.attestation.is_some() { belief.demand()? } else { belief };
    let vault = session.vault()?;
    let (artifact, view) = belief.resolve(&vault, &args.reference, session)?;
    let checked = !belief.is_anybody();
    if args.lineage {
        return super::lineage::show(&vault, &artifact, &view, session);
    }
    let View { policy, signers, .. } = view;
    if let Some(which) = &args.attestation {
        return super::statements::show(&vault, &artifact, &policy, which, session);
    }
    let beside = Beside::read(&vault, &artifact, &policy)?;

    let text = outside(&artifact, &beside, &signers, (args, checked)).join("\n");
    let object = outside_json(&artifact, &beside, checked);
    let mut passphrases = Passphrases::new(&args.passphrase);
    if !args.identity.is_empty() || passphrases.is_given() {
        let ring = keyring(session, &args.identity, &mut passphrases, &args.reference.to_string())?;
        let options = vault_core::open::Options { beginnings: true, ..session.open_options() };
        let opened = vault.open_artifact(&artifact, &policy, &ring, options)?;
        let (mut text, mut object) = (text, object);
        if let Some(bundle) = opened.index().oms() {
            text = format!("{text}\n{}", super::oms::kept_lines(bundle).join("\n"));
            object["oms"] = super::oms::kept_json(bundle);
        }
        if let Some(provenance) = private_provenance(&opened)? {
            text = format!("{text}\nprivate provenance:\n{}", pretty_json(&provenance));
            object["private_provenance"] = provenance;
        }
        contents::print((&text, &object), (&opened, &artifact.manifest), &session.ui)?;
    } else {
        session.ui.result(&text, &object)?;
    }
    for warning in beside.warnings() {
        session.ui.warn(&warning);
    }
    Ok(())
}

fn outside(artifact: &Artifact, beside: &Beside, signers: &Signers, (args, checked): (&Args, bool)) -> Vec<String> {
    let manifest = &artifact.manifest;
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
    let reused = manifest.reused_streams().map(|(_, stream, _)| stream.layout.length()).sum::<u64>();
    if reused > 0 {
        let (length, streams) = (bytes(reused), count(manifest.reused_streams().count() as u64, "stream"));
        lines.push(format!("  reused:      {length} in {streams} of earlier artifacts"));
    }
    let mut rows = vec![["  stream", "sealed", "plaintext", "parts", "origin"].map(str::to_owned).to_vec()];
    rows.extend(manifest.numbered_streams().map(|(number, stream)| {
        let (layout, parts) = (stream.layout, stream.parts.len().to_string());
        let name = if number == INDEX_STREAM { "  index".into() } else { format!("  {number}") };
        let origin = stream.origin.map(|origin| origin.to_string()).unwrap_or_default();
        vec![name, bytes(layout.length()), bytes(layout.plaintext_len()), parts, origin]
    }));
    lines.extend(table(&rows).lines().map(str::to_owned));
    lines
}

fn outside_json(artifact: &Artifact, beside: &Beside, checked: bool) -> Value {
    let manifest = &artifact.manifest;
    let stream = |(number, stream): (u32, &Stream)| {
        json!({
            "number": if number == INDEX_STREAM { json!("index") } else { json!(number) },
            "sealed_bytes": stream.layout.length(),
            "plaintext_bytes": stream.layout.plaintext_len(),
            "parts": stream.parts.len(),
            "origin": stream.origin.map(|origin| {
                json!({ "artifact_id": hex::encode(origin.artifact_id), "stream": origin.stream })
            }),
        })
    };
    json!({
        "name": artifact.name.as_ref().map(ToString::to_string),
        "digest": artifact.digest.to_string(),
        "signature_checked": checked,
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

/// What the index says about how it came to be. The sealer's signature covers it.
fn private_provenance(opened: &Opened<'_>) -> Result<Option<Value>> {
    let Some(text) = &opened.index().notes().provenance else { return Ok(None) };
    Ok(Some(json!(Provenance::parse(text.as_bytes())?.members())))
}
