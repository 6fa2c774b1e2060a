//! The registry's own state: numbered records under `server/state/` in the vault, each signed by the server's key and naming the
//! one before it by digest.
//!
//! Creating is the only primitive, as everywhere in a vault: of several instances that write the same number one wins, and the
//! others read on and try again. What does not verify burns its number and no more. An instance never goes back: it keeps
//! what it read, and after a restart refuses a store that does not show the record it saw last.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vault_core::{
    Error, Result,
    keys::{SigningKey, VerifyingKey},
    provenance::Envelope,
    secret::fill_random,
    store::Store,
};

use crate::{identity::NewKey, policy::Policies, rights::Grant};

mod author;
mod change;
mod checkpoint;
mod known;

pub use author::Author;
pub use change::{Change, Time};
use known::broken;
pub use known::{Key, Proposal, State};

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
/// How long a proposal waits for a second person.
const PATIENCE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The longest that rights are lent.
const MAX_ELEVATION: Duration = Duration::from_hours(24);
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRecord {
    number: u64,
    previous: Option<String>,
    created: Time,
    by: String,
    changes: Vec<Change>,
}

/// Is told the path and the bytes of each record that this instance wrote.
type Tell = Box<dyn Fn(&str, &[u8]) -> Result<()> + Send + Sync>;

/// The state, as this instance knows it.
pub struct States {
    store: Store,
    signer: Arc<SigningKey>,
    /// Where the last record seen is remembered over restarts.
    checkpoint: Option<PathBuf>,
    known: Mutex<Known>,
    /// Held by the one that reads.
    reading: Mutex<()>,
    tell: Option<Tell>,
    /// Records of this instance that are in force, and of which nobody could be told yet.
    untold: Mutex<Vec<(String, Vec<u8>)>>,
}

#[derive(Debug)]
struct Known {
    state: Arc<State>,
    checked: Option<Instant>,
    /// Why reading failed a moment ago.
    failed: Option<(Instant, String)>,
}

impl States {
    /// Reads all records.
    ///
    /// # Errors
    /// [`Error::Stale`] if the store does not show the record that was seen last; [`Error::Storage`].
    pub fn open(store: Store, signer: Arc<SigningKey>, checkpoint: Option<PathBuf>) -> Result<Self> {
        let seen = checkpoint.as_deref().map(checkpoint::read).transpose()?.flatten();
        let state = Arc::new(State::default());
        let states = Self {
            store,
            signer,
            checkpoint,
            known: Mutex::new(Known { state, checked: None, failed: None }),
            reading: Mutex::default(),
            tell: None,
            untold: Mutex::default(),
        };
        let (mut state, mut is_seen) = (State::default(), seen.is_none());
        states.advance(&mut state, &mut |head| is_seen |= seen == Some(head))?;
        if !is_seen {
            let what = format!("the state of the registry in {}", states.store.describe());
            return Err(Error::Stale { what, why: "the record that was seen last is not shown" });
        }
        states.adopt(state)?;
        Ok(states)
    }

    /// The same, with somebody who is told of each record that it writes.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&str, &[u8]) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, Vec<(String, Vec<u8>)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of records that are in force. One of which could not be told is told later: it is in force all the same.
    fn tell_all(&self) -> Result<()> {
        let mut untold = self.untold();
        let Some(tell) = &self.tell else {
            untold.clear();
            return Ok(());
        };
        while let Some((there, bytes)) = untold.first() {
            tell(there, bytes)?;
            untold.remove(0);
        }
        Ok(())
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
        // Those who come meanwhile wait for what one of them finds, be it a failure.
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = self.fresh() {
            return Ok(state);
        }
        let mut state = {
            let known = self.lock();
            if let Some((_, why)) = known.failed.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
                return Err(Error::storage("records of the registry")(std::io::Error::other(why.clone())));
            }
            State::clone(&known.state)
        };
        let read = self.advance(&mut state, &mut |_| {});
        self.lock().failed = read.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        read?;
        if !self.untold().is_empty() {
            // Whatever keeps it from being told is no reason not to serve.
            let _ = self.tell_all();
        }
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
        loop {
            let number = state.next;
            let bytes = match self.store.read(&path(number), MAX_RECORD) {
                Ok(None) => return Ok(()),
                Ok(Some(bytes)) => bytes,
                Err(Error::Corrupt { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            let record = parse(&bytes, number, &key);
            let previous = state.head.map(|(_, digest)| digest.to_hex().to_string());
            if record.as_ref().is_ok_and(|(record, _)| record.previous != previous) {
                // The server's key signed two histories: the store showed another one to another instance.
                return Err(Error::Untrusted { what: path(number), why: "is of another history: a fork" });
            }
            match record.and_then(|(record, digest)| state.follow(record).map(|()| digest)) {
                Ok(digest) => {
                    state.head = Some((number, digest));
                    state.junk = 0;
                    seen((number, digest));
                }
                Err(_) if state.junk < MAX_JUNK => state.junk += 1,
                Err(_) => {
                    return Err(Error::Untrusted {
                        what: path(number),
                        why: "and many before it are not by this registry",
                    });
                }
            }
            state.next = number + 1;
        }
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
            let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload.clone());
            envelope.add_signature(&*self.signer)?;
            let bytes = envelope.to_vec()?;
            if bytes.len() as u64 > MAX_RECORD {
                // Nobody would follow it.
                return Err(Error::Misuse("this is too long for a record of the registry".into()));
            }
            let there = path(record.number);
            let _ = self.store.create(&there, &bytes)?;
            // A request that was repeated may have found its own: what counts is that it is followed.
            self.advance(&mut state, &mut |_| {})?;
            let digest = blake3::hash(&payload);
            let is_ours = self.store.read(&there, MAX_RECORD)?.as_ref() == Some(&bytes);
            let is_followed = state.head.is_some_and(|head| head.0 > record.number || head == (record.number, digest));
            self.adopt(state)?;
            if is_ours && is_followed {
                self.untold().push((there, bytes));
                self.tell_all()?;
                return Ok(result);
            }
            if is_ours {
                return Err(Error::Conflict { what: format!("{there}, which is not followed,") });
            }
        }
        Err(Error::Conflict { what: "the next record of the registry".into() })
    }

    /// Makes changes in the name of somebody: at once while one person administers alone, and else once another person
    /// approved. `plan` makes them of the newest state.
    ///
    /// # Errors
    /// What `plan` returns; [`Error::Misuse`] for an unfit reason; as [`States::change`].
    pub fn propose(&self, by: &Author<'_>, reason: &str, plan: impl Fn(&State) -> Result<Plan>) -> Result<Outcome> {
        check_reason(reason)?;
        let id = random_id()?;
        self.change(by.id(), |state| {
            let Plan { changes, needs } = plan(state)?;
            let now = Timestamp::now();
            if matches!(needs, Needs::Another) {
                by.counts(state, now)?;
                if state.is_beset() {
                    return Err(Error::Misuse("too many ask for rights already".into()));
                }
            } else {
                by.administers(state, now)?;
            }
            state.try_out(&changes)?;
            let is_alone = match needs {
                Needs::Nobody => true,
                // Rights that were lent give nobody rights that stay.
                Needs::AnotherOnceShared => !state.is_shared() && by.administers_by_itself(state, now)?,
                Needs::Another => false,
            };
            if is_alone {
                return Ok((changes, Outcome::InForce));
            }
            let expires = Timestamp::now().checked_add(PATIENCE).map_err(|error| Error::Misuse(error.to_string()))?;
            let proposed = Change::Proposed {
                id: id.clone(),
                holder: by.holder().to_owned(),
                reason: reason.to_owned(),
                expires: Time(expires),
                changes,
            };
            let proposed = vec![proposed];
            state.try_out(&proposed)?;
            Ok((proposed, Outcome::Waits(id.clone())))
        })
    }

    /// Approves a proposal, which is in force from then on.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none that waits; [`Error::Denied`] if it is by the same person; as
    /// [`States::change`].
    pub fn approve(&self, by: &Author<'_>, id: &str) -> Result<()> {
        self.change(by.id(), |state| {
            let now = Timestamp::now();
            by.administers(state, now)?;
            let proposal = waiting(state, id)?;
            let denied = |why: &str| Error::Denied { what: format!("change {id}"), why: why.to_owned() };
            if known::is_one_person(&proposal.holder, by.holder()) {
                return Err(denied("another person than the one who proposed it has to approve it"));
            }
            if !by.administers_by_itself(state, now)? {
                return Err(denied("whoever was lent the right to administer approves nothing with it"));
            }
            state.try_out(&proposal.changes)?;
            Ok((vec![Change::Approved { id: id.to_owned(), holder: by.holder().to_owned() }], ()))
        })
    }

    /// Ends a proposal.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none that waits; as [`States::change`].
    pub fn reject(&self, by: &Author<'_>, id: &str) -> Result<()> {
        self.change(by.id(), |state| {
            by.administers(state, Timestamp::now())?;
            waiting(state, id)?;
            Ok((vec![Change::Rejected { id: id.to_owned() }], ()))
        })
    }

    /// Adds a key. Its secret is in what is returned, and nowhere else; it may count only once another person approved.
    ///
    /// # Errors
    /// As [`States::propose`].
    pub fn add_key(&self, by: &Author<'_>, reason: &str, wanted: &WantedKey) -> Result<(NewKey, Outcome)> {
        let WantedKey { name, holder, grants, expires } = wanted;
        check_name(name)?;
        check_name(holder)?;
        let key = NewKey::random()?;
        let plan = |_: &State| {
            let changes = vec![added(&key, name, holder, grants, *expires)];
            Ok(Plan { changes, needs: Needs::AnotherOnceShared })
        };
        let outcome = self.propose(by, reason, plan)?;
        Ok((key, outcome))
    }

    /// Adds a key that may do everything, without asking anybody: for whoever has the server's own key.
    ///
    /// # Errors
    /// As [`States::change`].
    pub fn add_key_by_operator(&self, name: &str, grants: &[Grant]) -> Result<NewKey> {
        check_name(name)?;
        let key = NewKey::random()?;
        self.change("operator", |_| Ok((vec![added(&key, name, name, grants, None)], ())))?;
        Ok(key)
    }

    /// Takes away all policies without asking anybody: for whoever has the server's own key.
    ///
    /// # Errors
    /// As [`States::change`].
    pub fn reset_policies_by_operator(&self) -> Result<()> {
        self.change("operator", |_| Ok((vec![Change::PoliciesSet { text: String::new() }], ())))
    }

    /// Disables a key. To take away, one person is enough.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; as [`States::change`].
    pub fn disable_key(&self, by: &Author<'_>, id: &str) -> Result<()> {
        self.change(by.id(), |state| {
            by.administers(state, Timestamp::now())?;
            find(state, id)?;
            Ok((vec![Change::KeyDisabled { id: id.to_owned() }], ()))
        })
    }

    /// Adds a key with the name and the rights of another, which ceases to count after `overlap`. Who replaces the key of somebody
    /// else could then act as them, so that takes two.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none that counts; as [`States::propose`].
    pub fn rotate_key(&self, by: &Author<'_>, id: &str, overlap: Duration) -> Result<(NewKey, Outcome)> {
        let key = NewKey::random()?;
        let plan = |state: &State| {
            let (old, now) = (find(state, id)?, Timestamp::now());
            if !old.counts(now) {
                return Err(Error::NotFound { what: format!("a key {id} that still counts") });
            }
            let until = now.checked_add(overlap).map_err(|error| Error::Misuse(error.to_string()))?;
            let ends = Change::KeyExpires { id: id.to_owned(), expires: Time(until) };
            let changes = vec![added(&key, &old.name, &old.holder, &old.grants, old.expires), ends];
            let is_own = known::is_one_person(&old.holder, by.holder());
            Ok(Plan { changes, needs: if is_own { Needs::Nobody } else { Needs::AnotherOnceShared } })
        };
        let outcome = self.propose(by, "rotation", plan)?;
        Ok((key, outcome))
    }

    /// Puts policies in the place of those there are.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they are not well formed; as [`States::propose`].
    pub fn set_policies(&self, by: &Author<'_>, reason: &str, text: &str) -> Result<Outcome> {
        Policies::parse(text)?;
        let plan = |state: &State| {
            let changes = vec![Change::PoliciesSet { text: text.to_owned() }];
            by.administers(state, Timestamp::now())?;
            if by.administers(&state.with(&changes)?, Timestamp::now()).is_err() {
                // A set that forbids too much, or that cannot be judged, would lock out those who could replace it.
                return Err(Error::Misuse("under these policies you could not set others: nothing was changed".into()));
            }
            Ok(Plan { changes, needs: Needs::AnotherOnceShared })
        };
        self.propose(by, reason, plan)
    }

    /// Asks for rights for a while.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is for more than a day; as [`States::propose`].
    pub fn elevate(&self, by: &Author<'_>, reason: &str, grant: &Grant, time: Duration) -> Result<Outcome> {
        if time > MAX_ELEVATION || time.is_zero() {
            return Err(Error::Misuse("rights are lent for a day at most".into()));
        }
        let plan = |_: &State| {
            let (principal, grant, seconds) = (by.id().to_owned(), grant.clone(), time.as_secs());
            let changes = vec![Change::Elevated { means: by.means(), principal, grant, seconds }];
            Ok(Plan { changes, needs: Needs::Another })
        };
        self.propose(by, reason, plan)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("store", &self.store.describe()).finish_non_exhaustive()
    }
}

/// Changes, and who has to agree.
#[derive(Debug)]
pub struct Plan {
    changes: Vec<Change>,
    needs: Needs,
}

#[derive(Debug, Clone, Copy)]
enum Needs {
    Nobody,
    /// Another person, if more than one administers.
    AnotherOnceShared,
    Another,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It counts.
    InForce,
    /// It waits for another person, under this id.
    Waits(String),
}

/// A key that somebody asks for.
#[derive(Debug, Clone)]
pub struct WantedKey {
    /// What people call it.
    pub name: String,
    /// The person behind it.
    pub holder: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it ceases to count.
    pub expires: Option<Timestamp>,
}

fn random_id() -> Result<String> {
    let mut id = [0; 8];
    fill_random(&mut id)?;
    Ok(hex::encode(id))
}

fn waiting<'a>(state: &'a State, id: &str) -> Result<&'a Proposal> {
    let now = Timestamp::now();
    let proposal = state.proposals().get(id).filter(|proposal| proposal.is_alive(state, now));
    proposal.ok_or_else(|| Error::NotFound { what: format!("a change {id:?} that waits for approval") })
}

fn check_reason(reason: &str) -> Result<()> {
    let is_plain = |c: char| !c.is_control();
    if reason.trim().is_empty() || reason.chars().count() > MAX_REASON || !reason.chars().all(is_plain) {
        return Err(Error::Misuse("a reason is one line of at most 500 characters".into()));
    }
    Ok(())
}

fn added(key: &NewKey, name: &str, holder: &str, grants: &[Grant], expires: Option<Timestamp>) -> Change {
    Change::KeyAdded {
        id: key.id.clone(),
        name: name.to_owned(),
        holder: holder.to_owned(),
        hash: key.hash.to_hex().to_string(),
        grants: grants.to_vec(),
        expires: expires.map(Time),
    }
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Key> {
    state.keys().get(id).ok_or_else(|| Error::NotFound { what: format!("key {id:?}") })
}

/// Names of keys are shown on terminals and stand in logs.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_alphanumeric() || " ._@+-:".contains(c);
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(is_plain) {
        return Err(Error::Misuse(
            "the name of a key, or of who holds it, is at most 100 letters, digits, spaces, or any of ._@+-:".into(),
        ));
    }
    Ok(())
}

fn path(number: u64) -> String {
    format!("{FOLDER}/{number}.dsse.json")
}

/// Reads a record: one that is well formed, stands under its number and is signed by the server's key. Beside it, the digest of its
/// payload.
fn parse(bytes: &[u8], number: u64, key: &VerifyingKey) -> Result<(WireRecord, blake3::Hash)> {
    let envelope = Envelope::parse_record_of(bytes, PAYLOAD_TYPE)?;
    if !envelope.is_signed_by(key) {
        return Err(Error::Untrusted { what: path(number), why: "is not signed by the key of the server" });
    }
    let record: WireRecord = serde_json::from_slice(envelope.payload()).map_err(|e| broken(&e.to_string()))?;
    if record.number != number {
        return Err(broken("stands under another number"));
    }
    Ok((record, blake3::hash(envelope.payload())))
}

#[cfg(test)]
mod tests;
