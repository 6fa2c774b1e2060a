//! What only a folder can do wrong: links, pipes, full disks, failures behind the caller's back.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{Backend, Created, Directory, Durability};
use crate::{
    error::{Error, Fault, Kind, Place, Result},
    parts::object_path,
};

fn vault() -> (tempfile::TempDir, Directory) {
    let folder = tempfile::tempdir().expect("folder");
    let directory = Directory::create(folder.path(), Durability::Synced).expect("create");
    (folder, directory)
}

fn put(store: &dyn Backend, content: &[u8]) -> Result<blake3::Hash> {
    let name = blake3::hash(content);
    let staged = store.stage(content.len() as u64)?;
    staged.write_at(0, content)?;
    staged.commit(&name)?;
    Ok(name)
}

fn refused(result: Result<impl Sized>, rule: &str) {
    match result.err() {
        Some(Error::Corrupt { place: Place::Object(_), fault: Fault::Format(why) }) => assert_eq!(why, rule),
        other => panic!("expected {rule:?}, found {other:?}"),
    }
}

#[test]
fn links_and_folders_are_not_objects() {
    let (folder, store) = vault();
    let outside = tempfile::tempdir().expect("folder");
    fs::write(outside.path().join("secret"), "secret").expect("write");
    symlink(outside.path().join("secret"), folder.path().join("link")).expect("symlink");
    symlink("nowhere", folder.path().join("dangling")).expect("symlink");
    symlink(outside.path(), folder.path().join("models")).expect("symlink");
    fs::create_dir(folder.path().join("artifacts")).expect("folder");
    for path in ["link", "dangling", "artifacts"] {
        refused(store.read(path, 99), "is not a regular file");
        refused(store.open(path), "is not a regular file");
    }
    refused(store.read("models/secret", 99), "is not reached through plain folders");
    refused(store.read("link/x", 99), "is not reached through plain folders");
    refused(store.list("models", &mut |_| Ok(())), "is not reached through plain folders");
    // Nor is anything written through a link.
    assert!(matches!(store.create("models/new", b""), Err(Error::Storage { .. })));
    assert!(!outside.path().join("new").exists());
    // A listing shows the links, so that a check of the vault can complain, and does not enter them.
    let mut paths = Vec::new();
    let list = store.list("", &mut |entry| {
        paths.push(entry.path);
        Ok(())
    });
    list.expect("list");
    paths.sort();
    assert_eq!(paths, ["dangling", "link", "models"]);
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let (folder, store) = vault();
    let made = Command::new("mkfifo").arg(folder.path().join("vault.json")).status().expect("mkfifo");
    assert!(made.success());
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(store.read("vault.json", 99)));
    refused(result.recv_timeout(Duration::from_secs(20)).expect("must not hang"), "is not a regular file");
}

#[test]
fn a_failure_behind_the_callers_back_is_reported_by_every_sync() {
    let (folder, store) = vault();
    put(&store, b"good").expect("commit");
    store.sync().expect("sync");
    fs::rename(folder.path().join("objects"), folder.path().join("moved")).expect("rename");
    fs::write(folder.path().join("objects"), "in the way").expect("write");
    put(&store, b"lost").expect("handed over");
    for _ in 0..2 {
        let error = store.sync().expect_err("not stored");
        assert_eq!(error.kind(), Kind::Operational);
        assert!(error.to_string().contains(&object_path(&blake3::hash(b"lost"))), "{error}");
    }
    assert!(put(&store, b"later").is_err(), "no use in going on");
    assert_eq!(store.leftovers().expect("leftovers"), []);
}

#[test]
fn many_commits_from_many_threads_are_all_there_after_sync() {
    let (folder, store) = vault();
    let store = Arc::new(store);
    let names: Vec<blake3::Hash> = thread::scope(|scope| {
        let work = |thread: u8| {
            let store = &store;
            move || (0..60).map(|i| put(&**store, &[thread, i]).expect("commit")).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    store.sync().expect("sync");
    for name in &names {
        assert_eq!(store.read(&object_path(name), 2).expect("read").map(|bytes| blake3::hash(&bytes)), Some(*name));
    }
    assert_eq!(store.leftovers().expect("leftovers"), []);
    // Dropping finishes what waits, also for an object that outlives the directory.
    let staged = store.stage(3).expect("stage");
    staged.write_at(0, b"end").expect("write");
    let last = put(&*store, b"last").expect("commit");
    drop(Arc::into_inner(store).expect("only handle"));
    assert!(folder.path().join(object_path(&last)).exists());
    staged.commit(&blake3::hash(b"end")).expect("commit");
    assert!(folder.path().join(object_path(&blake3::hash(b"end"))).exists());
}

#[test]
fn leftovers_are_listed_for_the_checker_and_nobody_else() {
    let (folder, store) = vault();
    assert_eq!(store.leftovers().expect("leftovers"), []);
    fs::create_dir_all(folder.path().join("staging")).expect("folder");
    fs::write(folder.path().join("staging/dead"), "12345").expect("write");
    let found = store.leftovers().expect("leftovers");
    assert_eq!(found.iter().map(|e| (e.path.as_str(), e.size)).collect::<Vec<_>>(), [("staging/dead", 5)]);
    store.list("", &mut |entry| panic!("listed {entry:?}")).expect("list");
}

#[test]
fn folders_nested_without_end_are_refused() {
    let (folder, store) = vault();
    fs::create_dir_all(folder.path().join("a/".repeat(70))).expect("folders");
    let error = store.list("", &mut |_| Ok(())).expect_err("too deep");
    assert!(error.to_string().ends_with("depth of folders exceeds the limit of 64"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_listed_all_the_same() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let (folder, store) = vault();
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff")), "").expect("write");
    let mut paths = Vec::new();
    let list = store.list("", &mut |entry| {
        paths.push(entry.path);
        Ok(())
    });
    list.expect("list");
    assert_eq!(paths, ["\u{fffd}"]);
    assert!(matches!(store.read(&paths[0], 1), Err(Error::Misuse(_))));
}

#[test]
fn an_object_that_shrinks_while_it_is_read_is_too_short() {
    let (folder, store) = vault();
    assert_eq!(store.create("a", b"12345").expect("create"), Created::New);
    let object = store.open("a").expect("open").expect("there");
    fs::OpenOptions::new().write(true).open(folder.path().join("a")).and_then(|f| f.set_len(2)).expect("shrink");
    let error = object.read_exact_at(1, &mut [0; 4]).expect_err("short");
    assert_eq!(error.to_string(), "a: expected 5 bytes, found 2");
}

#[test]
fn objects_are_readable_as_the_umask_allows() {
    let (folder, store) = vault();
    fs::write(folder.path().join("plain"), "").expect("write");
    assert_eq!(store.create("a", b"1").expect("create"), Created::New);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("metadata").permissions().mode();
    assert_eq!(mode("a"), mode("plain"));
}

#[test]
fn a_place_that_cannot_be_written_is_a_storage_error_that_names_it() {
    let (folder, _) = vault();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("write");
    for place in [file.join("vault").as_path(), Path::new("/proc/mvault")] {
        let error = Directory::create(place, Durability::Synced).expect_err("no folder");
        assert_eq!(error.kind(), Kind::Operational);
        assert!(error.to_string().starts_with(&place.display().to_string()), "{error}");
    }
    assert!(matches!(Directory::open(&file, Durability::Synced), Err(Error::Storage { .. })));
    assert!(matches!(Directory::open(folder.path().join("no"), Durability::Synced), Err(Error::NotFound { .. })));
    if cfg!(target_os = "linux") {
        let store = Directory::open("/proc", Durability::Synced).expect("open");
        assert!(matches!(store.create("vault.json", b""), Err(Error::Storage { .. })));
        assert!(matches!(put(&store, b"x"), Err(Error::Storage { .. })));
    }
}

/// A mounted file system, gone when dropped.
#[cfg(target_os = "linux")]
struct Mount<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn a_full_disk_is_a_storage_error_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no right to mount a small file system here");
        return;
    }
    let _mount = Mount(folder.path());
    let store = Directory::open(folder.path(), Durability::Synced).expect("open");
    let large = vec![7; 2 << 20];
    for error in [store.create("record", &large).expect_err("full"), put(&store, &large).expect_err("full")] {
        let Error::Storage { what, source } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert!(what.starts_with(&folder.path().display().to_string()), "{what}");
    }
    assert_eq!(store.leftovers().expect("leftovers"), []);
    assert_eq!(store.create("record", b"small").expect("there is room again"), Created::New);
    put(&store, b"small").expect("commit");
    store.sync().expect("sync");
}
