//! Sealed, signed, verifiable model weights.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aead;
pub mod error;
pub mod floe;
pub mod names;
pub mod parts;
pub mod secret;
pub mod tree;

pub use error::{Error, Result};
