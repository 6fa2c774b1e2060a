//! A vault behind a registry, `mvault-server`: the same objects under the same paths, over HTTPS.
//!
//! The client is one more [`ObjectStore`](object_store::ObjectStore), so that staging, fetching ahead, patience and reading
//! back are those of buckets. What a registry gives is believed no more than what a bucket gives.

use crate::error::{Error, Result};

mod calls;
mod client;
mod direct;
mod objects;
mod refusal;
mod token;

pub use calls::Registry;
use client::Client;
pub(super) use objects::Objects;
pub(super) use refusal::Refused;
pub use token::{ClientCertificate, MAX_TOKEN, Token};

/// The vault of a URL that names none.
const DEFAULT_VAULT: &str = "main";
/// The longest name of a vault.
const MAX_NAME: usize = 64;

/// Whether a URL names a registry.
pub fn is_registry(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// How a registry is reached: who asks, and whose certificate is believed.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Sent with every request.
    pub token: Option<Token>,
    /// Shown when a connection begins. A token counts before it.
    pub certificate: Option<ClientCertificate>,
    /// Certificates (PEM) of authorities that are believed besides those of the system.
    pub authorities: Option<Vec<u8>>,
    /// Whether every byte goes through the registry, and none straight from and to its bucket.
    pub through: bool,
}

/// Where a registry is, and which of its vaults is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    origin: String,
    vault: String,
}

impl Address {
    /// Reads `https://HOST[:PORT][/VAULT]`.
    ///
    /// # Errors
    /// [`Error::Misuse`].
    pub fn parse(url: &str) -> Result<Self> {
        let unfit = || Error::Misuse(format!("{url:?}: a vault in a registry is https://HOST[:PORT]/VAULT"));
        let (_, rest) = url.split_once("://").filter(|_| is_registry(url)).ok_or_else(unfit)?;
        let (host, vault) = rest.split_once('/').unwrap_or((rest, ""));
        let vault = vault.trim_end_matches('/');
        let vault = if vault.is_empty() { DEFAULT_VAULT } else { vault };
        let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        if !is_host || !is_vault_name(vault) {
            return Err(unfit());
        }
        Ok(Self { origin: format!("https://{}", host.to_ascii_lowercase()), vault: vault.to_owned() })
    }

    /// `https://HOST[:PORT]`, in lower case.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The name of the vault.
    pub fn vault(&self) -> &str {
        &self.vault
    }
}

/// Whether a registry may call a vault so: `[a-z0-9][a-z0-9-]*`, at most 64 characters.
pub fn is_vault_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && !text.starts_with('-')
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_vault() {
        let address = Address::parse("HTTPS://Registry.example:8443/models/").expect("good");
        assert_eq!((address.origin(), address.vault()), ("https://registry.example:8443", "models"));
        assert_eq!(Address::parse("https://[::1]:1").expect("good").vault(), "main");
        for bad in [
            "http://h/v",
            "https://",
            "https:///v",
            "https://user:pw@h/v",
            "https://h/a/b",
            "https://h/../v",
            "https://h/V",
            "https://h/v?x",
            "https://h/v#x",
            "https://h h/v",
            "https://h/-",
        ] {
            assert!(matches!(Address::parse(bad), Err(Error::Misuse(_))), "{bad}");
        }
    }
}
