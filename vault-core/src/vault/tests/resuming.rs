//! Seals that are interrupted and gone on with.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    parts::{ReadAt, Staged},
    seal::{
        Digests,
        resume::{DEFAULT_AGE, MAX_RUNS, Session, Subject, Summary},
    },
    source::{Data, Input},
    store::{Backend, Bucket, Created, Entry},
    tree::SEGMENT,
};

mod audience;

/// A store that keeps the beginning of everything written in place: of a segment, its length field and IV.
#[derive(Debug, Clone)]
struct Watching {
    inner: Arc<dyn Backend>,
    seen: Arc<Mutex<Vec<[u8; 16]>>>,
}

struct WatchingStaged(Box<dyn Staged>, Arc<Mutex<Vec<[u8; 16]>>>);

impl Staged for WatchingStaged {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let is_segment = |start: &[u8; 16]| {
            let field = u32::from_be_bytes(*start.first_chunk().expect("16 bytes"));
            field == u32::MAX && bytes.len() == SEGMENT || field as usize == bytes.len()
        };
        self.1.lock().expect("lock").extend(bytes.first_chunk().filter(|start| is_segment(start)));
        self.0.write_at(offset, bytes)
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        self.0.commit(name)
    }
}

impl Backend for Watching {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(path, bytes)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.inner.read(path, cap)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.inner.open(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.inner.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.inner.delete(path)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.inner.list(prefix, each)
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        Ok(Box::new(WatchingStaged(self.inner.stage(capacity)?, Arc::clone(&self.seen))))
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

type Files<'a> = Vec<(&'a str, &'a [u8])>;

/// A vault whose store is watched, and a session file.
struct Stage {
    fixture: Fixture,
    store: Watching,
    dir: tempfile::TempDir,
}

impl Stage {
    fn on(backend: impl Backend + 'static) -> Self {
        let store = Watching { inner: Arc::new(backend), seen: Arc::default() };
        Vault::init(Store::new(store.clone())).expect("vault");
        Self { fixture: Fixture::new(), store, dir: tempfile::tempdir().expect("folder") }
    }

    fn in_folder() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
        let mut stage = Self::on(backend);
        stage.dir = dir;
        // The folder of the vault holds nothing else: the session is beside it.
        stage
    }

    fn vault(&self) -> Vault {
        Vault::open(Store::new(self.store.clone())).expect("vault")
    }

    fn failing(&self, number: u64, when: When) -> Vault {
        Vault::open(Store::new(Faulty::failing(self.store.clone(), number, when))).expect("vault")
    }

    fn file(&self) -> std::path::PathBuf {
        self.fixture.dir.path().join("staging-session")
    }

    fn seal(&self, vault: &Vault, files: &[(&str, &[u8])]) -> Result<Resumed> {
        let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
        self.seal_inputs(vault, "m:1", inputs)
    }

    fn seal_inputs(&self, vault: &Vault, name: &str, inputs: Vec<Input<'_>>) -> Result<Resumed> {
        let request = self.fixture.request(name, inputs);
        vault.seal_resumable(request, Self::resume(&self.file()), &())
    }

    fn resume(file: &Path) -> Resume<'_> {
        Resume { file, source: "input", max_age: DEFAULT_AGE }
    }

    fn summary(&self) -> Option<Summary> {
        let bytes = fs::read(self.file()).ok()?;
        Some(Summary::parse(&bytes).expect("a session").expect("begun"))
    }

    /// What was published is whole, and opens to these files.
    fn opens_to(&self, files: &[(&str, &[u8])]) {
        let (vault, policy) = (self.vault(), self.fixture.policy());
        let artifact = vault.resolve(&reference("m:1"), &policy).expect("published");
        vault.verify(&artifact, threads(2), &()).expect("verified");
        let opened = vault.open_artifact(&artifact, &policy, &self.fixture.ring, reading()).expect("opened");
        assert_eq!(opened.index().files().len(), files.len());
        for (path, data) in files {
            let file = opened.index().file(path).expect("there");
            assert!(opened.read(file, &()).expect("read")[..] == **data, "{path}");
        }
        let damage = |finding: Finding| if finding.is_damage() { panic!("{finding:?}") } else { Ok(()) };
        vault.fsck(threads(1), &(), &mut { damage }).expect("looked over");
        assert!(!self.file().exists(), "the session is over");
    }

    /// No IV was ever used twice, under whatever key; returns how many segments there were.
    fn segments(&self) -> usize {
        let mut seen: Vec<[u8; 12]> =
            self.store.seen.lock().expect("lock").iter().map(|start| *start.last_chunk().expect("12 bytes")).collect();
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "an IV came twice");
        all
    }

    fn nothing_is_published(&self) {
        assert!(self.vault().list(&self.fixture.policy()).expect("listed").versions.is_empty());
    }
}

/// Interrupts a seal once a part of it is stored and noted.
fn interrupted(stage: &Stage, files: &[(&str, &[u8])]) -> Summary {
    // A lease, eight segments by one thread and a commit are the first part; the next write fails.
    let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
    let mut request = stage.fixture.request("m:1", inputs);
    request.options.threads = threads(1);
    let file = stage.file();
    assert!(stage.failing(11, When::Before).seal_resumable(request, Stage::resume(&file), &()).is_err());
    stage.nothing_is_published();
    let summary = stage.summary().expect("begun");
    assert_eq!(summary.parts, 1);
    summary
}

fn every_write_fails(stage: impl Fn() -> Stage) {
    let (a, b) = (bytes(9 * PAYLOAD, 1), bytes(PAYLOAD + 1, 2));
    let files: [(&str, &[u8]); 3] = [("a", &a), ("b", &b), ("empty", b"")];
    let counted = stage();
    let counting = Faulty::counting(counted.store.clone());
    let vault = Vault::open(Store::new(counting.clone())).expect("vault");
    assert_eq!(counted.seal(&vault, &files).expect("sealed").skipped, 0);
    counted.opens_to(&files);
    let (writes, whole) = (counting.writes(), counted.segments());
    assert!(whole == 12 && writes > 20, "{whole} segments, {writes} writes");

    let mut most = 0;
    for number in 1..=writes {
        for when in [When::Before, When::After] {
            let stage = stage();
            let context = format!("write {number} {when:?}");
            assert!(stage.seal(&stage.failing(number, when), &files).is_err(), "{context}");
            let before = stage.segments();
            let noted = stage.summary();
            let sealed = stage.seal(&stage.vault(), &files);
            if number == writes || (number + 1 == writes && when == When::After) {
                // The session was committed, and only its version record or an answer was lost.
                assert_eq!(kind(sealed), Kind::Conflict, "{context}");
                stage.opens_to(&files);
                continue;
            }
            let skipped = sealed.expect(&context).skipped;
            stage.opens_to(&files);
            let again = stage.segments() - before;
            let kept = usize::try_from(skipped.div_ceil(PAYLOAD as u64)).expect("few");
            assert_eq!(again, whole - kept, "{context}: only what was not noted is sealed again");
            let parts = noted.map_or(0, |noted| noted.parts);
            assert_eq!(parts == 0, skipped == 0, "{context}");
            most = most.max(parts);
        }
    }
    assert_eq!(most, 3, "the last writes are interrupted when every part is noted");
}

#[test]
fn a_seal_interrupted_at_any_write_goes_on_in_a_folder() {
    every_write_fails(Stage::in_folder);
}

#[test]
fn a_seal_interrupted_at_any_write_goes_on_in_a_bucket() {
    every_write_fails(|| Stage::on(Bucket::new(Arc::new(object_store::memory::InMemory::new())).expect("bucket")));
}

#[test]
fn the_session_is_private_and_gone_after_the_commit() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    assert_eq!(fs::metadata(stage.file()).expect("there").permissions().mode() & 0o7777, 0o600);
    // Whoever has it still open sees nothing any more.
    let open = fs::File::open(stage.file()).expect("opened");
    assert!(stage.seal(&stage.vault(), &[("a", &data)]).expect("sealed").skipped > 0);
    assert_eq!(open.metadata().expect("there").len(), 0, "emptied before it was unlinked");
    stage.opens_to(&[("a", &data)]);
}

#[test]
fn a_stored_part_that_changed_since_publishes_nothing_and_ends_the_session() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    for (at, range) in [(0, "0..1048544"), (3 * PAYLOAD + 7, "3145632..4194176")] {
        let mut changed = data.clone();
        changed[at] ^= 1;
        let error = stage.seal(&stage.vault(), &[("a", &changed)]).expect_err("changed");
        let expected = format!("a, bytes {range} changed while it was read: the interrupted seal stored other bytes");
        assert_eq!(error.to_string(), expected);
        stage.nothing_is_published();
        assert!(!stage.file().exists());
        interrupted(&stage, &[("a", &data)]);
    }
    let _ = fs::remove_file(stage.file());
    stage.seal(&stage.vault(), &[("a", &data)]).expect("afresh");
    stage.opens_to(&[("a", &data)]);
    stage.segments();
}

#[test]
fn a_part_that_was_not_stored_may_change_and_is_sealed_as_it_is_now() {
    let stage = Stage::in_folder();
    let mut data = bytes(12 * PAYLOAD, 1);
    assert_eq!(interrupted(&stage, &[("a", &data)]).parts, 1);
    let end = data.len() - 1;
    data[end] ^= 1;
    assert!(stage.seal(&stage.vault(), &[("a", &data)]).expect("sealed").skipped > 0);
    stage.opens_to(&[("a", &data)]);
    stage.segments();
}

#[test]
fn input_that_grew_shrank_or_moved_publishes_nothing() {
    let data = bytes(12 * PAYLOAD, 1);
    let (shorter, longer) = (&data[..data.len() - 1], [&data[..], b"x"].concat());
    let new = bytes(5, 3);
    let cases: [(Files<'_>, &str); 4] = [
        (vec![("a", shorter)], "a from byte 12582527 changed while it was read: it is shorter"),
        (vec![("a", &longer)], "a from byte 12582528 changed while it was read: it is longer"),
        (vec![("b", &data)], "b changed while it was read: the interrupted seal found another file"),
        (vec![("0", &new), ("a", &data)], "0 changed while it was read: the interrupted seal found another file"),
    ];
    for (files, expected) in cases {
        let stage = Stage::in_folder();
        interrupted(&stage, &[("a", &data)]);
        let error = stage.seal(&stage.vault(), &files).expect_err(expected);
        assert!(error.to_string().starts_with(expected), "{error}");
        stage.nothing_is_published();
        assert!(!stage.file().exists());
        stage.seal(&stage.vault(), &files).expect("afresh");
        stage.opens_to(&files);
        stage.segments();
    }
}

#[test]
fn files_behind_what_was_stored_may_come_and_go() {
    let data = bytes(12 * PAYLOAD, 1);
    for files in [vec![("a", &data[..])], vec![("a", &data[..]), ("z", b"new"), ("zz", b"")]] {
        let stage = Stage::in_folder();
        interrupted(&stage, &[("a", &data), ("y", b"gone")]);
        assert!(stage.seal(&stage.vault(), &files).expect("sealed").skipped > 0);
        stage.opens_to(&files);
    }
}

#[test]
fn a_part_that_the_store_lost_is_sealed_again() {
    for damage in [&(|path: &Path| fs::remove_file(path)) as &dyn Fn(&Path) -> std::io::Result<()>, &|path| {
        fs::File::options().write(true).open(path)?.set_len(5)
    }] {
        let stage = Stage::in_folder();
        let data = bytes(12 * PAYLOAD, 1);
        interrupted(&stage, &[("a", &data)]);
        let vault = stage.vault();
        let name = "m:1".parse().expect("a name");
        let subject = Subject { vault: vault.id(), name: &name, source: "input" };
        let options = stage.fixture.request("m:1", Vec::new()).options;
        let now = stage.summary().expect("begun").created;
        let session = Session::open(&stage.file(), subject, options, (now, DEFAULT_AGE)).expect("opened");
        for name in session.kept() {
            damage(&stage.dir.path().join(crate::parts::object_path(&name))).expect("damaged");
        }
        drop(session);
        assert_eq!(stage.seal(&vault, &[("a", &data)]).expect("sealed").skipped, 0);
        let (policy, artifact) = (stage.fixture.policy(), reference("m:1"));
        let artifact = vault.resolve(&artifact, &policy).expect("published");
        vault.verify(&artifact, threads(2), &()).expect("verified");
        stage.segments();
    }
}

#[test]
fn interrupted_again_and_again_it_goes_on_from_the_last_part_every_time() {
    let stage = Stage::in_folder();
    let data = bytes(20 * PAYLOAD, 1);
    let files: [(&str, &[u8]); 1] = [("a", &data)];
    let mut parts = 0;
    for round in 0.. {
        // Sixteen writes a run are enough for a part, and not for all.
        match stage.seal(&stage.failing(16, When::Before), &files) {
            Err(_) => {
                let noted = stage.summary().map_or(0, |summary| summary.parts);
                assert!(noted >= parts && round < 10, "{noted} parts in round {round}");
                parts = noted;
            }
            Ok(resumed) => {
                assert!(resumed.skipped > 0);
                break;
            }
        }
    }
    stage.opens_to(&files);
    stage.segments();
}

#[test]
fn a_torn_session_loses_its_end_only() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    let files: [(&str, &[u8]); 1] = [("a", &data)];
    interrupted(&stage, &files);
    let whole = fs::read(stage.file()).expect("read");
    let tear = |cut: usize| {
        fs::write(stage.file(), &whole[..cut]).expect("torn");
        fs::set_permissions(stage.file(), fs::Permissions::from_mode(0o600)).expect("mode");
    };
    for cut in [1, 30, whole.len() - 300, whole.len() - 1] {
        tear(cut);
        let error = stage.seal(&stage.failing(3, When::Before), &files).expect_err("interrupted");
        assert!(error.to_string().ends_with("fails on purpose"), "{error}");
        stage.nothing_is_published();
    }
    tear(whole.len() - 1);
    assert_eq!(stage.seal(&stage.vault(), &files).expect("sealed").skipped, 0, "its only part was torn off");
    stage.opens_to(&files);
    stage.segments();
}

#[test]
fn the_session_of_something_else_is_refused_and_left_alone() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    let (file, before) = (stage.file(), fs::read(stage.file()).expect("read"));
    let other = Stage::in_folder();
    let refuse = |vault: &Vault, name: &str, resume: Resume<'_>, mib: u64| {
        let mut request = stage.fixture.request(name, vec![input("a", &data)]);
        request.options.part_size = crate::tree::PartSize::new(mib << 20).expect("legal");
        let error = vault.seal_resumable(request, resume, &()).expect_err("refused");
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(fs::read(&file).expect("read"), before);
        error.to_string()
    };
    let here = Stage::resume(&file);
    assert!(refuse(&other.vault(), "m:1", here, 8).ends_with("is the session of a seal for another vault"));
    assert!(refuse(&stage.vault(), "m:2", here, 8).ends_with("is the session of a seal for another version"));
    let elsewhere = Resume { source: "other", ..here };
    assert!(refuse(&stage.vault(), "m:1", elsewhere, 8).ends_with("is the session of a seal of another input"));
    assert!(refuse(&stage.vault(), "m:1", here, 16).ends_with("was begun with parts of 8 MiB, not of 16"));
}

#[test]
fn old_sessions_and_those_gone_on_with_too_often_are_deleted_and_said_to_be() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    let vault = stage.vault();
    let name = "m:1".parse().expect("a name");
    let subject = Subject { vault: vault.id(), name: &name, source: "input" };
    let options = stage.fixture.request("m:1", Vec::new()).options;
    let created = stage.summary().expect("begun").created;
    let open = |now| Session::open(&stage.file(), subject, options, (now, Duration::from_secs(100)));
    let runs = stage.summary().expect("begun").runs;
    for _ in runs..MAX_RUNS {
        drop(open(created + 100).expect("young enough"));
    }
    let error = open(created).expect_err("too often");
    assert!(error.to_string().contains("gone on with too often, and is deleted"), "{error}");
    assert!(!stage.file().exists());
    interrupted(&stage, &[("a", &data)]);
    let error = open(u64::MAX).expect_err("too old");
    assert_eq!(error.kind(), Kind::Stale);
    assert!(error.to_string().contains("begun too long ago, and is deleted"), "{error}");
    assert!(!stage.file().exists());
    interrupted(&stage, &[("a", &data)]);
    let created = stage.summary().expect("begun").created;
    let open = |now| Session::open(&stage.file(), subject, options, (now, Duration::from_secs(100)));
    drop(open(created - 200).expect("a clock that was set right"));
    let error = open(created - 301).expect_err("from the future");
    assert_eq!(error.kind(), Kind::Stale);
    assert!(error.to_string().contains("begun in the future"), "{error}");
    assert!(!stage.file().exists());
}

#[test]
fn of_two_seals_with_one_session_one_is_refused() {
    struct Meanwhile<'a>(&'a Stage, &'a [u8], AtomicBool);
    impl crate::workers::Progress for Meanwhile<'_> {
        fn advance(&self, _: u64) {
            if !self.2.swap(true, Ordering::SeqCst) {
                let error = self.0.seal(&self.0.vault(), &[("a", self.1)]).expect_err("in use");
                assert!(error.to_string().ends_with("another process is at work with it"), "{error}");
                assert!(Session::discard(&self.0.file()).is_err(), "nor is it deleted");
            }
        }
    }
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    let request = stage.fixture.request("m:1", vec![input("a", &data)]);
    let meanwhile = Meanwhile(&stage, &data, AtomicBool::new(false));
    let file = stage.file();
    stage.vault().seal_resumable(request, Stage::resume(&file), &meanwhile).expect("sealed");
    assert!(meanwhile.2.into_inner());
    stage.opens_to(&[("a", &data)]);
}

#[test]
fn a_stream_cannot_be_resumed_and_leaves_no_session() {
    let stage = Stage::in_folder();
    let data = bytes(100, 1);
    let reader = Input { data: Data::Reader(Box::new(&data[..])), ..input("stdin", b"") };
    let error = stage.seal_inputs(&stage.vault(), "m:1", vec![reader]).expect_err("a stream");
    assert_eq!(error.to_string(), "stdin comes from a stream, which cannot be read again to resume");
    assert!(!stage.file().exists());
}

#[test]
fn a_seal_that_fails_before_anything_is_stored_leaves_no_session() {
    let stage = Stage::in_folder();
    let data = bytes(2 * PAYLOAD, 1);
    assert!(stage.seal(&stage.failing(1, When::Before), &[("a", &data)]).is_err());
    assert!(!stage.file().exists());
    stage.seal(&stage.vault(), &[("a", &data)]).expect("sealed");
    assert_eq!(kind(stage.seal(&stage.vault(), &[("a", &data)])), Kind::Conflict);
    assert!(!stage.file().exists(), "the version exists: there is nothing to go on with");
}

#[test]
fn digests_cover_what_is_skipped() {
    use sha2::{Digest as _, Sha256};
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    interrupted(&stage, &[("a", &data)]);
    let mut request = stage.fixture.request("m:1", vec![input("a", &data)]);
    request.options.digests = Digests::Sha256;
    let file = stage.file();
    let resumed = stage.vault().seal_resumable(request, Stage::resume(&file), &()).expect("sealed");
    assert!(resumed.skipped > 0);
    let (vault, policy) = (stage.vault(), stage.fixture.policy());
    let artifact = vault.resolve(&reference("m:1"), &policy).expect("published");
    let opened = vault.open_artifact(&artifact, &policy, &stage.fixture.ring, reading()).expect("opened");
    let expected: [u8; 32] = Sha256::digest(&data).into();
    assert_eq!(opened.index().file("a").expect("there").sha256, Some(expected));
}

#[test]
fn what_later_versions_can_reuse_is_resumed_too() {
    let stage = Stage::in_folder();
    let data = bytes(12 * PAYLOAD, 1);
    let request = |threads| {
        let mut request = stage.fixture.request("m:1", vec![input("a", &data)]);
        request.deduplication = Deduplication::Reusable;
        request.options.threads = threads;
        request
    };
    let file = stage.file();
    let failing = stage.failing(11, When::Before);
    assert!(failing.seal_resumable(request(threads(1)), Stage::resume(&file), &()).is_err());
    assert_eq!(stage.summary().expect("begun").parts, 1);
    let resumed = stage.vault().seal_resumable(request(threads(3)), Stage::resume(&file), &()).expect("sealed");
    assert!(resumed.skipped > 0);
    stage.opens_to(&[("a", &data)]);
    let (vault, policy) = (stage.vault(), stage.fixture.policy());
    let artifact = vault.resolve(&reference("m:1"), &policy).expect("published");
    let opened = vault.open_artifact(&artifact, &policy, &stage.fixture.ring, reading()).expect("opened");
    let regions = &opened.index().file("a").expect("there").regions;
    assert_eq!(regions.iter().map(|region| region.length).sum::<u64>(), data.len() as u64);
    let whole = regions.iter().scan(0, |at, region| {
        let length = usize::try_from(region.length).expect("small");
        *at += length;
        Some(blake3::hash(&data[*at - length..*at]) == region.blake3)
    });
    assert!(whole.into_iter().all(|is_good| is_good), "regions are digested, skipped or not");
}
