//! What is checked last: before somebody signs, and of what somebody signed who may.

use super::{
    forging::{at, channel, link, name, plant, revoke, strip, subject},
    *,
};
use crate::{
    provenance::{Chained, Freshness, Link, PAYLOAD_TYPE, Promotion, Revocation, VersionRecord},
    vault::{chain::record_path, channel::channel_folder},
};

fn promotion(to: &str, version: &str, link: Link) -> Promotion {
    let times = (at(NOON), at("2026-12-01T12:00:00Z"));
    Promotion::new(&channel(to), &name(version), link, times.0, times.1).expect("legal")
}

fn revocation(version: &str, link: Link) -> Revocation {
    Revocation::new(&name(version), link, at(NOON)).expect("legal")
}

/// Puts a record among the proposals, signed by this one, who cares about nothing.
fn ask<R: Chained>(world: &World, subject: Subject, record: R, by: &str) -> blake3::Hash {
    let payload = Statement { subject, predicate: record }.to_vec().expect("written");
    let id = blake3::hash(&payload);
    let envelope = Envelope::sign(payload, &world.keys[by]).expect("signed");
    world.fixture.vault.add_signature(id, &envelope).expect("added");
    id
}

fn signatures(world: &World, id: blake3::Hash) -> usize {
    fs::read_dir(world.path(&format!("proposals/{}", id.to_hex()))).expect("folder").count()
}

/// Why alice does not sign a proposal that nobody but who asked has signed.
fn refused(world: &World, id: blake3::Hash) -> Error {
    let refused = world.gate().expect("gate").approve(id, None, &world.keys["alice"]).expect_err("refused");
    assert_eq!(signatures(world, id), 1, "nothing is signed: {refused}");
    refused
}

/// Revokes a version by a record that names another one before it.
fn revoke_after(world: &World, version: &str, generation: u64, previous: blake3::Hash) {
    let record = revocation(version, link(world, "alice", generation, Some(previous)));
    plant(world, "revocations", subject(world, version), record, &["alice"]);
}

/// Writes a record anew with another text in it, signed by the same.
fn rewrite(world: &World, path: &str, (from, to): (&str, &str), by: &[&str]) -> blake3::Hash {
    let path = world.path(path);
    let envelope = Envelope::parse_record(&fs::read(&path).expect("read")).expect("an envelope");
    let text = std::str::from_utf8(envelope.payload()).expect("UTF-8");
    assert!(text.contains(from), "{from} in {text}");
    let payload = text.replace(from, to).into_bytes();
    let digest = blake3::hash(&payload);
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload);
    for name in by {
        envelope.add_signature(&world.keys[name]).expect("signed");
    }
    fs::write(path, envelope.to_vec().expect("written")).expect("rewritten");
    digest
}

#[test]
fn who_expects_another_artifact_signs_nothing() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    let approve = |expected| world.gate().expect("gate").approve(proposal.id, Some(expected), &world.keys["alice"]);
    assert_eq!(kind(approve(subject(&world, "m:2").blake3)), Kind::Authenticity);
    assert_eq!(signatures(&world, proposal.id), 1, "who asked");
    let other = world.promote("m:2", "production", "carol").expect("proposed");
    world.approve(&other, "alice").expect("nothing was signed that contradicts it");
    let revoked = ask(&world, subject(&world, "m:3"), revocation("m:3", link(&world, "carol", 1, None)), "carol");
    let about = |version: &str| {
        let expected = subject(&world, version).blake3;
        world.gate().expect("gate").approve(revoked, Some(expected), &world.keys["bob"])
    };
    assert_eq!(kind(about("m:1")), Kind::Authenticity);
    assert!(about("m:3").expect("as expected").published);
}

#[test]
fn nobody_approves_a_version_that_is_another_artifact_than_proposed() {
    let world = World::new();
    let other = subject(&world, "m:2");
    let asked = link(&world, "trainer", 1, None);
    let promoted = ask(&world, other, promotion("m@production", "m:1", asked), "trainer");
    let revoked = ask(&world, other, revocation("m:1", link(&world, "carol", 1, None)), "carol");
    for id in [promoted, revoked] {
        let told = refused(&world, id).to_string();
        assert!(told.contains("is another artifact than the one proposed"), "{told}");
    }
}

#[test]
fn nobody_approves_what_was_revoked_since() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    revoke(&world, "m:1");
    let told = refused(&world, proposal.id).to_string();
    assert!(told.contains("is revoked"), "{told}");
}

#[test]
fn nobody_approves_what_lacks_a_demanded_attestation() {
    let world = World::new();
    let record = promotion("m@scanned", "m:1", link(&world, "trainer", 1, None));
    let id = ask(&world, subject(&world, "m:1"), record, "trainer");
    assert_eq!(refused(&world, id).kind(), Kind::Authenticity);
    let scan = Attested::parse(&"https://example.com/scan/v1".parse().expect("a type"), br#"{"clean":true}"#)
        .expect("a predicate");
    let artifact = world.gate().expect("gate").resolve(&reference("m:1")).expect("there");
    world.fixture.vault.attest(&artifact, scan, &world.keys["scanner"]).expect("added");
    assert!(world.gate().expect("gate").approve(id, None, &world.keys["alice"]).expect("signed").published);
}

#[test]
fn nobody_approves_what_follows_another_record_than_the_newest() {
    let world = World::new();
    world.release("m:1");
    revoke(&world, "m:3");
    let subject = subject(&world, "m:2");
    for previous in [None, Some(blake3::hash(b"another"))] {
        let asked = link(&world, "trainer", 2, previous);
        let promoted = ask(&world, subject, promotion("m@production", "m:2", asked), "trainer");
        let revoked = ask(&world, subject, revocation("m:2", link(&world, "carol", 2, previous)), "carol");
        for id in [promoted, revoked] {
            assert_eq!(refused(&world, id).kind(), Kind::Conflict, "{previous:?}");
        }
    }
}

#[test]
fn what_somebody_asked_for_who_may_not_never_counts_whoever_approved_it() {
    let world = World::new();
    let (subject, by) = (subject(&world, "m:1"), ["clock", "alice", "bob"]);
    let record = promotion("m@production", "m:1", link(&world, "clock", 1, None));
    plant(&world, &channel_folder(&channel("m@production")), subject, record, &by);
    assert_eq!(kind(world.open("m@production")), Kind::NotFound);
    plant(&world, "revocations", subject, revocation("m:1", link(&world, "clock", 1, None)), &by);
    assert_eq!(world.open("m:1").expect("not revoked"), b"m:1");
}

#[test]
fn a_record_that_says_what_no_record_may_counts_neither_by_its_signatures_nor_by_a_link() {
    let world = World::new();
    let (subject, staging) = (subject(&world, "m:1"), channel_folder(&channel("m@staging")));
    let reason = r#""reason":"forged""#;
    for change in
        [(reason, r#""reason":"""#), (reason, r#""reason":"two\nlines""#), (r#""version":"1""#, r#""version":"-""#)]
    {
        let record = promotion("m@staging", "m:1", link(&world, "alice", 1, None));
        plant(&world, &staging, subject, record, &["alice"]);
        rewrite(&world, &record_path(&staging, 1), change, &["alice"]);
        assert_eq!(kind(world.open("m@staging")), Kind::NotFound, "{change:?}");

        plant(&world, "revocations", subject, revocation("m:1", link(&world, "alice", 1, None)), &["alice"]);
        let first = rewrite(&world, "revocations/1.dsse.json", change, &["alice"]);
        assert_eq!(world.open("m:1").expect("not revoked"), b"m:1", "{change:?}");
        revoke_after(&world, "m:2", 2, first);
        let newcomer = world.open_with(world.stranger().expect("gate"), "m:3");
        assert_eq!(kind(newcomer), Kind::Integrity, "{change:?}: what is named is no record");
        fs::remove_dir_all(world.path("revocations")).expect("tidied");
    }
}

#[test]
fn a_statement_of_freshness_is_of_this_trust_root_and_of_no_time_to_come() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    let fresh = channel("m@fresh");
    let head = world.gate().expect("gate").head(&fresh).expect("unbroken").expect("there").newest();
    let state = |origin: blake3::Hash, made: &str| {
        let times = (at(made), at("2026-11-21T14:00:00Z"));
        let said = Freshness::new(&fresh, (head, None), (origin, 1), times);
        let statement = Statement { subject: subject(&world, "m:1"), predicate: said };
        let envelope = Envelope::sign(statement.to_vec().expect("written"), &world.keys["clock"]).expect("signed");
        let folder = world.path("freshness/m/channels/fresh");
        fs::create_dir_all(&folder).expect("folders");
        let path = folder.join(format!("{}.dsse.json", at(made).seconds()));
        fs::write(path, envelope.to_vec().expect("written")).expect("planted");
    };
    state(blake3::hash(b"another"), NOON);
    assert_eq!(kind(world.open("m@fresh")), Kind::Stale, "another trust root");
    state(world.pinned.origin(), "2026-11-21T12:05:01Z");
    assert_eq!(kind(world.open("m@fresh")), Kind::Stale, "clocks differ by five minutes at most");
    state(world.pinned.origin(), "2026-11-21T12:05:00Z");
    assert_eq!(world.open("m@fresh").expect("opens"), b"m:1");
}

#[test]
fn a_newer_revocation_that_a_statement_knows_cannot_be_hidden_behind_an_older_one() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    revoke(&world, "m:2");
    revoke(&world, "m:1");
    let mut gate = world.gate().expect("gate");
    gate.state_freshness(&channel("m@fresh"), 3600, &world.keys["clock"]).expect("stated");
    drop(gate);
    fs::remove_file(world.path("revocations/2.dsse.json")).expect("hidden");
    let newcomer = world.open_with(world.stranger().expect("gate"), "m@fresh").expect_err("stale");
    assert_eq!(newcomer.kind(), Kind::Stale);
    assert!(newcomer.to_string().contains("revocation 1"), "{newcomer}");
}

#[test]
fn nobody_states_that_what_is_left_of_a_channel_is_fresh() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    world.promote("m:2", "fresh", "carol").expect("in force");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    for gate in [world.gate(), world.stranger()] {
        let stated = gate.expect("gate").state_freshness(&channel("m@fresh"), 3600, &world.keys["clock"]);
        assert_eq!(kind(stated), Kind::Stale);
    }
    assert!(!world.path("freshness").exists(), "nothing is stated");
}

#[test]
fn a_promotion_that_counts_beside_the_chain_is_a_fork_for_everybody() {
    let world = World::new();
    let first = world.promote("m:1", "staging", "alice").expect("in force").id;
    let staging = channel_folder(&channel("m@staging"));
    for (number, version, by) in [(2, "m:2", "alice"), (3, "m:3", "bob")] {
        let record = promotion("m@staging", version, link(&world, by, number, Some(first)));
        plant(&world, &staging, subject(&world, version), record, &[by]);
    }
    let newcomer = || world.open_with(world.stranger().expect("gate"), "m@staging");
    assert_eq!(kind(newcomer()), Kind::Authenticity, "at first contact");
    assert_eq!(kind(world.open("m@staging")), Kind::Authenticity, "who saw the first");
    strip(&world.path(&record_path(&staging, 2)));
    assert_eq!(newcomer().expect("what does not count is no fork"), b"m:3");
    assert_eq!(world.open("m@staging").expect("nor for who saw the first"), b"m:3");
}

#[test]
fn a_revocation_of_another_trust_root_counts_neither_by_its_signatures_nor_by_a_link() {
    let world = World::new();
    let foreign = Link { trust_root: blake3::hash(b"another"), ..link(&world, "alice", 1, None) };
    let subject = subject(&world, "m:1");
    let first = plant(&world, "revocations", subject, revocation("m:1", foreign), &["alice"]);
    assert_eq!(world.open("m:1").expect("not revoked"), b"m:1");
    revoke_after(&world, "m:2", 2, first);
    for version in ["m:1", "m:3"] {
        assert_eq!(kind(world.open(version)), Kind::Integrity, "{version}: what is named is no record of this root");
    }
}

#[test]
fn a_revocation_under_another_number_than_its_own_revokes_nothing() {
    let world = World::new();
    revoke(&world, "m:1");
    let place = |number: u64| world.path(&record_path("revocations", number));
    fs::rename(place(1), place(2)).expect("moved");
    let newcomer = || world.open_with(world.stranger().expect("gate"), "m:1");
    assert_eq!(newcomer().expect("not revoked"), b"m:1");
    fs::rename(place(2), place(1)).expect("moved back");
    assert_eq!(kind(newcomer()), Kind::Authenticity);
}

#[test]
fn a_revocation_vouches_for_none_with_a_higher_number() {
    let world = World::new();
    let subject = subject(&world, "m:1");
    let higher = plant(&world, "revocations", subject, revocation("m:1", link(&world, "bob", 5, None)), &[]);
    revoke_after(&world, "m:2", 2, higher);
    for version in ["m:1", "m:3"] {
        assert_eq!(kind(world.open(version)), Kind::Integrity, "{version}: what is named is not below");
    }
}

#[test]
fn a_manifest_has_both_digests_that_are_signed() {
    let world = World::new();
    let predicate = VersionRecord::new(&name("m:1"), Some(world.pinned.origin())).expect("randomness");
    let subject = Subject { sha256: [0; 32], ..subject(&world, "m:1") };
    let statement = Statement { subject, predicate };
    let envelope = Envelope::sign(statement.to_vec().expect("written"), &world.keys["trainer"]).expect("signed");
    fs::write(world.path("models/m/versions/1.dsse.json"), envelope.to_vec().expect("written")).expect("replaced");
    assert_eq!(kind(world.open("m:1")), Kind::Integrity);
}

#[test]
fn a_revocation_takes_no_more_holders_than_have_a_release_key() {
    let world = World::new();
    let root = |threshold: u64, change: fn(String) -> String| {
        let rule = format!("[roles.revocation]\nthreshold = {threshold}\n[roles.root]");
        let text = source(&world.keys, |text| change(text.replace("[roles.root]", &rule)));
        draft(&text, None, clock(NOON), &mut |_| unreachable!("keys are written out"))
    };
    root(3, |text| text).expect("alice, bob and carol");
    for threshold in [0, 4] {
        assert_eq!(kind(root(threshold, |text| text)), Kind::Usage, "{threshold} of three holders with four keys");
    }
    let without_release = |text: String| {
        let start = text.find("[[roles.release]]").expect("there");
        let end = text.find("[[roles.freshness]]").expect("there");
        [&text[..start], &text[end..]].concat()
    };
    root(1, without_release).expect("nobody can revoke, and nobody can promote");
    assert_eq!(kind(root(2, without_release)), Kind::Usage);
}
