//! Private files that let an interrupted operation go on: records appended one behind the other, each with a checksum.
//!
//! The file is for its owner only, locked as long as it is open, and begins with a line that says what it is. Each record
//! is `u32le(length) || bytes || checksum`, and the checksum covers the one before it. A crash can tear the end of such a
//! file; whatever stands behind the last good record was never relied upon, and is cut off. What good records *say* is for
//! whoever reads them to check strictly: checksums find accidents, not malice.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Length of a record's length field.
const LENGTH: usize = 4;
/// Length of a checksum: enough against accidents.
const CHECKSUM: usize = 16;
/// The longest record, in bytes: a part of 64 segments takes 4 KiB.
const MAX_RECORD: usize = 1 << 16;
/// A program that is just being started holds the locks of its parent for a moment. Whoever is at work holds them longer.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);
/// Every right of group and world.
const OTHERS: u32 = 0o077;

type Checksum = [u8; CHECKSUM];

/// An open journal, held under a lock until it is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// For messages.
    what: String,
    /// The first line.
    magic: &'static [u8],
    chain: Checksum,
    length: u64,
    cap: u64,
}

/// The records of a journal; wiped when dropped, for they may hold keys.
#[derive(Default)]
pub(crate) struct Records {
    bytes: Zeroizing<Vec<u8>>,
    places: Vec<Range<usize>>,
}

impl Records {
    /// The records in the order they were written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }

    /// Reads the records of a journal whose first line is `magic`. Returns them and the length up to which it is good.
    ///
    /// # Errors
    /// The rule that is broken, if it is no such journal or its first record is damaged.
    pub(crate) fn parse(magic: &[u8], bytes: Zeroizing<Vec<u8>>) -> Result<(Self, u64), &'static str> {
        let (records, good, _) = Self::parse_chain(magic, bytes)?;
        Ok((records, good))
    }

    fn parse_chain(magic: &[u8], bytes: Zeroizing<Vec<u8>>) -> Result<(Self, u64, Checksum), &'static str> {
        if !bytes.starts_with(magic) {
            // Killed while the first line was written: nothing was relied upon yet.
            let torn = magic.starts_with(&bytes);
            return if torn { Ok((Self::default(), 0, Checksum::default())) } else { Err("is no file of this kind") };
        }
        let (mut places, mut good, mut chain) = (Vec::new(), magic.len(), Checksum::default());
        while let Some((place, checksum)) = record_at(&bytes, good, &chain) {
            (good, chain) = (place.end + CHECKSUM, checksum);
            places.push(place);
        }
        Ok((Self { bytes, places }, good as u64, chain))
    }
}

/// The record at `start`, if there is a good one.
fn record_at(bytes: &[u8], start: usize, chain: &Checksum) -> Option<(Range<usize>, Checksum)> {
    let (length, rest) = bytes.get(start..)?.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_RECORD)?;
    let (record, rest) = rest.split_at_checked(length)?;
    let checksum = checksum(chain, record);
    let begin = start + LENGTH;
    (rest.first_chunk() == Some(&checksum)).then_some((begin..begin + length, checksum))
}

fn checksum(chain: &Checksum, record: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(chain).update(&(record.len() as u64).to_le_bytes()).update(record);
    let mut checksum = Checksum::default();
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

fn lock(file: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is at work with it"));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl Journal {
    /// Locks a journal, reads it, and cuts off what a crash tore. One without any record is begun anew.
    ///
    /// # Errors
    /// [`Error::Storage`] if another process holds it, or it cannot be read; [`Error::Misuse`] if it is no such journal, if
    /// it belongs to somebody else or others have rights to it, or if it is longer than `cap` bytes.
    pub(crate) fn take(file: File, what: String, magic: &'static [u8], cap: u64) -> Result<(Self, Records)> {
        lock(&file).map_err(Error::storage(&what))?;
        let metadata = file.metadata().map_err(Error::storage(&what))?;
        let unfit = |why: &str| Error::Misuse(format!("{what} {why}"));
        if !metadata.is_file() {
            return Err(unfit("is not a regular file"));
        }
        if metadata.mode() & OTHERS != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unfit("is not private: it must be its user's own and have mode 0600"));
        }
        let length = usize::try_from(metadata.len()).ok().filter(|_| metadata.len() <= cap);
        let length = length.ok_or_else(|| unfit("is longer than such a file can be"))?;
        // Room for all at once, so that no outgrown copy stays behind unwiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
        (&file).take(cap).read_to_end(&mut bytes).map_err(Error::storage(&what))?;
        let (records, mut good, chain) = Records::parse_chain(magic, bytes).map_err(unfit)?;
        if records.places.is_empty() {
            // A first record that was written in full is never torn: it is synced before anything follows.
            if metadata.len() > (magic.len() + LENGTH + MAX_RECORD) as u64 {
                return Err(unfit("is damaged; remove it"));
            }
            file.set_len(0).and_then(|()| file.write_all_at(magic, 0)).map_err(Error::storage(&what))?;
            good = magic.len() as u64;
        }
        file.set_len(good).map_err(Error::storage(&what))?;
        Ok((Self { file, what, magic, chain, length: good, cap }, records))
    }

    /// Appends a record. It is durable when [`sync`](Self::sync) returned. Returns `false`, and writes nothing, if the journal
    /// is full.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<bool> {
        let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD);
        let length = length.ok_or_else(|| Error::Misuse("a record that is too long for a journal".into()))?;
        let checksum = checksum(&self.chain, record);
        let frame = LENGTH + record.len() + CHECKSUM;
        if self.length + frame as u64 > self.cap {
            return Ok(false);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(frame));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(record);
        bytes.extend_from_slice(&checksum);
        self.file.write_all_at(&bytes, self.length).map_err(Error::storage(&self.what))?;
        self.length += frame as u64;
        self.chain = checksum;
        Ok(true)
    }

    /// Whether a record of this length, and as many bytes behind it, still find room.
    pub(crate) fn has_room(&self, record: usize, behind: u64) -> bool {
        let frame = (LENGTH + record + CHECKSUM) as u64;
        self.length.saturating_add(frame).saturating_add(behind) <= self.cap
    }

    /// Brings what was appended to disk.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::storage(&self.what))
    }

    /// Takes everything out of the file, durably. Whoever named it removes the name.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) fn erase(&self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.sync_all()).map_err(Error::storage(&self.what))
    }

    /// Forgets all records.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(crate) fn restart(&mut self) -> Result<()> {
        let length = self.magic.len() as u64;
        self.file.set_len(length).map_err(Error::storage(&self.what))?;
        (self.chain, self.length) = (Checksum::default(), length);
        Ok(())
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What it is called in messages.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

#[cfg(test)]
mod tests;
