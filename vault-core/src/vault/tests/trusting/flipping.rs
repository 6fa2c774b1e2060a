//! Stores that answer the same question with one thing and then with another.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    forging::{at, channel, link, name, plant, subject},
    *,
};
use crate::{
    parts::{ReadAt, Staged},
    provenance::Promotion,
    store::{Backend, Created, Directory, Durability, Entry, Store},
};

const SECOND: &str = "models/m/channels/production/2.dsse.json";

/// Gives junk for a path when `lies` says so of the number of its reading.
#[derive(Debug)]
struct Flipping {
    inner: Directory,
    path: &'static str,
    lies: fn(usize) -> bool,
    reads: AtomicUsize,
}

impl Backend for Flipping {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(path, bytes)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        if path == self.path && (self.lies)(self.reads.fetch_add(1, Ordering::SeqCst)) {
            return Ok(Some(b"junk".to_vec()));
        }
        self.inner.read(path, cap)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.inner.open(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.inner.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.inner.delete(path)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.inner.list(prefix, each)
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.inner.stage(capacity)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

fn flipping(world: &World, path: &'static str, lies: fn(usize) -> bool) -> Vault {
    let inner = Directory::open(world.fixture.dir.path(), Durability::NoSync).expect("a folder");
    Vault::open(Store::new(Flipping { inner, path, lies, reads: AtomicUsize::new(0) })).expect("a vault")
}

fn gate<'a>(world: &World, vault: &'a Vault) -> Gate<'a> {
    let memory = Memory::open(world.state.path(), world.pinned.origin()).expect("memory");
    vault.gate(&world.pinned, memory, clock(NOON)).expect("gate")
}

/// Asks for a third generation.
fn ask(mut gate: Gate<'_>, world: &World) -> Result<Proposal> {
    gate.propose_promotion(&channel("m@production"), &name("m:3"), ("because", None), &world.keys["trainer"])
}

/// Two generations, both seen; and a third that builds on the first, approved by people whom the store showed junk for the second.
fn gone_around() -> World {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    let second = world.path(SECOND);
    let kept = fs::read(&second).expect("read");
    fs::write(&second, "junk").expect("swapped");
    fs::rename(world.path("proposals"), world.path("hidden")).expect("hidden");
    let stranger = || world.stranger().expect("gate");
    let asked = ask(stranger(), &world);
    let proposal = asked.expect("proposed");
    for by in ["alice", "bob"] {
        stranger().approve(proposal.id, None, &world.keys[by]).expect("approved");
    }
    fs::write(&second, kept).expect("back");
    world
}

#[test]
fn no_number_of_different_answers_leads_around_what_was_seen() {
    let world = gone_around();
    let fork = world.open("m@production").map(drop).expect_err("a fork");
    assert!(fork.to_string().contains("a fork"), "{fork}");
    let lies: [fn(usize) -> bool; 6] = [|n| n < 1, |n| n < 2, |n| n < 3, |n| n < 4, |n| n % 2 == 0, |n| n % 2 == 1];
    for lies in lies {
        let vault = flipping(&world, SECOND, lies);
        let mut gate = gate(&world, &vault);
        let refused = gate.resolve(&reference("m@production")).map(drop).expect_err("something else was seen");
        assert_eq!(refused.kind(), Kind::Authenticity, "{refused}");
        gate.close().expect("closed");
    }
}

#[test]
fn nobody_who_saw_a_promotion_signs_one_that_goes_around_it() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    for lies in [|n| n % 2 == 0, |n| n < 1, |n| n < 3] as [fn(usize) -> bool; 3] {
        let vault = flipping(&world, SECOND, lies);
        let asked = ask(gate(&world, &vault), &world);
        assert_eq!(kind(asked), Kind::Stale);
    }
    // Nor one that starts anew.
    let first = "models/m/channels/production/1.dsse.json";
    fs::remove_file(world.path(SECOND)).expect("hidden");
    let vault = flipping(&world, first, |n| n % 2 == 0);
    let asked = ask(gate(&world, &vault), &world);
    assert_eq!(kind(asked), Kind::Stale);
}

#[test]
fn a_hidden_promotion_that_still_counts_is_no_reason_to_start_anew() {
    let world = World::new();
    world.release("m:1");
    world.release_with("m:2", ["alice", "carol"]);
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    fs::rename(world.path("models/m/channels/production/1.dsse.json"), world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.promote("m:3", "production", "trainer")), Kind::Integrity);
    fs::rename(world.path("hidden"), world.path("models/m/channels/production/1.dsse.json")).expect("shown");
    assert_eq!(world.promote("m:3", "production", "trainer").expect("proposed").generation, 3);
}

#[test]
fn what_counts_below_a_lost_promotion_is_not_gone_around() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    world.release_with("m:3", ["bob", "carol"]);
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    // The third is lost, and the second still counts: junk in its place makes nobody build on the first.
    for lies in [|_| true, |n| n < 1, |n| n % 2 == 0] as [fn(usize) -> bool; 3] {
        let vault = flipping(&world, SECOND, lies);
        let refused = ask(gate(&world, &vault), &world).expect_err("the second is hidden");
        assert!(matches!(refused.kind(), Kind::Integrity | Kind::Authenticity), "{refused}");
    }
    // Nor does a forged lost record in front of it.
    let forged = Promotion::new(
        &channel("m@production"),
        &name("m:1"),
        link(&world, "trainer", 4, None),
        at(NOON),
        at("2026-12-20T12:00:00Z"),
    );
    plant(
        &world,
        "models/m/channels/production",
        subject(&world, "m:1"),
        forged.expect("legal"),
        &["trainer", "carol", "bob"],
    );
    let vault = flipping(&world, SECOND, |_| true);
    let refused = ask(gate(&world, &vault), &world).expect_err("the second is hidden");
    assert!(matches!(refused.kind(), Kind::Integrity | Kind::Authenticity), "{refused}");
    let honest = world.promote("m:3", "production", "trainer").expect("proposed");
    assert_eq!(honest.generation, 5);
    for by in ["alice", "bob"] {
        world.approve(&honest, by).expect("signed");
    }
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m@production").expect("opens"), b"m:3");
}

#[test]
fn whoever_saw_a_lost_promotion_refuses_one_that_goes_around_what_it_followed() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    world.release_with("m:3", ["bob", "carol"]);
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    // People who remember nothing were shown junk for the second.
    let second = world.path(SECOND);
    let kept = fs::read(&second).expect("read");
    fs::write(&second, "junk").expect("swapped");
    let stranger = || world.stranger().expect("gate");
    let proposal = ask(stranger(), &world).expect("proposed");
    for by in ["alice", "bob"] {
        stranger().approve(proposal.id, None, &world.keys[by]).expect("approved");
    }
    assert_eq!(kind(world.open("m@production")), Kind::Integrity, "what the third followed is not there");
    fs::write(&second, kept).expect("back");
    let fork = world.open("m@production").map(drop).expect_err("the second counts");
    assert!(fork.to_string().contains("a fork"), "{fork}");
}
