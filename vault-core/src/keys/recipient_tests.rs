use proptest::prelude::*;

use super::*;

const KINDS: [RecipientKind; 2] = [RecipientKind::XWing, RecipientKind::X25519];
const INFO: &[u8] = b"mvault/v1 dek";

fn identity(kind: RecipientKind) -> Identity {
    Identity::generate(kind).expect("randomness")
}

#[test]
fn what_is_wrapped_to_a_recipient_is_unwrapped_by_its_identity_only() {
    for kind in KINDS {
        let (alice, bob) = (identity(kind), identity(kind));
        let secret = Secret::random().expect("randomness");
        let wrapped = alice.recipient().wrap(INFO, &secret).expect("wraps");
        let opened = alice.unwrap(INFO, &wrapped.enc, &wrapped.ciphertext).expect("opens");
        assert_eq!(opened.expose(), secret.expose());
        assert!(bob.unwrap(INFO, &wrapped.enc, &wrapped.ciphertext).is_none());
        assert!(alice.unwrap(b"mvault/v1 kek", &wrapped.enc, &wrapped.ciphertext).is_none());
        assert_ne!(alice.recipient().wrap(INFO, &secret).expect("wraps"), wrapped);
    }
}

#[test]
fn lengths_are_as_the_format_has_them_and_no_other_opens() {
    for (kind, enc_len, key_len) in [(RecipientKind::XWing, 1120, 1216), (RecipientKind::X25519, 32, 32)] {
        let identity = identity(kind);
        let Wrapped { enc, ciphertext } = identity.recipient().wrap(INFO, &Secret::new([1; 32])).expect("wraps");
        assert_eq!((enc.len(), ciphertext.len()), (enc_len, 48));
        assert_eq!(identity.recipient().as_bytes().len(), key_len);
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        assert!(identity.unwrap(INFO, &enc[1..], &ciphertext).is_none());
        assert!(identity.unwrap(INFO, &longer(&enc), &ciphertext).is_none());
        assert!(identity.unwrap(INFO, &enc, &ciphertext[1..]).is_none());
        assert!(identity.unwrap(INFO, &enc, &longer(&ciphertext)).is_none());
        assert!(identity.unwrap(INFO, &[], &[]).is_none());
    }
}

#[test]
fn secrets_of_another_length_do_not_unwrap() {
    let identity = identity(RecipientKind::X25519);
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(identity.recipient().as_bytes()).expect("key");
    for length in [0, 31, 33, 1000] {
        let mut randomness = Randomness::new(Secret::random().expect("randomness"));
        let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<Aead, Kdf, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            INFO,
            &vec![0; length],
            b"",
            &mut randomness,
        )
        .expect("seals");
        assert!(identity.unwrap(INFO, &enc.to_bytes(), &ciphertext).is_none());
    }
}

#[test]
fn an_x25519_enc_of_small_order_opens_nothing() {
    let identity = identity(RecipientKind::X25519);
    for first in [0, 1] {
        let mut enc = [0; 32];
        enc[0] = first;
        assert!(identity.unwrap(INFO, &enc, &[0; 48]).is_none());
    }
}

#[test]
fn x25519_keys_of_small_order_or_not_canonical_are_refused() {
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let mut bad: Vec<[u8; 32]> = vec![[0; 32], [0xff; 32]];
    bad.push(hex::decode(order_8).expect("hex").try_into().expect("32 bytes"));
    let mut high_bit = [9; 32];
    high_bit[31] = 0x89;
    bad.push(high_bit);
    for key in bad {
        let error = Recipient::from_bytes(RecipientKind::X25519, &key).expect_err("unsound");
        assert_eq!(error.to_string(), "key file: the x25519 public key is not valid");
    }
}

#[test]
fn x_wing_keys_whose_parts_are_unsound_are_refused() {
    let good = identity(RecipientKind::XWing).recipient().as_bytes().to_vec();
    let mut coefficient_too_large = good.clone();
    coefficient_too_large[..2].fill(0xff);
    let mut x25519_of_small_order = good.clone();
    x25519_of_small_order[1184..].fill(0);
    for key in [&coefficient_too_large, &x25519_of_small_order, &good[1..].to_vec()] {
        let error = Recipient::from_bytes(RecipientKind::XWing, key).expect_err("unsound");
        assert_eq!(error.to_string(), "key file: the x-wing public key is not valid");
    }
}

#[test]
fn debug_output_shows_the_id_and_no_secret() {
    let identity = identity(RecipientKind::X25519);
    let id = identity.key_id();
    assert_eq!(format!("{identity:?}"), format!("Identity(x25519, {id}, ..)"));
    assert_eq!(format!("{:?}", identity.recipient()), format!("Recipient(x25519, {id})"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_anywhere_never_opens(x_wing: bool, at: prop::sample::Index, bit in 0..8u32) {
        let identity = identity(KINDS[usize::from(!x_wing)]);
        let mut wrapped = identity.recipient().wrap(INFO, &Secret::new([5; 32])).expect("wraps");
        let at = at.index(wrapped.enc.len() + wrapped.ciphertext.len());
        let flipped = match wrapped.enc.get_mut(at) {
            Some(byte) => byte,
            None => &mut wrapped.ciphertext[at - if x_wing { 1120 } else { 32 }],
        };
        *flipped ^= 1 << bit;
        prop_assert!(identity.unwrap(INFO, &wrapped.enc, &wrapped.ciphertext).is_none());
    }

    #[test]
    fn arbitrary_bytes_never_open_and_never_panic(
        x_wing: bool,
        enc in prop::collection::vec(any::<u8>(), 0..1200),
        ciphertext in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let identity = identity(KINDS[usize::from(!x_wing)]);
        prop_assert!(identity.unwrap(INFO, &enc, &ciphertext).is_none());
    }
}
