//! No more bytes a second than allowed.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The most bytes that take the line at once.
const LARGEST_PIECE: u64 = 64 << 10;
/// The fewest: below that, a piece costs more than it carries.
const SMALLEST_PIECE: u64 = 1 << 10;
/// How many pieces a slow line carries a second. Many transfers share it, and each must look alive to its server.
const PIECES: u64 = 32;

/// A line that carries so many bytes a second, one piece after the other, whoever sends them.
#[derive(Debug)]
pub(in crate::store) struct Throttle {
    rate: Option<NonZeroU64>,
    /// When the line is free again.
    free: Mutex<Instant>,
}

/// How long a transfer had to wait for its turn, in all. Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Waited(Arc<AtomicU64>);

impl Waited {
    pub(super) fn so_far(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Said before the wait, so that nobody who looks at it takes a wait for silence.
    pub(super) fn add(&self, wait: Duration) {
        self.0.fetch_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Throttle {
    pub(in crate::store) fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, free: Mutex::new(Instant::now()) }
    }

    /// A line that carries whatever there is.
    pub(in crate::store) fn unlimited() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// The most bytes that may take the line at once; nothing if all may.
    pub(super) fn piece(&self) -> Option<u64> {
        Some((self.rate?.get() / PIECES).clamp(SMALLEST_PIECE, LARGEST_PIECE))
    }

    /// Waits until the line has carried everything before these bytes, and takes it for them.
    pub(super) async fn pass(&self, bytes: u64, waited: &Waited) {
        let Some(wait) = self.reserve(bytes, Instant::now()) else { return };
        waited.add(wait);
        tokio::time::sleep(wait).await;
    }

    fn reserve(&self, bytes: u64, now: Instant) -> Option<Duration> {
        let rate = self.rate?.get();
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free).max(now);
        *free = start.checked_add(takes).unwrap_or(start);
        Some(start - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them() {
        let throttle = Throttle::new(NonZeroU64::new(1000));
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(throttle.reserve(500, now), Some(Duration::ZERO));
        assert_eq!(throttle.reserve(2000, now), Some(Duration::from_millis(500)));
        assert_eq!(throttle.reserve(1, now + Duration::from_secs(1)), Some(Duration::from_millis(1500)));
        assert_eq!(throttle.reserve(1, now + Duration::from_mins(1)), Some(Duration::ZERO));
        assert_eq!(Throttle::new(None).reserve(u64::MAX, now), None);
    }

    #[test]
    fn a_slow_line_carries_small_pieces() {
        let piece = |rate| Throttle::new(NonZeroU64::new(rate)).piece();
        assert_eq!(piece(0), None);
        assert_eq!((piece(1), piece(64 << 10), piece(1 << 20)), (Some(1 << 10), Some(2 << 10), Some(32 << 10)));
        assert_eq!(piece(u64::MAX), Some(64 << 10));
    }
}
