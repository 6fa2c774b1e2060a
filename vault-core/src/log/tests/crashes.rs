use super::*;

/// Does `work` with each of its writes failing in turn, before and after it was stored, and then once more without.
fn at_every_write(
    prepare: impl Fn() -> Fixture,
    work: impl Fn(&Fixture, &Log) -> Result<()>,
    check: impl Fn(&Fixture),
) {
    let counter = prepare();
    let counting = Faulty::counting(directory(counter.dir.path()));
    work(&counter, &counter.over(|_| Store::new(counting.clone()))).expect("nothing fails");
    check(&counter);
    assert!(counting.writes() > 0);
    for number in 1..=counting.writes() {
        for when in [When::Before, When::After] {
            let fixture = prepare();
            let faulty = fixture.over(|directory| Store::new(Faulty::failing(directory, number, when)));
            let _ = work(&fixture, &faulty);
            work(&fixture, &fixture.log).expect("done again");
            check(&fixture);
        }
    }
}

#[test]
fn an_append_that_is_interrupted_anywhere_is_done_again_and_doubles_nothing() {
    let entries: Vec<_> = (0..300).map(entry).collect();
    let append = |_: &Fixture, log: &Log| log.append_records(None, &entries).map(drop);
    at_every_write(Fixture::new, append, |fixture| {
        assert_eq!(fixture.entries().len(), 300);
        fixture.publish();
        assert_eq!(fixture.audit().expect("one history").entries, 300);
    });
}

#[test]
fn a_publication_that_is_interrupted_anywhere_is_done_again() {
    let prepare = || {
        let fixture = Fixture::new();
        // What names no record needs no hint, and is written quickly.
        let login = Entry::about_event(Action::Login, "oidc:7f", None, None).expect("an entry");
        fixture.log.tail(None).expect("followed").append(&vec![login; 252]).expect("appended");
        fixture.publish();
        fixture.append(8);
        fixture
    };
    let publish = |fixture: &Fixture, log: &Log| {
        // A new client each time: what the crashed one remembered is gone.
        log.publish(&fixture.judge(), &mut Seen::nothing(), &fixture.key).map(drop)
    };
    at_every_write(prepare, publish, |fixture| {
        let audit = fixture.audit().expect("one history");
        assert_eq!((audit.entries, audit.damaged.len(), audit.foreign), (260, 0, 0));
        assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 260);
    });
}

#[test]
fn a_client_that_remembers_publishes_on_after_a_crash() {
    let fixture = Fixture::new();
    fixture.append(3);
    let writes = {
        let counting = Faulty::counting(directory(fixture.dir.path()));
        fixture
            .over(|_| Store::new(counting.clone()))
            .publish(&fixture.judge(), &mut Seen::nothing(), &fixture.key)
            .expect("published");
        counting.writes()
    };
    // The last two writes are the checkpoint and the cache: the client remembers it, the store does not have it.
    let fixture = Fixture::new();
    fixture.append(3);
    let mut seen = Seen::nothing();
    let faulty = fixture.over(|directory| Store::new(Faulty::failing(directory, writes - 1, When::Before)));
    assert_eq!(
        faulty.publish(&fixture.judge(), &mut seen, &fixture.key).expect_err("crashed").kind(),
        Kind::Operational
    );
    let published = fixture.log.publish(&fixture.judge(), &mut seen, &fixture.key).expect("published");
    assert_eq!(published.checkpoint.checkpoint().size(), 3);
}

#[test]
fn without_the_cache_the_newest_checkpoint_is_found_in_the_list() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture.append(10);
        fixture.publish();
    }
    let old = {
        let old = fixture.forked(0);
        drop(old);
        let mut found = fixture.listed();
        fixture.dir.path().join(found.remove(0).path)
    };
    std::fs::copy(&old, fixture.file("checkpoint")).expect("an old cache");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 30);
    std::fs::remove_file(fixture.file("checkpoint")).expect("removed");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 30);
    std::fs::write(fixture.file("checkpoint"), "junk").expect("written");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 30);
    fixture.append(1);
    assert!(fixture.publish().not_cached.is_none());
}
