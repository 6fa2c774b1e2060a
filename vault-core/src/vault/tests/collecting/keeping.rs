//! What a collection keeps and what it deletes.

use super::*;
use crate::{names::ArtifactDigest, provenance::Shredding, store::Created, vault::seal::sign};

pub(super) fn events(place: &Place, how: Collection) -> (Result<Collected>, Vec<String>) {
    let mut seen = Vec::new();
    let policy = place.fixture.policy();
    let result = place.vault().collect_garbage(Some(&policy), how, &(), &mut |event| {
        seen.push(match event {
            GarbageEvent::Condemned { path, .. } => path,
            other => format!("{other:?}"),
        });
        Ok(())
    });
    (result, seen)
}

#[test]
fn garbage_goes_when_it_is_old_and_everything_else_stays() {
    let place = Place::new();
    let sealed = place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    let unpublished = place.seal(&place.vault(), "m:2", b"2").expect("sealed");
    place.shelf.remove("models/m/versions/2.dsse.json");
    // Its session would publish it again.
    let outcomes = place.shelf.paths().into_iter().filter(|path| path.ends_with("outcome.json"));
    for path in outcomes.collect::<Vec<_>>() {
        if Outcome::parse(&place.shelf.get(&path).expect("there"))
            .expect("good")
            .version()
            .expect("good")
            .expect("one")
            .1
            == unpublished.digest
        {
            place.shelf.put(&path, &Outcome::Aborted.to_vec().expect("written"));
        }
    }
    place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    place.shelf.put("objects/00/what-is-this", b"foreign");
    let before = place.shelf.paths();

    let (young, seen) = events(&place, collection());
    assert_eq!((young.expect("collected").condemned, seen.len()), (0, 0), "everything is young");
    place.shelf.pass_hours(49);
    let (collected, seen) = events(&place, collection());
    let collected = collected.expect("collected");
    // Manifest, recipients, provenance, part and index of the unpublished one, and the litter.
    assert_eq!((collected.condemned, collected.deleted, collected.kept), (6, 6, 1), "{seen:?}");
    let gone: Vec<_> = before.into_iter().filter(|path| place.shelf.get(path).is_none()).collect();
    let mut expected: Vec<_> = seen.into_iter().filter(|path| path.contains('/')).collect();
    expected.extend(gone.iter().filter(|path| path.starts_with("sessions/")).cloned());
    expected.extend(gone.iter().filter(|path| path.starts_with("gc/")).cloned());
    expected.sort();
    assert_eq!(gone, expected);
    assert!(gone.iter().any(|path| path.contains(&unpublished.digest.to_hex())));
    assert!(!gone.iter().any(|path| path.contains(&sealed.digest.to_hex())));
    assert!(place.shelf.get("objects/00/what-is-this").is_some(), "what has no place in a vault is nobody's garbage");
    place.is_whole("m:1").expect("whole");
    place.check("after");
}

#[test]
fn a_dry_run_says_the_same_and_touches_nothing() {
    let place = Place::new();
    place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    // The clock of a dry run is that of this machine.
    let ahead = 1_800_000_000 - jiff::Timestamp::now().as_second();
    place.shelf.pass_hours(-ahead / 3600 - 100);
    let aged = Place::new();
    aged.shelf.pass_hours(-ahead / 3600 - 100);
    aged.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    let before = aged.shelf.paths();
    let (collected, seen) = events(&aged, dry());
    let collected = collected.expect("looked over");
    assert_eq!((collected.condemned, collected.deleted, collected.run), (1, 0, None));
    assert_eq!(seen, [object_path(&blake3::hash(b"litter"))]);
    assert_eq!(aged.shelf.paths(), before);
}

#[test]
fn a_pin_keeps_an_artifact_while_its_session_lives() {
    let place = Place::new();
    let sealed = place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    place
        .vault()
        .retire(&"m:1".parse().expect("a name"), "old", &place.fixture.policy(), InUse::Refuse, &place.fixture.signer)
        .expect("retired");
    place.shelf.pass_hours(100);
    let vault = place.vault();
    let session = vault.open_session(Work::Reuse, &[sealed.digest]).expect("session");
    session.rely_on(&vault.paths_of(sealed.digest).expect("paths")).expect("nothing is condemned");
    assert_eq!(place.collect(&place.vault()).expect("collected").deleted, 0);
    place.is_whole("m:1").expect("pinned");
    place.shelf.pass_hours(100);
    assert_eq!(place.collect(&place.vault()).expect("collected").deleted, 2, "part and index");
    let lost = session
        .commit(&"m:1".parse().expect("a name"), &place.shelf.get("models/m/versions/1.dsse.json").expect("there"));
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    assert!(matches!(session.pin(&[]), Err(Error::Lost { .. })));
    let id = session.id().to_owned();
    assert!(matches!(vault.reopen_session(&id, Work::Reuse, &[]), Err(Error::Lost { .. })));
}

#[test]
fn a_session_is_gone_on_with_under_its_id() {
    let place = Place::new();
    let vault = place.vault();
    let sealed = place.seal(&vault, "m:1", b"1").expect("sealed");
    let first = vault.open_session(Work::Copy, &[sealed.digest]).expect("session");
    let id = first.id().to_owned();
    drop(first);
    let second = vault.reopen_session(&id, Work::Copy, &[]).expect("reopened");
    assert!(place.shelf.get(&format!("sessions/{id}/lease-2.json")).is_some());
    second.rely_on(&[]).expect("the pin of the first lease still counts, and its manifest is there");
    second.abandon().expect("abandoned");
    assert!(matches!(vault.reopen_session(&id, Work::Copy, &[]), Err(Error::Lost { .. })));
    assert!(matches!(vault.reopen_session(&"0".repeat(32), Work::Copy, &[]), Err(Error::NotFound { .. })));
    assert!(matches!(vault.reopen_session("../x", Work::Copy, &[]), Err(Error::Misuse(_))));
    let absent = ArtifactDigest::of(b"absent");
    let early = vault.open_session(Work::Copy, &[absent]).expect("session");
    assert!(matches!(early.rely_on(&[]), Err(Error::Misuse(_))), "its manifest must be there first");
}

#[test]
fn a_retired_version_is_collected_and_says_so_everywhere() {
    let place = Place::new();
    let (fixture, name) = (&place.fixture, "m:1".parse().expect("a name"));
    place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    place.seal(&place.vault(), "m:2", b"2").expect("sealed");
    let policy = fixture.policy();
    let vault = place.vault();
    let stranger = SigningKey::generate().expect("key");
    assert_eq!(kind(vault.retire(&name, "old", &policy, InUse::Refuse, &stranger)), Kind::Authenticity);
    assert_eq!(kind(vault.retire(&name, "", &policy, InUse::Refuse, &fixture.signer)), Kind::Usage);
    vault.retire(&name, "superseded", &policy, InUse::Refuse, &fixture.signer).expect("retired");
    place.is_whole("m:1").expect("retired, and still there");
    place.collect(&vault).expect("collected");
    place.is_whole("m:1").expect("within the grace of its retirement");
    place.shelf.pass_hours(49);
    assert_eq!(place.collect(&vault).expect("collected").deleted, 2, "part and index; its documents stay");

    let artifact = vault.resolve(&reference("m:1"), &policy).expect("the record stays");
    let opened = vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect_err("gone");
    assert_eq!(opened.kind(), Kind::NotFound);
    assert!(
        opened.to_string().contains("m:1: was retired on 2") && opened.to_string().contains("superseded"),
        "{opened}"
    );
    let verified = vault.verify(&artifact, threads(1), &()).expect_err("gone");
    assert_eq!(kind(Err::<(), _>(vault.explained(&artifact, &policy, verified))), Kind::NotFound);
    let listing = vault.list(&policy).expect("listed");
    let retired: Vec<_> = listing.versions.iter().map(|entry| entry.retired.is_some()).collect();
    assert_eq!(retired, [true, false]);
    let mut findings = Vec::new();
    vault
        .fsck(threads(1), &(), &mut |finding| {
            findings.push(format!("{finding:?}"));
            Ok(())
        })
        .expect("looked over");
    assert!(findings.len() == 1 && findings[0].starts_with("Collected"), "{findings:?}");
    place.is_whole("m:2").expect("whole");
    assert_eq!(kind(place.seal(&vault, "m:1", b"again")), Kind::Conflict, "the name is taken for ever");
}

#[test]
fn a_retirement_counts_for_its_version_its_artifact_and_its_signers_only() {
    let place = Place::new();
    let vault = place.vault();
    place.seal(&vault, "m:1", b"1").expect("sealed");
    place.seal(&vault, "m:2", b"2").expect("sealed");
    let stranger = SigningKey::generate().expect("key");
    let theirs = Policy::any_of(vec![stranger.verifying_key(), place.fixture.signer.verifying_key()]).expect("keys");
    let name = "m:1".parse().expect("a name");
    vault.retire(&name, "junk", &theirs, InUse::Refuse, &stranger).expect("retired, for whoever believes them");
    let paths = place.shelf.paths().into_iter().filter(|path| path.starts_with("retired/"));
    let path = paths.collect::<Vec<_>>().pop().expect("a record");
    let record = place.shelf.get(&path).expect("there");
    place.shelf.put(&path.replace("versions/1", "versions/2"), &record);
    place.shelf.put(&path.replace(".dsse", "0.dsse"), b"junk");
    place.shelf.pass_hours(100);
    assert_eq!(place.collect(&vault).expect("collected").deleted, 0);
    let nobody = vault.collect_garbage(None, collection(), &(), &mut |_| Ok(())).expect("collected");
    assert_eq!(nobody.deleted, 0, "without anybody to believe nothing is retired");
    assert_eq!(
        kind(vault.collect_garbage(Some(&Policy::InsecureSkipSignature), collection(), &(), &mut |_| Ok(()))),
        Kind::Usage
    );
    place.is_whole("m:1").expect("whole");
    // It did not burn the name: the rightful signer retires it all the same.
    vault.retire(&name, "old", &place.fixture.policy(), InUse::Refuse, &place.fixture.signer).expect("retired");
    place.shelf.pass_hours(49);
    assert_eq!(place.collect(&vault).expect("collected").deleted, 2);
    place.is_whole("m:2").expect("whole");
}

#[test]
fn a_collection_killed_at_any_write_has_lost_nothing_and_the_next_one_finishes() {
    let litter = object_path(&blake3::hash(b"litter"));
    let fresh = || {
        let dir = tempfile::tempdir().expect("folder");
        Vault::init(store(dir.path())).expect("vault");
        let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
        let vault = Vault::open(Store::new(backend)).expect("vault");
        let fixture = Fixture::new();
        vault.seal(fixture.request("m:1", vec![input("a", b"1")]), &()).expect("sealed");
        assert_eq!(vault.store().create(&litter, b"litter").expect("stored"), Created::New);
        let long_ago = std::time::SystemTime::now() - Duration::from_hours(1000);
        let file = fs::File::options().write(true).open(dir.path().join(&litter)).expect("there");
        file.set_modified(long_ago).expect("aged");
        fs::create_dir_all(dir.path().join("staging")).expect("folder");
        let left = dir.path().join("staging/0123");
        fs::write(&left, "left").expect("written");
        fs::File::options().write(true).open(&left).expect("there").set_modified(long_ago).expect("aged");
        (dir, fixture)
    };
    let collect = |vault: &Vault, fixture: &Fixture| {
        vault.collect_garbage(Some(&fixture.policy()), collection(), &(), &mut |_| Ok(()))
    };
    let (dir, fixture) = fresh();
    let counting = Faulty::counting(Directory::open(dir.path(), Durability::NoSync).expect("folder"));
    collect(&Vault::open(Store::new(counting.clone())).expect("vault"), &fixture).expect("collected");
    assert!(!dir.path().join(&litter).exists() && !dir.path().join("staging/0123").exists());
    let writes = counting.writes();
    assert!(writes >= 5, "{writes}");
    for number in 1..=writes {
        for when in [When::Before, When::After] {
            let (dir, fixture) = fresh();
            let faulty =
                Faulty::failing(Directory::open(dir.path(), Durability::NoSync).expect("folder"), number, when);
            let _ = collect(&Vault::open(Store::new(faulty)).expect("vault"), &fixture);
            let vault = Vault::open(store(dir.path())).expect("still a vault");
            let at = format!("write {number} {when:?}");
            collect(&vault, &fixture).expect(&at);
            assert!(!dir.path().join(&litter).exists() && !dir.path().join("staging/0123").exists(), "{at}");
            let artifact = vault.resolve(&reference("m:1"), &fixture.policy()).expect(&at);
            vault.verify(&artifact, threads(1), &()).expect(&at);
        }
    }
}

#[test]
fn shredding_destroys_every_wrapped_key_and_says_so() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let identity = Identity::generate(RecipientKind::X25519).expect("key");
    let change = Change {
        add: Audience { recipients: vec![identity.recipient().clone()], passphrases: Vec::new() },
        ..Change::default()
    };
    fixture.vault.share(&artifact, &policy, &fixture.ring, &change, &fixture.signer).expect("shared");
    let stranger = SigningKey::generate().expect("key");
    assert_eq!(kind(fixture.vault.shred(&artifact, &policy, "leaked", &stranger)), Kind::Authenticity);
    let shreds = fixture.vault.shred(&artifact, &policy, "leaked", &fixture.signer).expect("shredded");
    assert_eq!((shreds.destroyed.len(), shreds.left.len(), shreds.shared_with.len()), (2, 0, 0));
    let refused = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect_err("shredded");
    assert_eq!(refused.kind(), Kind::NoKey);
    assert!(refused.to_string().contains("shredded on 2") && refused.to_string().contains("leaked"), "{refused}");
    let again = fixture.vault.share(&artifact, &policy, &fixture.ring, &change, &fixture.signer);
    assert_eq!(kind(again), Kind::NoKey);
    fixture.verify("m:1").expect("signatures and contents are still what they were");
    let second = fixture.vault.shred(&artifact, &policy, "again", &fixture.signer).expect("nothing more to do");
    assert_eq!((second.destroyed.len(), second.record.reason.as_str()), (0, "leaked"));
}

#[test]
fn junk_shreds_nothing() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    two_files(&fixture, "m:2");
    let (policy, stranger) = (fixture.policy(), SigningKey::generate().expect("key"));
    let resolve = |name: &str| fixture.vault.resolve(&reference(name), &policy).expect("resolved");
    let folder = |name: &str| fixture.dir.path().join(format!("artifacts/{}/shredded", resolve(name).digest.to_hex()));
    // One by somebody else, one of another artifact, one that is no record.
    let theirs = Policy::any_of(vec![stranger.verifying_key(), fixture.signer.verifying_key()]).expect("keys");
    let copies = tempfile::tempdir().expect("folder");
    let (one, two) = (resolve("m:1"), resolve("m:2"));
    let keep = |from: &std::path::Path| {
        for entry in fs::read_dir(from).expect("listed") {
            let entry = entry.expect("entry");
            fs::copy(entry.path(), copies.path().join(entry.file_name())).expect("copied");
        }
    };
    fixture.vault.shred(&two, &policy, "leaked", &fixture.signer).expect("shredded");
    keep(&folder("m:2"));
    let record = Shredding::new("junk", None).expect("legal");
    let envelope = sign(one.subject, record, &stranger).expect("signed");
    fs::create_dir_all(folder("m:1")).expect("folder");
    for entry in fs::read_dir(copies.path()).expect("listed") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), folder("m:1").join(entry.file_name())).expect("copied");
    }
    fs::write(folder("m:1").join(format!("{}.dsse.json", "0".repeat(64))), envelope).expect("written");
    fs::write(folder("m:1").join(format!("{}.dsse.json", "1".repeat(64))), b"{}").expect("written");
    assert!(fixture.read("m:1", "config.json").is_ok());
    assert!(fixture.vault.shredded(&one, &theirs).expect("read").is_some(), "for whoever believes the stranger");
}

#[test]
fn a_shredding_is_not_hidden_by_junk_in_front_of_it() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let recipients = fixture.dir.path().join(recipients_path(artifact.digest, 1));
    let kept = fs::read(&recipients).expect("read");
    fixture.vault.shred(&artifact, &policy, "leaked", &fixture.signer).expect("shredded");
    // A store that kept the wrapped keys, and somebody who may create objects.
    fs::write(&recipients, kept).expect("brought back");
    let folder = fixture.dir.path().join(format!("artifacts/{}/shredded", artifact.digest.to_hex()));
    let refused = || kind(fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).map(drop));
    for number in 0..200 {
        fs::write(folder.join(format!("{number:064x}.dsse.json")), b"{}").expect("planted");
        fs::write(folder.join(format!("{number}.dsse.json")), b"{}").expect("planted");
    }
    assert_eq!(refused(), Kind::NoKey);
    assert!(fixture.vault.shredded(&artifact, &policy).expect("read").is_some());
    for number in 200..10_000 {
        fs::write(folder.join(format!("{number:064x}.dsse.json")), b"").expect("planted");
    }
    assert_eq!(refused(), Kind::Integrity, "nothing is passed over unseen");
    assert_eq!(kind(fixture.vault.shredded(&artifact, &policy)), Kind::Integrity);
}

#[test]
fn a_run_that_was_killed_while_it_deleted_is_in_the_way_until_somebody_says_that_it_is_gone() {
    let place = Place::new();
    let vault = place.vault();
    let litter = object_path(&blake3::hash(b"litter"));
    place.shelf.put(&litter, b"litter");
    place.shelf.pass_hours(100);
    place.collect(&vault).expect("collected");
    let done = place.shelf.paths().into_iter().find(|path| path.ends_with("done.json")).expect("done");
    let session = vault.open_session(Work::Copy, &[]).expect("session");
    session.rely_on(std::slice::from_ref(&litter)).expect("a run that is done is in nobody's way");
    place.shelf.remove(&done);
    let wanted = session.rely_on(std::slice::from_ref(&litter));
    assert!(matches!(wanted, Err(Error::Lost { .. })), "{wanted:?}");
    session.rely_on(&[object_path(&blake3::hash(b"other"))]).expect("nothing else is");
    assert_eq!(kind(vault.declare_finished(&"0".repeat(32))), Kind::NotFound);
    assert_eq!(kind(vault.declare_finished("..")), Kind::Usage);
    vault.declare_finished(done.split('/').nth(1).expect("an id")).expect("declared");
    session.rely_on(&[litter]).expect("said to be gone");
}

#[test]
fn documents_of_finished_runs_and_sessions_go_and_tombstones_stay() {
    let place = Place::new();
    let vault = place.vault();
    place.seal(&vault, "m:1", b"1").expect("sealed");
    let dead = vault.open_session(Work::Seal, &[]).expect("session").id().to_owned();
    let ours = |folder: &str| place.shelf.paths().into_iter().filter(|p| p.starts_with(folder)).collect::<Vec<_>>();
    for _ in 0..4 {
        place.shelf.pass_hours(100);
        place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
        place.collect(&vault).expect("collected");
    }
    assert_eq!(ours("sessions"), [format!("sessions/{dead}/outcome.json")], "the frozen writer must find it for ever");
    let runs: std::collections::HashSet<_> =
        ours("gc").iter().map(|path| path.split('/').nth(1).expect("an id").to_owned()).collect();
    assert!(runs.len() <= 2, "{runs:?}");
    place.is_whole("m:1").expect("whole");
}
