//! How the bytes of a stream divide into segments and parts.

use crate::{
    error::{Error, Result},
    floe,
};

/// Encrypted length of a full segment: 1 MiB.
pub const SEGMENT: usize = 1 << 20;
/// Plaintext length of a full segment.
pub const PAYLOAD: usize = SEGMENT - floe::OVERHEAD;
/// The number of the index among the streams.
pub const INDEX_STREAM: u32 = u32::MAX;
/// The largest part size, in bytes.
pub const MAX_PART_SIZE: u64 = 64 << 20;

/// Bytes of a segment that are not plaintext; `floe::OVERHEAD`, which this layer shares with it.
const OVERHEAD: u64 = floe::OVERHEAD as u64;
/// The longest stream, 2 TiB: its tree object is then 64 MiB, which a reader holds in memory.
pub const MAX_STREAM: u64 = 1 << 41;

/// The size of the parts of an artifact: 8, 16, 32 or 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize(u64);

impl PartSize {
    /// 16 MiB: a few parts in memory at once stay small when they travel to a bucket.
    pub const DEFAULT: Self = Self(16 << 20);

    /// A part size in bytes.
    ///
    /// # Errors
    /// [`Error::Misuse`] unless it is 8, 16, 32 or 64 MiB.
    pub fn new(bytes: u64) -> Result<Self> {
        match bytes >> 20 {
            8 | 16 | 32 | 64 if bytes.is_power_of_two() => Ok(Self(bytes)),
            _ => Err(Error::Misuse(format!("{bytes} is not a part size: 8, 16, 32 or 64 MiB"))),
        }
    }

    /// In bytes; a power of two.
    pub fn get(self) -> u64 {
        self.0
    }

    fn segments(self) -> u64 {
        self.0 / SEGMENT as u64
    }
}

impl Default for PartSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The division of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    length: u64,
    part_size: PartSize,
}

impl Layout {
    /// The layout of a stream of `length` encrypted bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no stream can be that long: its last segment would be shorter than 32 bytes, or empty behind
    /// others, or `length` is above 2 TiB.
    pub fn new(length: u64, part_size: PartSize) -> Result<Self> {
        let last = length.wrapping_sub(1) % SEGMENT as u64 + 1;
        let minimum = if length > SEGMENT as u64 { OVERHEAD + 1 } else { OVERHEAD };
        if length == 0 || length > MAX_STREAM || last < minimum {
            return Err(Error::format("manifest", format!("no stream has {length} bytes")));
        }
        Ok(Self { length, part_size })
    }

    /// The layout of a stream that carries `plaintext` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it would be longer than 2 TiB.
    pub fn of_plaintext(plaintext: u64, part_size: PartSize) -> Result<Self> {
        let segments = plaintext.div_ceil(PAYLOAD as u64).max(1);
        Self::new(plaintext.saturating_add(segments * OVERHEAD), part_size)
    }

    /// Encrypted length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Plaintext length in bytes.
    pub fn plaintext_len(&self) -> u64 {
        self.length - self.segments() * OVERHEAD
    }

    /// Number of segments, at least 1.
    pub fn segments(&self) -> u64 {
        self.length.div_ceil(SEGMENT as u64)
    }

    /// Encrypted length of a segment.
    pub fn segment_len(&self, position: u64) -> usize {
        let left = self.length.saturating_sub(position * SEGMENT as u64);
        usize::try_from(left).map_or(SEGMENT, |left| left.min(SEGMENT))
    }

    /// Whether this is the last segment.
    pub fn is_final(&self, position: u64) -> bool {
        position + 1 == self.segments()
    }

    /// Number of parts.
    pub fn parts(&self) -> u64 {
        self.length.div_ceil(self.part_size.get())
    }

    /// Length of a part in bytes.
    pub fn part_len(&self, part: u64) -> u64 {
        self.length.saturating_sub(part * self.part_size.get()).min(self.part_size.get())
    }

    /// Number of segments in a part.
    pub fn part_segments(&self, part: u64) -> u64 {
        self.part_len(part).div_ceil(SEGMENT as u64)
    }

    /// The first segment of a part; where it would be, if there is no such part.
    pub fn first_of_part(&self, part: u64) -> u64 {
        part.saturating_mul(self.part_size.segments())
    }

    /// Number of segments in a full part.
    pub fn segments_per_part(&self) -> usize {
        // At most 64.
        usize::try_from(self.part_size.segments()).unwrap_or(usize::MAX)
    }

    /// The part a segment is in.
    pub fn part_of(&self, position: u64) -> u64 {
        position / self.part_size.segments()
    }

    /// Where a segment begins in its part, in bytes.
    pub fn offset_in_part(&self, position: u64) -> u64 {
        position % self.part_size.segments() * SEGMENT as u64
    }

    /// Whether a segment is a part of its own.
    pub fn is_alone(&self, position: u64) -> bool {
        self.part_segments(self.part_of(position)) == 1
    }

    /// Length of the tree object in bytes.
    pub fn tree_len(&self) -> u64 {
        self.segments() * super::ENTRY as u64
    }

    /// Whether the stream has a tree object.
    pub fn has_tree(&self) -> bool {
        self.segments() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_and_ciphertext_lengths_agree_at_the_boundaries() {
        let payload = PAYLOAD as u64;
        for (plaintext, length, segments) in [
            (0, 32, 1),
            (1, 33, 1),
            (payload - 1, (1 << 20) - 1, 1),
            (payload, 1 << 20, 1),
            (payload + 1, (1 << 20) + 33, 2),
            (16 * payload, 16 << 20, 16),
            (16 * payload + 1, (16 << 20) + 33, 17),
        ] {
            let layout = Layout::of_plaintext(plaintext, PartSize::DEFAULT).expect("legal");
            assert_eq!((layout.length(), layout.segments(), layout.plaintext_len()), (length, segments, plaintext));
            assert_eq!(Layout::new(length, PartSize::DEFAULT).expect("legal"), layout);
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [0, 1, 31, (1 << 20) + 1, (1 << 20) + 32, MAX_STREAM + 33, 1 << 53, u64::MAX] {
            assert!(Layout::new(length, PartSize::DEFAULT).is_err(), "{length}");
        }
        assert!(Layout::of_plaintext(u64::MAX, PartSize::DEFAULT).is_err());
        for bytes in [0, 1, 4 << 20, 12 << 20, 128 << 20, (8 << 20) + 1, u64::MAX] {
            assert!(PartSize::new(bytes).is_err(), "{bytes}");
        }
    }

    #[test]
    fn segments_know_their_part() {
        let layout = Layout::new((17 << 20) + 33, PartSize::new(8 << 20).expect("legal")).expect("legal");
        assert_eq!((layout.segments(), layout.parts()), (18, 3));
        assert_eq!((layout.part_of(15), layout.offset_in_part(15)), (1, 7 << 20));
        assert_eq!((layout.part_len(2), layout.part_segments(2)), ((1 << 20) + 33, 2));
        assert_eq!((layout.segment_len(16), layout.segment_len(17)), (1 << 20, 33));
        assert!(layout.is_final(17) && !layout.is_final(16));
    }
}
