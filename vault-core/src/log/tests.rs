//! The log in a vault: honest use, races, crashes, and a store that lies.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::*;
use crate::{
    error::Kind,
    keys::SigningKey,
    provenance::{Envelope, PAYLOAD_TYPE},
    store::{
        Directory, Durability,
        faults::{Faulty, When},
    },
    trust::{Clock, ROOT_PAYLOAD_TYPE, Reached, Rooted, draft},
};

mod beside;
mod claims;
mod crashes;
mod lies;
mod obstacles;
mod races;

/// A vault with a log.
pub(in crate::log) struct Fixture {
    dir: tempfile::TempDir,
    pub(in crate::log) log: Log,
    key: SigningKey,
    seen: RefCell<Seen>,
    next: RefCell<u64>,
}

fn directory(path: &Path) -> Directory {
    Directory::create(path, Durability::NoSync).expect("folder")
}

/// An entry that names a record of its own.
fn entry(version: u64) -> Entry {
    Entry::about_record(&format!("models/m/versions/{version}.dsse.json"), b"{}", None).expect("an entry")
}

impl Fixture {
    pub(in crate::log) fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let log = Log::init(&Store::new(directory(dir.path())), None).expect("log");
        let key = SigningKey::generate().expect("key");
        Self { dir, log, key, seen: RefCell::new(Seen::nothing()), next: RefCell::new(0) }
    }

    /// The same log over another backend.
    fn over(&self, wrap: impl FnOnce(Directory) -> Store) -> Log {
        Log { store: wrap(directory(self.dir.path())), origin: self.log.origin.clone() }
    }

    pub(in crate::log) fn judge(&self) -> Judge {
        Judge::new(LogKeys::Any(vec![self.key.verifying_key()]))
    }

    /// Adds so many entries, in one batch for every 256.
    pub(in crate::log) fn append(&self, count: u64) -> Vec<Appended> {
        let mut next = self.next.borrow_mut();
        let entries: Vec<_> = (*next..*next + count).map(entry).collect();
        *next += count;
        self.log.tail(Some(&self.judge())).expect("followed").append(&entries).expect("appended")
    }

    pub(in crate::log) fn publish(&self) -> Published {
        self.log.publish(&self.judge(), &mut self.seen.borrow_mut(), &self.key).expect("published")
    }

    /// A log of the same name and key with other entries.
    pub(in crate::log) fn forked(&self, entries: u64) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let log = Log::init(&Store::new(directory(dir.path())), Some(self.log.origin.clone())).expect("log");
        let der = self.key.to_pkcs8_der().expect("written");
        let seed = <[u8; 32]>::try_from(&der.expose()[der.expose().len() - 32..]).expect("a seed");
        let key = SigningKey::from_seed_for_tests(seed);
        let forked = Self { dir, log, key, seen: RefCell::new(Seen::nothing()), next: RefCell::new(1000) };
        forked.append(entries);
        forked
    }

    pub(in crate::log) fn publish_fork(&self) -> Witnessed {
        self.publish().checkpoint
    }

    fn latest(&self) -> Result<Option<Witnessed>> {
        self.log.latest_since(&self.judge(), self.seen.borrow().last())
    }

    pub(in crate::log) fn file(&self, below: &str) -> PathBuf {
        self.dir.path().join("log").join(below)
    }

    /// The listed checkpoints, ascending.
    fn listed(&self) -> Vec<latest::Listed> {
        let mut all = Vec::new();
        self.log
            .each_listed(MAX_LEAVES, &mut |listed| {
                all.push(listed);
                Ok(std::ops::ControlFlow::Continue(()))
            })
            .expect("listed");
        all.reverse();
        all
    }

    fn audit(&self) -> Result<Audit> {
        self.log.audit(&self.judge(), &mut Seen::nothing(), &mut |_| Ok(()))
    }

    /// Every entry of the log, by number.
    fn entries(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut tail = self.log.tail_from(Frontier::default());
        tail.advance(&mut |index, bytes| {
            assert_eq!(index, all.len() as u64);
            all.push(bytes.to_vec());
            Ok(())
        })
        .expect("followed");
        all
    }
}

#[test]
fn a_vault_has_one_log() {
    let dir = tempfile::tempdir().expect("folder");
    let store = Store::new(directory(dir.path()));
    assert!(Log::open(&store).expect("read").is_none());
    let log = Log::init(&store, Some("example.com/log".parse().expect("a name"))).expect("log");
    assert_eq!(Log::open(&store).expect("read").expect("there").origin(), log.origin());
    assert_eq!(Log::init(&store, None).expect_err("another").kind(), Kind::Conflict);
    for bad in ["{}", r#"{"format":"mvault-log/v2","origin":"a"}"#, r#"{"format":"mvault-log/v1","origin":"a b"}"#] {
        std::fs::write(dir.path().join("log/genesis.json"), bad).expect("written");
        assert_eq!(Log::open(&store).expect_err(bad).kind(), Kind::Integrity);
    }
}

#[test]
fn what_is_appended_is_published_found_and_proven() {
    let fixture = Fixture::new();
    assert_eq!(fixture.latest().expect("none"), None);
    let mut size = 0;
    for count in [1, 2, 253, 1, 255, 1, 300, 600] {
        let appended = fixture.append(count);
        let numbers: Vec<_> = appended.iter().map(|one| one.index).collect();
        assert_eq!(numbers, (size..size + count).collect::<Vec<_>>());
        assert!(appended.iter().all(|one| one.new));
        size += count;
        let published = fixture.publish();
        assert!(published.new && published.not_cached.is_none());
        assert_eq!((published.added, published.checkpoint.checkpoint().size()), (count, size));
        assert_eq!(fixture.latest().expect("counts"), Some(published.checkpoint.clone()));
        for index in [0, size / 2, size - 1] {
            let entry = entry(index);
            let record = entry.record().expect("a record");
            let proof = fixture.log.prove(&published.checkpoint, record).expect("read").expect("there");
            assert_eq!(proof.index, index);
            let read = Proof::parse(&proof.to_vec()).expect("parses");
            let logged = read.verify(&fixture.judge(), Some(fixture.log.origin())).expect("holds");
            assert_eq!(logged.about(record).expect("it").index, index);
        }
    }
    let again = fixture.publish();
    assert!(!again.new && again.added == 0);
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.entries, audit.damaged.len(), audit.foreign, audit.checkpoints), (size, 0, 0, 8));
    let unknown = entry(size + 1);
    let record = unknown.record().expect("a record");
    let checkpoint = fixture.latest().expect("counts").expect("there");
    assert!(fixture.log.prove(&checkpoint, record).expect("read").is_none());
    let refused = fixture.log.demand(&fixture.judge(), &checkpoint, record).expect_err("refused");
    assert_eq!(refused.kind(), Kind::Authenticity);
}

#[test]
fn a_record_is_found_without_its_hint_and_a_wrong_hint_misleads_nobody() {
    let fixture = Fixture::new();
    fixture.append(600);
    let checkpoint = fixture.publish().checkpoint;
    let entry = entry(400);
    let record = entry.record().expect("a record");
    let hint = fixture.file(&find::hint_path(record));
    for text in [Some("3\n"), Some("x"), Some("99999999\n"), Some(&"1".repeat(100)), None] {
        match text {
            Some(text) => std::fs::write(&hint, text).expect("written"),
            None => std::fs::remove_file(&hint).expect("removed"),
        }
        assert_eq!(fixture.log.prove(&checkpoint, record).expect("read").expect("there").index, 400, "{text:?}");
    }
}

#[test]
fn the_first_entry_before_a_place_counts_whatever_was_logged_or_noted_later() {
    let fixture = Fixture::new();
    fixture.append(600);
    let (path, old) = ("models/m/versions/400.dsse.json", entry(400));
    let again = Entry::about_record(path, b"{}", Some("u:thief")).expect("an entry");
    let replaced = Entry::about_record(path, b"{ }", None).expect("an entry");
    let tail = || fixture.log.tail(Some(&fixture.judge())).expect("followed");
    tail().append(&[again, replaced.clone()]).expect("appended");
    let checkpoint = fixture.publish().checkpoint;
    let records = [&old, &replaced].map(|entry| entry.record().expect("a record"));
    std::fs::write(fixture.file(&find::hint_path(records[0])), "600\n").expect("a hint that misleads");
    let first = |limit| fixture.log.first_before(&checkpoint, limit, &records).expect("read");
    assert_eq!(first(400), [None, None]);
    assert_eq!(first(401), [Some(400), None]);
    assert_eq!(first(601), [Some(400), None], "another record at the same place is another");
    assert_eq!(first(u64::MAX), [Some(400), Some(601)]);
}

#[test]
fn records_that_no_entry_names_are_found_and_logged_once() {
    let fixture = Fixture::new();
    let write = |path: &str| {
        let (Created::New | Created::Exists) = fixture.log.store.create(path, path.as_bytes()).expect("created");
    };
    write("models/m/versions/1.dsse.json");
    write("models/m/channels/c/1.dsse.json");
    write("freshness/m/channels/c/1.dsse.json");
    let logged =
        Entry::about_record("models/m/versions/1.dsse.json", b"models/m/versions/1.dsse.json", None).expect("entry");
    let appended = fixture.log.append_records(None, std::slice::from_ref(&logged)).expect("appended");
    assert_eq!(appended, [Appended { index: 0, new: true }]);
    let missing = fixture.log.missing().expect("read").0;
    assert_eq!(missing.iter().map(|one| &*one.path).collect::<Vec<_>>(), ["models/m/channels/c/1.dsse.json"]);
    assert_eq!(fixture.log.append_missing(None).expect("appended").len(), 1);
    assert!(fixture.log.append_missing(None).expect("appended").is_empty());
    // The command that made the record comes late: once before the checkpoint, once behind it.
    for _ in 0..2 {
        let late = fixture.log.append_records(Some(&fixture.judge()), std::slice::from_ref(&logged)).expect("known");
        assert_eq!(late, [Appended { index: 0, new: false }]);
        fixture.publish();
    }
    assert_eq!(fixture.entries().len(), 2);
    // Other bytes under the path are another record.
    std::fs::write(fixture.dir.path().join("models/m/versions/1.dsse.json"), "changed").expect("written");
    assert_eq!(fixture.log.missing().expect("read").0.len(), 1);
}

#[test]
fn events_are_logged_as_often_as_they_happen() {
    let fixture = Fixture::new();
    let login = Entry::about_event(Action::Login, "oidc:7f", None, None).expect("an entry");
    let mut tail = fixture.log.tail(None).expect("followed");
    assert_eq!(tail.append(&[login.clone(), login]).expect("appended").len(), 2);
    assert_eq!(tail.tree().size(), 2);
    // Entries about one record in one call become one.
    let appended = tail.append(&[entry(1), entry(2), entry(1)]).expect("appended");
    assert_eq!(appended.iter().map(|one| (one.index, one.new)).collect::<Vec<_>>(), [(2, true), (3, true), (2, false)]);
}

#[test]
fn keys_of_the_role_log_sign_what_counts_under_a_trust_root_and_other_roles_do_not() {
    let source = r#"
        expires = "30d"
        [keys.boss]
        holder = "boss"
        public = "boss"
        [keys.logger]
        holder = "logger"
        public = "logger"
        [keys.sealer]
        holder = "sealer"
        public = "sealer"
        [roles.root]
        keys = ["boss"]
        threshold = 1
        [[roles.sealer]]
        models = ["*"]
        keys = ["sealer"]
        [[roles.log]]
        models = ["*"]
        keys = ["logger"]
    "#;
    let keys = ["boss", "logger", "sealer"].map(|name| (name, SigningKey::generate().expect("key")));
    let key = |wanted: &str| keys.iter().find(|(name, _)| *name == wanted).map(|(_, key)| key).expect("one of them");
    let clock = Clock::now();
    let draft = draft(source, None, clock, &mut |name| Ok(key(name).verifying_key().to_pem())).expect("a trust root");
    let mut root = Envelope::unsigned(ROOT_PAYLOAD_TYPE, draft.to_vec().expect("written"));
    root.add_signature(key("boss")).expect("signed");
    let reached = Reached::pin(&root.to_vec().expect("written")).expect("signed by enough");
    let rooted = Arc::new(Rooted::new(reached, clock).expect("in its time"));
    let judge = Judge::new(LogKeys::Rooted(rooted));
    let fixture = Fixture::new();
    fixture.append(3);
    for name in ["boss", "sealer"] {
        let refused = fixture.log.publish(&judge, &mut Seen::nothing(), key(name)).expect_err(name);
        assert_eq!(refused.kind(), Kind::Authenticity);
    }
    assert!(fixture.log.latest(&judge).expect("nothing was stored").is_none());
    fixture.log.publish(&judge, &mut Seen::nothing(), key("logger")).expect("published");
    assert_eq!(fixture.log.latest(&judge).expect("counts").expect("there").checkpoint().size(), 3);
}
