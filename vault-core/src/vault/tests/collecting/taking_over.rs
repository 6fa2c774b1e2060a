//! Runs that were killed while they deleted, and what later ones make of them.

use super::*;
use crate::{vault::Pending, workers::Progress};

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

#[test]
fn a_run_without_a_sign_of_life_is_revoked_and_half_an_hour_later_finished() {
    let (place, run, litter) = killed();
    assert_eq!(said(&place, collection()), [format!("{run} recent")]);
    assert!(!place.may_be_stored_again(&litter));
    place.shelf.pass_hours(49);
    assert_eq!(said(&place, collection()), [format!("{run} taken over")]);
    assert!(place.shelf.get(&litter).is_none(), "what it had not deleted is deleted all the same");
    assert_eq!(said(&place, collection()), [format!("{run} settling")]);
    assert!(!place.may_be_stored_again(&litter));
    place.shelf.pass_hours(1);
    assert_eq!(said(&place, collection()), [format!("{run} finished")]);
    assert!(place.may_be_stored_again(&litter));
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
        assert!(!place.may_be_stored_again(&litter));
    }
    place.vault().declare_finished(&run).expect("declared");
    assert!(place.may_be_stored_again(&litter));
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

#[test]
fn a_store_that_deletes_by_permits_and_ends_none_is_promised_nothing() {
    let place = Place::new();
    place.shelf.end_nothing();
    place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    place.shelf.pass_hours(100);
    assert_eq!(place.collect(&place.vault()).expect("collected").deleted, 1);
    let left: Vec<_> = place.shelf.paths().into_iter().filter(|path| path.starts_with("gc/")).collect();
    let names: Vec<_> = left.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(names, ["condemned-1.json", "done.json", "outcome.json", "started.json"], "and nothing of the trial");
}

#[test]
fn a_run_with_a_deletion_that_was_not_answered_is_done_when_that_has_ended() {
    let place = Place::new();
    let litter = object_path(&blake3::hash(b"litter"));
    place.shelf.put(&litter, b"litter");
    place.shelf.pass_hours(100);
    place.shelf.leave_unanswered();
    let first = said(&place, collection());
    assert!(place.shelf.get(&litter).is_none(), "it was carried out, and may be once more");
    let run = first[0].split(' ').next().expect("an id");
    assert_eq!(first, [format!("{run} settling")]);
    assert!(!place.shelf.paths().contains(&format!("gc/{run}/done.json")));
    assert!(!place.may_be_stored_again(&litter));
    assert_eq!(said(&place, collection()), [format!("{run} settling")]);
    place.shelf.pass_hours(1);
    assert_eq!(said(&place, collection()), [format!("{run} finished")]);
    assert!(place.may_be_stored_again(&litter));
}

/// Each deletion takes an hour.
struct Slow<'a>(&'a Shelf);

impl Progress for Slow<'_> {
    fn advance(&self, _: u64) {
        self.0.pass_hours(1);
    }
}

#[test]
fn a_run_that_outlives_what_was_not_answered_is_done_at_its_end() {
    let place = Place::new();
    for litter in [b"1", b"2"] {
        place.shelf.put(&object_path(&blake3::hash(litter)), litter);
    }
    place.shelf.pass_hours(100);
    place.shelf.leave_unanswered();
    let policy = place.fixture.policy();
    let collected = place.vault().collect_garbage(Some(&policy), collection(), &Slow(&place.shelf), &mut |_| Ok(()));
    let collected = collected.expect("collected");
    assert_eq!((collected.deleted, collected.undeletable), (2, 0));
    let run = collected.run.expect("no dry run");
    assert!(place.shelf.paths().contains(&format!("gc/{run}/done.json")));
}

#[test]
fn a_run_whose_clock_went_ahead_deletes_nothing() {
    for (seconds, deleted) in [(-240, 1), (240, 1), (360, 0)] {
        let place = Place::new();
        let litter = object_path(&blake3::hash(b"litter"));
        place.shelf.put(&litter, b"litter");
        place.shelf.pass_hours(100);
        place.shelf.date_ahead(seconds);
        let mut said = Vec::new();
        let policy = place.fixture.policy();
        let collected = place.vault().collect_garbage(Some(&policy), collection(), &(), &mut |event| {
            said.extend(matches!(event, GarbageEvent::Undeletable { .. }).then(|| format!("{event:?}")));
            Ok(())
        });
        let collected = collected.expect("collected");
        assert_eq!((collected.deleted, collected.undeletable), (deleted, 1 - deleted), "{seconds}");
        assert_eq!(place.shelf.get(&litter).is_some(), deleted == 0);
        assert!(said.iter().all(|said| said.contains("the clock of this machine has gone ahead")), "{said:?}");
    }
}
