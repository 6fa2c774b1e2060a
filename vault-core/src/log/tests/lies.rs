use std::fs;

use super::*;

#[test]
fn junk_in_the_place_of_a_batch_burns_that_place_only() {
    let fixture = Fixture::new();
    let junk = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(fixture.file("batch")).expect("folder");
        fs::write(fixture.file(&format!("batch/{name}")), bytes).expect("written");
    };
    junk("0.0", b"junk");
    junk("0.1", b"");
    fixture.append(2);
    assert!(fixture.file("batch/0.2").is_file());
    // A batch that begins elsewhere, of another log, or too long.
    let first = fs::read(fixture.file("batch/0.2")).expect("a batch");
    junk("2.0", &first);
    let stranger = Fixture::new();
    stranger.append(1);
    junk("2.1", &fs::read(stranger.file("batch/0.0")).expect("a batch"));
    junk("2.2", &vec![b'x'; usize::try_from(MAX_BATCH).expect("small") + 1]);
    fs::create_dir(fixture.file("batch/2.3")).expect("a folder");
    fs::remove_dir(fixture.file("batch/2.3")).expect("removed");
    // Planted far ahead: it is reached once its number is, and is none then.
    junk("9.0", &first);
    fixture.append(7);
    fixture.append(3);
    assert_eq!(fixture.entries().len(), 12);
    assert!(fixture.file("batch/9.1").is_file());
    assert_eq!(fixture.publish().skipped, 6);
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.entries, audit.foreign), (12, 6));
}

#[test]
fn spam_is_an_entry_like_others_and_changes_nothing_that_was_proven() {
    let fixture = Fixture::new();
    fixture.append(5);
    let before = fixture.publish().checkpoint;
    // Anybody who may create objects can add entries, also of kinds that nobody knows.
    let tail = fixture.log.tail(None).expect("followed");
    let batch = Batch::new(fixture.log.origin(), tail.tree().clone(), vec![b"{\"action\":\"nap\"}".to_vec(); 3])
        .expect("a batch");
    fs::write(fixture.file("batch/5.0"), batch.to_vec().expect("written")).expect("written");
    fixture.append(1);
    let mut unknown = 0;
    let count = |event: Event<'_>| {
        let Event::Entry { entry, .. } = event;
        unknown += u64::from(entry.is_err());
        Ok(())
    };
    fixture.publish();
    let audit = fixture.log.audit(&fixture.judge(), &mut Seen::nothing(), &mut { count }).expect("one history");
    assert_eq!((audit.entries, unknown), (9, 3));
    let entry = entry(2);
    assert!(fixture.log.demand(&fixture.judge(), &before, entry.record().expect("a record")).is_ok());
}

#[test]
fn a_client_that_saw_more_or_something_else_notices() {
    let fixture = Fixture::new();
    fixture.append(10);
    let old = fixture.publish();
    fixture.append(10);
    fixture.publish();
    let since = |log: &Log| log.latest_since(&fixture.judge(), fixture.seen.borrow().last());
    // The newest checkpoints are hidden.
    let newest = fixture.listed().pop().expect("there");
    fs::remove_file(fixture.dir.path().join(&newest.path)).expect("hidden");
    fs::write(fixture.file("checkpoint"), old.checkpoint.signed().to_vec()).expect("old");
    let stale = since(&fixture.log).expect_err("older");
    assert_eq!(stale.kind(), Kind::Stale, "{stale}");
    fs::remove_file(fixture.file("checkpoint")).expect("hidden");
    for listed in fixture.listed() {
        fs::remove_file(fixture.dir.path().join(listed.path)).expect("hidden");
    }
    assert_eq!(since(&fixture.log).expect_err("nothing").kind(), Kind::Stale);
    // The same log, rewritten and signed by its own key.
    let forked = fixture.forked(20);
    forked.publish();
    assert!(since(&forked.log).expect_err("same size").to_string().contains("a fork"));
    forked.append(10);
    forked.publish();
    let fork = since(&forked.log).expect_err("longer");
    assert_eq!((fork.kind(), fork.to_string().contains("a fork")), (Kind::Authenticity, true));
    // Another log of the same key.
    let other = Fixture::new();
    let elsewhere = other.log.latest_since(&fixture.judge(), fixture.seen.borrow().last());
    assert!(elsewhere.expect_err("another").to_string().contains("another log"));
}

#[test]
fn two_signed_histories_are_found_by_going_over_the_log() {
    let fixture = Fixture::new();
    fixture.append(4);
    fixture.publish();
    let forked = fixture.forked(4);
    forked.publish();
    let listed = forked.listed().pop().expect("there").path;
    fs::copy(forked.dir.path().join(&listed), fixture.dir.path().join(&listed)).expect("planted");
    let error = fixture.audit().expect_err("a fork");
    assert_eq!((error.kind(), error.to_string().contains("a fork")), (Kind::Authenticity, true));
}

#[test]
fn entries_that_are_taken_away_or_changed_are_missed() {
    let fixture = Fixture::new();
    fixture.append(4);
    fixture.append(4);
    fixture.publish();
    let hidden = fixture.file("batch/4.0");
    let bytes = fs::read(&hidden).expect("a batch");
    fs::remove_file(&hidden).expect("hidden");
    assert!(fixture.audit().expect_err("hidden").to_string().contains("taken away"));
    let changed = String::from_utf8(bytes).expect("UTF-8").replacen("versions/5.", "versions/9.", 1);
    fs::write(&hidden, changed).expect("changed");
    assert_eq!(fixture.audit().expect_err("changed").kind(), Kind::Authenticity);
}

#[test]
fn checkpoints_by_strangers_do_not_count_and_do_no_harm() {
    let fixture = Fixture::new();
    fixture.append(4);
    fixture.publish();
    let stranger = SigningKey::generate().expect("key");
    let forged = Checkpoint::new(fixture.log.origin().clone(), 99, TreeHash::EMPTY).sign(&stranger).expect("signed");
    fixture.log.store_checkpoint(&fixture.judge(), &forged).expect("planted");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 4);
    assert_eq!(fixture.audit().expect("one history").foreign, 1);
    // Without a judge the store is believed about where the log ends; with one it goes on behind what was signed.
    assert_eq!(fixture.log.tail(None).expect("followed").tree().size(), 0);
    assert_eq!(fixture.log.tail(Some(&fixture.judge())).expect("followed").tree().size(), 4);
    let nobody = Judge::new(LogKeys::Any(vec![SigningKey::generate().expect("key").verifying_key()]));
    assert_eq!(fixture.log.latest(&nobody).expect_err("untrusted").kind(), Kind::Authenticity);
    let refused = fixture.log.publish(&fixture.judge(), &mut Seen::nothing(), &stranger);
    fixture.append(1);
    assert!(refused.is_ok_and(|published| !published.new), "nothing new to sign");
    let refused = fixture.log.publish(&fixture.judge(), &mut Seen::nothing(), &stranger);
    assert_eq!(refused.expect_err("no key of the log").kind(), Kind::Authenticity);
}

#[test]
fn damaged_tiles_are_named_and_are_never_believed() {
    let fixture = Fixture::new();
    fixture.append(600);
    let checkpoint = fixture.publish().checkpoint;
    let proven = |version| fixture.log.prove(&checkpoint, entry(version).record().expect("a record"));
    for (tile, version) in [
        ("tile/0/000", 3),
        ("tile/0/002.p/88", 590),
        ("tile/1/000.p/2", 3),
        ("tile/entries/001", 300),
        ("tile/entries/002.p/88", 590),
    ] {
        let path = fixture.file(tile);
        let good = fs::read(&path).expect(tile);
        let mut flipped = good.clone();
        flipped[40] ^= 1;
        for bad in [&flipped[..], &good[..good.len() - 1], b""] {
            fs::write(&path, bad).expect("written");
            assert_eq!(proven(version).expect_err(tile).kind(), Kind::Integrity, "{tile}");
            let audit = fixture.audit().expect("the batches are whole");
            assert_eq!(audit.damaged, [format!("log/{tile}")]);
        }
        fs::write(&path, &good).expect("restored");
        proven(version).expect(tile).expect("there");
    }
    // A partial tile may be gone once there is a full one.
    fixture.append(200);
    fixture.publish();
    fs::remove_file(fixture.file("tile/0/002.p/88")).expect("removed");
    fs::remove_file(fixture.file("tile/entries/002.p/88")).expect("removed");
    proven(590).expect("the full tiles").expect("there");
}

#[test]
fn a_log_with_damaged_tiles_is_published_on_from_its_batches() {
    let fixture = Fixture::new();
    fixture.append(300);
    fixture.publish();
    fs::remove_file(fixture.file("tile/0/001.p/44")).expect("removed");
    fixture.append(10);
    let published = fixture.publish();
    assert_eq!(published.checkpoint.checkpoint().size(), 310);
    assert_eq!(fixture.audit().expect("one history").damaged.len(), 0);
}
