//! What a copy did.

use crate::error::Error;

/// The most entries of a list; a source could offer any number.
const MAX_LISTED: usize = 1000;

/// How many objects of one kind travelled, and how many did not have to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Copied.
    pub copied: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
    /// Already in the target.
    pub there: u64,
    /// Bytes of those.
    pub there_bytes: u64,
}

impl Moved {
    pub(super) fn copied(&mut self, bytes: u64) {
        self.copied += 1;
        self.copied_bytes += bytes;
    }

    pub(super) fn there(&mut self, bytes: u64) {
        self.there += 1;
        self.there_bytes += bytes;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.copied += other.copied;
        self.copied_bytes += other.copied_bytes;
        self.there += other.there;
        self.there_bytes += other.there_bytes;
    }
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct Copied {
    /// Artifacts that are in the target now.
    pub artifacts: u64,
    /// Versions that are in the target now.
    pub versions: u64,
    /// Channels whose history is in the target now.
    pub channels: u64,
    /// Parts and trees.
    pub objects: Moved,
    /// Manifests and signed records.
    pub records: Moved,
    /// Proofs that version records and promotions stand in a log; of those that were there, no bytes are counted.
    pub proofs: Moved,
    /// Version records and promotions of which the source showed no proof.
    pub unproven: u64,
    /// Records of the source that were not copied, by path, and why: the first 1000.
    pub skipped: Vec<(String, Error)>,
    /// How many more there are.
    pub more_skipped: u64,
    /// Versions and channels that could not be copied: the first 1000.
    pub failed: Vec<(String, Error)>,
    /// How many more there are.
    pub more_failed: u64,
}

impl Copied {
    pub(super) fn skip(&mut self, path: String, reason: Error) {
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push((path, reason));
        } else {
            self.more_skipped += 1;
        }
    }

    pub(super) fn fail(&mut self, what: String, reason: Error) {
        if self.failed.len() < MAX_LISTED {
            self.failed.push((what, reason));
        } else {
            self.more_failed += 1;
        }
    }
}
