use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [0; 32];
const AAD: &[u8] = b"This is AAD";

fn params(len: u32) -> Params {
    Params::new(len).expect("a legal length")
}

fn encrypt(encryptor: &Encryptor, plaintext: &[u8]) -> Vec<Vec<u8>> {
    let size = encryptor.state.params.plaintext_len();
    let last = plaintext.len().saturating_sub(1) / size;
    let piece = |i: usize| &plaintext[i * size..plaintext.len().min((i + 1) * size)];
    (0..=last).map(|i| encryptor.encrypt_segment(i as u64, i == last, piece(i)).expect("encrypts")).collect()
}

fn decrypt(decryptor: &Decryptor, segments: &[Vec<u8>]) -> Result<Vec<u8>> {
    let last = segments.len() - 1;
    let pieces = segments.iter().enumerate().map(|(i, s)| decryptor.decrypt_segment(i as u64, i == last, s));
    Ok(pieces.collect::<Result<Vec<_>>>()?.concat())
}

fn read_hex(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/floe").join(name);
    hex::decode(fs::read_to_string(path).expect("vector file").trim()).expect("hex")
}

#[test]
fn known_answers_of_the_reference_implementation_decrypt() {
    for (name, len) in [("GCM256_IV256_64", 64), ("GCM256_IV256_4K", 4096)] {
        let plaintext = read_hex(&format!("cpp_{name}_pt.txt"));
        let ciphertext = read_hex(&format!("cpp_{name}_ct.txt"));
        let (header, body) = ciphertext.split_first_chunk::<HEADER_LEN>().expect("header");
        for engine in [Engine::Fast, Engine::Reference] {
            let header = Header::from_bytes(*header);
            let decryptor = Decryptor::with_engine(&KEY, AAD, &header, params(len), engine).expect("header fits");
            let segments: Vec<_> = body.chunks(len as usize).map(<[u8]>::to_vec).collect();
            assert_eq!(decrypt(&decryptor, &segments).expect("decrypts"), plaintext);
        }
    }
}

#[test]
fn keys_rotate_at_the_mask_and_engines_agree() {
    let params = Params { rotation_mask: 2, ..params(40) };
    let encryptor = Encryptor::with_engine(&KEY, AAD, params, Engine::Reference).expect("starts");
    let plaintext: Vec<u8> = (0..8 * 21).map(|i| u8::try_from(i % 256).expect("a byte")).collect();
    let segments = encrypt(&encryptor, &plaintext);
    let decryptor = Decryptor::with_engine(&KEY, AAD, encryptor.header(), params, Engine::Fast).expect("starts");
    assert_eq!(decrypt(&decryptor, &segments).expect("decrypts"), plaintext);

    // Without rotation the first four segments open and the fifth does not: the key really changed.
    let unrotated = Params { rotation_mask: ROTATION_MASK, ..params };
    let decryptor =
        Decryptor::new(&KEY, AAD, encryptor.header(), unrotated).expect("the header does not name the mask");
    assert!(decryptor.decrypt_segment(3, false, &segments[3]).is_ok());
    assert!(decryptor.decrypt_segment(4, false, &segments[4]).is_err());
}

#[test]
fn boundary_lengths_round_trip() {
    let params = params(64);
    for len in [0, 1, 31, 32, 33, 63, 64, 65, 320] {
        let plaintext = vec![0x5A; len];
        let encryptor = Encryptor::new(&KEY, AAD, params).expect("starts");
        let segments = encrypt(&encryptor, &plaintext);
        assert_eq!(segments.len(), len.div_ceil(32).max(1));
        let decryptor = Decryptor::new(&KEY, AAD, encryptor.header(), params).expect("starts");
        assert_eq!(decrypt(&decryptor, &segments).expect("decrypts"), plaintext);
        let mut in_place = segments[0].clone();
        assert_eq!(
            decryptor.decrypt_in_place(0, segments.len() == 1, &mut in_place).expect("decrypts"),
            &plaintext[..len.min(32)]
        );
    }
}

#[test]
fn header_is_refused_for_another_key_aad_or_segment_length() {
    let encryptor = Encryptor::new(&KEY, AAD, params(64)).expect("starts");
    let header = encryptor.header();
    assert!(Decryptor::new(&[1; 32], AAD, header, params(64)).is_err());
    assert!(Decryptor::new(&KEY, b"other", header, params(64)).is_err());
    let error = Decryptor::new(&KEY, AAD, header, params(65)).expect_err("other length");
    assert_eq!(error.to_string(), "FLOE header: is for other parameters");
    for bit in 0..HEADER_LEN * 8 {
        let mut bytes = *header.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Decryptor::new(&KEY, AAD, &Header(bytes), params(64)).is_err(), "bit {bit}");
    }
}

#[test]
fn illegal_lengths_and_positions_are_refused() {
    assert!(Params::new(32).is_err());
    assert!(Params::new(u32::MAX).is_err());
    let encryptor = Encryptor::new(&KEY, AAD, params(64)).expect("starts");
    assert!(encryptor.encrypt_segment(0, false, &[0; 31]).is_err());
    assert!(encryptor.encrypt_segment(0, true, &[0; 33]).is_err());
    assert!(encryptor.encrypt_segment(MAX_SEGMENTS, true, &[]).is_err());
    let decryptor = Decryptor::new(&KEY, AAD, encryptor.header(), params(64)).expect("starts");
    let segment = encryptor.encrypt_segment(0, false, &[0; 32]).expect("encrypts");
    assert!(decryptor.decrypt_segment(0, true, &segment).is_err(), "flipped final flag");
    for len in [0, 3, 4, 31, 63, 65] {
        let mut cut = segment.clone();
        cut.resize(len, 0);
        assert!(decryptor.decrypt_segment(0, false, &cut).is_err(), "{len}");
        assert!(decryptor.decrypt_segment(0, true, &cut).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn no_flipped_bit_and_no_exchange_goes_unnoticed(
        plaintext in proptest::collection::vec(any::<u8>(), 0..200),
        bit in any::<prop::sample::Index>(),
        (a, b) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let encryptor = Encryptor::new(&KEY, AAD, params(64)).expect("starts");
        let decryptor = Decryptor::new(&KEY, AAD, encryptor.header(), params(64)).expect("starts");
        let segments = encrypt(&encryptor, &plaintext);
        prop_assert_eq!(&decrypt(&decryptor, &segments).expect("decrypts"), &plaintext);

        let mut flipped = segments.clone();
        let bit = bit.index(segments.concat().len() * 8);
        flipped[bit / 8 / 64][bit / 8 % 64] ^= 1 << (bit % 8);
        prop_assert!(decrypt(&decryptor, &flipped).is_err());

        let (a, b) = (a.index(segments.len()), b.index(segments.len()));
        let mut swapped = segments.clone();
        swapped.swap(a, b);
        prop_assert_eq!(decrypt(&decryptor, &swapped).is_ok(), a == b);
        let mut duplicated = segments.clone();
        duplicated[a].clone_from(&segments[b]);
        prop_assert_eq!(decrypt(&decryptor, &duplicated).is_ok(), a == b);
        if segments.len() > 1 {
            prop_assert!(decrypt(&decryptor, &segments[..segments.len() - 1]).is_err());
            prop_assert!(decrypt(&decryptor, &segments[1..]).is_err());
        }
    }
}

#[test]
fn a_ciphertext_that_goes_on_is_one_ciphertext_and_no_iv_comes_twice() {
    let params = params(64);
    let first = Encryptor::new(&KEY, AAD, params).expect("starts");
    let again = Encryptor::resume(&KEY, AAD, first.header(), params, Engine::Reference).expect("goes on");
    assert_eq!(again.header(), first.header());
    let one = first.encrypt_segment(0, false, &[1; 32]).expect("encrypts");
    let twice = again.encrypt_segment(0, false, &[1; 32]).expect("encrypts");
    assert_ne!(one[LENGTH_LEN..PREFIX_LEN], twice[LENGTH_LEN..PREFIX_LEN]);
    let last = again.encrypt_segment(1, true, b"end").expect("encrypts");
    let decryptor = Decryptor::new(&KEY, AAD, first.header(), params).expect("starts");
    for segment in [one, twice] {
        assert_eq!(decryptor.decrypt_segment(0, false, &segment).expect("decrypts"), [1; 32]);
    }
    assert_eq!(decryptor.decrypt_segment(1, true, &last).expect("decrypts"), b"end");
    for (key, aad) in [([1; 32], AAD), (KEY, b"other".as_slice())] {
        assert!(Encryptor::resume(&key, aad, first.header(), params, Engine::Fast).is_err(), "the header commits");
    }
}
