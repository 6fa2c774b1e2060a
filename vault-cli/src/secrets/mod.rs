//! The only place that reads keys and passphrases.

mod example;
mod keys;
mod passphrase;
pub mod program;
#[cfg(feature = "pkcs11")]
mod token;

pub use example::Examples;
pub use keys::{
    Signers, holds_private_key, load_identities, load_private, load_public, load_recipients, load_reference,
    load_signing, token_uri,
};
pub use passphrase::{PassphraseArgs, Passphrases, read_token};
pub use program::Program;
