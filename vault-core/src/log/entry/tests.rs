use proptest::prelude::*;

use super::*;
use crate::{error::Kind, keys::SigningKey};

const HASH: &str = "b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3";

#[test]
fn every_record_of_a_vault_has_its_action_and_nothing_else_has_one() {
    for (path, action) in [
        ("models/org/m/versions/1.0.dsse.json".to_owned(), "seal"),
        ("models/m/channels/production/12.dsse.json".into(), "promote"),
        (format!("artifacts/{HASH}/recipients/2.dsse.json"), "share"),
        (format!("artifacts/{HASH}/attestations/{HASH}.dsse.json"), "sign"),
        (format!("artifacts/{HASH}/shredded/{HASH}.dsse.json"), "shred"),
        (format!("proposals/{HASH}/{HASH}.dsse.json"), "approve"),
        ("revocations/1.dsse.json".into(), "revoke"),
        (format!("retired/org/m/versions/1.0/{HASH}.dsse.json"), "retire"),
        (format!("trust/2/{HASH}.dsse.json"), "trust"),
    ] {
        let entry = Entry::about_record(&path, b"{}", None).expect(&path);
        assert_eq!(entry.action().as_str(), action, "{path}");
        assert!(is_logged(&path) && FOLDERS.contains(&path.split('/').next().expect("a folder")));
        let record = entry.record().expect("named");
        assert_eq!((record.path, record.digest), (&*path, blake3::hash(b"{}")));
    }
    for path in [
        "vault.json".to_owned(),
        format!("objects/b3/{HASH}"),
        format!("artifacts/{HASH}/manifest.json"),
        format!("artifacts/{HASH}/recipients/02.dsse.json"),
        format!("artifacts/{HASH}/recipients/0.dsse.json"),
        "artifacts/b3/recipients/1.dsse.json".into(),
        "models/M/versions/1.dsse.json".into(),
        "models/m/versions/1/2.dsse.json".into(),
        "models/m/channels/c/x.dsse.json".into(),
        "freshness/m/channels/c/1.dsse.json".into(),
        "log/genesis.json".into(),
    ] {
        assert!(!is_logged(&path), "{path}");
        assert_eq!(Entry::about_record(&path, b"{}", None).expect_err("refused").kind(), Kind::Usage);
    }
}

#[test]
fn an_entry_says_what_its_record_says_and_survives_writing() {
    let key = SigningKey::generate().expect("key");
    let envelope = Envelope::sign(b"{}".to_vec(), &key).expect("signed").to_vec().expect("written");
    let entry = Entry::about_record("models/m/versions/1.dsse.json", &envelope, Some("oidc:7f3a")).expect("an entry");
    assert_eq!(entry.signers(), [key.verifying_key().key_id()]);
    assert_eq!(entry.model().map(ModelName::as_str), Some("m"));
    assert_eq!(entry.version().map(Version::as_str), Some("1"));
    assert_eq!((entry.actor(), entry.channel(), entry.artifact()), (Some("oidc:7f3a"), None, None));
    let bytes = entry.to_vec().expect("short");
    assert!(!bytes.contains(&b'\n'));
    assert_eq!(Entry::parse(&bytes).expect("parses"), entry);
    let again = Entry::about_record("models/m/versions/1.dsse.json", &envelope, None).expect("an entry");
    assert_ne!(again.wire.nonce, entry.wire.nonce);
}

#[test]
fn events_have_an_actor_and_no_record() {
    let model = Some("m".parse().expect("a name"));
    let denial = Entry::about_event(Action::Denial, "key:ab12", Some("promote"), model).expect("an entry");
    let read = Entry::parse(&denial.to_vec().expect("short")).expect("parses");
    assert_eq!((read.permission(), read.actor(), read.record()), (Some("promote"), Some("key:ab12"), None));
    for bad in ["", "a b", "alice@example.com", "a\n", &"x".repeat(129)] {
        assert_eq!(Entry::about_event(Action::Login, bad, None, None).expect_err("refused").kind(), Kind::Usage);
    }
    let sealed = Entry::about_event(Action::Seal, "a", None, None);
    assert_eq!(sealed.expect_err("names no record").kind(), Kind::Usage);
    assert_eq!("nap".parse::<Action>().expect_err("refused").kind(), Kind::Usage);
}

#[test]
fn entries_that_break_a_rule_are_refused() {
    let entry = Entry::about_record("models/m/versions/1.dsse.json", b"{}", Some("p")).expect("an entry");
    let good = String::from_utf8(entry.to_vec().expect("short")).expect("UTF-8");
    assert!(Entry::parse(good.as_bytes()).is_ok());
    let signer = "a".repeat(64);
    for (from, to) in [
        ("\"seal\"", "\"shred\"".to_owned()),
        ("\"seal\"", "\"nap\"".into()),
        ("\"model\":\"m\"", "\"model\":\"n\"".into()),
        ("\"model\":\"m\"", "\"model\":null".into()),
        ("\"version\":\"1\"", "\"version\":\"2\"".into()),
        ("\"channel\":null", "\"channel\":\"c\"".into()),
        ("\"artifact\":null", format!("\"artifact\":\"{HASH}\"")),
        ("\"signers\":[]", format!("\"signers\":[\"{signer}\",\"{signer}\"]")),
        ("entry/v1", "entry/v2".into()),
        ("\"actor\":\"p\"", "\"actor\":\"p q\"".into()),
        ("\"actor\":\"p\"", "\"actor\":\"p\",\"reason\":\"x\"".into()),
        ("versions/1.dsse", "versions/../1.dsse".into()),
        ("{\"action\"", " {\"action\"".into()),
    ] {
        let bad = good.replacen(from, &to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(Entry::parse(bad.as_bytes()).expect_err(&to).kind(), Kind::Integrity, "{to}");
    }
    let record = good.find("\"record\":").expect("there");
    let end = good.find(",\"signers\"").expect("there");
    let without = format!("{}\"record\":null{}", &good[..record], &good[end..]);
    assert!(Entry::parse(without.as_bytes()).expect_err("names no record").to_string().contains("names no record"));
    let long = Entry::parse(&vec![b' '; MAX_ENTRY + 1]).expect_err("long").to_string();
    assert!(long.contains("length exceeds the limit of 16384"), "{long}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, path: String) {
        let _ = Entry::parse(&bytes);
        let _ = is_logged(&path);
    }
}
