//! What an extraction leaves behind, and what it refuses.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::{names::FilePath, open::Opened};

fn open(fixture: &Fixture, destination: Destination<'_>) -> Result<()> {
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy)?;
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading())?;
    extract(&opened, destination, &())
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let data = bytes(9 * PAYLOAD, 1);
    let mut inputs = vec![input("sub/dir/b", b"2"), input("empty", b"")];
    inputs.push(crate::source::Input { executable: true, ..input("a.bin", &data) });
    fixture.vault.seal(fixture.request("m:1", inputs), &()).expect("sealed");
    fixture
}

fn names(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn files_keep_their_paths_and_executable_bits_and_are_private() {
    let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
    for target in [out.path().join("new"), out.path().to_path_buf()] {
        open(&fixture, Destination::Folder(&target)).expect("opened");
        assert_eq!(fs::read(target.join("a.bin")).expect("read"), bytes(9 * PAYLOAD, 1));
        assert_eq!(fs::read(target.join("sub/dir/b")).expect("read"), b"2");
        assert_eq!(fs::read(target.join("empty")).expect("read"), b"");
        let mode = |name: &str| fs::metadata(target.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("a.bin"), mode("empty"), mode("sub")), (0o700, 0o600, 0o700));
    }
    assert_eq!(names(out.path()), ["a.bin", "empty", "new", "sub"]);
}

#[test]
fn nothing_that_exists_is_replaced_and_links_are_not_followed() {
    let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
    fs::write(out.path().join("empty"), "mine").expect("written");
    assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
    assert_eq!(names(out.path()), ["empty"]);
    let target = out.path().join("empty");
    let file = Destination::File { path: "a.bin", target: &target };
    assert_eq!(kind(open(&fixture, file)), Kind::Conflict);
    fs::remove_file(&target).expect("removed");

    let elsewhere = tempfile::tempdir().expect("folder");
    symlink(elsewhere.path(), out.path().join("sub")).expect("link");
    assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
    assert!(names(elsewhere.path()).is_empty());
    assert_eq!(names(out.path()), ["sub"], "noticed before anything was opened");
    fs::remove_file(out.path().join("sub")).expect("removed");
    fs::create_dir(out.path().join("sub")).expect("folder");
    fs::write(out.path().join("sub/dir"), "mine").expect("written");
    assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
    assert_eq!(kind(open(&fixture, Destination::Folder(&out.path().join("sub/dir")))), Kind::Conflict);
    assert_eq!(names(out.path()), ["sub"]);
}

#[test]
fn after_a_failure_nothing_is_left() {
    let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let last = artifact.manifest.streams[0].parts[1];
    let path = fixture.dir.path().join(crate::parts::object_path(&last));
    let mut part = fs::read(&path).expect("read");
    let end = part.len() - 1;
    part[end] ^= 1;
    fs::write(&path, part).expect("written");
    let new = out.path().join("new");
    let single = out.path().join("single");
    for destination in [
        Destination::Folder(&new),
        Destination::Folder(out.path()),
        Destination::File { path: "a.bin", target: &single },
    ] {
        assert_eq!(kind(open(&fixture, destination)), Kind::Integrity);
        assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));
    }
    let good = Destination::File { path: "sub/dir/b", target: &single };
    open(&fixture, good).expect("an undamaged file opens");
    assert_eq!(fs::read(&single).expect("read"), b"2");
}

/// Does something at the first sign of progress.
struct Meanwhile<F>(std::sync::Mutex<Option<F>>);

impl<F: FnOnce() + Send> crate::workers::Progress for Meanwhile<F> {
    fn advance(&self, _: u64) {
        let act = self.0.lock().expect("lock").take();
        if let Some(act) = act {
            act();
        }
    }
}

#[test]
fn a_folder_that_is_swapped_for_a_link_meanwhile_gets_the_files_and_the_link_does_not() {
    let (fixture, out, elsewhere) =
        (fixture(), tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let parent = out.path();
    fs::create_dir(parent.join("there")).expect("folder");
    let swap = |name: &'static str| {
        let (from, to, link) = (parent.join(name), parent.join(format!("moved-{name}")), elsewhere.path());
        let act = move || {
            fs::rename(&from, to).expect("renamed");
            symlink(link, from).expect("link");
        };
        Meanwhile(std::sync::Mutex::new(Some(act)))
    };
    let there = parent.join("there");
    extract(&opened, Destination::Folder(&there), &swap("there")).expect("opened");
    assert_eq!(names(&parent.join("moved-there")), ["a.bin", "empty", "sub"]);
    fs::create_dir(parent.join("above")).expect("folder");
    let new = parent.join("above/new");
    extract(&opened, Destination::Folder(&new), &swap("above")).expect("opened");
    assert_eq!(names(&parent.join("moved-above/new")), ["a.bin", "empty", "sub"]);
    assert!(names(elsewhere.path()).is_empty());
}

#[test]
fn what_appears_in_the_way_meanwhile_is_kept_and_everything_else_taken_back() {
    let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let path = out.path().to_owned();
    let act = || {
        fs::create_dir(path.join("sub")).expect("folder");
        fs::write(path.join("sub/dir"), "mine").expect("written");
    };
    let meanwhile = Meanwhile(std::sync::Mutex::new(Some(act)));
    assert_eq!(kind(extract(&opened, Destination::Folder(out.path()), &meanwhile)), Kind::Conflict);
    assert_eq!((names(out.path()), names(&out.path().join("sub"))), (vec!["sub".into()], vec!["dir".into()]));
}

/// The files of an artifact as a sealer of ill will could call them: ours seals none so.
fn renamed(opened: &Opened<'_>, path: &str) -> Vec<crate::index::File> {
    let mut files = opened.index().files().to_vec();
    files[0].path = FilePath::new(path).expect(path);
    files
}

#[test]
fn a_file_that_could_pass_for_what_an_open_keeps_is_neither_sealed_nor_opened() {
    let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let new = out.path().join("new");
    let reopen = Reopen { artifact: artifact.digest, threads: threads(1) };
    for path in [".mvault-resume/record", ".mvault-resume-0123456789abcdef/0", "sub/.MVAULT-partial-0/x"] {
        let files = renamed(&opened, path);
        let files: Vec<_> = files.iter().collect();
        for folder in [new.as_path(), out.path()] {
            let destination = || Destination::Files { files: &files, folder };
            let error = extract(&opened, destination(), &()).expect_err(path);
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(error.to_string().ends_with("begins with `.mvault-`, which is reserved"), "{error}");
            assert_eq!(kind(extract_resumable(&opened, &destination(), reopen, &())), Kind::Integrity, "{path}");
        }
        let error = fixture.vault.seal(fixture.request("m:2", vec![input(path, b"x")]), &()).expect_err(path);
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("begins with `.mvault-`"), "{error}");
    }
    assert!(names(out.path()).is_empty(), "nothing was made");
    let target = out.path().join("named");
    let one = Destination::File { path: "a.bin", target: &target };
    extract(&opened, one, &()).expect("under a name that the caller chose, anything can be had");
}
