//! The DER of public and private keys: `SubjectPublicKeyInfo` (RFC 5280) and PKCS#8 (RFC 5208, RFC 5958, RFC 8410).
//!
//! Our keys have one length per algorithm, so everything before the key bytes is constant. Writing is a prefix and the key;
//! a public key is only accepted in exactly that form, which makes key ids unique.

use pkcs8::{
    PrivateKeyInfoRef,
    der::Decode,
    spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
};

use super::DOCUMENT;
use crate::{
    error::{Error, Result},
    secret::{Secret, SecretVec},
};

/// What a key is for, by its object identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ed25519,
    X25519,
    XWing,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Ed25519, Self::X25519, Self::XWing];

    fn oid(self) -> &'static str {
        match self {
            Self::Ed25519 => "1.3.101.112",
            Self::X25519 => "1.3.101.110",
            Self::XWing => "1.3.6.1.4.1.62253.25722",
        }
    }

    fn public_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::X25519 => 32,
            Self::XWing => 1216,
        }
    }

    /// Everything of a `SubjectPublicKeyInfo` before the key.
    fn public_prefix(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00],
            Self::X25519 => &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00],
            Self::XWing => &[
                0x30, 0x82, 0x04, 0xd4, 0x30, 0x0d, 0x06, 0x0b, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xe6, 0x2d, 0x81,
                0xc8, 0x7a, 0x03, 0x82, 0x04, 0xc1, 0x00,
            ],
        }
    }

    /// Everything of a PKCS#8 version 1 document before the key.
    fn private_prefix(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => {
                &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]
            }
            Self::X25519 => {
                &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]
            }
            Self::XWing => &[
                0x30, 0x34, 0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x0b, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xe6, 0x2d,
                0x81, 0xc8, 0x7a, 0x04, 0x20,
            ],
        }
    }

    fn of(identifier: &AlgorithmIdentifierRef<'_>) -> Result<Self> {
        let oid = identifier.oid.to_string();
        let known = Self::ALL.into_iter().find(|a| a.oid() == oid).ok_or_else(|| unsupported(&oid))?;
        if identifier.parameters.is_some() {
            return Err(Error::format(DOCUMENT, format!("the algorithm {oid} has parameters, which it must not")));
        }
        Ok(known)
    }
}

fn unsupported(oid: &str) -> Error {
    let name = match oid {
        "1.2.840.113549.1.1.1" => " (RSA)",
        "1.2.840.10045.2.1" => " (elliptic curve)",
        "1.3.101.111" => " (X448)",
        "1.3.101.113" => " (Ed448)",
        _ => "",
    };
    Error::Misuse(format!("the key's algorithm is {oid}{name}; only Ed25519, X25519 and X-Wing keys are supported"))
}

/// Whether 32 little-endian bytes are below 2^255 - 19. Not constant-time; for public keys.
pub(super) fn is_canonical_field_element(bytes: &[u8; 32]) -> bool {
    let high = bytes[31] > 0x7f || (bytes[31] == 0x7f && bytes[1..31].iter().all(|b| *b == 0xff) && bytes[0] >= 0xed);
    !high
}

/// The DER `SubjectPublicKeyInfo` of a key.
pub(super) fn public_key(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    [algorithm.public_prefix(), key].concat()
}

/// Reads what [`public_key`] writes, and nothing else.
pub(super) fn parse_public_key(der: &[u8]) -> Result<(Algorithm, &[u8])> {
    for algorithm in Algorithm::ALL {
        if let Some(key) = der.strip_prefix(algorithm.public_prefix())
            && key.len() == algorithm.public_len()
        {
            return Ok((algorithm, key));
        }
    }
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|_| Error::format(DOCUMENT, "is not a DER SubjectPublicKeyInfo"))?;
    let algorithm = Algorithm::of(&info.algorithm)?;
    Err(Error::format(DOCUMENT, format!("the {algorithm:?} public key is not {} bytes", algorithm.public_len())))
}

/// The PKCS#8 version 1 DER of a key.
pub(super) fn private_key(algorithm: Algorithm, secret: &[u8; 32]) -> SecretVec {
    // `concat` allocates once at full length, so no copy is left behind.
    SecretVec::new([algorithm.private_prefix(), secret].concat())
}

/// A private key as PKCS#8 has it.
pub(super) struct ParsedPrivateKey<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) secret: Secret<32>,
    /// The public key that version 2 documents carry; not checked yet.
    pub(super) claimed_public: Option<&'a [u8]>,
}

/// Reads PKCS#8, version 1 or 2.
pub(super) fn parse_private_key(der: &[u8]) -> Result<ParsedPrivateKey<'_>> {
    // What the DER reader has to say could quote the key, so it is not repeated.
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| Error::format(DOCUMENT, "is not a PKCS#8 private key"))?;
    let algorithm = Algorithm::of(&info.algorithm)?;
    let content = info.private_key.as_bytes();
    let key = match algorithm {
        // RFC 8410: an OCTET STRING of 32 bytes within the OCTET STRING.
        Algorithm::Ed25519 | Algorithm::X25519 => content.strip_prefix(&[0x04, 0x20]),
        Algorithm::XWing => Some(content),
    };
    let key = key
        .and_then(|k| <&[u8; 32]>::try_from(k).ok())
        .ok_or_else(|| Error::format(DOCUMENT, format!("the {algorithm:?} private key is not 32 bytes")))?;
    let claimed_public = match &info.public_key {
        None => None,
        Some(bits) => Some(bits.as_bytes().ok_or_else(|| Error::format(DOCUMENT, "the public key has stray bits"))?),
    };
    let mut secret = Secret::new([0; 32]);
    secret.expose_mut().copy_from_slice(key);
    Ok(ParsedPrivateKey { algorithm, secret, claimed_public })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_is_valid_der() {
        for algorithm in Algorithm::ALL {
            let key = vec![7; algorithm.public_len()];
            let spki = public_key(algorithm, &key);
            let info = SubjectPublicKeyInfoRef::from_der(&spki).expect("valid DER");
            assert_eq!(info.algorithm.oid.to_string(), algorithm.oid());
            assert_eq!(info.subject_public_key.as_bytes(), Some(&key[..]));
            assert_eq!(parse_public_key(&spki).expect("parses"), (algorithm, &key[..]));

            let pkcs8 = private_key(algorithm, &[9; 32]);
            let parsed = parse_private_key(pkcs8.expose()).expect("parses");
            assert_eq!((parsed.algorithm, parsed.secret.expose()), (algorithm, &[9; 32]));
            assert!(parsed.claimed_public.is_none());
        }
    }

    #[test]
    fn missing_and_trailing_bytes_are_refused() {
        for algorithm in Algorithm::ALL {
            let mut spki = public_key(algorithm, &vec![7; algorithm.public_len()]);
            let mut pkcs8 = private_key(algorithm, &[9; 32]).expose().to_vec();
            for length in 0..spki.len() {
                assert!(parse_public_key(&spki[..length]).is_err());
            }
            for length in 0..pkcs8.len() {
                assert!(parse_private_key(&pkcs8[..length]).is_err());
            }
            spki.push(0);
            pkcs8.push(0);
            let public = parse_public_key(&spki).expect_err("trailing byte");
            assert_eq!(public.to_string(), "key file: is not a DER SubjectPublicKeyInfo");
            let private = parse_private_key(&pkcs8).err().expect("trailing byte");
            assert_eq!(private.to_string(), "key file: is not a PKCS#8 private key");
        }
    }

    #[test]
    fn another_algorithm_is_named() {
        let mut spki = public_key(Algorithm::Ed25519, &[7; 32]);
        spki[8] = 0x71;
        let message = "the key's algorithm is 1.3.101.113 (Ed448); only Ed25519, X25519 and X-Wing keys are supported";
        assert_eq!(parse_public_key(&spki).expect_err("Ed448").to_string(), message);
        let mut pkcs8 = private_key(Algorithm::Ed25519, &[7; 32]).expose().to_vec();
        pkcs8[11] = 0x71;
        assert_eq!(parse_private_key(&pkcs8).err().expect("Ed448").to_string(), message);
    }

    #[test]
    fn a_key_of_the_wrong_length_or_with_parameters_is_refused() {
        let mut short = public_key(Algorithm::X25519, &[7; 31]);
        short[1] -= 1;
        short[10] -= 1;
        let error = parse_public_key(&short).expect_err("31 bytes");
        assert_eq!(error.to_string(), "key file: the X25519 public key is not 32 bytes");

        let mut with_null = vec![0x30, 0x2c, 0x30, 0x07, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x05, 0x00, 0x03, 0x21, 0x00];
        with_null.extend([7; 32]);
        let error = parse_public_key(&with_null).expect_err("parameters");
        assert_eq!(error.to_string(), "key file: the algorithm 1.3.101.112 has parameters, which it must not");

        let mut not_nested = private_key(Algorithm::Ed25519, &[7; 32]).expose().to_vec();
        not_nested[14] = 0x05;
        let error = parse_private_key(&not_nested).err().expect("not an OCTET STRING");
        assert_eq!(error.to_string(), "key file: the Ed25519 private key is not 32 bytes");
    }
}
