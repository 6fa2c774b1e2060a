//! Sharing with somebody new, removing somebody, and what hostile generations do.

use super::*;

struct Shared {
    fixture: Fixture,
    artifact: Artifact,
}

impl Shared {
    fn new() -> Self {
        let fixture = Fixture::new();
        two_files(&fixture, "m:1");
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        Self { fixture, artifact }
    }

    fn share(&self, change: &Change) -> Result<Access> {
        let Self { fixture, artifact } = self;
        fixture.vault.share(artifact, &fixture.policy(), &fixture.ring, change, &fixture.signer)
    }

    fn access(&self) -> Access {
        self.fixture.vault.access(&self.artifact, &self.fixture.policy()).expect("access")
    }

    fn plant(&self, generation: u64, envelope: &[u8]) {
        let path = self.fixture.dir.path().join(recipients_path(self.artifact.digest, generation));
        fs::write(path, envelope).expect("planted");
    }

    fn generation(&self, generation: u64) -> Vec<u8> {
        let path = self.fixture.dir.path().join(recipients_path(self.artifact.digest, generation));
        fs::read(path).expect("there")
    }

    /// A generation signed by `signer` with the stanzas that count now.
    fn signed(&self, subject: Subject, generation: u64, signer: &SigningKey) -> Vec<u8> {
        let stanzas = self.access().stanzas;
        let record = RecipientsRecord::new(generation, None, None, &stanzas);
        seal::sign(subject, record.expect("legal"), signer).expect("signed")
    }
}

fn add(identity: &Identity) -> Change {
    let add = Audience { recipients: vec![identity.recipient().clone()], passphrases: Vec::new() };
    Change { add, ..Change::default() }
}

#[test]
fn a_new_recipient_opens_and_a_removed_one_does_not() {
    let mut shared = Shared::new();
    let newcomer = Identity::generate(RecipientKind::XWing).expect("key");
    let objects = |shared: &Shared| {
        let all = shared.fixture.objects();
        all.into_iter().filter(|path| path.components().any(|c| c.as_os_str() == "objects")).collect::<Vec<_>>()
    };
    let before = objects(&shared);
    assert_eq!(shared.share(&add(&newcomer)).expect("shared").generation, 2);
    assert_eq!(shared.share(&add(&newcomer)).expect("no change").generation, 2);
    assert_eq!(objects(&shared), before, "no weights were touched");

    let first = shared.fixture.ring.identities.remove(0);
    shared.fixture.ring.identities.push(Box::new(newcomer));
    assert_eq!(shared.fixture.read("m:1", "config.json").expect("opens"), b"{}");

    let remove = Change { remove: vec![first.key_id()], ..Change::default() };
    assert_eq!(shared.share(&remove).expect("removed").generation, 3);
    assert_eq!(kind(shared.share(&remove)), Kind::NotFound);
    shared.fixture.ring.identities = vec![first];
    assert_eq!(kind(shared.fixture.read("m:1", "config.json")), Kind::NoKey);
}

#[test]
fn the_last_recipient_cannot_be_removed_and_a_stranger_cannot_share() {
    let mut shared = Shared::new();
    let only = shared.fixture.ring.identities[0].key_id();
    assert_eq!(kind(shared.share(&Change { remove: vec![only], ..Change::default() })), Kind::Usage);
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    shared.fixture.ring = Keyring { identities: vec![Box::new(newcomer)], passphrases: Vec::new() };
    let other = Identity::generate(RecipientKind::X25519).expect("key");
    assert_eq!(kind(shared.share(&add(&other))), Kind::NoKey);
}

#[test]
fn generations_that_are_not_valid_are_skipped_reported_and_burn_their_number() {
    let shared = Shared::new();
    let subject = shared.artifact.subject;
    let stranger = SigningKey::generate().expect("key");
    let mut unsigned: serde_json::Value = serde_json::from_slice(&shared.generation(1)).expect("JSON");
    unsigned["signatures"] = serde_json::json!([]);
    shared.plant(2, unsigned.to_string().as_bytes());
    shared.plant(3, &shared.signed(subject, 3, &stranger));
    shared.plant(4, b"not an envelope");
    // Generation 1, signed as such, presented as generation 5.
    shared.plant(5, &shared.generation(1));
    // A generation of another artifact.
    shared.plant(6, &shared.signed(Subject::of(b"another manifest"), 6, &shared.fixture.signer));

    let access = shared.access();
    assert_eq!(access.generation, 1);
    let reasons: Vec<_> = access.skipped.iter().map(|s| (s.generation, s.reason.to_string())).collect();
    assert_eq!(reasons.iter().map(|(generation, _)| *generation).collect::<Vec<_>>(), [6, 5, 4, 3, 2]);
    for (reason, expected) in
        reasons.iter().zip(["another artifact", "another generation", "envelope", "no valid signature", "not signed"])
    {
        assert!(reason.1.contains(expected), "{reason:?}");
    }
    assert!(shared.fixture.read("m:1", "config.json").is_ok(), "not a denial of service");

    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    assert_eq!(shared.share(&add(&newcomer)).expect("shared").generation, 7);
}

#[test]
fn a_million_stanzas_are_refused_by_their_length_alone() {
    let shared = Shared::new();
    shared.plant(2, &vec![b'['; 5 << 20]);
    let access = shared.access();
    assert_eq!((access.generation, access.skipped.len()), (1, 1));
    let reason = access.skipped[0].reason.to_string();
    assert!(reason.contains("exceeds the limit of 4194304"), "{reason}");
}

#[test]
fn junk_under_the_highest_number_does_not_undo_a_removal() {
    let mut shared = Shared::new();
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    shared.share(&add(&newcomer)).expect("shared");
    shared.plant(9_007_199_254_740_991, b"junk");
    shared.plant(9_007_199_254_740_992, b"junk");
    let remove = Change { remove: vec![newcomer.key_id()], ..Change::default() };
    assert_eq!(shared.share(&remove).expect("removed").generation, 3);
    shared.fixture.ring.identities = vec![Box::new(newcomer)];
    assert_eq!(kind(shared.fixture.read("m:1", "config.json")), Kind::NoKey);
}

#[test]
fn a_foreign_stanza_in_a_signed_generation_does_not_unlock() {
    let shared = Shared::new();
    let other = Fixture::new();
    two_files(&other, "m:1");
    let theirs = other.vault.resolve(&reference("m:1"), &other.policy()).expect("resolved");
    let stanzas = other.vault.access(&theirs, &other.policy()).expect("access").stanzas;
    let record = RecipientsRecord::new(2, None, None, &stanzas).expect("legal");
    let envelope = seal::sign(shared.artifact.subject, record, &shared.fixture.signer).expect("signed");
    shared.plant(2, &envelope);
    let policy = shared.fixture.policy();
    assert_eq!(kind(shared.fixture.vault.unlock(&shared.artifact, &policy, &other.ring)), Kind::NoKey);
}

#[test]
fn stanzas_added_dropped_or_reordered_break_the_signature() {
    let shared = Shared::new();
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    shared.share(&add(&newcomer)).expect("shared");
    let envelope = shared.generation(2);
    let parsed = crate::provenance::Envelope::parse(&envelope).expect("envelope");
    let statement = Statement::<RecipientsRecord>::parse(parsed.payload()).expect("statement");
    let stanzas = statement.predicate.stanzas().expect("legal");
    let reordered = [stanzas[1].clone(), stanzas[0].clone()];
    let added = [stanzas[0].clone(), stanzas[1].clone(), stanzas[0].clone()];
    for forged in [&stanzas[..1], &reordered[..], &added[..]] {
        let record = RecipientsRecord::new(2, None, None, forged).expect("legal");
        let payload = Statement { subject: shared.artifact.subject, predicate: record }.to_vec().expect("written");
        let mut json: serde_json::Value = serde_json::from_slice(&envelope).expect("JSON");
        json["payload"] = canonical::encode_base64(&payload).into();
        shared.plant(2, json.to_string().as_bytes());
        assert_eq!(shared.access().generation, 1);
    }
}

#[test]
fn junk_above_the_generation_that_counts_is_named_when_there_is_too_much_of_it() {
    let fixture = Fixture::new();
    fixture.seal("m:1", &[("a", b"x")]);
    let digest = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there").digest;
    let plant =
        |number: u64| fs::write(fixture.dir.path().join(recipients_path(digest, number)), b"{}").expect("planted");
    (1000..1099).for_each(plant);
    assert!(fixture.read("m:1", "a").is_ok(), "ninety-nine stop nothing");
    plant(1 << 50);
    let error = fixture.read("m:1", "a").expect_err("a hundred do");
    assert_eq!(error.kind(), Kind::Authenticity);
    assert!(error.to_string().contains("more than 100 generations that do not count"), "{error}");
    (2000..2400).for_each(plant);
    let error = fixture.read("m:1", "a").expect_err("however many");
    assert!(error.to_string().contains("more than 100 generations that do not count"), "{error}");
}

#[test]
fn whoever_owns_the_store_replays_no_generation_and_gives_nobody_a_key_back() {
    let mut shared = Shared::new();
    two_files(&shared.fixture, "m:2");
    let sibling = shared.fixture.vault.resolve(&reference("m:2"), &shared.fixture.policy()).expect("resolved");
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    shared.share(&add(&newcomer)).expect("shared");
    let (first, second) = (shared.generation(1), shared.generation(2));
    // The share of one artifact is none of its sibling, under whatever number.
    for generation in 1..4 {
        let path = shared.fixture.dir.path().join(recipients_path(sibling.digest, generation));
        fs::write(path, &second).expect("planted");
    }
    let theirs = shared.fixture.vault.access(&sibling, &shared.fixture.policy());
    assert_eq!(kind(theirs), Kind::Authenticity);
    shared.share(&Change { remove: vec![newcomer.key_id()], ..Change::default() }).expect("removed");
    // What counted once counts under its own number only.
    shared.plant(4, &second);
    shared.plant(5, &first);
    shared.plant(6, &second);
    let access = shared.access();
    assert_eq!((access.generation, access.stanzas.len(), access.skipped.len()), (3, 1, 3));
    shared.fixture.ring.identities = vec![Box::new(newcomer)];
    assert_eq!(kind(shared.fixture.read("m:1", "config.json")), Kind::NoKey);
}

#[test]
fn whoever_owns_the_store_hides_the_newest_generation_and_can_do_no_more() {
    let shared = Shared::new();
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    shared.share(&add(&newcomer)).expect("shared");
    let path = |generation| shared.fixture.dir.path().join(recipients_path(shared.artifact.digest, generation));
    let (old, new) = (path(1), path(2));
    let (first, second) = (shared.generation(1), shared.generation(2));
    // The generations before it are not needed, and not looked for.
    fs::remove_file(&old).expect("removed");
    assert_eq!(shared.access().generation, 2);
    // Nothing of it can be changed: any other byte, and it is no generation at all.
    for at in (0..second.len()).step_by(97) {
        let mut changed = second.clone();
        changed[at] ^= 1;
        fs::write(&new, &changed).expect("changed");
        let policy = shared.fixture.policy();
        let access = shared.fixture.vault.access(&shared.artifact, &policy);
        assert_eq!(kind(access), Kind::Authenticity, "byte {at}");
    }
    fs::write(&new, &second).expect("put back");
    // Hidden, it is as if it had never been, which THREAT_MODEL.md says; whoever can open it shares it again.
    let hidden = tempfile::tempdir().expect("folder");
    let kept = hidden.path().join("2");
    fs::rename(&new, &kept).expect("hidden");
    fs::write(&old, first).expect("put back");
    let access = shared.access();
    assert_eq!((access.generation, access.stanzas.len()), (1, 1));
    assert_eq!(shared.share(&add(&newcomer)).expect("shared again").generation, 2);
    assert_ne!(shared.generation(2), fs::read(kept).expect("kept"), "made anew, and not the one that was hidden");
}
