//! How proposals are named and told.

use serde_json::{Value, json};
use vault_core::{names::ArtifactDigest, vault::Proposal};

use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// Reads the name of a proposal: `b3:<hex>` or `<hex>`.
pub fn id(text: &str) -> Result<blake3::Hash> {
    let hex = text.strip_prefix("b3:").unwrap_or(text);
    ArtifactDigest::from_hex(hex)
        .map(|digest| digest.hash())
        .map_err(|_| Failure::usage(format!("{text:?} is no proposal: `b3:` and 64 lower-case hex digits")))
}

/// Says how far a proposal is.
pub fn report(proposal: &Proposal, withdrawn: bool, session: &Session) -> Result {
    let by = names(&proposal.approvers);
    let state = match (withdrawn, proposal.published) {
        (true, _) => "withdrawn".to_owned(),
        (false, true) if proposal.superseded.is_some() => {
            let now = proposal.superseded.unwrap_or_default();
            format!("was in force, approved by {by}; generation {now} is in force now")
        }
        (false, true) => format!("in force, approved by {by}"),
        (false, false) => {
            format!(
                "proposed; approved by {} of {} needed holders ({by})",
                proposal.approvers.len(),
                proposal.threshold
            )
        }
    };
    let mut lines = vec![format!("{}: {state}", what(proposal))];
    lines.extend(details(proposal));
    if !proposal.published && !withdrawn {
        lines.push(format!("  approve:  mvault approve b3:{} --key … --trust …", proposal.id));
    }
    session.ui.result(&lines.join("\n"), &object(proposal))
}

/// A proposal for people, besides what it does and how far it is.
pub fn details(proposal: &Proposal) -> Vec<String> {
    let mut lines = vec![
        format!("  proposal: b3:{}", proposal.id),
        format!("  artifact: {}", proposal.artifact),
        format!("  reason:   {}", proposal.reason),
        format!("  asked by: {}, {}", proposal.requester, proposal.created),
    ];
    lines.extend(proposal.expires.iter().map(|expires| format!("  expires:  {expires}")));
    lines
}

/// What a proposal does.
pub fn what(proposal: &Proposal) -> String {
    match &proposal.channel {
        Some(channel) => format!("generation {} of {channel} -> {}", proposal.generation, proposal.version),
        None => format!("revocation {} of {}", proposal.generation, proposal.version),
    }
}

/// A proposal for programs.
pub fn object(proposal: &Proposal) -> Value {
    json!({
        "proposal": format!("b3:{}", proposal.id),
        "published": proposal.published,
        "superseded": proposal.superseded,
        "channel": proposal.channel.as_ref().map(ToString::to_string),
        "generation": proposal.generation,
        "version": proposal.version.to_string(),
        "digest": proposal.artifact.to_string(),
        "reason": proposal.reason,
        "created": proposal.created,
        "expires": proposal.expires,
        "requester": proposal.requester,
        "approvers": proposal.approvers,
        "threshold": proposal.threshold,
    })
}

/// People, or that there are none.
pub fn names(names: &[String]) -> String {
    if names.is_empty() { "nobody yet".to_owned() } else { names.join(", ") }
}
