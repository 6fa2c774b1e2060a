//! Where private keys may live: in this process, or behind something that uses them on request.

use std::fmt::Debug;

use super::{Identity, KeyId, Recipient, SigningKey, VerifyingKey};
use crate::{
    error::{Error, Result},
    secret::Secret,
};

/// Something that signs with one Ed25519 key. The key itself may be out of reach.
pub trait Signer: Debug + Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> VerifyingKey;

    /// Signs `message` (Ed25519, RFC 8032, not prehashed): 64 bytes, which nobody has checked yet. See [`sign`].
    ///
    /// # Errors
    /// Whatever keeps the key from being used.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64]>;
}

/// Something that unwraps secrets with one HPKE private key. The key itself may be out of reach.
pub trait Unwrapper: Debug + Send + Sync {
    /// The public half.
    fn recipient(&self) -> &Recipient;

    /// Decrypts what was wrapped to [`Self::recipient`] with this `info`, as [`Identity::unwrap`] does; `None` if it does
    /// not open. What comes back need not be what was wrapped: the caller checks what it is for.
    ///
    /// # Errors
    /// Whatever keeps the key from being used.
    fn unwrap(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Option<Secret<32>>>;

    /// The id of the public half.
    fn key_id(&self) -> KeyId {
        self.recipient().key_id()
    }
}

/// A signature of `message` that verifies under the signer's own public key.
///
/// # Errors
/// As [`Signer::sign`], and [`Error::Untrusted`] if what it gave is not a signature of `message` by its key.
pub fn sign(signer: &dyn Signer, message: &[u8]) -> Result<[u8; 64]> {
    let signature = signer.sign(message)?;
    let key = signer.verifying_key();
    if key.verify(message, &signature) {
        return Ok(signature);
    }
    let what = format!("a new signature by key {}", key.key_id());
    Err(Error::Untrusted { what, why: "does not verify under that key" })
}

impl Signer for SigningKey {
    fn verifying_key(&self) -> VerifyingKey {
        Self::verifying_key(self)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        Ok(Self::sign(self, message))
    }
}

impl Unwrapper for Identity {
    fn recipient(&self) -> &Recipient {
        Self::recipient(self)
    }

    fn unwrap(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Option<Secret<32>>> {
        Ok(Self::unwrap(self, info, enc, ciphertext))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// Claims one key and signs with another, or not at all.
    #[derive(Debug)]
    struct Odd {
        claims: VerifyingKey,
        uses: Option<SigningKey>,
    }

    impl Signer for Odd {
        fn verifying_key(&self) -> VerifyingKey {
            self.claims.clone()
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
            let gone = || Error::Storage { what: "token".into(), source: std::io::Error::other("was removed") };
            self.uses.as_ref().map(|key| key.sign(message)).ok_or_else(gone)
        }
    }

    #[test]
    fn a_signature_counts_only_if_it_verifies_under_the_key_that_was_promised() {
        let (key, other) = (SigningKey::generate().expect("key"), SigningKey::generate().expect("key"));
        assert_eq!(sign(&key, b"message").expect("signed"), key.sign(b"message"));

        let odd = Odd { claims: key.verifying_key(), uses: Some(other) };
        let error = sign(&odd, b"message").expect_err("signed by another key");
        assert_eq!(error.kind(), Kind::Authenticity);
        let id = key.verifying_key().key_id();
        assert_eq!(error.to_string(), format!("a new signature by key {id}: does not verify under that key"));
    }

    #[test]
    fn a_signer_that_fails_says_why() {
        let key = SigningKey::generate().expect("key");
        let odd = Odd { claims: key.verifying_key(), uses: None };
        assert_eq!(sign(&odd, b"").expect_err("no key").to_string(), "token: was removed");
    }
}
