//! Sealed, signed, verifiable model weights.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod error;
pub mod names;
pub mod parts;
pub mod secret;
pub mod store;

pub use error::{Error, Result};
