//! Holders of some right who reach for more than it gives.

use super::{
    forging::{at, channel, link, name, plant, revoke, strip, subject},
    *,
};
use crate::provenance::{Promotion, Revocation, Subject};

/// The scanner may release the model `toy`, and nothing else.
fn with_toy(text: String) -> String {
    text + "[[roles.release]]\nmodels = [\"toy\"]\nchannels = [\"*\"]\nkeys = [\"scanner\"]\nthreshold = 1\nrequester_counts = true\n"
}

fn world_with_toy() -> (World, Reached) {
    let world = World::new();
    let second = world.next_root(&world.pinned, &["alice", "bob"], with_toy).expect("second");
    (world, second)
}

/// A revocation of a version of `toy` by who may, that names another record before it.
fn toy(world: &World, generation: u64, previous: Option<blake3::Hash>) {
    let own = Revocation::new(&name("toy:1"), link(world, "scanner", generation, previous), at(NOON)).expect("legal");
    plant(world, "revocations", Subject::of(b"no such thing"), own, &["scanner"]);
}

#[test]
fn who_releases_one_model_revokes_no_other_by_naming_what_nobody_signed() {
    let (world, second) = world_with_toy();
    let other = Revocation::new(&name("m:1"), link(&world, "alice", 1, None), at(NOON)).expect("legal");
    let unsigned = plant(&world, "revocations", subject(&world, "m:1"), other, &[]);
    toy(&world, 2, Some(unsigned));
    assert_eq!(world.open("m:1").expect("nobody who may has revoked it"), b"m:1");
    // An honest revocation that follows vouches for none of it.
    revoke(&world, "m:2");
    assert_eq!(world.open("m:1").expect("not revoked"), b"m:1");
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m:1").expect("not revoked"), b"m:1");
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
    let listed = world.gate().expect("gate").all_revocations().expect("listed");
    let names: Vec<_> = listed.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["toy:1", "m:2"]);
    // The next honest ones go on from there, and take-away signatures are no loss.
    revoke(&world, "m:3");
    strip(&world.path("revocations/3.dsse.json"));
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m:2")), Kind::Authenticity);
    world.next_root(&second, &["alice", "bob"], with_toy).expect("third");
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
}

#[test]
fn who_releases_one_model_stops_no_other_by_naming_what_is_not_there() {
    let (world, _) = world_with_toy();
    toy(&world, 1, Some(blake3::hash(b"nothing")));
    assert_eq!(world.open("m:2").expect("another model"), b"m:2");
    assert_eq!(world.open("m:2").expect("also by who saw it"), b"m:2");
    let mut gate = world.gate().expect("gate");
    let about = |model: &str| gate_refuses(&gate, model);
    assert_eq!(about("toy"), Some(Kind::Integrity), "here it might be revoked");
    assert_eq!(about("m"), None);
    let by_digest = gate.revocations().refuse(ArtifactDigest::of(b"x"), None, "b3:x").map_err(|e| e.kind());
    assert_eq!(by_digest, Err(Kind::Integrity), "a digest may be anything");
    gate.propose_revocation(&name("m:1"), "leaks", &world.keys["alice"]).expect("revoked all the same");
    gate.close().expect("remembered");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity);
    assert_eq!(world.open("m:2").expect("opens"), b"m:2");
}

fn gate_refuses(gate: &Gate<'_>, model: &str) -> Option<Kind> {
    let model = model.parse().expect("a model");
    gate.revocations().refuse(ArtifactDigest::of(b"x"), Some(&model), "x").err().map(|error| error.kind())
}

#[test]
fn a_revocation_that_was_seen_cannot_be_hidden_by_a_new_trust_root() {
    let world = World::new();
    let first = revoke(&world, "m:1").id;
    revoke(&world, "m:2");
    // Two at the same time: nobody names the second.
    let record = Revocation::new(&name("m:3"), link(&world, "bob", 3, Some(first)), at(NOON)).expect("legal");
    plant(&world, "revocations", subject(&world, "m:3"), record, &["bob"]);
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
    fs::rename(world.path("revocations/2.dsse.json"), world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.open("m:1")), Kind::Stale, "noticed, whatever is opened");
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    let hidden = world.open("m:2").expect_err("the store shows it no more");
    assert!(matches!(&hidden, Error::Stale { .. }) && hidden.to_string().contains("revocation 2"), "{hidden}");
}

#[test]
fn a_client_that_has_seen_all_revocations_reads_no_old_ones() {
    let world = World::new();
    for version in ["m:1", "m:2", "m:3"] {
        revoke(&world, version);
    }
    world.gate().expect("gate").close().expect("remembered");
    let gate = world.gate().expect("gate");
    assert!(gate.steps().iter().any(|step| step.contains("the older ones remembered")), "{:?}", gate.steps());
    drop(gate);
    for version in ["m:1", "m:2", "m:3"] {
        assert_eq!(kind(world.open(version)), Kind::Authenticity, "{version}");
    }
}

#[test]
fn a_root_that_was_reached_is_remembered_whatever_fails_behind_it() {
    let world = World::new();
    revoke(&world, "m:1");
    world.gate().expect("gate").close().expect("remembered");
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    let first = world.path("revocations/1.dsse.json");
    fs::rename(&first, world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale);
    fs::rename(world.path("hidden"), &first).expect("back");
    fs::rename(world.path("trust/2"), world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale, "version 2 was reached");
}

#[test]
fn a_promotion_is_not_made_before_the_one_that_it_follows() {
    let world = World::new();
    world.release("m:1");
    let production = channel("m@production");
    let first = world.gate().expect("gate").head(&production).expect("head").expect("one").newest();
    let asked = link(&world, "trainer", 2, Some(first.digest));
    let (made, expires) = (at("2026-10-25T12:00:00Z"), at("2026-12-20T12:00:00Z"));
    let record = Promotion::new(&production, &name("m:2"), asked, made, expires).expect("legal");
    let payload = Statement { subject: subject(&world, "m:2"), predicate: record }.to_vec().expect("written");
    let id = blake3::hash(&payload);
    let envelope = Envelope::sign(payload, &world.keys["trainer"]).expect("signed");
    world.fixture.vault.add_signature(id, &envelope).expect("added");
    let refused = world.gate().expect("gate").approve(id, None, &world.keys["alice"]).expect_err("backdated");
    assert!(refused.to_string().contains("made before the promotion that it follows"), "{refused}");
}

#[test]
fn provenance_is_demanded_of_sealers_only() {
    let world = World::new();
    let by = |role: &str| {
        let rule = format!("attestations = [{{ type = \"https://slsa.dev/provenance/v1\", role = {role:?} }}]\n");
        let text = source(&world.keys, |text| text.replace("freshness = \"24h\"\n", &rule));
        draft(&text, Some(&world.pinned), clock(NOON), &mut |_| unreachable!("keys are written out"))
    };
    by("sealer").expect("legal");
    for role in ["scanner", "release"] {
        assert_eq!(kind(by(role)), Kind::Usage, "{role}: a sealer's would do all the same");
    }
}

#[test]
fn no_number_that_was_seen_hides_a_revocation_behind_it() {
    let (world, _) = world_with_toy();
    revoke(&world, "m:1");
    // Far above, by who may revoke another model, and after something that nobody signed.
    let stranger = Revocation::new(&name("m:3"), link(&world, "alice", 500, None), at(NOON)).expect("legal");
    let unsigned = plant(&world, "revocations", subject(&world, "m:3"), stranger, &[]);
    toy(&world, 501, Some(unsigned));
    assert_eq!(world.open("m:2").expect("not revoked yet"), b"m:2");
    let mut gate = world.stranger().expect("gate");
    let revoked = gate.propose_revocation(&name("m:2"), "leaks", &world.keys["bob"]).expect("revoked");
    assert_eq!(revoked.generation, 502, "where whoever saw the others looks");
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
    // Also one under a low number, however it got there.
    let low = Revocation::new(&name("m:3"), link(&world, "bob", 2, None), at(NOON)).expect("legal");
    plant(&world, "revocations", subject(&world, "m:3"), low, &["bob"]);
    assert_eq!(kind(world.open("m:3")), Kind::Authenticity);
}

#[test]
fn a_revocation_that_was_seen_is_not_undone_by_taking_its_signatures() {
    let world = World::new();
    revoke(&world, "m:1");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity);
    strip(&world.path("revocations/1.dsse.json"));
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity, "it did not lapse");
}

#[test]
fn a_statement_of_freshness_demands_the_revocations_before_the_one_it_names() {
    let (world, _) = world_with_toy();
    world.promote("m:2", "fresh", "alice").expect("in force");
    let first = revoke(&world, "m:1").id;
    toy(&world, 2, Some(first));
    let mut clock = world.gate().expect("gate");
    let stated = clock.state_freshness(&channel("m@fresh"), 3600, &world.keys["clock"]).expect("stated");
    assert_eq!(stated.revocation, Some(2));
    clock.close().expect("closed");
    let newcomer = || world.open_with(world.stranger().expect("gate"), "m@fresh");
    assert_eq!(newcomer().expect("opens"), b"m:2");
    fs::remove_file(world.path("revocations/1.dsse.json")).expect("hidden");
    let hidden = newcomer().expect_err("the first is hidden");
    assert!(matches!(&hidden, Error::Stale { .. }) && hidden.to_string().contains("leads to"), "{hidden}");
}

#[test]
fn a_record_by_a_stolen_key_is_in_the_way_of_one_promotion_and_no_more() {
    let world = World::new();
    world.release("m:1");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    let production = channel("m@production");
    // It takes two: the other is somebody who is past believing, too.
    let stolen = |generation: u64| {
        let asked = link(&world, "trainer", generation, None);
        Promotion::new(&production, &name("m:1"), asked, at(NOON), at("2026-12-20T12:00:00Z")).expect("legal")
    };
    let before = world.promote("m:2", "production", "trainer").expect("proposed");
    assert_eq!(before.generation, 2);
    plant(&world, "models/m/channels/production", subject(&world, "m:1"), stolen(31), &["trainer", "carol", "bob"]);
    assert_eq!(kind(world.open("m@production")), Kind::Stale);
    assert_eq!(
        kind(world.approve(&before, "alice")),
        Kind::Conflict,
        "it would stand below what makes the channel stale"
    );
    let next = world.promote("m:2", "production", "trainer").expect("proposed");
    assert_eq!(next.generation, 32);
    world.approve(&next, "alice").expect("signed");
    assert!(world.approve(&next, "bob").expect("signed").published);
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
}

#[test]
fn what_a_retired_key_signed_and_keeps_binds_its_holder() {
    let world = World::new();
    let first = world.promote("m:1", "production", "alice2").expect("asked");
    let line = format!("status = \"retired\"\nkeeps = [\"b3:{}\"]", first.id);
    world.next_root(&world.pinned, &["alice", "bob"], with_key_line("alice2", &line)).expect("second");
    assert_eq!(kind(world.promote("m:2", "production", "alice")), Kind::Conflict, "it still counts");
}

#[test]
fn a_revocation_that_was_shown_as_junk_for_a_while_is_seen_when_it_is_there() {
    let world = World::new();
    revoke(&world, "m:1");
    let mut gate = world.stranger().expect("gate");
    gate.propose_revocation(&name("m:2"), "leaks", &world.keys["alice"]).expect("revoked");
    let second = world.path("revocations/2.dsse.json");
    let kept = fs::read(&second).expect("read");
    fs::write(&second, "junk").expect("swapped");
    assert_eq!(world.open("m:2").expect("it cannot know"), b"m:2");
    fs::write(&second, kept).expect("back");
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
}
