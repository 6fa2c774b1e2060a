//! Those whose tokens are believed, and their keys as they are known now.
//!
//! One task for each issuer is the only one that asks it: every few minutes, and sooner when a token names a key that is not
//! known, but never more often than every few seconds, whoever shows what. Requests wait for its answer and share it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{sleep, timeout},
};
use vault_core::Result;

use super::{
    Principal,
    fetch::Fetcher,
    jwks::Keys,
    settings::IssuerConfig,
    token::{Refusal, Unverified},
};
use crate::audit::Audit;

/// The least time between two questions to an issuer.
const REST: Duration = Duration::from_secs(2);
/// How long keys stay if the issuer does not say, and the bounds of what it may say.
const STAY: Duration = Duration::from_mins(5);
const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_mins(15);
/// When an issuer that failed is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long the last known keys of an issuer count that cannot be reached.
const KEEP: Duration = Duration::from_hours(24);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait for the keys of one issuer at a time.
const MAX_WAITING: usize = 64;
/// Answers that a request waits for: the first may have been under way before its key was there.
const ROUNDS: usize = 2;

/// One whose tokens are believed.
#[derive(Debug)]
struct Issuer {
    rules: IssuerConfig,
    fetcher: Fetcher,
    known: RwLock<Option<(Arc<Keys>, Instant)>>,
    wanted: Notify,
    /// How often it was asked.
    rounds: watch::Sender<u64>,
    waiting: Semaphore,
}

/// All whose tokens are believed, by what they call themselves.
#[derive(Debug, Default)]
pub struct Issuers(HashMap<String, Arc<Issuer>>);

impl Issuers {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// [`vault_core::Error::Misuse`] if a setting is not what it has to be; [`vault_core::Error::Storage`].
    pub fn new(configs: &[IssuerConfig]) -> Result<Self> {
        let issuer = |rules: &IssuerConfig| {
            let issuer = Issuer {
                rules: rules.clone(),
                fetcher: Fetcher::new(rules)?,
                known: RwLock::default(),
                wanted: Notify::new(),
                rounds: watch::Sender::new(0),
                waiting: Semaphore::new(MAX_WAITING),
            };
            Ok((rules.issuer.clone(), Arc::new(issuer)))
        };
        configs.iter().map(issuer).collect::<Result<_>>().map(Self)
    }

    /// Begins to ask for keys, in the background and for ever.
    pub fn start(&self, audit: &Arc<dyn Audit>) {
        for issuer in self.0.values() {
            tokio::spawn(Arc::clone(issuer).follow(Arc::clone(audit)));
        }
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// Why nobody is believed to; [`Refusal::NoKeys`] if that may be another in a moment.
    pub async fn authenticate(&self, text: &str) -> Result<Principal, Refusal> {
        let token = Unverified::parse(text)?;
        let issuer = self.0.get(token.issuer()).ok_or(Refusal::Issuer)?;
        token.check_algorithm(&issuer.rules)?;
        issuer.judge(&token).await
    }
}

impl Issuer {
    /// The keys, if they are not too old.
    fn keys(&self) -> Option<Arc<Keys>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, since)| since.elapsed() < KEEP).map(|(keys, _)| Arc::clone(keys))
    }

    fn try_judge(&self, token: &Unverified<'_>) -> Result<Principal, Refusal> {
        let keys = self.keys().ok_or(Refusal::NoKeys)?;
        token.verify(&keys, &self.rules)?.principal(&self.rules, now())
    }

    async fn judge(&self, token: &Unverified<'_>) -> Result<Principal, Refusal> {
        let mut rounds = self.rounds.subscribe();
        let mut judged = self.try_judge(token);
        if !is_about_keys(&judged) {
            return judged;
        }
        let _place = self.waiting.try_acquire().map_err(|_| Refusal::NoKeys)?;
        let wait = async {
            for _ in 0..ROUNDS {
                self.wanted.notify_one();
                if rounds.changed().await.is_err() {
                    break;
                }
                judged = self.try_judge(token);
                if !is_about_keys(&judged) {
                    break;
                }
            }
        };
        // Who waited too long learns what was known last.
        let _ = timeout(PATIENCE, wait).await;
        judged
    }

    /// Asks for keys, for ever.
    async fn follow(self: Arc<Self>, audit: Arc<dyn Audit>) {
        let (name, mut told) = (&self.rules.name, None);
        loop {
            let pause = match self.fetcher.keys().await {
                Ok((keys, stay)) => {
                    let number = keys.len();
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) =
                        Some((Arc::new(keys), Instant::now()));
                    let news = format!("issuer {name}: {number} keys are known");
                    tell(&audit, &mut told, news);
                    stay.unwrap_or(STAY).clamp(SHORTEST, LONGEST)
                }
                Err(error) => {
                    let kept =
                        if self.keys().is_some() { "; the last known keys go on counting for a day" } else { "" };
                    let news = format!("issuer {name}: its keys cannot be fetched: {error}{kept}");
                    tell(&audit, &mut told, news);
                    AGAIN
                }
            };
            self.rounds.send_modify(|round| *round += 1);
            sleep(REST).await;
            // Whether it was waited for or is time.
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }
}

/// Whether other keys may change the judgement.
fn is_about_keys(judged: &Result<Principal, Refusal>) -> bool {
    matches!(judged, Err(Refusal::Key | Refusal::NoKeys))
}

/// Writes down what is new.
fn tell(audit: &Arc<dyn Audit>, told: &mut Option<String>, news: String) {
    if told.as_ref() != Some(&news) {
        audit.note(&news);
        *told = Some(news);
    }
}

/// The time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
