use proptest::prelude::*;

use super::*;
use crate::{
    error::Kind,
    keys::SigningKey,
    log::note::tests::{PUBLIC, PUBLIC_LOG, PUBLIC_WITNESS},
};

fn name(text: &str) -> KeyName {
    text.parse().expect(text)
}

fn key() -> SigningKey {
    SigningKey::generate().expect("key")
}

#[test]
fn a_public_checkpoint_counts_for_its_log_with_its_witness() {
    let signed = SignedCheckpoint::parse(PUBLIC.as_bytes()).expect("a checkpoint");
    let origin = name("arche2025h1.staging.ct.transparency.dev");
    let judge = Judge::new(LogKeys::Named(vec![PUBLIC_LOG.parse().expect("a key")]));
    let judge = judge.with_witnesses(vec![PUBLIC_WITNESS.parse().expect("a key")], 1).expect("legal");
    let witnessed = judge.judge(signed.clone(), &origin).expect("counts");
    assert_eq!(witnessed.checkpoint().size(), 1_432_088_532);
    assert_eq!(witnessed.cosigners(), [name("remora.n621.de")]);
    assert_eq!(judge.judge(signed, &name("other")).expect_err("refused").kind(), Kind::Authenticity);
}

#[test]
fn whoever_is_not_believed_signs_nothing_that_counts() {
    let (log, other, witness) = (key(), key(), key());
    let origin = name("example.com/log");
    let checkpoint = Checkpoint::new(origin.clone(), 1, TreeHash::leaf(b"entry"));
    let signed = checkpoint.clone().sign(&log).expect("signed");
    assert_eq!(SignedCheckpoint::parse(&signed.to_vec()).expect("parses"), signed);
    let any = |key: &SigningKey| Judge::new(LogKeys::Any(vec![key.verifying_key()]));
    let refusal = |judge: &Judge, signed: &SignedCheckpoint| {
        judge.judge(signed.clone(), &origin).expect_err("refused").to_string()
    };
    assert_eq!(any(&log).judge(signed.clone(), &origin).expect("counts").signer(), &log.verifying_key());
    assert!(refusal(&any(&other), &signed).contains("no valid signature by a key of the log"));
    // A key that is named for another log does not count for this one.
    let elsewhere = VerifierKey::new(name("example.com/2"), SignatureType::Ed25519, log.verifying_key());
    assert!(refusal(&Judge::new(LogKeys::Named(vec![elsewhere])), &signed).contains("no valid signature"));

    let w = VerifierKey::new(name("w"), SignatureType::Cosignature, witness.verifying_key());
    let strict = any(&log).with_witnesses(vec![w.clone()], 1).expect("legal");
    assert!(refusal(&strict, &signed).contains("too few"));
    // What a witness says of one checkpoint is worth nothing under another, nor under a name that is not its own.
    let mut elsewhere = Checkpoint::new(origin.clone(), 2, TreeHash::EMPTY).sign(&log).expect("signed").note;
    elsewhere.cosign(w.name(), &witness, 9).expect("cosigned");
    let mut moved = signed.note.clone();
    moved.add(elsewhere.signatures()[1].clone()).expect("room");
    assert!(refusal(&strict, &signed.with_note(moved)).contains("that did not make it"));
    let mut renamed = signed.note.clone();
    renamed.cosign(&name("v"), &witness, 9).expect("cosigned");
    assert!(refusal(&strict, &signed.with_note(renamed)).contains("too few"));
    let mut good = signed.note.clone();
    good.cosign(w.name(), &witness, 9).expect("cosigned");
    assert!(strict.judge(signed.with_note(good), &origin).is_ok());
    assert!(strict.alone().judge(signed.clone(), &origin).is_ok());

    let twice = any(&log).with_witnesses(vec![w.clone(), w.clone()], 1);
    assert_eq!(twice.expect_err("twice").kind(), Kind::Usage);
    assert_eq!(any(&log).with_witnesses(vec![w], 2).expect_err("too many").kind(), Kind::Usage);
    let log_key = VerifierKey::new(origin, SignatureType::Ed25519, log.verifying_key());
    assert_eq!(any(&log).with_witnesses(vec![log_key], 1).expect_err("no witness").kind(), Kind::Usage);
}

#[test]
fn texts_that_are_no_checkpoint_are_refused() {
    let root = TreeHash::leaf(b"").to_base64();
    let good = format!("a\n1\n{root}\n");
    assert_eq!(Checkpoint::parse(&good).expect("good").to_text(), good);
    assert!(Checkpoint::parse(&format!("a\n0\n{}\n", TreeHash::EMPTY)).is_ok());
    for bad in [
        String::new(),
        format!("a\n1\n{root}"),
        format!("a\n1\n{root}\n\n"),
        format!("a\n1\n{root}\nextension\n"),
        format!("\n1\n{root}\n"),
        format!("a b\n1\n{root}\n"),
        format!("a\n01\n{root}\n"),
        format!("a\n+1\n{root}\n"),
        format!("a\n-1\n{root}\n"),
        format!("a\n9007199254740992\n{root}\n"),
        format!("a\n99999999999999999999\n{root}\n"),
        format!("a\n0\n{root}\n"),
        format!("a\n1\n{}\n", &root[1..]),
        format!("a\n1\n{}\n", root.replace("B0=", "B1=")),
        format!("a\n1\n{}\n", root.replace('=', "")),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_texts_never_panic_and_have_one_spelling(text: String) {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_text(), text);
        }
    }
}
