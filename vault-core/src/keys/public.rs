//! What a public key file can hold.

use super::{KeyId, Recipient, RecipientKind, VerifyingKey, der, pem};
use crate::error::{Error, Result};

/// A public key of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// It checks signatures.
    Signing(VerifyingKey),
    /// Secrets are wrapped to it.
    Recipient(Recipient),
}

impl PublicKey {
    /// Reads the only `PUBLIC KEY` PEM block of `text`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed or the key is unsafe, [`Error::Misuse`] if it is a private key or one of
    /// another algorithm.
    pub fn from_pem(text: &str) -> Result<Self> {
        let (label, contents) = pem::decode(text.as_bytes())?;
        match label {
            pem::PUBLIC => Self::from_spki_der(contents.expose()),
            pem::PRIVATE | pem::SEALED | pem::PBES2 => {
                Err(Error::Misuse("this is a private key where a public key is expected".into()))
            }
            _ => Err(Error::Misuse("the PEM block is not a PUBLIC KEY".into())),
        }
    }

    fn from_spki_der(der: &[u8]) -> Result<Self> {
        let (algorithm, key) = der::parse_public_key(der)?;
        Self::from_bytes(algorithm, key)
    }

    fn from_bytes(algorithm: der::Algorithm, key: &[u8]) -> Result<Self> {
        let kind = match algorithm {
            der::Algorithm::Ed25519 => {
                let key = key.try_into().map_err(|_| Error::format(super::DOCUMENT, "the key is not 32 bytes"))?;
                return VerifyingKey::from_bytes(key).map(Self::Signing);
            }
            der::Algorithm::XWing => RecipientKind::XWing,
            der::Algorithm::X25519 => RecipientKind::X25519,
        };
        Recipient::from_bytes(kind, key).map(Self::Recipient)
    }

    /// The id of this key.
    pub fn key_id(&self) -> KeyId {
        match self {
            Self::Signing(key) => key.key_id(),
            Self::Recipient(key) => key.key_id(),
        }
    }

    /// The key as a `PUBLIC KEY` PEM block.
    pub fn to_pem(&self) -> String {
        match self {
            Self::Signing(key) => key.to_pem(),
            Self::Recipient(key) => key.to_pem(),
        }
    }

    /// What it is: `signing`, `recipient x-wing` or `recipient x25519`.
    pub fn kind_str(&self) -> &'static str {
        match self {
            Self::Signing(_) => "signing",
            Self::Recipient(key) => match key.kind() {
                RecipientKind::XWing => "recipient x-wing",
                RecipientKind::X25519 => "recipient x25519",
            },
        }
    }

    /// The bare key, without its algorithm.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Signing(key) => key.as_bytes(),
            Self::Recipient(key) => key.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{Identity, SigningKey};

    fn one_of_each() -> [PublicKey; 3] {
        let recipient = |kind| PublicKey::Recipient(Identity::generate(kind).expect("randomness").recipient().clone());
        [
            PublicKey::Signing(SigningKey::generate().expect("randomness").verifying_key()),
            recipient(RecipientKind::XWing),
            recipient(RecipientKind::X25519),
        ]
    }

    #[test]
    fn every_kind_survives_its_pem() {
        for (key, kind) in one_of_each().iter().zip(["signing", "recipient x-wing", "recipient x25519"]) {
            let read = PublicKey::from_pem(&key.to_pem()).expect("parses");
            assert_eq!(&read, key);
            assert_eq!(read.key_id(), key.key_id());
            assert_eq!(read.kind_str(), kind);
        }
    }

    #[test]
    fn private_keys_and_other_blocks_are_refused() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAEC\n-----END {label}-----\n");
        for label in [pem::PRIVATE, pem::SEALED, pem::PBES2] {
            let error = PublicKey::from_pem(&block(label)).expect_err(label);
            assert_eq!(error.to_string(), "this is a private key where a public key is expected");
        }
        let error = PublicKey::from_pem(&block("CERTIFICATE")).expect_err("certificate");
        assert_eq!(error.to_string(), "the PEM block is not a PUBLIC KEY");
        let error = PublicKey::from_pem(&block(pem::PUBLIC)).expect_err("three bytes");
        assert_eq!(error.to_string(), "key file: is not a DER SubjectPublicKeyInfo");
    }

    #[test]
    fn unsafe_keys_are_refused_in_a_file_too() {
        for algorithm in [der::Algorithm::Ed25519, der::Algorithm::X25519] {
            let text = pem::encode_public(&der::public_key(algorithm, &[0; 32]));
            assert!(matches!(PublicKey::from_pem(&text), Err(Error::Corrupt { .. })));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            prop_assert!(PublicKey::from_pem(&text).is_err());
        }

        #[test]
        fn arbitrary_contents_never_panic(contents in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(PublicKey::from_pem(&pem::encode_public(&contents)).is_err());
        }
    }
}
