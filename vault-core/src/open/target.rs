//! Where plaintext goes: memory, positions of a file, or a stream.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroizing;

use super::{Piece, Plan, Reader};
use crate::{
    body::OpenPart,
    error::{Error, Result},
    floe::PREFIX_LEN,
    tree::{PAYLOAD, SEGMENT},
    workers::{self, Progress, Threads},
};

/// Takes bytes at any position, from several threads.
pub trait WriteAt: Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
}

impl WriteAt for File {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        FileExt::write_all_at(self, bytes, offset).map_err(Error::storage("output"))
    }
}

/// One thread's private copy of a segment, wiped at the end.
struct Desk {
    part: OpenPart,
    buffer: Zeroizing<Vec<u8>>,
    /// The segment whose plaintext is in the buffer, and its length: a file may be many small pieces of one.
    decrypted: Option<(u32, u64, usize)>,
}

impl Desk {
    fn new() -> Self {
        Self { part: OpenPart::default(), buffer: Zeroizing::new(vec![0; SEGMENT]), decrypted: None }
    }

    fn plaintext(&mut self, reader: &Reader<'_>, piece: &Piece) -> Result<&[u8]> {
        let len = match self.decrypted.take() {
            Some((stream, position, len)) if (stream, position) == (piece.stream, piece.position) => len,
            _ => reader.decrypt(piece.position, &mut self.part, &mut self.buffer)?.len(),
        };
        self.decrypted = Some((piece.stream, piece.position, len));
        let plaintext = &self.buffer[PREFIX_LEN..PREFIX_LEN + len];
        plaintext.get(piece.within.clone()).ok_or_else(|| Error::format("index", "has an extent outside its stream"))
    }
}

/// Fills `out`, which has the length of the plan.
pub(super) fn into_memory(
    plan: &Plan<'_, '_>,
    out: &mut [u8],
    threads: Threads,
    progress: &dyn Progress,
) -> Result<()> {
    if out.len() as u64 != plan.len() {
        return Err(Error::Misuse("a buffer of another length than the range".into()));
    }
    // Pieces come in order, so each takes its room off the front of what is left.
    let queue = Mutex::new((plan.pieces(), out));
    let take = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = queue.0.next()?;
        let (room, rest) = std::mem::take(&mut queue.1).split_at_mut(piece.within.len());
        queue.1 = rest;
        Some((piece, room))
    };
    workers::run(threads, progress, |stop| {
        let mut desk = Desk::new();
        while !stop.requested()? {
            let Some((piece, room)) = take() else { break };
            let reader = plan.reader(&piece)?;
            if piece.within == (0..reader.plaintext_len(piece.position)) {
                desk.decrypted = None;
                reader.decrypt_into(piece.position, &mut desk.part, &mut desk.buffer, room)?;
            } else {
                room.copy_from_slice(desk.plaintext(&reader, &piece)?);
            }
            progress.advance(room.len() as u64);
        }
        Ok(())
    })
}

/// Writes every piece at its position.
pub(super) fn at_positions(
    plan: &Plan<'_, '_>,
    out: &dyn WriteAt,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<()> {
    let queue = Mutex::new(plan.pieces());
    workers::run(threads, progress, |stop| {
        let mut desk = Desk::new();
        while !stop.requested()? {
            let Some(piece) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
            let plaintext = desk.plaintext(&*plan.reader(&piece)?, &piece)?;
            out.write_all_at(piece.target, plaintext)?;
            progress.advance(plaintext.len() as u64);
        }
        Ok(())
    })
}

/// Gives all pieces to `out` in order, decrypting a few at a time on all threads.
pub(super) fn in_order(
    plan: &Plan<'_, '_>,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<()> {
    let mut pieces = plan.pieces().peekable();
    let mut window = Zeroizing::new(vec![0; threads.get() * PAYLOAD]);
    while pieces.peek().is_some() {
        let batch: Vec<_> = pieces.by_ref().take(threads.get()).collect();
        let queue = Mutex::new(batch.iter().zip(window.chunks_mut(PAYLOAD)));
        workers::run(threads, progress, |stop| {
            let mut desk = Desk::new();
            while !stop.requested()? {
                let Some((piece, room)) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                room[..piece.within.len()].copy_from_slice(desk.plaintext(&*plan.reader(piece)?, piece)?);
            }
            Ok(())
        })?;
        for (piece, room) in batch.iter().zip(window.chunks(PAYLOAD)) {
            out(&room[..piece.within.len()])?;
            progress.advance(piece.within.len() as u64);
        }
    }
    Ok(())
}

impl Reader<'_> {
    fn plaintext_len(&self, position: u64) -> usize {
        self.body.stream().layout.segment_len(position) - crate::floe::OVERHEAD
    }
}
