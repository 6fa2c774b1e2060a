//! Sealed, signed, verifiable model weights.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aead;
mod body;
mod canonical;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod floe;
pub mod index;
pub mod keys;
pub mod manifest;
pub mod names;
pub mod open;
pub mod parts;
pub mod provenance;
pub mod recipients;
pub mod safetensors;
pub mod seal;
pub mod secret;
pub mod source;
pub mod store;
pub mod stream;
pub mod tree;
pub mod trust;
pub mod vault;
pub mod verify;
pub mod workers;
pub mod wrap;

pub use error::{Error, Result};
