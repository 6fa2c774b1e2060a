//! Where files are cut into regions: around tensors, so that a tensor is the same region wherever it stands, and into
//! pieces small enough that threads share the work.

use super::original::{Original, Place};
use crate::{
    error::{Error, Result},
    index::MAX_REGIONS,
    source::{FileState, Input},
};

/// The longest region. Short enough to spread a large tensor over threads, long enough that terabytes stay below
/// [`MAX_REGIONS`].
const PIECE: u64 = 16 << 20;
/// Tensors below this are put together: norms and biases would be most of the regions and save nothing.
const SMALL: u64 = 64 << 10;
/// The longest region of small tensors.
const TOGETHER: u64 = 1 << 20;
/// What the names of files that are cut around tensors end in.
const SAFETENSORS: &str = ".safetensors";
/// Bytes before the header of a safetensors file, which are its length.
const PREFIX: usize = 8;
/// The longest header that is looked at for its tensors.
const MAX_HEADER: u64 = 100_000_000;

/// The lengths of the tensors, in the order of their bytes, that a safetensors header announces before so many bytes of
/// data; `None` if it makes no sense.
pub type Tensors = fn(header: &[u8], data_len: u64) -> Option<Vec<u64>>;

/// How one file is cut, and how it was when that was decided.
#[derive(Debug, Default)]
pub(super) struct Division {
    pub(super) state: Option<FileState>,
    /// The lengths of its regions, together the file. None if there are too many.
    pub(super) lengths: Vec<u64>,
}

/// Decides for all files where they are cut. Reads the headers of safetensors files and nothing else.
pub(super) fn divide(inputs: &[Input<'_>], tensors: Tensors) -> Result<Vec<Division>> {
    let mut room = MAX_REGIONS;
    let mut divisions = Vec::with_capacity(inputs.len());
    for input in inputs {
        let original = Place::of(&input.data)?.open()?;
        let around = input.path.as_str().ends_with(SAFETENSORS).then(|| tensor_lengths(&original, tensors));
        let around = around.transpose()?.flatten().map(|lengths| cut(&lengths)).filter(|lengths| lengths.len() <= room);
        let lengths = around.unwrap_or_else(|| cut(&[original.len()]));
        let lengths = if lengths.len() <= room { lengths } else { Vec::new() };
        room -= lengths.len();
        divisions.push(Division { state: original.state(), lengths });
    }
    Ok(divisions)
}

/// Header and tensors of a safetensors file; `None` if it is none.
fn tensor_lengths(original: &Original<'_>, tensors: Tensors) -> Result<Option<Vec<u64>>> {
    let Some(behind) = original.len().checked_sub(PREFIX as u64) else { return Ok(None) };
    let mut prefix = [0; PREFIX];
    original.read_exact_at(0, &mut prefix)?;
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER.min(behind) {
        return Ok(None);
    }
    let mut header = vec![0; usize::try_from(length).map_err(|_| Error::Misuse("a header beyond memory".into()))?];
    original.read_exact_at(PREFIX as u64, &mut header)?;
    let lengths = tensors(&header, behind - length);
    Ok(lengths.map(|lengths| [PREFIX as u64 + length].into_iter().chain(lengths).collect()))
}

/// Cuts consecutive ranges into regions: small ones together, long ones in pieces.
fn cut(ranges: &[u64]) -> Vec<u64> {
    let (mut regions, mut together) = (Vec::new(), 0);
    for &length in ranges {
        let is_small = length < SMALL;
        if together > 0 && (!is_small || together + length > TOGETHER) {
            regions.push(std::mem::take(&mut together));
        }
        if is_small {
            together += length;
            continue;
        }
        let whole = length / PIECE;
        regions.extend((0..whole).map(|_| PIECE));
        regions.extend(Some(length % PIECE).filter(|rest| *rest > 0));
    }
    regions.extend(Some(together).filter(|rest| *rest > 0));
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::input;

    #[test]
    fn small_tensors_go_together_and_long_ones_are_cut() {
        assert_eq!(cut(&[]), [0; 0]);
        assert_eq!(cut(&[0]), [0; 0]);
        assert_eq!(cut(&[100]), [100]);
        assert_eq!(cut(&[PIECE + 1]), [PIECE, 1]);
        assert_eq!(cut(&[2 * PIECE]), [PIECE, PIECE]);
        assert_eq!(cut(&[8, 0, 8, SMALL, 8, 8, 0]), [16, SMALL, 16]);
        let many = cut(&vec![SMALL - 1; 100]);
        assert!(many.iter().all(|length| *length <= TOGETHER) && many.len() == 7, "{many:?}");
        assert_eq!(many.iter().sum::<u64>(), 100 * (SMALL - 1));
    }

    #[test]
    fn a_file_whose_header_makes_no_sense_is_cut_like_any_other() {
        fn two(header: &[u8], data: u64) -> Option<Vec<u64>> {
            (header == b"good").then(|| vec![SMALL, data - SMALL])
        }
        let file = |length: u64, header: &[u8]| {
            [&length.to_le_bytes()[..], header, &vec![0; 3 * usize::try_from(SMALL).expect("small")]].concat()
        };
        let (good, bad, huge) = (file(4, b"good"), file(3, b"bad"), file(u64::MAX, b""));
        let inputs = [
            input("a.safetensors", &good),
            input("b.safetensors", &bad),
            input("c.safetensors", &huge),
            input("d.safetensors", b"short"),
            input("e.bin", &good),
        ];
        let divisions = divide(&inputs, two).expect("divided");
        let lengths: Vec<_> = divisions.into_iter().map(|division| division.lengths).collect();
        assert_eq!(lengths[0], [12, SMALL, 2 * SMALL]);
        for (at, data) in [(1, &bad), (2, &huge), (4, &good)] {
            assert_eq!(lengths[at], [data.len() as u64]);
        }
        assert_eq!(lengths[3], [5]);
    }

    #[test]
    fn regions_beyond_the_limit_are_left_out() {
        fn many(header: &[u8], _: u64) -> Option<Vec<u64>> {
            header.is_empty().then(|| vec![SMALL; MAX_REGIONS])
        }
        let file = 0u64.to_le_bytes();
        let inputs = [input("a.safetensors", &file)];
        assert_eq!(divide(&inputs, many).expect("divided")[0].lengths, [8], "fell back to the whole file");
    }
}
