//! Seals and opens that are interrupted and gone on with.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt};

use common::{Desk, Ran, noise};

/// Seals with `--resume`, keeping sessions below `state`.
fn seal(desk: &Desk, more: &str) -> Ran {
    let line = "XDG_STATE_HOME=$PWD/state $M seal model demo:1 --to node.pub --sign-with release.key --json";
    desk.shell(&format!("{line} --part-size 8 {more}"))
}

/// A model, and a vault that cannot take a manifest until `vault/artifacts` is removed.
fn interrupted() -> Desk {
    let desk = Desk::new();
    desk.write("model/weights.bin", &noise(20_000_000));
    desk.write("model/config.json", b"{}");
    desk.write("vault/artifacts", b"in the way");
    let refused = seal(&desk, "--resume");
    assert!(refused.code == 1 || refused.code == 3, "{}", refused.err);
    assert!(refused.err.contains("the same command goes on where this one stopped"), "{}", refused.err);
    fs::remove_file(desk.path("vault/artifacts")).unwrap();
    desk
}

#[test]
fn an_interrupted_seal_goes_on_and_its_session_is_private_and_gone_at_the_end() {
    let desk = interrupted();
    let sessions = desk.files("state/mvault/resume");
    assert_eq!(sessions.len(), 1);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&sessions[0]), mode(sessions[0].parent().unwrap())), (0o600, 0o700));
    assert_eq!(seal(&desk, "--resume").json()["resumed_bytes"], 20_000_002);
    assert!(desk.files("state").is_empty());
    desk.run(&["fsck"]).ok();
    desk.open(&["demo:1", "out"]).ok();
    assert!(desk.read("out/weights.bin") == noise(20_000_000));
    // A version that exists is not sealed again, and leaves no session.
    seal(&desk, "--resume").fails(7);
    assert!(desk.files("state").is_empty());
}

#[test]
fn a_seal_with_nothing_to_resume_is_one_like_any_other() {
    let desk = Desk::new();
    desk.write("model/config.json", b"{}");
    assert_eq!(seal(&desk, "--resume --resume-file session").json()["resumed_bytes"], 0);
    assert!(!desk.path("session").exists() && !desk.path("state").exists());
    desk.signed(&["verify", "demo:1"]).ok();
}

#[test]
fn input_that_changed_since_is_named_and_sealed_afresh_next_time() {
    let desk = interrupted();
    let mut changed = noise(20_000_000);
    changed[9_000_000] ^= 1;
    desk.write("model/weights.bin", &changed);
    let refused = seal(&desk, "--resume");
    let said = refused.fails(1);
    assert!(said.contains("weights.bin, bytes 8388352..9436896 changed"), "{said}");
    assert!(said.contains("the same command seals afresh"), "{said}");
    assert!(desk.files("state").is_empty() && desk.files("vault/models").is_empty());
    assert_eq!(seal(&desk, "--resume").json()["resumed_bytes"], 0);
    desk.open(&["demo:1", "out"]).ok();
    assert!(desk.read("out/weights.bin") == changed);
}

#[test]
fn a_seal_without_resume_that_publishes_the_version_deletes_the_session_too() {
    let desk = interrupted();
    assert_eq!(desk.files("state").len(), 1);
    assert!(seal(&desk, "").json()["resumed_bytes"].is_null());
    assert!(desk.files("state").is_empty());
}

#[test]
fn old_sessions_other_files_and_streams_are_refused() {
    let desk = interrupted();
    // A clock that is right says that it was begun at least a second ago; the limit says that it must not be.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let refused = seal(&desk, "--resume --resume-within 0s");
    assert!(refused.fails(5).contains("begun too long ago, and is deleted"), "{}", refused.err);
    assert!(desk.files("state").is_empty());

    desk.write("notes.txt", b"mine");
    fs::set_permissions(desk.path("notes.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let refused = seal(&desk, "--resume --resume-file notes.txt");
    assert!(refused.fails(2).contains("notes.txt is no file of this kind"), "{}", refused.err);
    assert_eq!(desk.read("notes.txt"), b"mine");
    seal(&desk, "--resume-file session").fails(2);
    let line = "$M seal - demo:2 --to node.pub --sign-with release.key --resume --resume-file s < notes.txt";
    assert!(desk.shell(line).fails(2).contains("standard input cannot be read again"));
    assert!(!desk.path("s").exists());
}

#[test]
fn an_interrupted_open_goes_on_with_the_files_that_are_complete() {
    let desk = Desk::new();
    desk.write("model/a.bin", &noise(9_000_000));
    desk.write("model/z.bin", &noise(3_000_000));
    desk.seal("model", "demo:1").ok();
    let objects = desk.files("vault/objects");
    let part = objects.into_iter().find(|path| (2_900_000..3_100_000).contains(&fs::metadata(path).unwrap().len()));
    let part = part.unwrap();
    let whole = fs::read(&part).unwrap();
    fs::write(&part, &whole[..1000]).unwrap();
    let open = ["demo:1", "out", "--resume", "--json"];
    desk.open(&open).fails(3);
    assert!(!desk.path("out").exists());
    assert_eq!(desk.names().iter().filter(|name| name.starts_with(".mvault-resume-")).count(), 1);
    fs::write(&part, &whole).unwrap();
    assert_eq!(desk.open(&open).json()["resumed_bytes"], 9_000_000);
    assert!(desk.read("out/a.bin") == noise(9_000_000) && desk.read("out/z.bin") == noise(3_000_000));
    assert!(!desk.names().iter().any(|name| name.starts_with(".mvault-resume")));
    desk.open(&["demo:1", "-", "--file", "a.bin", "--resume"]).fails(2);
}

#[test]
fn what_an_interrupted_open_left_among_the_files_is_not_sealed() {
    let desk = Desk::sealed();
    desk.write("model/.mvault-resume/record", b"left");
    let refused = desk.seal("model", "demo:2");
    assert!(refused.fails(2).contains(".mvault-resume/record"), "{}", refused.err);
}
