//! Batches that nobody comes to any more, because something in front of them was deleted.

use std::collections::HashMap;

use super::{
    super::{batch::Batch, checkpoint::decimal},
    Tail, There,
};
use crate::error::Result;

/// Where batches are.
const FOLDER: &str = "batch";
/// The most hidden batches that are looked for.
const MAX_HIDDEN: usize = 1000;

/// A name that nothing has, and batches behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The name. Whatever is created there, the batches count again.
    pub path: String,
    /// The batches.
    pub hidden: Vec<String>,
}

impl Tail<'_> {
    /// Notes from now on which batches are passed.
    pub(in crate::log) fn noting(mut self) -> Self {
        self.passed = Some(HashMap::new());
        self
    }

    /// What stands among the batches and was not come to from where noting began: how many things, and a gap at the end
    /// of the log, if batches that continue it stand behind one.
    ///
    /// # Errors
    /// [`crate::Error::Storage`].
    pub(in crate::log) fn unreached(&self) -> Result<(u64, Option<Gap>)> {
        let folder = super::super::path(FOLDER);
        let (mut count, mut behind) = (0, Vec::new());
        self.log.store.list(&folder, &mut |entry| {
            let name = entry.path.strip_prefix(&folder).and_then(|name| name.strip_prefix('/')?.split_once('.'));
            let number = name.and_then(|(first, attempt)| Some((decimal(first)?, decimal(attempt)?)));
            let looked = |first: u64| {
                let passed = self.passed.as_ref().and_then(|passed| passed.get(&first).copied());
                passed.unwrap_or(if first == self.tree.size() { self.attempt } else { 0 })
            };
            match number {
                Some((first, attempt)) if attempt < looked(first) => {}
                Some((first, _)) if first == self.tree.size() && behind.len() < MAX_HIDDEN => behind.push(entry.path),
                _ => count += 1,
            }
            Ok(())
        })?;
        let mut hidden = Vec::new();
        for path in behind {
            let batch = match self.read(&path)? {
                There::Bytes(bytes) => Batch::parse(&bytes).ok(),
                There::Nothing | There::Unreadable => None,
            };
            match batch {
                Some(batch) if batch.continues(self.log.origin(), &self.tree) => hidden.push(path),
                _ => count += 1,
            }
        }
        hidden.sort();
        let gap = Gap { path: self.path(), hidden };
        Ok((count, Some(gap).filter(|gap| !gap.hidden.is_empty())))
    }
}
