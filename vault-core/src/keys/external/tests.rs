use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    canonical::{decode_base64, encode_base64},
    error::{Error, Kind},
    keys::{self, Identity, RecipientKind, SigningKey},
};

/// Answers what it was told to, and remembers what it was asked.
#[derive(Debug, Default)]
struct Scripted {
    answer: String,
    asked: Mutex<Vec<Value>>,
}

impl Scripted {
    fn new(answer: &impl ToString) -> Self {
        Self { answer: answer.to_string(), asked: Mutex::default() }
    }
}

impl Keeper for Scripted {
    fn name(&self) -> &'static str {
        "keeper"
    }

    fn ask(&self, question: &[u8]) -> Result<SecretVec> {
        self.asked.lock().expect("lock").push(serde_json::from_slice(question).expect("JSON"));
        Ok(SecretVec::new(self.answer.clone().into_bytes()))
    }
}

fn signing() -> (SigningKey, VerifyingKey) {
    let key = SigningKey::generate().expect("key");
    let public = key.verifying_key();
    (key, public)
}

fn sign_error(answer: &impl ToString) -> Error {
    let signer = ExternalSigner::new(signing().1, Scripted::new(answer));
    keys::sign(&signer, b"message").expect_err("refused")
}

#[test]
fn a_signature_is_asked_for_with_the_key_and_the_whole_message() {
    let (key, public) = signing();
    let signature = encode_base64(&key.sign(b"message"));
    let keeper = Scripted::new(&json!({ "protocol": PROTOCOL, "signature": signature }));
    let signer = ExternalSigner::new(public.clone(), keeper);
    assert_eq!(keys::sign(&signer, b"message").expect("signed"), key.sign(b"message"));
    let asked = signer.keeper.asked.lock().expect("lock").pop().expect("asked");
    let expected = json!({
        "protocol": "mvault-key/v1", "operation": "sign", "algorithm": "ed25519", "key_id": public.key_id().to_hex(),
        "public_key": public.to_pem(), "message": encode_base64(b"message"),
    });
    assert_eq!(asked, expected);
}

#[test]
fn a_signature_of_something_else_is_not_used() {
    let (key, public) = signing();
    let signature = encode_base64(&key.sign(b"another message"));
    let keeper = Scripted::new(&json!({ "protocol": PROTOCOL, "signature": signature }));
    let error = keys::sign(&ExternalSigner::new(public, keeper), b"message").expect_err("another message");
    assert_eq!(error.kind(), Kind::Authenticity);
}

#[test]
fn a_secret_is_asked_for_with_everything_hpke_needs() {
    for kind in [RecipientKind::XWing, RecipientKind::X25519] {
        let recipient = Identity::generate(kind).expect("key").recipient().clone();
        let keeper = Scripted::new(&json!({ "protocol": PROTOCOL, "secret": encode_base64(&[7; 32]) }));
        let identity = ExternalIdentity::new(recipient.clone(), keeper);
        let secret = identity.unwrap(b"info", b"enc", b"ciphertext").expect("answered").expect("opened");
        assert_eq!(secret.expose(), &[7; 32]);
        let asked = identity.keeper.asked.lock().expect("lock").pop().expect("asked");
        let expected = json!({
            "protocol": "mvault-key/v1", "operation": "unwrap", "algorithm": kind.as_str(),
            "key_id": recipient.key_id().to_hex(), "public_key": recipient.to_pem(),
            "info": encode_base64(b"info"), "enc": encode_base64(b"enc"), "ciphertext": encode_base64(b"ciphertext"),
        });
        assert_eq!(asked, expected);
    }
}

#[test]
fn a_keeper_may_say_that_it_does_not_open() {
    let recipient = Identity::generate(RecipientKind::X25519).expect("key").recipient().clone();
    let keeper = Scripted::new(&json!({ "protocol": PROTOCOL, "error": { "kind": "does-not-open" } }));
    assert!(ExternalIdentity::new(recipient, keeper).unwrap(b"", b"", b"").expect("an answer").is_none());
}

#[test]
fn a_public_key_is_asked_for_and_checked() {
    let (_, public) = signing();
    let keeper = Scripted::new(&json!({ "protocol": PROTOCOL, "public_key": public.to_pem() }));
    assert_eq!(public_key(&keeper).expect("a key"), PublicKey::Signing(public));
    let asked = keeper.asked.lock().expect("lock").pop().expect("asked");
    assert_eq!(asked, json!({ "protocol": "mvault-key/v1", "operation": "public-key" }));
    let error = public_key(&Scripted::new(&json!({ "protocol": PROTOCOL, "public_key": "x" }))).expect_err("no PEM");
    assert!(error.to_string().starts_with("keeper: its public key is refused: "), "{error}");
}

#[test]
fn every_refusal_has_its_class_and_shows_no_control_character() {
    for (refusal, kind, text) in [
        (
            r#""denied","message":"PIN \u001b[31m""#,
            Kind::NoKey,
            "keeper (\"PIN \u{fffd}[31m\"): refuses the use of the key",
        ),
        (r#""not-found""#, Kind::NotFound, "the key asked of keeper does not exist"),
        (r#""unsupported","message":"no""#, Kind::Usage, "keeper (\"no\") does not support what was asked"),
        (r#""unavailable","message":"off""#, Kind::Operational, "keeper (\"off\"): the key is unavailable"),
        (r#""does-not-open""#, Kind::Operational, "keeper: it failed"),
        (r#""rain""#, Kind::Operational, "keeper: it failed"),
    ] {
        let error = sign_error(&format!(r#"{{"protocol":"{PROTOCOL}","error":{{"kind":{refusal}}}}}"#));
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    }
    let long = json!({ "protocol": PROTOCOL, "error": { "kind": "denied", "message": "ä".repeat(5000) } });
    assert!(sign_error(&long).to_string().chars().count() < 300);
}

#[test]
fn answers_that_are_not_of_the_protocol_are_refused_without_quoting_them() {
    let signature = encode_base64(&[1; 64]);
    for (answer, reason) in [
        (String::new(), "it gave no answer"),
        ("hello".into(), "its answer is not one JSON object and nothing else (line 1, column 1)"),
        ("null".into(), "of another type"),
        ("{".into(), "its answer ends in the middle (line 1, column 1)"),
        ("[".repeat(1000), "its answer"),
        ("{}".into(), "its answer has a member that is unknown, missing"),
        (json!({ "protocol": "mvault-key/v2", "signature": signature }).to_string(), "it does not speak mvault-key/v1"),
        (json!({ "protocol": PROTOCOL }).to_string(), "neither a signature nor an error"),
        (json!({ "protocol": PROTOCOL, "secret": encode_base64(&[1; 32]) }).to_string(), "neither a signature nor"),
        (json!({ "protocol": PROTOCOL, "signature": "AAAA" }).to_string(), "not 64 bytes in base64"),
        (json!({ "protocol": PROTOCOL, "signature": "!" }).to_string(), "not 64 bytes in base64"),
        (json!({ "protocol": PROTOCOL, "signature": 5 }).to_string(), "of another type"),
        (json!({ "protocol": PROTOCOL, "signature": signature, "x": 1 }).to_string(), "unknown"),
        (json!({ "protocol": PROTOCOL, "signature": signature, "error": { "kind": "denied" } }).to_string(), "neither"),
        (format!(r#"{{"protocol":"{PROTOCOL}","signature":"a","signature":"b"}}"#), "given twice"),
        (format!(r#"{{"protocol":"{PROTOCOL}","signature":"{signature}"}}x"#), "and nothing else"),
        (format!(r#"{{"protocol":"{PROTOCOL}","signature":"{signature}"}}{{}}"#), "and nothing else"),
        (" ".repeat(MAX_ANSWER + 1), "its answer is longer than 65536 bytes"),
    ] {
        let error = sign_error(&answer);
        assert_eq!(error.kind(), Kind::Operational, "{answer}");
        assert!(error.to_string().contains(reason), "{answer}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_secret_is_said_without_the_secret() {
    let recipient = Identity::generate(RecipientKind::X25519).expect("key").recipient().clone();
    let secret = encode_base64(&[0xAB; 31]);
    for answer in [
        json!({ "protocol": PROTOCOL, "secret": secret }).to_string(),
        json!({ "protocol": PROTOCOL, "secret": [secret] }).to_string(),
        json!({ "protocol": PROTOCOL, secret.clone(): 1 }).to_string(),
        format!(r#"{{"protocol":"{PROTOCOL}","secret":"\u0041{secret}"}}"#),
        format!(r#"{{"protocol":"{PROTOCOL}","secret":"{secret}"}}{secret}"#),
    ] {
        let identity = ExternalIdentity::new(recipient.clone(), Scripted::new(&answer));
        let error = identity.unwrap(b"", b"", b"").expect_err("refused");
        assert!(!format!("{error} {error:?}").contains(&secret[..8]), "{error:?}");
    }
}

#[test]
fn a_message_too_long_for_the_protocol_is_refused_before_anybody_is_asked() {
    let signer = ExternalSigner::new(signing().1, Scripted::default());
    let error = signer.sign(&vec![0; MAX_QUESTION]).expect_err("too long");
    assert!(error.to_string().contains("exceeds the limit of 8388608"), "{error}");
    assert!(signer.keeper.asked.lock().expect("lock").is_empty());
}

#[test]
fn a_whole_wrapping_survives_the_way_to_a_keeper_and_back() {
    /// Unwraps with a key of its own what the question says.
    #[derive(Debug)]
    struct Honest(Identity);

    impl Keeper for Honest {
        fn name(&self) -> &'static str {
            "honest"
        }

        fn ask(&self, question: &[u8]) -> Result<SecretVec> {
            let question: Value = serde_json::from_slice(question).expect("JSON");
            let [info, enc, ciphertext] =
                ["info", "enc", "ciphertext"].map(|n| decode_base64(question[n].as_str().expect(n)).expect(n));
            let answer = match self.0.unwrap(&info, &enc, &ciphertext) {
                Some(secret) => json!({ "protocol": PROTOCOL, "secret": encode_base64(secret.expose()) }),
                None => json!({ "protocol": PROTOCOL, "error": { "kind": "does-not-open" } }),
            };
            Ok(SecretVec::new(answer.to_string().into_bytes()))
        }
    }

    let identity = Identity::generate(RecipientKind::XWing).expect("key");
    let recipient = identity.recipient().clone();
    let wrapped = recipient.wrap(b"info", &Secret::new([9; 32])).expect("wrapped");
    let external = ExternalIdentity::new(recipient, Honest(identity));
    let opened = external.unwrap(b"info", &wrapped.enc, &wrapped.ciphertext).expect("answered").expect("opened");
    assert_eq!(opened.expose(), &[9; 32]);
    assert!(external.unwrap(b"other", &wrapped.enc, &wrapped.ciphertext).expect("answered").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn arbitrary_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in ".{0,80}") {
        try_answers(&bytes);
        try_answers(format!(r#"{{"protocol":"{PROTOCOL}",{json}}}"#).as_bytes());
    }
}
