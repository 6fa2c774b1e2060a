//! Statements that an accepted signer signed and no honest writer writes.

use std::fs;

use serde_json::{Value, json};
use vault_tests::{Reference, Workspace};

use crate::{
    Keys, seal,
    tampering::{self, Codes, Line, judge, make},
};

const ALICE: Keys = &["--identity", "alice.key"];
const INTEGRITY: i32 = 3;
const AUTHENTICITY: i32 = 4;
const NO_KEY: i32 = 6;
const CRAFT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/craft.py");

fn sealed() -> Workspace {
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    seal(&desk, "weights", "m:1");
    desk
}

/// What the only artifact is called.
fn digest(desk: &Workspace) -> String {
    let manifest = desk.only("vault/artifacts", "manifest.json");
    let folder = manifest.parent().and_then(|folder| folder.file_name());
    folder.expect("an artifact's folder").to_string_lossy().into_owned()
}

/// Signs what stands in the vault anew with all these changes, and compares what both say with what they should.
fn compare(desk: &Workspace, python: Reference, craft: [&str; 3], reference: &str, wanted: &[(Value, i32, i32)]) {
    let (mut vaults, mut lines, mut cases) = (Vec::new(), Vec::new(), Vec::new());
    let folder = tempfile::tempdir_in(desk.root()).expect("a folder");
    for (changes, verify, open) in wanted {
        let vault = folder.path().join(cases.len().to_string()).to_str().expect("UTF-8").to_owned();
        desk.copy("vault", &vault);
        lines.push(Line::new(CRAFT, &[craft[0], &vault, craft[1], craft[2]], changes));
        vaults.push(vault);
        cases.push((changes.to_string(), *verify, *open));
    }
    make(desk, python, &lines);
    tampering::compare(desk, python, reference, ALICE, &vaults, &cases);
}

#[test]
fn version_records_are_judged_alike() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let digest = digest(&desk);
    let zeros = "0".repeat(64);
    let cases = [
        (json!({}), 0),
        (json!({"predicate": {"created": "1999-12-31T23:59:59Z", "trust_root": zeros}}), 0),
        (json!({"predicate": {"nonce": "00"}}), INTEGRITY),
        (json!({"predicate": {"nonce": "A".repeat(32)}}), INTEGRITY),
        (json!({"predicate": {"trust_root": "x"}}), INTEGRITY),
        (json!({"predicate": {"trust_root": "<remove>"}}), INTEGRITY),
        (json!({"predicate": {"more": 1}}), INTEGRITY),
        (json!({"predicate": {"version": "2"}}), AUTHENTICITY),
        (json!({"predicate": {"model": "n"}}), AUTHENTICITY),
        (json!({"predicateType": "https://mvault/version/v2"}), INTEGRITY),
        (json!({"predicateType": "https://mvault/recipients/v1"}), INTEGRITY),
        (json!({"_type": "https://in-toto.io/Statement/v0.1"}), INTEGRITY),
        (json!({"more": 1}), INTEGRITY),
        (json!({"subject": []}), INTEGRITY),
        (json!({"subject": {}}), INTEGRITY),
        (
            json!({"subject": [{"digest": {"blake3": digest, "sha256": zeros}, "name": format!("b3:{digest}")}]}),
            INTEGRITY,
        ),
        (
            json!({"subject": [{"digest": {"blake3": zeros, "sha256": zeros}, "name": format!("b3:{zeros}")}]}),
            INTEGRITY,
        ),
    ];
    let cases = cases.map(|(changes, code)| (changes, code, code));
    compare(&desk, python, ["record", "m:1", "signer.key"], "m:1", &cases);
}

#[test]
fn the_time_in_a_record_has_one_spelling() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let times = ["1999-12-31 23:59:59Z", "1999-12-31T23:59:59+00:00", "1999-12-31T23:59:59.5Z", "1999-02-30T23:59:59Z"];
    let cases = times.map(|time| (json!({"predicate": {"created": time}}), INTEGRITY, INTEGRITY));
    compare(&desk, python, ["record", "m:1", "signer.key"], "m:1", &cases);
}

#[test]
fn provenance_is_judged_alike() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let digest = digest(&desk);
    let zeros = "0".repeat(64);
    let cases = [
        (json!({}), 0),
        (json!({"predicate": {"anything": ["\u{e4}", null]}}), 0),
        (json!({"more": 1}), AUTHENTICITY),
        (json!({"predicateType": "https://slsa.dev/provenance/v0.2"}), AUTHENTICITY),
        (
            json!({"subject": [{"digest": {"blake3": digest, "sha256": zeros}, "name": format!("b3:{digest}")}]}),
            AUTHENTICITY,
        ),
        (
            json!({"subject": [{"digest": {"blake3": zeros, "sha256": zeros}, "name": format!("b3:{zeros}")}]}),
            AUTHENTICITY,
        ),
    ];
    let cases = cases.map(|(changes, code)| (changes, code, code));
    compare(&desk, python, ["provenance", "-", "signer.key"], &format!("b3:{digest}"), &cases);
}

#[test]
fn generations_are_judged_alike() {
    let Some(python) = Reference::get() else { return };
    let desk = sealed();
    let path = desk.only("vault/artifacts", "recipients/1.dsse.json");
    let envelope: Value = serde_json::from_slice(&fs::read(path).expect("an envelope")).expect("JSON");
    let payload =
        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, envelope["payload"].as_str().expect("a payload"));
    let statement: Value = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
    let alice = &statement["predicate"]["recipients"][0];
    let with = |key: &str, value: Value| {
        let mut stanza = alice.clone();
        stanza[key] = value;
        stanza
    };
    // Somebody else's stanza of the right form: a generation with it counts, and shuts Alice out.
    let other = with("key_id", json!("0".repeat(64)));
    let recipients = |stanzas: Value| json!({"predicate": {"recipients": stanzas}});
    let trailing = {
        let text = alice["enc"].as_str().expect("base64");
        let last = text.len() - 2;
        let next = char::from(text.as_bytes()[last] + 1);
        format!("{}{next}=", &text[..last])
    };
    let passphrase = |memory: u64, passes: u64, lanes: u64| {
        let (b48, b32, b16) = ("A".repeat(64), format!("{}=", "A".repeat(43)), format!("{}==", "A".repeat(22)));
        json!({"ciphertext": b48, "commitment": b32, "lanes": lanes, "memory_kib": memory, "passes": passes, "salt": b16,
               "type": "argon2id"})
    };
    // Code of `open` with generation 2 such: 6 if it counts, 0 if it is skipped.
    let cases = [
        (recipients(json!([other])), NO_KEY),
        (json!({"predicate": {"created": "now", "recipients": [other]}}), 0),
        (json!({"predicate": {"previous": "0".repeat(64), "recipients": [other]}}), NO_KEY),
        (recipients(json!([other, alice])), 0),
        (recipients(json!([])), 0),
        (recipients(json!([other, {"type": "rot13"}])), 0),
        (recipients(json!([with("more", json!(1))])), 0),
        (recipients(json!([with("key_id", json!("00"))])), 0),
        (recipients(json!([other, with("enc", json!(trailing))])), 0),
        (recipients(json!([other, with("type", json!("x-wing"))])), 0),
        (recipients(Value::from(vec![other.clone(); 1024])), NO_KEY),
        (recipients(Value::from(vec![other.clone(); 1025])), 0),
        (recipients(Value::from(vec![passphrase(65_536, 3, 4); 4])), NO_KEY),
        (recipients(Value::from(vec![passphrase(65_536, 3, 4); 5])), 0),
        (recipients(json!([passphrase(262_144, 4, 16)])), NO_KEY),
        (recipients(json!([passphrase(262_144, 5, 1)])), 0),
        (recipients(json!([passphrase(262_145, 1, 1)])), 0),
        (recipients(json!([passphrase(8, 1, 1)])), NO_KEY),
        (recipients(json!([passphrase(7, 1, 1)])), 0),
        (recipients(json!([passphrase(1_048_577, 1, 1)])), 0),
        (recipients(json!([passphrase(65_536, 17, 1)])), 0),
        (recipients(json!([passphrase(65_536, 0, 1)])), 0),
        (recipients(json!([passphrase(65_536, 1, 17)])), 0),
        (recipients(json!([passphrase(65_536, 1, 0)])), 0),
        (json!({"predicate": {"generation": 3, "recipients": [other]}}), 0),
        (json!({"predicate": {"previous": "00", "recipients": [other]}}), 0),
        (json!({"predicateType": "https://mvault/recipients/v2", "predicate": {"recipients": [other]}}), 0),
    ];
    let cases = cases.map(|(changes, open)| (changes, 0, open));
    compare(&desk, python, ["recipients", "2", "signer.key"], "m:1", &cases);
    // Numbers may be missing; a stranger's generation only burns its number.
    compare(&desk, python, ["recipients", "7", "signer.key"], "m:1", &cases[..1]);
    compare(&desk, python, ["recipients", "9007199254740991", "signer.key"], "m:1", &cases[..1]);
    compare(&desk, python, ["recipients", "8", "stranger.key"], "m:1", &[(cases[0].0.clone(), 0, 0)]);
    let first = desk.only("vault/artifacts", "recipients/1.dsse.json");
    for name in ["03", "0", "9007199254740992", "-3", "+3", "3 "] {
        fs::copy(&first, first.with_file_name(format!("{name}.dsse.json"))).expect("a file of the vault");
    }
    assert_eq!(judge(&desk, python, "vault", "m:1", ALICE), Codes::both(0, 0));
}
