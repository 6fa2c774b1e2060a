//! What a bucket adds to the checks of every backend.

use super::*;

mod hostile;
mod pacing;
mod server;
mod signing;

#[test]
fn a_bucket_works_below_an_async_runtime_and_may_be_dropped_inside_it() {
    let outer = Builder::new_current_thread().build().expect("runtime");
    outer.block_on(async {
        let bucket = Arc::new(Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket"));
        let worker = Arc::clone(&bucket);
        let created = tokio::task::spawn_blocking(move || worker.create("a", b"1")).await.expect("no panic");
        assert_eq!(created.expect("create"), Created::New);
        drop(bucket);
    });
}

fn filled(objects: usize, length: usize) -> (Bucket, Vec<(blake3::Hash, Vec<u8>)>) {
    let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket");
    let content =
        |number: usize| -> Vec<u8> { (0..length).map(|at| (at * 31 + number * 7).to_le_bytes()[0]).collect() };
    let contents: Vec<_> = (0..objects).map(|number| (blake3::hash(&content(number)), content(number))).collect();
    for (name, bytes) in &contents {
        let staged = bucket.stage(length as u64).expect("stage");
        staged.write_at(0, bytes).expect("write");
        staged.commit(name).expect("commit");
    }
    bucket.sync().expect("sync");
    (bucket, contents)
}

fn wanted(contents: &[(blake3::Hash, Vec<u8>)]) -> Vec<Wanted> {
    let one = |(name, bytes): &(blake3::Hash, Vec<u8>)| {
        let length = bytes.len() as u64;
        Wanted { name: *name, length, range: 100..length }
    };
    contents.iter().map(one).collect()
}

#[test]
fn what_was_announced_is_read_in_any_order_and_as_often_as_one_likes() {
    let (bucket, contents) = filled(20, 5000);
    let ahead = bucket.ahead(wanted(&contents));
    for (name, bytes) in contents.iter().rev().chain(&contents) {
        let object = bucket.open_sized(&crate::parts::object_path(name), 5000).expect("open");
        for offset in [0, 100, 4000, 100, 2500] {
            let mut buffer = [0; 1000];
            object.read_exact_at(offset, &mut buffer).expect("read");
            let at = usize::try_from(offset).expect("small");
            assert_eq!(buffer[..], bytes[at..at + 1000]);
        }
    }
    drop(ahead);
    assert!(bucket.0.ranges.is_empty(), "nothing is kept when nobody wants it any more");
}

#[test]
fn fetching_holds_no_more_than_the_jobs_and_goes_on_as_it_is_read() {
    let (bucket, contents) = filled(40, 5000);
    let ahead = bucket.ahead(wanted(&contents));
    for (name, bytes) in &contents {
        assert!(bucket.0.ranges.len() <= 8);
        let object = bucket.open_sized(&crate::parts::object_path(name), 5000).expect("open");
        let mut buffer = [0; 4900];
        object.read_exact_at(100, &mut buffer).expect("read");
        assert_eq!(buffer[..], bytes[100..]);
    }
    assert!(bucket.0.ranges.is_empty());
    drop(ahead);
}

#[test]
fn an_object_of_another_length_or_none_is_noticed_when_it_is_read() {
    let (bucket, contents) = filled(1, 5000);
    let path = crate::parts::object_path(&contents[0].0);
    let fault = |result: Result<()>| match result {
        Err(Error::Corrupt { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let object = bucket.open_sized(&path, 4999).expect("not asked yet");
    assert_eq!(fault(object.read_exact_at(0, &mut [0])), Fault::Length { expected: 4999, found: 5000 });
    let object = bucket.open_sized("objects/aa/absent", 10).expect("not asked yet");
    assert_eq!(fault(object.read_exact_at(0, &mut [0])), Fault::Missing);
    // The same through a fetch that was announced.
    let gone = blake3::hash(b"gone");
    let _ahead = bucket.ahead(vec![Wanted { name: gone, length: 9, range: 0..9 }]);
    let object = bucket.open_sized(&crate::parts::object_path(&gone), 9).expect("not asked yet");
    assert_eq!(fault(object.read_exact_at(0, &mut [0; 9])), Fault::Missing);
}

#[test]
fn an_object_with_a_gap_is_refused() {
    let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket");
    let staged = bucket.stage(10).expect("stage");
    staged.write_at(5, b"12345").expect("write");
    assert!(matches!(staged.commit(&blake3::hash(b"x")), Err(Error::Misuse(_))));
}

#[test]
fn what_was_asked_before_a_write_is_asked_again() {
    let (bucket, _) = filled(0, 0);
    let soon = || bucket.soon(&[Soon::Read { path: "a/1", cap: 9 }, Soon::List { folder: "a" }]);
    let list = || {
        let mut paths = Vec::new();
        let each = &mut |entry: Entry| {
            paths.push(entry.path);
            Ok(())
        };
        bucket.list("a", each).expect("list");
        paths
    };
    soon();
    assert_eq!(bucket.create("a/1", b"one").expect("create"), Created::New);
    assert_eq!((bucket.read("a/1", 9).expect("read").as_deref(), list().len()), (Some(&b"one"[..]), 1));
    soon();
    assert!(matches!(bucket.read("a/1", 2), Err(Error::Corrupt { fault: Fault::Limit { .. }, .. })));
    assert_eq!(list(), ["a/1"]);
    soon();
    bucket.delete("a/1").expect("delete");
    assert_eq!((bucket.read("a/1", 9).expect("read"), list().len()), (None, 0));
}

#[test]
fn the_first_create_proves_the_store() {
    let (bucket, _) = filled(0, 0);
    assert_eq!(bucket.is_proven(), Some(false));
    assert_eq!(bucket.create("a", b"1").expect("create"), Created::New);
    assert_eq!(bucket.is_proven(), Some(true));
    assert_eq!(bucket.create("a", b"1").expect("create"), Created::Exists);
    let again =
        Bucket::with((Arc::clone(&bucket.0.store), None), "again".into(), &Connection::default()).expect("bucket");
    assert_eq!(again.create("a", b"2").expect("create"), Created::Exists, "the proof is no write");
    assert_eq!(again.is_proven(), Some(false), "and two refusals are no proof: they may have been about each other");
    assert_eq!(again.create("b", b"2").expect("create"), Created::New);
    assert_eq!(again.is_proven(), Some(true));
}
