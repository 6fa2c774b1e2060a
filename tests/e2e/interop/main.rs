//! `mvault` and the reference implementation, which was written from docs/FORMAT.md alone: each opens what the other
//! seals, both refuse the same vaults with the same class of error, and other people's tools read the pieces.
#![forbid(unsafe_code)]

mod crafted;
mod hostile;
mod pieces;
mod sealing;
mod statements;
mod tampering;

use vault_tests::{Entry, Output, Reference, Tree, Workspace, noise, tree};

/// Plaintext of a full segment.
const PAYLOAD: usize = 1_048_544;

fn file(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry { bytes: bytes.into(), executable: false }
}

/// A folder with files of every interesting size and kind.
fn model() -> Tree {
    let data = noise(9 << 20);
    let mut files = Tree::new();
    for length in [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, data.len()] {
        files.insert(format!("sizes/{length}"), file(&data[..length]));
    }
    files.insert("bin/run".into(), Entry { bytes: b"#!/bin/sh\n".to_vec(), executable: true });
    files.insert("empty".into(), file([]));
    files.insert("\u{e4}/\u{1f511}/schl\u{fc}ssel.txt".into(), file("schl\u{fc}ssel"));
    files
}

/// What identifies the opener, as options of either program.
type Keys<'a> = &'a [&'a str];

fn mvault_verify(desk: &Workspace, vault: &str, reference: &str) -> Output {
    desk.run(&["verify", reference, "--vault", vault, "--signer", "signer.pub"])
}

fn mvault_open(desk: &Workspace, vault: &str, reference: &str, target: &str, keys: Keys) -> Output {
    desk.run(&[&["open", reference, target, "--vault", vault, "--signer", "signer.pub"], keys].concat())
}

fn python_verify(desk: &Workspace, python: Reference, vault: &str, reference: &str) -> Output {
    desk.reference(python, "read.py", &["verify", vault, reference, "--signer", "signer.pub"])
}

fn python_open(desk: &Workspace, python: Reference, vault: &str, name: &str, target: &str, keys: Keys) -> Output {
    desk.reference(python, "read.py", &[&["open", vault, name, target, "--signer", "signer.pub"], keys].concat())
}

/// Verifies and opens with `mvault`.
#[track_caller]
fn mvault_reads(desk: &Workspace, vault: &str, reference: &str, keys: Keys) -> Tree {
    mvault_verify(desk, vault, reference).ok();
    let target = tempfile::tempdir_in(desk.root()).expect("a folder");
    let target = target.path().join("opened");
    mvault_open(desk, vault, reference, target.to_str().expect("UTF-8"), keys).ok();
    tree(&target)
}

/// Verifies and opens with the reference implementation.
#[track_caller]
fn python_reads(desk: &Workspace, python: Reference, vault: &str, reference: &str, keys: Keys) -> Tree {
    python_verify(desk, python, vault, reference).ok();
    let target = tempfile::tempdir_in(desk.root()).expect("a folder");
    let target = target.path().join("opened");
    python_open(desk, python, vault, reference, target.to_str().expect("UTF-8"), keys).ok();
    tree(&target)
}

/// Seals with `mvault` for Alice.
#[track_caller]
fn seal(desk: &Workspace, path: &str, name: &str) -> Output {
    desk.run(&["seal", path, name, "--to", "alice.pub", "--sign-with", "signer.key"]).ok()
}
