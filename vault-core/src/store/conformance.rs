//! What every backend must do, as checks that run against any of them.

#![expect(clippy::expect_used, clippy::panic, reason = "checks fail by panicking")]

use std::{collections::BTreeMap, sync::Barrier, thread};

use super::{Backend, Created};
use crate::{
    error::{Error, Fault, Result},
    parts::object_path,
};

/// A check, which panics if the backend fails it, and its name. The backend must be empty, and may be used for one only.
pub type Check = (&'static str, fn(&dyn Backend));

/// All checks.
pub const CHECKS: &[Check] = &[
    ("of_racing_creators_exactly_one_wins", of_racing_creators_exactly_one_wins),
    ("reads_are_capped_and_absence_is_no_error", reads_are_capped_and_absence_is_no_error),
    (
        "an_opened_object_is_read_at_any_place_but_not_past_its_end",
        an_opened_object_is_read_at_any_place_but_not_past_its_end,
    ),
    ("paths_outside_the_vault_are_refused", paths_outside_the_vault_are_refused),
    ("an_object_is_described_and_goes_when_it_is_deleted", an_object_is_described_and_goes_when_it_is_deleted),
    ("one_cache_is_replaced_and_nothing_else_ever", one_cache_is_replaced_and_nothing_else_ever),
    ("a_listing_finds_everything_below_a_folder", a_listing_finds_everything_below_a_folder),
    ("pages_are_in_order_and_follow_one_another", pages_are_in_order_and_follow_one_another),
    ("an_upload_is_there_when_it_is_finished", an_upload_is_there_when_it_is_finished),
    (
        "staged_objects_are_written_in_any_order_from_several_threads",
        staged_objects_are_written_in_any_order_from_several_threads,
    ),
    (
        "the_same_content_may_be_committed_twice_but_not_over_a_shorter_object",
        the_same_content_may_be_committed_twice_but_not_over_a_shorter_object,
    ),
    ("abandoned_and_overfull_staging_leaves_nothing", abandoned_and_overfull_staging_leaves_nothing),
];

fn fault(result: Result<impl Sized>) -> Fault {
    match result.err() {
        Some(Error::Corrupt { fault, .. }) => fault,
        other => panic!("expected a corrupt object, found {other:?}"),
    }
}

fn listed(store: &dyn Backend, prefix: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let list = store.list(prefix, &mut |entry| {
        assert_eq!(found.insert(entry.path, entry.size), None, "listed twice");
        Ok(())
    });
    list.expect("list");
    let mut names = Vec::new();
    let told = store.names(prefix, &mut |path| {
        names.push(path);
        Ok(())
    });
    told.expect("names");
    names.sort();
    assert!(names.iter().eq(found.keys()), "{names:?}");
    found
}

fn one_cache_is_replaced_and_nothing_else_ever(store: &dyn Backend) {
    for text in ["first", "second", "third and longer"] {
        store.replace(super::MUTABLE, text.as_bytes()).expect("replaced");
        assert_eq!(store.read(super::MUTABLE, 99).expect("read").as_deref(), Some(text.as_bytes()));
    }
    for path in ["log/checkpoints", "vault.json", "models/m/versions/1.dsse.json", "log/../checkpoint", ""] {
        assert!(matches!(store.replace(path, b"x"), Err(Error::Misuse(_))), "{path}");
    }
    assert_eq!(listed(store, "").len(), 1);
}

fn of_racing_creators_exactly_one_wins(store: &dyn Backend) {
    let start = Barrier::new(8);
    let race = |number: u8| {
        start.wait();
        (number, store.create("models/m/versions/1.dsse.json", &[number; 9]).expect("create"))
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || race(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let winners: Vec<u8> = results.iter().filter(|(_, c)| *c == Created::New).map(|(number, _)| *number).collect();
    assert_eq!(winners.len(), 1);
    let stored = store.read("models/m/versions/1.dsse.json", 9).expect("read");
    assert_eq!(stored, Some(vec![winners[0]; 9]));
}

fn reads_are_capped_and_absence_is_no_error(store: &dyn Backend) {
    assert_eq!(store.create("vault.json", b"12345").expect("create"), Created::New);
    assert_eq!(store.read("vault.json", 5).expect("read").as_deref(), Some(&b"12345"[..]));
    assert_eq!(fault(store.read("vault.json", 4)), Fault::Limit { what: "length", limit: 4 });
    assert_eq!(store.read("absent", 4).expect("read"), None);
    assert_eq!(store.read("no/such/folder", 4).expect("read"), None);
    assert!(store.open("no/such/folder").expect("open").is_none());
    assert_eq!(store.create("empty", b"").expect("create"), Created::New);
    assert_eq!(store.read("empty", 0).expect("read"), Some(Vec::new()));
}

fn an_opened_object_is_read_at_any_place_but_not_past_its_end(store: &dyn Backend) {
    assert_eq!(store.create("a/b", b"0123456789").expect("create"), Created::New);
    let object = store.open("a/b").expect("open").expect("there");
    assert_eq!(object.len(), 10);
    let mut buffer = [0; 4];
    object.read_exact_at(6, &mut buffer).expect("read");
    assert_eq!(&buffer, b"6789");
    assert_eq!(fault(object.read_exact_at(7, &mut buffer)), Fault::Length { expected: 11, found: 10 });
    assert!(matches!(fault(object.read_exact_at(1 << 40, &mut buffer)), Fault::Length { found: 10, .. }));
    object.read_exact_at(10, &mut []).expect("nothing to read");
}

fn paths_outside_the_vault_are_refused(store: &dyn Backend) {
    for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "staging/x", "a b"] {
        assert!(matches!(store.create(path, b""), Err(Error::Misuse(_))), "{path:?}");
        assert!(matches!(store.read(path, 1), Err(Error::Misuse(_))), "{path:?}");
        assert!(matches!(store.open(path), Err(Error::Misuse(_))), "{path:?}");
    }
    assert!(matches!(store.list("../x", &mut |_| Ok(())), Err(Error::Misuse(_))));
    assert!(matches!(store.names("../x", &mut |_| Ok(())), Err(Error::Misuse(_))));
}

fn an_object_is_described_and_goes_when_it_is_deleted(store: &dyn Backend) {
    assert_eq!(store.create("a/b", b"12345").expect("create"), Created::New);
    let entry = store.stat("a/b").expect("stat").expect("there");
    assert_eq!((entry.path.as_str(), entry.size), ("a/b", 5));
    let age = jiff::Timestamp::now().duration_since(entry.modified).as_secs();
    assert!((-5..600).contains(&age), "{age} s");
    let mut listed = Vec::new();
    let list = store.list("a", &mut |found| {
        listed.push(found);
        Ok(())
    });
    list.expect("list");
    assert_eq!(listed, [entry]);
    for _ in 0..2 {
        store.delete("a/b").expect("gone or going");
        assert_eq!(store.stat("a/b").expect("stat"), None);
    }
    store.delete("no/such/folder").expect("gone");
    assert!(matches!(store.delete("../x"), Err(Error::Misuse(_))));
    assert_eq!(store.create("a/b", b"again").expect("create"), Created::New);
}

fn a_listing_finds_everything_below_a_folder(store: &dyn Backend) {
    for path in ["vault.json", "models/m/versions/1", "models/m/versions/2", "models/mm/versions/3"] {
        assert_eq!(store.create(path, path.as_bytes()).expect("create"), Created::New);
    }
    drop(store.stage(1).expect("stage"));
    assert_eq!(listed(store, "").len(), 4);
    assert_eq!(listed(store, "models").len(), 3);
    let versions = listed(store, "models/m");
    assert_eq!(versions.into_iter().map(|(p, s)| (p.len() as u64, s)).collect::<Vec<_>>(), [(19, 19), (19, 19)]);
    assert!(listed(store, "absent").is_empty());
    // The callback may use the store, and its error ends the listing.
    let stop = store.list("", &mut |entry| {
        assert!(store.read(&entry.path, 99)?.is_some());
        Err(Error::Misuse("enough".into()))
    });
    assert_eq!(stop.expect_err("stopped").to_string(), "enough");
}

fn pages_are_in_order_and_follow_one_another(store: &dyn Backend) {
    let mut expected: Vec<String> = (0..9).map(|number| format!("a/{}/{number}", number * 5 % 9)).collect();
    for path in expected.iter().map(String::as_str).chain(["a-b/1", "b/1", "vault.json"]) {
        assert_eq!(store.create(path, b"x").expect("create"), Created::New);
    }
    expected.sort();
    expected.retain(|path| !path.ends_with('3'));
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = store.page("a", &after, 3, &|path| !path.ends_with('3')).expect("page");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after.clone_from(&last.path);
        seen.extend(page.into_iter().map(|entry| entry.path));
    }
    assert_eq!(seen, expected);
    assert_eq!(store.page("", "", 1, &|_| true).expect("page")[0].path, "a-b/1");
    assert!(store.page("none", "", 9, &|_| true).expect("page").is_empty());
    assert!(matches!(store.page("../a", "", 9, &|_| true), Err(Error::Misuse(_))));
}

fn an_upload_is_there_when_it_is_finished(store: &dyn Backend) {
    let Some(mut upload) = store.upload("a/b").expect("upload") else { return };
    let mut late = store.upload("a/b").expect("upload").expect("as before");
    let abandoned = store.upload("a/c").expect("upload").expect("as before");
    for piece in [&b"one, "[..], b"", b"two"] {
        upload.write(piece).expect("write");
        late.write(b"other").expect("write");
    }
    assert_eq!(store.read("a/b", 99).expect("read"), None, "not before it is finished");
    assert_eq!(upload.finish().expect("finish"), Created::New);
    assert_eq!(late.finish().expect("finish"), Created::Exists);
    drop(abandoned);
    assert_eq!(store.read("a/b", 99).expect("read").as_deref(), Some(&b"one, two"[..]));
    assert_eq!(store.read("a/c", 99).expect("read"), None);
    assert_eq!(store.leftovers().expect("leftovers"), []);
}

fn staged_objects_are_written_in_any_order_from_several_threads(store: &dyn Backend) {
    let bytes: Vec<u8> = (0..64 * 1000u32).map(|i| i.to_le_bytes()[1]).collect();
    let name = blake3::hash(&bytes);
    let staged = store.stage(1 << 20).expect("stage");
    thread::scope(|scope| {
        for thread in 0..4 {
            let (staged, bytes) = (&staged, &bytes);
            scope.spawn(move || {
                for chunk in (0..64).rev().filter(|chunk| chunk % 4 == thread) {
                    let at = chunk * 1000;
                    staged.write_at(at as u64, &bytes[at..at + 1000]).expect("write");
                }
            });
        }
    });
    staged.commit(&name).expect("commit");
    store.sync().expect("sync");
    assert_eq!(store.read(&object_path(&name), 1 << 20).expect("read"), Some(bytes));
}

fn the_same_content_may_be_committed_twice_but_not_over_a_shorter_object(store: &dyn Backend) {
    let put = |content: &[u8], name: &blake3::Hash| {
        let staged = store.stage(content.len() as u64)?;
        staged.write_at(0, content)?;
        staged.commit(name)?;
        store.sync()
    };
    let name = blake3::hash(b"content");
    put(b"content", &name).expect("first");
    put(b"content", &name).expect("again");
    let torn = blake3::hash(b"torn by a power cut");
    assert_eq!(store.create(&object_path(&torn), b"torn").expect("create"), Created::New);
    let refused = put(b"torn by a power cut", &torn);
    assert_eq!(fault(refused), Fault::Length { expected: 19, found: 4 });
}

fn abandoned_and_overfull_staging_leaves_nothing(store: &dyn Backend) {
    let staged = store.stage(4).expect("stage");
    staged.write_at(0, b"1234").expect("write");
    assert!(matches!(staged.write_at(1, b"1234"), Err(Error::Misuse(_))));
    assert!(matches!(staged.write_at(u64::MAX, b"1"), Err(Error::Misuse(_))));
    drop(staged);
    assert!(listed(store, "").is_empty());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::store::{
        Bucket, Directory, Durability,
        faults::{Faulty, When},
    };

    #[test]
    fn directories_and_buckets_conform() {
        for (_, check) in CHECKS {
            for durability in [Durability::Synced, Durability::NoSync] {
                let folder = tempfile::tempdir().expect("folder");
                let directory = Directory::create(folder.path().join("vault"), durability).expect("create");
                check(&directory);
                assert_eq!(directory.leftovers().expect("leftovers"), [], "{durability:?}");
            }
            check(&Bucket::new(Arc::new(InMemory::new())).expect("bucket"));
        }
    }

    #[test]
    fn a_chosen_write_fails_before_or_after_it_is_stored() {
        let name = blake3::hash(b"x");
        let run = |store: &Faulty| -> Result<()> {
            let staged = store.stage(1)?;
            staged.write_at(0, b"x")?;
            staged.commit(&name)?;
            store.sync()?;
            store.create("record", b"r").map(drop)
        };
        for (number, when, objects) in [
            (0, When::Before, 2),
            (1, When::Before, 0),
            (1, When::After, 0),
            (2, When::Before, 0),
            (2, When::After, 1),
            (3, When::Before, 1),
            (3, When::After, 2),
        ] {
            let folder = tempfile::tempdir().expect("folder");
            let store =
                Faulty::failing(Directory::open(folder.path(), Durability::Synced).expect("open"), number, when);
            assert_eq!(run(&store).is_ok(), number == 0);
            assert_eq!(store.writes(), if number == 0 { 3 } else { number });
            // The failed operation did not wait.
            store.sync().expect("sync");
            assert_eq!(listed(&store, "").len(), objects, "{number} {when:?}");
            assert!(
                !folder.path().join("staging").exists()
                    || folder.path().join("staging").read_dir().expect("read").next().is_none()
            );
        }
    }
}
