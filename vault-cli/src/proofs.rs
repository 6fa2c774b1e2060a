//! Which object stores were seen to refuse the second of two creates, so that not every command tries it again.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use vault_core::store::{Connection, Store};

/// How long. What stands behind an address may change.
const FRESH: Duration = Duration::from_hours(24);
/// Where this is remembered, below the user's folder for such things.
const STATE_FOLDER: &str = "mvault/stores";

/// The object stores of one run that were not proven before it.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<Vec<(PathBuf, Store)>>);

impl Proofs {
    /// Whether this store is known. Where nothing can be remembered, nothing is.
    pub fn has(url: &str, connection: &Connection) -> bool {
        let Some(marker) = marker(url, connection) else { return false };
        let seen = fs::symlink_metadata(&marker).and_then(|marker| marker.modified()).ok();
        seen.and_then(|seen| seen.elapsed().ok()).is_some_and(|age| age < FRESH)
    }

    /// Forgets a store that turned out otherwise.
    pub fn forget(url: &str, connection: &Connection) {
        if let Some(marker) = marker(url, connection) {
            let _ = fs::remove_file(marker);
        }
    }

    /// Watches a store, to remember it if it proves itself.
    pub fn watch(&self, url: &str, connection: &Connection, store: &Store) {
        if store.is_proven() == Some(false)
            && let Some(marker) = marker(url, connection)
        {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((marker, store.clone()));
        }
    }

    /// Remembers those that did. What cannot be remembered will be tried again.
    pub fn keep(&self) {
        for (marker, store) in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if store.is_proven() == Some(true)
                && let Some(folder) = marker.parent()
            {
                let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
                let _ = fs::remove_file(&marker);
                let _ = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&marker);
            }
        }
    }
}

/// An empty file named by the hash of what decides which store it is.
fn marker(url: &str, connection: &Connection) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(url.trim_end_matches('/').as_bytes());
    for (name, value) in connection.settings.iter().filter(|(name, _)| name.contains("ENDPOINT")) {
        hasher.update(format!("\n{name}={value}").as_bytes());
    }
    Some(base.join(STATE_FOLDER).join(hasher.finalize().to_hex().as_str()))
}
