//! Keys: who signs, who may read, and the files their keys are kept in.
//!
//! A [`SigningKey`] signs statements and a [`VerifyingKey`] checks them (Ed25519, strictly). A [`Recipient`] is the public
//! key a secret is wrapped to and an [`Identity`] the private key that unwraps it (HPKE, RFC 9180). Whoever uses a private
//! key takes a [`Signer`] or an [`Unwrapper`], so that it may as well live in another process or device. [`PublicKey`] and
//! [`PrivateKey`] are what a key file can hold; `docs/FORMAT.md` sections 9 and 10 give the bytes. [`passphrase`] turns a
//! passphrase into a key, for key files and for passphrase recipients alike, and [`mod@file`] creates and reads the files.
//!
//! ```
//! use vault_core::keys::{Identity, PrivateKey, PublicKey, RecipientKind, SigningKey};
//! use vault_core::secret::Secret;
//!
//! # fn main() -> vault_core::Result<()> {
//! let signer = SigningKey::generate()?;
//! let signature = signer.sign(b"statement");
//! assert!(signer.verifying_key().verify(b"statement", &signature));
//!
//! let identity = Identity::generate(RecipientKind::XWing)?;
//! let wrapped = identity.recipient().wrap(b"what it is for", &Secret::random()?)?;
//! assert!(identity.unwrap(b"what it is for", &wrapped.enc, &wrapped.ciphertext).is_some());
//!
//! let private = PrivateKey::Identity(identity);
//! assert_eq!(PublicKey::from_pem(&private.public().to_pem())?, private.public());
//! # Ok(())
//! # }
//! ```

mod der;
#[cfg(unix)]
pub mod file;
mod id;
mod joint;
pub mod passphrase;
mod pem;
mod private;
mod public;
mod recipient;
mod signing;
#[cfg(test)]
mod vector_tests;

pub use id::KeyId;
pub use joint::{Signer, Unwrapper, sign};
pub use private::PrivateKey;
pub use public::PublicKey;
pub use recipient::{Identity, Recipient, RecipientKind, Wrapped};
pub use signing::{SigningKey, VerifyingKey};

/// What errors call a key, wherever it was read from.
const DOCUMENT: &str = "key file";

/// No key file is longer: an X-Wing public key in PEM has about 1 700 bytes.
const MAX_KEY_FILE: usize = 64 * 1024;
