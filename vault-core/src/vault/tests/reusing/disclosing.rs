//! Reuse gives away keys: only to those who have them, or if somebody says so.

use super::*;

fn key() -> Identity {
    Identity::generate(RecipientKind::X25519).expect("key")
}

fn sealed() -> (Fixture, Vec<u8>) {
    let fixture = Fixture::new();
    fixture.seal_reusable("m:1", &[("m.safetensors", &Layers::new().file(""))]);
    (fixture, Layers::tuned().file(""))
}

fn reuse_for(fixture: &Fixture, previous: &Previous, name: &str, data: &[u8], audience: Audience) -> Result<Receipt> {
    let inputs = vec![input("m.safetensors", data)];
    let deduplication = Deduplication::Reuse(previous);
    fixture.vault.seal(SealRequest { audience, deduplication, ..fixture.request(name, inputs) }, &())
}

#[test]
fn a_recipient_who_cannot_open_the_earlier_version_is_refused_before_anything_is_read() {
    let (fixture, tuned) = sealed();
    let stranger = key();
    let mut both = fixture.audience();
    both.recipients.push(stranger.recipient().clone());
    let mut phrase = fixture.audience();
    phrase.passphrases.push(SecretVec::new(b"correct horse".to_vec()));
    let previous = fixture.previous("m:1").expect("known");
    let before = fixture.objects();
    for (audience, rule) in [(both.clone(), "cannot open b3:"), (phrase, "nobody can tell")] {
        let error = reuse_for(&fixture, &previous, "m:2", &tuned, audience).expect_err("disclosure");
        assert!(error.kind() == Kind::Usage && error.to_string().contains(rule), "{error}");
    }
    assert_eq!(fixture.objects(), before);

    let previous = previous.with_disclosure(Disclosure::Allow);
    reuse_for(&fixture, &previous, "m:2", &tuned, both).expect("allowed");
    let mut fixture = fixture;
    fixture.ring.identities = vec![Box::new(stranger)];
    assert!(fixture.read("m:2", "m.safetensors").expect("opens") == tuned, "without a key of the earlier version");
    assert_eq!(kind(fixture.read("m:1", "m.safetensors")), Kind::NoKey);
}

#[test]
fn who_holds_the_earlier_version_is_said_by_its_newest_recipients() {
    let (fixture, tuned) = sealed();
    let second = key();
    let add = Audience { recipients: vec![second.recipient().clone()], passphrases: Vec::new() };
    let share = |change: &Change| {
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        fixture.vault.share(&artifact, &fixture.policy(), &fixture.ring, change, &fixture.signer).expect("shared");
    };
    share(&Change { add: add.clone(), ..Change::default() });
    let previous = fixture.previous("m:1").expect("known");
    reuse_for(&fixture, &previous, "m:2", &tuned, add.clone()).expect("a holder");
    share(&Change { remove: vec![second.key_id()], ..Change::default() });
    let previous = fixture.previous("m:1").expect("known");
    assert_eq!(kind(reuse_for(&fixture, &previous, "m:3", &tuned, add)), Kind::Usage);
}

#[test]
fn sharing_shows_no_more_than_the_files_unless_somebody_says_so() {
    let (fixture, tuned) = sealed();
    let base = Layers::new().file("");
    let previous = fixture.previous("m:1").expect("known");
    fixture.reuse(&previous, "m:tuned", &[("m.safetensors", &tuned)]).expect("sealed");
    fixture.reuse(&previous, "m:same", &[("m.safetensors", &base), ("new", b"more")]).expect("sealed");
    let share = |name: &str, disclosure| {
        let artifact = fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved");
        let add = Audience { recipients: vec![key().recipient().clone()], passphrases: Vec::new() };
        let change = Change { add, disclosure, ..Change::default() };
        fixture.vault.share(&artifact, &fixture.policy(), &fixture.ring, &change, &fixture.signer)
    };
    let error = share("m:tuned", Disclosure::Refuse).expect_err("more than its files");
    assert!(error.kind() == Kind::Usage && error.to_string().contains("that are not in it"), "{error}");
    share("m:same", Disclosure::Refuse).expect("its files use all of what it reuses");
    share("m:1", Disclosure::Refuse).expect("it reuses nothing");
    assert_eq!(share("m:tuned", Disclosure::Allow).expect("allowed").generation, 2);
    // Removing somebody shows nobody anything.
    let artifact = fixture.vault.resolve(&reference("m:tuned"), &fixture.policy()).expect("resolved");
    let remove = vec![fixture.ring.identities[0].key_id()];
    let change = Change { remove, ..Change::default() };
    let ring = Keyring::default();
    fixture.vault.share(&artifact, &fixture.policy(), &ring, &change, &fixture.signer).expect("removed");
}
