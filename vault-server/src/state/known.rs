//! What all records together say: keys, policies, rights that were lent, and changes that wait.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use cedar_policy::PolicySet;
use jiff::{SignedDuration, Timestamp};
use vault_core::{
    Error, Result,
    error::{Fault, Place},
};

use super::{Change, WireRecord};
use crate::{
    identity::{Means, Presented, Principal},
    policy::{Policies, Rights},
    rights::{Grant, Permission},
};

/// How long keys that count no more are remembered, so that lists show them.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The most keys, those remembered included.
const MAX_KEYS: usize = 100_000;
/// The most proposals that wait, and the most of one person.
const MAX_PROPOSALS: usize = 1000;
const MAX_OF_ONE: usize = 20;
/// How many of them may ask for rights for a while: anybody may, and that leaves room for those who administer.
const MAX_ELEVATIONS: usize = 500;
/// The most principals whose policies are kept ready.
const MAX_READY: usize = 10_000;

/// A key as it is kept.
#[derive(Debug, Clone)]
pub struct Key {
    /// What people call it.
    pub name: String,
    /// The person behind it.
    pub holder: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ceases to count.
    pub expires: Option<Timestamp>,
    /// When it was disabled.
    pub disabled: Option<Timestamp>,
    hash: blake3::Hash,
}

impl Key {
    /// Whether it counts at this time.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.disabled.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// When it ceased to count, or will.
    fn ended(&self) -> Option<Timestamp> {
        [self.disabled, self.expires].into_iter().flatten().min()
    }
}

/// Changes that wait for a second person.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The id of who proposed them.
    pub by: String,
    /// The person behind it.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// When they were proposed.
    pub created: Timestamp,
    /// When they cease to wait.
    pub expires: Timestamp,
    /// What is to change.
    pub changes: Vec<Change>,
}

impl Proposal {
    /// Whether somebody asks for rights for a while.
    pub(super) fn is_elevation(&self) -> bool {
        self.changes.iter().all(|change| matches!(change, Change::Elevated { .. }))
    }

    /// Whether it can still come into force: its time is not over, whoever proposed it still counts, and so do the keys that are to get something by it: what a disabled key asked for, or was
    /// to get, is a thief's.
    pub fn is_alive(&self, state: &State, now: Timestamp) -> bool {
        let counts = |id: &str| state.keys.get(id).is_none_or(|key| key.counts(now));
        let touched = |change: &Change| match change {
            Change::KeyExpires { id, .. } => counts(id),
            Change::Elevated { means, principal, .. } => *means != Means::Key || counts(principal),
            _ => true,
        };
        now < self.expires && counts(&self.by) && self.changes.iter().all(touched)
    }
}

/// Rights that somebody has for a while.
#[derive(Debug, Clone)]
struct Elevation {
    means: Means,
    principal: String,
    grant: Grant,
    until: Timestamp,
}

/// Whose policies are kept ready, for one state.
type Ready = Mutex<HashMap<(Means, String), Arc<PolicySet>>>;

/// What all records together say.
#[derive(Debug, Clone)]
pub struct State {
    /// The number of the last valid record, and the digest of its payload.
    pub(super) head: Option<(u64, blake3::Hash)>,
    /// The first number that nothing stands under.
    pub(super) next: u64,
    /// How many numbers before that hold nothing valid, in a row.
    pub(super) junk: u64,
    keys: BTreeMap<String, Key>,
    policies: Arc<Policies>,
    elevations: Vec<Elevation>,
    proposals: BTreeMap<String, Proposal>,
    /// The people who ever had a key that administers.
    administrators: BTreeSet<String>,
    /// Whether policies ever made administrators.
    is_administered_by_policy: bool,
    ready: Arc<Ready>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            head: None,
            next: 1,
            junk: 0,
            keys: BTreeMap::new(),
            policies: Arc::default(),
            elevations: Vec::new(),
            proposals: BTreeMap::new(),
            administrators: BTreeSet::new(),
            is_administered_by_policy: false,
            ready: Arc::default(),
        }
    }
}

impl State {
    /// The keys, by id.
    pub fn keys(&self) -> &BTreeMap<String, Key> {
        &self.keys
    }

    /// The policies in force.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What waits for a second person, by id. Some of it may wait no more: see [`Proposal::is_alive`].
    pub fn proposals(&self) -> &BTreeMap<String, Proposal> {
        &self.proposals
    }

    /// Whether there is no room for another who asks for rights for a while.
    pub(super) fn is_beset(&self) -> bool {
        self.proposals.values().filter(|other| other.is_elevation()).count() >= MAX_ELEVATIONS
    }

    /// Whether more than one person administers, or ever did: then no one alone gives rights.
    pub fn is_shared(&self) -> bool {
        self.is_administered_by_policy || self.administrators.len() > 1
    }

    /// Who presents this key; none if it is unknown, wrong, disabled or expired.
    pub fn authenticate(&self, presented: &Presented<'_>, now: Timestamp) -> Option<Principal> {
        let key = self.keys.get(presented.id)?;
        let is_it = presented.is(&key.hash) & key.counts(now);
        is_it.then(|| Principal::of_key(presented.id, &key.name, &key.holder, &key.grants))
    }

    /// What a principal may do in a request from this address.
    ///
    /// # Errors
    /// [`Error::Misuse`] if what it was granted is no policy.
    pub fn rights(&self, principal: &Principal, address: IpAddr, now: Timestamp) -> Result<Rights> {
        let id = (principal.means, principal.id.clone());
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let set = match ready {
            Some(set) => set,
            None => self.make_ready(id, principal)?,
        };
        Rights::new(set, principal, address, now)
    }

    /// What a principal may do without what was lent to them.
    ///
    /// # Errors
    /// As [`State::rights`].
    pub(super) fn own_rights(&self, principal: &Principal, address: IpAddr, now: Timestamp) -> Result<Rights> {
        let set = self.policies.with_grants(principal.means, &principal.id, &principal.grants)?;
        Rights::new(Arc::new(set), principal, address, now)
    }

    fn make_ready(&self, id: (Means, String), principal: &Principal) -> Result<Arc<PolicySet>> {
        let is_theirs = |one: &&Elevation| one.means == principal.means && one.principal == principal.id;
        let lent = self.elevations.iter().filter(is_theirs).map(|one| one.grant.clone());
        let grants: Vec<_> = principal.grants.iter().cloned().chain(lent).collect();
        let set = Arc::new(self.policies.with_grants(principal.means, &principal.id, &grants)?);
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MAX_READY {
            ready.clear();
        }
        ready.insert(id, Arc::clone(&set));
        Ok(set)
    }

    /// Whether these changes would go through, and what they grant can be judged.
    ///
    /// # Errors
    /// [`Error::Misuse`] if not.
    pub(super) fn try_out(&self, changes: &[Change]) -> Result<()> {
        self.with(changes).map(drop)
    }

    /// The state as it would be after these changes.
    ///
    /// # Errors
    /// As [`State::try_out`].
    pub(super) fn with(&self, changes: &[Change]) -> Result<Self> {
        let (mut state, now) = (self.clone(), Timestamp::now());
        for change in changes {
            match change {
                Change::KeyAdded { id, grants, .. } => {
                    self.policies.with_grants(Means::Key, id, grants)?;
                }
                Change::Elevated { means, principal, grant, .. } => {
                    self.policies.with_grants(*means, principal, std::slice::from_ref(grant))?;
                }
                _ => {}
            }
            state.apply(change.clone(), "", now).map_err(|error| Error::Misuse(error.to_string()))?;
        }
        Ok(state)
    }

    /// Takes a record of this registry, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if something in it cannot be.
    pub(super) fn follow(&mut self, record: WireRecord) -> Result<()> {
        // One change is made or not made; of several, those before one that is not are undone.
        let is_one = record.changes.len() == 1 && !matches!(record.changes[0], Change::Approved { .. });
        let before = (!is_one).then(|| self.clone());
        let done = record.changes.into_iter().try_for_each(|change| self.apply(change, &record.by, record.created.0));
        if let (Err(_), Some(before)) = (&done, before) {
            *self = before;
        }
        done
    }

    fn apply(&mut self, change: Change, by: &str, created: Timestamp) -> Result<()> {
        self.ready = Arc::default();
        match change {
            Change::KeyAdded { id, name, holder, hash, grants, expires } => {
                let hash = blake3::Hash::from_hex(&hash).map_err(|_| broken("a hash is none"))?;
                if self.keys.len() >= MAX_KEYS {
                    self.keys.retain(|_, key| key.ended().is_none_or(|end| created.duration_since(end) < REMEMBERED));
                }
                if self.keys.len() >= MAX_KEYS || self.keys.contains_key(&id) {
                    return Err(broken("a key is there already, or there are too many"));
                }
                if grants.iter().any(|grant| grant.permissions.contains(&Permission::Admin)) {
                    self.administrators.insert(folded(&holder));
                }
                let expires = expires.map(|time| time.0);
                self.keys.insert(id, Key { name, holder, grants, created, expires, disabled: None, hash });
            }
            Change::KeyExpires { id, expires } => {
                let key = self.keys.get_mut(&id).ok_or_else(|| broken("a key that is not there expires"))?;
                key.expires = Some(key.expires.map_or(expires.0, |before| before.min(expires.0)));
            }
            Change::KeyDisabled { id } => {
                let key = self.keys.get_mut(&id).ok_or_else(|| broken("a key that is not there is disabled"))?;
                key.disabled = Some(created);
            }
            Change::PoliciesSet { text } => {
                let policies = Policies::parse(&text).map_err(|error| broken(&error.to_string()))?;
                self.is_administered_by_policy |= policies.name_administrators();
                self.policies = Arc::new(policies);
            }
            Change::Elevated { means, principal, grant, seconds } => {
                let length =
                    i64::try_from(seconds).map(SignedDuration::from_secs).map_err(|_| broken("is for ever"))?;
                let until = created.checked_add(length).map_err(|_| broken("is for ever"))?;
                let grant = Grant { until: Some(super::Time(until)), ..grant };
                self.elevations.retain(|one| created < one.until);
                self.elevations.push(Elevation { means, principal, grant, until });
            }
            Change::Proposed { id, holder, reason, expires, changes } => {
                let proposal = Proposal { by: by.to_owned(), holder, reason, created, expires: expires.0, changes };
                self.wait(id, proposal)?;
            }
            Change::Approved { id, holder } => {
                let proposal = self.proposals.remove(&id).ok_or_else(|| broken("approves what is not proposed"))?;
                if is_one_person(&proposal.holder, &holder) || created >= proposal.expires {
                    return Err(broken("is approved by the person who proposed it, or too late"));
                }
                for change in proposal.changes {
                    self.apply(change, &proposal.by, created)?;
                }
            }
            Change::Rejected { id } => {
                self.proposals.remove(&id).ok_or_else(|| broken("rejects what is not proposed"))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, id: String, proposal: Proposal) -> Result<()> {
        let is_nested = |change: &Change| {
            matches!(change, Change::Proposed { .. } | Change::Approved { .. } | Change::Rejected { .. })
        };
        if proposal.changes.iter().any(is_nested) {
            return Err(broken("proposes a proposal"));
        }
        self.proposals.retain(|_, other| proposal.created < other.expires);
        let of_one = self.proposals.values().filter(|other| is_one_person(&other.holder, &proposal.holder)).count();
        if self.proposals.len() >= MAX_PROPOSALS || of_one >= MAX_OF_ONE || self.proposals.contains_key(&id) {
            return Err(broken("waits behind too many"));
        }
        self.proposals.insert(id, proposal);
        Ok(())
    }
}

/// Whether two names are of one person: case and space do not make another.
pub(super) fn is_one_person(a: &str, b: &str) -> bool {
    folded(a) == folded(b)
}

fn folded(holder: &str) -> String {
    holder.trim().to_lowercase()
}

pub(super) fn broken(rule: &str) -> Error {
    Error::Corrupt { place: Place::Document("record of the registry"), fault: Fault::Format(rule.to_owned()) }
}
