//! `mvault copy`

use serde_json::{Value, json};
use vault_core::{
    Error,
    names::{Pattern, Reference},
    store::Connection,
    trust::{Policy, Role},
    vault::{Artifacts, Believed, Copied, CopyRequest, Existing, LogProofs, Moved, Selection, Vault},
    workers::Threads,
};

use crate::{
    belief::{Belief, BeliefArgs},
    failure::{Failure, Result},
    logged::{LogKeyArgs, LogView},
    session::Session,
    ui::{bytes, count, one_line},
};

/// Copy versions from one vault to another, without any key
///
/// Content, manifest, recipients, attestations and version record travel unchanged; with MODEL@CHANNEL the history of the
/// channel, what it points to and open proposals; always trust roots, revocations, and statements of freshness of the
/// models. Every object is hashed on its way, and only what the other vault does not have travels: the same command
/// again goes on after an interruption.
///
/// With --signer or --trust, what these do not believe is refused. With neither, records need only be well formed, and a
/// warning says so; whoever opens the copy checks signatures as ever. A version that the other vault has for
/// something else is a conflict, two promotions of one number are a fork: both are refused before anything is written.
///
/// Proofs that versions and promotions stand in the log of the source come along, so that `mvault open --require-log` takes
/// the copy without that log. With --log-key, or --trust and keys of the role `log`, only proofs that count; --require-log
/// copies nothing that has none.
///
/// JSON: {"from", "to", "artifacts", "versions", "channels", "objects": {"copied", "copied_bytes", "there", "there_bytes"},
/// "records": the same, "log_proofs": the same, "unproven", "skipped": [{"path", "reason"}], "failed": [{"name", "error"}], "more": {"skipped", "failed"}}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault copy llama-ft:1.4.0 --from s3://training/vault --to /srv/models --signer release.pub
  mvault copy llama-ft@production --from /srv/models --to /media/stick --init --trust root.json
  mvault copy --all --from /srv/models --to /backup/models --init")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// MODEL:VERSION, MODEL@CHANNEL or b3:DIGEST
    #[arg(value_name = "REF", required_unless_present_any = ["all", "model"])]
    reference: Option<Reference>,
    /// Copy every version and every channel
    #[arg(long, conflicts_with_all = ["reference", "model"])]
    all: bool,
    /// Copy every version and channel of the models like this, where * stands for anything
    #[arg(long, value_name = "PATTERN", conflicts_with = "reference")]
    model: Option<Pattern>,
    /// The vault to copy from [default: --vault]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The vault to copy to
    #[arg(long, value_name = "URL")]
    to: String,
    /// Make the vault to copy to if it is not there
    #[arg(long)]
    init: bool,
    /// Of channels, copy the artifacts of every promotion, not only of the newest
    #[arg(long)]
    history: bool,
    /// Read and hash also what is there already, not only compare lengths
    #[arg(long)]
    verify: bool,
    /// Copy only what is proven to stand in the log of the source
    #[arg(long)]
    require_log: bool,
    #[command(flatten)]
    log: LogKeyArgs,
    #[command(flatten)]
    belief: BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?;
    let from = match &args.from {
        Some(from) => from.as_str(),
        None => session.vault_url()?,
    };
    let connection = session.connection();
    let source = session.vault_at(from, &connection)?;
    let (selection, policy, total) = selection(args, &belief, &source, session)?;
    let log = log(args, from, &policy, session)?;
    let target = target(args, &connection, session)?;
    if belief.is_anybody() {
        session.ui.warn(
            "no signature was checked, because neither --signer nor --trust is given: what is copied is well formed, no more",
        );
    }
    let request = CopyRequest {
        source: &source,
        selection,
        artifacts: if args.history { Artifacts::All } else { Artifacts::Head },
        policy: &policy,
        existing: if args.verify { Existing::Hash } else { Existing::Length },
        proofs: proofs(args, log.as_ref()),
        jobs: Threads::new(connection.jobs),
    };
    let bar = session.start("copying", total)?;
    let copied = target.copy(request, &bar)?;
    drop(bar);
    for (path, reason) in &copied.skipped {
        session.ui.warn(&format!("{path} was not copied: {reason}"));
    }
    if copied.more_skipped > 0 {
        session.ui.warn(&format!("{} more were not copied", copied.more_skipped));
    }
    session.ui.result(&text(&copied, &args.to), &object(&copied, from, &args.to))?;
    verdict(copied)
}

/// What to copy, whom to believe about it, and how many bytes that is if it is known.
fn selection(
    args: &Args,
    belief: &Belief,
    source: &Vault,
    session: &Session,
) -> Result<(Selection, Policy, Option<u64>)> {
    match &args.reference {
        None => {
            let policy = belief.view(source, session)?.policy;
            Ok((Selection::Models(args.model.clone()), policy, None))
        }
        Some(Reference::Channel(channel)) if belief.is_anybody() => {
            Ok((Selection::Unjudged(channel.clone()), Policy::InsecureSkipSignature, None))
        }
        Some(reference) => {
            let (artifact, view) = belief.resolve(source, reference, session)?;
            let total = artifact.manifest.sealed_len();
            Ok((Selection::One(Box::new(artifact)), view.policy, Some(total)))
        }
    }
}

/// Whom to believe about the log of the source, if anybody.
fn log(args: &Args, from: &str, policy: &Policy, session: &Session) -> Result<Option<LogView>> {
    let has_keys = matches!(policy, Policy::Rooted(rooted) if !rooted.keys_of(Role::Log).is_empty());
    if !has_keys && !args.require_log && !args.log.is_asked() {
        return Ok(None);
    }
    args.log.view_at(from, Some(policy), &args.belief.trust, session).map(Some)
}

fn proofs<'a>(args: &Args, log: Option<&'a LogView>) -> LogProofs<'a> {
    match log.map(|LogView { judge, seen }| Believed { judge, seen: seen.last() }) {
        None => LogProofs::WellFormed,
        Some(believed) if args.require_log => LogProofs::Demanded(believed),
        Some(believed) => LogProofs::Of(believed),
    }
}

fn target(args: &Args, connection: &Connection, session: &Session) -> Result<Vault> {
    match session.vault_at(&args.to, connection) {
        Err(failure) if failure.kind() == "not-found" => {
            if args.init {
                return Ok(Vault::init(session.new_store(&args.to)?)?);
            }
            Err(failure.hint("--init makes it"))
        }
        other => other,
    }
}

fn text(copied: &Copied, to: &str) -> String {
    let Copied { artifacts, versions, channels, objects, records, proofs, .. } = copied;
    let mut lines: Vec<_> =
        copied.failed.iter().map(|(name, error)| one_line(&format!("FAILED {name}: {error}"))).collect();
    lines.push(format!(
        "copied to {to}: {}, {} and {}",
        count(*artifacts, "artifact"),
        count(*versions, "version"),
        count(*channels, "channel"),
    ));
    let line = |what: &str, moved: &Moved| {
        format!(
            "  {what}: {} copied ({}), {} already there ({})",
            moved.copied,
            bytes(moved.copied_bytes),
            moved.there,
            bytes(moved.there_bytes)
        )
    };
    lines.push(line("objects", objects));
    lines.push(format!("  records: {} copied, {} already there", records.copied, records.there));
    let unproven =
        if copied.unproven == 0 { String::new() } else { format!(", none of {}", count(copied.unproven, "record")) };
    lines.push(format!("  log proofs: {} copied, {} already there{unproven}", proofs.copied, proofs.there));
    lines.join("\n")
}

fn object(copied: &Copied, from: &str, to: &str) -> Value {
    let moved = |moved: &Moved| {
        json!({
            "copied": moved.copied, "copied_bytes": moved.copied_bytes,
            "there": moved.there, "there_bytes": moved.there_bytes,
        })
    };
    let skipped = copied.skipped.iter().map(|(path, reason)| json!({ "path": path, "reason": reason.to_string() }));
    let failed = copied.failed.iter().map(|(name, error)| {
        json!({ "name": name, "error": { "kind": error.kind().as_str(), "message": error.to_string() } })
    });
    json!({
        "from": from,
        "to": to,
        "artifacts": copied.artifacts,
        "versions": copied.versions,
        "channels": copied.channels,
        "objects": moved(&copied.objects),
        "records": moved(&copied.records),
        "log_proofs": moved(&copied.proofs),
        "unproven": copied.unproven,
        "skipped": skipped.collect::<Value>(),
        "failed": failed.collect::<Value>(),
        "more": { "skipped": copied.more_skipped, "failed": copied.more_failed },
    })
}

/// The worst of what could not be copied.
fn verdict(copied: Copied) -> Result {
    let failed = copied.failed.len() as u64 + copied.more_failed;
    let named = copied.failed.into_iter().map(|(name, error): (String, Error)| {
        let prefix = format!("{name}: ");
        Failure::from(error).prefixed(&prefix)
    });
    match named.reduce(Failure::worse) {
        None => Ok(()),
        Some(worst) => Err(worst.prefixed(&format!("{} could not be copied; the worst: ", count(failed, "name")))),
    }
}
