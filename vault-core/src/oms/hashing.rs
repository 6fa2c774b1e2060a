//! Digests of files, on all threads.
//!
//! SHA-256 and `BLAKE2b` go through a file from front to back, so threads take whole files, the largest first; SHA-256 takes two
//! at a time, if there are more files than threads. BLAKE3 is a tree: threads take aligned ranges, each a subtree (BLAKE3
//! paper, section 2.1), and their values are merged.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use blake2::Blake2b512;
use sha2::{Digest as _, Sha256};

use super::pairs;
use crate::{
    error::{Error, Result},
    source::{Data, FileId, FileState, SealedFile},
    tree::{SegmentHasher, part_hash},
    workers::{self, Progress, Stop, Threads},
};

/// What is read at once; it stays in the second-level cache.
pub(super) const PIECE: usize = 128 << 10;
/// What a thread takes of a BLAKE3 file: a power of two, so that it is a subtree.
const SUBTREE: u64 = 8 << 20;

/// A hash function of the OMS algorithm registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// `BLAKE2b` with 512 bits (RFC 7693).
    Blake2b,
    /// BLAKE3 with 256 bits.
    Blake3,
}

impl Algorithm {
    /// Its name in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
            Self::Blake3 => "blake3",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Blake2b, Self::Blake3].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Length of its digests in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Blake2b => 64,
        }
    }
}

/// Takes one digest.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Blake2b(Box<Blake2b512>),
    Blake3(Box<blake3::Hasher>),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().as_str())
    }
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Blake2b => Self::Blake2b(Box::default()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Blake2b(_) => Algorithm::Blake2b,
            Self::Blake3(_) => Algorithm::Blake3,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake2b(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Blake2b(hasher) => hasher.finalize().to_vec(),
            Self::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
        }
    }
}

/// The digests of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    /// Length in bytes.
    pub(super) length: u64,
    /// One, or one for every shard.
    pub(super) digests: Vec<Vec<u8>>,
}

/// A range of a file that one thread hashes.
pub(super) struct Task {
    pub(super) file: usize,
    /// Its number within the file.
    number: usize,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What is known of a file on its way.
pub(super) struct Lane<'a> {
    path: &'a Path,
    id: Option<FileId>,
    /// As it was found first; every thread must find the same.
    state: FileState,
    length: u64,
    values: Mutex<Vec<Vec<u8>>>,
    subtrees: bool,
}

/// Hashes files, whole or in shards of so many bytes.
pub(super) fn hash_all(
    files: &[&Data<'static>],
    algorithm: Algorithm,
    shard: Option<u64>,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<Vec<Hashed>> {
    let (mut lanes, mut tasks) = (Vec::with_capacity(files.len()), Vec::new());
    for (file, data) in files.iter().enumerate() {
        let (path, id) = match data {
            Data::Path(path) => (path, None),
            Data::Found(path, id) => (path, Some(*id)),
            Data::Bytes(_) | Data::Reader(_) => return Err(Error::Misuse("an input that is no file".into())),
        };
        let opened = SealedFile::open_found(path, id)?;
        let length = opened.len();
        let step = shard.or((algorithm == Algorithm::Blake3).then_some(SUBTREE)).unwrap_or(u64::MAX);
        let count = length.div_ceil(step).max(1);
        for number in 0..count {
            let start = number * step;
            let end = start.saturating_add(step).min(length);
            tasks.push(Task { file, number: usize::try_from(number).unwrap_or(usize::MAX), start, end });
        }
        let values = Mutex::new(vec![Vec::new(); usize::try_from(count).unwrap_or(usize::MAX)]);
        let subtrees = shard.is_none() && count > 1;
        lanes.push(Lane { path, id, state: opened.state(), length, values, subtrees });
    }
    // A large file that comes last would leave all threads but one idle.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.end - task.start));
    let queue = Queue { tasks, next: AtomicUsize::new(0), threads: threads.get() };
    workers::run(threads, progress, |stop| {
        if algorithm == Algorithm::Sha256 {
            return pairs::hash(&lanes, &queue, stop, progress);
        }
        let mut buffer = vec![0; PIECE];
        while let Some(task) = queue.next() {
            if stop.requested()? {
                return Ok(());
            }
            lanes[task.file].hash(task, algorithm, &mut buffer, stop, progress)?;
        }
        Ok(())
    })?;
    Ok(lanes.into_iter().map(Lane::finish).collect())
}

/// What is to be hashed, the largest first.
pub(super) struct Queue {
    tasks: Vec<Task>,
    next: AtomicUsize,
    threads: usize,
}

impl Queue {
    pub(super) fn next(&self) -> Option<&Task> {
        self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The next one for a thread that is at work on one already: none before every thread has one.
    pub(super) fn second(&self) -> Option<&Task> {
        if self.next.load(Ordering::Relaxed) < self.threads { None } else { self.next() }
    }
}

impl Lane<'_> {
    fn hash(
        &self,
        task: &Task,
        algorithm: Algorithm,
        buffer: &mut [u8],
        stop: &Stop<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let file = self.open()?;
        let mut hasher = if self.subtrees {
            Either::Subtree(Box::new(SegmentHasher::at(task.start)))
        } else {
            Either::Whole(Hasher::new(algorithm))
        };
        let mut at = task.start;
        while at < task.end {
            if stop.requested()? {
                return Ok(());
            }
            let length = usize::try_from(task.end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let piece = &mut buffer[..length];
            file.read_exact_at(at, piece)?;
            match &mut hasher {
                Either::Whole(hasher) => hasher.update(piece),
                Either::Subtree(hasher) => hasher.update(piece),
            }
            at += length as u64;
            progress.advance(length as u64);
        }
        file.check_unchanged()?;
        let value = match hasher {
            Either::Whole(hasher) => hasher.finish(),
            Either::Subtree(hasher) => hasher.finish().to_vec(),
        };
        self.found(task, value);
        Ok(())
    }

    /// The file, as it was found first.
    pub(super) fn open(&self) -> Result<Arc<SealedFile>> {
        let file = SealedFile::open_found(self.path, self.id)?;
        file.check_state(&self.state)?;
        Ok(file)
    }

    pub(super) fn found(&self, task: &Task, value: Vec<u8>) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)[task.number] = value;
    }

    fn finish(self) -> Hashed {
        let values = self.values.into_inner().unwrap_or_else(PoisonError::into_inner);
        let digests = if self.subtrees {
            let values: Vec<_> = values.into_iter().filter_map(|value| value.try_into().ok()).collect();
            vec![part_hash(&values).as_bytes().to_vec()]
        } else {
            values
        };
        Hashed { length: self.length, digests }
    }
}

enum Either {
    Whole(Hasher),
    Subtree(Box<SegmentHasher>),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixtures::{bytes, threads};

    #[test]
    fn digests_are_those_of_the_whole_whatever_the_threads_do() {
        let dir = tempfile::tempdir().expect("folder");
        let mut files = Vec::new();
        let subtree = usize::try_from(SUBTREE).expect("small");
        let lengths = [0, 1, PIECE, PIECE + 1, subtree, subtree + 1, 3 * subtree - 5, 4 * subtree];
        for length in lengths {
            let path = dir.path().join(length.to_string());
            fs::write(&path, bytes(length, 7)).expect("written");
            files.push(Data::Path(path));
        }
        let files: Vec<&Data<'static>> = files.iter().collect();
        for algorithm in [Algorithm::Sha256, Algorithm::Blake2b, Algorithm::Blake3] {
            let found = hash_all(&files, algorithm, None, threads(3), &()).expect("hashed");
            for (length, hashed) in lengths.into_iter().zip(found) {
                let data = bytes(length, 7);
                let expected = match algorithm {
                    Algorithm::Sha256 => Sha256::digest(&data).to_vec(),
                    Algorithm::Blake2b => Blake2b512::digest(&data).to_vec(),
                    Algorithm::Blake3 => blake3::hash(&data).as_bytes().to_vec(),
                };
                assert_eq!(hashed, Hashed { length: length as u64, digests: vec![expected] });
            }
        }
    }

    #[test]
    fn shards_are_hashed_each() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        fs::write(&path, b"aaaabbbbcc").expect("written");
        let data = Data::Path(path);
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            let found = hash_all(&[&data], algorithm, Some(4), threads(2), &()).expect("hashed").remove(0);
            let expected = [&b"aaaa"[..], b"bbbb", b"cc"].map(|shard| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(shard);
                hasher.finish()
            });
            assert_eq!(found.digests, expected);
        }
    }
}
