//! Proofs that what is copied stands in a log: they come along, so that the copy can be demanded to have been logged where
//! that log is out of reach.
//!
//! They are made from the log of the source, or taken from beside its records if the source is a copy itself. They are no part
//! of the commit: what has none is as good as it ever was, unless somebody demands one.

use super::{Job, Plan, history::History};
use crate::{
    error::{Error, Result},
    log::{Checkpoint, Evidence, Judge, Log, ProofName, RecordRef, SignedCheckpoint, well_formed},
    store::Created,
    vault::Record,
};

/// Which proofs come along.
#[derive(Debug, Clone, Copy)]
pub enum LogProofs<'a> {
    /// Those that are well formed: nobody is asked about the log.
    WellFormed,
    /// Those that count.
    Of(Believed<'a>),
    /// The same; and what has none is not copied.
    Demanded(Believed<'a>),
}

/// Who is believed about the log of the source.
#[derive(Debug, Clone, Copy)]
pub struct Believed<'a> {
    /// Whose checkpoints count.
    pub judge: &'a Judge,
    /// What is remembered of the log of the source.
    pub seen: Option<&'a Checkpoint>,
}

/// Whether a copy is one without the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is not, where proofs are demanded.
    IfDemanded,
    /// It is: nobody asks for this one.
    Never,
}

/// Where the source shows that its records are logged.
pub(super) enum Shown {
    Judged { source: Box<Evidence>, target: Box<Evidence> },
    WellFormed(Option<(Log, SignedCheckpoint)>),
}

/// A proof as a file, and its place.
type File = (ProofName, Vec<u8>);

fn reference(record: &Record) -> RecordRef<'_> {
    RecordRef { path: &record.path, digest: record.digest, signers: &record.signers }
}

impl Job<'_> {
    /// Looks at the log of the source.
    pub(super) fn shown(&mut self) -> Result<Shown> {
        match self.proofs {
            LogProofs::Of(Believed { judge, seen }) | LogProofs::Demanded(Believed { judge, seen }) => {
                let source = Box::new(Evidence::open(&self.source.store, judge, seen)?);
                Ok(Shown::Judged { source, target: Box::new(Evidence::beside_records(&self.target.store, judge)) })
            }
            LogProofs::WellFormed => match self.newest_of_source() {
                Err(error @ Error::Storage { .. }) => Err(error),
                Err(reason) => {
                    self.report.skip("log".into(), reason);
                    Ok(Shown::WellFormed(None))
                }
                Ok(found) => Ok(Shown::WellFormed(found)),
            },
        }
    }

    fn newest_of_source(&self) -> Result<Option<(Log, SignedCheckpoint)>> {
        let Some(log) = Log::open(&self.source.store)? else { return Ok(None) };
        Ok(log.newest_unjudged()?.map(|checkpoint| (log, checkpoint)))
    }

    /// Refuses what has no proof, if that is demanded: versions, and the newest promotions.
    pub(super) fn demand_proofs(&mut self, plan: &mut Plan) -> Result<()> {
        if !matches!(self.proofs, LogProofs::Demanded(_)) {
            return Ok(());
        }
        let mut proven = Vec::new();
        for version in std::mem::take(&mut plan.wanted) {
            self.go_on()?;
            match version.version.as_ref().map_or(Ok(()), |(_, record)| self.demand_proof(&plan.shown, &record.path)) {
                Ok(()) => proven.push(version),
                Err(error) => {
                    plan.broken.insert(version.name());
                    self.fail(version.name(), error)?;
                }
            }
        }
        plan.wanted = proven;
        for (channel, history) in std::mem::take(&mut plan.channels) {
            self.go_on()?;
            match history.newest.as_ref().map_or(Ok(()), |path| self.demand_proof(&plan.shown, path)) {
                Ok(()) => drop(plan.channels.insert(channel, history)),
                Err(error) => self.fail(channel.to_string(), error)?,
            }
        }
        Ok(())
    }

    fn demand_proof(&self, shown: &Shown, path: &str) -> Result<()> {
        if self.proofs_of(shown, &self.source.record_at(path)?)?.is_empty() {
            return Err(unproven(path));
        }
        Ok(())
    }

    /// Brings the proofs about the record that the target has at this path.
    pub(super) fn place_proofs(&mut self, shown: &Shown, path: &str, need: Need) -> Result<()> {
        self.go_on()?;
        let is_demanded = need == Need::IfDemanded && matches!(self.proofs, LogProofs::Demanded(_));
        match self.try_place_proofs(shown, path) {
            Ok(true) => Ok(()),
            Ok(false) if is_demanded => Err(unproven(path)),
            Ok(false) => {
                self.report.unproven += 1;
                Ok(())
            }
            Err(error) if is_demanded || matches!(error, Error::Storage { .. }) => Err(error),
            Err(reason) => {
                self.report.skip(format!("proof of {path}"), reason);
                Ok(())
            }
        }
    }

    /// The same for the records of a channel, of which its readers ask for the newest.
    pub(super) fn prove_history(&mut self, history: &History, shown: &Shown) -> Result<()> {
        for path in history.chain.paths() {
            let need = if history.newest.as_deref() == Some(path) { Need::IfDemanded } else { Need::Never };
            self.place_proofs(shown, path, need)?;
        }
        Ok(())
    }

    /// Whether there is any now.
    fn try_place_proofs(&mut self, shown: &Shown, path: &str) -> Result<bool> {
        // What the target has in its place may bear other signatures, and is another record for the log then.
        let record = self.target.record_at(path)?;
        if self.is_proven_there(shown, &record)? {
            self.report.proofs.there(0);
            return Ok(true);
        }
        let proofs = self.proofs_of(shown, &record)?;
        let mut is_placed = false;
        for (name, bytes) in &proofs {
            match self.target.store.create(&name.path(), bytes) {
                Ok(Created::New) => self.report.proofs.copied(bytes.len() as u64),
                Ok(Created::Exists) => self.report.proofs.there(0),
                Err(error @ Error::Storage { .. }) => return Err(error),
                // A registry does not let it in: another may be good.
                Err(reason) => {
                    self.report.skip(name.path(), reason);
                    continue;
                }
            }
            is_placed = true;
        }
        Ok(is_placed)
    }

    /// Whether the target has a proof that is as good as one that could be brought.
    fn is_proven_there(&self, shown: &Shown, record: &Record) -> Result<bool> {
        match shown {
            Shown::Judged { target, .. } => Ok(target.beside(reference(record))?.proven.is_some()),
            Shown::WellFormed(None) => Ok(false),
            Shown::WellFormed(Some((log, _))) => {
                for (_, _, proof) in well_formed(&self.target.store, reference(record))? {
                    if log.has_published(&proof.checkpoint)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// What the source has about a record.
    fn proofs_of(&self, shown: &Shown, record: &Record) -> Result<Vec<File>> {
        let record = reference(record);
        match shown {
            Shown::Judged { source, .. } => {
                let mut search = source.search(record)?;
                if search.proven.is_none() && source.log().is_some() {
                    search = source.beside(record)?;
                }
                let file = search.proven.map(|proven| proven.file);
                file.into_iter().map(|file| Ok((ProofName::of(&file)?, file))).collect()
            }
            Shown::WellFormed(own) => {
                let own = own.as_ref().map(|(log, checkpoint)| log.prove_under(checkpoint, record)).transpose()?;
                if let Some(proof) = own.flatten() {
                    let file = proof.to_vec();
                    return Ok(vec![(ProofName::of(&file)?, file)]);
                }
                let beside = well_formed(&self.source.store, record)?;
                Ok(beside.into_iter().map(|(name, file, _)| (name, file)).collect())
            }
        }
    }
}

fn unproven(path: &str) -> Error {
    Error::Untrusted { what: path.to_owned(), why: "is not proven to be in the log" }
}
