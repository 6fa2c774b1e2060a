//! Secrets under a passphrase: Argon2id (RFC 9106), HKDF-SHA-256 and AES-256-GCM with a key commitment.
//!
//! Key files and passphrase recipients use the same construction with different labels, which a [`Context`] holds.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    error::{Error, Fault, Place, Result},
    names::ArtifactDigest,
    secret::{Secret, SecretVec, fill_random},
};

/// Bytes of a salt.
pub const SALT: usize = 16;
/// Bytes of a commitment.
pub const COMMITMENT: usize = 32;

/// Every salt, and so every key, encrypts once: a fixed nonce is as good as any.
const NONCE: [u8; 12] = [0; 12];

/// What deriving a key from a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes of the memory.
    pub lanes: u32,
}

impl Cost {
    /// What writers use: 64 MiB, three passes, four lanes.
    pub const DEFAULT: Self = Self { memory_kib: 65_536, passes: 3, lanes: 4 };

    /// The most memory a reader spends, in KiB: 256 MiB.
    pub const MAX_MEMORY_KIB: u32 = 262_144;
    /// The most work a reader does, memory in KiB times passes: 1 GiB is filled, five times what writers use.
    pub const MAX_WORK: u64 = 1_048_576;
    /// The most passes a reader makes.
    pub const MAX_PASSES: u32 = 16;
    /// The most lanes a reader fills.
    pub const MAX_LANES: u32 = 16;

    /// Checks the bounds of the format. Nothing is allocated for a cost that fails.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a figure is out of bounds.
    pub fn check(self) -> Result<()> {
        let Self { memory_kib, passes, lanes } = self;
        let fault = if !(1..=Self::MAX_LANES).contains(&lanes) {
            format!("{lanes} lanes are not between 1 and {}", Self::MAX_LANES)
        } else if !(1..=Self::MAX_PASSES).contains(&passes) {
            format!("{passes} passes are not between 1 and {}", Self::MAX_PASSES)
        } else if !(8 * lanes..=Self::MAX_MEMORY_KIB).contains(&memory_kib) {
            format!("{memory_kib} KiB of memory are not between {} and {}", 8 * lanes, Self::MAX_MEMORY_KIB)
        } else if u64::from(memory_kib) * u64::from(passes) > Self::MAX_WORK {
            format!("{passes} passes over {memory_kib} KiB fill more than {} KiB", Self::MAX_WORK)
        } else {
            return Ok(());
        };
        Err(Error::format("argon2id cost", fault))
    }
}

/// What a passphrase protects: the labels that keep one use apart from every other.
#[derive(Debug, Clone)]
pub struct Context {
    document: &'static str,
    key_info: Vec<u8>,
    commitment_info: Vec<u8>,
    aad: fn(Cost, &[u8; SALT]) -> Vec<u8>,
}

impl Context {
    /// A key file (format, section 10). What stands before the commitment in the file is authenticated.
    pub fn key_file() -> Self {
        Self {
            document: super::DOCUMENT,
            key_info: b"mvault/v1 key file key".to_vec(),
            commitment_info: b"mvault/v1 key file commitment".to_vec(),
            aad: key_file_header,
        }
    }

    /// The passphrases that a seal which can be gone on with is for. Nothing is encrypted under them.
    pub(crate) fn resume() -> Self {
        Self {
            document: "resume file",
            key_info: b"mvault/v1 resume unused key".to_vec(),
            commitment_info: b"mvault/v1 resume passphrase".to_vec(),
            aad: |_, _| Vec::new(),
        }
    }

    /// A passphrase recipient of this artifact (format, section 9).
    pub fn recipient(artifact: &ArtifactDigest) -> Self {
        let info = |label: &[u8]| [label, artifact.hash().as_bytes()].concat();
        Self {
            document: "passphrase recipient",
            key_info: info(b"mvault/v1 passphrase key"),
            commitment_info: info(b"mvault/v1 passphrase commitment"),
            aad: |_, _| Vec::new(),
        }
    }
}

/// Everything of a sealed key file before its commitment.
pub(super) fn key_file_header(cost: Cost, salt: &[u8; SALT]) -> Vec<u8> {
    let [memory, passes, lanes] = [cost.memory_kib, cost.passes, cost.lanes].map(u32::to_be_bytes);
    [&[super::private::SEALED_VERSION][..], &memory, &passes, &lanes, salt].concat()
}

/// A secret under a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What deriving the key costs.
    pub cost: Cost,
    /// The salt, fresh for every sealing.
    pub salt: [u8; SALT],
    /// Binds the ciphertext to one passphrase.
    pub commitment: [u8; COMMITMENT],
    /// As long as the plaintext and 16 bytes for the tag.
    pub ciphertext: Vec<u8>,
}

/// Encrypts `plaintext` under `passphrase`.
///
/// # Errors
/// [`Error::Misuse`] if the passphrase is empty, [`Error::Corrupt`] if the cost is out of bounds, [`Error::Storage`] if
/// the operating system has no randomness or no memory to give.
pub fn seal(passphrase: &SecretVec, cost: Cost, context: &Context, plaintext: &[u8]) -> Result<Sealed> {
    if passphrase.expose().is_empty() {
        return Err(Error::Misuse("the passphrase is empty".into()));
    }
    let mut salt = [0; SALT];
    fill_random(&mut salt)?;
    seal_with(salt, passphrase, cost, context, plaintext)
}

/// As [`seal`], with the salt given: for known answers.
fn seal_with(
    salt: [u8; SALT],
    passphrase: &SecretVec,
    cost: Cost,
    context: &Context,
    plaintext: &[u8],
) -> Result<Sealed> {
    let (key, commitment) = derive(passphrase, cost, &salt, context)?;
    let aad = (context.aad)(cost, &salt);
    let ciphertext = cipher(&key)
        .encrypt(&Nonce::from(NONCE), Payload { msg: plaintext, aad: &aad })
        .map_err(|_| Error::format(context.document, "is too long for AES-GCM"))?;
    Ok(Sealed { cost, salt, commitment: *commitment.expose(), ciphertext })
}

/// Decrypts what [`seal`] encrypted in the same context.
///
/// # Errors
/// [`Error::WrongKey`] if the passphrase is not the one it was sealed with, [`Error::Corrupt`] if the cost is out of
/// bounds or the ciphertext was changed, [`Error::Storage`] if there is no memory.
pub fn open(passphrase: &SecretVec, context: &Context, sealed: &Sealed) -> Result<SecretVec> {
    let (key, commitment) = derive(passphrase, sealed.cost, &sealed.salt, context)?;
    if !bool::from(commitment.expose().ct_eq(&sealed.commitment)) {
        return Err(Error::WrongKey { what: context.document.into(), why: "the passphrase does not open it" });
    }
    let aad = (context.aad)(sealed.cost, &sealed.salt);
    cipher(&key)
        .decrypt(&Nonce::from(NONCE), Payload { msg: &sealed.ciphertext, aad: &aad })
        .map(SecretVec::new)
        .map_err(|_| Error::Corrupt { place: Place::Document(context.document), fault: Fault::Tag })
}

fn cipher(key: &Secret<32>) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}

/// A digest of a passphrase that is as dear to guess from as what it protects: what [`seal`] commits to.
///
/// # Errors
/// [`Error::Storage`] if there is no memory.
pub(crate) fn slow_digest(passphrase: &SecretVec, salt: &[u8; SALT], context: &Context) -> Result<Secret<COMMITMENT>> {
    derive(passphrase, Cost::DEFAULT, salt, context).map(|(_, commitment)| commitment)
}

/// The encryption key and the commitment, in this order.
fn derive(
    passphrase: &SecretVec,
    cost: Cost,
    salt: &[u8; SALT],
    context: &Context,
) -> Result<(Secret<32>, Secret<COMMITMENT>)> {
    cost.check()?;
    let fail = |_| Error::storage("argon2id")(std::io::ErrorKind::OutOfMemory.into());
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(fail)?;
    let mut root = Secret::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, root.expose_mut())
        .map_err(fail)?;
    let hkdf = Hkdf::<Sha256>::new(None, root.expose());
    let expand = |info: &[u8]| {
        let mut key = Secret::new([0; 32]);
        hkdf.expand(info, key.expose_mut()).expect("HKDF-SHA-256 gives up to 8160 bytes");
        key
    };
    Ok((expand(&context.key_info), expand(&context.commitment_info)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// The least the format allows: tests derive many keys.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    fn secret(text: &str) -> SecretVec {
        SecretVec::new(text.as_bytes().to_vec())
    }

    fn contexts() -> [Context; 3] {
        let artifact = |bytes: &[u8]| Context::recipient(&ArtifactDigest::of(bytes));
        [Context::key_file(), artifact(b"one"), artifact(b"two")]
    }

    #[test]
    fn only_the_same_passphrase_in_the_same_context_opens() {
        for (i, context) in contexts().iter().enumerate() {
            let sealed = seal(&secret("correct horse"), CHEAP, context, b"plaintext").expect("seals");
            assert_eq!(open(&secret("correct horse"), context, &sealed).expect("opens").expose(), b"plaintext");
            for wrong in ["", "correct hors", "correct horse "] {
                let error = open(&secret(wrong), context, &sealed).expect_err("wrong passphrase");
                assert!(matches!(error, Error::WrongKey { .. }));
                assert_eq!(error.to_string(), format!("{}: the passphrase does not open it", context.document));
            }
            for (j, other) in contexts().iter().enumerate() {
                assert_eq!(open(&secret("correct horse"), other, &sealed).is_ok(), i == j);
            }
        }
    }

    #[test]
    fn an_empty_passphrase_is_refused_at_sealing() {
        let error = seal(&secret(""), CHEAP, &Context::key_file(), b"").expect_err("empty");
        assert_eq!(error.to_string(), "the passphrase is empty");
    }

    #[test]
    fn costs_out_of_bounds_are_refused_at_once() {
        let cost = |memory_kib, passes, lanes| Cost { memory_kib, passes, lanes };
        for good in [Cost::DEFAULT, CHEAP, cost(Cost::MAX_MEMORY_KIB, 4, 16), cost(65_536, 16, 16), cost(128, 1, 16)] {
            good.check().expect("within bounds");
        }
        let start = Instant::now();
        for (bad, message) in [
            (cost(u32::MAX, 3, 4), "4294967295 KiB of memory are not between 32 and 262144"),
            (cost(Cost::MAX_MEMORY_KIB + 1, 3, 4), "262145 KiB of memory are not between 32 and 262144"),
            (cost(127, 1, 16), "127 KiB of memory are not between 128 and 262144"),
            (cost(Cost::MAX_MEMORY_KIB, 5, 4), "5 passes over 262144 KiB fill more than 1048576 KiB"),
            (cost(65_537, 16, 4), "16 passes over 65537 KiB fill more than 1048576 KiB"),
            (cost(65_536, 0, 4), "0 passes are not between 1 and 16"),
            (cost(65_536, u32::MAX, 4), "4294967295 passes are not between 1 and 16"),
            (cost(65_536, 3, 0), "0 lanes are not between 1 and 16"),
            (cost(65_536, 3, u32::MAX), "4294967295 lanes are not between 1 and 16"),
        ] {
            let context = Context::key_file();
            let sealed = Sealed { cost: bad, salt: [0; SALT], commitment: [0; COMMITMENT], ciphertext: vec![0; 16] };
            let error = open(&secret("x"), &context, &sealed).expect_err(message);
            assert_eq!(error.to_string(), format!("argon2id cost: {message}"));
            assert!(seal(&secret("x"), bad, &context, b"").is_err());
        }
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_ciphertext_changed_under_the_right_passphrase_does_not_authenticate() {
        let mut sealed = seal(&secret("x"), CHEAP, &Context::key_file(), b"plaintext").expect("seals");
        sealed.ciphertext[0] ^= 1;
        let error = open(&secret("x"), &Context::key_file(), &sealed).expect_err("changed");
        assert_eq!(error.to_string(), "key file: does not authenticate");
        sealed.ciphertext.truncate(15);
        assert!(open(&secret("x"), &Context::key_file(), &sealed).is_err());
    }

    #[test]
    fn sealing_agrees_with_an_independent_implementation() {
        // Computed from the text of the format with Python's `cryptography` 48.
        let cost = Cost { memory_kib: 64, passes: 2, lanes: 2 };
        let salt: [u8; SALT] = std::array::from_fn(|i| u8::try_from(i).expect("below 16"));
        for (context, commitment, ciphertext) in [
            (
                Context::key_file(),
                "13772246295a478063a1d1127a0f2ef8414339c7c991a15d8e16cb55fe4c268f",
                "60ffbd7c401ab5f557d348487d078ce782c27310b432ec4c0a2af822e2213cde882273cd9b2bc1dcac28f940e60555a6",
            ),
            (
                Context::recipient(&ArtifactDigest::of(b"")),
                "c47b02d2d86bf174bfc09ff558c409cd0a49ff84fbe43c961f71ec18912b419a",
                "b9431077586e1d07d3b12eb85789d2da9d06d65bad29b4f7208a4ca8f8aba20ccb6804b627f14c324e444d61fe7b9f20",
            ),
        ] {
            let sealed = seal_with(salt, &secret("correct horse"), cost, &context, &[0x42; 32]).expect("seals");
            assert_eq!(hex::encode(sealed.commitment), commitment);
            assert_eq!(hex::encode(sealed.ciphertext), ciphertext);
        }
    }

    #[test]
    fn the_key_file_header_is_as_the_format_has_it() {
        let header = key_file_header(Cost::DEFAULT, &[0xab; SALT]);
        assert_eq!(hex::encode(header), format!("01000100000000000300000004{}", "ab".repeat(SALT)));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_never_opens(at: prop::sample::Index, bit in 0..8u32) {
            for context in contexts() {
                let mut sealed = seal(&secret("x"), CHEAP, &context, b"plaintext").expect("seals");
                let at = at.index(SALT + COMMITMENT + sealed.ciphertext.len());
                let mut bytes = sealed.salt.iter_mut().chain(&mut sealed.commitment).chain(&mut sealed.ciphertext);
                *bytes.nth(at).expect("in range") ^= 1 << bit;
                prop_assert!(open(&secret("x"), &context, &sealed).is_err());
            }
        }
    }
}
