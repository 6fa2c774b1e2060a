//! Seals that are gone on with for others than they were begun for.

use super::*;

/// Interrupts a seal when its key is wrapped, and only so many writes are left of all it makes.
fn interrupted_before_the_end(stage: &Stage, files: &[(&str, &[u8])], left: u64) {
    let counted = Stage::in_folder();
    let counting = Faulty::counting(counted.store.clone());
    counted.seal(&Vault::open(Store::new(counting.clone())).expect("vault"), files).expect("sealed");
    assert!(stage.seal(&stage.failing(counting.writes() - left, When::Before), files).is_err());
    assert!(stage.file().exists());
}

/// A request for somebody else only, and their keys.
fn for_another<'a>(stage: &'a Stage, inputs: Vec<Input<'a>>) -> (SealRequest<'a>, Keyring) {
    let identity = Identity::generate(RecipientKind::X25519).expect("key");
    let audience = Audience { recipients: vec![identity.recipient().clone()], passphrases: Vec::new() };
    let request = SealRequest { audience, ..stage.fixture.request("m:1", inputs) };
    (request, Keyring { identities: vec![Box::new(identity)], passphrases: Vec::new() })
}

#[test]
fn a_key_that_was_wrapped_is_not_wrapped_again_to_others() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    let files: [(&str, &[u8]); 1] = [("a", &data)];
    // Left are the attestation, the outcome and the version record: the recipients are stored.
    interrupted_before_the_end(&stage, &files, 2);
    let (vault, policy, file) = (stage.vault(), stage.fixture.policy(), stage.file());
    let mut left = Vec::new();
    vault
        .store()
        .list("artifacts", &mut |entry| {
            left.extend(fsck::parse_manifest_path(&entry.path));
            Ok(())
        })
        .expect("listed");
    let [left] = left[..] else { panic!("one artifact is left: {left:?}") };
    let skip = Policy::InsecureSkipSignature;
    let old = vault.resolve(&Reference::Digest(left), &skip).expect("there");
    let known = vault.unlock(&old, &skip, &stage.fixture.ring).expect("who is left out now opens what is left");

    let (request, ring) = for_another(&stage, vec![input("a", &data)]);
    let resumed = vault.seal_resumable(request, Stage::resume(&file), &()).expect("sealed");
    assert_eq!((resumed.skipped, resumed.afresh), (0, Afresh::OtherAudience));
    let new = vault.resolve(&reference("m:1"), &policy).expect("published");
    assert_ne!(new.manifest.artifact_id, old.manifest.artifact_id);
    let opened = |dek| crate::open::Opened::new(&new.manifest, dek, vault.store(), reading());
    assert_eq!(kind(opened(known)), Kind::Integrity, "the key that was wrapped before opens nothing of it");
    assert!(opened(vault.unlock(&new, &policy, &ring).expect("theirs")).is_ok());
    assert_eq!(kind(vault.unlock(&new, &policy, &stage.fixture.ring)), Kind::NoKey);
    assert!(!file.exists());
    stage.segments();
}

#[test]
fn whoever_it_is_for_may_change_until_the_key_is_wrapped() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    let (request, _) = for_another(&stage, vec![input("a", &data)]);
    let file = stage.file();
    let resumed = stage.vault().seal_resumable(request, Stage::resume(&file), &()).expect("sealed");
    assert!(resumed.skipped > 0 && resumed.afresh == Afresh::No);
    // And once it is, the same people go on with it.
    let stage = Stage::in_folder();
    interrupted_before_the_end(&stage, &[("a", &data)], 2);
    let resumed = stage.seal(&stage.vault(), &[("a", &data)]).expect("sealed");
    assert!(resumed.skipped > 0 && resumed.afresh == Afresh::No);
    stage.opens_to(&[("a", &data)]);
}

#[test]
fn a_version_that_was_decided_is_published_for_those_it_was_sealed_for() {
    let stage = Stage::in_folder();
    let data = bytes(PAYLOAD, 1);
    interrupted_before_the_end(&stage, &[("a", &data)], 0);
    let (request, _) = for_another(&stage, vec![input("a", &data)]);
    let file = stage.file();
    assert_eq!(kind(stage.vault().seal_resumable(request, Stage::resume(&file), &())), Kind::Conflict);
    stage.opens_to(&[("a", &data)]);
}
