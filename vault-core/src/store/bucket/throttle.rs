//! No more bytes a second than allowed.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A line that carries so many bytes a second, one sender after the other.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: Option<NonZeroU64>,
    /// When the line is free again.
    free: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, free: Mutex::new(Instant::now()) }
    }

    /// Waits until the line has carried everything before these bytes, and takes it for them.
    pub(super) async fn pass(&self, bytes: u64) {
        let Some(wait) = self.reserve(bytes, Instant::now()) else { return };
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
}
