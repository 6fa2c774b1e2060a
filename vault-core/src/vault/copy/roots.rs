//! Trust roots: version by version, each vouched for by the one before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::{Job, Planned};
use crate::{
    error::{Error, Result},
    provenance::MAX_ENVELOPE,
    trust::Reached,
    vault::{Vault, stem, walk::root_folder},
};

/// The most roots of one number that are followed. Anybody can sign a first version of his own; more are junk.
const MAX_FOLLOWED: usize = 100;

/// The roots of a vault: by version and origin, which digests there are.
type Digests = BTreeMap<u64, HashMap<[u8; 32], HashSet<[u8; 32]>>>;

impl Job<'_> {
    /// The trust roots that descend from a first one: from that of the policy, or from any.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the target has another one of the same number and origin.
    pub(super) fn plan_roots(&mut self) -> Result<Vec<Planned>> {
        let origin = self.rooted().map(|rooted| (rooted.origin(), rooted.reached().clone()));
        let (mut roots, mut skipped) = (Vec::new(), Vec::new());
        let ours = follow(self.source, origin.as_ref(), &mut |path, bytes| match bytes {
            Ok(bytes) => roots.push(Planned::new(path, bytes)),
            Err(reason) => skipped.push((path, reason)),
        })?;
        for (path, reason) in skipped {
            self.report.skip(path, reason);
        }
        let theirs = follow(self.target, origin.as_ref(), &mut |_, _| {})?;
        for (version, origins) in &ours {
            for (origin, digests) in origins {
                let there = theirs.get(version).and_then(|origins| origins.get(origin));
                if there.is_some_and(|there| !there.is_empty() && there != digests) {
                    let what = format!("trust root version {version} in {}", self.target.store.describe());
                    return Err(Error::Untrusted { what, why: "is another one than in the source: a fork" });
                }
            }
        }
        Ok(roots)
    }
}

/// Follows the trust roots of a vault and gives each to `each`, with what is wrong with it if it is none to follow.
fn follow(
    vault: &Vault,
    wanted: Option<&(blake3::Hash, Reached)>,
    each: &mut dyn FnMut(String, Result<&[u8]>),
) -> Result<Digests> {
    let mut digests = Digests::new();
    let mut reached: Vec<Reached> = Vec::new();
    // Where version 1 is not in the vault, the version that the caller stands on begins.
    let begins = match wanted {
        Some((_, newest)) if vault.root_paths(1)?.is_empty() => newest.root().version(),
        _ => 1,
    };
    for version in begins.. {
        let mut next: Vec<Reached> = Vec::new();
        for path in vault.root_paths(version)? {
            let judged = vault.demand(&path, MAX_ENVELOPE).and_then(|bytes| {
                let folder = root_folder(version);
                if stem(&path, &folder) != Some(hex::encode(Sha256::digest(&bytes)).as_str()) {
                    return Err(Error::format("trust root", "is not what its name is the SHA-256 of"));
                }
                let root = if version == begins { first(&bytes, version, wanted) } else { any_next(&reached, &bytes) };
                Ok((root?, bytes))
            });
            match judged {
                Ok((root, bytes)) => {
                    each(path, Ok(&bytes));
                    let of_origin = digests.entry(version).or_default().entry(*root.origin().as_bytes()).or_default();
                    if of_origin.insert(*root.digest().as_bytes()) {
                        next.push(root);
                    }
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(reason) => each(path, Err(reason)),
            }
            if next.len() > MAX_FOLLOWED {
                return Err(Error::limit("trust root", "number of roots of one version", MAX_FOLLOWED as u64));
            }
        }
        if next.is_empty() {
            break;
        }
        reached = next;
    }
    Ok(digests)
}

fn first(bytes: &[u8], version: u64, wanted: Option<&(blake3::Hash, Reached)>) -> Result<Reached> {
    let root = Reached::pin(bytes)?;
    let fits = root.root().version() == version
        && wanted.is_none_or(|(origin, newest)| {
            root.origin() == *origin && (version == 1 || root.digest() == newest.digest())
        });
    if fits { Ok(root) } else { Err(Error::format("trust root", "is not the one that everything here descends from")) }
}

fn any_next(reached: &[Reached], bytes: &[u8]) -> Result<Reached> {
    let mut refusal = Error::format("trust root", "follows none that is there");
    for root in reached {
        match root.next(bytes) {
            Ok(next) => return Ok(next),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}
