//! Two or three parties at one store, stopped before every operation.

use super::*;
use crate::{
    parts::Sink as _,
    provenance::{Envelope, Statement, VersionRecord},
};

/// What somebody does to a vault.
type Deed<'a> = Box<dyn Fn(&Vault) -> Result<()> + Sync + 'a>;

/// What two or three parties do to a vault, and what must hold afterwards.
struct Race<'a> {
    place: &'a Place,
    /// What the vault is before.
    before: Shelf,
    parties: Vec<Deed<'a>>,
}

impl Race<'_> {
    fn deed(&self, number: usize) -> Party<'_, Result<()>> {
        let work = &self.parties[number];
        Box::new(move |store| work(&Vault::open(store)?))
    }

    fn length(&self, number: usize) -> usize {
        operations(&self.before, self.deed(number))
    }

    /// Runs one schedule; gives what became of each party, and the vault.
    fn run(&self, schedule: &[Turn]) -> (Vec<Result<()>>, Place) {
        let stage = self.before.copy();
        let everybody = (0..self.parties.len()).map(|number| self.deed(number)).collect();
        let results = together(&stage, everybody, schedule);
        (results, self.place.at(stage))
    }
}

impl Place {
    /// Whoever was told that it worked has a whole version, now and after everything that is garbage went; whoever was told
    /// that it did not was beaten by collection, and nothing of it is published.
    fn check_outcome(&self, result: &Result<()>, name: &str, at: &str) {
        for round in 0..2 {
            let at = format!("{at}, looked at {round}");
            match result {
                Ok(()) => self.is_verified(name).expect(&at),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Conflict, "{at}: {error}");
                    assert!(!self.exists(name), "{at}: published although it failed: {error}");
                }
            }
            self.check(&at);
            self.shelf.pass_hours(100);
            self.collect(&self.vault()).expect(&at);
        }
    }

    fn is_verified(&self, name: &str) -> Result<()> {
        let vault = self.vault();
        let artifact = vault.resolve(&reference(name), &self.fixture.policy())?;
        vault.verify(&artifact, threads(1), &()).map(drop)
    }
}

/// A pseudo-random sequence that is always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// One party after another for a random number of operations, and sometimes days in between.
fn shuffled(dice: &mut Dice, parties: usize) -> Vec<Turn> {
    (0..30)
        .map(|_| match dice.below(8) {
            0 => Turn::Hours([1, 47, 49, 200][dice.below(4)]),
            _ => Turn::Steps(dice.below(parties), 1 + dice.below(9)),
        })
        .collect()
}

fn sealer(place: &Place) -> Deed<'_> {
    Box::new(|vault| place.seal(vault, "m:new", b"weights").map(drop))
}

fn collector(place: &Place) -> Deed<'_> {
    Box::new(|vault| place.collect(vault).map(drop))
}

/// A vault with a version that stays and old garbage.
fn littered() -> Place {
    let place = Place::new();
    place.seal(&place.vault(), "m:kept", b"kept").expect("sealed");
    place.shelf.put(&object_path(&blake3::hash(b"litter")), b"litter");
    place.shelf.pass_hours(100);
    place
}

#[test]
fn a_sealer_frozen_before_any_operation_while_two_collections_pass_is_whole_or_fails_cleanly() {
    let place = littered();
    let race = Race { place: &place, before: place.shelf.copy(), parties: vec![sealer(&place)] };
    let (mut whole, mut failed) = (0, 0);
    for step in 0..=race.length(0) {
        let shelf = race.before.copy();
        let passing = place.at(shelf.clone());
        // Time passes for the frozen one, too: the collections run between two of its operations.
        let parties: Vec<Party<'_, Result<()>>> = vec![
            race.deed(0),
            Box::new(|store| passing.collect(&Vault::open(store)?).map(drop)),
            Box::new(|store| passing.collect(&Vault::open(store)?).map(drop)),
        ];
        let schedule = [
            Turn::Steps(0, step),
            Turn::Hours(100),
            Turn::Finish(1),
            Turn::Hours(100),
            Turn::Finish(2),
            Turn::Finish(0),
        ];
        let results = together(&shelf, parties, &schedule);
        results[1].as_ref().and(results[2].as_ref()).expect("collected");
        let after = place.at(shelf);
        match &results[0] {
            Ok(()) => whole += 1,
            Err(_) => failed += 1,
        }
        after.check_outcome(&results[0], "m:new", &format!("frozen before operation {step}"));
        after.is_verified("m:kept").expect("kept");
    }
    assert!(whole >= 4 && failed >= 5, "{whole} whole, {failed} failed");
}

#[test]
fn a_sealer_and_a_collection_lose_nothing_wherever_one_overtakes_the_other() {
    let place = littered();
    let race = Race { place: &place, before: place.shelf.copy(), parties: vec![sealer(&place), collector(&place)] };
    let (sealing, collecting) = (race.length(0), race.length(1));
    for first in 0..=sealing {
        for second in 0..=collecting {
            for hours in [0, 49] {
                let schedule = [Turn::Steps(0, first), Turn::Hours(hours), Turn::Steps(1, second), Turn::Finish(0)];
                let (results, after) = race.run(&schedule);
                let at = format!("sealer {first}, {hours} hours, collector {second}");
                results[1].as_ref().expect(&at);
                if second % 4 == 0 || results[0].is_err() {
                    after.check_outcome(&results[0], "m:new", &at);
                } else {
                    assert!(after.is_verified("m:new").is_ok(), "{at}");
                }
            }
        }
    }
}

/// Somebody who copies the artifact of `source` into a vault that has some of it already.
fn copier(source: &Place) -> Deed<'_> {
    Box::new(|vault| {
        let from = source.vault();
        let artifact = from.resolve(&reference("m:new"), &source.fixture.policy())?;
        let store = vault.store();
        let session = vault.open_session(Work::Copy, &[artifact.digest])?;
        let manifest = manifest_path(artifact.digest);
        let take = |path: &str| source.shelf.get(path).expect("there");
        let _ = store.create(&manifest, &take(&manifest))?;
        let paths = from.paths_of(artifact.digest)?;
        session.rely_on(&paths)?;
        for (name, _) in artifact.manifest.objects() {
            if store.stat(&object_path(&name))?.is_none() {
                store.put(&name, &take(&object_path(&name)))?;
            }
        }
        let record = take(&version_path(&"m:new".parse()?));
        session.commit(&"m:new".parse()?, &record)
    })
}

/// A vault with the contents of an artifact that somebody began to copy long ago, and the vault it comes from.
fn half_copied() -> (Place, Place) {
    let place = littered();
    let source = place.at(Shelf::default());
    Vault::init(source.shelf.store()).expect("vault");
    source.seal(&source.vault(), "m:new", b"weights to be copied").expect("sealed");
    place.shelf.pass_hours(-100);
    for path in source.contents() {
        place.shelf.put(&path, &source.shelf.get(&path).expect("there"));
    }
    place.shelf.pass_hours(100);
    (place, source)
}

#[test]
fn a_copier_that_relies_on_old_objects_and_a_collection_lose_nothing() {
    let (place, source) = half_copied();
    let race = Race { place: &place, before: place.shelf.copy(), parties: vec![copier(&source), collector(&place)] };
    let (copying, collecting) = (race.length(0), race.length(1));
    let (mut relied, mut called_off, mut refused) = (0, 0, 0);
    for first in 0..=copying {
        for second in 0..=collecting {
            for hours in [0, 49] {
                for order in [[0, 1], [1, 0]] {
                    let schedule = [
                        Turn::Steps(order[0], if order[0] == 0 { first } else { second }),
                        Turn::Hours(hours),
                        Turn::Steps(order[1], if order[1] == 0 { first } else { second }),
                        Turn::Finish(order[0]),
                    ];
                    let (results, after) = race.run(&schedule);
                    let at = format!("{schedule:?}");
                    if let Err(error) = &results[1] {
                        assert_eq!(error.kind(), Kind::Conflict, "{at}: {error}");
                        called_off += 1;
                    }
                    match &results[0] {
                        Ok(()) => relied += 1,
                        Err(_) => refused += 1,
                    }
                    if results.iter().any(Result::is_err) || second % 4 == 0 {
                        after.check_outcome(&results[0], "m:new", &at);
                    } else {
                        assert!(after.is_verified("m:new").is_ok(), "{at}");
                    }
                }
            }
        }
    }
    assert!(relied > 0 && called_off > 0 && refused > 0, "{relied}, {called_off}, {refused}");
}

#[test]
fn a_collection_frozen_anywhere_deletes_nothing_that_was_stored_again_meanwhile() {
    let (place, source) = half_copied();
    let parties = vec![collector(&place), collector(&place), copier(&source)];
    let race = Race { place: &place, before: place.shelf.copy(), parties };
    let mut refused = 0;
    for frozen in 0..=race.length(0) {
        for hours in [0, 100] {
            let schedule = [
                Turn::Steps(0, frozen),
                Turn::Hours(hours),
                Turn::Finish(1),
                Turn::Hours(hours),
                Turn::Finish(2),
                Turn::Finish(0),
            ];
            let (results, after) = race.run(&schedule);
            let at = format!("frozen before operation {frozen}, {hours} hours: {results:?}");
            assert!(results[..2].iter().flatten().count() >= 1, "{at}");
            refused += usize::from(results[2].is_err());
            after.check_outcome(&results[2], "m:new", &at);
        }
    }
    assert!(refused > 0, "never in the way");
}

#[test]
fn a_run_that_stands_still_is_taken_over_and_deletes_nothing_that_was_stored_again_when_it_wakes() {
    let (place, source) = half_copied();
    let parties = vec![collector(&place), collector(&place), collector(&place), copier(&source)];
    let race = Race { place: &place, before: place.shelf.copy(), parties };
    let mut taken_over = 0;
    for (frozen, fails) in (0..=race.length(0)).flat_map(|frozen| [(frozen, false), (frozen, true)]) {
        // Killed there, as far as the others can tell: nobody says that its process is gone.
        let schedule = [
            Turn::Steps(0, frozen),
            Turn::Hours(100),
            Turn::Finish(1),
            Turn::Hours(1),
            Turn::Finish(2),
            Turn::Finish(3),
            if fails { Turn::FailLook } else { Turn::Hours(0) },
            Turn::Finish(0),
        ];
        let (results, after) = race.run(&schedule);
        let at = format!("frozen before operation {frozen}, its first look fails: {fails}: {results:?}");
        for result in &results[1..] {
            result.as_ref().expect(&at);
        }
        match &results[0] {
            Ok(()) => {}
            Err(error) if error.to_string().contains("taken over") => taken_over += 1,
            Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{at}"),
        }
        after.check_outcome(&results[3], "m:new", &at);
        after.is_verified("m:kept").expect(&at);
    }
    // At each of its deletions, at its looks, and at its end.
    assert!(taken_over >= 8, "{taken_over}");
}

#[test]
fn of_two_collections_at_once_one_at_least_comes_to_its_end() {
    let place = littered();
    place.seal(&place.vault(), "m:new", b"new").expect("sealed");
    let parties = vec![collector(&place), collector(&place)];
    let race = Race { place: &place, before: place.shelf.copy(), parties };
    let lengths = [race.length(0), race.length(1)];
    for first in 0..=lengths[0] {
        for second in 0..=lengths[1] {
            let schedule = [Turn::Steps(0, first), Turn::Steps(1, second), Turn::Finish(0)];
            let (results, after) = race.run(&schedule);
            let at = format!("{first}, {second}: {results:?}");
            let lost = results.iter().filter(|result| result.is_err()).count();
            assert!(lost <= 1, "{at}");
            assert!(results.iter().flatten().count() >= 1, "{at}");
            for error in results.iter().filter_map(|result| result.as_ref().err()) {
                assert_eq!(error.kind(), Kind::Conflict, "{at}");
            }
            after.is_verified("m:new").expect(&at);
            after.is_verified("m:kept").expect(&at);
        }
    }
}

#[test]
fn whatever_the_order_nothing_is_lost() {
    let (place, source) = half_copied();
    let parties = vec![sealer_as(&place, "m:other"), copier(&source), collector(&place), collector(&place)];
    let race = Race { place: &place, before: place.shelf.copy(), parties };
    let mut dice = Dice(7);
    for number in 0..300 {
        let schedule = shuffled(&mut dice, 4);
        let (results, after) = race.run(&schedule);
        let at = format!("schedule {number}: {schedule:?}");
        after.check_outcome(&results[0], "m:other", &at);
        after.check_outcome(&results[1], "m:new", &at);
        after.is_verified("m:kept").expect(&at);
    }
}

fn sealer_as<'a>(place: &'a Place, name: &'static str) -> Deed<'a> {
    Box::new(move |vault| place.seal(vault, name, b"weights").map(drop))
}

#[test]
fn a_record_that_was_decided_is_published_by_the_next_collection() {
    let place = littered();
    let race = Race { place: &place, before: place.shelf.copy(), parties: vec![sealer(&place), collector(&place)] };
    // The last operation of a seal is its version record, the one before its outcome.
    let schedule = [Turn::Steps(0, race.length(0) - 1), Turn::Hours(100), Turn::Finish(1)];
    let shelf = race.before.copy();
    let watch = shelf.clone();
    let published = std::sync::Mutex::new(None);
    let parties: Vec<Party<'_, Result<()>>> = vec![
        race.deed(0),
        Box::new(|store| {
            race.place.collect(&Vault::open(store)?)?;
            *published.lock().expect("no panic") = watch.get("models/m/versions/new.dsse.json");
            Ok(())
        }),
    ];
    let results = together(&shelf, parties, &schedule);
    for result in results {
        result.expect("both succeed");
    }
    let record = published.into_inner().expect("no panic").expect("published while its writer was frozen");
    let envelope = Envelope::parse_record(&record).expect("an envelope");
    assert!(Statement::<VersionRecord>::parse(envelope.payload()).is_ok());
    place.at(shelf).is_verified("m:new").expect("whole");
}

#[test]
fn with_a_short_grace_and_clocks_apart_a_sealer_is_whole_or_fails_cleanly() {
    let place = littered();
    let collect: Deed<'_> = Box::new(|vault| {
        let collection = Collection { grace: Duration::from_mins(1), mode: Mode::Collect };
        vault.collect_garbage(Some(&place.fixture.policy()), collection, &(), &mut |_| Ok(())).map(drop)
    });
    let before = place.shelf.copy();
    before.put_behind(0, 200);
    let race = Race { place: &place, before, parties: vec![sealer(&place), collect] };
    let (sealing, collecting) = (race.length(0), race.length(1));
    let (mut whole, mut ended) = (0, 0);
    for second in 0..=collecting {
        for first in 0..=sealing {
            let schedule = [Turn::Steps(1, second), Turn::Steps(0, first), Turn::Finish(1), Turn::Finish(0)];
            let (results, after) = race.run(&schedule);
            let at = format!("collector {second}, sealer {first}");
            results[1].as_ref().expect(&at);
            match &results[0] {
                Ok(()) => {
                    after.is_verified("m:new").expect(&at);
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Conflict, "{at}: {error}");
                    assert!(!after.exists("m:new"), "{at}");
                    ended += 1;
                }
            }
        }
    }
    assert!(whole > 0 && ended > 0, "{whole} whole, {ended} ended");
}

#[test]
fn recipients_that_are_mended_do_not_outlive_a_shredding() {
    let place = Place::new();
    place.seal(&place.vault(), "m:1", b"weights").expect("sealed");
    let other = place.at(place.shelf.copy());
    let policy = place.fixture.policy();
    let artifact = place.vault().resolve(&reference("m:1"), &policy).expect("there");
    place.shelf.remove(&recipients_path(artifact.digest, 1));
    let mend: Deed<'_> =
        Box::new(|vault| vault.repair(&other.vault(), &policy, threads(1), &(), &mut |_| Ok(())).map(drop));
    let shred: Deed<'_> = Box::new(|vault| vault.shred(&artifact, &policy, "leaked", &place.fixture.signer).map(drop));
    let race = Race { place: &place, before: place.shelf.copy(), parties: vec![mend, shred] };
    let (mending, shredding) = (race.length(0), race.length(1));
    for first in 0..=mending {
        for second in 0..=shredding {
            let schedule = [Turn::Steps(0, first), Turn::Steps(1, second), Turn::Finish(0)];
            let (results, after) = race.run(&schedule);
            let at = format!("mender {first}, shredder {second}: {results:?}");
            assert!(results.iter().all(Result::is_ok), "{at}");
            assert!(!after.shelf.paths().iter().any(|path| path.contains("/recipients/")), "{at}");
        }
    }
}
