//! The first look at what is to be sealed: the digest of every region, on all threads.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use zeroize::Zeroizing;

use super::{
    division::Division,
    original::{Original, Place},
};
use crate::{
    error::Result,
    source::Input,
    workers::{self, Progress, Threads},
};

/// Read and hashed at a time; it stays in the second-level cache.
const READ: usize = 128 << 10;

/// A file being scanned. It is closed when nobody reads from it any more.
struct Scan<'a> {
    original: Original<'a>,
    digests: Vec<OnceLock<blake3::Hash>>,
    left: AtomicUsize,
    file: usize,
}

/// The next region to hash.
struct Cursor<'a> {
    file: usize,
    region: usize,
    offset: u64,
    scan: Option<Arc<Scan<'a>>>,
}

/// Hashes the regions of all files. A file that is not as it was when it was divided is an error.
pub(super) fn scan(
    inputs: &[Input<'_>],
    divisions: &[Division],
    threads: Threads,
    progress: &dyn Progress,
) -> Result<Vec<Vec<blake3::Hash>>> {
    let places = inputs.iter().map(|input| Place::of(&input.data)).collect::<Result<Vec<_>>>()?;
    let cursor = Mutex::new(Cursor { file: 0, region: 0, offset: 0, scan: None });
    let results: Vec<OnceLock<Vec<blake3::Hash>>> = divisions.iter().map(|_| OnceLock::new()).collect();
    workers::run(threads, progress, |stop| {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        while !stop.requested()? {
            let taken = cursor.lock().unwrap_or_else(PoisonError::into_inner).next(&places, divisions)?;
            let Some((scan, region, offset)) = taken else { break };
            let length = divisions[scan.file].lengths[region];
            let digest = hash(&scan.original, offset, length, &mut buffer, || stop.requested())?;
            let _ = scan.digests[region].set(digest);
            if scan.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                scan.original.check_unchanged()?;
                let digests = scan.digests.iter().filter_map(|digest| digest.get().copied()).collect();
                let _ = results[scan.file].set(digests);
            }
        }
        Ok(())
    })?;
    Ok(results.into_iter().map(|digests| digests.into_inner().unwrap_or_default()).collect())
}

impl<'a> Cursor<'a> {
    fn next(&mut self, places: &[Place<'a>], divisions: &[Division]) -> Result<Option<(Arc<Scan<'a>>, usize, u64)>> {
        while let Some((place, division)) = places.get(self.file).zip(divisions.get(self.file)) {
            let Some(length) = division.lengths.get(self.region) else {
                (self.file, self.region, self.offset, self.scan) = (self.file + 1, 0, 0, None);
                continue;
            };
            let scan = if let Some(scan) = &self.scan {
                Arc::clone(scan)
            } else {
                let original = place.reopen(division.state.as_ref())?;
                let count = division.lengths.len();
                let digests = (0..count).map(|_| OnceLock::new()).collect();
                let scan = Arc::new(Scan { original, digests, left: AtomicUsize::new(count), file: self.file });
                self.scan = Some(Arc::clone(&scan));
                scan
            };
            let taken = (scan, self.region, self.offset);
            (self.region, self.offset) = (self.region + 1, self.offset + length);
            return Ok(Some(taken));
        }
        Ok(None)
    }
}

fn hash(
    original: &Original<'_>,
    offset: u64,
    length: u64,
    buffer: &mut [u8],
    stopped: impl Fn() -> Result<bool>,
) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < length && !stopped()? {
        let now = usize::try_from(length - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        original.read_exact_at(offset + at, &mut buffer[..now])?;
        hasher.update(&buffer[..now]);
        at += now as u64;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        fixtures::{bytes, input, threads},
        source::{Symlinks, files_below},
    };

    #[test]
    fn every_region_of_every_file_is_hashed_whatever_the_number_of_threads() {
        let data = bytes(1_000_003, 1);
        let inputs = [input("a", &data), input("b", b""), input("c", &data[..70])];
        let division = |lengths: &[u64]| Division { state: None, lengths: lengths.to_vec() };
        let divisions = [division(&[3, 1_000_000]), division(&[]), division(&[1, 68, 1])];
        let hashes = |cuts: &[usize]| cuts.windows(2).map(|w| blake3::hash(&data[w[0]..w[1]])).collect::<Vec<_>>();
        let expected = vec![hashes(&[0, 3, 1_000_003]), vec![], hashes(&[0, 1, 69, 70])];
        for count in [1, 2, 7] {
            assert_eq!(scan(&inputs, &divisions, threads(count), &()).expect("scanned"), expected);
        }
    }

    #[test]
    fn a_file_that_changed_since_it_was_divided_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        fs::write(&path, b"weights").expect("written");
        let inputs = files_below(&path, Symlinks::Refuse).expect("a file");
        let divisions = super::super::division::divide(&inputs, |_, _| None).expect("divided");
        assert_eq!(scan(&inputs, &divisions, threads(2), &()).expect("scanned"), [[blake3::hash(b"weights")]]);
        // Time stamps are as coarse as the kernel's tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, b"WEIGHTS").expect("written");
        let error = scan(&inputs, &divisions, threads(2), &()).expect_err("changed").to_string();
        assert!(error.ends_with("it was written to"), "{error}");
    }
}
