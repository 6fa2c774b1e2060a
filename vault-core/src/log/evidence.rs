//! What shows that a record was logged: the vault's own log, or proofs that lie beside its records.

use sha2::{Digest as _, Sha256};

use super::{
    Log,
    beside::{ProofName, Shelf},
    checkpoint::{Checkpoint, Judge, SignedCheckpoint, Witnessed},
    entry::RecordRef,
    latest::FOLDER,
    proof::{Logged, Proof},
};
use crate::{
    error::{Error, Result},
    store::Store,
};

/// Where records of one vault are looked for. Its own log is asked if that has a checkpoint that counts; if not, the proofs
/// beside the records.
#[derive(Debug)]
pub struct Evidence {
    store: Store,
    judge: Judge,
    seen: Option<Checkpoint>,
    /// The log, or why there is none to ask.
    own: Result<(Log, Witnessed)>,
}

/// A proof that counts.
#[derive(Debug, Clone)]
pub struct Proven {
    /// What it shows.
    pub logged: Logged,
    /// The proof as a file.
    pub file: Vec<u8>,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Search {
    /// The best proof that counts.
    pub proven: Option<Proven>,
    /// The proofs beside the record that came before it and do not count, by path, and why.
    pub passed_over: Vec<(String, Error)>,
    /// How many were not looked at.
    pub more: u64,
}

impl Evidence {
    /// Looks at the log of the vault in this store. `seen` is what is remembered of it.
    ///
    /// # Errors
    /// As [`Log::latest_since`], if the log has a checkpoint that counts; [`Error::Storage`].
    pub fn open(store: &Store, judge: &Judge, seen: Option<&Checkpoint>) -> Result<Self> {
        let own = own(store, judge, seen)?;
        Ok(Self { store: store.clone(), judge: judge.clone(), seen: seen.cloned(), own })
    }

    /// The proofs beside the records alone.
    pub fn beside_records(store: &Store, judge: &Judge) -> Self {
        Self { store: store.clone(), judge: judge.clone(), seen: None, own: Err(missing("is not asked")) }
    }

    /// The log of the vault and its checkpoint, if that counts.
    pub fn log(&self) -> Option<&(Log, Witnessed)> {
        self.own.as_ref().ok()
    }

    /// Looks for a record: in the log, or else beside it.
    ///
    /// # Errors
    /// As [`Log::prove`]; [`Error::Untrusted`] if what the log shows does not hold.
    pub fn search(&self, record: RecordRef<'_>) -> Result<Search> {
        match &self.own {
            Ok((log, checkpoint)) => {
                let proven = log.proven(&self.judge, checkpoint, record)?;
                Ok(Search { proven, ..Search::default() })
            }
            Err(_) => self.beside(record),
        }
    }

    /// Looks among the proofs beside a record.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn beside(&self, record: RecordRef<'_>) -> Result<Search> {
        let Shelf { names, more } = Shelf::of(&self.store, record)?;
        let mut search = Search { more, ..Search::default() };
        for name in names {
            match name.fetch(&self.store).and_then(|found| found.map(|found| self.judged(found, record)).transpose()) {
                Ok(None) => {}
                Ok(Some(proven)) => {
                    search.proven = Some(proven);
                    break;
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => search.passed_over.push((name.path(), reason)),
            }
        }
        Ok(search)
    }

    fn judged(&self, (file, proof): (Vec<u8>, Proof), record: RecordRef<'_>) -> Result<Proven> {
        // The log that was seen here is the one that is meant, unless the user names another.
        let seen = self.seen.as_ref().filter(|seen| self.judge.meant().is_none_or(|meant| meant == seen.origin()));
        let logged = proof.verify(&self.judge, seen.map(Checkpoint::origin))?.about(record)?;
        if let Some(seen) = seen {
            is_what_was_seen(logged.checkpoint.checkpoint(), seen)?;
        }
        Ok(Proven { logged, file })
    }

    /// Why a record of which nothing was found is refused.
    pub fn refusal(self, record: RecordRef<'_>, search: &Search) -> Error {
        let untrusted = |why| Error::Untrusted { what: record.path.to_owned(), why };
        match self.own {
            Ok(_) => untrusted("is not in the log"),
            Err(reason @ Error::Stale { .. }) => reason,
            Err(reason) if search.passed_over.is_empty() => reason,
            Err(_) => untrusted("is proven by none of the proofs beside it"),
        }
    }
}

fn missing(why: &'static str) -> Error {
    Error::Untrusted { what: "the log of the vault".into(), why }
}

/// The log of a vault, or why there is none to ask.
fn own(store: &Store, judge: &Judge, seen: Option<&Checkpoint>) -> Result<Result<(Log, Witnessed)>> {
    let log = match Log::open(store) {
        Ok(Some(log)) => log,
        Ok(None) => return Ok(Err(missing("is demanded, and there is none"))),
        // Whoever may create objects can put this into a vault that never had a log.
        Err(error @ Error::Corrupt { .. }) => return Ok(Err(error)),
        Err(error) => return Err(error),
    };
    let reason = match log.latest_since(judge, seen) {
        Ok(Some(checkpoint)) => return Ok(Ok((log, checkpoint))),
        Ok(None) => return Ok(Err(missing("was never signed"))),
        Err(error @ (Error::Untrusted { .. } | Error::Corrupt { .. } | Error::Stale { .. })) => error,
        Err(error) => return Err(error),
    };
    match log.latest(judge) {
        // It counts, and is not what was seen: nothing that lies beside it makes that good.
        Ok(Some(_)) => Err(reason),
        Err(error @ Error::Storage { .. }) => Err(error),
        _ => Ok(Err(reason)),
    }
}

/// Where no log is shown, a proof cannot be compared with what was seen: only the very same checkpoint is of one history for sure.
fn is_what_was_seen(proven: &Checkpoint, seen: &Checkpoint) -> Result<()> {
    let what = format!("the log at {} entries", seen.size());
    if proven.size() != seen.size() {
        let why = "it was seen before, and the vault shows no log to compare the proof with";
        return Err(Error::Stale { what, why });
    }
    if proven.root() == seen.root() {
        return Ok(());
    }
    Err(Error::Untrusted { what, why: "is another log than the one seen before: a fork" })
}

impl Log {
    /// An entry about a record, proven in the tree of a checkpoint; `None` if there is none.
    fn proven(&self, judge: &Judge, checkpoint: &Witnessed, record: RecordRef<'_>) -> Result<Option<Proven>> {
        let Some(proof) = self.prove(checkpoint, record)? else { return Ok(None) };
        let file = proof.to_vec();
        let logged = proof.verify(judge, Some(self.origin()))?.about(record)?;
        Ok(Some(Proven { logged, file }))
    }

    /// Whether a checkpoint, with these very signatures, is one that this log has published.
    pub(crate) fn has_published(&self, signed: &SignedCheckpoint) -> Result<bool> {
        let sha256 = hex::encode(Sha256::digest(signed.to_vec()));
        let name = format!("{FOLDER}/{}.{sha256}", signed.checkpoint().size());
        Ok(self.store.stat(&super::path(&name))?.is_some())
    }
}

/// Every proof about a record that is well formed, whoever signed it, of those that are worth a look.
///
/// # Errors
/// [`Error::Storage`].
pub(crate) fn well_formed(store: &Store, record: RecordRef<'_>) -> Result<Vec<(ProofName, Vec<u8>, Proof)>> {
    let mut found = Vec::new();
    for name in Shelf::of(store, record)?.names {
        match name.fetch(store) {
            Ok(Some((bytes, proof))) => found.push((name, bytes, proof)),
            Err(error @ Error::Storage { .. }) => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    Ok(found)
}
