use std::{fs, sync::Arc};

use super::*;
use crate::{
    error::Kind,
    fixtures::{Fixture, bytes, input, reading, reference, store, threads},
    keys::SigningKey,
    parts::object_path,
    store::{
        Bucket, Directory, Durability, Store,
        faults::{Faulty, When},
    },
    tree::PAYLOAD,
    vault::{attestations_folder, manifest_path, recipients_path, version_path},
};

mod endings;
mod hostile;

fn empty() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().expect("folder");
    let vault = Vault::init(store(dir.path())).expect("vault");
    (dir, vault)
}

fn bucket() -> Vault {
    let backend = Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket");
    Vault::init(Store::new(backend)).expect("vault")
}

fn one(source: &Vault, name: &str, policy: &Policy) -> Result<Selection> {
    Ok(Selection::One(Box::new(source.resolve(&reference(name), policy)?)))
}

fn copy_to(target: &Vault, source: &Vault, name: &str, policy: &Policy) -> Result<Copied> {
    copy_selected(target, source, one(source, name, policy)?, policy)
}

fn copy_selected(target: &Vault, source: &Vault, selection: Selection, policy: &Policy) -> Result<Copied> {
    let request = CopyRequest {
        source,
        selection,
        artifacts: Artifacts::Head,
        policy,
        existing: Existing::Length,
        proofs: LogProofs::WellFormed,
        jobs: threads(3),
    };
    target.copy(request, &())
}

fn read_from(vault: &Vault, fixture: &Fixture, name: &str, path: &str) -> Result<Vec<u8>> {
    let policy = fixture.policy();
    let artifact = vault.resolve(&reference(name), &policy)?;
    let opened = vault.open_artifact(&artifact, &policy, &fixture.ring, reading())?;
    opened.read(opened.index().file(path)?, &()).map(|buffer| buffer.to_vec())
}

/// What fsck finds that an interrupted seal would not leave.
fn damage(vault: &Vault) -> Vec<String> {
    let mut found = Vec::new();
    vault
        .fsck(threads(2), &(), &mut |finding| {
            if !matches!(finding, crate::vault::Finding::Orphan { .. } | crate::vault::Finding::Unpublished { .. }) {
                found.push(format!("{finding:?}"));
            }
            Ok(())
        })
        .expect("looked over");
    found
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.expect_err("refused").kind()
}

fn sealed() -> (Fixture, Vec<u8>) {
    let (fixture, data) = (Fixture::new(), bytes(9 * PAYLOAD + 3, 1));
    fixture.seal("m:1", &[("a.bin", &data), ("config.json", b"{}")]);
    (fixture, data)
}

#[test]
fn a_version_travels_between_folders_and_buckets_and_the_second_time_nothing_does() {
    let (fixture, data) = sealed();
    let (_dir, folder) = empty();
    let buckets = [bucket(), bucket()];
    let mut source = &fixture.vault;
    for target in [&buckets[0], &folder, &buckets[1]] {
        for name in
            ["m:1", &fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there").digest.to_string()]
        {
            copy_to(target, source, name, &fixture.policy()).expect("copied");
        }
        assert!(read_from(target, &fixture, "m:1", "a.bin").expect("opens") == data);
        assert_eq!(damage(target), Vec::<String>::new());
        let again = copy_to(target, source, "m:1", &fixture.policy()).expect("copied");
        assert_eq!((again.objects.copied, again.records.copied), (0, 0), "{again:?}");
        assert_eq!(again.objects.there, 5, "two parts and their tree, a small file, the index: {again:?}");
        source = target;
    }
}

#[test]
fn without_keys_or_signers_a_version_is_copied_if_it_is_well_formed() {
    let (fixture, _) = sealed();
    let (_dir, target) = empty();
    let copied = copy_to(&target, &fixture.vault, "m:1", &Policy::InsecureSkipSignature).expect("copied");
    assert_eq!((copied.artifacts, copied.versions), (1, 1));
    assert!(read_from(&target, &fixture, "m:1", "config.json").is_ok());
    let stranger = Policy::any_of(vec![SigningKey::generate().expect("key").verifying_key()]).expect("a key");
    assert_eq!(kind(copy_to(&target, &fixture.vault, "m:1", &stranger)), Kind::Authenticity);
}

#[test]
fn what_the_target_has_is_not_fetched_and_is_checked_as_far_as_asked() {
    let (fixture, data) = sealed();
    let (dir, target) = empty();
    copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    let manifest = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there").manifest;
    let part = dir.path().join(object_path(&manifest.streams[0].parts[0]));
    let good = fs::read(&part).expect("read");
    let hashed = |policy: &Policy| {
        let request = CopyRequest {
            source: &fixture.vault,
            selection: one(&fixture.vault, "m:1", policy)?,
            artifacts: Artifacts::Head,
            policy,
            existing: Existing::Hash,
            proofs: LogProofs::WellFormed,
            jobs: threads(3),
        };
        target.copy(request, &())
    };
    hashed(&fixture.policy()).expect("all is as it should be");
    fs::write(&part, vec![0; good.len()]).expect("damaged");
    copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("lengths agree");
    let error = hashed(&fixture.policy()).expect_err("hashes do not");
    assert!(error.to_string().contains(&target.store().describe()), "{error}");
    assert_eq!(error.kind(), Kind::Integrity);
    fs::write(&part, &good[1..]).expect("cut");
    assert_eq!(kind(copy_to(&target, &fixture.vault, "m:1", &fixture.policy())), Kind::Integrity);
    fs::remove_file(&part).expect("removed");
    let copied = copy_to(&target, &fixture.vault, "m:1", &fixture.policy()).expect("copied");
    assert_eq!((copied.objects.copied, copied.objects.copied_bytes), (1, good.len() as u64));
    assert!(read_from(&target, &fixture, "m:1", "a.bin").expect("opens") == data);
}

#[test]
fn a_name_that_is_taken_is_a_conflict_and_nothing_is_written() {
    let (fixture, _) = sealed();
    for name in ["m:1", "m:1.0-RC"] {
        let (dir, target) = empty();
        let twin = if name == "m:1" { "m:1" } else { "m:1.0-rc" };
        fixture.seal(&format!("{name}-source"), &[("a", b"1")]);
        let other = Fixture { dir, vault: target.clone(), ..Fixture::new() };
        other.seal(twin, &[("a", b"other")]);
        if name != "m:1" {
            fixture.seal(name, &[("a", b"1")]);
        }
        let before = other.objects();
        for policy in [fixture.policy(), Policy::InsecureSkipSignature] {
            assert_eq!(kind(copy_to(&target, &fixture.vault, name, &policy)), Kind::Conflict, "{name}");
        }
        assert_eq!(other.objects(), before);
    }
}

#[test]
fn of_twins_in_a_hostile_source_one_arrives() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.seal("m:1.0-RC", &[("a", b"1")]);
    let other = Fixture { signer: fixture.signer, ..other };
    other.seal("m:1.0-rc", &[("a", b"2")]);
    let (_dir, source) = empty();
    copy_to(&source, &fixture.vault, "m:1.0-RC", &other.policy()).expect("copied");
    let (dir, _) = empty();
    let planted = Vault::open(store(dir.path())).expect("vault");
    copy_to(&planted, &other.vault, "m:1.0-rc", &other.policy()).expect("copied");
    planted
        .store()
        .list("", &mut |entry| {
            let bytes = planted.store().read(&entry.path, entry.size)?.expect("there");
            source.store().create(&entry.path, &bytes).map(drop)
        })
        .expect("planted");
    let (_dir, target) = empty();
    let copied = copy_selected(&target, &source, Selection::Models(None), &other.policy()).expect("one of them");
    assert_eq!((copied.versions, copied.failed.len()), (1, 1));
    assert_eq!(copied.failed[0].1.kind(), Kind::Conflict);
}

#[test]
fn many_versions_travel_and_one_that_is_damaged_stops_only_itself() {
    let (fixture, _) = sealed();
    fixture.seal("m:2", &[("a", b"2")]);
    fixture.seal("other/model:1", &[("a", b"3")]);
    let (_dir, target) = empty();
    let only = Selection::Models(Some("other/*".parse().expect("a pattern")));
    let copied = copy_selected(&target, &fixture.vault, only, &fixture.policy()).expect("copied");
    assert_eq!((copied.versions, copied.failed.len()), (1, 0));

    let digest = fixture.vault.resolve(&reference("m:2"), &fixture.policy()).expect("there").manifest;
    let part = fixture.dir.path().join(object_path(&digest.streams[0].parts[0]));
    let mut damaged = fs::read(&part).expect("read");
    damaged[0] ^= 1;
    fs::write(part, damaged).expect("written");
    let copied = copy_selected(&target, &fixture.vault, Selection::Models(None), &fixture.policy()).expect("copied");
    assert_eq!(copied.versions, 2);
    let [(name, error)] = &copied.failed[..] else { panic!("{copied:?}") };
    assert_eq!((name.as_str(), error.kind()), ("m:2", Kind::Integrity));
    assert!(read_from(&target, &fixture, "m:1", "config.json").is_ok());
    assert_eq!(kind(target.resolve(&reference("m:2"), &fixture.policy())), Kind::NotFound);
    assert_eq!(damage(&target), Vec::<String>::new());
}

#[test]
fn a_crash_at_any_write_leaves_the_target_valid_and_the_same_copy_goes_on() {
    let (fixture, data) = sealed();
    let policy = fixture.policy();
    let fresh = |number, when| {
        let (dir, _) = empty();
        let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
        let faulty = Faulty::failing(backend, number, when);
        (dir, faulty.clone(), Vault::open(Store::new(faulty)).expect("vault"))
    };
    let (_dir, counting, vault) = fresh(0, When::Before);
    copy_to(&vault, &fixture.vault, "m:1", &policy).expect("copied");
    let writes = counting.writes();
    assert!(writes > 15, "{writes} writes");
    for number in 1..=writes {
        for when in [When::Before, When::After] {
            let (dir, _, vault) = fresh(number, when);
            let at = format!("write {number} {when:?}");
            assert_eq!(kind(copy_to(&vault, &fixture.vault, "m:1", &policy)), Kind::Operational, "{at}");
            drop(vault);
            let vault = Vault::open(store(dir.path())).expect("still a vault");
            assert_eq!(damage(&vault), Vec::<String>::new(), "{at}");
            if vault.store().stat(&version_path(&"m:1".parse().expect("a name"))).expect("stat").is_some() {
                assert!(read_from(&vault, &fixture, "m:1", "a.bin").expect(&at) == data);
            }
            copy_to(&vault, &fixture.vault, "m:1", &policy).expect(&at);
            assert!(read_from(&vault, &fixture, "m:1", "a.bin").expect(&at) == data);
        }
    }
}

#[test]
fn copies_and_a_seal_that_race_leave_one_version_and_everybody_is_told() {
    let (fixture, data) = sealed();
    let (policy, target) = (fixture.policy(), bucket());
    std::thread::scope(|scope| {
        let copies: Vec<_> = (0..4).map(|_| scope.spawn(|| copy_to(&target, &fixture.vault, "m:1", &policy))).collect();
        for copy in copies {
            copy.join().expect("no panic").expect("copied");
        }
    });
    assert!(read_from(&target, &fixture, "m:1", "a.bin").expect("opens") == data);

    let target = bucket();
    let (copied, receipt) = std::thread::scope(|scope| {
        let copy = scope.spawn(|| copy_to(&target, &fixture.vault, "m:1", &policy));
        let seal = scope.spawn(|| target.seal(fixture.request("m:1", vec![input("a.bin", b"other")]), &()));
        (copy.join().expect("no panic"), seal.join().expect("no panic"))
    });
    let there = read_from(&target, &fixture, "m:1", "a.bin").expect("one of them is there");
    match (copied, receipt) {
        (Ok(_), Err(lost)) => assert!(lost.kind() == Kind::Conflict && there == data),
        (Err(lost), Ok(_)) => assert!(lost.kind() == Kind::Conflict && there == b"other"),
        other => panic!("one wins: {other:?}"),
    }
    assert_eq!(damage(&target), Vec::<String>::new());
}

#[test]
fn a_copy_that_is_asked_to_stop_stops() {
    struct Impatient;
    impl Progress for Impatient {
        fn advance(&self, _: u64) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let (fixture, _) = sealed();
    let (_dir, target) = empty();
    let policy = fixture.policy();
    let request = CopyRequest {
        source: &fixture.vault,
        selection: one(&fixture.vault, "m:1", &policy).expect("there"),
        artifacts: Artifacts::Head,
        policy: &policy,
        existing: Existing::Length,
        proofs: LogProofs::WellFormed,
        jobs: threads(2),
    };
    assert_eq!(kind(target.copy(request, &Impatient)), Kind::Operational);
    assert_eq!(kind(target.resolve(&reference("m:1"), &policy)), Kind::NotFound);
}
