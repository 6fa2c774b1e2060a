//! `mvault channel`

use clap::Subcommand;
use serde_json::{Value, json};
use vault_core::{names::ChannelName, trust::Clock, vault::Entry};

use super::proposal::names;
use crate::{belief::TrustArgs, failure::Result, session::Session};

/// Look at a channel's history
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: ChannelVerb,
}

#[derive(Debug, Subcommand)]
enum ChannelVerb {
    Log(LogArgs),
}

/// Show every promotion of a channel: what, when, by whom, why
///
/// All records are judged by the trust root of today: a promotion whose keys were retired since is marked, and stays part
/// of the history. Times are what the records claim. With --at, only the promotion that was in force at that time.
///
/// JSON: {"channel", "history": [{"generation", "version", "digest", "reason", "created", "expires", "requester",
/// "approvers", "record", "counts", "fault", "linked"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault channel log llama-ft@production --trust root.json
  mvault channel log llama-ft@production --at 2026-05-03T12:00:00Z --trust root.json")]
pub struct LogArgs {
    /// The channel
    #[arg(value_name = "MODEL@CHANNEL")]
    channel: ChannelName,
    /// Only what it pointed to at this time: RFC 3339, in UTC
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let ChannelVerb::Log(args) = &args.verb;
    let root = args.trust.root(session)?;
    let at = args.at.as_deref().map(Clock::at).transpose()?;
    let vault = session.vault()?;
    let ((mut history, fault), _) = root.with(&vault, session, |gate| Ok(gate.channel_log(&args.channel)?))?;
    if let Some(at) = at {
        history = in_force(history, &at.to_rfc3339()).into_iter().collect();
        if history.is_empty() {
            let what = format!("a promotion to {} in force at {}", args.channel, at.to_rfc3339());
            return Err(vault_core::Error::NotFound { what }.into());
        }
    } else if history.is_empty() {
        return Err(vault_core::Error::NotFound { what: format!("a promotion to {}", args.channel) }.into());
    }
    let text = history.iter().rev().map(told).collect::<Vec<_>>().join("\n");
    let object = json!({
        "channel": args.channel.to_string(),
        "history": history.iter().map(object).collect::<Value>(),
    });
    session.ui.result(&text, &object)?;
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

/// The last linked promotion that claims to be made by then and not to have expired. RFC 3339 in UTC sorts as text.
fn in_force(history: Vec<Entry>, at: &str) -> Option<Entry> {
    let made = |entry: &Entry| entry.promotion.as_ref().is_some_and(|p| p.created.as_str() <= at);
    let last = history.into_iter().rfind(|entry| entry.linked && made(entry));
    last.filter(|entry| entry.promotion.as_ref().is_some_and(|p| p.expires.as_str() > at))
}

fn told(entry: &Entry) -> String {
    let Some(promotion) = &entry.promotion else {
        let why = entry.fault.as_ref().map(ToString::to_string).unwrap_or_default();
        return format!("{}: no promotion: {why}", entry.generation);
    };
    let mut text = format!(
        "{}: {} ({})\n  made {}, expires {}\n  reason: {}\n",
        entry.generation, promotion.version, promotion.artifact, promotion.created, promotion.expires, promotion.reason,
    );
    let judged = match &entry.fault {
        None => format!("  asked for by {}, approved by {}", promotion.requester, names(&promotion.approvers)),
        Some(fault) => format!("  DOES NOT COUNT TODAY: {fault}"),
    };
    text.push_str(&judged);
    if !entry.linked {
        text.push_str("\n  NOT PART OF THE CHAIN: the present promotion does not descend from it");
    }
    text
}

fn object(entry: &Entry) -> Value {
    let promotion = entry.promotion.as_ref();
    json!({
        "generation": entry.generation,
        "version": promotion.map(|p| &p.version),
        "digest": promotion.map(|p| &p.artifact),
        "reason": promotion.map(|p| &p.reason),
        "created": promotion.map(|p| &p.created),
        "expires": promotion.map(|p| &p.expires),
        "requester": promotion.map(|p| &p.requester),
        "approvers": promotion.map(|p| &p.approvers),
        "record": promotion.map(|p| format!("b3:{}", p.digest)),
        "counts": entry.fault.is_none(),
        "fault": entry.fault.as_ref().map(ToString::to_string),
        "linked": entry.linked,
    })
}
