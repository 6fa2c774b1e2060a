//! Numbered records: revocations, and what it means that the target has something else under a number.

use std::collections::BTreeMap;

use super::{
    Job, Planned, placed, record_path,
    records::{self, Standing},
};
use crate::{
    error::{Error, Result},
    provenance::{Chained, MAX_ENVELOPE, Predicate, Revocation, Statement, peek},
    trust::{Approved, Rooted},
    vault::{chain::is_within_reach, revocations, withdrawn},
};

/// Records of one folder, the lowest number first.
pub(super) struct Chain {
    /// What a record of it is called, without its number.
    what: String,
    records: Vec<Link>,
}

pub(super) struct Link {
    pub(super) generation: u64,
    pub(super) record: Planned,
    /// The BLAKE3 of its payload. Two publishers may have gathered other signatures for the same one.
    pub(super) digest: blake3::Hash,
    /// The proposal that it takes back, if that is what it does.
    pub(super) withdraws: Option<blake3::Hash>,
}

impl Link {
    pub(super) fn new(generation: u64, path: String, bytes: &[u8], digest: blake3::Hash) -> Self {
        let withdraws = withdrawn::parse(bytes).map(|(_, id)| id);
        Self { generation, record: Planned::new(path, bytes), digest, withdraws }
    }
}

/// A revocation of the source that may be one of those that count.
struct Candidate {
    link: Link,
    statement: Statement<Revocation>,
    counts: bool,
}

/// What a record among the revocations is.
enum Found {
    Revocation(Box<Candidate>),
    Withdrawal(Link),
}

/// Why a record that is well formed is not copied.
pub(super) fn not_in_force(path: &str) -> Error {
    Error::Untrusted { what: path.to_owned(), why: "never counted" }
}

/// Why a record under a number that nobody would have reached is not copied.
pub(super) fn out_of_reach() -> Error {
    Error::format("record", "its number is far above the others")
}

/// Whether this says that a number is out of use. Under a trust root, somebody whom it lists must have signed it.
pub(in crate::vault) fn is_withdrawal(bytes: &[u8], once: Option<&Rooted>) -> bool {
    let Some((envelope, _)) = withdrawn::parse(bytes) else { return false };
    match once {
        Some(once) => !once.counting(&envelope).signatures().is_empty(),
        None => !envelope.signatures().is_empty(),
    }
}

impl Chain {
    /// A chain of these records, in any order.
    pub(super) fn new(what: String, mut records: Vec<Link>) -> Self {
        records.sort_by_key(|link| link.generation);
        Self { what, records }
    }

    pub(super) fn has(&self, generation: u64) -> bool {
        self.records.binary_search_by_key(&generation, |link| link.generation).is_ok()
    }

    /// Where its records stand, the lowest number first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.records.iter().map(|link| link.record.path.as_str())
    }

    /// The highest number.
    pub(super) fn last(&self) -> u64 {
        self.records.last().map_or(0, |link| link.generation)
    }
}

impl Job<'_> {
    /// The revocations of the source: under a trust root those that count or counted once, by themselves or because one of
    /// those names them; otherwise all that are well formed.
    pub(super) fn plan_revocations(&mut self) -> Result<Chain> {
        let numbers = self.source.numbers(revocations::FOLDER)?;
        let once = self.rooted().map(Rooted::regardless);
        let (mut candidates, mut links) = (BTreeMap::new(), Vec::new());
        for (lower, generation) in numbers.into_iter().enumerate() {
            self.go_on()?;
            let path = record_path(revocations::FOLDER, generation);
            match self.revocation(&path, (generation, lower), once.as_ref()) {
                Ok(Found::Revocation(candidate)) => {
                    candidates.insert(generation, candidate);
                }
                Ok(Found::Withdrawal(link)) => links.push(link),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => self.report.skip(path, reason),
            }
        }
        // What a record that counts names counts, too: from the newest down.
        let mut named = std::collections::HashSet::new();
        for (generation, candidate) in candidates.into_iter().rev() {
            if candidate.counts || named.contains(candidate.link.digest.as_bytes()) {
                named.extend(candidate.statement.predicate.previous().map(|digest| *digest.as_bytes()));
                links.push(candidate.link);
            } else {
                let path = record_path(revocations::FOLDER, generation);
                self.report.skip(path.clone(), not_in_force(&path));
            }
        }
        let chain = Chain::new("revocation".into(), links);
        self.refuse_fork(&chain)?;
        Ok(chain)
    }

    /// Reads and judges one revocation.
    fn revocation(&self, path: &str, (generation, lower): (u64, usize), once: Option<&Rooted>) -> Result<Found> {
        let bytes = self.source.demand(path, MAX_ENVELOPE)?;
        let link = |digest| Link::new(generation, path.to_owned(), &bytes, digest);
        if is_withdrawal(&bytes, once) && is_within_reach(generation, lower) {
            self.source.demand_in_place(path, &bytes)?;
            return Ok(Found::Withdrawal(link(blake3::hash(&bytes))));
        }
        let envelope = records::envelope(&bytes)?;
        let statement = records::revocation(&envelope, generation)?;
        if !is_within_reach(generation, lower) {
            return Err(out_of_reach());
        }
        if once.is_some_and(|once| !statement.predicate.belongs_to(&once.origin())) {
            return Err(Error::Untrusted { what: path.to_owned(), why: "was not made under this trust root" });
        }
        let counts = once.is_none_or(|once| once.revocation(&envelope).is_ok_and(|a| Approved::suffices(&a)));
        Ok(Found::Revocation(Box::new(Candidate { link: link(blake3::hash(envelope.payload())), statement, counts })))
    }

    /// Refuses a chain if the target has another record under one of its numbers.
    pub(super) fn refuse_fork(&self, chain: &Chain) -> Result<()> {
        for link in &chain.records {
            self.go_on()?;
            if let Standing::Other(bytes) = self.standing(&link.record)? {
                self.demand_same(chain, link, &bytes)?;
            }
        }
        Ok(())
    }

    /// Writes a chain, the lowest number first.
    pub(super) fn place_chain(&mut self, chain: &Chain) -> Result<()> {
        for link in &chain.records {
            if let Some(id) = link.withdraws {
                // What was withdrawn goes first: a registry asks it where the withdrawal belongs.
                self.place_withdrawn(id)?;
            }
            if let Some(other) = self.place(&link.record)? {
                self.demand_same(chain, link, &other)?;
                self.report.records.there(0);
            }
        }
        Ok(())
    }

    fn demand_same(&self, chain: &Chain, link: &Link, there: &[u8]) -> Result<()> {
        let payload = records::envelope(there).map(|envelope| envelope.payload().to_vec());
        match payload {
            Ok(payload) if blake3::hash(&payload) == link.digest => Ok(()),
            Ok(payload) if peek(&payload).is_ok_and(|(number, _)| number == link.generation) => {
                let what = format!("{} {} in {}", chain.what, link.generation, self.target.store.describe());
                Err(Error::Untrusted { what, why: "is another one than in the source: a fork" })
            }
            // Junk, or a number that was taken out of use.
            _ => Err(Error::Conflict { what: placed(self.target, &link.record.path) }),
        }
    }
}
