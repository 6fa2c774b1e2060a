//! The registry as publisher of the vault's log, if its configuration names a key: tiles and checkpoints are written every so
//! often, beside all requests.
//!
//! Several instances may do so at once: all but the signature follows from the batches, one key signs one tree of a size in one
//! way, and the larger checkpoint stays in the cache.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use vault_core::{
    Error, Result,
    keys::SigningKey,
    log::{Judge, Log, LogKeys, Published, Seen},
    store::Store,
    trust::Role,
    vault::Admission,
};

use crate::{app::App, audit::Audit};

/// Under what is remembered that was signed here, whatever key signed it.
const HERE: &str = "the log of this registry";

/// Whoever signs checkpoints for the registry.
#[derive(Debug)]
pub struct Publisher {
    key: Arc<SigningKey>,
    /// The folder in which it is remembered what was signed.
    memory: PathBuf,
}

/// What was published last. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Latest(Arc<Mutex<Option<(u64, Instant)>>>);

impl Latest {
    /// How many entries the newest checkpoint has, and how long ago it was found that it covers all there are.
    pub fn get(&self) -> Option<(u64, Duration)> {
        let latest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.map(|(size, at)| (size, at.elapsed()))
    }

    fn set(&self, size: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((size, Instant::now()));
    }
}

impl Publisher {
    /// One that signs with this key and remembers what it signed in this folder.
    pub fn new(key: Arc<SigningKey>, memory: PathBuf) -> Self {
        Self { key, memory }
    }

    /// Signs how far the log is. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the vault has no log; [`Error::Untrusted`] if the trust root has keys of logs and this is none of
    /// them; as [`Log::publish`] and [`Seen::open`].
    pub fn publish(&self, store: &Store, admission: &Admission) -> Result<Published> {
        let log = Log::open(store)?.ok_or_else(|| Error::NotFound { what: "a log in this vault".into() })?;
        let own = LogKeys::Any(vec![self.key.verifying_key()]);
        let keys = match admission {
            Admission::Rooted(rooted) if !rooted.keys_of(Role::Log).is_empty() => LogKeys::Rooted(Arc::clone(rooted)),
            _ => own,
        };
        // Wherever the vault is: this key signs one history of this log. It is what `mvault log publish` remembers, too.
        let name = format!("log key {}\n{}", self.key.verifying_key().key_id().to_hex(), log.origin());
        let mut seen = Seen::open(&self.memory, &name)?.and(Seen::open(&self.memory, HERE)?);
        log.publish(&Judge::new(keys), &mut seen, self.key.as_ref())
    }

    /// Publishes again and again, for ever. What goes wrong is noted once, and tried again.
    pub async fn run(self, app: Arc<App>, pause: Duration, audit: Arc<dyn Audit>) {
        let (own, mut told) = (Arc::new(self), None);
        loop {
            let (own, app) = (Arc::clone(&own), Arc::clone(&app));
            let work = tokio::task::spawn_blocking(move || {
                let Published { checkpoint, not_cached, .. } = own.publish(&app.store, &app.admissions.current()?)?;
                app.metrics.published.set(checkpoint.checkpoint().size());
                Ok::<_, Error>(not_cached)
            });
            let trouble = match work.await {
                Ok(Ok(None)) => None,
                Ok(Ok(Some(why))) => Some(format!("log/checkpoint is not replaced: {why}")),
                Ok(Err(error)) => Some(format!("the log is not published: {error}")),
                Err(_) => Some("the log is not published: its publication broke off".to_owned()),
            };
            if let Some(trouble) = trouble.as_ref().filter(|trouble| told.as_ref() != Some(*trouble)) {
                audit.note(trouble);
            }
            told = trouble;
            tokio::time::sleep(pause).await;
        }
    }
}
