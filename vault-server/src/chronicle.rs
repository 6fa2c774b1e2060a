//! What the registry itself adds to the log of the vault: every record that it lets in, every change of its own state, logins, and
//! refusals to those who are known.
//!
//! An entry is durable before the answer goes out; where that fails, so does the request. People stand in it under their pseudonyms.
//! A vault without a log has none of this: `mvault log init` gives it one, which is noticed within seconds.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use vault_core::{
    Error, Result,
    log::{Action, Appender, Entry, Log, is_logged},
    names::ModelName,
    store::Store,
};

use crate::{
    identity::Principal,
    people::People,
    rights::{Missing, Permission},
};

/// How often a vault without a log is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// What one principal is refused again and again is logged once in this time, and so is who they say they are.
const QUIET: Duration = Duration::from_mins(1);
/// The most refusals of one principal that are logged in that time: the rest adds nothing but their number.
const MAX_REFUSALS: usize = 20;
/// Somebody who was not seen for so long logs in.
const AWAY: Duration = Duration::from_hours(1);
/// Refusals and logins that an instance remembers, so as not to log them twice.
const MAX_REMEMBERED: usize = 100_000;

/// The log, as the registry writes it.
#[derive(Debug)]
pub struct Chronicle {
    store: Store,
    people: Arc<People>,
    end: Mutex<End>,
    logins: Mutex<HashMap<String, Instant>>,
    refusals: Mutex<HashMap<Refusal, Instant>>,
    /// Since when, and how often, somebody was refused something.
    refused: Mutex<HashMap<String, (Instant, usize)>>,
    /// Records that were logged a while ago, as their paths and bytes hash.
    recorded: Mutex<HashMap<blake3::Hash, Instant>>,
    /// Where it is remembered that the vault has a log.
    memory: Option<PathBuf>,
}

/// Whom, what, and of which model.
type Refusal = (String, Permission, Option<ModelName>);

#[derive(Debug, Default)]
struct End {
    appender: Option<Arc<Appender>>,
    asked: Option<Instant>,
}

impl Chronicle {
    /// The log of the vault in this store, if it has one.
    pub fn new(store: Store, people: Arc<People>) -> Self {
        Self {
            store,
            people,
            end: Mutex::default(),
            logins: Mutex::default(),
            refusals: Mutex::default(),
            refused: Mutex::default(),
            recorded: Mutex::default(),
            memory: None,
        }
    }

    /// The same, and remembers over restarts, in this file, that there is a log: a vault that does not show it any more is served no more.
    #[must_use]
    pub fn remembering(self, memory: PathBuf) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Makes sure that the log that was there is there.
    fn recall(&self, found: Option<&Log>) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let failed = |error| Error::storage(memory.display())(error);
        let known = match std::fs::read_to_string(memory) {
            Ok(known) => Some(known),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match (found.map(|log| log.origin().to_string()), known) {
            (None, None) => Ok(()),
            (Some(origin), None) => {
                let temporary = memory.with_extension("log-tmp");
                let write = || {
                    std::fs::write(&temporary, origin)?;
                    std::fs::File::open(&temporary)?.sync_all()?;
                    std::fs::rename(&temporary, memory)
                };
                write().map_err(failed)
            }
            (Some(origin), Some(known)) if origin == known => Ok(()),
            (_, Some(_)) => {
                let what = format!("the log of {}", self.store.describe());
                Err(Error::Stale { what, why: "the one that was there is not shown" })
            }
        }
    }

    /// The end of the log; none if there is no log.
    fn appender(&self) -> Result<Option<Arc<Appender>>> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(appender) = &end.appender {
            return Ok(Some(Arc::clone(appender)));
        }
        if end.asked.is_some_and(|asked| asked.elapsed() < AGAIN) {
            return Ok(None);
        }
        let log = Log::open(&self.store)?;
        self.recall(log.as_ref())?;
        match log {
            None => end.asked = Some(Instant::now()),
            Some(log) => end.appender = Some(Arc::new(log.appender(None)?)),
        }
        Ok(end.appender.clone())
    }

    /// Makes sure at the start that the log is the one that was there.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is not; [`Error::Storage`].
    pub fn begin(&self) -> Result<()> {
        self.appender().map(drop)
    }

    /// Adds entries for records that have none: of a server that died between a record and its entry. Reads the whole log. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn catch_up(&self) -> Result<usize> {
        let Some(log) = Log::open(&self.store)? else { return Ok(0) };
        Ok(log.append_missing(None)?.len())
    }

    /// Logs that a record was created, if it is of a kind that is logged; `again` if it was there before. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn record(&self, path: &str, bytes: &[u8], by: Option<&Principal>, again: bool) -> Result<()> {
        if !is_logged(path) {
            return Ok(());
        }
        // Whoever repeats a request wants to know that it is logged, and not to have it logged again.
        let who = by.map_or("", |principal| principal.id.as_str());
        let parts = [blake3::hash(bytes), blake3::hash(path.as_bytes()), blake3::hash(who.as_bytes())];
        let what = blake3::hash(&parts.map(|part| *part.as_bytes()).concat());
        if again && !is_due(&self.recorded, &what, AWAY) {
            return Ok(());
        }
        let Some(appender) = self.appender()? else { return Ok(()) };
        let actor = by.map(|principal| self.people.pseudonym(principal)).transpose()?;
        appender.append(Entry::about_record(path, bytes, actor.as_deref())?)?;
        note(&self.recorded, what);
        Ok(())
    }

    /// Logs that a record is removed, if it is of a kind that is logged. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn removal(&self, path: &str, by: &Principal) -> Result<()> {
        if !is_logged(path) {
            return Ok(());
        }
        let Some(appender) = self.appender()? else { return Ok(()) };
        match Entry::about_removal(path, &self.people.pseudonym(by)?)? {
            Some(entry) => appender.append(entry).map(drop),
            None => Ok(()),
        }
    }

    /// Logs that somebody is here who was not, or who asks who they are. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn login(&self, principal: &Principal) -> Result<()> {
        if !is_due(&self.logins, &principal.id, QUIET) {
            return Ok(());
        }
        let Some(appender) = self.appender()? else { return Ok(()) };
        let pseudonym = self.people.pseudonym(principal)?;
        appender.append(Entry::about_event(Action::Login, &pseudonym, None, None)?)?;
        note(&self.logins, principal.id.clone());
        Ok(())
    }

    /// Whether the next request of somebody is a login.
    pub fn is_away(&self, principal: &Principal) -> bool {
        is_due(&self.logins, &principal.id, AWAY)
    }

    /// Logs that somebody was refused something. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn refusal(&self, principal: &Principal, missing: &Missing) -> Result<()> {
        let what = (principal.id.clone(), missing.permission, missing.model.clone());
        if !is_due(&self.refusals, &what, QUIET) || self.refused_often(&principal.id) {
            return Ok(());
        }
        let Some(appender) = self.appender()? else { return Ok(()) };
        let pseudonym = self.people.pseudonym(principal)?;
        let permission = missing.permission.as_str();
        appender.append(Entry::about_event(Action::Denial, &pseudonym, Some(permission), missing.model.clone())?)?;
        note(&self.refusals, what);
        Ok(())
    }
}

impl Chronicle {
    /// Counts a refusal of somebody. Whoever is refused ever new things fills no log with them.
    fn refused_often(&self, principal: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= MAX_REMEMBERED {
            refused.retain(|_, (since, _)| since.elapsed() < QUIET);
        }
        let (since, number) = refused.entry(principal.to_owned()).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= QUIET {
            (*since, *number) = (Instant::now(), 0);
        }
        *number += 1;
        *number > MAX_REFUSALS
    }
}

fn is_due<K: std::hash::Hash + Eq>(seen: &Mutex<HashMap<K, Instant>>, key: &K, quiet: Duration) -> bool {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(key).is_none_or(|last| last.elapsed() >= quiet)
}

fn note<K: std::hash::Hash + Eq>(seen: &Mutex<HashMap<K, Instant>>, key: K) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= MAX_REMEMBERED {
        seen.clear();
    }
    seen.insert(key, Instant::now());
}

#[cfg(test)]
mod tests {
    use vault_core::store::{Directory, Durability};

    use super::*;

    #[test]
    fn what_happens_is_logged_once_and_under_pseudonyms() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::new(Directory::create(folder.path(), Durability::NoSync).expect("folder"));
        let key = vault_core::keys::SigningKey::generate().expect("key");
        let people = Arc::new(People::new(store.clone(), &key));
        let ann = Principal::of_key("ab", "laptop", "ann", &[]);
        let without = Chronicle::new(store.clone(), Arc::clone(&people));
        without.login(&ann).expect("nothing to do");
        let log = Log::init(&store, None).expect("a log");
        without.login(&ann).expect("not noticed yet");
        let chronicle = Chronicle::new(store.clone(), people);
        assert!(chronicle.is_away(&ann));
        chronicle.login(&ann).expect("logged");
        assert!(!chronicle.is_away(&ann));
        let missing = |model: &str| Missing::test(Permission::Seal, model);
        for model in ["a", "a", "b"] {
            chronicle.refusal(&ann, &missing(model)).expect("logged");
        }
        chronicle.record("trust/1/nothing", b"x", Some(&ann), false).expect("of no kind that is logged");
        let version = "models/a/versions/1.dsse.json";
        chronicle.record(version, b"a record", Some(&ann), false).expect("logged");
        chronicle.record(version, b"a record", Some(&ann), true).expect("not again");
        let mut entries = Vec::new();
        let mut tail = log.tail(None).expect("a tail");
        tail.advance(&mut |_, entry| {
            entries.push(Entry::parse(entry)?);
            Ok(())
        })
        .expect("followed");
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.action().as_str(), entry.permission(), entry.model().map(ModelName::as_str)))
            .collect();
        assert_eq!(
            told,
            [
                ("login", None, None),
                ("denial", Some("seal"), Some("a")),
                ("denial", Some("seal"), Some("b")),
                ("seal", None, Some("a")),
            ]
        );
        let actor = entries[0].actor().expect("an actor");
        assert!(entries.iter().all(|entry| entry.actor() == Some(actor)) && !actor.contains("ann"));
        assert_eq!(chronicle.people.resolve(actor).expect("known").holder, "ann");
    }
}
