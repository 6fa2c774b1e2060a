//! `OpenSSF` Model Signing v1.0 (<https://github.com/ossf/model-signing-spec>): signatures over plaintext folders, as vendors
//! publish them.
//!
//! A bundle is a Sigstore bundle v0.3 that holds a DSSE envelope with an in-toto Statement v1, which lists every file of the
//! model with its digest. [`Bundle::verify`] checks the signature against a [`Trust`] and gives [`Signed`], which nothing else
//! makes; [`Signed::select`] compares names with a folder, [`Signed::check`] compares bytes. [`sign`] makes a bundle.
//!
//! What the reference implementation lets pass is refused here: names that lead out of the folder or occur twice, no files at
//! all, more than one signature, files in `.git` that nobody signed, links that leave the folder or go in circles,
//! certificates outside their time.

use crate::error::Error;

mod authorities;
mod bundle;
mod certificate;
mod hashing;
mod json;
mod key;
mod model;
mod pairs;
mod pem;
mod sign;
mod statement;
#[cfg(test)]
mod tests;

pub use authorities::Authorities;
pub use bundle::{Bundle, MAX_BUNDLE, Material};
pub use certificate::{Certificate, MAX_CERTIFICATES};
pub use hashing::Algorithm;
pub(crate) use hashing::Hasher;
pub use key::{Curve, EcPrivateKey, EcPublicKey};
pub use model::{Checked, Scope, Selection, Signed, SignedBy, Trust, Unsigned};
pub use sign::{Receipt, SignRequest, Signer, sign};
pub use statement::{Claim, Method, SignedFile, ignore_path};

/// What errors call a bundle, wherever it was read from.
const DOCUMENT: &str = "OMS bundle";

/// A bundle that breaks a rule.
fn malformed(rule: impl Into<String>) -> Error {
    Error::format(DOCUMENT, rule)
}

/// A signature that is not to be believed.
fn untrusted(why: &'static str) -> Error {
    Error::Untrusted { what: "OMS signature".into(), why }
}
