//! Which pieces of which segments make up a range of a file.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

use super::{Opened, Reader};
use crate::{
    error::{Error, Result},
    index::File,
    tree::PAYLOAD,
};

/// The streams behind a range of a file, and the pieces to read from them, in order of the file.
pub(super) struct Plan<'a> {
    readers: BTreeMap<u32, Reader<'a>>,
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
    pub(super) fn new(opened: &Opened<'a>, file: &File, range: Range<u64>) -> Result<Self> {
        if range.start > range.end || range.end > file.size {
            let (path, size) = (&file.path, file.size);
            return Err(Error::Misuse(format!(
                "range {}..{} of {path}, which has {size} bytes",
                range.start, range.end
            )));
        }
        let (mut readers, mut extents, mut at) = (BTreeMap::new(), Vec::new(), 0);
        for extent in &file.extents {
            let (from, to) = (range.start.max(at), range.end.min(at + extent.length));
            if from < to {
                extents.push((extent.stream, extent.offset + (from - at)..extent.offset + (to - at)));
                if let Entry::Vacant(slot) = readers.entry(extent.stream) {
                    slot.insert(opened.reader(extent.stream)?);
                }
            }
            at += extent.length;
        }
        Ok(Self { readers, extents })
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

    pub(super) fn reader(&self, piece: &Piece) -> Result<&Reader<'a>> {
        self.readers.get(&piece.stream).ok_or_else(|| Error::Misuse(format!("stream {} is not planned", piece.stream)))
    }

    /// How many bytes the range has.
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().map(|(_, range)| range.end - range.start).sum()
    }
}
