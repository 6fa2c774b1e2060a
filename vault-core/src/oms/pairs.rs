//! SHA-256 of files, two at a time on every thread.

use std::sync::Arc;

use super::hashing::{Lane, PIECE, Queue, Task};
use crate::{
    error::Result,
    source::{
        SealedFile,
        abreast::{Block, Sha256},
    },
    workers::{Progress, Stop},
};

/// One thread's part.
pub(super) fn hash(lanes: &[Lane<'_>], queue: &Queue<'_>, stop: &Stop<'_>, progress: &dyn Progress) -> Result<()> {
    let (mut one, mut other) = (None, None);
    while !stop.requested()? {
        let start = |task| Running::start(lanes, task);
        if one.is_none() {
            one = other.take().map_or_else(|| queue.next().map(start).transpose(), |other| Ok(Some(other)))?;
        }
        if other.is_none() {
            other = queue.second().map(start).transpose()?;
        }
        let Some(first) = &mut one else { return Ok(()) };
        first.fill(progress)?;
        if let Some(second) = &mut other {
            second.fill(progress)?;
            first.take_beside(second);
        } else {
            first.take();
        }
        one = one.and_then(|running| running.unless_done().transpose()).transpose()?;
        other = other.and_then(|running| running.unless_done().transpose()).transpose()?;
    }
    Ok(())
}

/// A range of a file on its way.
struct Running<'a> {
    lane: &'a Lane<'a>,
    task: Task,
    file: Arc<SealedFile>,
    hasher: Sha256,
    /// How far it was read.
    at: u64,
    /// What was read last, and how much of it was taken: whole blocks.
    piece: Vec<u8>,
    taken: usize,
}

impl<'a> Running<'a> {
    fn start(lanes: &'a [Lane<'a>], task: Task) -> Result<Self> {
        let lane = &lanes[task.file];
        let (file, hasher) = (lane.open()?, Sha256::new());
        Ok(Self { lane, task, file, hasher, at: task.start, piece: Vec::new(), taken: 0 })
    }

    /// The blocks that were read and not taken.
    fn blocks(&self) -> &[Block] {
        self.piece[self.taken..].as_chunks().0
    }

    /// Reads on, if there is nothing to take. All but the last piece are whole blocks.
    fn fill(&mut self, progress: &dyn Progress) -> Result<()> {
        if self.at == self.task.end || !self.blocks().is_empty() {
            return Ok(());
        }
        let length = usize::try_from(self.task.end - self.at).map_or(PIECE, |left| left.min(PIECE));
        self.piece.resize(length, 0);
        self.file.read_exact_at(self.at, &mut self.piece)?;
        self.taken = 0;
        self.at += length as u64;
        progress.advance(length as u64);
        Ok(())
    }

    fn take(&mut self) {
        let (blocks, _) = self.piece[self.taken..].as_chunks();
        self.hasher.take(blocks);
        self.taken += blocks.len() * 64;
    }

    /// Takes as much of both as there is of both.
    fn take_beside(&mut self, other: &mut Self) {
        let both = self.blocks().len().min(other.blocks().len());
        let [first, second] = [&self.piece[self.taken..], &other.piece[other.taken..]].map(|bytes| bytes.as_chunks().0);
        Sha256::take_both(&mut self.hasher, &mut other.hasher, [&first[..both], &second[..both]]);
        self.taken += both * 64;
        other.taken += both * 64;
    }

    /// Itself; nothing, once its digest is known.
    fn unless_done(self) -> Result<Option<Self>> {
        if self.at < self.task.end || !self.blocks().is_empty() {
            return Ok(Some(self));
        }
        self.file.check_unchanged()?;
        self.lane.found(&self.task, self.hasher.finish(&self.piece[self.taken..]).to_vec());
        Ok(None)
    }
}
