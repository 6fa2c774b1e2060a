use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::*;
use crate::error::Kind;

const MAGIC: &[u8] = b"test-journal/v1\n";

fn open(path: &Path) -> Result<(Journal, Vec<Vec<u8>>)> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let (journal, records) = Journal::take(file.expect("opened"), path.display().to_string(), MAGIC, 1 << 20)?;
    Ok((journal, records.iter().map(<[u8]>::to_vec).collect()))
}

#[test]
fn records_are_read_back_in_order_and_more_can_follow() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("j");
    let (mut journal, records) = open(&path).expect("new");
    assert!(records.is_empty());
    assert!(journal.append(b"one").expect("written") && journal.append(b"").expect("written"));
    journal.sync().expect("synced");
    drop(journal);
    let (mut journal, records) = open(&path).expect("again");
    assert_eq!(records, [b"one".to_vec(), Vec::new()]);
    journal.append(&vec![7; MAX_RECORD]).expect("written");
    assert!(journal.append(&vec![7; MAX_RECORD + 1]).is_err());
    drop(journal);
    let (journal, records) = open(&path).expect("again");
    assert_eq!(records.len(), 3);
    journal.erase().expect("erased");
    drop(journal);
    assert_eq!(fs::metadata(&path).expect("there").len(), 0);
    assert!(open(&path).expect("again").1.is_empty());
}

#[test]
fn a_journal_cut_anywhere_gives_its_whole_records_and_goes_on() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("j");
    let (mut journal, _) = open(&path).expect("new");
    let mut ends = vec![journal.length];
    for record in ["first", "second", "third"] {
        journal.append(record.as_bytes()).expect("written");
        ends.push(journal.length);
    }
    drop(journal);
    let whole = fs::read(&path).expect("read");
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).expect("written");
        let (mut journal, records) = open(&path).expect("torn");
        assert_eq!(records.len(), ends.iter().skip(1).filter(|end| **end <= cut as u64).count(), "cut at {cut}");
        journal.append(b"next").expect("written");
        drop(journal);
        assert_eq!(open(&path).expect("again").1.last().expect("one"), b"next");
    }
}

#[test]
fn a_damaged_record_takes_what_follows_it_along() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("j");
    let (mut journal, _) = open(&path).expect("new");
    for record in ["first", "second", "third"] {
        journal.append(record.as_bytes()).expect("written");
    }
    drop(journal);
    let whole = fs::read(&path).expect("read");
    for at in MAGIC.len()..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let records = Records::parse(MAGIC, Zeroizing::new(bytes)).expect("a journal").0;
        let expected: &[&[u8]] = &[b"first", b"second", b"third"];
        assert!(records.iter().count() < 3 && records.iter().zip(expected).all(|(found, there)| found == *there));
    }
    let swapped = [&whole[..MAGIC.len()], &whole[MAGIC.len() + 25..]].concat();
    assert_eq!(Records::parse(MAGIC, Zeroizing::new(swapped)).expect("a journal").0.iter().count(), 0, "no first");
}

#[test]
fn files_of_others_or_of_another_kind_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("j");
    fs::write(&path, "weights").expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
    let error = open(&path).expect_err("not a journal");
    assert!(error.to_string().ends_with("is no file of this kind"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), b"weights");
    fs::write(&path, MAGIC).expect("written");
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
        assert_eq!(open(&path).expect_err("open to others").kind(), Kind::Usage);
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
    fs::write(&path, [MAGIC, &vec![b'x'; 1 << 17]].concat()).expect("written");
    assert!(open(&path).expect_err("damaged").to_string().ends_with("is damaged; remove it"));
    fs::write(&path, vec![0; (1 << 20) + 1]).expect("written");
    assert!(open(&path).expect_err("long").to_string().ends_with("longer than such a file can be"));
}

#[test]
fn a_journal_has_one_user_at_a_time_and_an_end() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("j");
    let (mut journal, _) = open(&path).expect("new");
    let error = open(&path).expect_err("locked");
    assert!(error.to_string().ends_with("another process is at work with it"), "{error}");
    let record = vec![0; MAX_RECORD];
    while journal.append(&record).expect("written") {}
    assert!(journal.length <= 1 << 20);
    drop(journal);
    assert_eq!(open(&path).expect("unlocked").1.len(), 15);
}
