//! Who wants a change, and whether they may: judged by the very state that the change goes onto, however long the request took.

use std::net::IpAddr;

use jiff::Timestamp;
use vault_core::{Error, Result};

use super::State;
use crate::{
    identity::{Means, Principal},
    rights::{Need, Permission},
};

/// Somebody who asks, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    principal: &'a Principal,
    address: IpAddr,
}

impl<'a> Author<'a> {
    /// As a request has it.
    pub fn new(principal: &'a Principal, address: IpAddr) -> Self {
        Self { principal, address }
    }

    pub(super) fn id(&self) -> &'a str {
        &self.principal.id
    }

    pub(super) fn holder(&self) -> &'a str {
        &self.principal.holder
    }

    pub(super) fn means(&self) -> Means {
        self.principal.means
    }

    /// Refuses somebody whose key counts no more.
    pub(super) fn counts(&self, state: &State, now: Timestamp) -> Result<()> {
        let counts = self.means() != Means::Key || state.keys().get(self.id()).is_some_and(|key| key.counts(now));
        if counts { Ok(()) } else { Err(denied("the key counts no more")) }
    }

    /// Refuses somebody who may not administer, or not any more.
    pub(super) fn administers(&self, state: &State, now: Timestamp) -> Result<()> {
        self.counts(state, now)?;
        let rights = state.rights(self.principal, self.address, now)?;
        Need::of(&[Permission::Admin]).granted_by(&rights).map_err(|missing| denied(&missing.to_string()))
    }

    /// Whether they may also without what was lent to them.
    pub(super) fn administers_by_itself(&self, state: &State, now: Timestamp) -> Result<bool> {
        let rights = state.own_rights(self.principal, self.address, now)?;
        Ok(Need::of(&[Permission::Admin]).granted_by(&rights).is_ok())
    }
}

fn denied(why: &str) -> Error {
    Error::Denied { what: "the change".into(), why: why.to_owned() }
}
