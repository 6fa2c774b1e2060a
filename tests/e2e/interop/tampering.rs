//! The same damaged vault is refused by both, with the same class of error.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use vault_tests::{Reference, Workspace, noise};

use crate::{Keys, mvault_open, mvault_verify, seal};

const BATCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/batch.py");
const ALICE: Keys = &["--identity", "alice.key"];
const INTEGRITY: i32 = 3;
const AUTHENTICITY: i32 = 4;
const NO_KEY: i32 = 6;
const NOT_FOUND: i32 = 8;

/// A vault with `m:1`, a folder with one file of two segments and a small one.
fn sealed() -> Workspace {
    let desk = Workspace::new();
    desk.write("model/large", &noise(1_100_000));
    desk.write("model/small", b"small");
    seal(&desk, "model", "m:1");
    desk
}

/// How both ended: of `mvault` and the reference, verifying and opening.
#[derive(Debug, PartialEq, Eq)]
pub struct Codes {
    pub verify: [i32; 2],
    pub open: [i32; 2],
}

impl Codes {
    pub fn both(verify: i32, open: i32) -> Self {
        Self { verify: [verify; 2], open: [open; 2] }
    }
}

/// What both say to a vault.
pub fn judge(desk: &Workspace, python: Reference, vault: &str, name: &str, keys: Keys) -> Codes {
    judge_all(desk, python, &[vault.to_owned()], name, keys).remove(0)
}

/// What both say to each of these vaults.
pub fn judge_all(desk: &Workspace, python: Reference, vaults: &[String], name: &str, keys: Keys) -> Vec<Codes> {
    let folder = tempfile::tempdir_in(desk.root()).expect("a folder");
    let target = |who: &str, at: usize| folder.path().join(format!("{who}-{at}")).to_str().expect("UTF-8").to_owned();
    let mut lines = Vec::new();
    for (at, vault) in vaults.iter().enumerate() {
        lines.push(Line::read(&["verify", vault, name, "--signer", "signer.pub"]));
        lines.push(Line::read(
            &[&["open", vault, name, &target("theirs", at), "--signer", "signer.pub"], keys].concat(),
        ));
    }
    let theirs = batch(desk, python, &lines);
    let mut codes = Vec::new();
    for (at, (vault, theirs)) in vaults.iter().zip(theirs.chunks(2)).enumerate() {
        let ours = target("ours", at);
        let found = Codes {
            verify: [mvault_verify(desk, vault, name).code, theirs[0].0],
            open: [mvault_open(desk, vault, name, &ours, keys).code, theirs[1].0],
        };
        let opened = [ours, target("theirs", at)];
        for (target, code) in opened.iter().zip(found.open) {
            assert_eq!(
                Path::new(target).exists(),
                code == 0,
                "nothing appears after a failure, all of it after success"
            );
        }
        if found.open == [0, 0] {
            let [ours, theirs] = opened.map(|target| vault_tests::tree(Path::new(&target)));
            assert_eq!(ours, theirs, "both open the same files");
        }
        codes.push(found);
    }
    codes
}

/// A script to run, its arguments and its standard input.
pub struct Line(Value);

impl Line {
    pub fn new(script: &str, args: &[&str], input: &Value) -> Self {
        Self(json!([script, args, input.to_string()]))
    }

    fn read(args: &[&str]) -> Self {
        Self::new(Reference::folder().join("read.py").to_str().expect("UTF-8"), args, &Value::Null)
    }
}

/// Runs scripts of the reference implementation in one process; their exit codes and what they said.
pub fn batch(desk: &Workspace, python: Reference, lines: &[Line]) -> Vec<(i32, String)> {
    let lines: Value = lines.iter().map(|line| line.0.clone()).collect();
    let done = desk.reference_with_input(python, BATCH, &[], lines.to_string().as_bytes()).ok().json();
    serde_json::from_value(done).expect("codes and texts")
}

/// The same for scripts that must succeed.
pub fn make(desk: &Workspace, python: Reference, lines: &[Line]) {
    for (code, text) in batch(desk, python, lines) {
        assert_eq!(code, 0, "{text}");
    }
}

/// What was done to a vault, and the codes verifying and opening it should give.
pub type Case = (String, i32, i32);

/// Compares what both say to `vaults` with what they should say.
pub fn compare(desk: &Workspace, python: Reference, name: &str, keys: Keys, vaults: &[String], cases: &[Case]) {
    let mut disagreements = Vec::new();
    for (found, (what, verify, open)) in judge_all(desk, python, vaults, name, keys).into_iter().zip(cases) {
        let expected = Codes::both(*verify, *open);
        if found != expected {
            let what: String = what.chars().take(300).collect();
            disagreements.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(disagreements.is_empty(), "\n{}", disagreements.join("\n"));
}

fn flip(path: PathBuf) {
    let mut bytes = fs::read(&path).expect("a file of the vault");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("a file of the vault");
}

/// The stored objects in ascending length: two of a tiny stream each, a tree or an index, and the large part last.
fn objects(desk: &Workspace) -> Vec<PathBuf> {
    let mut objects = desk.files("damaged/objects");
    objects.sort_by_key(|path| fs::metadata(path).expect("an object").len());
    objects
}

fn large(desk: &Workspace) -> PathBuf {
    objects(desk).pop().expect("the part of the large file")
}

fn tree(desk: &Workspace) -> PathBuf {
    let manifest: Value = serde_json::from_slice(&fs::read(manifest(desk)).expect("a manifest")).expect("JSON");
    let digest = manifest["streams"][0]["tree"].as_str().expect("a tree").to_owned();
    desk.path("damaged/objects").join(&digest[..2]).join(digest)
}

fn manifest(desk: &Workspace) -> PathBuf {
    desk.only("damaged/artifacts", "manifest.json")
}

fn record(desk: &Workspace) -> PathBuf {
    desk.only("damaged/models", "1.dsse.json")
}

fn recipients(desk: &Workspace) -> PathBuf {
    desk.only("damaged/artifacts", "recipients/1.dsse.json")
}

/// Rewrites an envelope in canonical form.
fn edit(path: PathBuf, change: impl FnOnce(&mut Value)) {
    let mut envelope: Value = serde_json::from_slice(&fs::read(&path).expect("an envelope")).expect("JSON");
    change(&mut envelope);
    fs::write(path, envelope.to_string()).expect("an envelope");
}

fn append(path: PathBuf) {
    let bytes = fs::read(&path).expect("a file of the vault");
    fs::write(path, [&bytes[..], b"\n"].concat()).expect("a file of the vault");
}

fn shorten(path: PathBuf) {
    let bytes = fs::read(&path).expect("a file of the vault");
    fs::write(path, &bytes[..bytes.len() - 1]).expect("a file of the vault");
}

fn remove(path: PathBuf) {
    fs::remove_file(path).expect("a file of the vault");
}

type Change = fn(&Workspace);
type Damage<'a> = &'a dyn Fn(&Workspace);

#[test]
fn damage_has_the_same_class_for_both() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let cases: [(&str, Change, i32, i32); 23] = [
        ("nothing", |_| {}, 0, 0),
        ("a bit of a part", |d| flip(large(d)), INTEGRITY, INTEGRITY),
        ("a bit of the smallest object", |d| flip(objects(d).remove(0)), INTEGRITY, INTEGRITY),
        ("a bit of a tree", |d| flip(tree(d)), INTEGRITY, INTEGRITY),
        ("a bit of the manifest", |d| flip(manifest(d)), INTEGRITY, INTEGRITY),
        ("a part gone", |d| remove(large(d)), INTEGRITY, INTEGRITY),
        ("a tree gone", |d| remove(tree(d)), INTEGRITY, INTEGRITY),
        ("the manifest gone", |d| remove(manifest(d)), INTEGRITY, INTEGRITY),
        ("a part too short", |d| shorten(large(d)), INTEGRITY, INTEGRITY),
        ("a tree too short", |d| shorten(tree(d)), INTEGRITY, INTEGRITY),
        ("a tree too long", |d| append(tree(d)), INTEGRITY, INTEGRITY),
        ("the manifest too long", |d| append(manifest(d)), INTEGRITY, INTEGRITY),
        ("the record too long", |d| append(record(d)), INTEGRITY, INTEGRITY),
        ("the record too short", |d| shorten(record(d)), INTEGRITY, INTEGRITY),
        ("the record empty", |d| fs::write(record(d), b"").expect("a record"), INTEGRITY, INTEGRITY),
        (
            "no signature",
            |d| edit(record(d), |e| e["signatures"] = Value::Array(Vec::new())),
            AUTHENTICITY,
            AUTHENTICITY,
        ),
        ("another payload", |d| edit(record(d), |e| e["payload"] = Value::from("e30=")), AUTHENTICITY, AUTHENTICITY),
        (
            "another key id",
            |d| edit(record(d), |e| e["signatures"][0]["keyid"] = Value::from("0".repeat(64))),
            INTEGRITY,
            INTEGRITY,
        ),
        ("one member more", |d| edit(record(d), |e| e["more"] = Value::Null), INTEGRITY, INTEGRITY),
        ("the recipients gone", |d| remove(recipients(d)), 0, AUTHENTICITY),
        ("a bit of the recipients", |d| flip(recipients(d)), 0, AUTHENTICITY),
        (
            "a vault of another format",
            |d| fs::write(d.path("damaged/vault.json"), b"{}").expect("vault.json"),
            INTEGRITY,
            INTEGRITY,
        ),
        ("the record gone", |d| remove(record(d)), NOT_FOUND, NOT_FOUND),
    ];
    let (mut vaults, mut expected) = (Vec::new(), Vec::new());
    for (what, change, verify, open) in cases {
        desk.copy("vault", "damaged");
        change(&desk);
        vaults.push(format!("damaged-{}", vaults.len()));
        fs::rename(desk.path("damaged"), desk.path(&vaults[vaults.len() - 1])).expect("our own folder");
        expected.push((what.to_owned(), verify, open));
    }
    compare(&desk, python, "m:1", ALICE, &vaults, &expected);
}

#[test]
fn a_digest_needs_an_attestation_and_both_say_so() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let manifest = desk.only("vault/artifacts", "manifest.json");
    let digest =
        manifest.parent().and_then(|folder| folder.file_name()).expect("a digest").to_string_lossy().into_owned();
    let reference = format!("b3:{digest}");
    let attestation = |desk: &Workspace| desk.files(&format!("damaged/artifacts/{digest}/attestations")).remove(0);
    let manifest = |desk: &Workspace| desk.path(format!("damaged/artifacts/{digest}/manifest.json"));
    let cases: [(&str, Damage, i32); 5] = [
        ("nothing", &|_| {}, 0),
        ("the attestation gone", &|d| remove(attestation(d)), AUTHENTICITY),
        ("a bit of the attestation", &|d| flip(attestation(d)), AUTHENTICITY),
        ("a bit of the manifest", &|d| flip(manifest(d)), INTEGRITY),
        ("the record gone", &|d| remove(record(d)), 0),
    ];
    for (what, change, code) in cases {
        desk.copy("vault", "damaged");
        change(&desk);
        assert_eq!(judge(&desk, python, "damaged", &reference, ALICE), Codes::both(code, code), "{what}");
        fs::remove_dir_all(desk.path("damaged")).expect("our own folder");
    }
    let unknown = format!("b3:{}", "0".repeat(64));
    assert_eq!(judge(&desk, python, "vault", &unknown, ALICE), Codes::both(NOT_FOUND, NOT_FOUND));
}

#[test]
fn who_may_not_open_may_not_with_either() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    for keys in [["--identity", "eve.key"], ["--identity", "bob.key"], ["--passphrase-file", "pass"]] {
        assert_eq!(judge(&desk, python, "vault", "m:1", &keys), Codes::both(0, NO_KEY), "{keys:?}");
    }
    for name in ["m:2", "n:1", "m:1.0"] {
        assert_eq!(judge(&desk, python, "vault", name, ALICE), Codes::both(NOT_FOUND, NOT_FOUND), "{name}");
    }
    assert_eq!(judge(&desk, python, "nowhere", "m:1", ALICE), Codes::both(NOT_FOUND, NOT_FOUND));
    for name in ["b3:1", "M:1", "m", "../m:1", "a/versions:1", "m:1/2"] {
        assert_eq!(judge(&desk, python, "vault", name, ALICE), Codes::both(2, 2), "{name}");
    }
}

#[test]
fn another_signer_is_nobody_to_both() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    fs::rename(desk.path("stranger.pub"), desk.path("signer.pub")).expect("keys exchanged");
    assert_eq!(judge(&desk, python, "vault", "m:1", ALICE), Codes::both(AUTHENTICITY, AUTHENTICITY));
}

#[test]
fn a_record_under_another_name_proves_nothing_to_both() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    desk.copy("vault/models/m", "vault/models/n");
    fs::rename(desk.path("vault/models/n/versions/1.dsse.json"), desk.path("vault/models/n/versions/2.dsse.json"))
        .expect("a record renamed");
    assert_eq!(judge(&desk, python, "vault", "n:2", ALICE), Codes::both(AUTHENTICITY, AUTHENTICITY));
}
