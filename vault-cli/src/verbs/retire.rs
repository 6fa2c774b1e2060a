//! `mvault retire`

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use vault_core::{
    Error,
    keys::Signer,
    names::{Pattern, VersionName},
    vault::{Fate, Gate, History, InUse, Judged, Keep, Retired, Vault},
};

use super::describe::ids;
use crate::{
    belief::{Belief, BeliefArgs},
    cli::duration,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
    ui::{count, short, table},
};

/// Say that versions are no longer kept: `mvault gc` then deletes their contents
///
/// Writes a signed record; contents go when that is older than the grace of `mvault gc`. Name, signatures, recipients and
/// attestations stay, and the name stays taken. This is not taken back. It takes a sealer or release key of the model under
/// the trust root, or one of the --signer keys.
///
/// A version that a channel points to is refused. Without a trust root nobody can tell what a channel points to now:
/// whatever it ever pointed to is then refused. With --model, versions are chosen by rule: all but the newest --keep-last, those
/// younger than --min-age, those a channel points or ever pointed to, and those that are proposed.
///
/// JSON: {"dry_run", "retired": [{"version", "digest", "created", "reason", "signers"}], "kept": [{"version", "digest", "why"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault retire llama-ft:1.2.0 --reason superseded --key release.key --trust root.json
  mvault retire --model 'llama-*' --keep-last 5 --min-age 30d --dry-run --trust root.json
  mvault retire --model 'llama-*' --keep-last 5 --min-age 30d --reason retention --key release.key --trust root.json")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// The version to retire
    #[arg(value_name = "MODEL:VERSION", required_unless_present = "model")]
    version: Option<VersionName>,
    /// Choose by rule among the models like this, in which * stands for anything
    #[arg(long, value_name = "PATTERN", conflicts_with = "version", requires = "keep_last")]
    model: Option<Pattern>,
    /// How many versions of each model to keep, the newest
    #[arg(long, value_name = "N", requires = "model", conflicts_with = "version")]
    keep_last: Option<usize>,
    /// Keep versions that are younger, such as 30d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "model", conflicts_with = "version")]
    min_age: Duration,
    /// Keep what a channel ever pointed to; that is the default
    #[arg(long, requires = "model", conflicts_with = "version")]
    keep_channel_history: bool,
    /// Retire also what a channel pointed to once, and no longer does
    #[arg(long, requires = "model", conflicts_with_all = ["version", "keep_channel_history"])]
    drop_channel_history: bool,
    /// Retire it although a channel points to it
    #[arg(long, requires = "version")]
    even_if_in_use: bool,
    /// Say what the rule chooses and do nothing
    #[arg(long, requires = "model", conflicts_with = "version")]
    dry_run: bool,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Whose signature retires it
    #[arg(long, value_name = "FILE.key", required_unless_present = "dry_run")]
    key: Option<PathBuf>,
    #[command(flatten)]
    belief: BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Whoever judges: a gate, or signers.
enum Judge<'a, 'g> {
    Gate(&'a mut Gate<'g>),
    Signers(&'a Vault, vault_core::trust::Policy),
}

impl Judge<'_, '_> {
    fn judge(&mut self, keep: &Keep) -> Result<Vec<Judged>, Error> {
        match self {
            Self::Gate(gate) => gate.judge(keep),
            Self::Signers(vault, policy) => vault.judge(keep, policy),
        }
    }

    fn retire(
        &mut self,
        name: &VersionName,
        reason: &str,
        in_use: InUse,
        signer: &dyn Signer,
    ) -> Result<Retired, Error> {
        match self {
            Self::Gate(gate) => gate.retire(name, reason, in_use, signer),
            Self::Signers(vault, policy) => vault.retire(name, reason, policy, in_use, signer),
        }
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load_now(session)?;
    let signer = match &args.key {
        Some(key) => Some(load_signing(key, &mut Passphrases::new(&args.passphrase), session.global.examples())?),
        None => None,
    };
    let vault = session.vault()?;
    match belief {
        Belief::Root(root) => {
            let work = |gate: &mut Gate<'_>| work(args, &mut Judge::Gate(gate), signer.as_deref(), session);
            root.with(&vault, session, work).map(|((), _)| ())
        }
        Belief::Signers(signers) => {
            let signers = match (&args.key, &signer) {
                (Some(key), Some(signer)) => signers.and(key, signer.verifying_key()),
                _ => signers,
            };
            let policy = signers.demand()?;
            work(args, &mut Judge::Signers(&vault, policy), signer.as_deref(), session)
        }
    }
}

fn work(args: &Args, judge: &mut Judge<'_, '_>, signer: Option<&dyn Signer>, session: &Session) -> Result {
    let in_use = if args.even_if_in_use { InUse::Allow } else { InUse::Refuse };
    let (names, kept) = match (&args.version, &args.model, args.keep_last) {
        (Some(name), ..) => (vec![name.clone()], Vec::new()),
        (None, Some(models), Some(last)) => {
            let history = if args.drop_channel_history { History::Drop } else { History::Keep };
            let keep = Keep { models: models.clone(), last, younger_than: args.min_age, history };
            let (go, stay): (Vec<_>, Vec<_>) = judge.judge(&keep)?.into_iter().partition(|j| j.fate == Fate::Retire);
            if args.dry_run {
                return report(&go.iter().map(Line::planned).collect::<Vec<_>>(), &stay, true, session);
            }
            (go.into_iter().map(|judged| judged.name).collect(), stay)
        }
        // The command line demands one or the other.
        _ => return Err(Failure::usage("name a version, or --model and --keep-last")),
    };
    let (Some(signer), Some(reason)) = (signer, args.reason.as_deref()) else {
        return Err(Failure::usage("a key and a reason are needed"));
    };
    let mut retired = Vec::new();
    for name in names {
        let one = judge.retire(&name, reason, in_use, signer);
        retired.push(Line::done(&one.map_err(|error| Failure::from(error).prefixed(&format!("{name}: ")))?));
    }
    report(&retired, &kept, false, session)
}

/// A version that is retired, or would be.
struct Line {
    version: String,
    object: Value,
}

impl Line {
    fn planned(judged: &Judged) -> Self {
        let version = judged.name.to_string();
        let object = json!({ "version": version, "digest": judged.artifact.to_string(), "created": judged.created });
        Self { version, object }
    }

    fn done(retired: &Retired) -> Self {
        let version = retired.name.to_string();
        let object = json!({
            "version": version,
            "digest": retired.artifact.to_string(),
            "created": retired.created,
            "reason": retired.reason,
            "signers": ids(&retired.signers),
        });
        Self { version, object }
    }
}

fn why(fate: &Fate) -> String {
    match fate {
        Fate::Retire => "nothing keeps it".into(),
        Fate::Last => "among the last".into(),
        Fate::Young => "younger than --min-age".into(),
        Fate::PointedTo(channel) => format!("{channel} points to it, or may"),
        Fate::WasPointedTo(channel) => format!("{channel} pointed to it"),
        Fate::Proposed => "is proposed for a channel".into(),
        Fate::RetiredAlready => "is retired already".into(),
    }
}

fn report(retired: &[Line], kept: &[Judged], is_dry: bool, session: &Session) -> Result {
    let word = if is_dry { "would retire" } else { "retired" };
    let mut rows: Vec<_> =
        retired.iter().map(|line| vec![line.version.clone(), word.to_owned(), String::new()]).collect();
    rows.extend(kept.iter().map(|j| vec![j.name.to_string(), "kept".to_owned(), why(&j.fate)]));
    let text = format!("{}\n{word} {}", table(&rows), count(retired.len() as u64, "version"));
    let kept = kept
        .iter()
        .map(|j| json!({ "version": j.name.to_string(), "digest": j.artifact.to_string(), "why": why(&j.fate) }));
    let object = json!({
        "dry_run": is_dry,
        "retired": retired.iter().map(|line| line.object.clone()).collect::<Value>(),
        "kept": kept.collect::<Value>(),
    });
    session.ui.result(&text, &object)?;
    if !is_dry && let Some(line) = retired.first() {
        session.ui.note(&format!(
            "contents go with the first `mvault gc` that finds the record old enough ({})",
            short(line.object["digest"].as_str().unwrap_or_default())
        ));
    }
    Ok(())
}
