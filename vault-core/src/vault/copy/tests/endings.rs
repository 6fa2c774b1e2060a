//! Copies of what is over: they say so, and bring nothing back.

use std::time::{Duration, SystemTime};

use super::*;
use crate::vault::{Collection, InUse, Mode, retire, shred::shredded_folder};

fn name(text: &str) -> VersionName {
    text.parse().expect("a name")
}

fn shred(vault: &Vault, fixture: &Fixture) {
    let artifact = vault.resolve(&reference("m:1"), &fixture.policy()).expect("there");
    vault.shred(&artifact, &fixture.policy(), "leaked", &fixture.signer).expect("shredded");
}

/// Retires `m:1` and collects its contents.
fn collect(fixture: &Fixture) {
    let policy = fixture.policy();
    fixture.vault.retire(&name("m:1"), "superseded", &policy, InUse::Refuse, &fixture.signer).expect("retired");
    for path in fixture.objects() {
        let file = fs::File::options().write(true).open(path).expect("there");
        file.set_modified(SystemTime::now() - Duration::from_hours(1000)).expect("aged");
    }
    let collection = Collection { grace: Duration::from_hours(1), mode: Mode::Collect };
    let collected = fixture.vault.collect_garbage(Some(&policy), collection, &(), &mut |_| Ok(())).expect("collected");
    assert!(collected.deleted > 0);
}

fn generations(vault: &Vault, fixture: &Fixture) -> usize {
    let artifact = vault.resolve(&reference("m:1"), &fixture.policy()).expect("there");
    vault.numbers(&crate::vault::recipients_folder(artifact.digest)).expect("listed").len()
}

#[test]
fn a_copy_of_what_was_shredded_says_so_and_has_no_wrapped_key() {
    let (fixture, _) = sealed();
    let ((_one, before), (_two, after)) = (empty(), empty());
    copy_to(&before, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    shred(&fixture.vault, &fixture);
    for (target, left) in [(&before, 1), (&after, 0)] {
        for policy in [fixture.policy(), Policy::InsecureSkipSignature] {
            let copied = copy_to(target, &fixture.vault, "m:1", &policy).expect("copied");
            let [(what, reason)] = &copied.skipped[..] else { panic!("{copied:?}") };
            assert!(what.starts_with("recipients of") && reason.to_string().contains("leaked"), "{what}: {reason}");
        }
        assert_eq!(kind(read_from(target, &fixture, "m:1", "a.bin")), Kind::NoKey);
        // What was there before is for whoever shreds there.
        assert_eq!(generations(target, &fixture), left);
        let artifact = target.resolve(&reference("m:1"), &fixture.policy()).expect("there");
        target.verify(&artifact, threads(2), &()).expect("whole");
        assert_eq!(damage(target), Vec::<String>::new());
    }
}

#[test]
fn no_wrapped_key_comes_to_where_it_was_shredded() {
    let (fixture, _) = sealed();
    let (_dir, target) = empty();
    copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    shred(&target, &fixture);
    let copied = copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    assert_eq!(copied.skipped.len(), 1, "{copied:?}");
    let repaired = target.repair(&fixture.vault, &fixture.policy(), threads(2), &(), &mut |finding| {
        assert!(!matches!(finding, crate::vault::Finding::Repaired { .. }), "{finding:?}");
        Ok(())
    });
    repaired.expect("looked over");
    assert_eq!(generations(&target, &fixture), 0);
    assert_eq!(generations(&fixture.vault, &fixture), 1, "the source is as it was");
}

#[test]
fn a_copy_of_what_was_retired_says_so_also_when_its_contents_are_gone() {
    let (fixture, data) = sealed();
    fixture.seal("m:2", &[("a.bin", b"2")]);
    let ((_one, before), (_two, after)) = (empty(), empty());
    copy_to(&before, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    collect(&fixture);

    let policy = fixture.policy();
    let copied = copy_selected(&before, &fixture.vault, Selection::Models(None), &policy).expect("copied");
    assert_eq!((copied.versions, copied.failed.len(), copied.skipped.len()), (2, 0, 0), "{copied:?}");
    assert!(before.retired(&name("m:1"), digest(&before), &policy).expect("read").is_some());
    assert!(read_from(&before, &fixture, "m:1", "a.bin").expect("its contents were here, and stay") == data);

    for policy in [policy, Policy::InsecureSkipSignature] {
        let copied = copy_selected(&after, &fixture.vault, Selection::Models(None), &policy).expect("copied");
        assert_eq!((copied.versions, copied.failed.len()), (2, 0), "{copied:?}");
        let [(what, reason)] = &copied.skipped[..] else { panic!("{copied:?}") };
        assert!(what == "contents of m:1" && reason.to_string().contains("superseded"), "{what}: {reason}");
        assert_eq!(kind(read_from(&after, &fixture, "m:1", "a.bin")), Kind::NotFound);
        assert!(read_from(&after, &fixture, "m:2", "a.bin").is_ok());
    }
    // Where the contents are, they are brought in later.
    copy_to(&after, &before, "m:1", &fixture.policy()).expect("copied");
    assert!(read_from(&after, &fixture, "m:1", "a.bin").expect("opens") == data);
}

fn digest(vault: &Vault) -> crate::names::ArtifactDigest {
    vault.resolve(&reference("m:1"), &Policy::InsecureSkipSignature).expect("there").digest
}

#[test]
fn what_a_stranger_says_is_over_is_not_and_what_is_missing_without_a_retirement_is_damage() {
    let (fixture, data) = sealed();
    let stranger = SigningKey::generate().expect("key");
    let theirs = Policy::any_of(vec![stranger.verifying_key(), fixture.signer.verifying_key()]).expect("keys");
    let artifact = fixture.vault.resolve(&reference("m:1"), &theirs).expect("there");
    fixture.vault.retire(&name("m:1"), "junk", &theirs, InUse::Refuse, &stranger).expect("for whoever believes them");
    let kept = fs::read(fixture.dir.path().join(recipients_path(artifact.digest, 1))).expect("read");
    fixture.vault.shred(&artifact, &theirs, "junk", &stranger).expect("for whoever believes them");
    fs::write(fixture.dir.path().join(recipients_path(artifact.digest, 1)), kept).expect("written");

    let (dir, target) = empty();
    let copied = copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    assert_eq!(copied.skipped.len(), 2, "{copied:?}");
    assert!(read_from(&target, &fixture, "m:1", "a.bin").expect("opens") == data);
    for folder in [shredded_folder(artifact.digest), retire::folder(&name("m:1"))] {
        assert!(!dir.path().join(folder).exists());
    }
    fs::remove_file(fixture.dir.path().join(object_path(&artifact.manifest.streams[0].parts[0]))).expect("removed");
    let (_dir, target) = empty();
    assert_eq!(kind(copy_to(&target, &fixture.vault, "m:1", &fixture.policy())), Kind::Integrity);
    assert_eq!(kind(target.resolve(&reference("m:1"), &fixture.policy())), Kind::NotFound);
}

#[test]
fn under_another_name_contents_are_demanded() {
    let (fixture, _) = sealed();
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("there");
    let record = crate::provenance::VersionRecord::new(&name("m:1-too"), None).expect("a record");
    let record = crate::vault::seal::sign(artifact.subject, record, &fixture.signer).expect("signed");
    fixture.vault.commit_version(&name("m:1-too"), &record).expect("published");
    fixture.vault.retire(&name("m:1"), "superseded", &policy, InUse::Refuse, &fixture.signer).expect("retired");
    fs::remove_file(fixture.dir.path().join(object_path(&artifact.manifest.streams[0].parts[0]))).expect("removed");
    let (_dir, target) = empty();
    let copied = copy_selected(&target, &fixture.vault, Selection::Models(None), &policy).expect("copied");
    assert_eq!(copied.versions, 1, "{copied:?}");
    let [(failed, error)] = &copied.failed[..] else { panic!("{copied:?}") };
    assert_eq!((failed.as_str(), error.kind()), ("m:1-too", Kind::Integrity));
}
