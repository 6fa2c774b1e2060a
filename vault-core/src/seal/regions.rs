//! Digests of regions, taken from the very bytes that are encrypted, by whichever thread has them.
//!
//! A region is hashed in blocks of 64 KiB, each a subtree of its BLAKE3, so threads need not come in order. A block that
//! two segments share waits for the second: a few KiB for each segment in flight.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use blake3::hazmat::ChainingValue;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    tree::{SegmentHasher, part_hash},
};

/// A power of two of BLAKE3's chunks; a segment spans several, so that no block is in more than two segments.
const BLOCK: u64 = 64 << 10;

/// Hashes the regions of one stream.
pub(super) struct RegionHasher {
    /// Where each region begins in the stream, and, last, where the stream ends.
    bounds: Vec<u64>,
    state: Mutex<State>,
}

struct State {
    digests: Vec<Option<blake3::Hash>>,
    /// Regions of which some blocks are hashed.
    open: HashMap<usize, OpenRegion>,
}

#[derive(Default)]
struct OpenRegion {
    values: HashMap<u64, ChainingValue>,
    /// Blocks of which one end was seen: where the bytes begin in the region.
    halves: HashMap<u64, (u64, Zeroizing<Vec<u8>>)>,
}

/// Bytes of one block, whole or not.
struct Fragment<'a> {
    region: usize,
    block: u64,
    /// Where the bytes begin in the region.
    start: u64,
    bytes: &'a [u8],
}

impl RegionHasher {
    /// For a stream whose plaintext is regions of these lengths.
    pub(super) fn new(lengths: impl IntoIterator<Item = u64>) -> Self {
        let mut bounds = vec![0];
        let mut end = 0;
        bounds.extend(lengths.into_iter().map(|length| {
            end += length;
            end
        }));
        let digests = vec![None; bounds.len() - 1];
        Self { bounds, state: Mutex::new(State { digests, open: HashMap::new() }) }
    }

    /// Takes the plaintext of one segment, which begins at `offset` of the stream.
    pub(super) fn update(&self, offset: u64, plaintext: &[u8]) {
        let end = offset + plaintext.len() as u64;
        let first = self.bounds.partition_point(|bound| *bound <= offset).saturating_sub(1);
        for region in first..self.bounds.len() - 1 {
            let (start, stop) = (self.bounds[region].max(offset), self.bounds[region + 1].min(end));
            if start >= stop {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "both are within the segment")]
            let bytes = &plaintext[(start - offset) as usize..(stop - offset) as usize];
            if bytes.len() as u64 == self.len(region) {
                let digest = blake3::hash(bytes);
                self.state().digests[region] = Some(digest);
            } else {
                self.update_region(region, start - self.bounds[region], bytes);
            }
        }
    }

    fn update_region(&self, region: usize, mut start: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let block = start / BLOCK;
            let until_end_of_block = usize::try_from((block + 1) * BLOCK - start).unwrap_or(bytes.len());
            let (now, later) = bytes.split_at(until_end_of_block.min(bytes.len()));
            self.update_block(&Fragment { region, block, start, bytes: now });
            start += now.len() as u64;
            bytes = later;
        }
    }

    fn update_block(&self, fragment: &Fragment<'_>) {
        let Fragment { region, block, start, bytes } = *fragment;
        let length = BLOCK.min(self.len(region) - block * BLOCK);
        let value = if bytes.len() as u64 == length {
            self.value(region, block, [bytes, &[]])
        } else {
            let mut state = self.state();
            let halves = &mut state.open.entry(region).or_default().halves;
            let Some((other_start, other)) = halves.remove(&block) else {
                halves.insert(block, (start, Zeroizing::new(bytes.to_vec())));
                return;
            };
            drop(state);
            let in_order = if other_start < start { [other.as_slice(), bytes] } else { [bytes, other.as_slice()] };
            self.value(region, block, in_order)
        };
        self.settle(region, block, value);
    }

    fn value(&self, region: usize, block: u64, bytes: [&[u8]; 2]) -> ChainingValue {
        let mut hasher =
            if self.len(region) <= BLOCK { SegmentHasher::alone() } else { SegmentHasher::at(block * BLOCK) };
        for bytes in bytes {
            hasher.update(bytes);
        }
        hasher.finish()
    }

    fn settle(&self, region: usize, block: u64, value: ChainingValue) {
        let blocks = self.len(region).div_ceil(BLOCK);
        let mut state = self.state();
        let open = state.open.entry(region).or_default();
        open.values.insert(block, value);
        if open.values.len() as u64 == blocks
            && let Some(open) = state.open.remove(&region)
        {
            let mut values: Vec<_> = open.values.into_iter().collect();
            values.sort_unstable_by_key(|(block, _)| *block);
            let values: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
            state.digests[region] = Some(part_hash(&values));
        }
    }

    /// The digests of all regions, in order.
    pub(super) fn finish(self) -> Result<Vec<blake3::Hash>> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all: Option<Vec<_>> = state.digests.into_iter().collect();
        all.ok_or_else(|| Error::Misuse("a file was finished before its last region".into()))
    }

    fn len(&self, region: usize) -> u64 {
        self.bounds[region + 1] - self.bounds[region]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{fixtures::bytes, tree::PAYLOAD};

    /// Digests of `lengths` over `data`, taken segment by segment in this order.
    fn digests(data: &[u8], lengths: &[u64], order: &[usize]) -> Vec<blake3::Hash> {
        let hasher = RegionHasher::new(lengths.iter().copied());
        let segments: Vec<_> = data.chunks(PAYLOAD).enumerate().collect();
        for &at in order {
            let (position, segment) = segments[at];
            hasher.update((position * PAYLOAD) as u64, segment);
        }
        hasher.finish().expect("complete")
    }

    fn expected(data: &[u8], lengths: &[u64]) -> Vec<blake3::Hash> {
        let mut rest = data;
        let hash = |&length: &u64| {
            let (now, later) = rest.split_at(usize::try_from(length).expect("small"));
            rest = later;
            blake3::hash(now)
        };
        lengths.iter().map(hash).collect()
    }

    #[test]
    fn regions_have_their_plain_hash_whatever_the_order_of_segments() {
        let data = bytes(3 * PAYLOAD + 77, 1);
        let all = data.len() as u64;
        let payload = PAYLOAD as u64;
        for lengths in [
            vec![all],
            vec![1, all - 1],
            vec![payload, payload, payload, 77],
            vec![payload - 1, 2, BLOCK, BLOCK + 1, all - payload - 2 - 2 * BLOCK],
            vec![BLOCK / 2, payload - BLOCK, BLOCK, all - payload - BLOCK / 2],
        ] {
            for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
                assert_eq!(digests(&data, &lengths, &order), expected(&data, &lengths), "{lengths:?} {order:?}");
            }
        }
        assert!(RegionHasher::new([]).finish().expect("nothing to hash").is_empty());
        let unfinished = RegionHasher::new([10]);
        unfinished.update(0, &[0; 9]);
        assert!(unfinished.finish().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_cuts_and_any_order_give_the_plain_hashes(
            mut cuts in prop::collection::vec(0..(2 * PAYLOAD as u64 + 9), 0..12),
            order in Just([0, 1, 2]).prop_shuffle(),
        ) {
            let data = bytes(2 * PAYLOAD + 9, 2);
            cuts.push(data.len() as u64);
            cuts.sort_unstable();
            let mut from = 0;
            let lengths: Vec<u64> = cuts.iter().map(|to| to - std::mem::replace(&mut from, *to)).filter(|l| *l > 0).collect();
            prop_assert_eq!(digests(&data, &lengths, &order), expected(&data, &lengths));
        }
    }
}
