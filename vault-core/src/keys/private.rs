//! What a private key file can hold, in the clear or under a passphrase.

use super::{
    DOCUMENT, Identity, PublicKey, RecipientKind, SigningKey, der,
    passphrase::{self, COMMITMENT, Context, Cost, SALT, Sealed},
    pem,
};
use crate::{
    error::{Error, Result},
    secret::SecretVec,
};

/// The first byte of a key file under a passphrase.
pub(super) const SEALED_VERSION: u8 = 1;

/// AES-GCM's tag, the least a ciphertext can be.
const TAG: usize = 16;

/// A private key of any kind. Wiped when dropped.
#[derive(Debug)]
pub enum PrivateKey {
    /// It signs.
    Signing(SigningKey),
    /// It unwraps secrets.
    Identity(Identity),
}

impl PrivateKey {
    /// Reads the only private key PEM block of `text`.
    ///
    /// `passphrase` is asked only if the block is encrypted, and only after its form and cost were checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, [`Error::Misuse`] if it is no private key, one of another algorithm, or one
    /// that only OpenSSL can decrypt, [`Error::WrongKey`] if the passphrase does not open it, and what `passphrase` fails
    /// with.
    pub fn from_pem(text: &[u8], passphrase: &mut dyn FnMut() -> Result<SecretVec>) -> Result<Self> {
        let (label, contents) = pem::decode(text)?;
        match label {
            pem::PRIVATE => Self::from_pkcs8_der(contents.expose()),
            pem::SEALED => {
                let sealed = parse_sealed(contents.expose())?;
                let der = passphrase::open(&passphrase()?, &Context::key_file(), &sealed)?;
                Self::from_pkcs8_der(der.expose())
            }
            pem::PBES2 => Err(Error::Misuse(
                "this private key is encrypted in a way that is not supported; decrypt it first with `openssl pkey`"
                    .into(),
            )),
            pem::PUBLIC => Err(Error::Misuse("this is a public key where a private key is expected".into())),
            _ => Err(Error::Misuse("the PEM block is not a PRIVATE KEY".into())),
        }
    }

    fn from_pkcs8_der(der: &[u8]) -> Result<Self> {
        let parsed = der::parse_private_key(der)?;
        let key = match parsed.algorithm {
            der::Algorithm::Ed25519 => Self::Signing(SigningKey::from_seed(&parsed.secret)),
            der::Algorithm::XWing => Self::Identity(Identity::from_secret(RecipientKind::XWing, parsed.secret)?),
            der::Algorithm::X25519 => Self::Identity(Identity::from_secret(RecipientKind::X25519, parsed.secret)?),
        };
        match parsed.claimed_public {
            Some(claimed) if claimed != key.public().as_bytes() => {
                Err(Error::format(DOCUMENT, "the public key in it does not belong to the private key"))
            }
            _ => Ok(key),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Signing(key) => PublicKey::Signing(key.verifying_key()),
            Self::Identity(key) => PublicKey::Recipient(key.recipient().clone()),
        }
    }

    fn to_pkcs8_der(&self) -> Result<SecretVec> {
        match self {
            Self::Signing(key) => key.to_pkcs8_der(),
            Self::Identity(key) => key.to_pkcs8_der(),
        }
    }

    /// The key in the clear, as a `PRIVATE KEY` PEM block.
    ///
    /// # Errors
    /// None in practice; the encoders are fallible.
    pub fn to_pem_plain(&self) -> Result<SecretVec> {
        pem::encode_private(pem::PRIVATE, self.to_pkcs8_der()?.expose())
    }

    /// The key under a passphrase, as an `MVAULT ENCRYPTED PRIVATE KEY` PEM block, at [`Cost::DEFAULT`].
    ///
    /// # Errors
    /// [`Error::Misuse`] if the passphrase is empty, [`Error::Storage`] if the operating system has no randomness or no
    /// memory to give.
    pub fn to_pem_encrypted(&self, passphrase: &SecretVec) -> Result<SecretVec> {
        self.to_pem_at_cost(passphrase, Cost::DEFAULT)
    }

    fn to_pem_at_cost(&self, passphrase: &SecretVec, cost: Cost) -> Result<SecretVec> {
        let sealed = passphrase::seal(passphrase, cost, &Context::key_file(), self.to_pkcs8_der()?.expose())?;
        let header = passphrase::key_file_header(sealed.cost, &sealed.salt);
        pem::encode_private(pem::SEALED, &[&header[..], &sealed.commitment, &sealed.ciphertext].concat())
    }
}

fn parse_sealed(contents: &[u8]) -> Result<Sealed> {
    let rest = match contents {
        [SEALED_VERSION, rest @ ..] => rest,
        [version, ..] => {
            return Err(Error::format(DOCUMENT, format!("version {version} of encrypted keys is not known")));
        }
        [] => return Err(Error::format(DOCUMENT, "the encrypted key is empty")),
    };
    let parse = || {
        let (memory_kib, rest) = split_u32(rest)?;
        let (passes, rest) = split_u32(rest)?;
        let (lanes, rest) = split_u32(rest)?;
        let (salt, rest) = rest.split_first_chunk::<SALT>()?;
        let (commitment, ciphertext) = rest.split_first_chunk::<COMMITMENT>()?;
        let cost = Cost { memory_kib, passes, lanes };
        let sealed = Sealed { cost, salt: *salt, commitment: *commitment, ciphertext: ciphertext.to_vec() };
        (ciphertext.len() >= TAG).then_some(sealed)
    };
    let sealed = parse().ok_or_else(|| Error::format(DOCUMENT, "the encrypted key is cut short"))?;
    sealed.cost.check()?;
    Ok(sealed)
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(head, rest)| (u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
