//! From a record to its entry, from an entry to its proof, and which records have none.

use std::collections::{HashMap, HashSet};

use super::{
    Log,
    checkpoint::{Judge, SignedCheckpoint, Witnessed, decimal},
    entry::{Entry, FOLDERS, RecordRef, is_logged},
    merkle::{Frontier, prove_inclusion},
    proof::{Logged, Proof},
    tail::{Appended, Tail},
    tile::{Tiles, WIDTH},
};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    provenance::{Envelope, MAX_ENVELOPE},
};

/// A record of the vault that no entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where it stands.
    pub path: String,
    /// The BLAKE3 of its bytes.
    pub digest: blake3::Hash,
}

/// A hint is a number and a newline.
const MAX_HINT: u64 = 32;

/// Where it is noted which entry names a record, below the log.
pub(super) fn hint_path(record: RecordRef<'_>) -> String {
    let key = record.key().to_hex();
    format!("record/{}/{key}", &key[..2])
}

impl Log {
    /// Proves that an entry about a record is in the tree of a checkpoint; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if tiles are damaged; [`Error::Storage`].
    pub fn prove(&self, checkpoint: &Witnessed, record: RecordRef<'_>) -> Result<Option<Proof>> {
        self.prove_under(checkpoint.signed(), record)
    }

    /// The same under a checkpoint that nobody judged.
    pub(crate) fn prove_under(&self, signed: &SignedCheckpoint, record: RecordRef<'_>) -> Result<Option<Proof>> {
        let (size, root) = (signed.checkpoint().size(), signed.checkpoint().root());
        let mut tiles = Tiles::open(&self.store, size, root)?;
        let Some((index, entry)) = self.find(&mut tiles, size, record)? else { return Ok(None) };
        let hashes = prove_inclusion(&mut tiles, index, size)?;
        Ok(Some(Proof { index, hashes, checkpoint: signed.clone(), entry }))
    }

    /// Demands an entry about a record, proven in the tree of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if there is none; as [`Log::prove`].
    pub fn demand(&self, judge: &Judge, checkpoint: &Witnessed, record: RecordRef<'_>) -> Result<Logged> {
        let what = || record.path.to_owned();
        let proof = self.prove(checkpoint, record)?;
        let proof = proof.ok_or_else(|| Error::Untrusted { what: what(), why: "is not in the log" })?;
        proof.verify(judge, Some(self.origin()))?.about(record)
    }

    /// The first entry before `limit` about each of these records, in the tree of a checkpoint. Reads all that is before it: what
    /// others noted about where entries are, and what they logged again later, makes no difference.
    ///
    /// # Errors
    /// As [`Log::prove`].
    pub fn first_before(
        &self,
        checkpoint: &Witnessed,
        limit: u64,
        records: &[RecordRef<'_>],
    ) -> Result<Vec<Option<u64>>> {
        let (size, root) = (checkpoint.checkpoint().size(), checkpoint.checkpoint().root());
        let mut tiles = Tiles::open(&self.store, size, root)?;
        let mut first: HashMap<blake3::Hash, u64> = HashMap::new();
        let wanted: HashSet<_> = records.iter().map(RecordRef::key).collect();
        for bundle in 0..limit.min(size).div_ceil(WIDTH) {
            for (index, entry) in (bundle * WIDTH..limit).zip(tiles.bundle(bundle)?) {
                let key = Entry::parse(&entry).ok().and_then(|entry| Some(entry.record()?.key()));
                if let Some(key) = key.filter(|key| wanted.contains(key)) {
                    first.entry(key).or_insert(index);
                }
            }
        }
        Ok(records.iter().map(|record| first.get(&record.key()).copied()).collect())
    }

    /// The entry about a record, as the tree has it: by the hint, or by looking through all.
    fn find(&self, tiles: &mut Tiles<'_>, size: u64, record: RecordRef<'_>) -> Result<Option<(u64, Vec<u8>)>> {
        let hint = match self.store.read(&super::path(&hint_path(record)), MAX_HINT) {
            Ok(hint) => hint,
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let hint = hint.and_then(|hint| decimal(std::str::from_utf8(&hint).ok()?.strip_suffix('\n')?));
        if let Some(index) = hint.filter(|index| *index < size) {
            let entry =
                tiles.bundle(index / WIDTH)?.into_iter().nth(usize::try_from(index % WIDTH).unwrap_or(usize::MAX));
            if let Some(entry) = entry.filter(|entry| names(entry, record)) {
                return Ok(Some((index, entry)));
            }
        }
        // The newest first: what is asked for was mostly made not long ago.
        for bundle in (0..size.div_ceil(WIDTH)).rev() {
            let entries = tiles.bundle(bundle)?;
            if let Some((index, entry)) = (bundle * WIDTH..).zip(entries).find(|(_, entry)| names(entry, record)) {
                return Ok(Some((index, entry)));
            }
        }
        Ok(None)
    }

    /// Adds entries about records that were just created. One that says what another says already is not added again.
    ///
    /// # Errors
    /// As [`Tail::append`].
    pub fn append_records(&self, judge: Option<&Judge>, entries: &[Entry]) -> Result<Vec<Appended>> {
        let mut tail = self.tail(judge)?;
        let start = tail.tree().clone();
        let mut tiles = Tiles::open(&self.store, start.size(), start.root()).ok();
        let mut wanted = Vec::new();
        let mut done = Vec::new();
        for entry in entries {
            // Somebody who went over the vault may have logged it, and published that, before the end of the log was read.
            let found = match (entry.record(), &mut tiles) {
                (Some(record), Some(tiles)) => self.hinted(tiles, start.size(), record)?,
                _ => None,
            };
            let same = |bytes: &[u8]| Entry::parse(bytes).is_ok_and(|found| found.claim() == entry.claim());
            match found.filter(|(_, bytes)| same(bytes)) {
                Some((index, _)) => done.push(Appended { index, new: false }),
                None => wanted.push(entry.clone()),
            }
        }
        done.extend(tail.append(&wanted)?);
        Ok(done)
    }

    /// The entry about a record, if a hint leads to one.
    fn hinted(&self, tiles: &mut Tiles<'_>, size: u64, record: RecordRef<'_>) -> Result<Option<(u64, Vec<u8>)>> {
        if self.store.stat(&super::path(&hint_path(record)))?.is_none() {
            return Ok(None);
        }
        self.find(tiles, size, record)
    }

    /// The records of the vault that no entry names, by path: what an interrupted command, or one of an older program,
    /// left out. Reads the whole log; the tail it gives is where the log ended.
    ///
    /// # Errors
    /// [`Error::Storage`]; as [`Tail::advance`].
    pub fn missing(&self) -> Result<(Vec<Missing>, Tail<'_>)> {
        // Records first: what is written after this is not called missing.
        let paths = self.record_paths()?;
        let mut tail = self.tail_from(Frontier::default());
        tail.advance(&mut |_, _| Ok(()))?;
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for path in paths {
            let Some((digest, signers)) = self.record_at(&path)? else { continue };
            let record = RecordRef { path: &path, digest, signers: &signers };
            if tail.named(record).is_none() && seen.insert(record.key()) {
                missing.push(Missing { digest: record.digest, path });
            }
        }
        Ok((missing, tail))
    }

    /// Where the records stand that a log names, ascending.
    pub(super) fn record_paths(&self) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for folder in FOLDERS {
            self.store.list(folder, &mut |entry| {
                if is_logged(&entry.path) {
                    paths.push(entry.path);
                }
                Ok(())
            })?;
        }
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// The digest of the record at a path, and whom it names as its signers; `None` if it is gone, or cannot be one.
    pub(super) fn record_at(&self, path: &str) -> Result<Option<(blake3::Hash, Vec<KeyId>)>> {
        match self.store.read(path, MAX_ENVELOPE) {
            Ok(bytes) => Ok(bytes.map(|bytes| (blake3::hash(&bytes), Envelope::signers_claimed_in(&bytes)))),
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds an entry for every record that has none.
    ///
    /// # Errors
    /// As [`Log::missing`] and [`Tail::append`].
    pub fn append_missing(&self, actor: Option<&str>) -> Result<Vec<(Missing, Appended)>> {
        let (missing, mut tail) = self.missing()?;
        let mut entries = Vec::new();
        let mut named = Vec::new();
        for one in missing {
            // Deleted meanwhile, or changed by a store that lies.
            let Some(bytes) = self.store.read(&one.path, MAX_ENVELOPE)? else { continue };
            if blake3::hash(&bytes) == one.digest {
                entries.push(Entry::about_record(&one.path, &bytes, actor)?);
                named.push(one);
            }
        }
        let appended = tail.append(&entries)?;
        Ok(named.into_iter().zip(appended).collect())
    }
}

impl Logged {
    /// Checks that what was logged is this record.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is another.
    pub fn about(self, record: RecordRef<'_>) -> Result<Self> {
        if self.entry.record() == Some(record) {
            return Ok(self);
        }
        Err(Error::Untrusted { what: record.path.to_owned(), why: "is not what the log entry is about" })
    }
}

fn names(entry: &[u8], record: RecordRef<'_>) -> bool {
    Entry::parse(entry).is_ok_and(|entry| entry.record() == Some(record))
}
