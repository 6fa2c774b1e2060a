//! What the registry itself adds to the log of the vault: every record that it lets in, every change of its own state, logins, and
//! refusals to those who are known.
//!
//! An entry is durable before the answer goes out; where that fails, so does the request. People stand in it under their pseudonyms.
//! A vault without a log has none of this: `mvault log init` gives it one, which is noticed within seconds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use vault_core::{
    Result,
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
/// What one principal is refused again and again is logged once in this time.
const QUIET: Duration = Duration::from_mins(1);
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
        Self { store, people, end: Mutex::default(), logins: Mutex::default(), refusals: Mutex::default() }
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
        match Log::open(&self.store)? {
            None => end.asked = Some(Instant::now()),
            Some(log) => end.appender = Some(Arc::new(log.appender(None)?)),
        }
        Ok(end.appender.clone())
    }

    /// Logs that a record was created, if it is of a kind that is logged. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn record(&self, path: &str, bytes: &[u8], by: Option<&Principal>) -> Result<()> {
        if !is_logged(path) {
            return Ok(());
        }
        let Some(appender) = self.appender()? else { return Ok(()) };
        let actor = by.map(|principal| self.people.pseudonym(principal)).transpose()?;
        appender.append(Entry::about_record(path, bytes, actor.as_deref())?).map(drop)
    }

    /// Logs that somebody is here who was not, or who asks who they are. Blocks.
    ///
    /// # Errors
    /// [`vault_core::Error::Storage`].
    pub fn login(&self, principal: &Principal) -> Result<()> {
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
        if !is_due(&self.refusals, &what, QUIET) {
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
        chronicle.record("trust/1/nothing", b"x", Some(&ann)).expect("of no kind that is logged");
        let version = "models/a/versions/1.dsse.json";
        chronicle.record(version, b"a record", Some(&ann)).expect("logged");
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
