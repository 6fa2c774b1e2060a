//! How a store is reached.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use super::Access;

/// Enough to fill a fast line; [`Connection::jobs`] parts are in memory at a time.
const DEFAULT_JOBS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Whether a [`Directory`](super::Directory) waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// An object gets its name only after its bytes are on disk; [`Backend::sync`](super::Backend::sync) covers the folders.
    Synced,
    /// Nothing is synced: a power cut may leave named objects with missing bytes. For scratch vaults and tests.
    NoSync,
}

/// How to reach a store.
#[derive(Clone)]
pub struct Connection {
    /// Whether a folder waits for the disk.
    pub durability: Durability,
    /// What the environment says about object stores: the names and values that their own tools read, such as
    /// `AWS_REGION`.
    pub settings: Vec<(String, String)>,
    /// Transfers at a time.
    pub jobs: NonZeroUsize,
    /// Bytes a second in each direction, at most.
    pub max_bandwidth: Option<NonZeroU64>,
    /// How long to go on with one object that cannot be transferred.
    pub patience: Duration,
    /// Whether this object store was seen to refuse the second of two creates, so that it need not be tried again.
    pub proven: bool,
    /// How a registry is reached.
    pub access: Access,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            settings: Vec::new(),
            jobs: DEFAULT_JOBS,
            max_bandwidth: None,
            patience: Duration::from_mins(3),
            proven: false,
            access: Access::default(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings hold secret keys.
        let Self { durability, settings: _, jobs, max_bandwidth, patience, proven, access } = self;
        f.debug_struct("Connection")
            .field("durability", durability)
            .field("jobs", jobs)
            .field("max_bandwidth", max_bandwidth)
            .field("patience", patience)
            .field("proven", proven)
            .field("access", access)
            .finish_non_exhaustive()
    }
}
