//! What a refusal says, and what it advises.

use serde_json::Value;
use vault_tests::Output;

use crate::Office;

/// What a command that was refused says and advises.
#[track_caller]
fn told(output: Output, code: i32, kind: &str) -> (String, String) {
    let object: Value = serde_json::from_str(output.stderr.lines().last().unwrap_or_default()).expect("JSON");
    let hint = object["error"]["hint"].as_str().unwrap_or_default().to_owned();
    (Office::refused(output, code, kind), hint)
}

#[test]
fn a_source_with_a_mistake_is_refused_with_its_line() {
    let office = Office::new();
    let source = String::from_utf8(office.0.read("trust.toml")).expect("UTF-8");
    let sign = |text: &str| {
        office.0.write("bad.toml", text.as_bytes());
        told(office.run(&["trust", "sign", "bad.toml", "--key", "alice.key", "-o", "new.json"]), 2, "usage").0
    };
    let unknown = sign(&source.replace("expires =", "expiry ="));
    let at = "bad.toml: line 2, column 1: unknown field `expiry`";
    assert!(unknown.starts_with(at) && !unknown.contains('\n'), "{unknown}");
    let broken = sign(&source.replace("\"3650d\"", "\"3650d"));
    assert!(broken.starts_with("bad.toml: line 2, column ") && !broken.contains('\n'), "{broken}");
    let twice = sign(&source.replacen("[\"alice\", \"bob\", \"carol\"]", "[\"alice\", \"bob\", \"alice\"]", 1));
    assert_eq!(twice, "bad.toml: roles.root: the key \"alice\" is listed twice");
    assert!(!office.0.path("new.json").exists());
}

#[test]
fn a_source_given_for_a_trust_root_is_called_one() {
    let office = Office::new();
    let opened = office.run(&["verify", "m:1", "--trust", "trust.toml", "--stateless"]);
    let (message, hint) = told(opened, 2, "usage");
    assert_eq!(message, "trust.toml: trust root: is a source that is not signed yet");
    assert!(hint.contains("`mvault trust sign trust.toml --key "), "{hint}");
}

#[test]
fn an_example_trust_root_lists_example_keys_and_is_none() {
    let office = Office::new();
    let (message, _) = told(office.0.run(&["verify", "m:1", "--trust", "root.json", "--stateless"]), 2, "usage");
    assert!(message.starts_with("root.json lists an example key"), "{message}");
}

#[test]
fn what_was_revoked_is_not_revoked_again_and_not_rolled_back_to() {
    let office = Office::new();
    office.release("m:1");
    office.release("m:2");
    let revoke = || office.trusting(&["revoke", "m:1", "--reason", "leaks", "--key", "alice.key"]);
    revoke().ok();
    let (message, hint) = told(revoke(), 7, "conflict");
    assert_eq!(
        (message.as_str(), hint.contains("`mvault revoke --list`")),
        ("a revocation of m:1 exists already", true)
    );
    let back = office.trusting(&["rollback", "m@production", "--reason", "loops", "--key", "trainer.key"]);
    let (message, hint) = told(back, 4, "authenticity");
    assert_eq!((message.as_str(), hint.contains("--to")), ("m:1: is revoked", true), "{hint}");
}

#[test]
fn under_a_trust_root_nobody_is_told_to_look_at_a_signer() {
    let office = Office::new();
    let versions = office.0.path("vault/models/m/versions");
    std::fs::copy(versions.join("1.dsse.json"), versions.join("9.dsse.json")).expect("planted");
    let (message, hint) = told(office.trusting(&["verify", "m:9"]), 4, "authenticity");
    assert!(message.ends_with("is signed for another name"), "{message}");
    assert!(hint.contains("--explain") && !hint.contains("--signer"), "{hint}");
    let required = ["verify", "m:1", "--require-attestation", "https://example.com/scan/v1"];
    let signed = ["sign", "m:1", "--key", "clock.key", "--predicate-type", "https://example.com/scan/v1"];
    office.0.write("scan.json", b"{}");
    office.trusting(&[&signed[..], &["--predicate", "scan.json"]].concat());
    let (_, hint) = told(office.trusting(&required), 4, "authenticity");
    assert!(!hint.contains("--signer"), "{hint}");
}

#[test]
fn a_key_that_is_retired_is_called_so_with_its_holder() {
    let office = Office::new();
    office.retire_trainer(&[]);
    let asked = ["promote", "m:1", "--channel", "production", "--reason", "because", "--key", "trainer.key"];
    let (message, hint) = told(office.trusting(&asked), 4, "authenticity");
    assert!(message.ends_with(" of trainer: is retired, as the trust root says"), "{message}");
    assert!(hint.contains("`mvault trust verify`"), "{hint}");
}
