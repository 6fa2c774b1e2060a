//! Keyless verification: every stored byte of an artifact is what its manifest says.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    body::{self, Body, OpenPart},
    error::{Error, Result},
    manifest::{Manifest, Stream},
    parts::Fetch,
    trust::Verified,
    workers::{self, Progress, Threads},
};

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
/// [`Error::Corrupt`] at the first byte that differs; [`Error::Storage`] if something cannot be read.
pub fn contents(
    manifest: &Verified<Manifest>,
    fetch: &dyn Fetch,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<Checked> {
    let bodies: Vec<_> = manifest.numbered_streams().map(|(number, stream)| Lane::new(number, stream)).collect();
    let current = AtomicU64::new(0);
    workers::run(threads, progress, |stop| {
        let (mut part, mut scratch) = (OpenPart::default(), body::scratch());
        while !stop.requested()? {
            let at = current.load(Ordering::Acquire);
            let Some(lane) = usize::try_from(at).ok().and_then(|at| bodies.get(at)) else { return Ok(()) };
            let Some((body, position)) = lane.next(fetch)? else {
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

/// Looks at all of an artifact and reports everything that is wrong with it, where [`contents`] stops at the first.
///
/// # Errors
/// [`Error::Storage`] if something cannot be read, and what `report` returns.
pub fn damage(
    manifest: &Verified<Manifest>,
    fetch: &dyn Fetch,
    progress: &dyn Progress,
    report: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    let mut scratch = body::scratch();
    for (number, stream) in manifest.numbered_streams() {
        let body = match Body::open(number, stream, fetch) {
            Ok(body) => body,
            Err(error @ Error::Corrupt { .. }) => {
                report(error)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut part = OpenPart::default();
        let mut lost = None;
        for position in 0..stream.layout.segments() {
            if lost == Some(stream.layout.part_of(position)) {
                continue;
            }
            if progress.cancelled() {
                return Err(Error::storage("operation")(std::io::ErrorKind::Interrupted.into()));
            }
            match body.verify(position, &mut part, &mut scratch) {
                Ok(()) => {}
                Err(error @ Error::Corrupt { .. }) => {
                    // A part that cannot be opened is one fault, not one for each of its segments.
                    if part.is_closed() {
                        lost = Some(stream.layout.part_of(position));
                    }
                    report(error)?;
                }
                Err(error) => return Err(error),
            }
            progress.advance(stream.layout.segment_len(position) as u64);
        }
    }
    Ok(())
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

    /// The next segment, if there is one. The first to come reads the tree; the last to go lets go of it.
    fn next(&self, fetch: &'a dyn Fetch) -> Result<Option<(std::sync::Arc<Body<'a>>, u64)>> {
        let mut slot = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.next.load(Ordering::Relaxed);
        if position == self.stream.layout.segments() {
            *slot = None;
            return Ok(None);
        }
        let body = match &*slot {
            Some(body) => std::sync::Arc::clone(body),
            None => std::sync::Arc::clone(slot.insert(Body::open(self.number, self.stream, fetch)?.into())),
        };
        self.next.store(position + 1, Ordering::Relaxed);
        Ok(Some((body, position)))
    }
}
