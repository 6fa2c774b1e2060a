//! Keyless verification: every stored byte of an artifact is what its manifest says.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    body::{self, Body, OpenPart},
    error::Result,
    manifest::{Manifest, Stream},
    parts::{Fetch, Wanted},
    trust::Verified,
    workers::{self, Progress, Threads},
};

mod damage;

pub use damage::{Flaw, Sound, Survey, damage};

/// What [`contents`] checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Bytes of ciphertext, the index included.
    pub bytes: u64,
    /// Parts.
    pub parts: u64,
}

/// Checks every byte of every part, and every tree, against the manifest.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) at the first byte that differs; [`Error::Storage`](crate::Error::Storage) if something cannot be read.
pub fn contents(
    manifest: &Verified<Manifest>,
    fetch: &dyn Fetch,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<Checked> {
    let bodies: Vec<_> = manifest.numbered_streams().map(|(number, stream)| Lane::new(number, stream)).collect();
    let current = AtomicU64::new(0);
    let _ahead = fetch.ahead(manifest.numbered_streams().flat_map(|(_, stream)| whole(stream)).collect());
    workers::run(threads, progress, |stop| {
        let (mut part, mut scratch) = (OpenPart::default(), body::scratch());
        while !stop.requested()? {
            let at = current.load(Ordering::Acquire);
            let Some(lane) = usize::try_from(at).ok().and_then(|at| bodies.get(at)) else { return Ok(()) };
            let Some((body, position)) = lane.next(fetch, |_| false)? else {
                let _ = current.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire);
                continue;
            };
            body.verify(position, &mut part, &mut scratch)?;
            progress.advance(lane.stream.layout.segment_len(position) as u64);
        }
        Ok(())
    })?;
    let parts = manifest.numbered_streams().map(|(_, stream)| stream.layout.parts()).sum();
    Ok(Checked { bytes: manifest.sealed_len(), parts })
}

/// All of a stream: its tree, and its parts in order.
fn whole(stream: &Stream) -> impl Iterator<Item = Wanted> + '_ {
    stream.wanted_tree().into_iter().chain(stream.wanted_segments(0..stream.layout.segments()))
}

/// One stream and how far its verification is.
struct Lane<'a> {
    number: u32,
    stream: &'a Stream,
    next: AtomicU64,
    body: Mutex<Option<std::sync::Arc<Body<'a>>>>,
}

impl<'a> Lane<'a> {
    fn new(number: u32, stream: &'a Stream) -> Self {
        Self { number, stream, next: AtomicU64::new(0), body: Mutex::new(None) }
    }

    /// The next segment, if there is one. The first to come reads the tree; the last to go lets go of it. Parts that may
    /// be `left_out` are.
    fn next(
        &self,
        fetch: &'a dyn Fetch,
        left_out: impl Fn(u64) -> bool,
    ) -> Result<Option<(std::sync::Arc<Body<'a>>, u64)>> {
        let mut slot = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let (layout, mut position) = (&self.stream.layout, self.next.load(Ordering::Relaxed));
        if slot.is_none() && position == 0 {
            *slot = Some(Body::open(self.number, self.stream, fetch)?.into());
        }
        while position < layout.segments() && left_out(layout.part_of(position)) {
            position = layout.first_of_part(layout.part_of(position) + 1);
        }
        if position >= layout.segments() {
            self.next.store(position, Ordering::Relaxed);
            *slot = None;
            return Ok(None);
        }
        let Some(body) = &*slot else { return Ok(None) };
        let body = std::sync::Arc::clone(body);
        self.next.store(position + 1, Ordering::Relaxed);
        Ok(Some((body, position)))
    }

    /// Leaves out everything before this segment.
    fn skip_to(&self, position: u64) {
        // Under the same lock as `next`, which reads the number and writes it back.
        let _slot = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        self.next.fetch_max(position, Ordering::Relaxed);
    }
}
