//! Runs that were killed while they deleted, and what later ones make of them.

use super::*;
use crate::vault::Pending;

/// A vault in which a run was killed between its decision and its end, and what it condemned.
fn killed() -> (Place, String, String) {
    let place = Place::new();
    place.seal(&place.vault(), "m:1", b"1").expect("sealed");
    let litter = object_path(&blake3::hash(b"litter"));
    place.shelf.put(&litter, b"litter");
    place.shelf.pass_hours(100);
    place.collect(&place.vault()).expect("collected");
    let done = place.shelf.paths().into_iter().find(|path| path.ends_with("done.json")).expect("done");
    place.shelf.remove(&done);
    place.shelf.put(&litter, b"litter");
    let run = done.split('/').nth(1).expect("an id").to_owned();
    (place, run, litter)
}

/// What a collection says about runs.
fn said(place: &Place, how: Collection) -> Vec<String> {
    let mut said = Vec::new();
    let result = place.vault().collect_garbage(Some(&place.fixture.policy()), how, &(), &mut |event| {
        match event {
            GarbageEvent::Unfinished { id, pending } => said.push(format!("{id} {}", pending.as_str())),
            GarbageEvent::TakenOver { id } => said.push(format!("{id} taken over")),
            GarbageEvent::Finished { id } => said.push(format!("{id} finished")),
            _ => {}
        }
        Ok(())
    });
    result.expect("collected");
    said
}

fn may_be_stored_again(place: &Place, path: &str) -> bool {
    let vault = place.vault();
    let session = vault.open_session(Work::Copy, &[]).expect("session");
    let relied = session.rely_on(&[path.to_owned()]);
    session.abandon().expect("ended");
    match relied {
        Ok(()) => true,
        Err(Error::Lost { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_run_without_a_sign_of_life_is_revoked_and_half_an_hour_later_finished() {
    let (place, run, litter) = killed();
    assert_eq!(said(&place, collection()), [format!("{run} recent")]);
    assert!(!may_be_stored_again(&place, &litter));
    place.shelf.pass_hours(49);
    assert_eq!(said(&place, collection()), [format!("{run} taken over")]);
    assert!(place.shelf.get(&litter).is_none(), "what it had not deleted is deleted all the same");
    assert_eq!(said(&place, collection()), [format!("{run} settling")]);
    assert!(!may_be_stored_again(&place, &litter));
    place.shelf.pass_hours(1);
    assert_eq!(said(&place, collection()), [format!("{run} finished")]);
    assert!(may_be_stored_again(&place, &litter));
    assert!(said(&place, collection()).is_empty());
    // And nothing of it stays.
    for _ in 0..2 {
        place.shelf.pass_hours(100);
        said(&place, collection());
    }
    assert!(!place.shelf.paths().iter().any(|path| path.contains(&run)), "{:?}", place.shelf.paths());
    place.is_whole("m:1").expect("whole");
}

#[test]
fn a_run_that_made_no_promise_waits_for_somebody_who_knows() {
    let (place, run, litter) = killed();
    place.shelf.remove(&format!("gc/{run}/promise.json"));
    for _ in 0..3 {
        place.shelf.pass_hours(100);
        assert_eq!(said(&place, collection()), [format!("{run} {}", Pending::ByHand.as_str())]);
        assert!(!may_be_stored_again(&place, &litter));
    }
    place.vault().declare_finished(&run).expect("declared");
    assert!(may_be_stored_again(&place, &litter));
}

#[test]
fn a_store_without_deletions_that_end_makes_no_promises() {
    let place = Place::new();
    place.shelf.sign_nothing();
    place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    place.shelf.pass_hours(100);
    assert_eq!(place.collect(&place.vault()).expect("collected").deleted, 1);
    assert!(!place.shelf.paths().iter().any(|path| path.ends_with("promise.json")));
}

#[test]
fn a_dry_run_takes_nothing_over() {
    let (place, run, _) = killed();
    // The clock of a dry run is that of this machine.
    let ahead = 1_800_000_000 - jiff::Timestamp::now().as_second();
    let aged = place.at(place.shelf.moved(-ahead / 3600 - 300));
    let before = aged.shelf.paths();
    assert_eq!(said(&aged, dry()), [format!("{run} taken over")]);
    assert_eq!(aged.shelf.paths(), before);
}
