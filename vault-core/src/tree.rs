//! The integrity tree: BLAKE3 values of segments, and how they merge to the hash of a part.
//!
//! A segment is 1 MiB, 2^10 BLAKE3 chunks, so inside a part it is a whole subtree (BLAKE3 paper, section 2.1). Its
//! chaining value checks one segment without the rest of the part.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::error::{Error, Fault, Place, Result};

mod layout;

pub use layout::{INDEX_STREAM, Layout, MAX_PART_SIZE, MAX_STREAM, PAYLOAD, PartSize, SEGMENT};

/// Length of one entry of a tree object.
pub const ENTRY: usize = blake3::OUT_LEN;

/// Hashes one segment as the subtree of its part that it is.
#[derive(Debug)]
pub struct SegmentHasher {
    hasher: blake3::Hasher,
    alone: bool,
}

impl SegmentHasher {
    /// A hasher for segment number `position` of a stream.
    pub fn new(layout: &Layout, position: u64) -> Self {
        if layout.is_alone(position) { Self::alone() } else { Self::at(layout.offset_in_part(position)) }
    }

    /// A hasher for a segment that is a part of its own.
    pub(crate) fn alone() -> Self {
        Self { hasher: blake3::Hasher::new(), alone: true }
    }

    /// A hasher for a segment at `offset` in its part.
    pub(crate) fn at(offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Self { hasher, alone: false }
    }

    /// Takes the next bytes of the segment.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The segment's entry in the tree object.
    pub fn finish(self) -> ChainingValue {
        if self.alone { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}

/// The value of a segment whose bytes are all at hand.
pub fn segment_value(layout: &Layout, position: u64, segment: &[u8]) -> ChainingValue {
    let mut hasher = SegmentHasher::new(layout, position);
    hasher.update(segment);
    hasher.finish()
}

/// The hash of a part from the values of its segments, of which there is at least one.
pub fn part_hash(values: &[ChainingValue]) -> blake3::Hash {
    match values {
        [] => blake3::hash(b""),
        [alone] => blake3::Hash::from_bytes(*alone),
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left_len(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// BLAKE3 trees are left-balanced: the left side is the largest power of two that leaves something to the right.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// The values of all segments of one stream, checked against the stream's part hashes.
#[derive(Debug, Clone)]
pub struct Tree {
    values: Vec<ChainingValue>,
}

impl Tree {
    /// Checks a tree object against the manifest's entry for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if length or hash differ from the manifest's, or the values do not merge to the part hashes.
    pub fn check(object: &[u8], name: &blake3::Hash, layout: &Layout, parts: &[blake3::Hash]) -> Result<Self> {
        let corrupt = |fault| Error::Corrupt { place: Place::Object(crate::parts::object_path(name)), fault };
        let expected = layout.tree_len();
        if object.len() as u64 != expected {
            return Err(corrupt(Fault::Length { expected, found: object.len() as u64 }));
        }
        let found = blake3::hash(object);
        if found != *name {
            return Err(corrupt(Fault::Digest { expected: *name, found }));
        }
        let (values, _) = object.as_chunks::<ENTRY>();
        Self::from_values(values.to_vec(), layout, parts)
            .ok_or_else(|| corrupt(Fault::Format("does not merge to the part hashes of the manifest".into())))
    }

    /// The tree of a stream of one segment, which has no tree object: the part's hash is the only value.
    pub fn of_single_segment(part: &blake3::Hash) -> Self {
        Self { values: vec![*part.as_bytes()] }
    }

    fn from_values(values: Vec<ChainingValue>, layout: &Layout, parts: &[blake3::Hash]) -> Option<Self> {
        let per_part = layout.segments_per_part();
        let fits = parts.len() as u64 == layout.parts()
            && values.len() as u64 == layout.segments()
            && values.chunks(per_part).zip(parts).all(|(values, part)| part_hash(values) == *part);
        fits.then_some(Self { values })
    }

    /// The value of one segment.
    pub fn value(&self, position: u64) -> Option<&ChainingValue> {
        usize::try_from(position).ok().and_then(|i| self.values.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect()
    }

    fn values(layout: &Layout, body: &[u8]) -> Vec<ChainingValue> {
        let segments = body.chunks(SEGMENT).enumerate();
        segments.map(|(i, segment)| segment_value(layout, i as u64, segment)).collect()
    }

    #[test]
    fn values_merge_to_the_plain_hash_of_every_part() {
        let part_size = PartSize::new(8 << 20).expect("legal");
        for extra in [33, 1024, 1025, SEGMENT - 1, SEGMENT] {
            for full in [0, 1, 2, 3, 6, 7, 8, 9, 16] {
                let body = bytes(full * SEGMENT + extra);
                let layout = Layout::new(body.len() as u64, part_size).expect("legal");
                let values = values(&layout, &body);
                let parts: Vec<_> = body.chunks(8 << 20).map(blake3::hash).collect();
                let object = values.concat();
                let tree = Tree::check(&object, &blake3::hash(&object), &layout, &parts).expect("consistent");
                assert_eq!(tree.value(0), Some(&values[0]));
                assert_eq!(tree.value(values.len() as u64), None);
            }
        }
    }

    #[test]
    fn a_tree_that_does_not_lead_to_the_parts_is_refused() {
        let layout = Layout::new(3 << 20, PartSize::DEFAULT).expect("legal");
        let body = bytes(3 << 20);
        let mut values = values(&layout, &body);
        let parts = [blake3::hash(&body)];
        let good = values.concat();
        assert!(Tree::check(&good[..64], &blake3::hash(&good), &layout, &parts).is_err(), "cut");
        assert!(Tree::check(&good, &blake3::hash(b"other"), &layout, &parts).is_err(), "another name");
        values.swap(0, 1);
        let swapped = values.concat();
        let error = Tree::check(&swapped, &blake3::hash(&swapped), &layout, &parts).expect_err("swapped");
        assert!(error.to_string().ends_with("does not merge to the part hashes of the manifest"));
    }

    #[test]
    fn hashing_in_pieces_gives_the_same_value() {
        let layout = Layout::new(20 << 20, PartSize::DEFAULT).expect("legal");
        let segment = bytes(SEGMENT);
        let mut hasher = SegmentHasher::new(&layout, 5);
        segment.chunks(100_000).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), segment_value(&layout, 5, &segment));
        assert_ne!(segment_value(&layout, 4, &segment), segment_value(&layout, 5, &segment), "position matters");
    }
}
