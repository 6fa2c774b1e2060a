//! What the configuration says about those who come with a token or a certificate.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU64, path::PathBuf};

use reqwest::Url;
use serde::Deserialize;

/// The longest name of an issuer.
const MAX_NAME: usize = 32;
/// Names that ids of other principals begin with.
const RESERVED: [&str; 3] = ["cert", "key", "server"];
/// The most that a clock may be wrong, in seconds.
const MAX_LEEWAY: u64 = 120;

/// Who is known besides those with API keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// Whose client certificates are believed.
    pub certificates: Option<CertificatesConfig>,
}

/// An OpenID provider, or another issuer of JSON Web Tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What it is called here: ids of those it vouches for begin with it.
    pub name: String,
    /// What it calls itself, a URL: the claim `iss`, to the letter.
    pub issuer: String,
    /// What it calls this registry: one of the claim `aud`.
    pub audience: String,
    /// Where its keys are; without it, where its `/.well-known/openid-configuration` says.
    pub jwks_uri: Option<String>,
    /// Certificates (PEM) of the authorities that say who it is, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// The algorithms of its signatures.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// The claim that names whom the token is about. It must be one that nobody chooses for themselves.
    #[serde(default = "default_subject")]
    pub subject_claim: String,
    /// The claim with the groups they are in.
    #[serde(default = "default_groups")]
    pub groups_claim: String,
    /// The claim with what people call them.
    #[serde(default = "default_name")]
    pub name_claim: String,
    /// How many seconds after it was issued (`iat`) a token counts, whatever its own expiry.
    pub max_age_seconds: Option<NonZeroU64>,
    /// How many seconds clocks may be apart.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u64,
}

/// Client certificates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatesConfig {
    /// The authorities (PEM) whose certificates are believed. Whoever they vouch for is let in.
    pub ca: PathBuf,
    /// Whether there is no connection without one.
    #[serde(default)]
    pub required: bool,
}

/// An algorithm of signatures (RFC 7518 section 3.1, RFC 8037). Those with a shared secret are not among them, nor is `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the standard")]
pub enum Algorithm {
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

impl Algorithm {
    const ALL: [Self; 9] = [
        Self::ES256,
        Self::ES384,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::EdDSA,
    ];

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name in tokens and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA]
}

fn default_subject() -> String {
    "sub".to_owned()
}

fn default_groups() -> String {
    "groups".to_owned()
}

fn default_name() -> String {
    "name".to_owned()
}

fn default_leeway() -> u64 {
    30
}

impl IdentityConfig {
    /// Every file that it names, to be found.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let issuers = self.issuers.iter_mut().filter_map(|issuer| issuer.ca.as_mut());
        issuers.chain(self.certificates.as_mut().map(|certificates| &mut certificates.ca))
    }

    /// Says what is wrong with it, if something is.
    ///
    /// # Errors
    /// The setting, and what it has to be.
    pub fn check(&self) -> Result<(), String> {
        let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
        for issuer in &self.issuers {
            issuer.check().map_err(|why| format!("`identity.issuers` {:?}: {why}", issuer.name))?;
            if !names.insert(&issuer.name) || !urls.insert(&issuer.issuer) {
                return Err(format!("`identity.issuers` {:?}: its name or its URL is there twice", issuer.name));
            }
        }
        Ok(())
    }
}

impl IssuerConfig {
    fn check(&self) -> Result<(), String> {
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.bytes().all(is_name) {
            return Err(format!("`name` is at most {MAX_NAME} lower-case letters, digits and -"));
        }
        if RESERVED.contains(&self.name.as_str()) {
            return Err("`name` is one that the registry itself uses".into());
        }
        let issuer = trustworthy(&self.issuer).map_err(|why| format!("`issuer` {why}"))?;
        if issuer.query().is_some() {
            return Err("`issuer` has no query".into());
        }
        if let Some(uri) = &self.jwks_uri {
            trustworthy(uri).map_err(|why| format!("`jwks_uri` {why}"))?;
        }
        for (name, text) in [
            ("audience", &self.audience),
            ("subject_claim", &self.subject_claim),
            ("groups_claim", &self.groups_claim),
            ("name_claim", &self.name_claim),
        ] {
            if text.is_empty() {
                return Err(format!("`{name}` is empty"));
            }
        }
        if self.algorithms.is_empty() {
            return Err("`algorithms` names none".into());
        }
        if self.leeway_seconds > MAX_LEEWAY {
            return Err(format!("`leeway_seconds` is at most {MAX_LEEWAY}"));
        }
        Ok(())
    }
}

/// Reads a URL that nobody on the way can answer for: HTTPS, or HTTP to an address of this machine.
///
/// # Errors
/// What it has to be.
pub fn trustworthy(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    match url.scheme() {
        _ if !is_plain => Err("has a user, a password or a fragment".into()),
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err("is an https:// URL; http:// is for addresses of this machine, such as http://127.0.0.1:8080".into()),
    }
}

/// Whether it names an address of this machine. A name such as `localhost` is somebody else's to resolve.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[issuers]]\nname = \"corp\"\nissuer = \"https://id.example\"\naudience = \"mvault\"\n";

    fn parse(text: &str) -> Result<IdentityConfig, String> {
        let config: IdentityConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        config.check().map(|()| config)
    }

    #[test]
    fn what_is_not_said_is_safe() {
        let config = parse(GOOD).expect("good");
        let issuer = &config.issuers[0];
        assert_eq!(issuer.algorithms, [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA]);
        assert_eq!((issuer.leeway_seconds, issuer.subject_claim.as_str()), (30, "sub"));
        assert!(config.certificates.is_none() && parse("").expect("nothing").issuers.is_empty());
    }

    #[test]
    fn shared_secrets_none_and_plain_http_are_refused() {
        for (add, words) in [
            ("algorithms = [\"none\"]", "unknown variant `none`"),
            ("algorithms = [\"HS256\"]", "unknown variant `HS256`"),
            ("algorithms = []", "names none"),
            ("leeway_seconds = 121", "at most 120"),
            ("max_age_seconds = 0", "nonzero"),
            ("jwks_uri = \"http://id.example/keys\"", "https://"),
            ("jwks_uri = \"http://localhost:1/keys\"", "https://"),
            ("jwks_uri = \"file:///etc/passwd\"", "https://"),
            ("secret = \"x\"", "unknown field"),
            ("groups_claim = \"\"", "is empty"),
        ] {
            let why = parse(&format!("{GOOD}{add}\n")).expect_err(add);
            assert!(why.contains(words), "{add}: {why}");
        }
        for (url, good) in [
            ("http://127.0.0.1:3000", true),
            ("http://[::1]:3000/realm", true),
            ("http://127.0.0.1.example", false),
            ("http://id.example", false),
            ("https://user@id.example", false),
            ("https://id.example/#x", false),
            ("https://id.example/?x", false),
            ("id.example", false),
        ] {
            assert_eq!(parse(&GOOD.replace("https://id.example", url)).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn no_two_issuers_share_a_name_and_none_takes_one_of_ours() {
        for (name, good) in
            [("a-1", true), ("cert", false), ("key", false), ("A", false), ("", false), ("a:b", false), ("a/b", false)]
        {
            assert_eq!(parse(&GOOD.replace("corp", name)).is_ok(), good, "{name}");
        }
        let twice = format!("{GOOD}{}", GOOD.replace("https://id.example", "https://other.example"));
        assert!(parse(&twice).expect_err("twice").contains("twice"));
        assert!(parse(&format!("{GOOD}{}", GOOD.replace("corp", "other"))).expect_err("twice").contains("twice"));
    }
}
