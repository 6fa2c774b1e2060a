//! Provenance, attestations and lineage on the command line.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{fs, path::PathBuf, process::Command};

use common::Desk;
use serde_json::{Value, json};

const REPORT: &str = "https://example.com/evaluation/v1";
const RELEASE: [&str; 2] = ["--signer", "release.pub"];
const BOTH: [&str; 4] = ["--signer", "release.pub", "--signer", "eval.pub"];

/// A desk with `demo:1`, the key `eval`, and a report to sign.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "eval", "--no-passphrase"]).ok();
    desk.write("weights.bin", b"weights");
    desk.write("report.json", br#"{"scores": {"mmlu": 0.5}}"#);
    desk.seal("weights.bin", "demo:1").ok();
    desk
}

fn seal(desk: &Desk, name: &str, more: &[&str]) -> common::Ran {
    let line = ["seal", "weights.bin", name, "--to", "node.pub", "--sign-with", "release.key", "--json"];
    desk.run(&[&line[..], more].concat())
}

fn sign_report(desk: &Desk, name: &str) -> Value {
    let line = ["sign", name, "--key", "eval.key", "--predicate-type", REPORT, "--predicate", "report.json", "--json"];
    desk.run(&[&line[..], &RELEASE].concat()).json()
}

/// Must fail as text and as JSON alike.
#[track_caller]
fn refused(desk: &Desk, args: &[&str], code: i32, kind: &str, says: &str) {
    let ran = desk.run(args);
    let text = ran.fails(code);
    assert!(text.contains("error: ") && text.contains(says), "{says}: {text}");
    let ran = desk.run(&[args, &["--json"]].concat());
    let object: Value = serde_json::from_str(ran.fails(code)).unwrap();
    assert_eq!((object["error"]["kind"].as_str(), object["error"]["exit"].as_i64()), (Some(kind), Some(code.into())));
}

fn attestations(desk: &Desk, digest: &str) -> Vec<PathBuf> {
    desk.files(&format!("vault/artifacts/{}/attestations", digest.trim_start_matches("b3:")))
}

#[test]
fn a_report_is_signed_listed_required_and_shown() {
    let desk = desk();
    let verify = |more: &[&str]| desk.run(&[&["verify", "demo:1"], more].concat());
    let required = ["--require-attestation", REPORT];
    refused(&desk, &[&["verify", "demo:1"], &RELEASE[..], &required].concat(), 4, "authenticity", "is missing");

    let signed = sign_report(&desk, "demo:1");
    assert_eq!((&signed["type"], &signed["new"], &signed["name"]), (&json!(REPORT), &json!(true), &json!("demo:1")));
    assert_eq!(sign_report(&desk, "demo:1")["new"], json!(false));
    let path = desk.path("vault").join(signed["path"].as_str().unwrap());
    assert!(path.ends_with(format!("{}.dsse.json", signed["sha256"].as_str().unwrap())));

    verify(&[&BOTH[..], &required].concat()).ok();
    desk.run(&[&["verify", "--all"], &BOTH[..], &required].concat()).ok();
    // Foreign to those who do not accept the evaluator: listed, not counted, and no failure unless it is required.
    let listed = verify(&[&RELEASE[..], &["--json"]].concat()).json();
    let report = listed["attestations"].as_array().unwrap().iter().find(|a| a["type"] == REPORT).unwrap().clone();
    assert_eq!((&report["counts"], &report["signers"]), (&json!(false), &json!([])));
    assert!(report["reason"].as_str().unwrap().contains("accepted signer"), "{report}");
    assert!(verify(&RELEASE).ok().contains("does not count"));
    let line = [&["verify", "demo:1"], &RELEASE[..], &required].concat();
    refused(&desk, &line, 4, "authenticity", "is not signed by an accepted signer");
    refused(&desk, &[&["verify", "--all"], &RELEASE[..], &required].concat(), 4, "authenticity", "1 of 1 failed");
    let unchecked = desk.run(&["inspect", "demo:1", "--json"]).json();
    assert_eq!(unchecked["attestations"][0]["counts"], Value::Null);

    let open =
        |more: &[&str]| desk.run(&[&["open", "demo:1", "-", "--identity", "node.key"], &required[..], more].concat());
    assert_eq!(open(&BOTH).ok(), "weights");
    assert!(open(&RELEASE).fails(4).contains("is not signed by an accepted signer"));
    open(&["--insecure-skip-signature"]).fails(2);

    for which in [REPORT, signed["sha256"].as_str().unwrap()] {
        let inspect = ["inspect", "demo:1", "--attestation", which];
        let shown = desk.run(&[&inspect[..], &BOTH].concat()).ok();
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json!({ "scores": { "mmlu": 0.5 } }));
        let object = desk.run(&[&inspect[..], &BOTH, &["--json"]].concat()).json();
        assert_eq!(object["attestations"][0]["sha256"], signed["sha256"]);
        refused(&desk, &[&inspect[..], &RELEASE].concat(), 4, "authenticity", "accepted signer");
        refused(&desk, &inspect, 2, "usage", "no --signer is named");
    }
    refused(&desk, &[&["inspect", "demo:1", "--attestation", "a:b"], &BOTH[..]].concat(), 8, "not-found", "a:b");
    refused(&desk, &[&["inspect", "demo:1", "--attestation", "x"], &BOTH[..]].concat(), 2, "usage", "x");
}

#[test]
fn a_version_is_signed_once_more() {
    let desk = desk();
    let sign = ["sign", "demo:1", "--key", "eval.key"];
    refused(&desk, &sign, 4, "authenticity", "no valid signature by an accepted signer");
    desk.run(&[&sign[..], &RELEASE].concat()).ok();
    assert!(desk.run(&[&sign[..], &["--insecure-skip-signature"]].concat()).err.contains("no signature was checked"));
    let required = ["--require-attestation", "https://mvault/version/v1"];
    desk.run(&[&["verify", "demo:1"], &BOTH[..], &required].concat()).ok();
    desk.run(&[&["verify", "demo:1"], &RELEASE[..], &required].concat()).fails(4);
    let digest = desk.run(&["inspect", "demo:1", "--json"]).json()["digest"].as_str().unwrap().to_owned();
    refused(&desk, &["sign", &digest, "--key", "release.key"], 2, "usage", "is for a MODEL:VERSION");
    refused(&desk, &["sign", "demo:9", "--key", "release.key"], 8, "not-found", "demo:9");
    refused(&desk, &["sign", "demo:1", "--key", "node.key"], 2, "usage", "a recipient key where");
}

#[test]
fn predicates_that_cannot_be_signed_are_usage_errors_and_nothing_is_added() {
    let desk = desk();
    let before = desk.files("vault");
    desk.write("long.json", format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20)).as_bytes());
    desk.write("longer.json", &vec![b' '; 5 << 20]);
    desk.write("twice.json", br#"{"a":{"b":1,"b":2}}"#);
    desk.write("deep.json", format!(r#"{{"a":{}{}}}"#, "[".repeat(80), "]".repeat(80)).as_bytes());
    desk.write("inexact.json", br#"{"a":9007199254740993}"#);
    desk.write("array.json", b"[]");
    desk.write("empty.json", b"{}");
    desk.write("slsa.json", br#"{"buildDefinition":{}}"#);
    for (kind, file, says) in [
        (REPORT, "long.json", "length exceeds the limit of 1048576"),
        (REPORT, "longer.json", "is longer than"),
        (REPORT, "twice.json", "a key twice"),
        (REPORT, "deep.json", "too deeply"),
        (REPORT, "inexact.json", "cannot hold exactly"),
        (REPORT, "array.json", "a map"),
        (REPORT, "empty.json", "says nothing"),
        ("https://slsa.dev/provenance/v1", "slsa.json", "buildType"),
        ("https://mvault/version/v1", "report.json", "not for others"),
        ("https://mvault/recipients/v1", "report.json", "not for others"),
        ("report", "report.json", "is not a predicate type"),
    ] {
        let sign = ["sign", "demo:1", "--key", "release.key", "--predicate-type", kind, "--predicate", file];
        refused(&desk, &sign, 2, "usage", says);
    }
    refused(&desk, &["sign", "demo:1", "--key", "release.key", "--predicate-type", REPORT], 2, "usage", "");
    let absent = ["sign", "demo:1", "--key", "release.key", "--predicate-type", REPORT, "--predicate", "absent.json"];
    refused(&desk, &absent, 8, "not-found", "absent.json");
    assert_eq!(desk.files("vault"), before);
}

#[test]
fn a_damaged_or_renamed_or_moved_attestation_does_not_count() {
    let desk = desk();
    let signed = sign_report(&desk, "demo:1");
    let path = desk.path("vault").join(signed["path"].as_str().unwrap());
    let good = fs::read(&path).unwrap();
    let required = [&["verify", "demo:1"], &BOTH[..], &["--require-attestation", REPORT]].concat();
    let reason = || {
        let listed = desk.run(&[&["verify", "demo:1"], &BOTH[..], &["--json"]].concat()).json();
        let odd = listed["attestations"].as_array().unwrap().iter().find(|a| a["counts"] == false).unwrap().clone();
        odd["reason"].as_str().unwrap().to_owned()
    };

    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&path, bad).unwrap();
    refused(&desk, &required, 4, "authenticity", "is missing");
    assert!(reason().contains("SHA-256"));
    let by_name = ["inspect", "demo:1", "--attestation", signed["sha256"].as_str().unwrap()];
    refused(&desk, &[&by_name[..], &BOTH].concat(), 3, "integrity", "SHA-256");

    fs::remove_file(&path).unwrap();
    let renamed = path.with_file_name(format!("{}.dsse.json", "0".repeat(64)));
    fs::write(&renamed, &good).unwrap();
    refused(&desk, &required, 4, "authenticity", "is missing");
    assert!(reason().contains("SHA-256"));
    fs::remove_file(&renamed).unwrap();

    // Without its signature, under the name that has now.
    let text = String::from_utf8(good.clone()).unwrap();
    let unsigned = format!(
        "{}[]}}",
        text.split_once(r#""signatures":"#).map(|(head, _)| format!(r#"{head}"signatures":"#)).unwrap()
    );
    desk.write("unsigned", unsigned.as_bytes());
    let sum = Command::new("sha256sum").arg(desk.path("unsigned")).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap().split(' ').next().unwrap().to_owned();
    let planted = path.with_file_name(format!("{sum}.dsse.json"));
    fs::copy(desk.path("unsigned"), &planted).unwrap();
    refused(&desk, &required, 4, "authenticity", "is not signed by an accepted signer");
    assert!(reason().ends_with("is not signed"));
    let by_name = ["inspect", "demo:1", "--attestation", &sum];
    refused(&desk, &[&by_name[..], &BOTH].concat(), 4, "authenticity", "is not signed");
    fs::remove_file(&planted).unwrap();

    desk.seal("weights.bin", "demo:2").ok();
    let other = sign_report(&desk, "demo:2");
    let theirs = desk.path("vault").join(other["path"].as_str().unwrap());
    fs::copy(&theirs, path.with_file_name(theirs.file_name().unwrap())).unwrap();
    refused(&desk, &required, 4, "authenticity", "is not signed by an accepted signer");
    assert!(reason().contains("another artifact"));
}

#[test]
fn provenance_in_short_form_links_base_models_and_their_ancestry_is_verified() {
    let desk = desk();
    desk.write(
        "run.toml",
        br#"
            builder = "https://ci.example/trainer"
            base = ["demo:1", {uri = "https://example.com/gemma", digest = {sha256 = "1111111111111111111111111111111111111111111111111111111111111111"}}]
            parameters.lr = 0.1
        "#,
    );
    let sealed = seal(&desk, "tuned:1", &["--provenance", "run.toml", "--signer", "release.pub"]).json();
    assert_eq!(sealed["bases"][0]["reference"], "demo:1");
    assert_eq!(sealed["bases"][0]["signers"].as_array().unwrap().len(), 1);
    let top = seal(&desk, "tuned:2", &["--base", "tuned:1", "--base", "tuned:1"]).json();
    assert_eq!(top["bases"][0]["signers"], json!([]), "linked as found");

    let lineage = ["inspect", "tuned:2", "--lineage"];
    let text = desk.run(&[&lineage[..], &RELEASE].concat()).ok();
    let heads: Vec<_> = text.lines().map(|line| line.split(" (b3").next().unwrap()).collect();
    assert_eq!(heads[..2], ["tuned:2", "  base-model: tuned:1"]);
    assert!(heads[2].starts_with("    base-model: https://example.com/gemma sha256:1111"), "{text}");
    assert_eq!(heads[3], "    base-model: demo:1");
    let object = desk.run(&[&lineage[..], &RELEASE, &["--json"]].concat()).json();
    let states: Vec<_> = object["lineage"].as_array().unwrap().iter().map(|a| a["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["verified", "verified", "outside", "verified"]);
    refused(&desk, &lineage, 2, "usage", "no --signer is named");

    // The ancestor's manifest is forged; then it is gone.
    let base = sealed["bases"][0]["digest"].as_str().unwrap().trim_start_matches("b3:").to_owned();
    let manifest = desk.path(format!("vault/artifacts/{base}/manifest.json"));
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, String::from_utf8(good.clone()).unwrap().replace("16777216", "33554432")).unwrap();
    let ran = desk.run(&[&lineage[..], &RELEASE].concat());
    assert!(
        ran.fails(3).contains("1 ancestor not verified") && String::from_utf8_lossy(&ran.out).contains("NOT VERIFIED")
    );
    fs::remove_file(&manifest).unwrap();
    let text = desk.run(&[&lineage[..], &RELEASE].concat()).ok();
    assert!(text.contains("demo:1") && text.contains("missing: not in this vault"), "{text}");
    fs::write(&manifest, good).unwrap();

    // Its provenance is by somebody else: only the evaluator vouches for it now.
    for path in attestations(&desk, &base) {
        fs::remove_file(path).unwrap();
    }
    let statement = [&["sign", "demo:1", "--key", "eval.key"], &RELEASE[..]].concat();
    desk.write("slsa.json", br#"{"buildDefinition":{"buildType":"a:b","externalParameters":{"x":1}},"runDetails":{"builder":{"id":"a:b"}}}"#);
    let provenance = ["--predicate-type", "https://slsa.dev/provenance/v1", "--predicate", "slsa.json"];
    desk.run(&[&statement[..], &provenance].concat()).ok();
    refused_with_report(&desk, &[&lineage[..], &RELEASE].concat(), 4, "authenticity");
    desk.run(&[&lineage[..], &BOTH].concat()).ok();
}

#[test]
fn a_lineage_that_is_a_circle_ends() {
    let desk = desk();
    let tuned = seal(&desk, "tuned:1", &["--base", "demo:1"]).json();
    let digest = tuned["digest"].as_str().unwrap().trim_start_matches("b3:").to_owned();
    let circle = json!({
        "buildDefinition": {
            "buildType": "https://example.com/b",
            "externalParameters": {},
            "resolvedDependencies": [{ "uri": "mvault:tuned:1", "digest": { "blake3": digest } }],
        },
        "runDetails": { "builder": { "id": "https://example.com/b" } },
    });
    desk.write("circle.json", circle.to_string().as_bytes());
    let provenance = ["--predicate-type", "https://slsa.dev/provenance/v1", "--predicate", "circle.json"];
    desk.run(&[&["sign", "demo:1", "--key", "release.key"], &provenance[..]].concat()).ok();
    let lineage = [&["inspect", "tuned:1", "--lineage"], &RELEASE[..]].concat();
    assert!(desk.run(&lineage).ok().contains("a cycle: it is its own ancestor"));
    let object = desk.run(&[&lineage[..], &["--json"]].concat()).json();
    let states: Vec<_> = object["lineage"].as_array().unwrap().iter().map(|a| a["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["verified", "verified", "cycle"]);
}

/// Fails after printing what was found.
fn refused_with_report(desk: &Desk, args: &[&str], code: i32, kind: &str) {
    let ran = desk.run(&[args, &["--json"]].concat());
    let object: Value = serde_json::from_str(ran.fails(code)).unwrap();
    assert_eq!(object["error"]["kind"], kind);
    let found: Value = serde_json::from_slice(&ran.out).unwrap();
    assert!(found["lineage"].as_array().unwrap().iter().any(|ancestor| ancestor["state"] == "refused"));
}

#[test]
fn a_base_model_that_is_not_there_stops_the_seal_before_it_starts() {
    let desk = desk();
    let before = desk.files("vault");
    let line = ["seal", "weights.bin", "tuned:1", "--to", "node.pub", "--sign-with", "release.key"];
    let line = |more: &[&'static str]| [&line[..], more].concat();
    desk.write("run.json", br#"{"base":["demo:9"]}"#);
    desk.write("bad.toml", b"base = [");
    desk.write("bad.json", br#"{"unknown":1}"#);
    let zeros = "b3:0000000000000000000000000000000000000000000000000000000000000000";
    refused(&desk, &line(&["--base", "demo:9"]), 8, "not-found", "demo:9");
    refused(&desk, &line(&["--base", zeros]), 8, "not-found", zeros);
    refused(&desk, &line(&["--provenance", "run.json"]), 8, "not-found", "demo:9");
    refused(&desk, &line(&["--base", "demo:1", "--signer", "eval.pub"]), 4, "authenticity", "accepted signer");
    refused(&desk, &line(&["--base", "demo"]), 2, "usage", "MODEL:VERSION");
    refused(&desk, &line(&["--provenance", "bad.toml"]), 2, "usage", "bad.toml");
    refused(&desk, &line(&["--provenance", "bad.json"]), 2, "usage", "unknown field");
    refused(&desk, &line(&["--provenance", "absent.json"]), 8, "not-found", "absent.json");
    let long = format!(r#"{{"parameters":{{"x":"{}"}}}}"#, "x".repeat((1 << 20) - 200));
    desk.write("long.json", long.as_bytes());
    refused(&desk, &line(&["--provenance", "long.json", "--base", "demo:1"]), 2, "usage", "limit of 1048576");
    refused(&desk, &line(&["--private-provenance"]), 2, "usage", "--private-provenance");
    assert_eq!(desk.files("vault"), before);
}

#[test]
fn private_provenance_is_shown_to_those_who_can_open_it() {
    let desk = desk();
    desk.write("run.json", br#"{"builder":"https://secret.example/lab","base":["demo:1"]}"#);
    let sealed = seal(&desk, "tuned:1", &["--provenance", "run.json", "--private-provenance"]).json();
    assert_eq!(sealed["private_provenance"], json!(true));
    let public = ["inspect", "tuned:1", "--attestation", "https://slsa.dev/provenance/v1"];
    let public = desk.run(&[&public[..], &RELEASE].concat()).ok();
    assert!(!public.contains("secret.example") && !public.contains("resolvedDependencies"), "{public}");
    assert!(!desk.run(&["inspect", "tuned:1"]).ok().contains("secret.example"));
    let inside = [&["inspect", "tuned:1", "--identity", "node.key"], &RELEASE[..]].concat();
    assert!(desk.run(&inside).ok().contains("https://secret.example/lab"));
    let object = desk.run(&[&inside[..], &["--json"]].concat()).json();
    let dependencies = &object["private_provenance"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies[0]["uri"], "mvault:demo:1");
    assert_eq!(desk.open(&["tuned:1", "-"]).ok(), "weights");
}
