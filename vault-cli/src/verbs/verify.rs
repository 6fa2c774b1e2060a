//! `mvault verify`

use serde_json::{Value, json};
use vault_core::{
    error::Kind,
    names::Reference,
    provenance::PredicateType,
    trust::Policy,
    vault::{Artifact, Retired, Vault},
    verify::Checked,
};

use super::describe::{Beside, NOBODY, ids, while_reading};
use crate::{
    belief::{BeliefArgs, View},
    failure::{Failure, Result},
    logged::RequireLogArgs,
    secrets::Signers,
    session::Session,
    ui::{count, one_line},
};

/// Prove that stored bytes are what a signer signed; needs no key to open them
///
/// Checks the signature of the version record, the manifest it names, and every byte of every part against the
/// manifest. It says nothing about whether they decrypt, or whether a model is safe to run.
///
/// With --all, every version of the vault is checked and the worst failure decides the exit code; a version record
/// that no accepted signer signed is a failure, too. A store can hide versions without anybody noticing.
///
/// Every attestation is listed: its type, who signed it, or why it does not count. One that does not count is no failure,
/// since anybody who can write to a store can put one there; --require-attestation demands one that does.
///
/// JSON: {"verified", "digest", "name", "signers", "bytes", "parts", "attestations": [{"path", "sha256", "type", "signers",
/// "counts", "reason"}], "recipients": {"generation", "signers", "stanzas"}, "warnings"}; with --all: {"verified", "failed",
/// "retired", "versions": [each with "name" and "verified", and "error" if it failed], "ignored": [{"path", "reason"}],
/// "more": {"failed", "ignored"}}, which were not listed
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault verify llama-ft:1.4.0 --signer release.pub
  mvault verify llama-ft@production --trust root.json --explain
  mvault verify llama-ft:1.4.0 --signer release.pub --signer eval.pub --require-attestation https://example.com/eval/v1
  mvault verify --all --signer release.pub --signer backup.pub")]
pub struct Args {
    /// MODEL:VERSION, MODEL@CHANNEL or b3:DIGEST
    #[arg(value_name = "REF", required_unless_present = "all")]
    reference: Option<Reference>,
    /// Check every version of the vault
    #[arg(long, conflicts_with = "reference")]
    all: bool,
    #[command(flatten)]
    belief: BeliefArgs,
    /// Fail without an attestation of this type by an accepted signer; repeat for several
    #[arg(long, value_name = "TYPE")]
    require_attestation: Vec<PredicateType>,
    #[command(flatten)]
    log: RequireLogArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?.demand()?;
    let vault = match &args.reference {
        Some(reference) => session.vault_for(reference)?,
        None => session.vault()?,
    };
    if let Some(reference) = &args.reference {
        let (artifact, view) = belief.resolve(&vault, reference, session)?;
        args.log.check(&vault, &artifact, &view.policy, &args.belief.trust, session)?;
        let demand = Demand { policy: &view.policy, attestations: &args.require_attestation };
        return one(&vault, artifact, &demand, &view.signers, session);
    }
    if args.log.require_log {
        return Err(Failure::usage("--require-log goes with one version or channel"));
    }
    let view = belief.view(&vault, session)?;
    let demand = Demand { policy: &view.policy, attestations: &args.require_attestation };
    all(&vault, &view, &demand, session)
}

/// What is demanded.
struct Demand<'a> {
    policy: &'a Policy,
    attestations: &'a [PredicateType],
}

/// What one artifact was found to be.
struct Proof {
    artifact: Artifact,
    checked: Checked,
    beside: Beside,
}

fn prove(vault: &Vault, artifact: Artifact, demand: &Demand<'_>, session: &Session) -> Result<Proof> {
    let policy = demand.policy;
    // What takes no time goes first.
    demand.attestations.iter().try_for_each(|wanted| vault.require_attestation(&artifact, policy, wanted))?;
    let bar = session.start("verifying", Some(artifact.manifest.sealed_len()))?;
    let checked = vault.verify(&artifact, session.threads(), &bar);
    let checked = checked.map_err(|error| vault.explained(&artifact, policy, error));
    let checked = checked.map_err(while_reading(&artifact.manifest))?;
    drop(bar);
    let beside = Beside::read(vault, &artifact, policy)?;
    Ok(Proof { artifact, checked, beside })
}

impl Proof {
    fn text(&self, signers: &Signers) -> String {
        let Checked { bytes, parts } = self.checked;
        let signer = signers.names(self.artifact.manifest.signers(), NOBODY);
        let signed_as = match &self.artifact.name {
            Some(name) => format!("signed as {name}"),
            None => "signed provenance for, under no name".to_owned(),
        };
        format!(
            "verified: these {bytes} ciphertext bytes ({}) are what {signer} {signed_as} — it says nothing about \
             whether they decrypt or are safe\n  digest:      {}\n{}",
            count(parts, "part"),
            self.artifact.digest,
            self.beside.lines(signers, NOBODY).join("\n"),
        )
    }

    fn object(&self) -> Value {
        json!({
            "verified": true,
            "digest": self.artifact.digest.to_string(),
            "name": self.artifact.name.as_ref().map(ToString::to_string),
            "signers": ids(self.artifact.manifest.signers()),
            "bytes": self.checked.bytes,
            "parts": self.checked.parts,
            "attestations": self.beside.attestations_json(),
            "recipients": self.beside.recipients_json(),
            "warnings": self.beside.warnings(),
        })
    }

    fn warn(&self, session: &Session) {
        for warning in self.beside.warnings() {
            session.ui.warn(&warning);
        }
    }
}

fn one(vault: &Vault, artifact: Artifact, demand: &Demand<'_>, signers: &Signers, session: &Session) -> Result {
    let proof = prove(vault, artifact, demand, session)?;
    session.ui.result(&proof.text(signers), &proof.object())?;
    proof.warn(session);
    Ok(())
}

fn all(vault: &Vault, view: &View, demand: &Demand<'_>, session: &Session) -> Result {
    let listing = vault.list(demand.policy)?;
    let prove = |reference: &Reference| {
        let artifact = vault.resolve(reference, demand.policy)?;
        view.refuse_revoked(&artifact, reference)?;
        prove(vault, artifact, demand, session)
    };
    let mut tally = Tally::default();
    for entry in listing.versions {
        let (name, retired) = (entry.name.to_string(), entry.retired);
        match prove(&Reference::Version(entry.name)) {
            Ok(proof) => {
                session.ui.line(proof.text(&view.signers).trim_end())?;
                proof.warn(session);
                tally.versions.push(proof.object());
            }
            Err(failure) if session.interrupt.requested() => return Err(failure),
            Err(failure) => match retired.filter(|_| failure.kind() == Kind::NotFound.as_str()) {
                Some(retired) => tally.retire(&name, &retired, session)?,
                None => tally.fail(&name, failure, session)?,
            },
        }
    }
    for (path, error) in listing.skipped {
        tally.fail(&path, error.into(), session)?;
    }
    tally.unlisted = listing.more_skipped;
    for path in listing.foreign {
        session.ui.warn(&format!("{path} is ignored: it names no version"));
        tally.ignored.push(json!({ "path": path, "reason": "names no version" }));
    }
    tally.more_ignored = listing.more_foreign;
    tally.finish(session)
}

/// How all versions fared.
#[derive(Default)]
struct Tally {
    versions: Vec<Value>,
    ignored: Vec<Value>,
    failed: usize,
    /// Retired, and their contents gone: nothing to verify, and no failure.
    retired: usize,
    /// Failed too, but without a line of their own.
    unlisted: u64,
    more_ignored: u64,
    worst: Option<Failure>,
}

impl Tally {
    fn fail(&mut self, name: &str, failure: Failure, session: &Session) -> Result {
        session.ui.line(&one_line(&format!("FAILED {name}: {}", failure.message())))?;
        let error = failure.to_json()["error"].take();
        self.versions.push(json!({ "name": name, "verified": false, "error": error }));
        self.failed += 1;
        self.worst = Some(match self.worst.take() {
            Some(worst) => worst.worse(failure),
            None => failure,
        });
        Ok(())
    }

    fn retire(&mut self, name: &str, retired: &Retired, session: &Session) -> Result {
        let Retired { created, reason, .. } = retired;
        session.ui.line(&one_line(&format!("retired {name}: on {created} ({reason}), its contents were collected")))?;
        self.versions.push(json!({ "name": name, "verified": false, "retired": created, "reason": reason }));
        self.retired += 1;
        Ok(())
    }

    fn finish(self, session: &Session) -> Result {
        let failed = self.failed as u64 + self.unlisted;
        let verified = (self.versions.len() - self.failed - self.retired) as u64;
        let total = verified + failed;
        let retired = match self.retired {
            0 => String::new(),
            retired => format!(", {retired} retired and collected"),
        };
        let text = format!("{verified} of {} verified{retired}", count(total, "version"));
        let object = json!({
            "verified": verified, "failed": failed, "retired": self.retired, "versions": self.versions, "ignored": self.ignored,
            "more": { "failed": self.unlisted, "ignored": self.more_ignored },
        });
        session.ui.result(&text, &object)?;
        match self.worst {
            None => Ok(()),
            Some(worst) => Err(worst.prefixed(&format!("{failed} of {total} failed; the worst: "))),
        }
    }
}
