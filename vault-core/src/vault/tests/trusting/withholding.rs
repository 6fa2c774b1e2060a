use super::*;

fn generation(world: &World, number: u32) -> std::path::PathBuf {
    world.path(&format!("models/m/channels/production/{number}.dsse.json"))
}

#[test]
fn a_newer_promotion_that_was_seen_cannot_be_hidden() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    fs::rename(generation(&world, 2), world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.open("m@production")), Kind::Stale, "rolled back");
    let fresh = world.open_with(world.stranger().expect("gate"), "m@production");
    assert_eq!(fresh.expect("who never saw the newer one cannot know"), b"m:1");
    fs::remove_file(generation(&world, 1)).expect("removed");
    assert_eq!(kind(world.open("m@production")), Kind::Stale, "nothing at all is older still");
    fs::rename(world.path("hidden"), generation(&world, 2)).expect("shown");
    assert_eq!(
        kind(world.open_with(world.stranger().expect("gate"), "m@production")),
        Kind::Integrity,
        "a link is missing"
    );
    assert_eq!(world.open("m@production").expect("the newest was seen with its history"), b"m:2");
}

#[test]
fn two_valid_promotions_of_one_generation_are_a_fork() {
    let world = World::new();
    world.release("m:1");
    // The same people, shown an empty channel by the store, approve another first generation.
    let hidden = world.path("hidden");
    fs::rename(generation(&world, 1), &hidden).expect("hidden");
    let other = tempfile::tempdir().expect("folder");
    let gate = || {
        let memory = Memory::open(other.path(), world.pinned.origin()).expect("memory");
        world.fixture.vault.gate(&world.pinned, memory, clock(NOON)).expect("gate")
    };
    fs::remove_dir_all(world.path("proposals")).expect("hidden, too");
    let channel = "m@production".parse().expect("a channel");
    let ask = ("other", None);
    let proposal = gate().propose_promotion(&channel, &"m:2".parse().expect("a name"), ask, &world.keys["trainer"]);
    let proposal = proposal.expect("proposed");
    gate().approve(proposal.id, None, &world.keys["alice"]).expect("signed");
    assert!(gate().approve(proposal.id, None, &world.keys["bob"]).expect("signed").published);
    assert_eq!(kind(world.open("m@production")), Kind::Authenticity, "it saw another first generation");
}

#[test]
fn a_second_history_is_noticed_by_who_saw_the_first() {
    let world = World::new();
    world.release("m:1");
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    let twin = World { state: tempfile::tempdir().expect("folder"), ..fork_of(&world) };
    twin.release("m:2");
    twin.release("m:3");
    // The store shows the other history to the client of the first.
    for number in [1, 2] {
        fs::copy(generation(&twin, number), generation(&world, number)).expect("swapped");
    }
    assert_eq!(kind(world.open("m@production")), Kind::Authenticity, "it does not descend from what was seen");
    fs::remove_file(generation(&world, 2)).expect("hidden");
    assert_eq!(kind(world.open("m@production")), Kind::Authenticity, "another record of the generation that was seen");
    let fresh = world.open_with(world.stranger().expect("gate"), "m@production");
    assert_eq!(fresh.expect("a client without a memory sees one history"), b"m:2");
}

/// The same people and artifacts in a copy of the vault, with an empty channel.
fn fork_of(world: &World) -> World {
    let fixture = Fixture::new();
    let keys = world.same_keys();
    world
        .fixture
        .vault
        .store()
        .list("", &mut |entry| {
            if entry.path.contains("channels/") || entry.path.starts_with("proposals/") || entry.path == VAULT_JSON {
                return Ok(());
            }
            let (from, to) = (world.path(&entry.path), fixture.dir.path().join(&entry.path));
            fs::create_dir_all(to.parent().expect("folder")).expect("folders");
            fs::copy(from, to).expect("copied");
            Ok(())
        })
        .expect("listed");
    World { fixture, keys, pinned: world.pinned.clone(), state: tempfile::tempdir().expect("folder") }
}

#[test]
fn junk_above_the_newest_promotion_is_passed_over_and_reported() {
    let world = World::new();
    world.release("m:1");
    fs::write(generation(&world, 2), "junk").expect("planted");
    fs::write(generation(&world, 7), "{}").expect("planted");
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    let mut gate = world.gate().expect("gate");
    gate.resolve(&reference("m@production")).expect("opens");
    assert_eq!(gate.notes().iter().filter(|note| note.contains("does not count")).count(), 2);
    drop(gate);
    let next = world.promote("m:2", "production", "trainer").expect("proposed");
    assert_eq!(next.generation, 3, "junk burns its number and no other");
    world.approve(&next, "alice").expect("signed");
    world.approve(&next, "bob").expect("signed");
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
}

#[test]
fn a_revocation_that_was_seen_cannot_be_hidden() {
    let world = World::new();
    let mut gate = world.gate().expect("gate");
    gate.propose_revocation(&"m:1".parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
    gate.close().expect("remembered");
    let path = world.path("revocations/1.dsse.json");
    fs::rename(&path, world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale);
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m:1").expect("cannot know"), b"m:1");
    fs::write(&path, "junk").expect("replaced");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale);
}

#[test]
fn a_revocation_before_another_cannot_be_hidden_from_anybody() {
    let world = World::new();
    for name in ["m:1", "m:2"] {
        let mut gate = world.gate().expect("gate");
        gate.propose_revocation(&name.parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
        gate.close().expect("remembered");
    }
    fs::remove_file(world.path("revocations/1.dsse.json")).expect("hidden");
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m:3")), Kind::Integrity, "it might be this one");
}

#[test]
fn when_the_keys_of_a_promotion_are_compromised_the_chain_goes_around_it() {
    let world = World::new();
    world.release("m:1");
    let proposal = world.promote("m:2", "production", "trainer").expect("proposed");
    world.approve(&proposal, "bob").expect("signed");
    assert!(world.approve(&proposal, "carol").expect("signed").published);
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    assert_eq!(kind(world.open("m@production")), Kind::Stale, "what is left is older than what was seen");
    world.release("m:3");
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    let newcomer = world.open_with(world.stranger().expect("gate"), "m@production");
    assert_eq!(newcomer.expect("opens"), b"m:3");
    let history =
        world.gate().expect("gate").channel_log(&"m@production".parse().expect("a channel")).expect("history").0;
    let told: Vec<_> = history.iter().map(|e| (e.generation, e.linked, e.fault.is_none())).collect();
    assert_eq!(told, [(1, true, true), (2, false, false), (3, true, true)]);
}

#[test]
fn the_history_says_what_is_wrong_with_it() {
    let world = World::new();
    for version in ["m:1", "m:2", "m:3"] {
        world.release(version);
    }
    let log = |gate: Result<Gate<'_>>| {
        let channel = "m@production".parse().expect("a channel");
        let (entries, fault) = gate.expect("gate").channel_log(&channel).expect("history");
        (entries.len(), fault.map(|fault| fault.kind()))
    };
    assert_eq!(log(world.gate()), (3, None));
    fs::rename(generation(&world, 3), world.path("hidden")).expect("hidden");
    assert_eq!(log(world.gate()), (2, Some(Kind::Stale)), "a newer one was seen");
    assert_eq!(log(world.stranger()), (2, None), "who remembers nothing cannot know");
    fs::rename(world.path("hidden"), generation(&world, 3)).expect("shown");
    fs::remove_file(generation(&world, 2)).expect("removed");
    assert_eq!(log(world.gate()), (2, Some(Kind::Integrity)));
    assert_eq!(log(world.stranger()), (2, Some(Kind::Integrity)));
}

#[test]
fn a_newcomer_follows_a_hundred_links_and_the_log_all() {
    let world = World::new();
    let (channel, name) = ("m@staging".parse().expect("a channel"), "m:1".parse().expect("a name"));
    let mut gate = world.stranger().expect("gate");
    for _ in 0..105 {
        gate.propose_promotion(&channel, &name, ("again", None), &world.keys["alice"]).expect("in force");
        fs::remove_dir_all(world.path("proposals")).expect("tidied");
    }
    drop(gate);
    let head = || world.stranger().expect("gate").head(&channel).expect("unbroken").expect("there");
    assert_eq!((head().newest().generation, head().links), (105, 100));
    fs::remove_file(world.path("models/m/channels/staging/2.dsse.json")).expect("removed");
    assert_eq!(head().links, 100, "out of sight");
    let (_, fault) = world.stranger().expect("gate").channel_log(&channel).expect("history");
    assert_eq!(fault.map(|fault| fault.kind()), Some(Kind::Integrity));
    fs::remove_file(world.path("models/m/channels/staging/50.dsse.json")).expect("removed");
    assert_eq!(kind(world.stranger().expect("gate").head(&channel)), Kind::Integrity);
}

#[test]
fn a_channel_of_which_nothing_counts_any_more_is_promoted_anew() {
    let world = World::new();
    world.release_with("m:1", ["alice", "carol"]);
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    let lost = world.open("m@production").expect_err("nothing counts");
    assert!(matches!(&lost, Error::Stale { .. }) && lost.to_string().contains("compromised or retired"), "{lost}");
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m@production")), Kind::Stale);

    let proposal = world.promote("m:2", "production", "trainer").expect("built on nothing");
    assert_eq!(proposal.generation, 2);
    world.approve(&proposal, "alice").expect("signed");
    assert_eq!(kind(world.open("m@production")), Kind::Stale, "one approval is not two");
    assert!(world.approve(&proposal, "bob").expect("signed").published);
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    let newcomer = || world.open_with(world.stranger().expect("gate"), "m@production");
    assert_eq!(newcomer().expect("opens"), b"m:2");
    world.release("m:3");
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    assert_eq!(newcomer().expect("opens"), b"m:3");
}

#[test]
fn a_seen_promotion_that_is_gone_is_no_reason_to_start_anew() {
    let world = World::new();
    world.release("m:1");
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    fs::rename(generation(&world, 1), world.path("hidden")).expect("hidden");
    let missing = world.promote("m:2", "production", "trainer").expect_err("the store shows none");
    assert!(missing.to_string().contains("does not show it"), "{missing}");
    fs::write(generation(&world, 1), b"junk").expect("planted");
    let mut gate = world.gate().expect("gate");
    let damaged = gate.resolve(&reference("m@production")).expect_err("junk");
    assert!(
        matches!(&damaged, Error::Stale { .. }) && damaged.to_string().contains("replaced or damaged"),
        "{damaged}"
    );
    let told = gate.notes().iter().any(|note| note.starts_with("generation 1 of m@production does not count"));
    assert!(told, "{:?}", gate.notes());
    drop(gate);
    assert_eq!(kind(world.promote("m:2", "production", "trainer")), Kind::Stale);
}

#[test]
fn a_withdrawal_is_told_as_one() {
    let world = World::new();
    world.release("m:1");
    let proposal = world.promote("m:2", "production", "trainer").expect("proposed");
    let mut gate = world.gate().expect("gate");
    gate.withdraw(proposal.id, &world.keys["trainer"]).expect("withdrawn");
    let channel = "m@production".parse().expect("a channel");
    let (history, _) = gate.channel_log(&channel).expect("history");
    let told = history[1].fault.as_ref().expect("no promotion").to_string();
    assert!(told.contains(&format!("the withdrawal of proposal b3:{} by trainer", proposal.id)), "{told}");
}

#[test]
fn a_channel_goes_on_when_whoever_lost_a_key_is_taken_out_of_its_rule() {
    let world = World::new();
    world.release("m:1");
    world.release_with("m:2", ["alice", "carol"]);
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    let without = |text: String| {
        let text = with_key_line("alice", "status = \"retired\"")(text);
        let text = text.replace("keys = [\"alice\", \"alice2\", \"bob\", \"carol\"]", "keys = [\"bob\", \"carol\"]");
        text.replace("keys = [\"alice\", \"bob\"]\nthreshold = 2", "keys = [\"bob\", \"carol\"]\nthreshold = 2")
    };
    world.next_root(&world.pinned, &["alice", "bob", "carol"], without).expect("second");
    assert_eq!(kind(world.open("m@production")), Kind::Stale, "nothing counts");
    let stripped = generation(&world, 2);
    let kept = fs::read(&stripped).expect("read");
    forging::strip(&stripped);
    assert_eq!(kind(world.promote("m:3", "production", "trainer")), Kind::Stale, "without its signatures it is not it");
    fs::write(&stripped, kept).expect("back");
    world.release_with("m:3", ["bob", "carol"]);
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m@production").expect("opens"), b"m:3");
}
