//! Holding a client at a chosen write, for tests that kill or freeze it there.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::wire::Message;

/// Where a write is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It came, and the server has not seen it.
    Arrived,
    /// The server did what it says, and the client does not know.
    Done,
}

/// What becomes of a write that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It goes its way.
    GoOn,
    /// Its connection ends.
    Cut,
}

/// Counts writes and open connections, and holds one write.
#[derive(Debug, Default)]
pub(super) struct Latch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    writes: u32,
    wanted: Option<(u32, Moment)>,
    is_held: bool,
    release: Option<Release>,
}

impl Latch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, patience: Duration, what: impl Fn(&State) -> bool) -> bool {
        let (start, mut state) = (Instant::now(), self.lock());
        while !what(&state) {
            let Some(left) = patience.checked_sub(start.elapsed()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn connect(&self) {
        self.lock().connections += 1;
    }

    pub(super) fn disconnect(&self) {
        self.lock().connections -= 1;
        self.changed.notify_all();
    }

    /// Forgets what was counted, and holds the write of this number from now on.
    pub(super) fn set(&self, number: u32, moment: Moment) {
        let mut state = self.lock();
        (state.writes, state.wanted, state.is_held, state.release) = (0, Some((number, moment)), false, None);
    }

    pub(super) fn is_held_within(&self, patience: Duration) -> bool {
        self.wait_until(patience, |state| state.is_held)
    }

    pub(super) fn is_quiet_within(&self, patience: Duration) -> bool {
        self.wait_until(patience, |state| state.connections == 0)
    }

    /// Lets go of what is held; nothing is held any more.
    pub(super) fn release(&self, release: Release) {
        let mut state = self.lock();
        (state.wanted, state.release) = (None, Some(release));
        self.changed.notify_all();
    }

    /// The number of a request among the writes, if it is one.
    pub(super) fn count(&self, request: &Message) -> Option<u32> {
        if !matches!(request.method(), "PUT" | "POST" | "DELETE") {
            return None;
        }
        let mut state = self.lock();
        state.writes += 1;
        Some(state.writes)
    }

    /// Waits if this is what is to be held.
    pub(super) fn pass(&self, number: Option<u32>, moment: Moment) -> Release {
        let mut state = self.lock();
        if state.wanted.is_none() || state.wanted != number.map(|number| (number, moment)) {
            return Release::GoOn;
        }
        state.is_held = true;
        self.changed.notify_all();
        loop {
            if let Some(release) = state.release {
                return release;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
