//! Sealed, signed, verifiable model weights.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aead;
mod canonical;
pub mod error;
pub mod floe;
pub mod manifest;
pub mod names;
pub mod parts;
pub mod secret;
pub mod stream;
pub mod tree;

pub use error::{Error, Result};
