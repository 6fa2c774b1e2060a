//! What time it is, and how exactly that is known.

use crate::{
    canonical::Time,
    error::{Error, Result},
};

/// How far clocks may differ, in seconds: a record counts this much before its time and after it.
pub const TOLERANCE: i64 = 300;

/// The time at which records are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    seconds: i64,
}

impl Clock {
    /// The time now, as the system tells it.
    pub fn now() -> Self {
        Self { seconds: Time::now().seconds() }
    }

    /// Another time, for audits: RFC 3339 in UTC, to the second.
    ///
    /// # Errors
    /// [`Error::Misuse`] for anything else.
    pub fn at(text: &str) -> Result<Self> {
        let time: Time =
            text.parse().map_err(|()| Error::Misuse(format!("{text:?} is not a time like 2026-11-21T20:00:00Z")))?;
        Ok(Self { seconds: time.seconds() })
    }

    /// The time itself (RFC 3339).
    pub fn to_rfc3339(self) -> String {
        self.time().as_str().to_owned()
    }

    pub(crate) fn time(self) -> Time {
        Time::at(self.seconds)
    }

    /// The time this many seconds later.
    pub(crate) fn after(self, seconds: u64) -> Time {
        Time::at(self.seconds.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }

    /// Whether this time has come.
    pub(crate) fn has_begun(self, from: &Time) -> bool {
        from.seconds() <= self.seconds.saturating_add(TOLERANCE)
    }

    /// Whether this time (RFC 3339) has passed; what is no time has.
    pub(crate) fn is_past(self, until: &str) -> bool {
        until.parse().map_or(true, |until| self.is_over(&until))
    }

    /// Whether this time has passed.
    pub(crate) fn is_over(self, until: &Time) -> bool {
        self.seconds >= until.seconds().saturating_add(TOLERANCE)
    }

    /// The seconds since 1970 within which something was made that is not older than so many seconds.
    pub(crate) fn window(self, oldest: u64) -> (u64, u64) {
        let now = u64::try_from(self.seconds).unwrap_or(0);
        let slack = TOLERANCE.unsigned_abs();
        (now.saturating_sub(oldest.saturating_add(slack)), now.saturating_add(2 * slack))
    }

    /// Seconds since this time; none if it is yet to come.
    pub(crate) fn age(self, of: &Time) -> u64 {
        u64::try_from(self.seconds.saturating_sub(of.seconds())).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let clock = Clock::at("2026-11-21T20:00:00Z").expect("a time");
        let time = |text: &str| text.parse::<Time>().expect("a time");
        assert!(clock.has_begun(&time("2026-11-21T20:05:00Z")) && !clock.has_begun(&time("2026-11-21T20:05:01Z")));
        assert!(!clock.is_over(&time("2026-11-21T19:55:01Z")) && clock.is_over(&time("2026-11-21T19:55:00Z")));
        assert_eq!(clock.age(&time("2026-11-21T19:00:00Z")), 3600);
        assert_eq!(clock.age(&time("2026-11-21T21:00:00Z")), 0);
        assert_eq!(clock.after(3600).as_str(), "2026-11-21T21:00:00Z");
        assert_eq!(clock.to_rfc3339(), "2026-11-21T20:00:00Z");
        assert!(Clock::at("yesterday").is_err());
    }
}
