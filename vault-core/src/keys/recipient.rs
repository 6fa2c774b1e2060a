//! Who may read: HPKE (RFC 9180) in base mode, single shot, with X-Wing or X25519.

use std::{convert::Infallible, fmt};

use hpke::{
    Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable,
    kem::{X25519HkdfSha256, XWing},
    rand_core::{TryCryptoRng, TryRng},
};
use zeroize::Zeroizing;

use super::{DOCUMENT, KeyId, der, pem};
use crate::{
    error::{Error, Result},
    secret::{Secret, SecretVec},
};

pub(super) type Aead = hpke::aead::AesGcm256;
pub(super) type Kdf = hpke::kdf::HkdfSha256;

/// A 32-byte secret and its tag.
const CIPHERTEXT: usize = 48;

/// The key encapsulation of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecipientKind {
    /// X-Wing (KEM 0x647A): what is recorded today stays closed to a quantum computer of tomorrow.
    XWing,
    /// DHKEM(X25519, HKDF-SHA-256) (KEM 0x0020).
    X25519,
}

impl RecipientKind {
    /// The name in recipient stanzas: `x-wing` or `x25519`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XWing => "x-wing",
            Self::X25519 => "x25519",
        }
    }

    fn algorithm(self) -> der::Algorithm {
        match self {
            Self::XWing => der::Algorithm::XWing,
            Self::X25519 => der::Algorithm::X25519,
        }
    }
}

/// A secret wrapped to a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The encapsulated key: 1120 bytes for X-Wing, 32 for X25519.
    pub enc: Vec<u8>,
    /// The encrypted secret and its tag, 48 bytes.
    pub ciphertext: Vec<u8>,
}

/// A public key that secrets are wrapped to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient {
    kind: RecipientKind,
    /// Checked when this value was made.
    key: Vec<u8>,
}

impl Recipient {
    pub(super) fn from_bytes(kind: RecipientKind, key: &[u8]) -> Result<Self> {
        let valid = match kind {
            RecipientKind::XWing => {
                <XWing as Kem>::PublicKey::from_bytes(key).is_ok() && key.last_chunk().is_some_and(is_sound_x25519)
            }
            RecipientKind::X25519 => key.try_into().is_ok_and(is_sound_x25519),
        };
        if valid {
            Ok(Self { kind, key: key.to_vec() })
        } else {
            Err(Error::format(DOCUMENT, format!("the {} public key is not valid", kind.as_str())))
        }
    }

    /// The key encapsulation it is for.
    pub fn kind(&self) -> RecipientKind {
        self.kind
    }

    /// The id of this key.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.to_spki_der())
    }

    /// The key as a `PUBLIC KEY` PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode_public(&self.to_spki_der())
    }

    fn to_spki_der(&self) -> Vec<u8> {
        der::public_key(self.kind.algorithm(), &self.key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.key
    }

    /// Encrypts `secret` so that only the identity of this recipient opens it, and only with the same `info`.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn wrap(&self, info: &[u8], secret: &Secret<32>) -> Result<Wrapped> {
        self.wrap_with(Randomness::new(Secret::random()?), info, secret)
    }

    /// As [`Self::wrap`], with the randomness given: for known answers.
    pub(super) fn wrap_with(&self, randomness: Randomness, info: &[u8], secret: &Secret<32>) -> Result<Wrapped> {
        match self.kind {
            RecipientKind::XWing => seal::<XWing>(&self.key, randomness, info, secret),
            RecipientKind::X25519 => seal::<X25519HkdfSha256>(&self.key, randomness, info, secret),
        }
        .map_err(|_| Error::format(DOCUMENT, format!("nothing can be wrapped to the {} key", self.kind.as_str())))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({}, {})", self.kind.as_str(), self.key_id())
    }
}

/// A private key that unwraps secrets. Wiped when dropped.
pub struct Identity {
    secret: Secret<32>,
    recipient: Recipient,
}

impl Identity {
    /// A new identity from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn generate(kind: RecipientKind) -> Result<Self> {
        Self::from_secret(kind, Secret::random()?)
    }

    /// The identity of an X25519 scalar or an X-Wing seed.
    pub(super) fn from_secret(kind: RecipientKind, secret: Secret<32>) -> Result<Self> {
        let key = match kind {
            RecipientKind::XWing => public_bytes::<XWing>(&secret),
            RecipientKind::X25519 => public_bytes::<X25519HkdfSha256>(&secret),
        };
        let key = key.map_err(|_| Error::format(DOCUMENT, format!("the {} key is not valid", kind.as_str())))?;
        Ok(Self { secret, recipient: Recipient::from_bytes(kind, &key)? })
    }

    /// The public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The id of the public half.
    pub fn key_id(&self) -> KeyId {
        self.recipient.key_id()
    }

    /// Decrypts what was wrapped to [`Self::recipient`] with this `info`; `None` if it does not open.
    ///
    /// Both lengths must be exact. An X25519 `enc` whose shared secret is zero opens nothing.
    pub fn unwrap(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Option<Secret<32>> {
        match self.recipient.kind {
            RecipientKind::XWing => open::<XWing>(&self.secret, info, enc, ciphertext),
            RecipientKind::X25519 => open::<X25519HkdfSha256>(&self.secret, info, enc, ciphertext),
        }
    }

    /// The key in the clear, as the DER of PKCS#8 version 1.
    ///
    /// # Errors
    /// None at present; fallible because an encoder may be.
    #[allow(clippy::unnecessary_wraps)] // callers were promised a `Result`
    pub fn to_pkcs8_der(&self) -> Result<SecretVec> {
        Ok(der::private_key(self.recipient.kind.algorithm(), self.secret.expose()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {}, ..)", self.recipient.kind.as_str(), self.key_id())
    }
}

/// Whether an X25519 public key is canonical and gives shared secrets other than zero.
///
/// A key that is not canonical would have a second id, and its owner could not open what is wrapped to it, as HPKE and
/// X-Wing both hash the encoding.
fn is_sound_x25519(key: &[u8; 32]) -> bool {
    let contributes = || {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(key)?;
        // A small-order key makes the shared secret zero for every ephemeral key, so one that is no secret will do.
        X25519HkdfSha256::encap_with_rng(&key, None, &mut Randomness::new(Secret::new([0; 64])))
    };
    der::is_canonical_field_element(key) && contributes().is_ok()
}

fn public_bytes<K: Kem>(secret: &Secret<32>) -> Result<Vec<u8>, HpkeError> {
    let private = K::PrivateKey::from_bytes(secret.expose())?;
    Ok(K::sk_to_pk(&private).to_bytes().to_vec())
}

fn seal<K: Kem>(
    key: &[u8],
    mut randomness: Randomness,
    info: &[u8],
    secret: &Secret<32>,
) -> Result<Wrapped, HpkeError> {
    let key = K::PublicKey::from_bytes(key)?;
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<Aead, Kdf, K>(
        &OpModeS::Base,
        &key,
        info,
        secret.expose(),
        b"",
        &mut randomness,
    )?;
    Ok(Wrapped { enc: enc.to_bytes().to_vec(), ciphertext })
}

fn open<K: Kem>(secret: &Secret<32>, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Option<Secret<32>> {
    if ciphertext.len() != CIPHERTEXT {
        return None;
    }
    let private = K::PrivateKey::from_bytes(secret.expose()).ok()?;
    let enc = K::EncappedKey::from_bytes(enc).ok()?;
    let plaintext =
        hpke::single_shot_open::<Aead, Kdf, K>(&OpModeR::Base, &private, &enc, info, ciphertext, b"").ok()?;
    let plaintext = Zeroizing::new(plaintext);
    let mut secret = Secret::new([0; 32]);
    secret.expose_mut().copy_from_slice(plaintext.get(..32)?);
    Some(secret)
}

/// Random bytes drawn beforehand, so that a failing generator is an error and not a panic inside `hpke`.
pub(super) struct Randomness {
    bytes: Secret<64>,
    used: usize,
}

impl Randomness {
    /// X-Wing encapsulates with 64 bytes, X25519 with 32.
    pub(super) fn new(bytes: Secret<64>) -> Self {
        Self { bytes, used: 0 }
    }
}

impl TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Running dry would need another KEM than the two above, and repeating bytes would be worse than a panic.
    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        let end = self.used + buffer.len();
        buffer.copy_from_slice(&self.bytes.expose()[self.used..end]);
        self.used = end;
        Ok(())
    }
}

impl TryCryptoRng for Randomness {}

#[cfg(test)]
#[path = "recipient_tests.rs"]
mod tests;
