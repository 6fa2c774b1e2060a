use std::{fs, path::Path};

use super::*;
use crate::{error::Kind, fixtures::threads, source::Symlinks};

const KEY: &[u8] = include_bytes!("../../../tests/vectors/oms/signing-key-pub.pem");
const BUNDLE: &[u8] = include_bytes!("../../../tests/vectors/oms/v1.1.0-elliptic-key/model.sig");
const CERTIFIED: &[u8] = include_bytes!("../../../tests/vectors/oms/v1.1.0-certificate/model.sig");
const ROOT: &[u8] = include_bytes!("../../../tests/vectors/oms/ca-cert.pem");
/// Made with `openssl ecparam -genkey` for these tests.
const SEC1: &[u8] = include_bytes!("../../../fuzz/seeds/oms_key/sec1.key");
const PKCS8: &[u8] = include_bytes!("../../../fuzz/seeds/oms_key/pkcs8.key");

fn trust(key: &EcPublicKey) -> Trust {
    Trust::Key(key.clone())
}

fn sign_folder(model: &Path, signer: &Signer) -> Result<(Bundle, Receipt), Error> {
    let ignore = &[];
    let symlinks = Symlinks::Refuse;
    sign(&SignRequest { model, signer, output: None, ignore, symlinks, threads: threads(2) }, &())
}

#[test]
fn a_published_bundle_verifies_with_its_key_and_no_other() {
    let key = EcPublicKey::from_pem(KEY).expect("a key");
    assert!(KEY.ends_with(key.to_pem().as_bytes()), "the file explains the key first");
    assert_eq!(key.hint(), "e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e");
    let bundle = Bundle::parse(BUNDLE).expect("a bundle");
    let signed = bundle.verify(&trust(&key)).expect("signed");
    assert_eq!((signed.claim().files().len(), signed.claim().algorithm), (2, Algorithm::Sha256));
    assert_eq!(signed.bundle().as_bytes(), BUNDLE);

    let other = EcPrivateKey::from_pem(SEC1).expect("a key");
    let error = bundle.verify(&trust(other.public())).expect_err("another key");
    assert_eq!(error.kind(), Kind::Authenticity);
}

#[test]
fn keys_of_both_forms_sign_and_show_nothing() {
    let model = tempfile::tempdir().expect("folder");
    fs::write(model.path().join("w"), "weights").expect("written");
    for pem in [SEC1, PKCS8] {
        let key = EcPrivateKey::from_pem(pem).expect("a key");
        let (public, shown) = (key.public().clone(), format!("{key:?}"));
        assert_eq!(shown, "EcPrivateKey { curve: P256, .. }");
        let (bundle, receipt) = sign_folder(model.path(), &Signer::key(key)).expect("signed");
        let signed = Bundle::parse(bundle.as_str().as_bytes()).expect("read").verify(&trust(&public)).expect("signed");
        assert_eq!((signed.claim().root, receipt.bytes), (receipt.root, 7));
        let selection = signed.select(model.path(), Scope::default()).expect("all there");
        assert_eq!(signed.check(&selection, threads(2), &()).expect("the same"), Checked { files: 1, bytes: 7 });
    }
}

#[test]
fn any_flipped_bit_of_a_bundle_is_noticed() {
    let key = trust(&EcPublicKey::from_pem(KEY).expect("a key"));
    let published = Bundle::parse(BUNDLE).and_then(|bundle| bundle.verify(&key)).expect("signed");
    for at in 0..BUNDLE.len() {
        let mut bytes = BUNDLE.to_vec();
        bytes[at] ^= 1;
        // What survives (spaces, the hint of a member that is ignored) must say the same.
        if let Ok(signed) = Bundle::parse(&bytes).and_then(|bundle| bundle.verify(&key)) {
            assert_eq!(signed.claim(), published.claim(), "byte {at}");
        }
    }
}

#[test]
fn a_certificate_of_an_authority_is_no_signers() {
    let root = Certificate::from_pem(ROOT).expect("a certificate");
    assert_eq!(root[0].subject(), "CN=root-ca");
    let authorities = Authorities::new(root, Some("2026-01-01T00:00:00Z")).expect("a root");
    let bundle = Bundle::parse(CERTIFIED).expect("a bundle");
    let error = bundle.verify(&Trust::Authorities(authorities)).expect_err("an authority");
    assert!(error.to_string().ends_with("is that of an authority, not of a signer"), "{error}");
}

#[test]
fn what_is_too_long_is_not_read() {
    let at = usize::try_from(MAX_BUNDLE).expect("small");
    let mut long = BUNDLE.to_vec();
    long.resize(at, b' ');
    assert!(Bundle::parse(&long).is_ok(), "just short enough");
    long.push(b' ');
    let error = Bundle::parse(&long).expect_err("too long").to_string();
    assert_eq!(error, "OMS bundle: length exceeds the limit of 33554432");
    let error = Certificate::from_der(&vec![0x30; 64 * 1024 + 1]).expect_err("too long").to_string();
    assert_eq!(error, "certificate: length exceeds the limit of 65536");
}

#[test]
fn what_is_sealed_has_the_signed_names() {
    let model = tempfile::tempdir().expect("folder");
    fs::write(model.path().join("a"), "a").expect("written");
    let key = EcPrivateKey::from_pem(SEC1).expect("a key");
    let public = key.public().clone();
    let (bundle, _) = sign_folder(model.path(), &Signer::key(key)).expect("signed");
    let signed = bundle.verify(&trust(&public)).expect("signed");
    let check = || {
        let inputs = crate::source::files_below(model.path(), Symlinks::Refuse).expect("found");
        signed.check_inputs(&inputs).map_err(|e| e.to_string())
    };
    assert_eq!(check(), Ok(()));
    fs::write(model.path().join("b"), "b").expect("written");
    assert_eq!(check(), Err("b: is not signed".into()));
    fs::remove_file(model.path().join("b")).expect("removed");
    fs::remove_file(model.path().join("a")).expect("removed");
    assert_eq!(check(), Err("a: is missing".into()));
}

#[test]
fn names_are_compared_before_anything_is_read() {
    let model = tempfile::tempdir().expect("folder");
    for name in ["a", "b"] {
        fs::write(model.path().join(name), name).expect("written");
    }
    let key = EcPrivateKey::from_pem(SEC1).expect("a key");
    let public = key.public().clone();
    let (bundle, _) = sign_folder(model.path(), &Signer::key(key)).expect("signed");
    let signed = bundle.verify(&trust(&public)).expect("signed");
    fs::remove_file(model.path().join("a")).expect("removed");
    fs::create_dir(model.path().join("c")).expect("folder");
    fs::write(model.path().join("c/d"), "d").expect("written");
    let error = signed.select(model.path(), Scope::default()).expect_err("one gone, one new").to_string();
    assert_eq!(error, "a: is missing (and 1 more)");
    let ignore = [crate::names::FilePath::new("c").expect("a path")];
    let error =
        signed.select(model.path(), Scope { ignore: &ignore, ..Scope::default() }).expect_err("gone").to_string();
    assert_eq!(error, "a: is missing");
}
