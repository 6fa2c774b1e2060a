//! SIGINT and SIGTERM: noted once, asked for at every segment, so that partial files are removed before the exit.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::failure::{Failure, Result};

/// The one that is armed. Signals are the process's, and so is the answer for those that were handed none.
static ARMED: OnceLock<Interrupt> = OnceLock::new();

/// Whether a signal asked to stop what is going on.
pub fn requested() -> bool {
    ARMED.get().is_some_and(Interrupt::requested)
}

/// Which signal asked to stop, if any did. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// The number of the signal.
    signal: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    armed: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on a signal asks to stop instead of ending the process; a second one ends it. Until then, that is
    /// while a passphrase is typed, Ctrl-C works as everywhere.
    pub fn arm(&self) -> Result {
        if self.armed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let failed = |error: std::io::Error| Failure::io("signal handlers", &error);
        for number in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset.
            flag::register_conditional_default(number, Arc::clone(&self.stopping)).map_err(failed)?;
            flag::register(number, Arc::clone(&self.stopping)).map_err(failed)?;
            let value = usize::try_from(number).unwrap_or_default();
            flag::register_usize(number, Arc::clone(&self.signal), value).map_err(failed)?;
        }
        ARMED.get_or_init(|| self.clone());
        Ok(())
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// What failed because of a signal failed because of that signal.
    pub fn explain(&self, failure: Failure) -> Failure {
        match u8::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(number @ 1..) => Failure::signal(number),
            _ => failure,
        }
    }
}
