//! Digests of files, on all threads.
//!
//! SHA-256 and `BLAKE2b` go through a file from front to back, so threads take whole files, the largest first; SHA-256 takes two
//! at a time, if there are more files than threads. BLAKE3 is a tree: threads take aligned ranges, each a subtree (BLAKE3
//! paper, section 2.1), and their values are merged.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use blake2::Blake2b512;
use sha2::{Digest as _, Sha256};

use super::pairs;
use crate::{
    error::{Error, Result},
    source::{Data, FileId, FileState, SealedFile},
    tree::{MAX_STREAM, SegmentHasher, part_hash},
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

/// A file as it was found first; every thread must find the same.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    path: &'a Path,
    id: Option<FileId>,
    state: FileState,
    /// Length in bytes.
    pub(super) length: u64,
}

impl<'a> Opened<'a> {
    /// Looks at a file on disk, and does not keep it open.
    pub(super) fn look(data: &'a Data<'static>) -> Result<Self> {
        let (path, id) = match data {
            Data::Path(path) => (path, None),
            Data::Found(path, id) => (path, Some(*id)),
            Data::Bytes(_) | Data::Reader(_) => return Err(Error::Misuse("an input that is no file".into())),
        };
        let opened = SealedFile::open_found(path, id)?;
        let (state, length) = (opened.state(), opened.len());
        if length > MAX_STREAM {
            return Err(Error::Misuse(format!("{} is longer than 2 TiB", path.display())));
        }
        Ok(Self { path, id, state, length })
    }
}

/// A range of a file that one thread hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) file: usize,
    /// Its number within the file.
    number: usize,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A file on its way.
pub(super) struct Lane<'a> {
    file: &'a Opened<'a>,
    /// In how many ranges, each of this length but for the last.
    count: usize,
    step: u64,
    subtrees: bool,
    found: Mutex<Values>,
}

/// What is known of a file: the values of its ranges, or what they come to once all are known.
#[derive(Default)]
struct Values {
    ranges: Vec<Vec<u8>>,
    known: usize,
}

/// Hashes files, whole or in shards of so many bytes.
///
/// Memory grows with the number of shards: the caller has compared the lengths with what was signed.
pub(super) fn hash_all(
    files: &[Opened<'_>],
    algorithm: Algorithm,
    shard: Option<u64>,
    threads: Threads,
    progress: &dyn Progress,
) -> Result<Vec<Hashed>> {
    let lanes: Vec<_> = files.iter().map(|file| Lane::new(file, algorithm, shard)).collect::<Result<_>>()?;
    let queue = Queue::new(&lanes, threads);
    workers::run(threads, progress, |stop| {
        if algorithm == Algorithm::Sha256 {
            return pairs::hash(&lanes, &queue, stop, progress);
        }
        let mut buffer = vec![0; PIECE];
        while let Some(task) = queue.next() {
            if stop.requested()? {
                return Ok(());
            }
            lanes[task.file].hash(&task, algorithm, &mut buffer, stop, progress)?;
        }
        Ok(())
    })?;
    Ok(lanes.into_iter().map(Lane::finish).collect())
}

/// What is to be hashed, the largest first.
pub(super) struct Queue<'a> {
    lanes: &'a [Lane<'a>],
    order: Vec<usize>,
    at: Mutex<At>,
    threads: usize,
}

/// How much was taken: all of so many files, and so many ranges of the next.
#[derive(Clone, Copy, Default)]
struct At {
    files: usize,
    ranges: usize,
    taken: usize,
}

impl<'a> Queue<'a> {
    fn new(lanes: &'a [Lane<'a>], threads: Threads) -> Self {
        // A large file that comes last would leave all threads but one idle.
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        order.sort_by_key(|file| std::cmp::Reverse(lanes[*file].step.min(lanes[*file].file.length)));
        Self { lanes, order, at: Mutex::default(), threads: threads.get() }
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self) -> Option<Task> {
        let mut at = self.at();
        let file = *self.order.get(at.files)?;
        let task = self.lanes[file].task(file, at.ranges);
        at.taken += 1;
        at.ranges += 1;
        if at.ranges == self.lanes[file].count {
            (at.files, at.ranges) = (at.files + 1, 0);
        }
        Some(task)
    }

    /// The next one for a thread that is at work on one already: none before every thread has one.
    pub(super) fn second(&self) -> Option<Task> {
        if self.at().taken < self.threads { None } else { self.next() }
    }
}

impl<'a> Lane<'a> {
    fn new(file: &'a Opened<'a>, algorithm: Algorithm, shard: Option<u64>) -> Result<Self> {
        let step = shard.or((algorithm == Algorithm::Blake3).then_some(SUBTREE)).unwrap_or(u64::MAX);
        let count = usize::try_from(file.length.div_ceil(step).max(1));
        let count = count.map_err(|_| Error::Misuse(format!("{} has too many shards", file.path.display())))?;
        let subtrees = shard.is_none() && count > 1;
        Ok(Self { file, count, step, subtrees, found: Mutex::default() })
    }

    fn task(&self, file: usize, number: usize) -> Task {
        let start = number as u64 * self.step;
        Task { file, number, start, end: start.saturating_add(self.step).min(self.file.length) }
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
        let file = SealedFile::open_found(self.file.path, self.file.id)?;
        file.check_state(&self.file.state)?;
        Ok(file)
    }

    pub(super) fn found(&self, task: &Task, value: Vec<u8>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.ranges.resize(self.count, Vec::new());
        found.ranges[task.number] = value;
        found.known += 1;
        // Only files on their way take the memory of their subtrees.
        if self.subtrees && found.known == self.count {
            let values: Vec<_> = found.ranges.drain(..).filter_map(|value| value.try_into().ok()).collect();
            found.ranges = vec![part_hash(&values).as_bytes().to_vec()];
        }
    }

    fn finish(self) -> Hashed {
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        Hashed { length: self.file.length, digests: found.ranges }
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
        let files = files.iter().map(Opened::look).collect::<Result<Vec<_>>>().expect("files");
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
            let found = hash_all(&[Opened::look(&data).expect("a file")], algorithm, Some(4), threads(2), &())
                .expect("hashed")
                .remove(0);
            let expected = [&b"aaaa"[..], b"bbbb", b"cc"].map(|shard| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(shard);
                hasher.finish()
            });
            assert_eq!(found.digests, expected);
        }
    }

    /// Stops whatever asks.
    struct Never;

    impl Progress for Never {
        fn advance(&self, _bytes: u64) {}

        fn cancelled(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_giant_with_nothing_in_it_takes_no_memory() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        let giant = fs::File::create(&path).expect("created");
        giant.set_len(MAX_STREAM).expect("a sparse file");
        let data = Data::Path(path);
        let opened = [Opened::look(&data).expect("just short enough")];
        let lane = Lane::new(&opened[0], Algorithm::Blake3, None).expect("few ranges");
        assert_eq!((lane.count as u64, lane.found.lock().expect("ours").ranges.capacity()), (MAX_STREAM / SUBTREE, 0));
        assert!(hash_all(&opened, Algorithm::Blake3, None, threads(2), &Never).is_err(), "stopped");
        giant.set_len(MAX_STREAM + 1).expect("a sparse file");
        assert!(Opened::look(&data).expect_err("too long").to_string().ends_with("f is longer than 2 TiB"));
    }

    #[test]
    fn another_file_or_another_state_is_not_hashed() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            fs::write(&path, "weights").expect("written");
            let id = FileId::of(&fs::metadata(&path).expect("there"));
            let data = Data::Found(path.clone(), id);
            let opened = [Opened::look(&data).expect("a file")];
            let hash = || hash_all(&opened, algorithm, None, threads(2), &()).map_err(|e| e.to_string());
            hash().expect("as it was");
            // Time stamps are as coarse as the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(&path, "WEIGHTS").expect("written");
            assert!(hash().expect_err("written to").ends_with("it was written to"));
            fs::write(dir.path().join("g"), "weights").expect("written");
            fs::rename(dir.path().join("g"), &path).expect("renamed");
            assert!(hash().expect_err("another").ends_with("another file took its place"));
            assert!(Opened::look(&data).is_err(), "another file");
        }
    }
}
