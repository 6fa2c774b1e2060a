//! Sealed, signed, verifiable model weights.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod error;
pub mod keys;
pub mod names;
pub mod parts;
pub mod secret;

pub use error::{Error, Result};
