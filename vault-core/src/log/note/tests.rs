use proptest::prelude::*;

use super::*;
use crate::{error::Kind, keys::SigningKey};

/// The example of <https://c2sp.org/signed-note>.
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// A checkpoint of a public log (Let's Encrypt's "arche" staging log, May 2026), signed by it and by witnesses, with a
/// signature of another type in front. The key of the log is of type 0x01, that of the witness of type 0x04.
pub(in crate::log) const PUBLIC: &str = "arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

\u{2014} arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
\u{2014} arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
\u{2014} transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
\u{2014} witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
\u{2014} remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
\u{2014} witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";
pub(in crate::log) const PUBLIC_LOG: &str =
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
pub(in crate::log) const PUBLIC_WITNESS: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

fn key(text: &str) -> VerifierKey {
    text.parse().expect(text)
}

fn kind<T: fmt::Debug>(result: Result<T>) -> Kind {
    result.expect_err("refused").kind()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let note = Note::parse(EXAMPLE.as_bytes()).expect("a note");
    assert_eq!(note.text(), "This is an example message.\n");
    assert!(note.is_signed_by(&key(EXAMPLE_KEY)).expect("good"));
    assert_eq!(note.to_vec(), EXAMPLE.as_bytes());
    assert_eq!(key(EXAMPLE_KEY).to_string(), EXAMPLE_KEY);
    let forged = Note::parse(EXAMPLE.replace("example message", "exemplary message").as_bytes()).expect("a note");
    assert_eq!(kind(forged.is_signed_by(&key(EXAMPLE_KEY))), Kind::Authenticity);
}

#[test]
fn a_checkpoint_of_a_public_log_verifies_with_its_cosignature() {
    let note = Note::parse(PUBLIC.as_bytes()).expect("a note");
    assert!(note.is_signed_by(&key(PUBLIC_LOG)).expect("good"));
    assert_eq!(note.cosigned_at(&key(PUBLIC_WITNESS)).expect("good"), Some(0x6a12_2120));
    assert_eq!(note.signatures().len(), 6);
    assert_eq!(note.to_vec(), PUBLIC.as_bytes());
    // Neither kind of key stands for the other.
    assert_eq!(note.cosigned_at(&key(EXAMPLE_KEY)).expect("unknown"), None);
    assert!(!note.is_signed_by(&key(EXAMPLE_KEY)).expect("unknown"));
    let grown = Note::parse(PUBLIC.replace("1432088532", "1432088533").as_bytes()).expect("a note");
    assert_eq!(kind(grown.is_signed_by(&key(PUBLIC_LOG))), Kind::Authenticity);
    assert_eq!(kind(grown.cosigned_at(&key(PUBLIC_WITNESS))), Kind::Authenticity);
}

#[test]
fn what_is_signed_and_cosigned_verifies_and_nothing_else_does() {
    let (log, witness) = (SigningKey::generate().expect("key"), SigningKey::generate().expect("key"));
    let (log_name, witness_name): (KeyName, KeyName) =
        ("l".parse().expect("name"), "w.example/1".parse().expect("name"));
    let mut note = Note::unsigned("l\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n".into()).expect("text");
    note.sign(&log_name, &log).expect("signed");
    note.cosign(&witness_name, &witness, 1_679_315_147).expect("cosigned");
    let read = Note::parse(&note.to_vec()).expect("a note");
    assert_eq!(read, note);
    let log_key = VerifierKey::new(log_name.clone(), SignatureType::Ed25519, log.verifying_key());
    let witness_key = VerifierKey::new(witness_name.clone(), SignatureType::Cosignature, witness.verifying_key());
    assert!(read.is_signed_by(&log_key).expect("good"));
    assert_eq!(read.cosigned_at(&witness_key).expect("good"), Some(1_679_315_147));
    for key in [&log_key, &witness_key] {
        assert_eq!(&key.to_string().parse::<VerifierKey>().expect("parses"), key);
    }
    // The same key as the other type, or under another name, is another key.
    let other_type = VerifierKey::new(log_name, SignatureType::Cosignature, log.verifying_key());
    assert_eq!(read.cosigned_at(&other_type).expect("unknown"), None);
    let other_name = VerifierKey::new(witness_name, SignatureType::Ed25519, log.verifying_key());
    assert!(!read.is_signed_by(&other_name).expect("unknown"));
}

#[test]
fn malformed_notes_are_refused() {
    let line = EXAMPLE.rsplit_once("\n\n").expect("two halves").1;
    for (bad, rule) in [
        (String::new(), "no empty line"),
        ("text\n".into(), "no empty line"),
        ("text\n\n".into(), "no signature"),
        (format!("text\n{line}"), "no empty line"),
        (format!("te\txt\n\n{line}"), "control characters"),
        (format!("te\rxt\n\n{line}"), "control characters"),
        (format!("text\n\n{}", line.trim_end()), "newline"),
        (format!("text\n\n{line}junk\n"), "malformed"),
        (format!("text\n\n{}", line.replace('\n', "\r\n")), "malformed"),
        (format!("text\n\n{}", line.replace('\u{2014}', "-")), "malformed"),
        (format!("text\n\n{}", line.replace("foo ", "foo  ")), "malformed"),
        (format!("text\n\n{}", line.replace("foo ", "f+o ")), "malformed"),
        (format!("text\n\n{}", line.replace("foo ", "f\u{a0}o ")), "malformed"),
        (format!("text\n\n{}", line.replace("aQM=", "aQN=")), "malformed"),
        (format!("text\n\n{}", line.replace("aQM=", "aQM")), "malformed"),
        ("text\n\n\u{2014} a AAAAAA==\n".into(), "malformed"),
        (format!("text\n\n{}", line.repeat(65)), "number of signatures"),
        (format!("{}\n\n{line}", "x".repeat(300_000)), "length"),
    ] {
        let error = Note::parse(bad.as_bytes()).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}: {rule}");
    }
    assert!(Note::parse(b"\xff\n\n").is_err());
    assert!(Note::parse(format!("a\n\nb\n\n{}", line.repeat(64)).as_bytes()).is_ok(), "empty lines are part of a text");
}

#[test]
fn malformed_verifier_keys_are_refused() {
    for bad in [
        "",
        "a",
        "example.com/foo+530d903a",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U",
        "rekor.sigstore.dev+12345678+THIS_IS_NOT_BASE64!",
        "rekor.sigstore.dev+12345678+AwEB",
    ] {
        assert_eq!(kind(bad.parse::<VerifierKey>()), Kind::Usage, "{bad}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_eq!(note.to_vec(), bytes);
        }
        let _ = text.parse::<VerifierKey>();
    }
}
