//! A channel and all that belongs to it, in another vault.

use super::*;
use crate::vault::{Artifacts, Copied, CopyRequest, Existing, LogProofs, Selection};

const CHANNEL: &str = "m@production";

fn fresh_target() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().expect("folder");
    let vault = Vault::init(store(dir.path())).expect("vault");
    (dir, vault)
}

fn copy(world: &World, target: &Vault, artifacts: Artifacts) -> Result<Copied> {
    let mut gate = world.stranger()?;
    let selection = Selection::One(Box::new(gate.resolve(&reference(CHANNEL))?));
    let policy = gate.close()?;
    copy_under(world, target, selection, artifacts, &policy)
}

fn copy_under(
    world: &World,
    target: &Vault,
    selection: Selection,
    artifacts: Artifacts,
    policy: &Policy,
) -> Result<Copied> {
    let source = &world.fixture.vault;
    let request = CopyRequest {
        source,
        selection,
        artifacts,
        policy,
        existing: Existing::Length,
        proofs: LogProofs::WellFormed,
        jobs: threads(2),
    };
    target.copy(request, &())
}

/// What a client that remembers nothing opens there.
fn open(world: &World, vault: &Vault) -> Result<Vec<u8>> {
    let mut gate = vault.gate(&world.pinned, Memory::none(world.pinned.origin()), clock(NOON))?;
    let artifact = gate.resolve(&reference(CHANNEL))?;
    let policy = gate.close()?;
    let opened = vault.open_artifact(&artifact, &policy, &world.fixture.ring, reading())?;
    Ok(opened.read(opened.index().file("a")?, &())?.to_vec())
}

fn history(world: &World, vault: &Vault) -> Vec<u64> {
    let mut gate = vault.gate(&world.pinned, Memory::none(world.pinned.origin()), clock(NOON)).expect("gate");
    let (entries, fault) = gate.channel_log(&CHANNEL.parse().expect("a channel")).expect("read");
    assert!(fault.is_none(), "{fault:?}");
    entries.into_iter().filter(|entry| entry.linked).map(|entry| entry.generation).collect()
}

#[test]
fn a_channel_opens_from_the_copy_as_it_does_from_the_source_and_follows_it() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    let (_dir, target) = fresh_target();
    let copied = copy(&world, &target, Artifacts::Head).expect("copied");
    assert_eq!((copied.versions, copied.channels), (1, 1));
    assert_eq!(open(&world, &target).expect("opens"), b"m:2");
    assert_eq!(history(&world, &target), [1, 2]);
    let m1 = reference("m:1");
    assert_eq!(kind(target.resolve(&m1, &Policy::InsecureSkipSignature)), Kind::NotFound);
    copy(&world, &target, Artifacts::All).expect("copied");
    target.resolve(&m1, &Policy::InsecureSkipSignature).expect("came along");

    let next = world.promote("m:3", "production", "trainer").expect("proposed");
    world.approve(&next, "alice").expect("approved");
    copy(&world, &target, Artifacts::Head).expect("copied");
    let mut gate = target.gate(&world.pinned, Memory::none(world.pinned.origin()), clock(NOON)).expect("gate");
    let open_there = gate.proposals().expect("listed");
    assert_eq!(open_there.iter().map(|p| p.id).collect::<Vec<_>>(), [next.id]);
    assert_eq!(open_there[0].approvers, ["alice"], "with the approvals that it has");
    drop(gate);
    world.approve(&next, "bob").expect("approved");
    copy(&world, &target, Artifacts::Head).expect("copied");
    assert_eq!(open(&world, &target).expect("opens"), b"m:3");
    let again = copy(&world, &target, Artifacts::Head).expect("copied");
    assert_eq!((again.objects.copied, again.records.copied), (0, 0));
}

#[test]
fn nobody_being_asked_a_channel_is_what_the_source_says() {
    let world = World::new();
    world.release("m:1");
    let (_dir, target) = fresh_target();
    let selection = || Selection::Unjudged(CHANNEL.parse().expect("a channel"));
    let skip = Policy::InsecureSkipSignature;
    copy_under(&world, &target, selection(), Artifacts::Head, &skip).expect("copied");
    assert_eq!(open(&world, &target).expect("opens"), b"m:1");
    let nothing = Selection::Unjudged("m@staging".parse().expect("a channel"));
    assert_eq!(kind(copy_under(&world, &target, nothing, Artifacts::Head, &skip)), Kind::NotFound);
}

#[test]
fn revocations_and_trust_roots_travel_first_and_with_everything() {
    let world = World::new();
    world.release("m:1");
    world.next_root(&world.pinned, &["alice", "bob"], |text| text.replace("24h", "12h")).expect("published");
    let mut gate = world.gate().expect("gate");
    gate.propose_revocation(&"m:3".parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
    gate.close().expect("closed");
    let (_dir, target) = fresh_target();
    copy(&world, &target, Artifacts::Head).expect("copied");
    let gate = target.gate(&world.pinned, Memory::none(world.pinned.origin()), clock(NOON)).expect("gate");
    assert_eq!(gate.rooted().root().version(), 2);
    assert_eq!(gate.revocations().all().len(), 1);
    drop(gate);
    let policy = world.stranger().expect("gate").close().expect("closed");
    let all = copy_under(&world, &target, Selection::Models(None), Artifacts::Head, &policy).expect("copied");
    assert_eq!((all.versions, all.channels, all.failed.len()), (3, 1, 0), "{all:?}");
}

#[test]
fn a_record_that_nobody_vouched_for_is_left_behind_with_a_trust_root() {
    let world = World::new();
    world.release("m:1");
    let folder = "models/m/channels/production";
    let envelope = |generation: u64| {
        let bytes = fs::read(world.path(&format!("{folder}/1.dsse.json"))).expect("read");
        let payload = String::from_utf8(Envelope::parse(&bytes).expect("one").payload().to_vec()).expect("UTF-8");
        let payload = payload.replace(r#""generation":1"#, &format!(r#""generation":{generation}"#));
        let mut forged = Envelope::unsigned(crate::provenance::PAYLOAD_TYPE, payload.into_bytes());
        forged.add_signature(&world.keys["mallory"]).expect("signed");
        forged.to_vec().expect("written")
    };
    for generation in [2, 3, 9_007_199_254_740_991] {
        fs::write(world.path(&format!("{folder}/{generation}.dsse.json")), envelope(generation)).expect("planted");
    }
    let (dir, target) = fresh_target();
    let copied = copy(&world, &target, Artifacts::Head).expect("copied");
    assert_eq!(copied.skipped.len(), 3, "{:?}", copied.skipped);
    assert_eq!(fs::read_dir(dir.path().join(folder)).expect("folder").count(), 1);
    assert_eq!(open(&world, &target).expect("opens"), b"m:1");

    // Without one they are well formed; still a number that ends the chain is not copied.
    let (dir, target) = fresh_target();
    let selection = Selection::Unjudged(CHANNEL.parse().expect("a channel"));
    copy_under(&world, &target, selection, Artifacts::Head, &Policy::InsecureSkipSignature).expect("copied");
    assert!(!dir.path().join(format!("{folder}/9007199254740991.dsse.json")).exists());
    assert_eq!(open(&world, &target).expect("opens"), b"m:1");
}

#[test]
fn another_history_at_the_target_is_a_fork_and_nothing_is_written() {
    let world = World::new();
    world.release("m:1");
    let (dir, target) = fresh_target();
    copy(&world, &target, Artifacts::Head).expect("copied");
    // The target goes on by itself, and so does the source.
    let other = World {
        fixture: Fixture { dir, vault: target, ..Fixture::new() },
        keys: world.same_keys(),
        pinned: world.pinned.clone(),
        state: tempfile::tempdir().expect("folder"),
    };
    other.seal("m:9", Some(world.pinned.origin()));
    other.release("m:9");
    world.release("m:2");
    let before = other.fixture.objects();
    let error = copy(&world, &other.fixture.vault, Artifacts::Head).expect_err("a fork");
    assert!(error.kind() == Kind::Authenticity && error.to_string().contains("fork"), "{error}");
    assert_eq!(other.fixture.objects(), before);
    let error = copy_under(
        &world,
        &other.fixture.vault,
        Selection::Unjudged(CHANNEL.parse().expect("a channel")),
        Artifacts::Head,
        &Policy::InsecureSkipSignature,
    );
    assert_eq!(kind(error), Kind::Authenticity);
    assert_eq!(other.fixture.objects(), before);
}

#[test]
fn a_number_that_was_withdrawn_stays_withdrawn() {
    let world = World::new();
    world.release("m:1");
    let stuck = world.promote("m:2", "production", "trainer").expect("proposed");
    world.gate().expect("gate").withdraw(stuck.id, &world.keys["trainer"]).expect("withdrawn");
    world.release("m:3");
    let (dir, target) = fresh_target();
    copy(&world, &target, Artifacts::Head).expect("copied");
    assert_eq!(open(&world, &target).expect("opens"), b"m:3");
    assert_eq!(fs::read_dir(dir.path().join("models/m/channels/production")).expect("folder").count(), 3);
    assert_eq!(history(&world, &target), [1, 3]);
    assert_eq!(
        fs::read_dir(dir.path().join(format!("proposals/{}", stuck.id))).expect("what was withdrawn").count(),
        1
    );
}

#[test]
fn a_crash_at_any_write_of_a_channel_shows_an_older_state_or_none_and_the_copy_goes_on() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    let fresh = |number, when| {
        let (dir, _) = fresh_target();
        let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
        let faulty = Faulty::failing(backend, number, when);
        (dir, faulty.clone(), Vault::open(Store::new(faulty)).expect("vault"))
    };
    let (_dir, counting, vault) = fresh(0, When::Before);
    copy(&world, &vault, Artifacts::All).expect("copied");
    for number in 1..=counting.writes() {
        for when in [When::Before, When::After] {
            let (dir, _, vault) = fresh(number, when);
            let at = format!("write {number} {when:?}");
            copy(&world, &vault, Artifacts::All).expect_err(&at);
            let vault = Vault::open(store(dir.path())).expect("still a vault");
            match open(&world, &vault) {
                Ok(opened) => assert!(opened == b"m:1" || opened == b"m:2", "{at}"),
                Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{at}: {error}"),
            }
            copy(&world, &vault, Artifacts::All).expect(&at);
            assert_eq!(open(&world, &vault).expect(&at), b"m:2");
        }
    }
}
