//! Junk in the way of a collection: what somebody planted or a disk damaged keeps what it may name, and nothing else.

use std::collections::HashMap;

use super::{keeping::events, *};
use crate::{
    names::ArtifactDigest,
    vault::{
        Lease,
        gc::documents::{Condemned, Decision, Document as _},
    },
};

const JUNK: &[u8] = b"{}";

/// A vault with a version, an artifact that nothing names, and litter that no manifest names; all of it old.
struct Yard {
    place: Place,
    kept: Receipt,
    stray: Receipt,
    litter: String,
    /// Manifest and contents of each.
    paths: HashMap<ArtifactDigest, Vec<String>>,
}

impl Yard {
    fn new() -> Self {
        let place = Place::new();
        let kept = place.seal(&place.vault(), "m:1", b"1").expect("sealed");
        let stray = place.seal(&place.vault(), "m:2", b"2").expect("sealed");
        place.shelf.remove("models/m/versions/2.dsse.json");
        for path in place.shelf.paths().into_iter().filter(|path| path.starts_with("sessions/")) {
            place.shelf.remove(&path);
        }
        let litter = object_path(&blake3::hash(b"litter"));
        place.shelf.put(&litter, b"litter");
        let paths = [&kept, &stray].map(|it| (it.digest, place.vault().paths_of(it.digest).expect("there")));
        place.shelf.pass_hours(100);
        Self { paths: paths.into(), place, kept, stray, litter }
    }

    /// How many content objects of an artifact are there.
    fn contents_of(&self, sealed: &Receipt) -> usize {
        self.paths[&sealed.digest][1..].iter().filter(|path| self.place.shelf.get(path).is_some()).count()
    }

    fn has_folder(&self, artifact: ArtifactDigest) -> bool {
        let folder = format!("artifacts/{}/", artifact.to_hex());
        self.place.shelf.paths().iter().any(|path| path.starts_with(&folder))
    }

    /// Collects; gives how much could not be read and what was said about it.
    fn collect(&self) -> (u64, Vec<String>) {
        let (collected, seen) = events(&self.place, collection());
        let collected = collected.expect("collected");
        let said: Vec<_> = seen.into_iter().filter(|event| event.starts_with("Unreadable")).collect();
        assert_eq!(collected.unreadable, said.len() as u64, "{said:?}");
        (collected.unreadable, said)
    }
}

fn session_path(name: &str) -> String {
    format!("sessions/{}/{name}.json", "5".repeat(32))
}

#[test]
fn a_lease_that_cannot_be_read_pins_every_artifact_until_it_is_old() {
    for junk in [JUNK, &vec![b' '; 2 << 20]] {
        let yard = Yard::new();
        yard.place.shelf.put(&session_path("lease-1"), junk);
        let (unreadable, said) = yard.collect();
        assert_eq!(unreadable, 1);
        assert!(said[0].contains("lease-1.json") && said[0].contains("kept: Artifacts"), "{said:?}");
        assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (2, true));
        assert!(yard.place.shelf.get(&yard.litter).is_none(), "no manifest names it");
        // Then it is a session that stands still, like any other.
        yard.place.shelf.pass_hours(100);
        assert_eq!(yard.collect().0, 0);
        assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (0, false));
        yard.place.is_whole("m:1").expect("whole");
    }
}

#[test]
fn the_readable_leases_of_a_session_pin_what_they_say_beside_junk() {
    let yard = Yard::new();
    let absent = ArtifactDigest::of(b"absent");
    let mut pins = vec![yard.stray.digest, absent];
    pins.sort_by_key(|pin| *pin.hash().as_bytes());
    let lease = Lease { kind: "copy".into(), pins }.to_vec().expect("written");
    yard.place.shelf.put(&session_path("lease-1"), &lease);
    yard.place.shelf.put(&session_path("lease-2"), JUNK);
    assert_eq!(yard.collect().0, 1);
    assert_eq!(yard.contents_of(&yard.stray), 2);
}

#[test]
fn an_outcome_that_cannot_be_read_may_have_committed_any_artifact() {
    let yard = Yard::new();
    yard.place.shelf.put(&session_path("outcome"), JUNK);
    for _ in 0..2 {
        let (unreadable, said) = yard.collect();
        assert_eq!(unreadable, 1);
        assert!(said[0].contains("outcome.json") && said[0].contains("kept: Artifacts"), "{said:?}");
        assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (2, true));
        assert!(yard.place.shelf.get(&yard.litter).is_none(), "no manifest names it");
        yard.place.shelf.pass_hours(100);
    }
    yard.place.shelf.remove(&session_path("outcome"));
    assert_eq!(yard.collect().0, 0);
    assert_eq!(yard.contents_of(&yard.stray), 0);
    yard.place.is_whole("m:1").expect("whole");
}

#[test]
fn a_manifest_that_counts_and_cannot_be_read_keeps_all_contents_and_no_folder_but_its_own() {
    for is_missing in [false, true] {
        let yard = Yard::new();
        let path = manifest_path(yard.kept.digest);
        let manifest = yard.place.shelf.get(&path).expect("there");
        if is_missing {
            yard.place.shelf.remove(&path);
        } else {
            yard.place.shelf.put(&path, JUNK);
        }
        yard.place.shelf.pass_hours(100);
        let before = yard.place.contents();
        let (unreadable, said) = yard.collect();
        assert_eq!(unreadable, 1);
        assert!(said[0].contains(&path) && said[0].contains("kept: Contents"), "{said:?}");
        assert_eq!(yard.place.contents(), before, "any of them may be what it names");
        assert!(yard.has_folder(yard.kept.digest) && !yard.has_folder(yard.stray.digest));
        yard.place.shelf.put(&path, &manifest);
        yard.place.is_whole("m:1").expect("mended");
        assert_eq!(yard.collect().0, 0);
        assert_eq!((yard.contents_of(&yard.stray), yard.contents_of(&yard.kept)), (0, 2));
    }
}

#[test]
fn a_manifest_that_a_writer_at_work_pins_and_nobody_can_read_keeps_all_contents() {
    let yard = Yard::new();
    yard.place.shelf.put(&manifest_path(yard.stray.digest), JUNK);
    let vault = yard.place.vault();
    let session = vault.open_session(Work::Reuse, &[yard.stray.digest]).expect("session");
    let before = yard.place.contents();
    assert_eq!(yard.collect().0, 1);
    assert_eq!((yard.place.contents(), yard.has_folder(yard.stray.digest)), (before, true));
    session.abandon().expect("ended");
    yard.place.shelf.pass_hours(100);
    assert_eq!(yard.collect().0, 0);
    assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (0, false));
    yard.place.is_whole("m:1").expect("whole");
}

#[test]
fn a_planted_manifest_that_nothing_names_keeps_nothing_and_goes_when_it_is_old() {
    let yard = Yard::new();
    let planted = ArtifactDigest::of(b"never sealed");
    yard.place.shelf.put(&manifest_path(planted), JUNK);
    let (unreadable, said) = yard.collect();
    assert_eq!(unreadable, 1);
    assert!(said[0].contains(&planted.to_hex()) && said[0].contains("kept: Itself"), "{said:?}");
    assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (0, false));
    assert!(yard.place.shelf.get(&yard.litter).is_none() && yard.has_folder(planted));
    yard.place.shelf.pass_hours(100);
    assert_eq!(yard.collect().0, 0);
    assert!(!yard.has_folder(planted));
    yard.place.is_whole("m:1").expect("whole");
}

#[test]
fn junk_of_two_kinds_keeps_what_either_may_name() {
    let yard = Yard::new();
    yard.place.shelf.put("models/m/versions/junk.dsse.json", JUNK);
    yard.place.shelf.put(&manifest_path(yard.stray.digest), JUNK);
    yard.place.shelf.pass_hours(100);
    let before = yard.place.contents();
    // The record may name the artifact, and this any object.
    assert_eq!(yard.collect().0, 2);
    assert_eq!((yard.place.contents(), yard.has_folder(yard.stray.digest)), (before, true));
}

#[test]
fn the_decision_of_another_run_that_cannot_be_read_is_left_alone() {
    let yard = Yard::new();
    let path = format!("gc/{}/outcome.json", "7".repeat(32));
    yard.place.shelf.put(&path, JUNK);
    yard.place.shelf.pass_hours(100);
    let (unreadable, said) = yard.collect();
    assert_eq!(unreadable, 1);
    assert!(said[0].contains(&path), "{said:?}");
    assert_eq!(yard.contents_of(&yard.stray), 0);
    assert!(yard.place.shelf.get(&path).is_some());
}

fn run_path(name: &str) -> String {
    format!("gc/{}/{name}.json", "7".repeat(32))
}

#[test]
fn a_decision_that_cannot_be_read_is_in_the_way_of_what_its_lists_name_and_of_nothing_else() {
    let yard = Yard::new();
    let other = object_path(&blake3::hash(b"other"));
    yard.place.shelf.put(&run_path("outcome"), JUNK);
    assert!(yard.place.may_be_stored_again(&yard.litter), "there is no list");
    let list = Condemned::new(std::slice::from_ref(&yard.litter)).expect("a list").write().expect("written");
    yard.place.shelf.put(&run_path("condemned-1"), &list);
    assert!(!yard.place.may_be_stored_again(&yard.litter));
    assert!(yard.place.may_be_stored_again(&other));
}

#[test]
fn a_list_that_cannot_be_read_may_name_anything() {
    for junk in [JUNK, &vec![b' '; 5 << 20]] {
        let yard = Yard::new();
        yard.place.shelf.put(&run_path("condemned-1"), junk);
        assert!(yard.place.may_be_stored_again(&yard.litter), "it can be called off");
        assert!(yard.place.shelf.get(&run_path("outcome")).is_some(), "and was");
        let deleting = Decision::deleting().expect("a decision").write().expect("written");
        yard.place.shelf.put(&run_path("outcome"), &deleting);
        assert!(!yard.place.may_be_stored_again(&yard.litter));
        yard.place.vault().declare_finished(&"7".repeat(32)).expect("declared");
        assert!(yard.place.may_be_stored_again(&yard.litter));
    }
}

#[test]
fn leases_that_pin_more_than_anybody_has_pin_every_artifact() {
    const LEASES: usize = 101;
    const PINS: usize = 10_000;
    let yard = Yard::new();
    for number in 0..LEASES {
        let mut pins: Vec<_> =
            (0..PINS).map(|pin| ArtifactDigest::of(&[number, pin].map(usize::to_le_bytes).concat())).collect();
        pins.sort_by_key(|pin| *pin.hash().as_bytes());
        let lease = Lease { kind: "copy".into(), pins }.to_vec().expect("written");
        yard.place.shelf.put(&format!("sessions/{number:032x}/lease-1.json"), &lease);
    }
    let (unreadable, said) = yard.collect();
    assert_eq!(unreadable, 1);
    assert!(said[0].contains("lease-1.json") && said[0].contains("kept: Artifacts"), "{said:?}");
    assert_eq!((yard.contents_of(&yard.stray), yard.has_folder(yard.stray.digest)), (2, true));
    assert!(yard.place.shelf.get(&yard.litter).is_none(), "no manifest names it");
}

#[test]
fn a_store_that_gives_nothing_ends_a_collection_before_it_deletes() {
    // What is there and was not given may be anything.
    let yard = Yard::new();
    yard.place.shelf.withhold(&manifest_path(yard.kept.digest));
    let before = yard.place.contents();
    assert_eq!(kind(yard.place.collect(&yard.place.vault())), Kind::Operational);
    assert_eq!(yard.place.contents(), before);
}

#[test]
fn a_version_record_that_cannot_be_read_keeps_whatever_it_may_name() {
    let place = Place::new();
    place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    place.seal(&place.vault(), "m:2", b"2").expect("sealed");
    let litter = object_path(&blake3::hash(b"litter"));
    place.shelf.put(&litter, b"litter");
    let path = "models/m/versions/1.dsse.json";
    let record = place.shelf.get(path).expect("there");
    place.shelf.put(path, b"{}");
    // A name of which nobody ever heard is as good as one that was damaged.
    place.shelf.put("models/m/versions/junk.dsse.json", b"junk");
    place.shelf.pass_hours(100);
    let before = place.contents();
    for condemned in [1, 0] {
        let (collected, seen) = events(&place, collection());
        let collected = collected.expect("collected");
        assert_eq!(
            (collected.condemned, collected.deleted, collected.unreadable),
            (condemned, condemned, 2),
            "{seen:?}"
        );
        assert_eq!(seen.iter().filter(|event| event.starts_with("Unreadable")).count(), 2, "{seen:?}");
        assert!(place.shelf.get(&litter).is_none());
        place.shelf.pass_hours(100);
    }
    assert_eq!(place.contents().len(), before.len() - 1);
    place.shelf.put(path, &record);
    place.is_whole("m:1").expect("mended");
    place.is_whole("m:2").expect("whole");
}
