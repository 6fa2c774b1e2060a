//! No more than can be served: rates for each address and each principal, transfers at a time, time for a body.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::http::StatusCode;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Buckets that a limiter keeps before it throws away those that are full again.
const MAX_BUCKETS: usize = 50_000;
/// Contents that are read back at a time; for one principal, half of them.
const MAX_READING: usize = 8;
/// Bytes that are counted as one.
const UNIT: u64 = 1024;
/// How long a request waits for a place among the transfers.
const PATIENCE: Duration = Duration::from_secs(15);

/// Limits of a server. Every one of them is finite.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address.
    pub connections_per_address: usize,
    /// Objects on their way in or out at a time; each holds one or two pieces of 256 KiB, or a document, in memory.
    pub transfers: usize,
    /// Objects on their way at a time for one principal.
    pub transfers_per_principal: usize,
    /// Listings at a time; for one principal, half of them.
    pub listings: usize,
    /// The longest object, in bytes.
    pub max_object: u64,
    /// Bytes of documents, and of objects on their way to a bucket, that are in memory at a time. A longer one waits until it is
    /// alone.
    pub memory: u64,
    /// Requests a second from one address.
    pub per_address: NonZeroU32,
    /// Requests a second of one principal.
    pub per_principal: NonZeroU32,
    /// Requests without a valid key a minute from one address.
    pub strangers_per_minute: NonZeroU32,
    /// Seconds that a body may stand still, and that a header may take.
    pub idle_seconds: u64,
    /// Bytes a second that a body must come or go with on the average, after the first minute.
    pub slowest_body: u64,
    /// Seconds that presigned URLs count.
    pub link_seconds: u64,
    /// Seconds that transfers have to finish after a signal to stop.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let number = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            connections: 1024,
            connections_per_address: 256,
            transfers: 64,
            transfers_per_principal: 32,
            listings: 8,
            max_object: 128 << 20,
            memory: 128 << 20,
            per_address: number(2000),
            per_principal: number(2000),
            strangers_per_minute: number(60),
            idle_seconds: 30,
            slowest_body: 16 << 10,
            link_seconds: 300,
            drain_seconds: 300,
        }
    }
}

impl Limits {
    /// How long a body may stand still.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.max(1))
    }

    /// How long presigned URLs count: at most a day.
    pub fn link(&self) -> Duration {
        Duration::from_secs(self.link_seconds.clamp(1, 24 * 3600))
    }

    /// How long a body of so many bytes may take.
    pub fn body(&self, bytes: u64) -> Duration {
        Duration::from_mins(1) + Duration::from_secs(bytes / self.slowest_body.max(1))
    }
}

/// What a server counts to keep to its [`Limits`].
#[derive(Debug)]
pub struct Gauges {
    addresses: Rates<IpAddr>,
    principals: Rates<String>,
    strangers: Rates<IpAddr>,
    transfers: Arc<Semaphore>,
    transfers_of: Shares<String>,
    listings: Arc<Semaphore>,
    listings_of: Shares<String>,
    connections_of: Shares<IpAddr>,
    reading: Arc<Semaphore>,
    reading_of: Shares<String>,
    /// In units of [`UNIT`].
    memory: Arc<Semaphore>,
    units: u32,
    places: usize,
    /// How often each limit refused a request.
    pub refusals: Family<Refused, Counter>,
}

/// Which limit refused a request.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Refused {
    limit: &'static str,
}

/// How much of the limits is used; a number for each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Transfers that have a place.
    pub transfers: f64,
    /// Places.
    pub transfers_limit: f64,
    /// Bytes of memory that are given.
    pub memory: f64,
    /// Bytes that may be given.
    pub memory_limit: f64,
}

impl Gauges {
    /// Nothing is counted yet.
    pub fn new(limits: &Limits) -> Self {
        let units = u32::try_from(limits.memory / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
            places: limits.transfers,
            refusals: Family::default(),
            addresses: Rates::new(Quota::per_second(limits.per_address)),
            principals: Rates::new(Quota::per_second(limits.per_principal)),
            strangers: Rates::new(Quota::per_minute(limits.strangers_per_minute)),
            transfers: Arc::new(Semaphore::new(limits.transfers)),
            transfers_of: Shares::new(limits.transfers_per_principal),
            listings: Arc::new(Semaphore::new(limits.listings)),
            listings_of: Shares::new(limits.listings.div_ceil(2)),
            connections_of: Shares::new(limits.connections_per_address),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            reading_of: Shares::new(MAX_READING / 2),
        }
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// A problem with the time to wait.
    pub fn address(&self, address: IpAddr) -> Result<(), Problem> {
        self.noted("address", self.addresses.count(&network(address)))
    }

    /// Counts a request of a principal.
    ///
    /// # Errors
    /// A problem with the time to wait.
    pub fn principal(&self, id: &str) -> Result<(), Problem> {
        self.noted("principal", self.principals.count(&id.to_owned()))
    }

    /// Counts a request of somebody unknown.
    ///
    /// # Errors
    /// A problem with the time to wait.
    pub fn stranger(&self, address: IpAddr) -> Result<(), Problem> {
        self.noted("stranger", self.strangers.count(&network(address)))
    }

    /// A place for a connection from an address; none if it has all that it may have.
    pub fn connection(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        self.connections_of.of(&network(address)).try_acquire_owned().ok()
    }

    /// Waits for a place among the transfers.
    ///
    /// # Errors
    /// A problem if none gets free.
    pub async fn transfer(&self, principal: &str) -> Result<Place, Problem> {
        // Whoever has enough of them waits for their own, and keeps nobody else waiting.
        let own = self.noted("transfers", take(&self.transfers_of.of(&principal.to_owned()), 1).await)?;
        Ok(Place { _all: self.noted("transfers", take(&self.transfers, 1).await)?, _own: own })
    }

    /// Waits for a place among the listings.
    ///
    /// # Errors
    /// A problem if none gets free.
    pub async fn listing(&self, principal: &str) -> Result<Place, Problem> {
        let own = self.noted("listings", take(&self.listings_of.of(&principal.to_owned()), 1).await)?;
        Ok(Place { _all: self.noted("listings", take(&self.listings, 1).await)?, _own: own })
    }

    /// Waits for a place among those for whom content is read back.
    ///
    /// # Errors
    /// A problem if none gets free.
    pub async fn reading(&self, principal: &str) -> Result<Place, Problem> {
        let own = self.noted("transfers", take(&self.reading_of.of(&principal.to_owned()), 1).await)?;
        Ok(Place { _all: self.noted("transfers", take(&self.reading, 1).await)?, _own: own })
    }

    /// Waits for room for so many bytes in memory.
    ///
    /// # Errors
    /// A problem if there is none soon.
    pub async fn memory(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        self.noted("memory", take(&self.memory, units).await)
    }

    /// How much is used now.
    #[allow(clippy::cast_precision_loss, reason = "nobody counts to 2^53 here")]
    pub fn usage(&self) -> Usage {
        let (units, unit) = (f64::from(self.units), UNIT as f64);
        Usage {
            transfers: self.places.saturating_sub(self.transfers.available_permits()) as f64,
            transfers_limit: self.places as f64,
            memory: (units - self.memory.available_permits() as f64) * unit,
            memory_limit: units * unit,
        }
    }

    fn noted<T>(&self, limit: &'static str, result: Result<T, Problem>) -> Result<T, Problem> {
        if result.is_err() {
            self.refusals.get_or_create(&Refused { limit }).inc();
        }
        result
    }
}

/// A place among all, and among those of one principal.
#[derive(Debug)]
pub struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// So many places for each of those who ask.
#[derive(Debug)]
struct Shares<K> {
    places: usize,
    known: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    fn new(places: usize) -> Self {
        Self { places, known: Mutex::default() }
    }

    /// The places of one.
    fn of(&self, key: &K) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = known.get(key).and_then(Weak::upgrade) {
            return places;
        }
        // Those who hold no place need none kept.
        if known.len() > MAX_BUCKETS {
            known.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.places));
        known.insert(key.clone(), Arc::downgrade(&places));
        places
    }
}

async fn take(places: &Arc<Semaphore>, number: u32) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = || Problem::later(StatusCode::SERVICE_UNAVAILABLE, "too many transfers at a time", 1);
    let taken = tokio::time::timeout(PATIENCE, Arc::clone(places).acquire_many_owned(number)).await;
    taken.map_err(|_| busy())?.map_err(|_| busy())
}

/// Who has a network of IPv6 has all of its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

struct Rates<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    fn new(quota: Quota) -> Self {
        let clock = DefaultClock::default();
        Self { limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()), clock }
    }

    fn count(&self, key: &K) -> Result<(), Problem> {
        if self.limiter.len() > MAX_BUCKETS {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|until| {
            let seconds = until.wait_time_from(self.clock.now()).as_secs() + 1;
            Problem::later(StatusCode::TOO_MANY_REQUESTS, "too many requests", seconds)
        })
    }
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Rates<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("buckets", &self.limiter.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_rate_and_a_network_of_ipv6_has_one() {
        let few = NonZeroU32::new(3).expect("not zero");
        let gauges = Gauges::new(&Limits { per_address: few, ..Limits::default() });
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        for _ in 0..3 {
            gauges.address(at("192.0.2.1")).expect("within the rate");
            gauges.address(at("2001:db8::1")).expect("within the rate");
        }
        assert_eq!(gauges.address(at("192.0.2.1")).expect_err("too many").status(), 429);
        assert_eq!(gauges.address(at("::ffff:192.0.2.1")).expect_err("the same").status(), 429);
        assert_eq!(gauges.address(at("2001:db8::2")).expect_err("the same network").status(), 429);
        gauges.address(at("192.0.2.2")).expect("another");
        gauges.address(at("2001:db8:0:1::1")).expect("another");
    }

    #[tokio::test]
    async fn memory_is_given_until_it_is_taken_and_never_refused_for_ever() {
        let gauges = Gauges::new(&Limits { memory: 10 * UNIT, ..Limits::default() });
        let (some, more) = (gauges.memory(9 * UNIT).await.expect("room"), gauges.memory(1).await.expect("room"));
        let waiting = gauges.memory(u64::MAX);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "none is left");
        drop((some, more));
        let _all = waiting.await.expect("all of it for one that is too long");
    }

    #[tokio::test]
    async fn one_principal_and_one_address_have_their_share_and_no_more() {
        let gauges =
            Gauges::new(&Limits { transfers_per_principal: 1, connections_per_address: 2, ..Limits::default() });
        let mine = gauges.transfer("a").await.expect("a place");
        let other = tokio::time::timeout(Duration::from_secs(1), gauges.transfer("b")).await;
        other.expect("at once").expect("others have theirs");
        let waiting = gauges.transfer("a");
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "no second one");
        drop(mine);
        waiting.await.expect("free again");
        let at = |text: &str| gauges.connection(text.parse().expect("an address"));
        let (one, two) = (at("192.0.2.1"), at("192.0.2.1"));
        assert!(one.is_some() && two.is_some() && at("192.0.2.1").is_none() && at("192.0.2.2").is_some());
        drop(one);
        assert!(at("192.0.2.1").is_some());
    }

    #[test]
    fn a_body_has_a_time_by_its_length() {
        let limits = Limits::default();
        assert_eq!(limits.body(0), Duration::from_mins(1));
        assert_eq!(limits.body(64 << 20), Duration::from_secs(60 + 4096));
    }
}
