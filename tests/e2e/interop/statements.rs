//! Everything signed in a vault, in the hands of the in-toto project's packages and of OpenSSL.

use std::{fs, path::PathBuf, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use vault_tests::{Output, Python, Workspace, have, skip};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/statements.py");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/requirements.txt");
const REPORT: &str = "https://example.com/evaluation/v1";

/// A vault with a base model, and a version made from it that carries one of every statement.
fn vault() -> (Workspace, String, Vec<PathBuf>) {
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    desk.run(&["seal", "weights", "base:1", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    desk.write(
        "run.json",
        br#"{
            "builder": "https://ci.example/trainer",
            "source": {"repository": "https://git.example/train", "commit": "0123456789012345678901234567890123456789"},
            "base": ["base:1", {"name": "gemma", "digest": {"sha256": "1111111111111111111111111111111111111111111111111111111111111111"}}],
            "data": [{"uri": "https://data.example/c\u00f6rpus", "digest": {"sha512": "22222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222"}}],
            "parameters": {"lr": 0.1, "epochs": 3, "schedule": [1e-7, null, true], "note": "\u00e4"}
        }"#,
    );
    desk.write("report.json", br#"{"scores": {"mmlu": 0.5}}"#);
    let seal = ["seal", "weights", "m:1", "--to", "alice.pub", "--sign-with", "signer.key", "--provenance", "run.json"];
    let sealed = desk.run(&[&seal[..], &["--signer", "signer.pub"]].concat()).ok().json();
    let report = ["--predicate-type", REPORT, "--predicate", "report.json"];
    desk.run(&[&["sign", "m:1", "--key", "signer.key"], &report[..]].concat()).ok();
    desk.run(&["sign", "m:1", "--key", "signer.key"]).ok();
    let digest = sealed["digest"].as_str().expect("a digest").trim_start_matches("b3:").to_owned();
    let folder = format!("vault/artifacts/{digest}");
    let mut envelopes = desk.files(&folder);
    envelopes.retain(|path| path.to_string_lossy().ends_with(".dsse.json"));
    envelopes.push(desk.path("vault/models/m/versions/1.dsse.json"));
    assert_eq!(envelopes.len(), 5, "recipients, three attestations, version record");
    (desk, digest, envelopes)
}

#[test]
fn securesystemslib_verifies_every_envelope_and_in_toto_reads_every_statement() {
    let Some(python) = Python::with(REQUIREMENTS.as_ref(), "in-toto") else { return };
    let (desk, digest, envelopes) = vault();
    let paths = envelopes.iter().map(|path| path.to_str().expect("UTF-8"));
    let args: Vec<_> = ["signer.pub", "stranger.pub"].into_iter().chain(paths).collect();
    let found: Value = serde_json::from_slice(&python.run(desk.root(), SCRIPT, &args).ok().stdout).expect("JSON");
    let found = found.as_array().expect("an array");
    let mut types: Vec<_> = found.iter().map(|f| f["type"].as_str().expect("a type")).collect();
    types.sort_unstable();
    assert_eq!(
        types,
        [
            REPORT,
            "https://mvault/recipients/v1",
            "https://mvault/version/v1",
            "https://mvault/version/v1",
            "https://slsa.dev/provenance/v1"
        ]
    );
    assert!(found.iter().all(|f| f["subject"] == digest.as_str()));
    let provenance = found.iter().find(|f| f["builder"].is_string()).expect("provenance");
    assert_eq!(provenance["builder"], "https://ci.example/trainer");
    let uris = ["git+https://git.example/train", "", "https://data.example/c\u{f6}rpus", "mvault:base:1"];
    assert_eq!(provenance["uris"], json!(uris));
}

#[test]
fn provenance_of_a_plain_seal_and_of_a_frozen_vault_reads_too() {
    let Some(python) = Python::with(REQUIREMENTS.as_ref(), "in-toto") else { return };
    let (desk, _, _) = vault();
    let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/compat/v1");
    let mut envelopes = desk.files("vault/artifacts");
    envelopes.retain(|path| path.to_string_lossy().contains("/attestations/"));
    let read = |signer: &str, envelopes: &[PathBuf]| {
        let paths = envelopes.iter().map(|path| path.to_str().expect("UTF-8"));
        let args: Vec<_> = [signer, "stranger.pub"].into_iter().chain(paths).collect();
        python.run(desk.root(), SCRIPT, &args).ok();
    };
    read("signer.pub", &envelopes);
    vault_tests::copy(frozen.as_ref(), &desk.path("frozen"));
    let mut envelopes = desk.files("frozen");
    envelopes.retain(|path| path.to_string_lossy().ends_with(".dsse.json"));
    assert!(envelopes.len() >= 6, "two frozen vaults");
    read("frozen/test-keys/signer.pub", &envelopes);
}

#[test]
fn openssl_verifies_every_envelope() {
    if !have("openssl") {
        return skip("no openssl");
    }
    let (desk, _, envelopes) = vault();
    for path in envelopes {
        let envelope: Value = serde_json::from_slice(&fs::read(&path).expect("an envelope")).expect("JSON");
        let base64 = |value: &Value| BASE64_STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        let (payload_type, payload) = (envelope["payloadType"].as_str().expect("a type"), base64(&envelope["payload"]));
        // DSSE's pre-authentication encoding.
        let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
        desk.write("message", &[head.as_bytes(), &payload].concat());
        desk.write("signature", &base64(&envelope["signatures"][0]["sig"]));
        let check = |signer| {
            let files = ["-inkey", signer, "-in", "message", "-sigfile", "signature"];
            let line = [&["pkeyutl", "-verify", "-pubin", "-rawin"], &files[..]].concat();
            Output::of(Command::new("openssl").args(line).current_dir(desk.root()), b"")
        };
        check("signer.pub").ok();
        check("stranger.pub").exits(1);
    }
}
