//! The digest of a file on disk under a key, taken by several threads.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    error::{Error, Result},
    secret::Secret,
    workers::{self, Progress, Threads},
};

/// What each thread reads at a time.
const PIECE: usize = 1 << 20;

pub(super) type Digest = [u8; 32];

/// Digests `length` bytes; none if the file has fewer. `progress` is asked whether to stop, and told nothing.
pub(super) fn digest(
    key: &Secret<32>,
    file: &File,
    length: u64,
    (threads, progress): (Threads, &dyn Progress),
) -> Result<Option<Digest>> {
    let pieces = usize::try_from(length.div_ceil(PIECE as u64));
    let pieces = pieces.map_err(|_| Error::Misuse(format!("a file of {length} bytes is too long here")))?;
    let digests = Mutex::new(vec![Digest::default(); pieces]);
    let (next, is_short) = (AtomicUsize::new(0), AtomicBool::new(false));
    workers::run(threads, &Silent(progress), |stop| {
        let mut buffer = vec![0; PIECE];
        while !stop.requested()? && !is_short.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= pieces {
                break;
            }
            let start = (number * PIECE) as u64;
            let room = usize::try_from(length - start).map_or(PIECE, |left| left.min(PIECE));
            match file.read_exact_at(&mut buffer[..room], start) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => is_short.store(true, Ordering::Relaxed),
                Err(error) => return Err(Error::storage("a file that was opened before")(error)),
            }
            let digest = *blake3::keyed_hash(key.expose(), &buffer[..room]).as_bytes();
            digests.lock().unwrap_or_else(PoisonError::into_inner)[number] = digest;
        }
        Ok(())
    })?;
    if is_short.into_inner() {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    hasher.update(&length.to_le_bytes());
    for digest in digests.into_inner().unwrap_or_else(PoisonError::into_inner) {
        hasher.update(&digest);
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// Passes on that it is to stop, not how far it is.
struct Silent<'a>(&'a dyn Progress);

impl Progress for Silent<'_> {
    fn advance(&self, _: u64) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
