//! Batches: how writers who do not know of one another agree on an order.
//!
//! A batch begins where the entries before it end, and stands under the number of its first entry. It is created once, so
//! of all batches that want to begin at one place only one does; whoever comes second reads it and begins behind it.
//! A batch is one line of header and one line for each entry.

use serde::{Deserialize, Serialize};

use super::{
    entry::MAX_ENTRY,
    merkle::{Frontier, MAX_LEAVES, TreeHash},
    note::KeyName,
};
use crate::{
    canonical,
    error::{Error, Result},
};

const DOCUMENT: &str = "log batch";
const FORMAT: &str = "mvault-log-batch/v1";
/// The most entries of a batch.
pub const MAX_ENTRIES: usize = 256;
/// The longest header: an origin of 255 bytes and 53 hashes of 44 characters.
const MAX_HEADER: usize = 8 << 10;
/// How many bytes hold any header.
pub(super) const HEAD: u64 = MAX_HEADER as u64 + 1;
/// The longest batch, in bytes.
pub const MAX_BATCH: u64 = (MAX_HEADER + MAX_ENTRIES * (MAX_ENTRY + 1)) as u64;

/// Entries that follow one another, and the tree they are added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    origin: String,
    before: Frontier,
    entries: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    count: u64,
    first: u64,
    format: String,
    /// The roots of the perfect subtrees of the tree before, the largest first: so whoever holds the newest batch can go on.
    frontier: Vec<String>,
    origin: String,
}

impl Header {
    /// A header, and the tree that it continues.
    fn parse(line: &[u8]) -> Result<(Self, Frontier)> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        let header: Self = canonical::from_slice(DOCUMENT, line)?;
        if header.format != FORMAT {
            return Err(rule("is of another format"));
        }
        let peaks: Option<Vec<_>> = header.frontier.iter().map(|peak| TreeHash::from_base64(peak)).collect();
        let before = peaks.and_then(|peaks| Frontier::new(header.first, peaks));
        let before = before.ok_or_else(|| rule("has no legal frontier"))?;
        Ok((header, before))
    }
}

impl Batch {
    /// A batch of these entries behind this tree.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there are no entries, more than 256, or more than a log holds.
    pub(super) fn new(origin: &KeyName, before: Frontier, entries: Vec<Vec<u8>>) -> Result<Self> {
        let fits = (1..=MAX_ENTRIES).contains(&entries.len());
        if !fits || MAX_LEAVES - before.size() < entries.len() as u64 {
            return Err(Error::Misuse(format!("{} entries are no batch", entries.len())));
        }
        Ok(Self { origin: origin.as_str().to_owned(), before, entries })
    }

    /// Reads a batch and its entries.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let rule = |rule: &str| Error::format(DOCUMENT, rule);
        if bytes.len() as u64 > MAX_BATCH {
            return Err(Error::limit(DOCUMENT, "length", MAX_BATCH));
        }
        let lines = bytes.strip_suffix(b"\n").ok_or_else(|| rule("does not end with a newline"))?;
        let mut lines = lines.split(|b| *b == b'\n');
        let header = lines.next().filter(|line| line.len() <= MAX_HEADER);
        let header = header.ok_or_else(|| Error::limit(DOCUMENT, "length of its header", MAX_HEADER as u64))?;
        let (header, before) = Header::parse(header)?;
        let mut entries = Vec::new();
        for line in lines {
            if entries.len() == MAX_ENTRIES {
                return Err(Error::limit(DOCUMENT, "number of entries", MAX_ENTRIES as u64));
            }
            // What an entry says is not looked at: a later version of this program may say more, and all must agree on what
            // is a batch.
            if line.is_empty() || line.len() > MAX_ENTRY {
                return Err(Error::limit(DOCUMENT, "length of an entry", MAX_ENTRY as u64));
            }
            entries.push(line.to_vec());
        }
        if entries.is_empty() || header.count != entries.len() as u64 {
            return Err(rule("has not as many entries as it says, or none"));
        }
        if MAX_LEAVES - before.size() < header.count {
            return Err(Error::limit(DOCUMENT, "number of entries of the log", MAX_LEAVES));
        }
        Ok(Self { origin: header.origin, before, entries })
    }

    /// The batch as it is stored.
    pub(super) fn to_vec(&self) -> Result<Vec<u8>> {
        let header = Header {
            count: self.entries.len() as u64,
            first: self.before.size(),
            format: FORMAT.into(),
            frontier: self.before.peaks().iter().map(|peak| peak.to_base64()).collect(),
            origin: self.origin.clone(),
        };
        let mut bytes = canonical::to_vec(DOCUMENT, &header)?;
        for entry in &self.entries {
            bytes.push(b'\n');
            bytes.extend(entry);
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether what begins like this might continue this tree of this log: what its header says. At least [`HEAD`] bytes
    /// are given, if there are so many.
    pub(super) fn might_continue(head: &[u8], origin: &KeyName, tree: &Frontier) -> bool {
        let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
        line.len() <= MAX_HEADER
            && Header::parse(line).is_ok_and(|(header, before)| header.origin == origin.as_str() && before == *tree)
    }

    /// Whether it continues this tree of this log.
    pub(super) fn continues(&self, origin: &KeyName, tree: &Frontier) -> bool {
        self.origin == origin.as_str() && self.before == *tree
    }

    /// Its entries, as they were written.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }
}

/// Where a batch that begins with this entry stands, below the log. The number behind the point counts those before it
/// that are none.
pub(super) fn batch_path(first: u64, attempt: u64) -> String {
    format!("batch/{first}.{attempt}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{error::Kind, log::entry::Entry};

    fn entry(version: usize) -> Vec<u8> {
        let path = format!("models/m/versions/{version}.dsse.json");
        Entry::about_record(&path, b"{}", None).expect("an entry").to_vec().expect("short")
    }

    fn batch(before: u64, count: usize) -> Batch {
        let mut tree = Frontier::default();
        (0..before).for_each(|i| tree.push(TreeHash::leaf(&i.to_be_bytes())));
        Batch::new(&"l".parse().expect("a name"), tree, (0..count).map(entry).collect()).expect("legal")
    }

    #[test]
    fn a_batch_survives_and_continues_its_own_tree_only() {
        for (before, count) in [(0, 1), (7, 3), (300, 256)] {
            let batch = batch(before, count);
            let bytes = batch.to_vec().expect("written");
            assert!(bytes.len() as u64 <= MAX_BATCH);
            assert_eq!(Batch::parse(&bytes).expect("parses"), batch);
            let origin = "l".parse().expect("a name");
            assert!(batch.continues(&origin, &batch.before));
            assert!(!batch.continues(&"k".parse().expect("a name"), &batch.before));
            let mut longer = batch.before.clone();
            longer.push(TreeHash::EMPTY);
            assert!(!batch.continues(&origin, &longer));
        }
        let origin: KeyName = "l".parse().expect("a name");
        assert!(Batch::new(&origin, Frontier::default(), Vec::new()).is_err());
        assert!(Batch::new(&origin, Frontier::default(), vec![entry(1); 257]).is_err());
    }

    #[test]
    fn malformed_batches_are_refused() {
        let good = String::from_utf8(batch(3, 2).to_vec().expect("written")).expect("UTF-8");
        let entry = good.lines().nth(1).expect("an entry").to_owned();
        for bad in [
            String::new(),
            "\n".into(),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{good}{entry}\n"),
            good.replacen("\"count\":2", "\"count\":3", 1),
            good.replacen("\"first\":3", "\"first\":4", 1),
            good.replacen("\"first\":3", "\"first\":1", 1),
            good.replacen("batch/v1", "batch/v2", 1),
            good.replacen("\"frontier\":[\"", "\"frontier\":[\"x", 1),
            good.replacen(&entry, &"x".repeat(MAX_ENTRY + 1), 1),
            good.replacen(&entry, "", 1),
            good.replacen('\n', " \n", 1),
            format!("{}\n{entry}\n", "x".repeat(MAX_HEADER + 1)),
        ] {
            assert_eq!(Batch::parse(bad.as_bytes()).expect_err("refused").kind(), Kind::Integrity, "{bad:.80}");
        }
        assert!(Batch::parse(&vec![b'\n'; usize::try_from(MAX_BATCH).expect("small") + 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Batch::parse(&bytes).is_err());
        }
    }
}
