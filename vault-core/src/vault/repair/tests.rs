use std::fs;

use super::*;
use crate::{
    error::{Kind, Place},
    fixtures::{Fixture, bytes, reference, store, threads},
    keys::SigningKey,
    store::{
        Bucket, Directory, Durability, Store,
        faults::{Faulty, When},
    },
    tree::PAYLOAD,
    vault::{
        Tensors,
        copy::{Artifacts, CopyRequest, Existing, LogProofs, Selection},
    },
};

/// A vault and another copy of it.
struct Pair {
    here: Fixture,
    _dir: tempfile::TempDir,
    other: Vault,
    data: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let (here, data) = (Fixture::new(), bytes(20 * PAYLOAD, 1));
        here.seal("m:1", &[("a.bin", &data), ("config.json", b"{}")]);
        let dir = tempfile::tempdir().expect("folder");
        let other = Vault::init(store(dir.path())).expect("vault");
        copy(&here.vault, &other, &here.policy());
        Self { here, _dir: dir, other, data }
    }

    fn manifest(&self) -> Manifest {
        self.here.vault.resolve(&reference("m:1"), &self.here.policy()).expect("there").manifest.into_inner()
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.here.dir.path().join(path)
    }

    /// Flips a bit of an object here.
    fn damage(&self, path: &str, at: usize) {
        let mut bytes = fs::read(self.path(path)).expect("read");
        bytes[at] ^= 1;
        fs::write(self.path(path), bytes).expect("written");
    }

    fn repair(&self) -> (Vec<String>, Vec<String>) {
        repair(&self.here.vault, &self.other, &self.here.policy()).expect("looked over")
    }
}

fn copy(source: &Vault, target: &Vault, policy: &Policy) {
    let request = CopyRequest {
        source,
        selection: Selection::Models(None),
        artifacts: Artifacts::Head,
        policy,
        existing: Existing::Length,
        proofs: LogProofs::WellFormed,
        jobs: threads(2),
    };
    assert!(target.copy(request, &()).expect("copied").failed.is_empty());
}

/// The paths of what was mended, and everything else that was found.
fn repair(vault: &Vault, other: &Vault, policy: &Policy) -> Result<(Vec<String>, Vec<String>)> {
    let (mut mended, mut rest) = (Vec::new(), Vec::new());
    vault.repair(other, policy, threads(2), &(), &mut |finding| {
        match finding {
            Finding::Repaired { path, .. } => mended.push(path),
            other => rest.push(format!("{other:?}")),
        }
        Ok(())
    })?;
    Ok((mended, rest))
}

#[test]
fn everything_damaged_or_missing_is_mended_and_nothing_else_is_touched() {
    let pair = Pair::new();
    let (manifest, digest) = (pair.manifest(), pair.manifest().digest().expect("digest"));
    let stream = &manifest.streams[0];
    let parts: Vec<_> = stream.parts.iter().map(object_path).collect();
    pair.damage(&parts[0], 3 << 20);
    pair.damage(&parts[0], 5 << 20);
    fs::remove_file(pair.path(&parts[1])).expect("removed");
    fs::write(pair.path(&parts[2]), b"short").expect("cut");
    pair.damage(&object_path(&stream.tree.expect("a tree")), 0);
    pair.damage(&object_path(&manifest.index.parts[0]), 0);
    pair.damage(&recipients_path(digest, 1), 40);
    pair.damage(&version_path(&"m:1".parse().expect("a name")), 40);
    let attestation = pair.here.vault.attestation_paths(digest).expect("listed").remove(0);
    pair.damage(&attestation, 40);
    fs::remove_file(pair.path(&manifest_path(digest))).expect("removed");

    let (mended, rest) = pair.repair();
    assert_eq!(mended.len(), 9, "{mended:?}");
    assert_eq!(rest, Vec::<String>::new());
    assert!(pair.here.read("m:1", "a.bin").expect("opens") == pair.data);
    assert_eq!(pair.repair(), (Vec::new(), Vec::new()));
}

#[test]
fn a_link_in_the_place_of_an_object_is_replaced_and_what_it_leads_to_is_not_touched() {
    let pair = Pair::new();
    let part = object_path(&pair.manifest().streams[0].parts[0]);
    let elsewhere = pair.path("staging-not.txt");
    fs::write(&elsewhere, "mine").expect("written");
    fs::remove_file(pair.path(&part)).expect("removed");
    std::os::unix::fs::symlink(&elsewhere, pair.path(&part)).expect("linked");
    assert_eq!(pair.repair().0, [part]);
    assert_eq!(fs::read(elsewhere).expect("still there"), b"mine");
    assert!(pair.here.read("m:1", "a.bin").expect("opens") == pair.data);
}

#[test]
fn a_copy_that_is_no_better_mends_nothing_and_what_is_here_stays() {
    let pair = Pair::new();
    let part = object_path(&pair.manifest().streams[0].parts[0]);
    pair.damage(&part, 0);
    let before = fs::read(pair.path(&part)).expect("read");
    let theirs = std::path::Path::new(&pair.other.store().describe()).join(&part);
    let good = fs::read(&theirs).expect("read");
    let mut bad = good.clone();
    bad[9] ^= 1;
    for junk in [&bad[..], &good[1..], b""] {
        fs::write(&theirs, junk).expect("damaged");
        let (mended, rest) = pair.repair();
        assert!(mended.is_empty() && rest.iter().any(|found| found.starts_with("Unrepaired")), "{rest:?}");
        assert!(rest.iter().any(|found| found.starts_with("Damaged")), "{rest:?}");
        assert_eq!(fs::read(pair.path(&part)).expect("read"), before);
    }
    fs::write(&theirs, good).expect("mended");
    assert_eq!(pair.repair(), (vec![part], Vec::new()));
}

#[test]
fn a_record_is_replaced_only_by_one_that_is_accepted() {
    let pair = Pair::new();
    let name = "m:1".parse().expect("a name");
    let path = version_path(&name);
    let theirs = std::path::Path::new(&pair.other.store().describe()).join(&path);
    // The other vault has a record by somebody else, about the same artifact.
    let subject = pair.here.vault.resolve(&reference("m:1"), &pair.here.policy()).expect("there").subject;
    let stranger = SigningKey::generate().expect("key");
    let record = crate::provenance::VersionRecord::new(&name, None).expect("randomness");
    let forged = crate::vault::seal::sign(subject, record, &stranger).expect("signed");
    let good = fs::read(&theirs).expect("read");
    fs::write(&theirs, &forged).expect("swapped");
    assert_eq!(pair.repair(), (Vec::new(), Vec::new()), "the one here is good");
    pair.damage(&path, 40);
    let (mended, rest) = pair.repair();
    assert!(mended.is_empty() && rest.iter().any(|found| found.starts_with("Unrepaired")), "{rest:?}");
    fs::write(&theirs, good).expect("mended");
    assert_eq!(pair.repair().0, std::slice::from_ref(&path));

    // A forged record here that is well formed is noticed by who says whom to believe.
    fs::write(pair.path(&path), forged).expect("swapped");
    let nobody = repair(&pair.here.vault, &pair.other, &Policy::InsecureSkipSignature).expect("looked over");
    assert!(nobody.0.is_empty());
    assert_eq!(pair.repair().0, [path]);
}

#[test]
fn a_crash_at_any_write_of_a_repair_leaves_good_objects_and_the_next_repair_mends() {
    let pair = Pair::new();
    let manifest = pair.manifest();
    let damage = || {
        pair.damage(&object_path(&manifest.streams[0].parts[0]), 7);
        pair.damage(&version_path(&"m:1".parse().expect("a name")), 40);
        let _ = fs::remove_file(pair.path(&object_path(&manifest.streams[0].parts[1])));
    };
    let faulty = |number, when| {
        let backend = Directory::open(pair.here.dir.path(), Durability::NoSync).expect("folder");
        let faulty = Faulty::failing(backend, number, when);
        (faulty.clone(), Vault::open(Store::new(faulty)).expect("vault"))
    };
    damage();
    let (counting, vault) = faulty(0, When::Before);
    repair(&vault, &pair.other, &pair.here.policy()).expect("mended");
    let good = pair.here.objects();
    for number in 1..=counting.writes() {
        for when in [When::Before, When::After] {
            damage();
            let (_, vault) = faulty(number, when);
            let (at, crashed) = (format!("write {number} {when:?}"), repair(&vault, &pair.other, &pair.here.policy()));
            assert!(crashed.is_err() || crashed.is_ok_and(|(_, rest)| !rest.is_empty()), "{at}");
            assert!(pair.here.objects().iter().all(|path| good.contains(path)), "{at}");
            pair.repair();
            assert!(pair.here.read("m:1", "a.bin").expect(&at) == pair.data, "{at}");
            assert_eq!(pair.here.objects(), good, "{at}");
        }
    }
}

#[test]
fn a_bucket_is_mended_like_a_folder() {
    let pair = Pair::new();
    let bucket = Bucket::new(std::sync::Arc::new(object_store::memory::InMemory::new())).expect("bucket");
    let vault = Vault::init(Store::new(bucket)).expect("vault");
    let manifest = pair.manifest();
    let (first, second) = (manifest.streams[0].parts[0], manifest.streams[0].parts[1]);
    copy(&pair.here.vault, &vault, &pair.here.policy());
    vault.store().delete(&object_path(&first)).expect("deleted");
    vault.store().delete(&object_path(&second)).expect("deleted");
    let length = usize::try_from(manifest.streams[0].layout.part_len(0)).expect("small");
    let junk = vault.store().create(&object_path(&first), &vec![0; length]).expect("created");
    assert_eq!(junk, Created::New);
    let (mended, rest) = repair(&vault, &pair.other, &pair.here.policy()).expect("looked over");
    assert_eq!((mended.len(), rest), (2, Vec::new()));
    assert_eq!(repair(&vault, &pair.other, &pair.here.policy()).expect("looked over"), (Vec::new(), Vec::new()));
}

#[test]
fn damage_is_named_to_the_file_the_tensor_and_the_byte() {
    let fixture = Fixture::new();
    let payload = PAYLOAD as u64;
    // Three tensors: the second lies in segments 1 to 3 and shares the first and last of them with its neighbours.
    let header = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}},"b":{{"dtype":"U8","shape":[{0}],"data_offsets":[{0},{1}]}},"c":{{"dtype":"U8","shape":[{0}],"data_offsets":[{1},{2}]}}}}"#,
        2_000_000, 4_000_000, 6_000_000
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes(6_000_000, 3));
    fixture.seal("m:1", &[("model.safetensors", &file), ("z.bin", &bytes(3000, 4))]);
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there");
    let streams = &artifact.manifest.streams;
    let policy = fixture.policy();
    let look = |damage: &[(String, Place)], with_key: bool| {
        let key = with_key.then_some((&policy, &fixture.ring));
        fixture.vault.whereabouts(artifact.digest, damage, key).expect("looked up")
    };
    let part = object_path(&streams[0].parts[0]);
    let segment = |position| vec![(part.clone(), Place::Segment { stream: 0, position })];

    let (found, refused) = look(&segment(2), false);
    assert!(refused.is_none() && found[0][0].files.is_empty());
    assert_eq!((found[0][0].segments.clone(), found[0][0].bytes.clone()), (2..3, 2 << 20..3 << 20));
    let (found, _) = look(&segment(2), true);
    let hit = &found[0][0].files[0];
    assert_eq!((hit.path.as_str(), hit.range.clone()), ("model.safetensors", 2 * payload..3 * payload));
    assert_eq!(hit.tensors, Tensors::Named(vec!["b".into()], 0));
    let (found, _) = look(&segment(1), true);
    assert_eq!(found[0][0].files[0].tensors, Tensors::Named(vec!["a".into(), "b".into()], 0));

    // A tree is about its whole stream, a part about what it holds.
    let tree = object_path(&streams[0].tree.expect("a tree"));
    let (found, _) = look(&[(tree.clone(), Place::Object(tree))], false);
    assert_eq!(found[0][0].segments, 0..6);
    let other = object_path(&streams[1].parts[0]);
    let (found, _) = look(&[(other.clone(), Place::Object(other))], true);
    assert_eq!((found[0][0].files[0].path.as_str(), &found[0][0].files[0].tensors), ("z.bin", &Tensors::None));

    // If the header itself is damaged nobody knows which tensors there are; if the index is, nor which files.
    let flip = |path: &str| {
        let path = fixture.dir.path().join(path);
        let mut bytes = fs::read(&path).expect("read");
        bytes[10] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    flip(&part);
    let (found, _) = look(&segment(0), true);
    assert!(matches!(&found[0][0].files[0].tensors, Tensors::Unknown(why) if why.contains("segment 0")), "{found:?}");
    flip(&object_path(&artifact.manifest.index.parts[0]));
    let (found, refused) = look(&segment(0), true);
    assert!(found[0][0].files.is_empty());
    assert_eq!(refused.expect("it cannot be opened").kind(), Kind::Integrity);
}

#[test]
fn wrapped_keys_that_were_shredded_do_not_come_back() {
    let pair = Pair::new();
    let (fixture, policy) = (&pair.here, pair.here.policy());
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("there");
    fixture.vault.shred(&artifact, &policy, "leaked", &fixture.signer).expect("shredded");
    let recipients = pair.path(&recipients_path(artifact.digest, 1));
    assert_eq!(pair.repair(), (Vec::new(), Vec::new()));
    assert!(!recipients.exists());
    // Nor if something stands there that is no good.
    fs::write(&recipients, "damaged").expect("written");
    assert!(pair.repair().0.is_empty());
    assert_eq!(fs::read(&recipients).expect("read"), b"damaged");
    // Whoever believes nobody is careful.
    let nobody = repair(&fixture.vault, &pair.other, &Policy::InsecureSkipSignature).expect("looked over");
    assert!(nobody.0.is_empty());
}

#[test]
fn an_object_that_a_planted_manifest_names_with_two_lengths_does_not_keep_repair_busy_for_ever() {
    let pair = Pair::new();
    let mut manifest = pair.manifest();
    let part_size = manifest.part_size;
    let length = manifest.streams[0].layout.part_len(0) / 2;
    let layout = crate::tree::Layout::of_plaintext(length, part_size).expect("legal");
    let part = manifest.streams[0].parts[0];
    let twice = crate::manifest::Stream { layout, parts: vec![part], ..manifest.streams[0].clone() };
    manifest.streams.push(twice);
    let bytes = manifest.to_vec().expect("legal");
    let digest = Subject::of(&bytes).blake3;
    let folder = pair.path(&format!("artifacts/{}", digest.to_hex()));
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("manifest.json"), bytes).expect("planted");
    let (mended, rest) = pair.repair();
    assert!(mended.is_empty(), "{mended:?}");
    assert!(rest.iter().any(|found| found.starts_with("Unrepaired")), "{rest:?}");
    assert!(pair.here.read("m:1", "a.bin").expect("opens") == pair.data);
}

#[test]
fn what_a_stranger_says_is_retired_is_mended_all_the_same() {
    let pair = Pair::new();
    let stranger = SigningKey::generate().expect("key");
    let (skip, in_use) = (Policy::InsecureSkipSignature, crate::vault::InUse::Allow);
    let name: VersionName = "m:1".parse().expect("a name");
    pair.here.vault.retire(&name, "says mallory", &skip, in_use, &stranger).expect("planted");
    let part = object_path(&pair.manifest().streams[0].parts[0]);
    fs::remove_file(pair.path(&part)).expect("removed");
    let nobody = repair(&pair.here.vault, &pair.other, &skip).expect("looked over");
    assert!(nobody.0.is_empty() && nobody.1[0].starts_with("Collected"), "{nobody:?}");
    assert_eq!(pair.repair(), (vec![part], Vec::new()));
    assert!(pair.here.read("m:1", "a.bin").expect("opens") == pair.data);
}

#[test]
fn a_repair_of_a_version_record_that_is_killed_anywhere_loses_nothing_to_garbage_collection() {
    let pair = Pair::new();
    let record = pair.path(&version_path(&"m:1".parse().expect("a name")));
    // A lease, the outcome, the damaged record deleted, the good one created.
    for number in 1..=4 {
        for when in [When::Before, When::After] {
            let at = format!("write {number} {when:?}");
            fs::write(&record, "damaged").expect("written");
            let backend = Directory::open(pair.here.dir.path(), Durability::NoSync).expect("folder");
            let vault = Vault::open(Store::new(Faulty::failing(backend, number, when))).expect("vault");
            let killed = repair(&vault, &pair.other, &pair.here.policy());
            assert!(killed.is_err(), "{at}: {killed:?}");
            // As long as the record is there and damaged, collection deletes nothing.
            let collected = collect_weeks_later(&pair.here);
            assert!(collected.is_ok() || record.exists(), "{at}: {collected:?}");
            pair.repair();
            assert!(pair.here.read("m:1", "a.bin").expect(&at) == pair.data, "{at}");
        }
    }
}

/// Collects garbage when everything in the vault has been there for weeks.
fn collect_weeks_later(fixture: &Fixture) -> Result<crate::vault::Collected> {
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1000);
    fixture.vault.store().list("", &mut |entry| {
        let file = fs::File::options().write(true).open(fixture.dir.path().join(entry.path)).expect("there");
        file.set_modified(long_ago).expect("aged");
        Ok(())
    })?;
    let collection = crate::vault::Collection { grace: crate::vault::DEFAULT_GRACE, mode: crate::vault::Mode::Collect };
    fixture.vault.collect_garbage(Some(&fixture.policy()), collection, &(), &mut |_| Ok(()))
}
