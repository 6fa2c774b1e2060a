//! What a command created in a vault, so that the vault's log says so.
//!
//! Nobody has to think of it: every store is watched, and whatever record was created is logged when the command ends,
//! whether it succeeded or not. What a killed command left out, `mvault log append` finds.

use std::sync::{Arc, Mutex, PoisonError};

use vault_core::{
    Error,
    log::{Entry, Judge, Log, is_logged},
    store::{Store, is_registry},
};

use crate::failure::{Failure, Result};

type Entries = Arc<Mutex<Vec<vault_core::Result<Entry>>>>;

/// The records of one run.
#[derive(Debug, Default)]
pub struct Logbook {
    stores: Mutex<Vec<(Store, Entries)>>,
    judge: Mutex<Option<Judge>>,
}

impl Logbook {
    /// The same store, watched. A registry is not: it adds the entry itself, with who asked, before it says that a record is stored.
    pub fn watch(&self, store: Store, url: &str) -> Store {
        if is_registry(url) {
            return store;
        }
        let entries = Entries::default();
        let book = Arc::clone(&entries);
        let watched = store.clone().observed(move |path, bytes| {
            if is_logged(path) {
                let entry = Entry::about_record(path, bytes, None);
                book.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            }
        });
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push((store, entries));
        watched
    }

    /// Whose checkpoints say where a log ends. Without this, the store is asked.
    pub fn believe(&self, judge: Judge) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Some(judge);
    }

    /// Logs what was created since the last time; `warn` is told of what is in the way and is no failure.
    pub fn write(&self, warn: &dyn Fn(&str)) -> Result {
        let judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (store, entries) in &*self.stores.lock().unwrap_or_else(PoisonError::into_inner) {
            let entries = std::mem::take(&mut *entries.lock().unwrap_or_else(PoisonError::into_inner));
            if !entries.is_empty() {
                append(store, entries, judge.as_ref(), warn).map_err(|error| {
                    Failure::from(error)
                        .prefixed("what was done stands in the vault, and not in its log: ")
                        .hint("`mvault log append` adds what is missing")
                })?;
            }
        }
        Ok(())
    }
}

fn append(
    store: &Store,
    entries: Vec<vault_core::Result<Entry>>,
    judge: Option<&Judge>,
    warn: &dyn Fn(&str),
) -> vault_core::Result<()> {
    let log = match Log::open(store) {
        Ok(Some(log)) => log,
        Ok(None) => return Ok(()),
        // Whoever may create objects can put this into a vault that never had a log.
        Err(error @ Error::Corrupt { .. }) => {
            warn(&format!("the vault has no log that could be kept: log/genesis.json: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let entries = entries.into_iter().collect::<vault_core::Result<Vec<_>>>()?;
    log.append_records(judge, &entries).map(drop)
}
