//! Stores that hide, hold back or fail, and writers who come in between.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::*;
use crate::{
    names::FilePath,
    parts::{ReadAt, Staged, object_path},
    source::{Data, Input},
    store::{Backend, Created, Entry},
    workers::Progress,
};

/// A folder of which some paths are hidden from listings, and others cannot be read.
#[derive(Debug)]
struct Lying {
    inner: Directory,
    hidden: fn(&str) -> bool,
    unreadable: Vec<String>,
    opened: Arc<Mutex<Vec<String>>>,
}

impl Lying {
    fn of(fixture: &Fixture) -> Self {
        let inner = Directory::open(fixture.dir.path(), Durability::NoSync).expect("folder");
        Self { inner, hidden: |_| false, unreadable: Vec::new(), opened: Arc::default() }
    }

    fn refuse(&self, path: &str) -> Result<()> {
        if self.unreadable.iter().any(|unreadable| unreadable == path) {
            return Err(Error::storage(path)(io::Error::other("bad sector")));
        }
        Ok(())
    }
}

impl Backend for Lying {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(path, bytes)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.refuse(path)?;
        self.inner.read(path, cap)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.opened.lock().expect("lock").push(path.to_owned());
        self.refuse(path)?;
        self.inner.open(path)
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.refuse(path)?;
        self.inner.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.inner.delete(path)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.refuse(prefix)?;
        self.inner.list(prefix, &mut |entry| if (self.hidden)(&entry.path) { Ok(()) } else { each(entry) })
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.inner.stage(capacity)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

fn vault(backend: Lying) -> Vault {
    Vault::open(Store::new(backend)).expect("vault")
}

fn look(vault: &Vault, progress: &dyn Progress) -> Result<(Report, Vec<Finding>)> {
    let mut findings = Vec::new();
    let report = vault.fsck(threads(1), progress, &mut |finding| {
        findings.push(finding);
        Ok(())
    })?;
    Ok((report, findings))
}

/// An input that does something before it ends.
struct Meanwhile<F>(Option<F>);

impl<F: FnOnce()> Read for Meanwhile<F> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if let Some(act) = self.0.take() {
            act();
        }
        Ok(0)
    }
}

#[test]
fn a_twin_that_was_published_while_this_was_sealed_is_noticed_before_the_commit() {
    let fixture = Fixture::new();
    let folder = fixture.dir.path().join("models/m/versions");
    let publish = || {
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("1.0-RC.dsse.json"), "another writer's").expect("written");
    };
    let data = Data::Reader(Box::new(Meanwhile(Some(publish))));
    let input = Input { path: FilePath::new("a").expect("a path"), executable: false, data };
    assert_eq!(kind(fixture.vault.seal(fixture.request("m:1.0-rc", vec![input]), &())), Kind::Conflict);
    assert!(!folder.join("1.0-rc.dsse.json").exists());
}

#[test]
fn a_share_that_the_store_does_not_show_is_not_reported_as_done() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    let vault = vault(Lying { hidden: |path| path.ends_with("recipients/2.dsse.json"), ..Lying::of(&fixture) });
    let artifact = vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
    let add = Audience { recipients: vec![newcomer.recipient().clone()], passphrases: Vec::new() };
    let change = Change { add, ..Change::default() };
    let shared = vault.share(&artifact, &fixture.policy(), &fixture.ring, &change, &fixture.signer);
    assert_eq!(kind(shared), Kind::Authenticity);
}

#[test]
fn fsck_goes_on_behind_what_cannot_be_read_and_names_it() {
    let fixture = Fixture::new();
    let (data, other) = (bytes(17 * PAYLOAD, 1), bytes(9 * PAYLOAD, 2));
    fixture.seal("m:1", &[("a", &data), ("b", &other)]);
    fixture.seal("m:2", &[("a", &data)]);
    let manifest = |name: &str| fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved").manifest;
    let (one, two) = (manifest("m:1"), manifest("m:2"));
    let unreadable = vec![
        object_path(&one.streams[0].parts[1]),
        object_path(&one.streams[1].tree.expect("a tree")),
        object_path(&two.streams[0].parts[0]),
    ];
    let broken = fixture.dir.path().join(object_path(&two.streams[0].parts[2]));
    let mut part = fs::read(&broken).expect("read");
    part[0] ^= 1;
    fs::write(&broken, part).expect("written");

    let (report, findings) =
        look(&vault(Lying { unreadable: unreadable.clone(), ..Lying::of(&fixture) }), &()).expect("looked over");
    let mut named: Vec<_> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Unreadable { path, error } => {
                assert_eq!(error.kind(), Kind::Operational);
                Some(path.clone())
            }
            _ => None,
        })
        .collect();
    named.sort();
    let mut expected = unreadable;
    expected.sort();
    assert_eq!(named, expected, "{findings:?}");
    assert_eq!(findings.iter().filter(|finding| finding.is_damage()).count(), 1, "{findings:?}");
    assert_eq!(findings.len(), 4, "what cannot be read is no orphan: {findings:?}");
    assert_eq!((report.versions, report.artifacts), (2, 2));
}

#[test]
fn fsck_does_not_call_something_unpublished_when_records_cannot_be_read() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    for path in [version_path(&"m:1".parse().expect("a name")), String::new()] {
        let unreadable = vec![path.clone()];
        let (_, findings) = look(&vault(Lying { unreadable, ..Lying::of(&fixture) }), &()).expect("looked over");
        assert!(matches!(&findings[..], [Finding::Unreadable { path: named, .. }] if *named == path), "{findings:?}");
    }
}

#[test]
fn fsck_reads_a_part_that_two_artifacts_share_once() {
    let fixture = Fixture::new();
    fixture.seal("m:1", &[("a", &bytes(9 * PAYLOAD, 1))]);
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    // The same streams under another artifact id; nobody signed it, and fsck does not ask.
    let mut manifest = artifact.manifest.clone().into_inner();
    manifest.artifact_id = [7; 32];
    let json = manifest.to_vec().expect("written");
    let path = fixture.dir.path().join(manifest_path(ArtifactDigest::of(&json)));
    fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    fs::write(path, json).expect("written");

    let lying = Lying::of(&fixture);
    let opened = Arc::clone(&lying.opened);
    let (report, findings) = look(&vault(lying), &()).expect("looked over");
    assert!(matches!(findings[..], [Finding::Unpublished { .. }]), "{findings:?}");
    assert_eq!((report.artifacts, report.bytes), (2, artifact.manifest.sealed_len()));
    let opened = opened.lock().expect("lock");
    for part in artifact.manifest.numbered_streams().flat_map(|(_, stream)| &stream.parts) {
        assert_eq!(opened.iter().filter(|path| **path == object_path(part)).count(), 1);
    }
}

#[test]
fn fsck_looks_at_a_damaged_part_again_for_everybody_who_shares_it() {
    let fixture = Fixture::new();
    fixture.seal("m:1", &[("a", &bytes(9 * PAYLOAD, 1))]);
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    let mut manifest = artifact.manifest.clone().into_inner();
    manifest.artifact_id = [7; 32];
    let json = manifest.to_vec().expect("written");
    let path = fixture.dir.path().join(manifest_path(ArtifactDigest::of(&json)));
    fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    fs::write(path, json).expect("written");
    fs::write(fixture.dir.path().join(object_path(&manifest.streams[0].parts[1])), "short").expect("written");
    let (_, findings) = look(&vault(Lying::of(&fixture)), &()).expect("looked over");
    assert_eq!(findings.iter().filter(|finding| finding.is_damage()).count(), 2, "{findings:?}");
}

/// Asks to stop after so many segments.
struct StopAfter(u64, AtomicU64);

impl Progress for StopAfter {
    fn advance(&self, _: u64) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }

    fn cancelled(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn fsck_stops_when_it_is_asked_to() {
    let fixture = Fixture::new();
    let vault = &fixture.vault;
    assert_eq!(kind(look(vault, &StopAfter(0, AtomicU64::new(0)))), Kind::Operational, "without an artifact");
    two_files(&fixture, "m:1");
    let stop = StopAfter(2, AtomicU64::new(0));
    assert_eq!(kind(look(vault, &stop)), Kind::Operational);
    assert_eq!(stop.1.into_inner(), 2, "after the second segment of many");
}

#[test]
fn a_flood_of_foreign_files_is_counted_and_not_kept() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    let folder = fixture.dir.path().join("models/m/versions");
    for number in 0..1010 {
        fs::write(folder.join(format!("{number}.txt")), "").expect("written");
        fs::write(folder.join(format!("v{number}.dsse.json")), "").expect("written");
    }
    let listing = fixture.vault.list(&fixture.policy()).expect("listed");
    assert_eq!((listing.versions.len(), listing.foreign.len(), listing.more_foreign), (1, 1000, 10));
    assert_eq!((listing.skipped.len(), listing.more_skipped), (1000, 10));
    // The one that is an error of another kind is among them, wherever it stands in the order.
    let last = folder.join("zzz.dsse.json");
    fs::copy(folder.join("1.dsse.json"), last).expect("copied");
    let listing = fixture.vault.list(&fixture.policy()).expect("listed");
    assert_eq!(listing.skipped.last().map(|(_, error)| error.kind()), Some(Kind::Authenticity));
}
