//! The end of the log: following batches to it, and adding one.

use std::collections::HashMap;

use super::{
    Log,
    batch::{Batch, HEAD, MAX_BATCH, MAX_ENTRIES, batch_path},
    checkpoint::{Checkpoint, Judge, SignedCheckpoint},
    entry::{Entry, RecordRef},
    merkle::{Frontier, TreeHash},
    tile::Tiles,
};
use crate::{
    error::{Error, Result},
    store::Created,
};

mod gaps;

pub use gaps::Gap;

/// How often an object may exist and not be there to read.
const MAX_ABSENCES: u32 = 8;

/// The end of the log, as far as it was followed.
#[derive(Debug, Clone)]
pub struct Tail<'a> {
    log: &'a Log,
    tree: Frontier,
    attempt: u64,
    /// So many names of the batch that is looked for are known to be taken.
    listed: u64,
    /// The records that were named by the entries that were passed, and where.
    named: HashMap<blake3::Hash, u64>,
    /// The same by what was said of them.
    claimed: HashMap<blake3::Hash, u64>,
    skipped: u64,
    /// Under how many names was looked for each batch that was passed, if that is noted.
    passed: Option<HashMap<u64, u64>>,
}

/// An entry that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its number, from 0.
    pub index: u64,
    /// Whether it was added now. If not, an entry that says the same of the same record was there.
    pub new: bool,
}

/// What stands where a batch is looked for.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// Too long, or no regular file.
    Unreadable,
    Bytes(Vec<u8>),
}

impl There {
    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

/// An entry on its way.
struct Pending {
    number: usize,
    bytes: Vec<u8>,
    claim: Option<blake3::Hash>,
}

impl Log {
    /// The log from behind this tree on. Batches before it are not read.
    pub fn tail_from(&self, tree: Frontier) -> Tail<'_> {
        Tail {
            log: self,
            tree,
            attempt: 0,
            listed: 0,
            named: HashMap::new(),
            claimed: HashMap::new(),
            skipped: 0,
            passed: None,
        }
    }

    /// The log from its newest checkpoint on, or from the start if there is none that can be built on. Without a judge the
    /// store's word is taken for where the log ends: what is added in a wrong place is missing from the log, which
    /// [`Log::missing`] finds.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn tail(&self, judge: Option<&Judge>) -> Result<Tail<'_>> {
        let tree = match self.start(judge) {
            Ok(tree) => tree,
            Err(error @ Error::Storage { .. }) => return Err(error),
            // Whatever is wrong with checkpoint or tiles, the batches tell the same.
            Err(_) => Frontier::default(),
        };
        Ok(self.tail_from(tree))
    }

    /// The log behind what a checkpoint covers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the tiles of the checkpoint are damaged; [`Error::Storage`].
    pub fn tail_after(&self, checkpoint: &Checkpoint) -> Result<Tail<'_>> {
        Ok(self.tail_from(Tiles::open(&self.store, checkpoint.size(), checkpoint.root())?.frontier()))
    }

    fn start(&self, judge: Option<&Judge>) -> Result<Frontier> {
        let checkpoint = match judge {
            Some(judge) => self.latest(&judge.alone())?.map(|witnessed| witnessed.checkpoint().clone()),
            None => self.shown()?.map(|bytes| SignedCheckpoint::parse(&bytes)).transpose()?.and_then(|signed| {
                Some(signed.checkpoint().clone()).filter(|checkpoint| checkpoint.origin() == self.origin())
            }),
        };
        let Some(checkpoint) = checkpoint else { return Ok(Frontier::default()) };
        Ok(Tiles::open(&self.store, checkpoint.size(), checkpoint.root())?.frontier())
    }
}

impl Tail<'_> {
    /// The tree as far as it was followed.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// How many things stand in the place of batches and are none.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Where the entry stands that names this record, if one was passed.
    pub fn named(&self, record: RecordRef<'_>) -> Option<u64> {
        self.named.get(&record.key()).copied()
    }

    /// Follows the log to its end, and calls `each` for every entry on the way, with its number.
    ///
    /// # Errors
    /// The first error of `each`; [`Error::Corrupt`] if the store has something under every name; [`Error::Storage`].
    pub fn advance(&mut self, each: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        while let Some(batch) = self.next()? {
            let first = self.tree.size();
            for (index, entry) in (first..).zip(batch.entries()) {
                each(index, entry)?;
            }
            self.pass(&batch);
        }
        Ok(())
    }

    /// The next batch, which is not passed yet.
    fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            let path = self.path();
            let found = self.look(&path)?;
            if found == There::Nothing {
                return Ok(None);
            }
            let batch = found.bytes().and_then(|bytes| Batch::parse(bytes).ok());
            if let Some(batch) = batch.filter(|batch| batch.continues(self.log.origin(), &self.tree)) {
                return Ok(Some(batch));
            }
            // Whoever takes a batch for none puts its own entries where nobody looks: that is worth a second look.
            if self.look(&path)? != found {
                let source = std::io::Error::other("the store gives different bytes for one object");
                return Err(Error::Storage { what: path, source });
            }
            self.check_listed()?;
            self.attempt += 1;
            self.skipped += 1;
        }
    }

    fn path(&self) -> String {
        super::path(&batch_path(self.tree.size(), self.attempt))
    }

    /// What stands where a batch may be. Honest writers need the first name only: whoever comes to another finds what
    /// somebody put there, of which there may be much, and its head is enough to pass it over.
    fn look(&self, path: &str) -> Result<There> {
        if self.attempt == 0 {
            return self.read(path);
        }
        let head = match self.log.store.open(path) {
            Ok(None) => return Ok(There::Nothing),
            Ok(Some(object)) if object.len() > MAX_BATCH => return Ok(There::Unreadable),
            Ok(Some(object)) => {
                let mut head = vec![0; usize::try_from(object.len().min(HEAD)).unwrap_or_default()];
                object.read_exact_at(0, &mut head).map(|()| head)
            }
            Err(error) => Err(error),
        };
        match head {
            Ok(head) if Batch::might_continue(&head, self.log.origin(), &self.tree) => self.read(path),
            Ok(head) => Ok(There::Bytes(head)),
            Err(Error::Corrupt { .. }) => Ok(There::Unreadable),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str) -> Result<There> {
        match self.log.store.read(path, MAX_BATCH) {
            Ok(bytes) => Ok(bytes.map_or(There::Nothing, There::Bytes)),
            Err(Error::Corrupt { .. }) => Ok(There::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// Goes behind a batch.
    fn pass(&mut self, batch: &Batch) {
        if let Some(passed) = &mut self.passed {
            passed.insert(self.tree.size(), self.attempt + 1);
        }
        for entry in batch.entries() {
            let index = self.tree.size();
            if let Ok(entry) = Entry::parse(entry)
                && let (Some(record), Some(claim)) = (entry.record(), entry.claim())
            {
                self.named.entry(record.key()).or_insert(index);
                self.claimed.entry(claim).or_insert(index);
            }
            self.tree.push(TreeHash::leaf(entry));
        }
        (self.attempt, self.listed) = (0, 0);
    }

    /// Adds entries at the end of the log, in this order; the end is looked for from here. An entry that says of a record
    /// what another one says already, in what was passed, is not added again. When this returns, they are durable.
    ///
    /// # Errors
    /// [`Error::Storage`]: some may have been added. Whoever tries again with the same entries about records adds none
    /// twice, if it follows the log from before.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Vec<Appended>> {
        let mut pending = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            pending.push(Pending { number, bytes: entry.to_vec()?, claim: entry.claim() });
        }
        let mut done = vec![None; entries.len()];
        let mut absences = 0;
        loop {
            self.advance(&mut |_, _| Ok(()))?;
            self.drop_claimed(&mut pending, &mut done);
            let chosen = choose(&pending);
            if chosen == 0 {
                break;
            }
            let bytes = pending[..chosen].iter().map(|one| one.bytes.clone()).collect();
            let batch = Batch::new(self.log.origin(), self.tree.clone(), bytes)?;
            match self.create(&batch)? {
                Some(true) => {
                    let first = self.tree.size();
                    self.pass(&batch);
                    for (index, one) in (first..).zip(pending.drain(..chosen)) {
                        done[one.number] = Some(Appended { index, new: true });
                    }
                }
                Some(false) => {}
                None if absences < MAX_ABSENCES => absences += 1,
                None => {
                    let source = std::io::Error::other("the store says that it exists, and does not give it");
                    return Err(Error::Storage { what: self.path(), source });
                }
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Takes out what is said already.
    fn drop_claimed(&self, pending: &mut Vec<Pending>, done: &mut [Option<Appended>]) {
        pending.retain(|one| {
            let said = one.claim.and_then(|claim| self.claimed.get(&claim));
            if let Some(index) = said {
                done[one.number] = Some(Appended { index: *index, new: false });
            }
            said.is_none()
        });
    }

    /// Creates a batch: whether what stands there is it, or `None` if nothing does after all.
    fn create(&self, batch: &Batch) -> Result<Option<bool>> {
        let (path, bytes) = (self.path(), batch.to_vec()?);
        let created = self.log.store.create(&path, &bytes);
        if let Ok(Created::New) = created {
            return Ok(Some(true));
        }
        // Entries carry random nonces: equal bytes are our own, whose answer was lost.
        let there = self.read(&path);
        let ours = there.as_ref().is_ok_and(|there| there.bytes() == Some(&bytes));
        match (created, there) {
            (Err(error), Ok(There::Nothing) | Err(_)) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(There::Nothing)) => Ok(None),
            // It is there, and maybe not durable: the second create sees to that.
            (Err(_), Ok(_)) if ours => self.log.store.create(&path, &bytes).map(|_| Some(true)),
            (_, Ok(_)) => Ok(Some(ours)),
        }
    }
}

/// How many of the first entries go into one batch: nothing said twice.
fn choose(pending: &[Pending]) -> usize {
    let mut claims = std::collections::HashSet::new();
    let fits = |one: &&Pending| one.claim.is_none_or(|claim| claims.insert(claim));
    pending.iter().take(MAX_ENTRIES).take_while(fits).count()
}
