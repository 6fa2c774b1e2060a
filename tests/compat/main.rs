//! Frozen vaults: what a release sealed, every later release opens.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vault_tests::{Workspace, copy, make_private, tree};

/// The folders of frozen things, one for every version of the format.
const VERSIONS: [&str; 1] = ["v1"];

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(version)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn what_is_frozen_never_changes() {
    for version in VERSIONS {
        let folder = frozen(version);
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("SHA256SUMS");
        let listed: BTreeMap<_, _> =
            sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path, sum)).collect();
        let mut found = tree(&folder);
        found.retain(|path, _| !["SHA256SUMS", "README.md"].contains(&path.as_str()));
        let found: BTreeMap<_, _> = found.iter().map(|(path, entry)| (path.as_str(), sha256(&entry.bytes))).collect();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            listed.keys().collect::<Vec<_>>(),
            "{version}: files came or went"
        );
        for (path, sum) in found {
            assert_eq!(sum, listed[path], "{version}/{path} changed; a frozen file never does");
        }
    }
}

#[test]
fn what_is_frozen_opens() {
    for version in VERSIONS {
        let desk = Workspace::empty();
        copy(&frozen(version), &desk.path("frozen"));
        // A checkout does not keep the mode of private keys.
        let keys = desk.files("frozen/test-keys");
        keys.iter()
            .filter(|path| path.extension().is_some_and(|ending| ending == "key"))
            .for_each(|path| make_private(path));
        let expected: Value = serde_json::from_slice(&desk.read("frozen/expected.json")).expect("JSON");
        for vault in expected["vaults"].as_array().expect("an array") {
            opens(&desk, vault);
        }
    }
}

fn opens(desk: &Workspace, expected: &Value) {
    let text = |key: &str| expected[key].as_str().expect("a string");
    let vault = format!("frozen/{}", text("folder"));
    let common = ["--vault", &vault, "--signer", "frozen/test-keys/signer.pub"];
    let openers = [
        ["--identity", "frozen/test-keys/x25519.key"],
        ["--identity", "frozen/test-keys/x-wing.key"],
        ["--passphrase-file", "frozen/test-keys/passphrase"],
    ];
    for reference in [text("name"), text("digest")] {
        let verified = desk.run(&[&["verify", reference], &common[..]].concat()).ok();
        assert_eq!(verified.json()["digest"], expected["digest"]);
        for keys in openers {
            let target = tempfile::tempdir_in(desk.root()).expect("a folder");
            let name = target.path().to_str().expect("UTF-8");
            desk.run(&[&["open", reference, &format!("{name}/opened")], &common[..], &keys].concat()).ok();
            let files = tree(&target.path().join("opened")).into_iter().map(|(path, entry)| {
                let (size, sha256) = (entry.bytes.len(), sha256(&entry.bytes));
                json!({"executable": entry.executable, "path": path, "sha256": sha256, "size": size})
            });
            assert_eq!(files.collect::<Value>(), expected["files"], "{reference} with {keys:?}");
        }
    }
}
