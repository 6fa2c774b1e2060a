//! Records that were tampered with, made with stolen keys, or made at the same time.

use super::*;
use crate::{
    canonical::Time,
    provenance::{Chained, Link, Newest, Promotion, Provenance, Revocation, Subject},
    vault::{Change, chain::record_path, channel::channel_folder},
};

pub(super) fn name(text: &str) -> VersionName {
    text.parse().expect("a name")
}

pub(super) fn channel(text: &str) -> ChannelName {
    text.parse().expect("a channel")
}

pub(super) fn revoke(world: &World, version: &str) -> Proposal {
    let mut gate = world.gate().expect("gate");
    let revoked = gate.propose_revocation(&name(version), "leaks", &world.keys["alice"]).expect("revoked");
    gate.close().expect("remembered");
    revoked
}

/// Takes all signatures away.
pub(super) fn strip(path: &std::path::Path) {
    let envelope = Envelope::parse_record(&fs::read(path).expect("read")).expect("an envelope");
    let bare = Envelope::unsigned(crate::provenance::PAYLOAD_TYPE, envelope.payload().to_vec());
    fs::write(path, bare.to_vec().expect("written")).expect("stripped");
}

pub(super) fn subject(world: &World, version: &str) -> Subject {
    world.gate().expect("gate").resolve(&reference(version)).expect("there").subject
}

pub(super) fn link(world: &World, by: &str, generation: u64, previous: Option<blake3::Hash>) -> Link {
    let requested_by = world.public(by).key_id();
    Link { generation, previous, trust_root: world.pinned.origin(), requested_by, reason: "forged".into() }
}

/// Puts a record under its number, signed by these.
pub(super) fn plant<R: Chained>(world: &World, folder: &str, subject: Subject, record: R, by: &[&str]) -> blake3::Hash {
    let path = world.path(&record_path(folder, record.generation()));
    let payload = Statement { subject, predicate: record }.to_vec().expect("written");
    let digest = blake3::hash(&payload);
    let mut envelope = Envelope::unsigned(crate::provenance::PAYLOAD_TYPE, payload);
    for name in by {
        envelope.add_signature(&world.keys[name]).expect("signed");
    }
    fs::create_dir_all(path.parent().expect("folder")).expect("folders");
    fs::write(path, envelope.to_vec().expect("written")).expect("planted");
    digest
}

pub(super) fn at(text: &str) -> Time {
    text.parse().expect("a time")
}

#[test]
fn a_revocation_whose_signatures_are_taken_away_still_counts() {
    let world = World::new();
    revoke(&world, "m:1");
    revoke(&world, "m:2");
    strip(&world.path("revocations/1.dsse.json"));
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m:1")), Kind::Authenticity);
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity, "judged anew under another root");
    assert_eq!(world.gate().expect("gate").all_revocations().expect("listed").len(), 2);
    // Of the newest nobody vouches; who saw it knows.
    strip(&world.path("revocations/2.dsse.json"));
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m:2").expect("cannot know"), b"m:2");
}

#[test]
fn a_revocation_lasts_although_its_key_is_compromised_if_another_follows() {
    let world = World::new();
    let mut gate = world.gate().expect("gate");
    gate.propose_revocation(&name("m:1"), "leaks", &world.keys["carol"]).expect("revoked");
    drop(gate);
    revoke(&world, "m:2");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"compromised\""))
        .expect("second");
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m:1")), Kind::Authenticity);
}

#[test]
fn two_revocations_made_at_the_same_time_both_count() {
    let world = World::new();
    let first = revoke(&world, "m:1").id;
    revoke(&world, "m:2");
    world.gate().expect("seen").close().expect("remembered");
    let record = Revocation::new(&name("m:3"), link(&world, "bob", 3, Some(first)), at(NOON)).expect("legal");
    plant(&world, "revocations", subject(&world, "m:3"), record, &["bob"]);
    for version in ["m:1", "m:2", "m:3"] {
        assert_eq!(kind(world.open(version)), Kind::Authenticity, "{version}");
        assert_eq!(kind(world.open_with(world.stranger().expect("gate"), version)), Kind::Authenticity, "{version}");
    }
    world.seal("m:4", Some(world.pinned.origin()));
    assert_eq!(revoke(&world, "m:4").generation, 4);
    assert_eq!(kind(world.open("m:4")), Kind::Authenticity);
}

#[test]
fn a_revocation_is_for_versions_of_the_model_it_names() {
    let world = World::new();
    let record = Revocation::new(&name("toy:1"), link(&world, "carol", 1, None), at(NOON)).expect("legal");
    plant(&world, "revocations", subject(&world, "m:1"), record, &["carol"]);
    assert_eq!(world.open("m:1").expect("another model's people do not decide"), b"m:1");
    let digest = world.gate().expect("gate").resolve(&reference("m:1")).expect("there").digest.to_string();
    assert_eq!(kind(world.open(&digest)), Kind::Authenticity, "without a name, caution");
}

#[test]
fn a_second_listing_of_the_revocations_knows_the_remembered_ones() {
    let world = World::new();
    revoke(&world, "m:1");
    revoke(&world, "m:2");
    let again = world.gate().expect("gate");
    let artifact = |version: &str| world.fixture.vault.resolve(&reference(version), &again.policy()).expect("there");
    for version in ["m:1", "m:2"] {
        assert!(again.revocations().contains(artifact(version).digest, artifact(version).model()), "{version}");
    }
    assert!(!again.revocations().contains(artifact("m:3").digest, None));
}

#[test]
fn the_highest_number_of_all_is_out_of_reach() {
    let world = World::new();
    let last = (1 << 53) - 1;
    let record = Revocation::new(&name("m:3"), link(&world, "carol", last, None), at(NOON)).expect("legal");
    plant(&world, "revocations", subject(&world, "m:3"), record, &["carol"]);
    assert_eq!(revoke(&world, "m:1").generation, 1);
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity);
    assert_eq!(world.open("m:3").expect("a number that nobody could have reached"), b"m:3");
    let staging = channel("m@staging");
    let times = (at(NOON), at("2026-12-01T12:00:00Z"));
    let record = Promotion::new(&staging, &name("m:3"), link(&world, "alice", last, None), times.0, times.1);
    plant(&world, &channel_folder(&staging), subject(&world, "m:3"), record.expect("legal"), &["alice"]);
    assert_eq!(world.promote("m:2", "staging", "bob").expect("in force").generation, 1);
    assert_eq!(world.open("m@staging").expect("opens"), b"m:2");
}

#[test]
fn a_promotion_whose_signatures_are_taken_away_is_no_reason_to_go_around_it() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    strip(&world.path("models/m/channels/production/2.dsse.json"));
    assert_eq!(kind(world.open("m@production")), Kind::Stale);
    assert_eq!(kind(world.promote("m:3", "production", "trainer")), Kind::Stale, "nobody signs a fork by mistake");
}

#[test]
fn when_the_newest_promotion_counts_no_more_a_newcomer_does_not_get_the_one_before() {
    let world = World::new();
    world.release("m:1");
    let proposal = world.promote("m:2", "production", "trainer").expect("proposed");
    world.approve(&proposal, "bob").expect("signed");
    world.approve(&proposal, "carol").expect("signed");
    world.next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", "status = \"retired\"")).expect("second");
    assert_eq!(kind(world.open_with(world.stranger().expect("gate"), "m@production")), Kind::Stale);
    world.release("m:3");
    assert_eq!(world.open_with(world.stranger().expect("gate"), "m@production").expect("opens"), b"m:3");
}

#[test]
fn no_promotion_counts_longer_than_its_rule_allows() {
    let world = World::new();
    let production = channel("m@production");
    let times = (at(NOON), at("9998-12-31T00:00:00Z"));
    let record = Promotion::new(&production, &name("m:1"), link(&world, "trainer", 1, None), times.0, times.1);
    let by = ["trainer", "alice", "bob"];
    plant(&world, &channel_folder(&production), subject(&world, "m:1"), record.expect("legal"), &by);
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    let later = world.gate_at("2026-12-21T12:06:00Z").expect("gate");
    assert_eq!(kind(world.open_with(later, "m@production")), Kind::Stale, "thirty days are over");
    let early = world.gate_at("2026-11-21T11:00:00Z").expect("gate");
    assert_eq!(kind(world.open_with(early, "m@production")), Kind::Stale, "it is not made yet, and was seen");
}

#[test]
fn a_copy_without_its_approvals_under_the_number_is_not_in_force() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    let folder = world.path(&format!("proposals/{}", proposal.id.to_hex()));
    let copy = fs::read_dir(folder).expect("folder").next().expect("one").expect("entry").path();
    let place = world.path("models/m/channels/production/1.dsse.json");
    fs::create_dir_all(place.parent().expect("folder")).expect("folders");
    fs::copy(copy, place).expect("planted");
    assert_eq!(
        kind(world.approve(&proposal, "alice")),
        Kind::Conflict,
        "the number is burnt, and nobody is told otherwise"
    );
    let again = world.promote("m:1", "production", "carol").expect("proposed");
    assert_eq!(again.generation, 2);
    world.approve(&again, "alice").expect("signed");
    assert!(world.approve(&again, "bob").expect("signed").published);
    assert!(world.approve(&again, "bob").expect("again").published);
    world.release("m:2");
    assert_eq!(world.approve(&again, "bob").expect("long ago").superseded, Some(3));
}

#[test]
fn junk_beside_a_real_signature_hides_nothing() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    world.approve(&proposal, "alice").expect("signed");
    let folder = world.path(&format!("proposals/{}", proposal.id.to_hex()));
    let alice = world.public("alice").key_id().to_hex();
    for entry in fs::read_dir(&folder).expect("folder") {
        let path = entry.expect("entry").path();
        let text = fs::read_to_string(&path).expect("read");
        let junk =
            text.replacen(r#""signatures":["#, &format!(r#""signatures":[{{"keyid":"{alice}","sig":"AAAA"}},"#), 1);
        fs::write(&path, junk).expect("planted");
    }
    assert!(world.approve(&proposal, "bob").expect("signed").published);
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
}

#[test]
fn a_number_that_is_stuck_can_be_withdrawn_by_whoever_may_approve() {
    let world = World::new();
    let stuck = world.promote("m:1", "production", "trainer").expect("proposed");
    world.approve(&stuck, "alice").expect("signed");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("trainer", "status = \"compromised\""))
        .expect("second");
    let withdraw = |by: &str| world.gate().and_then(|mut gate| gate.withdraw(stuck.id, &world.keys[by]));
    assert_eq!(kind(withdraw("mallory")), Kind::Authenticity);
    withdraw("alice").expect("withdrawn");
    let mut gate = world.gate().expect("gate");
    assert_eq!(gate.proposals().expect("listed").len(), 0);
}

#[test]
fn roots_of_strangers_and_junk_do_not_keep_the_real_one_out() {
    let world = World::new();
    let folder = world.path("trust/2");
    fs::create_dir_all(&folder).expect("folder");
    let other = World::new();
    let foreign = other.next_root(&other.pinned, &["alice", "bob"], |text| text).expect("second");
    fs::write(folder.join(format!("{}.dsse.json", "0".repeat(64))), foreign.envelope()).expect("planted");
    for number in 0..150 {
        fs::write(folder.join(format!("{number:064x}.dsse.json")), "junk").expect("planted");
    }
    let second = world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("published all the same");
    assert_eq!(world.gate().expect("followed").rooted().reached().digest(), second.digest());
    let text = source(&world.keys, |text| text);
    let third = signed_root(&text, Some(&second), NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let vault = &world.fixture.vault;
    let itself = Reached::pin(&third).expect("a root");
    assert_eq!(kind(vault.publish_root(&third, Some(itself))), Kind::Usage, "nothing vouches for it");
    assert_eq!(kind(vault.publish_root(&third, None)), Kind::Usage);
    vault.publish_root(&third, Some(second)).expect("published");
}

#[test]
fn junk_statements_and_a_stolen_freshness_key_stop_nothing_that_does_not_depend_on_them() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    let mut gate = world.gate().expect("gate");
    gate.state_freshness(&channel("m@fresh"), 3600, &world.keys["clock"]).expect("stated");
    drop(gate);
    let folder = world.path("freshness/m/channels/fresh");
    for number in 0..200_u64 {
        fs::write(folder.join(format!("{}.dsse.json", (1 << 53) - 1 - number)), "junk").expect("planted");
    }
    assert_eq!(world.open("m@fresh").expect("opens"), b"m:1");
    let genuine = fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path());
    let genuine = genuine.min_by_key(|path| path.as_os_str().len()).expect("one");
    fs::rename(genuine, folder.join("1795262600.dsse.json")).expect("moved to another time");
    assert_eq!(kind(world.open("m@fresh")), Kind::Stale);

    world.release("m:1");
    let newest = Newest { generation: (1 << 53) - 1, digest: blake3::hash(b"") };
    let lie = crate::provenance::Freshness::new(
        &channel("m@production"),
        (newest, None),
        (world.pinned.origin(), 1),
        (at(NOON), at("9998-12-31T00:00:00Z")),
    );
    let statement = Statement { subject: subject(&world, "m:1"), predicate: lie };
    let envelope = Envelope::sign(statement.to_vec().expect("written"), &world.keys["clock"]).expect("signed");
    let path = world.path(&format!("freshness/m/channels/production/{}.dsse.json", at(NOON).seconds()));
    fs::create_dir_all(path.parent().expect("folder")).expect("folders");
    fs::write(path, envelope.to_vec().expect("written")).expect("planted");
    assert_eq!(world.open("m@production").expect("nobody demanded a statement"), b"m:1");
}

#[test]
fn a_scanner_does_not_say_how_an_artifact_came_to_be() {
    let world = World::new();
    let artifact = world.gate().expect("gate").resolve(&reference("m:1")).expect("there");
    let predicate = serde_json::to_vec(&Provenance::of_seal(&name("m:9"))).expect("written");
    let slsa = "https://slsa.dev/provenance/v1".parse().expect("a type");
    let attested = Attested::parse(&slsa, &predicate).expect("a predicate");
    let added = world.fixture.vault.attest(&artifact, attested, &world.keys["scanner"]).expect("added");
    let policy = world.gate().expect("gate").policy();
    let listed = world.fixture.vault.attestations(&artifact, &policy).expect("listed");
    let counts = |sha256: &str| listed.iter().any(|a| a.sha256 == sha256 && !a.signers.is_empty());
    assert!(!counts(&added.sha256));
    assert_eq!(listed.iter().filter(|a| !a.signers.is_empty()).count(), 1, "the sealer's own");
}

#[test]
fn recipients_count_if_a_share_key_of_this_root_signed_them() {
    let world = World::new();
    let policy = world.gate().expect("gate").policy();
    let artifact = world.gate().expect("gate").resolve(&reference("m:1")).expect("there");
    let friend = Identity::generate(RecipientKind::X25519).expect("key");
    let change = || Change {
        add: Audience { recipients: vec![friend.recipient().clone()], passphrases: Vec::new() },
        ..Change::default()
    };
    let share =
        |by: &str| world.fixture.vault.share(&artifact, &policy, &world.fixture.ring, &change(), &world.keys[by]);
    for nobody in ["alice", "scanner", "mallory"] {
        assert_eq!(kind(share(nobody)), Kind::Authenticity, "{nobody}");
    }
    assert_eq!(share("carol").expect("shared").generation, 2);
    let stanzas = world.fixture.vault.access(&artifact, &policy).expect("access").stanzas;
    let foreign = RecipientsRecord::new(3, None, Some(blake3::hash(b"another root")), &stanzas).expect("legal");
    let statement = Statement { subject: artifact.subject, predicate: foreign };
    let envelope = Envelope::sign(statement.to_vec().expect("written"), &world.keys["carol"]).expect("signed");
    let path = world.path(&recipients_path(artifact.digest, 3));
    fs::write(path, envelope.to_vec().expect("written")).expect("planted");
    assert_eq!(world.fixture.vault.access(&artifact, &policy).expect("access").generation, 2);
}

#[test]
fn a_statement_of_another_record_under_the_same_number_is_a_fork() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    revoke(&world, "m:2");
    let head = world.gate().expect("gate").head(&channel("m@fresh")).expect("unbroken").expect("there").newest();
    let revoked = world.gate().expect("gate").revocations().newest().expect("one");
    let path = world.path(&format!("freshness/m/channels/fresh/{}.dsse.json", at(NOON).seconds()));
    fs::create_dir_all(path.parent().expect("folder")).expect("folders");
    let state = |head: Newest, revoked: Newest| {
        let times = (at(NOON), at("2026-11-21T13:00:00Z"));
        let origin = world.pinned.origin();
        let said = crate::provenance::Freshness::new(&channel("m@fresh"), (head, Some(revoked)), (origin, 1), times);
        let statement = Statement { subject: subject(&world, "m:1"), predicate: said };
        let envelope = Envelope::sign(statement.to_vec().expect("written"), &world.keys["clock"]).expect("signed");
        fs::write(&path, envelope.to_vec().expect("written")).expect("planted");
    };
    let other = |newest: Newest| Newest { digest: blake3::hash(b"another"), ..newest };
    state(other(head), revoked);
    assert_eq!(kind(world.open("m@fresh")), Kind::Authenticity, "another promotion");
    state(head, other(revoked));
    assert_eq!(kind(world.open("m@fresh")), Kind::Authenticity, "another revocation");
    state(head, revoked);
    assert_eq!(world.open("m@fresh").expect("opens"), b"m:1");
}
