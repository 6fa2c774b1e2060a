//! Proofs beside the records of a vault that has no log.

use sha2::{Digest as _, Sha256};

use super::*;

/// A vault that something was copied to.
struct Copy {
    dir: tempfile::TempDir,
    store: Store,
}

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let store = Store::new(directory(dir.path()));
        Self { dir, store }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        assert_eq!(self.store.create(path, bytes).expect("created"), Created::New);
    }

    fn put_proof(&self, bytes: &[u8]) {
        self.put(&ProofName::of(bytes).expect("well formed").path(), bytes);
    }

    /// Puts something beside the record, as a proof of this size.
    fn put_beside(&self, record: RecordRef<'_>, size: u64, bytes: &[u8]) {
        let key = record.key().to_hex();
        let sha256 = hex::encode(Sha256::digest(bytes));
        self.put(&format!("log/proof/{}/{key}/{size}.{sha256}", &key[..2]), bytes);
    }

    fn search(&self, judge: &Judge, seen: Option<&Checkpoint>, record: RecordRef<'_>) -> Search {
        Evidence::open(&self.store, judge, seen).expect("read").search(record).expect("read")
    }
}

fn proof(fixture: &Fixture, record: RecordRef<'_>) -> Vec<u8> {
    let checkpoint = fixture.log.latest(&fixture.judge()).expect("read").expect("signed");
    fixture.log.prove(&checkpoint, record).expect("read").expect("there").to_vec()
}

/// A log with so many entries that are signed for.
fn published(entries: u64) -> Fixture {
    let fixture = Fixture::new();
    fixture.append(entries);
    fixture.publish();
    fixture
}

#[test]
fn a_proof_beside_a_record_counts_where_there_is_no_log_and_the_newest_is_taken() {
    let (fixture, copy, about) = (published(3), Copy::new(), entry(1));
    let record = about.record().expect("a record");
    let nothing = copy.search(&fixture.judge(), None, record);
    assert!(nothing.proven.is_none() && nothing.passed_over.is_empty());
    let evidence = Evidence::open(&copy.store, &fixture.judge(), None).expect("read");
    assert!(evidence.log().is_none());
    assert_eq!(evidence.refusal(record, &nothing).to_string(), "the log of the vault: is demanded, and there is none");
    for size in [3, 5] {
        copy.put_proof(&proof(&fixture, record));
        let found = copy.search(&fixture.judge(), None, record).proven.expect("proven");
        assert_eq!((found.logged.index, found.logged.checkpoint.checkpoint().size()), (1, size));
        assert_eq!(found.file, proof(&fixture, record));
        fixture.append(2);
        fixture.publish();
    }
    // A log that nobody signed, or that is none, is no log.
    copy.put("log/genesis.json", b"junk");
    assert!(copy.search(&fixture.judge(), None, record).proven.is_some());
    std::fs::remove_file(copy.dir.path().join("log/genesis.json")).expect("removed");
    Log::init(&copy.store, None).expect("log");
    assert!(copy.search(&fixture.judge(), None, record).proven.is_some());
}

#[test]
fn a_name_says_what_a_proof_is_about_and_how_large_its_tree_is() {
    let (fixture, about) = (published(3), entry(1));
    let bytes = proof(&fixture, about.record().expect("a record"));
    let name = ProofName::of(&bytes).expect("well formed");
    assert_eq!(ProofName::parse(&name.path()), Some(name.clone()));
    name.check(&bytes).expect("it");
    let path = name.path();
    for wrong in [
        path.replace("/3.", "/4."),
        path.replace(&hex::encode(Sha256::digest(&bytes)), &"ab".repeat(32)),
        ProofName::of(&proof(&fixture, entry(2).record().expect("a record"))).expect("well formed").path(),
    ] {
        let other = ProofName::parse(&wrong).expect("a name");
        assert_eq!(other.check(&bytes).expect_err("another").kind(), Kind::Integrity, "{wrong}");
    }
    let text = String::from_utf8(bytes).expect("UTF-8");
    let moved = text.replace("index 1\n", "index 0\n");
    assert_eq!(ProofName::of(moved.as_bytes()).expect_err("does not hold").kind(), Kind::Authenticity);
}

#[test]
fn what_does_not_prove_this_record_by_this_log_is_passed_over() {
    let (fixture, stranger, copy) = (published(3), published(3), Copy::new());
    let about = [entry(1), entry(2)];
    let [record, other] = [&about[0], &about[1]].map(|entry| entry.record().expect("a record"));
    let good = proof(&fixture, record);
    copy.put_beside(record, 3, &proof(&fixture, other));
    // By another log, which has an entry of its own about the record.
    stranger.log.tail(None).expect("followed").append(std::slice::from_ref(&about[0])).expect("appended");
    copy.put_proof(&proof(&stranger, record));
    copy.put_beside(record, 3, &good[..good.len() / 2]);
    copy.put_beside(record, 4, &good);
    copy.put_beside(record, 5, b"\xff");
    copy.put_beside(record, 6, b"");
    // Other entries, other hashes: whatever is changed does not lead to the root.
    let text = String::from_utf8(good.clone()).expect("UTF-8");
    copy.put_beside(record, 3, text.replace("index 1\n", "index 2\n").as_bytes());
    let search = copy.search(&fixture.judge(), None, record);
    assert!(search.proven.is_none());
    assert_eq!((search.passed_over.len(), search.more), (7, 0), "{:?}", search.passed_over);
    let evidence = Evidence::open(&copy.store, &fixture.judge(), None).expect("read");
    let refusal = evidence.refusal(record, &search);
    assert_eq!(refusal.kind(), Kind::Authenticity);
    assert!(refusal.to_string().ends_with("is proven by none of the proofs beside it"), "{refusal}");
    copy.put_proof(&good);
    assert!(copy.search(&fixture.judge(), None, record).proven.is_some());
    // Witnesses that are demanded did not cosign it.
    let witness = Cosigner::new("example.com/witness".parse().expect("a name"), []).verifier_key();
    let witnessed = fixture.judge().with_witnesses(vec![witness], 1).expect("one");
    assert!(copy.search(&witnessed, None, record).proven.is_none());
    let elsewhere = fixture.judge().of_log("example.com/other".parse().expect("a name"));
    assert!(copy.search(&elsewhere, None, record).proven.is_none());
    // An entry about the record that names other signers is about something else.
    let signers = [fixture.key.verifying_key().key_id()];
    let signed = RecordRef { signers: &signers, ..record };
    copy.put_beside(signed, 3, &good);
    assert!(copy.search(&fixture.judge(), None, signed).proven.is_none());
}

#[test]
fn junk_hides_no_proof_that_was_there_before_or_that_is_larger() {
    let (fixture, about) = (published(30), entry(1));
    let record = about.record().expect("a record");
    let good = proof(&fixture, record);
    let flood = |copy: &Copy, sizes: std::ops::Range<u64>| {
        sizes.for_each(|size| copy.put_beside(record, size, format!("junk {size}").as_bytes()));
    };
    let [before, behind] = [Copy::new(), Copy::new()];
    before.put_proof(&good);
    flood(&before, 1000..1250);
    let search = before.search(&fixture.judge(), None, record);
    assert!(search.proven.is_some());
    assert_eq!((search.passed_over.len(), search.more), (MAX_BESIDE, 251 - 2 * MAX_BESIDE as u64));
    flood(&behind, 0..29);
    behind.put_proof(&good);
    let search = behind.search(&fixture.judge(), None, record);
    assert!(search.proven.is_some() && search.passed_over.is_empty());
}

#[test]
fn so_many_proofs_are_looked_at_and_no_more() {
    let (fixture, about, copy) = (published(300), entry(1), Copy::new());
    let record = about.record().expect("a record");
    for size in (0..125).chain(1000..1125) {
        copy.put_beside(record, size, b"junk");
    }
    copy.put_proof(&proof(&fixture, record));
    let search = copy.search(&fixture.judge(), None, record);
    assert!(search.proven.is_none(), "who was there first with more hides it, as a store can that does not show it");
    assert_eq!((search.passed_over.len(), search.more), (2 * MAX_BESIDE, 251 - 2 * MAX_BESIDE as u64));
    // Too long to be one: not even listed.
    let copy = Copy::new();
    copy.put_beside(record, 9, &vec![b'x'; 400 << 10]);
    let search = copy.search(&fixture.judge(), None, record);
    assert!(search.proven.is_none() && search.passed_over.is_empty());
}

#[test]
fn a_proof_of_another_time_than_what_was_seen_does_not_count_where_no_log_is_shown() {
    let (fixture, about, copy) = (published(3), entry(1), Copy::new());
    let record = about.record().expect("a record");
    let old = proof(&fixture, record);
    fixture.append(2);
    let seen = fixture.publish().checkpoint.checkpoint().clone();
    copy.put_proof(&old);
    let search = copy.search(&fixture.judge(), Some(&seen), record);
    assert!(search.proven.is_none());
    assert_eq!(search.passed_over[0].1.kind(), Kind::Stale);
    // Whatever the store shows, it is told that the log is gone.
    let evidence = Evidence::open(&copy.store, &fixture.judge(), Some(&seen)).expect("read");
    assert_eq!(evidence.refusal(record, &search).kind(), Kind::Authenticity);
    copy.put_proof(&proof(&fixture, record));
    assert!(copy.search(&fixture.judge(), Some(&seen), record).proven.is_some());
    // The same size of another history, and another log than the one that was seen.
    let fork = fixture.forked(4);
    fork.log.tail(None).expect("followed").append(std::slice::from_ref(&about)).expect("appended");
    fork.publish();
    let forked = Copy::new();
    forked.put_proof(&proof(&fork, record));
    let search = forked.search(&fixture.judge(), Some(&seen), record);
    assert!(search.proven.is_none() && search.passed_over[0].1.to_string().contains("a fork"));
    let of_another = Checkpoint::new("example.com/seen".parse().expect("a name"), seen.size(), seen.root());
    assert!(copy.search(&fixture.judge(), Some(&of_another), record).proven.is_none());
    // Unless the user says which log is meant.
    let meant = fixture.judge().of_log(fixture.log.origin().clone());
    assert!(copy.search(&meant, Some(&of_another), record).proven.is_some());
}

#[test]
fn a_log_that_counts_is_asked_and_nothing_beside_it() {
    let (fixture, other) = (published(3), published(3));
    let unknown = entry(7);
    let record = unknown.record().expect("a record");
    other.log.tail(None).expect("followed").append(std::slice::from_ref(&unknown)).expect("appended");
    other.publish();
    let bytes = proof(&other, record);
    let path = ProofName::of(&bytes).expect("well formed").path();
    assert_eq!(fixture.log.store.create(&path, &bytes).expect("created"), Created::New);
    let keys = [&fixture, &other].map(|fixture| fixture.key.verifying_key()).to_vec();
    let judge = Judge::new(LogKeys::Any(keys));
    let evidence = Evidence::open(&fixture.log.store, &judge, None).expect("read");
    let search = evidence.search(record).expect("read");
    assert!(search.proven.is_none());
    assert!(evidence.beside(record).expect("read").proven.is_some());
    assert!(evidence.refusal(record, &search).to_string().ends_with("is not in the log"));
    // One that is no continuation of what was seen is refused, whatever lies beside it.
    let fork = fixture.forked(9).publish_fork();
    let refused = Evidence::open(&fixture.log.store, &judge, Some(fork.checkpoint())).expect_err("a fork");
    assert!(matches!(refused.kind(), Kind::Authenticity | Kind::Stale), "{refused}");
}
