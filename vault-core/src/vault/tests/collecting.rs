//! Garbage collection: what it deletes, what it keeps, and that it loses nothing whoever is frozen when.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    parts::object_path,
    vault::{Outcome, Work, manifest_path},
};

mod junk;
mod keeping;
mod races;
mod shelf;
mod taking_over;

use shelf::{Party, Shelf, Turn, operations, together};

const GRACE: u64 = 48;

fn collection() -> Collection {
    Collection { grace: Duration::from_hours(GRACE), mode: Mode::Collect }
}

fn dry() -> Collection {
    Collection { mode: Mode::DryRun, ..collection() }
}

/// A vault on a shelf, with somebody to seal.
struct Place {
    shelf: Shelf,
    fixture: Arc<Fixture>,
}

impl Place {
    fn new() -> Self {
        let shelf = Shelf::default();
        Vault::init(shelf.store()).expect("vault");
        Self { shelf, fixture: Arc::new(Fixture::new()) }
    }

    /// The same people at another shelf.
    fn at(&self, other: Shelf) -> Self {
        Self { shelf: other, fixture: Arc::clone(&self.fixture) }
    }

    fn vault(&self) -> Vault {
        Vault::open(self.shelf.store()).expect("vault")
    }

    fn seal(&self, into: &Vault, name: &str, data: &[u8]) -> Result<Receipt> {
        let options = crate::seal::Options { threads: threads(1), ..small_parts() };
        into.seal(SealRequest { options, ..self.fixture.request(name, vec![input("a", data)]) }, &())
    }

    fn collect(&self, from: &Vault) -> Result<Collected> {
        from.collect_garbage(Some(&self.fixture.policy()), collection(), &(), &mut |_| Ok(()))
    }

    /// Whether a version is there, and whole.
    fn is_whole(&self, name: &str) -> Result<()> {
        let vault = self.vault();
        let artifact = vault.resolve(&reference(name), &self.fixture.policy())?;
        vault.verify(&artifact, threads(1), &())?;
        vault.open_artifact(&artifact, &self.fixture.policy(), &self.fixture.ring, reading()).map(drop)
    }

    fn exists(&self, name: &str) -> bool {
        self.shelf.get(&version_path(&name.parse().expect(name))).is_some()
    }

    /// That nothing is damaged.
    fn check(&self, at: &str) {
        let mut damage = Vec::new();
        let mut report = |finding: Finding| {
            if finding.is_damage() {
                damage.push(finding);
            }
            Ok(())
        };
        self.vault().fsck(threads(1), &(), &mut report).expect("looked over");
        assert!(damage.is_empty(), "{at}: {damage:?}");
    }

    fn contents(&self) -> Vec<String> {
        self.shelf.paths().into_iter().filter(|path| path.starts_with("objects/")).collect()
    }

    /// Whether no collection is in the way of storing this.
    fn may_be_stored_again(&self, path: &str) -> bool {
        let vault = self.vault();
        let session = vault.open_session(Work::Copy, &[]).expect("session");
        let relied = session.rely_on(&[path.to_owned()]);
        session.abandon().expect("ended");
        match relied {
            Ok(()) => true,
            Err(Error::Lost { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }
}
