//! Cases: what policies are to allow and what not, in a file beside them.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;
use vault_core::{
    Error, Result,
    names::{ChannelName, ModelName},
};

use super::{Policies, Rights};
use crate::{
    identity::{Means, Principal},
    rights::{Permission, Resource},
    state::Time,
};

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    principal: Who,
    #[serde(default)]
    acr: Option<String>,
    #[serde(default)]
    amr: BTreeSet<String>,
    #[serde(default)]
    address: Option<IpAddr>,
    #[serde(default)]
    time: Option<Time>,
    action: Permission,
    resource: What,
    allowed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    id: String,
    #[serde(default)]
    means: Means,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    holder: Option<String>,
}

/// A channel of a model, a model, or the registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    channel: Option<String>,
}

/// Tries policies on cases (JSON), and says how many there were.
///
/// # Errors
/// [`Error::Misuse`] with the names of those that came out otherwise, or if the cases are none.
pub fn check_cases(policies: &Policies, cases: &str) -> Result<usize> {
    let cases: Vec<Case> = serde_json::from_str(cases).map_err(|error| Error::Misuse(format!("the cases: {error}")))?;
    let mut wrong = Vec::new();
    for case in &cases {
        if try_case(policies, case)? != case.allowed {
            wrong.push(format!("{:?} is {}", case.name, if case.allowed { "refused" } else { "allowed" }));
        }
    }
    if wrong.is_empty() { Ok(cases.len()) } else { Err(Error::Misuse(wrong.join("; "))) }
}

fn try_case(policies: &Policies, case: &Case) -> Result<bool> {
    let Who { id, means, groups, holder } = &case.principal;
    let principal = Principal {
        id: id.clone(),
        name: id.clone(),
        holder: holder.clone().unwrap_or_else(|| id.clone()),
        means: *means,
        groups: groups.clone(),
        acr: case.acr.clone(),
        amr: case.amr.clone(),
        grants: Vec::new(),
    };
    let set = policies.with_grants(*means, id, &[])?;
    let address = case.address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let rights = Rights::new(Arc::new(set), &principal, address, case.time.map_or_else(Timestamp::now, |time| time.0))?;
    let What { model, channel } = &case.resource;
    let model = model.as_deref().map(str::parse::<ModelName>).transpose()?;
    Ok(match (model, channel.as_deref()) {
        (Some(model), Some(channel)) => {
            let name = ChannelName { model, channel: channel.parse()? };
            rights.allow(case.action, Resource::Channel(&name))
        }
        (Some(model), None) => rights.allow(case.action, Resource::Model(&model)),
        (None, None) => rights.allow(case.action, Resource::Vault),
        (None, Some(_)) => return Err(Error::Misuse(format!("case {:?}: a channel is one of a model", case.name))),
    })
}
