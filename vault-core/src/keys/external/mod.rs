//! Keys that another program keeps: protocol `mvault-key/v1`, its messages and the files that name such keys.
//!
//! One question, one answer, both JSON. The question says what to do with which key; the answer is a signature, an unwrapped
//! secret, a public key or a refusal. How both travel is up to a [`Keeper`]: `mvault` runs a program for each question and
//! speaks over its standard input and output. `docs/EXTERNAL_KEYS.md` in the repository specifies the protocol.
//!
//! Whoever answers is not believed: a signature is verified before it is used ([`sign`](super::sign)), and an unwrapped
//! secret counts only if it is what the artifact was sealed with ([`crate::wrap::unwrap`]).

mod answer;
mod question;
mod reference;

pub use answer::MAX_ANSWER;
pub use question::MAX_QUESTION;
pub use reference::{Invocation, MAX_PATIENCE, Reference};

use std::fmt::Debug;

use super::{PublicKey, Recipient, Signer, Unwrapper, VerifyingKey};
use crate::{
    error::Result,
    secret::{Secret, SecretVec},
};

/// The protocol and its version, named in every message and in every file that refers to a key.
pub const PROTOCOL: &str = "mvault-key/v1";

/// Carries a question to whatever keeps a key, and its answer back.
pub trait Keeper: Debug + Send + Sync {
    /// What errors call it.
    fn name(&self) -> &str;

    /// Asks one question of at most [`MAX_QUESTION`] bytes. The answer need not be checked, only bounded: no more than
    /// [`MAX_ANSWER`] bytes, within a time that ends.
    ///
    /// # Errors
    /// Whatever kept the answer from coming.
    fn ask(&self, question: &[u8]) -> Result<SecretVec>;
}

impl<K: Keeper + ?Sized> Keeper for Box<K> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn ask(&self, question: &[u8]) -> Result<SecretVec> {
        (**self).ask(question)
    }
}

/// Asks for the public half of the only key that `keeper` keeps.
///
/// # Errors
/// As [`Keeper::ask`], and an error that says what is wrong with the answer.
pub fn public_key(keeper: &dyn Keeper) -> Result<PublicKey> {
    let answer = keeper.ask(&question::public_key()?)?;
    answer::public_key(keeper.name(), answer.expose())
}

/// A signing key that `K` keeps.
#[derive(Debug)]
pub struct ExternalSigner<K> {
    key: VerifyingKey,
    keeper: K,
}

impl<K: Keeper> ExternalSigner<K> {
    /// The key whose public half this is.
    pub fn new(key: VerifyingKey, keeper: K) -> Self {
        Self { key, keeper }
    }
}

impl<K: Keeper> Signer for ExternalSigner<K> {
    fn verifying_key(&self) -> VerifyingKey {
        self.key.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let answer = self.keeper.ask(&question::sign(&self.key, message)?)?;
        answer::signature(self.keeper.name(), answer.expose())
    }
}

/// A recipient's private key that `K` keeps.
#[derive(Debug)]
pub struct ExternalIdentity<K> {
    recipient: Recipient,
    keeper: K,
}

impl<K: Keeper> ExternalIdentity<K> {
    /// The key whose public half this is.
    pub fn new(recipient: Recipient, keeper: K) -> Self {
        Self { recipient, keeper }
    }
}

impl<K: Keeper> Unwrapper for ExternalIdentity<K> {
    fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    fn unwrap(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Option<Secret<32>>> {
        let answer = self.keeper.ask(&question::unwrap(&self.recipient, info, enc, ciphertext)?)?;
        answer::secret(self.keeper.name(), answer.expose())
    }
}

/// Whether an answer is a refusal: the only kind that counts if whoever gave it ended in failure.
pub fn is_refusal(answer: &[u8]) -> bool {
    answer::is_refusal(answer)
}

/// Reads `bytes` as every kind of answer. For fuzzing: nothing is done with what they say.
#[doc(hidden)]
pub fn try_answers(bytes: &[u8]) -> [bool; 3] {
    [
        answer::signature("keeper", bytes).is_ok(),
        answer::secret("keeper", bytes).is_ok(),
        answer::public_key("keeper", bytes).is_ok(),
    ]
}

#[cfg(test)]
mod tests;
