//! Ed25519 (RFC 8032), verified strictly.

use std::fmt;

use ed25519_dalek::Signer as _;

use super::{DOCUMENT, KeyId, der, pem};
use crate::{
    error::{Error, Result},
    secret::{Secret, SecretVec},
};

/// A private key that signs statements. Wiped when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn generate() -> Result<Self> {
        Ok(Self::from_seed(&Secret::random()?))
    }

    /// The key of a 32-byte RFC 8032 seed.
    #[cfg(test)]
    pub(crate) fn from_seed_for_tests(seed: [u8; 32]) -> Self {
        Self::from_seed(&Secret::new(seed))
    }

    /// The key of a 32-byte RFC 8032 seed.
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
    }

    /// Signs `message`. The same key and message always give the same 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// The key in the clear, as the DER of PKCS#8 version 1 (RFC 8410).
    ///
    /// # Errors
    /// None at present; fallible because an encoder may be.
    #[allow(clippy::unnecessary_wraps)] // callers were promised a `Result`
    pub fn to_pkcs8_der(&self) -> Result<SecretVec> {
        Ok(der::private_key(der::Algorithm::Ed25519, self.0.as_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.verifying_key().key_id())
    }
}

/// A public key that checks signatures.
///
/// It is canonically encoded and not of small order; nothing else can be parsed into one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Takes 32 bytes for a public key if they are a canonical point that is not of small order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they are not.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        let refuse = |rule| Error::format(DOCUMENT, rule);
        // A point with x = 0 and the sign bit set is not canonical either: it has small order and is refused as such.
        let mut y = *bytes;
        y[31] &= 0x7f;
        if !der::is_canonical_field_element(&y) {
            return Err(refuse("the Ed25519 public key is not canonically encoded"));
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|_| refuse("the Ed25519 public key is not a point of the curve"))?;
        if key.is_weak() {
            return Err(refuse("the Ed25519 public key has small order"));
        }
        Ok(Self(key))
    }

    /// The id of this key.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.to_spki_der())
    }

    /// Whether `signature` is a signature of `message` by this key.
    ///
    /// Strict: 64 bytes, canonical S, canonical R that is not of small order.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature).is_ok_and(|s| self.0.verify_strict(message, &s).is_ok())
    }

    /// The key as a `PUBLIC KEY` PEM block, which OpenSSL reads.
    pub fn to_pem(&self) -> String {
        pem::encode_public(&self.to_spki_der())
    }

    /// The key of a DER `SubjectPublicKeyInfo` (RFC 8410), 44 bytes.
    pub(crate) fn from_spki_der(der: &[u8]) -> Result<Self> {
        match der::parse_public_key(der)? {
            (der::Algorithm::Ed25519, key) => {
                Self::from_bytes(key.try_into().map_err(|_| Error::format(DOCUMENT, "the key is not 32 bytes"))?)
            }
            _ => Err(Error::format(DOCUMENT, "the key is not an Ed25519 key")),
        }
    }

    /// The key as a DER `SubjectPublicKeyInfo` (RFC 8410), 44 bytes.
    pub(crate) fn to_spki_der(&self) -> Vec<u8> {
        der::public_key(der::Algorithm::Ed25519, self.0.as_bytes())
    }

    /// The 32 bytes of the public key (RFC 8032).
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha512};

    use super::*;

    /// 2^255 - 19, little-endian.
    const P: [u8; 32] = {
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        p
    };

    /// The order of the base point, little-endian.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    /// The y coordinates of the points of order 1, 2, 4 and 8.
    fn small_order_points() -> Vec<[u8; 32]> {
        let y8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
        let other_y8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
        let mut minus_one = P;
        minus_one[0] -= 1;
        let mut one = [0; 32];
        one[0] = 1;
        let mut points = vec![one, minus_one, [0; 32]];
        points.extend([y8, other_y8].map(|h| <[u8; 32]>::try_from(hex::decode(h).expect("hex")).expect("32 bytes")));
        let signed = points.clone().into_iter().map(|mut p| {
            p[31] |= 0x80;
            p
        });
        points.extend(signed);
        points
    }

    #[test]
    fn a_signature_verifies_under_its_own_key_and_message_only() {
        let key = SigningKey::generate().expect("randomness");
        let signature = key.sign(b"message");
        assert!(key.verifying_key().verify(b"message", &signature));
        assert!(!key.verifying_key().verify(b"massage", &signature));
        let other = SigningKey::generate().expect("randomness").verifying_key();
        assert_ne!(other, key.verifying_key());
        assert!(!other.verify(b"message", &signature));
    }

    #[test]
    fn signatures_of_any_other_length_are_refused() {
        let key = SigningKey::generate().expect("randomness");
        let mut signature = key.sign(b"").to_vec();
        assert!(!key.verifying_key().verify(b"", &signature[..63]));
        assert!(!key.verifying_key().verify(b"", &[]));
        signature.push(0);
        assert!(!key.verifying_key().verify(b"", &signature));
    }

    #[test]
    fn the_first_vector_of_rfc_8032_is_reproduced() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("hex");
        let key = SigningKey::from_seed(&Secret::new(seed.try_into().expect("32 bytes")));
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
        assert_eq!(hex::encode(key.sign(b"")), signature);
    }

    #[test]
    fn public_keys_of_small_order_are_refused() {
        for point in small_order_points() {
            let error = VerifyingKey::from_bytes(&point).expect_err("small order");
            assert_eq!(error.to_string(), "key file: the Ed25519 public key has small order", "{point:02x?}");
        }
    }

    #[test]
    fn public_keys_that_are_not_canonical_are_refused() {
        for low in 0xed..=0xff {
            for sign in [0, 0x80] {
                let mut bytes = P;
                bytes[0] = low;
                bytes[31] |= sign;
                let error = VerifyingKey::from_bytes(&bytes).expect_err("not canonical");
                assert_eq!(error.to_string(), "key file: the Ed25519 public key is not canonically encoded");
            }
        }
    }

    #[test]
    fn public_keys_off_the_curve_are_refused() {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        let error = VerifyingKey::from_bytes(&bytes).expect_err("no point has this y");
        assert_eq!(error.to_string(), "key file: the Ed25519 public key is not a point of the curve");
    }

    #[test]
    fn a_signature_with_s_plus_the_group_order_is_refused() {
        let key = SigningKey::generate().expect("randomness");
        let mut signature = key.sign(b"message");
        let mut carry = 0u16;
        for (s, l) in signature[32..].iter_mut().zip(L) {
            carry += u16::from(*s) + u16::from(l);
            *s = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert_eq!(carry, 0);
        assert!(!key.verifying_key().verify(b"message", &signature));
    }

    /// `scalar` times the little-endian number `bytes`, without a name for the scalar's type.
    fn times<T>(scalar: T, bytes: &[u8]) -> T
    where
        T: From<u64> + Copy + std::ops::Add<Output = T> + std::ops::Mul<Output = T>,
    {
        bytes.iter().rev().fold(T::from(0), |sum, b| sum * T::from(256) + scalar * T::from(u64::from(*b)))
    }

    #[test]
    fn a_signature_with_r_of_small_order_is_refused_although_its_equation_holds() {
        use ed25519_dalek::Verifier;

        let key = SigningKey::generate().expect("randomness");
        // With R the neutral element, S = H(R, A, M) a satisfies S B = R + H(R, A, M) A.
        let mut r = [0; 32];
        r[0] = 1;
        let hash = Sha512::new().chain_update(r).chain_update(key.verifying_key().as_bytes()).chain_update(b"message");
        let s = times(key.0.to_scalar(), &hash.finalize()).to_bytes();
        let signature = ed25519_dalek::Signature::from_components(r, s);
        key.verifying_key().0.verify(b"message", &signature).expect("the lax equation holds");
        assert!(!key.verifying_key().verify(b"message", &signature.to_bytes()));
    }

    #[test]
    fn debug_output_shows_the_id_and_no_secret() {
        let key = SigningKey::generate().expect("randomness");
        assert_eq!(format!("{key:?}"), format!("SigningKey({}, ..)", key.verifying_key().key_id()));
        assert_eq!(format!("{:?}", key.verifying_key()), format!("VerifyingKey({})", key.verifying_key().key_id()));
    }
}
