//! Records that say that something is over: retirements of versions and shreddings of artifacts. They travel with what they
//! are about, and before anything that it takes to open it.

use sha2::{Digest as _, Sha256};

use super::{Job, Planned, Wanted, records};
use crate::{
    error::{Error, Fault, Place, Result},
    provenance::MAX_ENVELOPE,
    vault::{
        Artifact, Shredded, retire,
        shred::{self, shredded_folder},
        stem,
    },
};

/// The most records of one thing that are looked at: anybody who may create objects could offer any number.
const MAX_LOOKS: usize = 10_000;
/// The most that are copied: one is enough.
const MAX_RECORDS: usize = 100;

impl Job<'_> {
    /// The shreddings of an artifact that count, and what the first of them says.
    pub(super) fn shreddings(&mut self, artifact: &Artifact) -> Result<(Vec<Planned>, Option<Shredded>)> {
        let (source, policy) = (self.source, self.policy);
        self.counting(&shredded_folder(artifact.digest), &|bytes| source.judged_shredding(bytes, artifact, policy))
    }

    /// Copies the retirements of a version that count.
    pub(super) fn place_retirements(&mut self, wanted: &Wanted) -> Result<()> {
        let Some((name, _)) = &wanted.version else { return Ok(()) };
        let (policy, artifact) = (self.policy, wanted.digest());
        let (planned, _) = self.counting(&retire::folder(name), &|bytes| {
            let retired = retire::judged(bytes, name.clone(), policy)?;
            if retired.artifact == artifact { Ok(retired) } else { Err(records::belongs_elsewhere()) }
        })?;
        planned.iter().try_for_each(|record| self.place_named(record))
    }

    /// The records of a folder that a judge accepts, each named by the SHA-256 of its bytes: at most 100. And what the first
    /// of them says.
    fn counting<T>(&mut self, folder: &str, judge: &dyn Fn(&[u8]) -> Result<T>) -> Result<(Vec<Planned>, Option<T>)> {
        let mut paths = Vec::new();
        self.source.store.list(folder, &mut |entry| {
            if stem(&entry.path, folder).is_some() {
                if paths.len() == MAX_LOOKS {
                    // One that counts could be behind them.
                    let fault = Fault::Limit { what: "number of records", limit: MAX_LOOKS as u64 };
                    return Err(Error::Corrupt { place: Place::Object(folder.to_owned()), fault });
                }
                paths.push(entry.path);
            }
            Ok(())
        })?;
        paths.sort();
        let (mut planned, mut first) = (Vec::new(), None);
        for path in paths {
            let judged = self.source.demand(&path, MAX_ENVELOPE).and_then(|bytes| {
                records::envelope(&bytes)?;
                if stem(&path, folder) != Some(hex::encode(Sha256::digest(&bytes)).as_str()) {
                    return Err(records::belongs_elsewhere());
                }
                let said = judge(&bytes)?;
                first.get_or_insert(said);
                Ok(Planned::new(path.clone(), &bytes))
            });
            self.note(path, judged, &mut planned)?;
            if planned.len() == MAX_RECORDS {
                break;
            }
        }
        Ok((planned, first))
    }

    /// Notes that recipients stay behind, because nobody is to have a key any more.
    pub(super) fn leave_recipients(&mut self, artifact: &Artifact, shredded: &Shredded) {
        self.report.skip(format!("recipients of {}", artifact.digest), shred::refusal(artifact.digest, shredded));
    }

    /// Whether an error about contents means that they were collected, because the version was retired; it is noted then.
    pub(super) fn is_collected(&mut self, artifact: &Artifact, error: Error) -> Result<()> {
        match self.source.explained(artifact, self.policy, error) {
            gone @ Error::Gone { .. } => {
                let name = artifact.name.as_ref().map_or_else(|| artifact.digest.to_string(), ToString::to_string);
                self.report.skip(format!("contents of {name}"), gone);
                Ok(())
            }
            error => Err(error),
        }
    }
}
