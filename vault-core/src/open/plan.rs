//! Which pieces of which segments make up a range of a file.

use std::{collections::HashSet, ops::Range, sync::Arc};

use super::{Opened, Reader};
use crate::{
    error::{Error, Result},
    index::File,
    parts::{Ahead, Wanted},
    tree::PAYLOAD,
};

/// The streams behind a range of a file, and the pieces to read from them, in order of the file.
pub(super) struct Plan<'p, 'a> {
    opened: &'p Opened<'a>,
    /// Ranges of streams' plaintext that, joined, are the range.
    extents: Vec<(u32, Range<u64>)>,
    /// Keeps the store fetching.
    _ahead: Ahead,
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

impl<'p, 'a> Plan<'p, 'a> {
    pub(super) fn new(opened: &'p Opened<'a>, file: &File, range: Range<u64>) -> Result<Self> {
        if range.start > range.end || range.end > file.size {
            let (path, size) = (&file.path, file.size);
            return Err(Error::Misuse(format!(
                "range {}..{} of {path}, which has {size} bytes",
                range.start, range.end
            )));
        }
        let extents = extents(file, &range);
        let ahead =
            if opened.is_announced(&extents) { Ahead::default() } else { opened.fetch.ahead(wanted(opened, &extents)) };
        Ok(Self { opened, extents, _ahead: ahead })
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

    /// The stream of a piece, ready to be read from.
    pub(super) fn reader(&self, piece: &Piece) -> Result<Arc<Reader<'a>>> {
        self.opened.ready.get(piece.stream, || self.opened.reader(piece.stream))
    }

    /// How many bytes the range has.
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().map(|(_, range)| range.end - range.start).sum()
    }
}

/// The ranges of streams' plaintext that, joined, are `range` of a file.
pub(super) fn extents(file: &File, range: &Range<u64>) -> Vec<(u32, Range<u64>)> {
    let (mut extents, mut at) = (Vec::new(), 0);
    for extent in &file.extents {
        let (from, to) = (range.start.max(at), range.end.min(at + extent.length));
        if from < to {
            extents.push((extent.stream, extent.offset + (from - at)..extent.offset + (to - at)));
        }
        at += extent.length;
    }
    extents
}

/// What has to be fetched for them: the tree of each stream that is not ready before its first segment.
pub(super) fn wanted(opened: &Opened<'_>, extents: &[(u32, Range<u64>)]) -> Vec<Wanted> {
    let payload = PAYLOAD as u64;
    let (mut wanted, mut trees): (Vec<Wanted>, _) = (Vec::new(), HashSet::new());
    for (number, range) in extents {
        let Some(stream) = opened.manifest.stream(*number) else { continue };
        if trees.insert(*number) && !opened.ready.has(*number) {
            wanted.extend(stream.wanted_tree());
        }
        for next in stream.wanted_segments(range.start / payload..range.end.div_ceil(payload)) {
            match wanted.last_mut() {
                // Extents that follow one another share segments.
                Some(last)
                    if last.name == next.name && (last.range.start..=last.range.end).contains(&next.range.start) =>
                {
                    last.range.end = last.range.end.max(next.range.end);
                }
                _ => wanted.push(next),
            }
        }
    }
    wanted
}
