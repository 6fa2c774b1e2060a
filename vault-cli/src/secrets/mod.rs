//! The only place that reads keys and passphrases.

mod keys;
mod passphrase;

pub use keys::{Signers, holds_private_key, load_identities, load_private, load_public, load_recipients, load_signing};
pub use passphrase::{PassphraseArgs, Passphrases};
