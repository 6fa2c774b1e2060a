//! `mvault-server init`: a commented configuration, keys, and the first administrator.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use vault_core::{
    Error, Result,
    keys::{
        PrivateKey, SigningKey,
        file::{read_private, write_private, write_public},
    },
    log::Log,
    secret::SecretVec,
    store::Store,
    vault::Vault,
};

use crate::{
    identity::NewKey,
    rights::{Grant, Permission},
    state::States,
};

/// What is made.
#[derive(Debug)]
pub struct Plan {
    /// The folder for configuration and keys.
    pub folder: PathBuf,
    /// Where the vault is, as it shall stand in the configuration.
    pub vault: String,
    /// The names that the certificate is for.
    pub hosts: Vec<String>,
    /// The address to listen at.
    pub address: String,
}

/// Every permission there is.
///
/// # Errors
/// None: `*` is a pattern.
pub fn everything() -> Result<Vec<Grant>> {
    use Permission::{Admin, Approve, Audit, Promote, Read, Seal, Sign};
    let permissions = [Read, Seal, Sign, Promote, Approve, Admin, Audit].into();
    Ok(vec![Grant { permissions, models: "*".parse()?, channels: "*".parse()?, networks: Vec::new(), until: None }])
}

/// Makes the files. The vault is made too, if there is none.
///
/// # Errors
/// [`Error::Conflict`] if one of them is there; [`Error::Storage`].
pub fn write(plan: &Plan) -> Result<PathBuf> {
    let Plan { folder, vault, hosts, address } = plan;
    let config = folder.join("server.toml");
    if config.exists() {
        return Err(Error::Conflict { what: config.display().to_string() });
    }
    std::fs::create_dir_all(folder).map_err(Error::storage(folder.display()))?;
    certificate(folder, hosts)?;
    let key = PrivateKey::Signing(SigningKey::generate()?);
    write_private(&folder.join("server.key"), &key.to_pem_plain()?)?;
    write_public(&config, &text(vault, address))?;
    Ok(config)
}

/// A self-signed certificate for these names, `tls.crt`, and its key, `tls.key`.
///
/// # Errors
/// [`Error::Misuse`] for a name that is none; [`Error::Conflict`]; [`Error::Storage`].
pub fn certificate(folder: &Path, hosts: &[String]) -> Result<()> {
    let unfit = |error: rcgen::Error| Error::Misuse(format!("no certificate for {}: {error}", hosts.join(", ")));
    let made = rcgen::generate_simple_self_signed(hosts.to_vec()).map_err(unfit)?;
    write_private(&folder.join("tls.key"), &SecretVec::new(made.signing_key.serialize_pem().into_bytes()))?;
    write_public(&folder.join("tls.crt"), &made.cert.pem())
}

/// Reads the key that signs the server's own records.
///
/// # Errors
/// [`Error::Misuse`] if it is none; [`Error::Storage`].
pub fn server_key(path: &Path) -> Result<Arc<SigningKey>> {
    let unfit = |why: &str| Error::Misuse(format!("{}: {why}", path.display()));
    let mut none = || Err(unfit("has a passphrase, and a server has nobody to ask"));
    match PrivateKey::from_pem(read_private(path)?.expose(), &mut none)? {
        PrivateKey::Signing(key) => Ok(Arc::new(key)),
        PrivateKey::Identity(_) => Err(unfit("is no signing key")),
    }
}

/// Makes the vault if there is none, with a log.
///
/// # Errors
/// [`Error::Misuse`] if something else is there; [`Error::Storage`].
pub fn vault(store: &Store) -> Result<Vault> {
    match Vault::open(store.clone()) {
        Err(Error::NotFound { .. }) => {
            let vault = Vault::init(store.clone())?;
            Log::init(store, None)?;
            Ok(vault)
        }
        other => other,
    }
}

/// The first key, which may do everything; none if there is one already.
///
/// # Errors
/// [`Error::Storage`].
pub fn first_admin(states: &States) -> Result<Option<NewKey>> {
    if !states.current()?.keys().is_empty() {
        return Ok(None);
    }
    states.add_key_by_operator("first administrator", &everything()?).map(Some)
}

fn text(vault: &str, address: &str) -> String {
    format!(
        r#"# The configuration of mvault-server. Paths are relative to this file.

[vault]
# What the vault is called in URLs: https://HOST/NAME
name = "main"
# A folder, or s3://BUCKET/PREFIX with the settings of the environment
url = {vault:?}
# The trust root to believe; without it, the one version 1 that the vault shows
# trust_root = "root.json"
# Whether content goes straight between clients and the bucket by presigned URLs, where the bucket has such. Then clients must
# reach it; those that do not send everything through here.
# direct = true

[listen]
address = {address:?}
# Read again within a minute when they change
certificate = "tls.crt"
key = "tls.key"

[server]
# Signs the server's own records. Every instance on one vault has the same.
key = "server.key"
# What this instance saw last: an older state is refused. Every instance has its own.
checkpoint = "checkpoint.json"

[log]
# The vault's log, if it has one (`mvault log init`), names people by pseudonyms. After so many days nobody can tell any more
# who they are; the log stays whole. Without it they are kept.
# forget_people_after_days = 365
# With a key, this server signs how far the log is (`mvault key generate --kind signing --no-passphrase -o log`; 0600). Without
# it, `mvault log publish` does. Several instances may do so with the same key.
# key = "log.key"
# publish_seconds = 60

# Who is known besides those with API keys: subjects of OpenID providers, one section each
# [[identity.issuers]]
# name = "corp"                   # ids begin with it: corp:SUBJECT
# issuer = "https://id.example"   # `iss`, to the letter
# audience = "mvault"             # what it calls this registry, in `aud`
# jwks_uri = "https://id.example/keys"  # without it, as ISSUER/.well-known/openid-configuration says
# ca = "issuer.pem"               # who says who the provider is, instead of the authorities of the system
# algorithms = ["ES256", "RS256", "EdDSA"]
# subject_claim = "sub"           # none that people choose for themselves
# groups_claim = "groups"
# name_claim = "name"
# max_age_seconds = 3600          # since `iat`; without it, until `exp`
# leeway_seconds = 30             # between clocks, at most 120

# Client certificates (mutual TLS)
# [identity.certificates]
# ca = "clients.pem"              # whoever these authorities vouch for is known; read again when it changes
# required = false                # true: no connection without one, probes of health included

# Metrics for Prometheus, at /metrics over plain HTTP, for whoever reaches the address
# [metrics]
# address = "127.0.0.1:9464"

# Traces, by OTLP over HTTP; without it, where OTEL_EXPORTER_OTLP_ENDPOINT says, if anywhere
# [traces]
# endpoint = "http://127.0.0.1:4318"

[limits]
# connections = 1024
# connections_per_address = 256
# transfers = 64
# transfers_per_principal = 32
# listings = 8
# max_object = 134217728          # bytes
# memory = 134217728              # bytes of documents, and of objects on their way to a bucket, at a time
# per_address = 2000              # requests a second
# per_principal = 2000            # requests a second
# strangers_per_minute = 60       # requests without a valid key, from one address
# idle_seconds = 30               # that a body may stand still, and a header may take
# slowest_body = 16384            # bytes a second, after the first minute
# link_seconds = 300              # that presigned URLs count
# drain_seconds = 300             # for transfers to finish after SIGTERM
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_written_is_read_and_never_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let plan = Plan {
            folder: folder.path().to_owned(),
            vault: "vault".into(),
            hosts: vec!["localhost".into(), "127.0.0.1".into()],
            address: "127.0.0.1:0".into(),
        };
        let path = write(&plan).expect("written");
        let config = Config::load(&path).expect("good");
        server_key(&config.server.key).expect("a key");
        crate::tls::Certificate::load(&config.listen.certificate, &config.listen.key).expect("a certificate");
        assert!(matches!(write(&plan), Err(Error::Conflict { .. })));
        // Every setting of identity, metrics and traces that the file names is one.
        let text = std::fs::read_to_string(&path).expect("read");
        let identity =
            text.split("section each\n").nth(1).expect("identity").split("\n[limits]").next().expect("limits");
        let is_setting = |line: &&str| line.starts_with('[') || line.contains(" = ");
        let settings = identity.lines().map(|line| line.trim_start_matches("# ")).filter(is_setting);
        let settings: Config =
            toml::from_str(&(text.clone() + &settings.collect::<Vec<_>>().join("\n"))).expect("settings");
        assert!(settings.identity.issuers.len() == 1 && settings.identity.certificates.is_some());
        assert!(settings.metrics.is_some() && settings.traces.is_some());
        settings.identity.check().expect("good");
        let log = text.split("[log]\n").nth(1).expect("log").split("\n\n").next().expect("a section");
        let log: Vec<_> = log.lines().map(|line| line.trim_start_matches("# ")).filter(is_setting).collect();
        let log: crate::config::LogConfig = toml::from_str(&log.join("\n")).expect("settings");
        assert!(log.key.is_some() && log.forget_people_after_days.is_some());
        assert_eq!(log.publish_seconds, config.log.publish_seconds);
        // Every limit that the file names is one, and as it is by default.
        let limits = text.split("[limits]\n").nth(1).expect("limits");
        let lines: Vec<_> = limits.lines().map(|line| line.trim_start_matches("# ")).collect();
        let limits = lines.join("\n");
        let limits: crate::limits::Limits = toml::from_str(&limits).expect("limits");
        assert_eq!(format!("{limits:?}"), format!("{:?}", crate::limits::Limits::default()));
    }
}
