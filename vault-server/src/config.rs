//! The configuration file.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use vault_core::{Error, Result, store::is_vault_name};

use crate::{identity::settings::IdentityConfig, limits::Limits};

/// The longest configuration that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// How many seconds pass between two publications of the log.
const PUBLISH_SECONDS: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");

/// A configuration. Paths in it are relative to the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The vault.
    pub vault: VaultConfig,
    /// Where the server listens.
    pub listen: ListenConfig,
    /// The server itself.
    pub server: ServerConfig,
    /// The vault's log.
    #[serde(default)]
    pub log: LogConfig,
    /// Who is known besides those with API keys.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// What is allowed at a time.
    #[serde(default)]
    pub limits: Limits,
    /// Where metrics are asked for; nowhere without it.
    pub metrics: Option<MetricsConfig>,
    /// Where traces go; nowhere without it.
    pub traces: Option<TracesConfig>,
}

/// A listener for Prometheus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// The address. There is no password: whoever reaches it may ask.
    pub address: SocketAddr,
}

/// A collector of traces.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The URL of its OTLP over HTTP, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
}

/// The vault that is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// What it is called in URLs: `https://HOST/NAME`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where it is: a folder or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// The trust root to begin at; without one, the one that the vault shows.
    pub trust_root: Option<PathBuf>,
    /// Whether content goes straight between clients and the bucket, if that has presigned URLs that hold what they say.
    #[serde(default = "yes")]
    pub direct: bool,
}

/// The address, and what secures it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// The address, such as `0.0.0.0:8443`.
    pub address: SocketAddr,
    /// The certificates (PEM), the server's own first.
    pub certificate: PathBuf,
    /// The key of the first (PEM), 0600.
    pub key: PathBuf,
}

/// The server's own key and memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The Ed25519 key that signs the server's own records (PEM), 0600.
    pub key: PathBuf,
    /// Where this instance remembers what it saw last.
    pub checkpoint: PathBuf,
}

/// The vault's log, to which the registry adds what happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The Ed25519 key (PEM), 0600, with which this instance signs checkpoints of the log; without it, somebody else does.
    pub key: Option<PathBuf>,
    /// How many seconds pass between two publications.
    pub publish_seconds: NonZeroU32,
    /// After how many days it is forgotten who is behind a pseudonym; never without it. The log itself stays whole.
    pub forget_people_after_days: Option<u32>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { key: None, publish_seconds: PUBLISH_SECONDS, forget_people_after_days: None }
    }
}

fn yes() -> bool {
    true
}

fn default_name() -> String {
    "main".to_owned()
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Misuse`] with the line, what is wrong there, and what to write instead; [`Error::Storage`].
    pub fn load(path: &Path) -> Result<Self> {
        let failed = || Error::storage(path.display());
        if std::fs::metadata(path).map_err(failed())?.len() > MAX_CONFIG {
            return Err(Error::Misuse(format!("{}: is too long for a configuration", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(failed())?;
        let mut config = Self::parse(&text).map_err(|why| Error::Misuse(format!("{}, {why}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let own = [
            Some(&mut config.listen.certificate),
            Some(&mut config.listen.key),
            Some(&mut config.server.key),
            Some(&mut config.server.checkpoint),
            config.vault.trust_root.as_mut(),
            config.log.key.as_mut(),
        ];
        for path in own.into_iter().flatten().chain(config.identity.files()) {
            *path = folder.join(&*path);
        }
        if !config.vault.url.contains("://") {
            config.vault.url = folder.join(&config.vault.url).display().to_string();
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let said = error.message().trim_end_matches('\n').replace('\n', "; ");
            format!("line {line}: {said}; `mvault-server init` writes an example with every setting")
        })?;
        let limits = &config.limits;
        if !is_vault_name(&config.vault.name) {
            return Err(format!("`vault.name`: {:?} is not lower-case letters, digits and -", config.vault.name));
        }
        if let Some(TracesConfig { endpoint }) = &config.traces
            && (endpoint.contains(['@', '?', '#']) || !endpoint.starts_with("http"))
        {
            return Err("`traces.endpoint` is a URL like http://127.0.0.1:4318, with no password in it".into());
        }
        let least = [
            limits.connections,
            limits.connections_per_address,
            limits.transfers,
            limits.transfers_per_principal,
            limits.listings,
        ];
        if least.contains(&0) || limits.max_object == 0 {
            return Err("`limits`: connections, transfers, listings and max_object are at least 1".into());
        }
        config.identity.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[vault]\nurl = \"vault\"\n[listen]\naddress = \"127.0.0.1:8443\"\ncertificate = \"a\"\nkey = \"b\"\n\
                        [server]\nkey = \"c\"\ncheckpoint = \"d\"\n";

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("server.toml");
        std::fs::write(&path, GOOD).expect("written");
        let config = Config::load(&path).expect("good");
        assert_eq!(config.listen.key, folder.path().join("b"));
        assert_eq!(config.vault.url, folder.path().join("vault").display().to_string());
        assert_eq!(config.vault.name, "main");
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_its_remedy() {
        for (text, words) in [
            (GOOD.replace("key = \"c\"", "kex = \"c\""), vec!["line 8", "kex", "mvault-server init"]),
            (GOOD.replace("127.0.0.1:8443", "localhost"), vec!["line 4", "socket address"]),
            (GOOD.replace("url = \"vault\"", "url = 3"), vec!["line 2", "string"]),
            (GOOD.to_owned() + "[limits]\nconnections = 0\n", vec!["limits", "at least 1"]),
            (GOOD.to_owned() + "[limits]\nper_address = 0\n", vec!["line 11", "nonzero"]),
            (GOOD.replace("[vault]", "[vault]\nname = \"A\""), vec!["vault.name", "lower-case"]),
            (
                GOOD.to_owned()
                    + "[[identity.issuers]]\nname = \"a\"\nissuer = \"https://i\"\naudience = \"m\"\n\
                                  algorithms = [\"HS256\"]\n",
                vec!["line 14", "HS256", "RS256"],
            ),
            (GOOD.to_owned() + "[identity.certificates]\nrequired = true\n", vec!["line 10", "ca"]),
            (
                GOOD.to_owned() + "[traces]\nendpoint = \"http://me:secret@host\"\n",
                vec!["traces.endpoint", "no password"],
            ),
            (GOOD.to_owned() + "[log]\npublish_seconds = 0\n", vec!["line 11", "nonzero"]),
            (GOOD.to_owned() + "[metrics]\naddress = \"9464\"\n", vec!["line 11", "socket address"]),
            ("[vault".to_owned(), vec!["line 1"]),
            (String::new(), vec!["line 1", "missing field"]),
        ] {
            let why = Config::parse(&text).expect_err(&text);
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
    }
}
