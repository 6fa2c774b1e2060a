//! Containers for key material: wiped when dropped, never printed.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, Result};

/// A secret of `N` bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over. Wipe the original yourself if you keep it.
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Box::new(bytes))
    }

    /// A new secret from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn random() -> Result<Self> {
        let mut secret = Self(Box::new([0; N]));
        fill_random(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// Lends the bytes.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Lends the bytes for writing.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

/// A secret of variable length: a passphrase, a decrypted key file.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretVec(Vec<u8>);

impl SecretVec {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Lends the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVec(..)")
    }
}

/// Fills `buffer` from the operating system's generator.
///
/// # Errors
/// [`Error::Storage`] if the operating system has no randomness to give.
pub fn fill_random(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer).map_err(|e| Error::storage("operating system random generator")(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_byte() {
        assert_eq!(format!("{:?}", Secret::new([7u8; 32])), "Secret<32>(..)");
        assert_eq!(format!("{:?}", SecretVec::new(vec![7; 9])), "SecretVec(..)");
    }

    #[test]
    fn random_secrets_differ() {
        let a = Secret::<32>::random().expect("randomness");
        let b = Secret::<32>::random().expect("randomness");
        assert_ne!(a.expose(), b.expose());
    }
}
