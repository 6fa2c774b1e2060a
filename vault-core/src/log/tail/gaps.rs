//! Batches that nobody comes to any more, because something in front of them was deleted.

use std::collections::HashMap;

use super::{
    super::{batch::Batch, checkpoint::decimal},
    Tail, There,
};
use crate::error::{Error, Fault, Place, Result};

/// Where batches are.
const FOLDER: &str = "batch";
/// After how many names it is asked which there are: a store may have something under every name, so that they never end.
const UNLISTED: u64 = 1000;
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
    /// Checks that what is passed over is listed, once there is much of it.
    pub(super) fn check_listed(&mut self) -> Result<()> {
        if self.attempt < UNLISTED.max(self.listed) {
            return Ok(());
        }
        let folder = super::super::path(FOLDER);
        self.log.store.list(&folder, &mut |entry| {
            if let Some((first, attempt)) = numbers(&folder, &entry.path)
                && first == self.tree.size()
            {
                self.listed = self.listed.max(attempt.saturating_add(1));
            }
            Ok(())
        })?;
        if self.attempt < self.listed {
            return Ok(());
        }
        let fault = Fault::Format("is no batch, and neither absent nor listed".into());
        Err(Error::Corrupt { place: Place::Object(self.path()), fault })
    }

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
            let looked = |first: u64| {
                let passed = self.passed.as_ref().and_then(|passed| passed.get(&first).copied());
                passed.unwrap_or(if first == self.tree.size() { self.attempt } else { 0 })
            };
            match numbers(&folder, &entry.path) {
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

/// The numbers in the name of a batch: of its first entry, and of the attempt.
fn numbers(folder: &str, path: &str) -> Option<(u64, u64)> {
    let (first, attempt) = path.strip_prefix(folder)?.strip_prefix('/')?.split_once('.')?;
    Some((decimal(first)?, decimal(attempt)?))
}
