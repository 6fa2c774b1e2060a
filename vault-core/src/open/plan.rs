//! Which pieces of which segments make up a range of a file.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Opened, Reader};
use crate::{
    error::{Error, Result},
    index::File,
    tree::PAYLOAD,
};

/// The most streams that are kept ready.
pub(super) const MAX_READY: usize = 64;
/// The most segments that the trees of streams kept ready have, unless it is one stream: 64 MiB of values.
const MAX_READY_SEGMENTS: u64 = 1 << 21;

/// The streams behind a range of a file, and the pieces to read from them, in order of the file.
pub(super) struct Plan<'a> {
    opened: &'a Opened<'a>,
    /// The streams that were read from last, ready to be read from. A file may be spread over a hundred thousand.
    ready: Mutex<Vec<(u32, Arc<Reader<'a>>)>>,
    /// Ranges of streams' plaintext that, joined, are the range.
    extents: Vec<(u32, Range<u64>)>,
}

/// A range within one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stream: u32,
    pub(super) position: u64,
    /// Which bytes of the segment's plaintext.
    pub(super) within: Range<usize>,
    /// Where they go, from the start of the range.
    pub(super) target: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(opened: &'a Opened<'a>, file: &File, range: Range<u64>) -> Result<Self> {
        if range.start > range.end || range.end > file.size {
            let (path, size) = (&file.path, file.size);
            return Err(Error::Misuse(format!(
                "range {}..{} of {path}, which has {size} bytes",
                range.start, range.end
            )));
        }
        let (mut extents, mut at) = (Vec::new(), 0);
        for extent in &file.extents {
            let (from, to) = (range.start.max(at), range.end.min(at + extent.length));
            if from < to {
                extents.push((extent.stream, extent.offset + (from - at)..extent.offset + (to - at)));
            }
            at += extent.length;
        }
        Ok(Self { opened, ready: Mutex::default(), extents })
    }

    /// The pieces in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let payload = PAYLOAD as u64;
        let mut target = 0;
        self.extents.iter().flat_map(move |(stream, range)| {
            let base = target;
            target += range.end - range.start;
            let range = range.clone();
            (range.start / payload..range.end.div_ceil(payload)).map(move |position| {
                let start = position * payload;
                let (from, to) = (range.start.max(start), range.end.min(start + payload));
                #[expect(clippy::cast_possible_truncation, reason = "both are within a segment")]
                let within = (from - start) as usize..(to - start) as usize;
                Piece { stream: *stream, position, within, target: base + (from - range.start) }
            })
        })
    }

    /// The stream of a piece. The first to come reads its tree and checks its header, while the others wait.
    pub(super) fn reader(&self, piece: &Piece) -> Result<Arc<Reader<'a>>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match ready.iter().position(|(stream, _)| *stream == piece.stream) {
            Some(at) => ready.remove(at),
            None => (piece.stream, Arc::new(self.opened.reader(piece.stream)?)),
        };
        let reader = Arc::clone(&entry.1);
        ready.push(entry);
        while ready.len() > MAX_READY || (ready.len() > 1 && segments(&ready) > MAX_READY_SEGMENTS) {
            ready.remove(0);
        }
        Ok(reader)
    }

    /// How many streams are ready.
    #[cfg(test)]
    pub(super) fn ready(&self) -> usize {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many bytes the range has.
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().map(|(_, range)| range.end - range.start).sum()
    }
}

fn segments(ready: &[(u32, Arc<Reader<'_>>)]) -> u64 {
    ready.iter().map(|(_, reader)| reader.body.stream().layout.segments()).sum()
}
