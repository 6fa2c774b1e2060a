//! ECDSA keys on the NIST curves, as OMS has them: P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512
//! (FIPS 186-5; the hash follows the curve as in the Sigstore algorithm registry).

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
        ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
    },
};
use pkcs8::der::pem::{LineEnding, encode_string};
use sha2::{Digest as _, Sha256};

use super::pem::blocks;
use crate::error::{Error, Result};

const DOCUMENT: &str = "key file";
/// Longest key file, in bytes.
const MAX_KEY_FILE: usize = 64 * 1024;
/// Curve parameters may stand before a private key.
const MAX_BLOCKS: usize = 2;

/// A curve, and with it the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1 with SHA-256.
    P256,
    /// secp384r1 with SHA-384.
    P384,
    /// secp521r1 with SHA-512.
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Its usual name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Everything of a `SubjectPublicKeyInfo` (RFC 5480) with a named curve and an uncompressed point before that point.
    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::P256 => &[
                0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
                0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
            ],
            Self::P384 => &[
                0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
                0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
            ],
            Self::P521 => &[
                0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
            ],
        }
    }

    fn point_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
        }
    }

    fn verifying(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

/// A public key, a valid point of its curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcPublicKey {
    curve: Curve,
    /// Uncompressed (SEC 1 section 2.3.3).
    point: Vec<u8>,
}

impl EcPublicKey {
    /// Reads the only `PUBLIC KEY` PEM block of `text`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, [`Error::Misuse`] if it is something else than a public key on one of the
    /// three curves.
    pub fn from_pem(text: &[u8]) -> Result<Self> {
        match &read(text)?[..] {
            [block] if block.label == "PUBLIC KEY" => Self::from_spki(block.contents.expose()),
            blocks if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) => {
                Err(Error::Misuse("this is a private key where a public key is expected".into()))
            }
            _ => Err(Error::Misuse("the file does not hold one PUBLIC KEY block and nothing else".into())),
        }
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self> {
        let fits = |curve: &Curve| der.len() == curve.spki_prefix().len() + curve.point_len();
        let fits = |curve: &Curve| fits(curve) && der.starts_with(curve.spki_prefix());
        let curve = Curve::ALL.into_iter().find(fits).ok_or_else(|| {
            Error::Misuse(
                "the key is not an uncompressed point of P-256, P-384 or P-521, by the name of its curve".into(),
            )
        })?;
        Self::from_point(curve, &der[curve.spki_prefix().len()..])
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self> {
        let valid = point.len() == curve.point_len() && point.first() == Some(&4);
        if !valid || UnparsedPublicKey::new(curve.verifying(), point).parse().is_err() {
            return Err(Error::format(DOCUMENT, "the key is not a point of its curve"));
        }
        Ok(Self { curve, point: point.to_vec() })
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> String {
        let der = [self.curve.spki_prefix(), &self.point].concat();
        encode_string("PUBLIC KEY", LineEnding::LF, &der).expect("the label is valid and the length far from overflow")
    }

    /// What names this key in a bundle: the SHA-256 of its PEM text, in hexadecimal.
    pub fn hint(&self) -> String {
        hex::encode(Sha256::digest(self.to_pem()))
    }

    /// Whether `signature` (DER) is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.curve.verifying(), &self.point).verify(message, signature).is_ok()
    }
}

/// A private key. Its library wipes it when it is dropped.
pub struct EcPrivateKey {
    pair: EcdsaKeyPair,
    public: EcPublicKey,
}

impl fmt::Debug for EcPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcPrivateKey").field("curve", &self.public.curve).finish_non_exhaustive()
    }
}

impl EcPrivateKey {
    /// Reads a private key as OpenSSL writes it: PKCS#8 (RFC 5208) or SEC 1 (RFC 5915), also behind `EC PARAMETERS`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, [`Error::Misuse`] if it is encrypted, no private key, or not on one of the
    /// three curves.
    pub fn from_pem(text: &[u8]) -> Result<Self> {
        // OpenSSL marks an encrypted SEC 1 key by a header inside of the block.
        if text.windows(10).any(|window| window == b"Proc-Type:") {
            return Err(encrypted());
        }
        let mut blocks = read(text)?;
        blocks.retain(|block| block.label != "EC PARAMETERS");
        match &blocks[..] {
            [block] if ["PRIVATE KEY", "EC PRIVATE KEY"].contains(&block.label.as_str()) => {
                Self::from_der(block.contents.expose())
            }
            [block] if block.label == "ENCRYPTED PRIVATE KEY" => Err(encrypted()),
            [block] if block.label == "PUBLIC KEY" => {
                Err(Error::Misuse("this is a public key where a private key is expected".into()))
            }
            _ => Err(Error::Misuse("the file does not hold one PRIVATE KEY or EC PRIVATE KEY block".into())),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self> {
        for curve in Curve::ALL {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve.signing(), der) {
                let public = EcPublicKey::from_point(curve, pair.public_key().as_ref())?;
                return Ok(Self { pair, public });
            }
        }
        Err(Error::Misuse("this is not a valid private key on P-256, P-384 or P-521".into()))
    }

    /// The public half.
    pub fn public(&self) -> &EcPublicKey {
        &self.public
    }

    /// Signs a message. The signature is DER.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::storage("signing")(std::io::Error::other("the ECDSA engine failed"));
        self.pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()).map_err(failed)
    }
}

fn encrypted() -> Error {
    Error::Misuse(
        "this private key is encrypted in a way that is not supported; decrypt it first with `openssl pkey`".into(),
    )
}

fn read(text: &[u8]) -> Result<Vec<super::pem::Block>> {
    if text.len() > MAX_KEY_FILE {
        return Err(Error::limit(DOCUMENT, "length", MAX_KEY_FILE as u64));
    }
    blocks(DOCUMENT, text, MAX_BLOCKS)
}
