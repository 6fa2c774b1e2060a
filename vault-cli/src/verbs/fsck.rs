//! `mvault fsck`

use serde_json::{Value, json};
use vault_core::{
    Error,
    error::Kind,
    names::{ArtifactDigest, Reference},
    trust::Policy,
    vault::{Finding, Vault},
};

use super::describe::damaged_object;
use crate::{
    failure::{Failure, Result},
    session::Session,
    ui::{bytes, count},
};

/// Check every stored byte of a vault and report what is damaged or belongs to nothing
///
/// Damage ends with exit code 3; the report comes first. What an interrupted seal left behind is reported and harmless.
/// Signatures are not checked: that is what `mvault verify --all` is for.
///
/// JSON: {"versions", "artifacts", "objects", "bytes", "damage": [{"kind", "artifact", "version", "object", "message"}],
/// "unpublished": […], "orphans": [{"path", "bytes"}], "foreign": […], "leftovers": [{"path", "bytes"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault /srv/models fsck")]
pub struct Args {}

#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    damage: Vec<Value>,
    unpublished: Vec<Value>,
    orphans: Vec<Value>,
    foreign: Vec<Value>,
}

impl Findings {
    fn add(&mut self, vault: &Vault, finding: &Finding) {
        match finding {
            Finding::Damaged { artifact, error } => {
                let object = object(vault, *artifact, error);
                let place = object.as_ref().map(|object| format!(" (in {object})")).unwrap_or_default();
                self.lines.push(format!("damaged: {artifact}: {error}{place}"));
                let (artifact, message) = (artifact.to_string(), error.to_string());
                self.damage
                    .push(json!({ "kind": "damaged", "artifact": artifact, "message": message, "object": object }));
            }
            Finding::BrokenVersion { name, error } => {
                self.lines.push(format!("broken version: {name}: {error}"));
                let name = name.to_string();
                self.damage.push(json!({ "kind": "version", "version": name, "message": error.to_string() }));
            }
            Finding::Unpublished { artifact } => {
                self.lines.push(format!("unpublished: {artifact}: no version names it"));
                self.unpublished.push(json!(artifact.to_string()));
            }
            Finding::Orphan { path, size } => {
                self.lines.push(format!("orphan: {path}: {}, no manifest names it", bytes(*size)));
                self.orphans.push(json!({ "path": path, "bytes": size }));
            }
            Finding::Foreign { path } => {
                self.lines.push(format!("foreign: {path}: has no place in a vault"));
                self.foreign.push(json!(path));
            }
            other => self.lines.push(format!("{other:?}")),
        }
    }
}

/// The object that a damaged segment is in.
fn object(vault: &Vault, artifact: ArtifactDigest, error: &Error) -> Option<String> {
    let artifact = vault.resolve(&Reference::Digest(artifact), &Policy::InsecureSkipSignature).ok()?;
    damaged_object(&artifact.manifest, error)
}

pub fn run(_: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let mut findings = Findings::default();
    let bar = session.start("checking", None)?;
    let report = vault.fsck(session.threads(), &bar, &mut |finding| {
        findings.add(&vault, &finding);
        Ok(())
    })?;
    drop(bar);
    let leftovers = vault.store().leftovers()?;
    for entry in &leftovers {
        let what = format!("leftover: {}: {}, of a seal at work or killed", entry.path, bytes(entry.size));
        findings.lines.push(what);
    }
    let damaged = findings.damage.len();
    findings.lines.push(format!(
        "checked {}, {}, {}, {} of ciphertext: {}",
        count(report.versions, "version"),
        count(report.artifacts, "artifact"),
        count(report.objects, "object"),
        bytes(report.bytes),
        if damaged == 0 { "no damage".into() } else { format!("{damaged} damaged") },
    ));
    let leftovers = leftovers.iter().map(|entry| json!({ "path": entry.path, "bytes": entry.size }));
    let object = json!({
        "versions": report.versions, "artifacts": report.artifacts, "objects": report.objects, "bytes": report.bytes,
        "damage": findings.damage, "unpublished": findings.unpublished, "orphans": findings.orphans,
        "foreign": findings.foreign, "leftovers": leftovers.collect::<Value>(),
    });
    session.ui.result(&findings.lines.join("\n"), &object)?;
    if damaged > 0 {
        let message = format!("the vault is damaged in {}", count(damaged as u64, "place"));
        return Err(Failure::new(Kind::Integrity, message).hint("restore what is named above from another copy"));
    }
    Ok(())
}
