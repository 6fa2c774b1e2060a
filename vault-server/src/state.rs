//! The registry's own state: numbered records under `server/state/` in the vault, each signed by the server's key and naming the
//! one before it by digest.
//!
//! Creating is the only primitive, as everywhere in a vault: of several instances that write the same number one wins, and the
//! others read on and try again. What does not verify burns its number and no more. An instance never goes back: it keeps
//! what it read, and after a restart refuses a store that does not show the record it saw last.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vault_core::{
    Error, Result,
    error::{Fault, Place},
    keys::{SigningKey, VerifyingKey},
    provenance::Envelope,
    store::{Created, Store},
};

use crate::{
    identity::{NewKey, Presented, Principal},
    rights::Grant,
};

mod checkpoint;

const FOLDER: &str = "server/state";
const PAYLOAD_TYPE: &str = "application/vnd.mvault.server-state.v1+json";
/// The longest record, in bytes.
const MAX_RECORD: u64 = 256 << 10;
/// Numbers in a row that hold nothing valid, before somebody has to look.
const MAX_JUNK: u64 = 100;
/// How long what was read counts as current. The limit is two seconds; the rest is for reading.
const FRESH: Duration = Duration::from_secs(1);
/// How often a change is tried again after another instance was first.
const MAX_RACES: usize = 32;
/// The most keys, disabled ones included.
const MAX_KEYS: usize = 100_000;

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A key begins to count.
    KeyAdded {
        /// Its id.
        id: String,
        /// What people call it.
        name: String,
        /// The BLAKE3 of its secret, hex.
        hash: String,
        /// What it may do.
        grants: Vec<Grant>,
        /// When it ceases to count.
        expires: Option<Time>,
    },
    /// A key ceases to count at a time that was not set before, or is earlier than it was.
    KeyExpires {
        /// Its id.
        id: String,
        /// When.
        expires: Time,
    },
    /// A key counts no more, for ever.
    KeyDisabled {
        /// Its id.
        id: String,
    },
}

/// A time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Timestamp);

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.0.to_string()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRecord {
    number: u64,
    previous: Option<String>,
    created: Time,
    by: String,
    changes: Vec<Change>,
}

/// A key as it is kept.
#[derive(Debug, Clone)]
pub struct Key {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ceases to count.
    pub expires: Option<Timestamp>,
    /// Whether it was disabled.
    pub disabled: bool,
    hash: blake3::Hash,
}

impl Key {
    /// Whether it counts at this time.
    pub fn counts(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires.is_none_or(|expires| now < expires)
    }
}

/// What all records together say.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The number of the last valid record, and the digest of its payload.
    head: Option<(u64, blake3::Hash)>,
    /// The first number that nothing stands under.
    next: u64,
    keys: BTreeMap<String, Key>,
}

impl State {
    /// The keys, by id.
    pub fn keys(&self) -> &BTreeMap<String, Key> {
        &self.keys
    }

    /// Who presents this key; none if it is unknown, wrong, disabled or expired.
    pub fn authenticate(&self, presented: &Presented<'_>, now: Timestamp) -> Option<Principal> {
        let key = self.keys.get(presented.id)?;
        let is_it = presented.is(&key.hash) & key.counts(now);
        is_it.then(|| Principal::of_key(presented.id, &key.name, &key.name, &key.grants))
    }

    fn apply(&mut self, change: Change, created: Timestamp) -> Result<()> {
        match change {
            Change::KeyAdded { id, name, hash, grants, expires } => {
                let hash = blake3::Hash::from_hex(&hash).map_err(|_| broken("a hash is none"))?;
                if self.keys.len() >= MAX_KEYS || self.keys.contains_key(&id) {
                    return Err(broken("a key is there already, or there are too many"));
                }
                let expires = expires.map(|time| time.0);
                self.keys.insert(id, Key { name, grants, created, expires, disabled: false, hash });
            }
            Change::KeyExpires { id, expires } => {
                let key = self.keys.get_mut(&id).ok_or_else(|| broken("a key that is not there expires"))?;
                key.expires = Some(key.expires.map_or(expires.0, |before| before.min(expires.0)));
            }
            Change::KeyDisabled { id } => {
                let key = self.keys.get_mut(&id).ok_or_else(|| broken("a key that is not there is disabled"))?;
                key.disabled = true;
            }
        }
        Ok(())
    }
}

fn broken(rule: &str) -> Error {
    Error::Corrupt { place: Place::Document("record of the registry"), fault: Fault::Format(rule.to_owned()) }
}

/// The state, as this instance knows it.
#[derive(Debug)]
pub struct States {
    store: Store,
    signer: Arc<SigningKey>,
    /// Where the last record seen is remembered over restarts.
    checkpoint: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    state: Arc<State>,
    checked: Option<Instant>,
}

impl States {
    /// Reads all records.
    ///
    /// # Errors
    /// [`Error::Stale`] if the store does not show the record that was seen last; [`Error::Storage`].
    pub fn open(store: Store, signer: Arc<SigningKey>, checkpoint: Option<PathBuf>) -> Result<Self> {
        let seen = checkpoint.as_deref().map(checkpoint::read).transpose()?.flatten();
        let state = Arc::new(State { next: 1, ..State::default() });
        let states = Self { store, signer, checkpoint, known: Mutex::new(Known { state, checked: None }) };
        let (mut state, mut is_seen) = (State { next: 1, ..State::default() }, seen.is_none());
        states.advance(&mut state, &mut |head| is_seen |= seen == Some(head))?;
        if !is_seen {
            let what = format!("the state of the registry in {}", states.store.describe());
            return Err(Error::Stale { what, why: "the record that was seen last is not shown" });
        }
        states.adopt(state)?;
        Ok(states)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, if it was looked at lately.
    pub fn fresh(&self) -> Option<Arc<State>> {
        let known = self.lock();
        known.checked.filter(|checked| checked.elapsed() < FRESH).map(|_| Arc::clone(&known.state))
    }

    /// What the store says now. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Untrusted`] if too many records in a row do not verify.
    pub fn current(&self) -> Result<Arc<State>> {
        if let Some(state) = self.fresh() {
            return Ok(state);
        }
        let mut state = State::clone(&self.lock().state);
        self.advance(&mut state, &mut |_| {})?;
        self.adopt(state)
    }

    /// Makes a state the known one, unless another thread knows more.
    fn adopt(&self, state: State) -> Result<Arc<State>> {
        let mut known = self.lock();
        if state.next > known.state.next || known.checked.is_none() {
            if let (Some(path), Some((number, digest))) = (&self.checkpoint, state.head) {
                checkpoint::write(path, number, digest)?;
            }
            known.state = Arc::new(state);
        }
        known.checked = Some(Instant::now());
        Ok(Arc::clone(&known.state))
    }

    /// Follows the records as far as they go.
    fn advance(&self, state: &mut State, seen: &mut dyn FnMut((u64, blake3::Hash))) -> Result<()> {
        let key = self.signer.verifying_key();
        let (mut number, mut junk) = (state.next, 0);
        loop {
            let bytes = match self.store.read(&path(number), MAX_RECORD) {
                Ok(None) => break,
                Ok(Some(bytes)) => bytes,
                Err(Error::Corrupt { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            let mut next = state.clone();
            match follow(&mut next, number, &bytes, &key) {
                Ok(digest) => {
                    next.head = Some((number, digest));
                    *state = next;
                    seen((number, digest));
                    junk = 0;
                }
                Err(_) if junk < MAX_JUNK => junk += 1,
                Err(_) => {
                    return Err(Error::Untrusted {
                        what: path(number),
                        why: "and many before it are not by this registry",
                    });
                }
            }
            number += 1;
        }
        state.next = number;
        Ok(())
    }

    /// Writes changes that `plan` makes of the newest state, signed, under the next number. Blocks.
    ///
    /// # Errors
    /// What `plan` returns; [`Error::Conflict`] if other instances were first again and again; [`Error::Storage`].
    pub fn change<T>(&self, by: &str, plan: impl Fn(&State) -> Result<(Vec<Change>, T)>) -> Result<T> {
        for _ in 0..MAX_RACES {
            let mut state = State::clone(&self.lock().state);
            self.advance(&mut state, &mut |_| {})?;
            let (changes, result) = plan(&state)?;
            let record = WireRecord {
                number: state.next,
                previous: state.head.map(|(_, digest)| digest.to_hex().to_string()),
                created: Time(Timestamp::now()),
                by: by.to_owned(),
                changes,
            };
            let payload = serde_json::to_vec(&record).map_err(|error| Error::Misuse(error.to_string()))?;
            let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload);
            envelope.add_signature(&*self.signer)?;
            let bytes = envelope.to_vec()?;
            let there = path(record.number);
            let created = self.store.create(&there, &bytes)?;
            // A request that was repeated may have found its own.
            let is_ours = created == Created::New || self.store.read(&there, MAX_RECORD)?.as_ref() == Some(&bytes);
            self.advance(&mut state, &mut |_| {})?;
            self.adopt(state)?;
            if is_ours {
                return Ok(result);
            }
        }
        Err(Error::Conflict { what: "the next record of the registry".into() })
    }

    /// Adds a key. Its secret is in what is returned, and nowhere else.
    ///
    /// # Errors
    /// As [`States::change`].
    pub fn add_key(&self, by: &str, name: &str, grants: &[Grant], expires: Option<Timestamp>) -> Result<NewKey> {
        check_name(name)?;
        let key = NewKey::random()?;
        self.change(by, |_| Ok((vec![added(&key, name, grants, expires)], ())))?;
        Ok(key)
    }

    /// Disables a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; as [`States::change`].
    pub fn disable_key(&self, by: &str, id: &str) -> Result<()> {
        self.change(by, |state| {
            find(state, id)?;
            Ok((vec![Change::KeyDisabled { id: id.to_owned() }], ()))
        })
    }

    /// Adds a key with the name and the rights of another, which ceases to count after `overlap`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none that counts; as [`States::change`].
    pub fn rotate_key(&self, by: &str, id: &str, overlap: Duration) -> Result<NewKey> {
        let key = NewKey::random()?;
        self.change(by, |state| {
            let (old, now) = (find(state, id)?, Timestamp::now());
            if !old.counts(now) {
                return Err(Error::NotFound { what: format!("a key {id} that still counts") });
            }
            let until = now.checked_add(overlap).map_err(|error| Error::Misuse(error.to_string()))?;
            let ends = Change::KeyExpires { id: id.to_owned(), expires: Time(until) };
            Ok((vec![added(&key, &old.name, &old.grants, old.expires), ends], ()))
        })?;
        Ok(key)
    }
}

fn added(key: &NewKey, name: &str, grants: &[Grant], expires: Option<Timestamp>) -> Change {
    Change::KeyAdded {
        id: key.id.clone(),
        name: name.to_owned(),
        hash: key.hash.to_hex().to_string(),
        grants: grants.to_vec(),
        expires: expires.map(Time),
    }
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Key> {
    state.keys.get(id).ok_or_else(|| Error::NotFound { what: format!("key {id:?}") })
}

/// Names of keys are shown on terminals and stand in logs.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_alphanumeric() || " ._@+-".contains(c);
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(is_plain) {
        return Err(Error::Misuse("a key's name is at most 100 letters, digits, spaces, or any of ._@+-".into()));
    }
    Ok(())
}

fn path(number: u64) -> String {
    format!("{FOLDER}/{number}.dsse.json")
}

/// Takes the next record if it is one: signed, under its number, behind the last. Returns the digest of its payload.
fn follow(state: &mut State, number: u64, bytes: &[u8], key: &VerifyingKey) -> Result<blake3::Hash> {
    let envelope = Envelope::parse_record_of(bytes, PAYLOAD_TYPE)?;
    if !envelope.is_signed_by(key) {
        return Err(Error::Untrusted { what: path(number), why: "is not signed by the key of the server" });
    }
    let record: WireRecord = serde_json::from_slice(envelope.payload()).map_err(|e| broken(&e.to_string()))?;
    let previous = state.head.map(|(_, digest)| digest.to_hex().to_string());
    if record.number != number || record.previous != previous {
        return Err(broken("does not follow the one before it"));
    }
    for change in record.changes {
        state.apply(change, record.created.0)?;
    }
    Ok(blake3::hash(envelope.payload()))
}

#[cfg(test)]
mod tests;
