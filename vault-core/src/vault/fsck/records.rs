//! The small signed records, whoever signed them: each must be what its path says.

use super::{Finding, Look, Reporter};
use crate::{
    error::{Error, Result},
    provenance::MAX_ENVELOPE,
    vault::{Admission, ObjectName, listing::BATCH},
};

/// Where they lie.
const FOLDERS: [&str; 7] = ["artifacts", "freshness", "models", "proposals", "retired", "revocations", "trust"];

/// Recipients, attestations, shreddings and retirements; promotions, proposals, revocations, statements of freshness, trust
/// roots. Version records and manifests are looked at with what they name.
pub(super) fn is_record_path(path: &str) -> bool {
    matches!(
        ObjectName::parse(path),
        Some(
            ObjectName::Recipients(..)
                | ObjectName::Attestation(..)
                | ObjectName::Shredding(..)
                | ObjectName::Retirement(..)
                | ObjectName::Promotion(..)
                | ObjectName::Proposal(..)
                | ObjectName::Revocation(_)
                | ObjectName::Freshness(..)
                | ObjectName::TrustRoot(..)
        )
    )
}

impl Look<'_> {
    /// Reads every record, a few at a time, however many there are. What cannot be listed is reported unless that was done
    /// already.
    pub(super) fn over_records(&self, is_listed: bool, report: Reporter<'_>) -> Result<()> {
        for folder in FOLDERS {
            let (mut batch, mut is_ours) = (Vec::with_capacity(BATCH), false);
            let listed = self.vault.store.names(folder, &mut |path| {
                batch.extend(Some(path).filter(|path| is_record_path(path)));
                let looked = if batch.len() < BATCH { self.go_on() } else { self.over_batch(&mut batch, &mut *report) };
                is_ours |= looked.is_err();
                looked
            });
            match listed {
                Err(error @ Error::Storage { .. }) if !is_ours && is_listed => {
                    report(Finding::Unreadable { path: folder.into(), error })?;
                }
                Err(Error::Storage { .. }) if !is_ours => {}
                other => other?,
            }
            self.over_batch(&mut batch, report)?;
        }
        Ok(())
    }

    fn over_batch(&self, batch: &mut Vec<String>, report: Reporter<'_>) -> Result<()> {
        self.vault.soon(batch.iter().cloned(), MAX_ENVELOPE);
        for path in batch.drain(..) {
            self.go_on()?;
            match self.over_record(&path) {
                Err(error @ Error::Storage { .. }) => report(Finding::Unreadable { path, error })?,
                // Who signed it is not asked.
                Ok(()) | Err(Error::Untrusted { .. }) => {}
                Err(error) => report(Finding::BrokenRecord { path, error })?,
            }
        }
        Ok(())
    }

    /// Judges a record as a registry without a trust root lets it in; one that went meanwhile is none.
    fn over_record(&self, path: &str) -> Result<()> {
        let bytes = self.vault.store.read(path, MAX_ENVELOPE)?;
        bytes.map_or(Ok(()), |bytes| Admission::WellFormed.judge(path, &bytes))
    }
}
