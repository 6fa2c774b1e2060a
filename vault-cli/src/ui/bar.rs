//! The progress bar: throughput and time left, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vault_core::workers::Progress;

use crate::interrupt::Interrupt;

/// How often it is redrawn a second; drawing costs a lock.
const FRAMES: u8 = 10;

/// How far a long operation is, and whether to stop it. Removed from the screen when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl Bar {
    pub(super) fn new(doing: &'static str, total: Option<u64>, visible: bool, interrupt: Interrupt) -> Self {
        // Indicatif hides a bar by itself when standard error is no terminal.
        let target = if visible { ProgressDrawTarget::stderr_with_hz(FRAMES) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left",
            None => "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(doing);
        Self { bar, interrupt }
    }
}

impl Progress for Bar {
    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn cancelled(&self) -> bool {
        self.interrupt.requested()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
