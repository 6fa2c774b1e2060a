//! Opens that are interrupted and gone on with.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::*;

/// A vault with three files, the last of which is damaged until it is healed.
struct Stage {
    fixture: Fixture,
    out: tempfile::TempDir,
    part: PathBuf,
    whole: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let fixture = Fixture::new();
        let data = bytes(3 * PAYLOAD, 1);
        let inputs = vec![
            crate::source::Input { executable: true, ..input("a.bin", &data) },
            input("empty", b""),
            input("sub/z", b"the last"),
        ];
        fixture.vault.seal(fixture.request("m:1", inputs), &()).expect("sealed");
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        let part = fixture.dir.path().join(crate::parts::object_path(&artifact.manifest.streams[1].parts[0]));
        let whole = fs::read(&part).expect("read");
        fs::write(&part, vec![0; whole.len()]).expect("damaged");
        Self { fixture, out: tempfile::tempdir().expect("folder"), part, whole }
    }

    fn heal(&self) {
        fs::write(&self.part, &self.whole).expect("healed");
    }

    fn open(&self, destination: &Destination<'_>) -> Result<u64> {
        let policy = self.fixture.policy();
        let artifact = self.fixture.vault.resolve(&reference("m:1"), &policy)?;
        let opened = self.fixture.vault.open_artifact(&artifact, &policy, &self.fixture.ring, reading())?;
        let reopen = Reopen { artifact: artifact.digest, threads: threads(2) };
        extract_resumable(&opened, destination, reopen, &())
    }

    /// The one private folder in `parent`.
    fn kept(parent: &Path) -> PathBuf {
        let found: Vec<_> = fs::read_dir(parent).expect("folder").map(|entry| entry.expect("entry").path()).collect();
        let mut kept = found.into_iter().filter(|path| path.to_string_lossy().contains(".mvault-resume"));
        let only = kept.next().expect("one is kept");
        assert!(kept.next().is_none(), "one only");
        only
    }

    fn is_open(folder: &Path) {
        assert!(fs::read(folder.join("a.bin")).expect("read") == bytes(3 * PAYLOAD, 1));
        assert_eq!(fs::read(folder.join("empty")).expect("read"), b"");
        assert_eq!(fs::read(folder.join("sub/z")).expect("read"), b"the last");
        assert_eq!(fs::metadata(folder.join("a.bin")).expect("there").permissions().mode() & 0o777, 0o700);
        let mut names: Vec<_> = fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.bin", "empty", "sub"], "nothing else is left");
    }
}

const LARGE: u64 = 3 * PAYLOAD as u64;

#[test]
fn an_interrupted_open_keeps_what_is_complete_privately_and_goes_on_with_it() {
    let stage = Stage::new();
    let new = stage.out.path().join("new");
    for target in [new.as_path(), stage.out.path()] {
        let (folder, parent) = (Destination::Folder(target), stage.out.path());
        fs::write(&stage.part, "").expect("damaged");
        assert_eq!(kind(stage.open(&folder)), Kind::Integrity);
        let kept = Stage::kept(parent);
        assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o7777, 0o700);
        for name in ["0", "1", "record"] {
            assert_eq!(fs::metadata(kept.join(name)).expect(name).permissions().mode() & 0o077, 0, "{name}");
        }
        assert!(!parent.join("a.bin").exists() && !new.exists(), "no file has its name");
        stage.heal();
        assert_eq!(stage.open(&folder).expect("opened"), LARGE);
        Stage::is_open(target);
        if target == new {
            assert_eq!(fs::read_dir(parent).expect("folder").count(), 1, "the private folder is gone");
            fs::remove_dir_all(&new).expect("removed");
        }
    }
}

#[test]
fn a_kept_file_that_somebody_changed_is_opened_again() {
    let remove = |path: &Path| fs::remove_file(path).expect("removed");
    let changes: [&dyn Fn(&Path); 6] = [
        &|path| {
            let mut bytes = fs::read(path).expect("read");
            bytes[2 * PAYLOAD] ^= 1;
            fs::write(path, bytes).expect("changed");
        },
        &|path| fs::File::options().write(true).open(path).expect("opened").set_len(7).expect("cut"),
        &|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode"),
        &|path| fs::hard_link(path, path.with_file_name("twin")).expect("linked"),
        &|path| remove(path),
        &|path| {
            fs::rename(path, path.with_file_name("moved")).expect("moved");
            symlink("moved", path).expect("linked");
        },
    ];
    for change in changes {
        let stage = Stage::new();
        let target = stage.out.path().join("new");
        assert!(stage.open(&Destination::Folder(&target)).is_err());
        change(&Stage::kept(stage.out.path()).join("0"));
        stage.heal();
        assert_eq!(stage.open(&Destination::Folder(&target)).expect("opened"), 0);
        Stage::is_open(&target);
    }
}

#[test]
fn what_somebody_put_among_the_kept_files_gets_no_name() {
    let stage = Stage::new();
    let target = stage.out.path().join("new");
    assert!(stage.open(&Destination::Folder(&target)).is_err());
    let kept = Stage::kept(stage.out.path());
    fs::create_dir_all(kept.join("files/.git/hooks")).expect("planted");
    fs::write(kept.join("files/.git/hooks/post-checkout"), "rm -rf /").expect("planted");
    fs::write(kept.join("2"), "half of the last").expect("left by a kill");
    stage.heal();
    assert_eq!(stage.open(&Destination::Folder(&target)).expect("opened"), LARGE);
    Stage::is_open(&target);
}

#[test]
fn another_selection_or_a_damaged_record_starts_afresh() {
    let stage = Stage::new();
    let target = stage.out.path().join("new");
    assert!(stage.open(&Destination::Folder(&target)).is_err());
    let file = Destination::File { path: "a.bin", target: &target };
    assert_eq!(stage.open(&file).expect("opened"), 0);
    assert!(fs::read(&target).expect("read") == bytes(3 * PAYLOAD, 1));
    assert_eq!(fs::read_dir(stage.out.path()).expect("folder").count(), 1);
    assert_eq!(kind(stage.open(&file)), Kind::Conflict, "nothing is replaced");
    fs::remove_file(&target).expect("removed");

    assert!(stage.open(&Destination::Folder(&target)).is_err());
    let record = Stage::kept(stage.out.path()).join("record");
    let mut damaged = fs::read(&record).expect("read");
    damaged[40] ^= 1;
    fs::write(&record, damaged).expect("damaged");
    stage.heal();
    assert_eq!(stage.open(&Destination::Folder(&target)).expect("opened"), 0);
    Stage::is_open(&target);
    let range = Destination::Range { path: "sub/z", range: 4..8, target: &stage.out.path().join("range") };
    stage.open(&range).expect("opened");
    assert_eq!(fs::read(stage.out.path().join("range")).expect("read"), b"last");
}

#[test]
fn nothing_is_kept_if_nothing_is_complete_and_a_place_has_one_user() {
    let stage = Stage::new();
    let target = stage.out.path().join("new");
    let last = Destination::File { path: "sub/z", target: &target };
    assert_eq!(kind(stage.open(&last)), Kind::Integrity);
    assert_eq!(fs::read_dir(stage.out.path()).expect("folder").count(), 0);

    assert!(stage.open(&Destination::Folder(&target)).is_err());
    let kept = Stage::kept(stage.out.path());
    let record = fs::File::open(kept.join("record")).expect("opened");
    rustix::fs::flock(&record, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let error = stage.open(&Destination::Folder(&target)).expect_err("in use");
    assert!(error.to_string().ends_with("another process is at work with it"), "{error}");
    drop(record);
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o755)).expect("mode");
    assert_eq!(kind(stage.open(&Destination::Folder(&target))), Kind::Usage);
}

/// What somebody plants who knows everything but the key of the artifact: files, and a record that vouches for them under a
/// key of their own.
fn plant(kept: &Path, salt: &[u8; 32], what: &[u8], file: &[u8]) {
    let mut digest = blake3::Hasher::new_keyed(salt);
    digest.update(&(file.len() as u64).to_le_bytes());
    for piece in file.chunks(1 << 20) {
        digest.update(blake3::keyed_hash(salt, piece).as_bytes());
    }
    let entry = [&0u32.to_le_bytes()[..], &(file.len() as u64).to_le_bytes(), digest.finalize().as_bytes()].concat();
    fs::write(kept.join("record"), "").expect("emptied");
    let record = fs::File::options().read(true).write(true).open(kept.join("record")).expect("there");
    let (mut journal, _) =
        crate::journal::Journal::take(record, "record".into(), b"mvault-open/v1\n", 1 << 20).expect("taken");
    for bytes in [[&salt[..], what].concat(), entry] {
        assert!(journal.append(&bytes).expect("appended"));
    }
    fs::remove_file(kept.join("0")).expect("removed");
    fs::write(kept.join("0"), file).expect("planted");
    fs::set_permissions(kept.join("0"), fs::Permissions::from_mode(0o700)).expect("mode");
}

#[test]
fn a_record_that_was_planted_by_somebody_without_the_key_says_nothing() {
    let stage = Stage::new();
    let target = stage.out.path().join("new");
    assert!(stage.open(&Destination::Folder(&target)).is_err());
    let artifact = stage.fixture.vault.resolve(&reference("m:1"), &stage.fixture.policy()).expect("resolved").digest;
    let selection = *blake3::hash(b"all").as_bytes();
    let what = [*artifact.hash().as_bytes(), selection].concat();
    // Of the right length and mode, under the right digests: all but the key is public or can be guessed.
    plant(&Stage::kept(stage.out.path()), &[7; 32], &what, &vec![0xee; 3 * PAYLOAD]);
    stage.heal();
    assert_eq!(stage.open(&Destination::Folder(&target)).expect("opened"), 0, "nothing planted is taken up");
    Stage::is_open(&target);
}
