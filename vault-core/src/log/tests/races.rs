use std::{collections::BTreeSet, thread};

use super::*;

#[test]
fn many_writers_lose_nothing_double_nothing_and_agree_on_the_order() {
    let fixture = Fixture::new();
    let (writers, each) = (8, 12);
    let numbers: Vec<_> = thread::scope(|scope| {
        let write = |writer: u64| {
            let log = fixture.over(Store::new);
            scope.spawn(move || {
                let mut numbers = Vec::new();
                for round in 0..each {
                    let entries: Vec<_> = (0..3).map(|i| entry(writer * 1000 + round * 3 + i)).collect();
                    let appended = log.tail(None).expect("followed").append(&entries).expect("appended");
                    numbers.extend(appended.iter().map(|one| one.index));
                }
                numbers
            })
        };
        let threads: Vec<_> = (0..writers).map(write).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let total = writers * each * 3;
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), (0..total).collect());
    assert_eq!(numbers.len() as u64, total);
    let entries = fixture.entries();
    assert_eq!(entries.iter().collect::<BTreeSet<_>>().len() as u64, total);
    fixture.publish();
    assert_eq!(fixture.audit().expect("one history").entries, total);
}

#[test]
fn those_who_log_the_same_record_at_the_same_time_log_it_once() {
    let fixture = Fixture::new();
    for version in 0..20 {
        let (Created::New | Created::Exists) =
            fixture.log.store.create(&format!("models/m/versions/{version}.dsse.json"), b"{}").expect("created");
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            let log = fixture.over(Store::new);
            scope.spawn(move || log.append_missing(None).expect("appended"));
            let log = fixture.over(Store::new);
            scope.spawn(move || {
                for version in 0..20 {
                    log.append_records(None, &[entry(version)]).expect("appended");
                }
            });
        }
    });
    assert_eq!(fixture.entries().len(), 20);
}

#[test]
fn publishers_at_the_same_time_sign_one_history() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            let log = fixture.over(Store::new);
            let (judge, key) = (fixture.judge(), &fixture.key);
            scope.spawn(move || {
                let mut seen = Seen::nothing();
                for round in 0..10 {
                    let entries: Vec<_> = (0..40).map(|i| entry(writer * 10_000 + round * 40 + i)).collect();
                    log.tail(Some(&judge)).expect("followed").append(&entries).expect("appended");
                    log.publish(&judge, &mut seen, key).expect("published");
                }
            });
        }
    });
    fixture.publish();
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.entries, audit.damaged.len(), audit.foreign), (1600, 0, 0));
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 1600);
}
