//! Asking an issuer for its keys: briefly, for little, and nobody else.

use std::{fs, io, path::Path, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode, Url, header::CACHE_CONTROL, redirect::Policy};
use serde::Deserialize;
use vault_core::{Error, Result};

use super::{
    jwks::{Keys, MAX_SET},
    settings::{IssuerConfig, is_loopback, trustworthy},
};

/// How long a connection, and how long a whole answer may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// The longest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;
/// Where issuers describe themselves (OpenID Connect Discovery 1.0 section 4).
const DESCRIPTION: &str = "/.well-known/openid-configuration";
const AGENT: &str = concat!("model-vault/", env!("CARGO_PKG_VERSION"));

#[derive(Deserialize)]
struct WireDescription {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the keys of one issuer.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    issuer: String,
    /// Where its keys are, if the configuration says so.
    keys: Option<Url>,
}

impl Fetcher {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a setting is not what it has to be; [`Error::Storage`].
    pub(super) fn new(config: &IssuerConfig) -> Result<Self> {
        let unfit = |why: String| Error::Misuse(format!("identity.issuers {:?}: {why}", config.name));
        let url = trustworthy(&config.issuer).map_err(unfit)?;
        let keys = config.jwks_uri.as_deref().map(trustworthy).transpose().map_err(unfit)?;
        let mut builder = ClientBuilder::new()
            .http1_only()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(AGENT);
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        if let Some(path) = &config.ca {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        let client = builder.build().map_err(|error| Error::storage(&config.issuer)(io::Error::other(error)))?;
        Ok(Self { client, issuer: config.issuer.clone(), keys })
    }

    /// The keys, and how long the issuer says they stay.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be reached or answers something else; [`Error::Corrupt`].
    pub(super) async fn keys(&self) -> Result<(Keys, Option<Duration>)> {
        let there = match &self.keys {
            Some(url) => url.clone(),
            None => self.described().await?,
        };
        let answer = self.get(there).await?;
        let stays = answer.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        Ok((Keys::parse(&self.body(answer).await?)?, stays))
    }

    /// Where the issuer says its keys are.
    async fn described(&self) -> Result<Url> {
        let there = format!("{}{DESCRIPTION}", self.issuer.trim_end_matches('/'));
        let there = Url::parse(&there).map_err(|error| self.failed(error))?;
        let is_local = is_loopback(&there);
        let body = self.body(self.get(there).await?).await?;
        let said: WireDescription = serde_json::from_slice(&body).map_err(|error| self.failed(error))?;
        if said.issuer != self.issuer {
            return Err(self.failed("it calls itself something else than the configuration does"));
        }
        let keys = trustworthy(&said.jwks_uri).map_err(|why| self.failed(format!("`jwks_uri` {why}")))?;
        // Nobody elsewhere sends us to this machine.
        if is_loopback(&keys) && !is_local {
            return Err(self.failed("`jwks_uri` is an address of this machine"));
        }
        Ok(keys)
    }

    async fn get(&self, url: Url) -> Result<Response> {
        let answer = self.client.get(url).header("accept", "application/json").send().await;
        let answer = answer.map_err(|error| self.failed(causes(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(self.failed(format!("it answers with status {}", answer.status().as_u16())));
        }
        Ok(answer)
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(causes(&error)))? {
            if body.len() + chunk.len() > MAX_SET {
                return Err(self.failed("its answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::storage(&self.issuer)(io::Error::other(error))
    }
}

/// An error with the reason below it: the topmost says only that something failed.
fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    words
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let unfit = |why: &str| Error::Misuse(format!("{}: {why}", path.display()));
    if fs::metadata(path).map_err(Error::storage(path.display()))?.len() > MAX_CERTIFICATES {
        return Err(unfit("is too long for a file of certificates"));
    }
    let pem = fs::read(path).map_err(Error::storage(path.display()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(unfit("is no PEM file of certificates")),
    }
}

/// How long an answer may be kept (RFC 9111 section 5.2.2.1).
fn max_age(header: &str) -> Option<Duration> {
    let seconds = |part: &str| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    };
    header.split(',').find_map(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_an_answer_stays_is_read_from_its_header() {
        for (header, seconds) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"7\", must-revalidate", Some(7)),
            ("no-store", None),
            ("max-age=", None),
            ("max-age=-1", None),
            ("s-maxage=5", None),
        ] {
            assert_eq!(max_age(header), seconds.map(Duration::from_secs), "{header}");
        }
    }
}
