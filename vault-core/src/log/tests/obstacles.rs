//! What somebody can do who may create objects: stand in the way.

use std::fs;

use super::*;

fn plant(fixture: &Fixture, name: &str, bytes: &[u8]) {
    let path = fixture.file(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    fs::write(path, bytes).expect("planted");
}

/// So many names that claim to be larger checkpoints.
fn plant_larger(fixture: &Fixture, count: u64) {
    for number in 0..count {
        plant(fixture, &format!("checkpoints/{}.{:064x}", 1_000_000 + number, number), b"junk");
    }
}

fn publish_anew(fixture: &Fixture) -> Result<Published> {
    fixture.log.publish(&fixture.judge(), &mut Seen::nothing(), &fixture.key)
}

#[test]
fn any_number_of_planted_checkpoints_hides_none_that_counts() {
    let fixture = Fixture::new();
    fixture.append(4);
    fixture.publish();
    fixture.append(4);
    fixture.publish();
    plant_larger(&fixture, 250);
    fs::remove_file(fixture.file("checkpoint")).expect("hidden");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 8);
    fixture.append(1);
    assert_eq!(publish_anew(&fixture).expect("published").checkpoint.checkpoint().size(), 9);
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.foreign, audit.checkpoints), (250, 3));
    // Nor a second history.
    let forked = fixture.forked(4);
    forked.publish();
    let listed = forked.listed().pop().expect("there").path;
    fs::copy(forked.dir.path().join(&listed), fixture.dir.path().join(&listed)).expect("planted");
    assert!(fixture.audit().expect_err("a fork").to_string().contains("a fork"));
}

#[test]
fn a_publisher_that_tires_of_planted_checkpoints_still_signs_one_history() {
    let fixture = Fixture::new();
    fixture.append(4);
    fixture.publish();
    plant_larger(&fixture, 600);
    fs::remove_file(fixture.file("checkpoint")).expect("hidden");
    assert!(fixture.log.latest(&fixture.judge()).is_err(), "too many");
    fixture.append(1);
    assert_eq!(publish_anew(&fixture).expect("published").checkpoint.checkpoint().size(), 5);
    // The batches are exchanged, and the client remembers nothing.
    fs::remove_file(fixture.file("checkpoint")).expect("hidden");
    let forked = fixture.forked(7);
    for folder in ["batch", "tile"] {
        fs::remove_dir_all(fixture.file(folder)).expect("removed");
    }
    fs::create_dir(fixture.file("batch")).expect("folder");
    fs::copy(forked.file("batch/0.0"), fixture.file("batch/0.0")).expect("exchanged");
    let refused = publish_anew(&fixture).expect_err("a fork");
    assert!(refused.to_string().contains("a fork"), "{refused}");
}

#[test]
fn a_planted_checkpoint_stops_no_first_publication_and_stays_no_cache() {
    let stranger = SigningKey::generate().expect("key");
    for junk in [b"junk".to_vec(), Vec::new()] {
        for name in ["checkpoint", &format!("checkpoints/7.{:064x}", 7)] {
            let fixture = Fixture::new();
            fixture.append(3);
            let forged = Checkpoint::new(fixture.log.origin().clone(), MAX_LEAVES, TreeHash::leaf(b"x"));
            let forged = forged.sign(&stranger).expect("signed").to_vec();
            for planted in [&junk, &forged] {
                plant(&fixture, name, planted);
                let published = fixture.publish();
                assert_eq!((published.not_cached, published.checkpoint.checkpoint().size()), (None, 3));
                let cached = fixture.log.shown().expect("read").expect("there");
                assert_eq!(cached, published.checkpoint.signed().to_vec());
            }
            fixture.append(1);
            plant(&fixture, "checkpoint", &forged);
            assert_eq!(fixture.publish().checkpoint.checkpoint().size(), 4);
            let cached = fixture.log.shown().expect("read").expect("there");
            assert_eq!(SignedCheckpoint::parse(&cached).expect("a note").checkpoint().size(), 4);
        }
    }
}

#[test]
fn a_log_goes_on_under_another_key_when_its_key_does_not_count_any_more() {
    let fixture = Fixture::new();
    fixture.append(5);
    fixture.publish();
    fixture.append(2);
    let key = SigningKey::generate().expect("key");
    let judge = Judge::new(LogKeys::Any(vec![key.verifying_key()]));
    let mut seen = Seen::nothing();
    let published = fixture.log.publish(&judge, &mut seen, &key).expect("published");
    assert_eq!((published.added, published.checkpoint.checkpoint().size()), (7, 7));
    assert_eq!(fixture.log.latest(&judge).expect("counts").expect("there").checkpoint().size(), 7);
    // It continues what was seen under the old one.
    fixture
        .log
        .remember(&mut seen, fixture.latest().expect("counts").expect("there").checkpoint())
        .expect("one history");
    let forked = fixture.forked(9);
    let next = SigningKey::generate().expect("key");
    let judge = Judge::new(LogKeys::Any(vec![next.verifying_key()]));
    let refused = forked.log.publish(&judge, &mut seen, &next).expect_err("a fork");
    assert!(refused.to_string().contains("a fork"), "{refused}");
}

#[test]
fn what_stands_in_the_place_of_a_tile_is_replaced_or_named() {
    let fixture = Fixture::new();
    fixture.append(300);
    fixture.publish();
    for name in ["tile/0/001.p/45", "tile/entries/001.p/45", "tile/0/001.p/46"] {
        plant(&fixture, name, b"planted");
        fixture.append(1);
        if !name.ends_with("46") {
            continue;
        }
        fixture.publish();
    }
    fixture.append(1);
    plant(&fixture, "tile/0/001.p/48", &vec![b'x'; 1 << 20]);
    assert_eq!(fixture.publish().checkpoint.checkpoint().size(), 304);
    assert_eq!(fixture.audit().expect("one history").damaged.len(), 0);
    // Where it cannot be replaced nothing is signed that nobody can use.
    fs::create_dir_all(fixture.file("tile/0/001.p/49/x")).expect("a folder");
    fixture.append(1);
    let refused = publish_anew(&fixture).expect_err("in the way");
    assert!(refused.to_string().contains("tile/0/001.p/49"), "{refused}");
    assert_eq!(fixture.latest().expect("counts").expect("there").checkpoint().size(), 304);
}

#[test]
fn tiles_that_are_gone_are_mended_from_the_batches() {
    let fixture = Fixture::new();
    fixture.append(600);
    fixture.publish();
    let gone = ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"];
    for name in gone {
        fs::remove_file(fixture.file(name)).expect("removed");
    }
    plant(&fixture, "tile/0/001", b"planted");
    assert_eq!(fixture.audit().expect("one history").damaged.len(), 6);
    assert_eq!(fixture.log.mend(&fixture.judge()).expect("mended"), 6);
    assert_eq!(fixture.log.mend(&fixture.judge()).expect("whole"), 0);
    assert!(fixture.audit().expect("one history").damaged.is_empty());
    // What a publication needs it mends by itself, for those who still read the checkpoint before.
    fs::remove_file(fixture.file("tile/0/002.p/88")).expect("removed");
    fixture.append(1);
    fixture.publish();
    assert!(fixture.file("tile/0/002.p/88").is_file());
    let forked = fixture.forked(600);
    plant(&forked, "checkpoint", &fs::read(fixture.file("checkpoint")).expect("read"));
    let refused = forked.log.mend(&fixture.judge()).expect_err("other batches");
    assert!(refused.to_string().contains("a fork"), "{refused}");
}

#[test]
fn any_number_of_things_in_the_place_of_a_batch_ends_no_log() {
    let fixture = Fixture::new();
    plant(&fixture, "batch/0.0", b"junk");
    for attempt in 1..=10_001 {
        // As long as a batch may be, and quickly passed over.
        let file = fs::File::create(fixture.file(&format!("batch/0.{attempt}"))).expect("planted");
        file.set_len(MAX_BATCH).expect("sparse");
    }
    fixture.append(2);
    assert!(fixture.file("batch/0.10002").is_file());
    assert_eq!(fixture.publish().skipped, 10_002);
    // Whoever comes later begins behind what was published.
    assert_eq!(fixture.append(1)[0].index, 2);
    assert_eq!(fixture.publish().skipped, 0);
}

#[test]
fn a_store_with_something_under_every_name_is_an_error() {
    let fixture = Fixture::new();
    plant(&fixture, "batch", b"no folder");
    let error = fixture.log.tail(None).expect("followed").advance(&mut |_, _| Ok(())).expect_err("without an end");
    assert!(error.to_string().contains("log/batch"), "{error}");
}

#[test]
fn a_batch_behind_a_gap_is_found() {
    let fixture = Fixture::new();
    fixture.append(1);
    plant(&fixture, "batch/1.0", b"junk");
    plant(&fixture, "batch/1.1", b"junk");
    fixture.append(2);
    plant(&fixture, "batch/7.0", b"junk");
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.entries, audit.foreign, audit.gap), (3, 3, None));
    fs::remove_file(fixture.file("batch/1.1")).expect("deleted");
    let audit = fixture.audit().expect("one history");
    let gap = Gap { path: "log/batch/1.1".into(), hidden: vec!["log/batch/1.2".into()] };
    assert_eq!((audit.entries, audit.foreign, audit.gap), (1, 2, Some(gap)));
    plant(&fixture, "batch/1.1", b"anything");
    assert_eq!(fixture.audit().expect("one history").entries, 3);
}
