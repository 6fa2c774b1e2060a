//! From a URL and the settings of the environment to a client.

use std::{io, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, Checksum, S3ConditionalPut},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    path::Path,
    prefix::PrefixStore,
};

use crate::{
    error::{Error, Result},
    store::{Connection, registry},
};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may stay silent.
const SILENCE: Duration = Duration::from_mins(1);
/// The client signs a request once, and a signature is good for a few minutes.
const LONGEST_RETRY: Duration = Duration::from_mins(4);

/// The object store or registry that a URL names, its root moved to the vault's.
pub(super) fn connect(url: &str, connection: &Connection) -> Result<Arc<dyn ObjectStore>> {
    if registry::is_registry(url) {
        return Ok(Arc::new(registry::Objects::new(url, connection)?));
    }
    let unfit = |why: &str| Error::Misuse(format!("{url:?}: {why}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| unfit("is no URL"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
        return Err(unfit("names no bucket: a vault in an object store is `s3://BUCKET/PREFIX`"));
    }
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|e| unfit(&e.to_string()))?;
    let build = match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" => s3,
        "az" | "azure" | "abfs" | "abfss" => azure,
        "gs" => google,
        other => return Err(unfit(&format!("{other}:// vaults are not supported"))),
    };
    let store = build(bucket, connection).map_err(|error| Error::storage(url)(io::Error::from(error)))?;
    Ok(if prefix.as_ref().is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
}

fn s3(bucket: &str, connection: &Connection) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new();
    let mut options = options();
    let (mut endpoint, mut allowed) = (None, false);
    for (name, value) in settings(connection, "AWS_") {
        match name.as_str() {
            "aws_endpoint_url_s3" | "aws_endpoint_url" | "aws_endpoint" => endpoint = Some(value.as_str()),
            "aws_allow_http" => allowed = value.eq_ignore_ascii_case("true") || value == "1",
            _ => {}
        }
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    options = options.with_allow_http(allowed || endpoint.is_some_and(is_loopback));
    // What a vault needs is no setting. Parts are named by their hash and records are signed, so payloads are not; the
    // checksum is there for Object Lock, which wants one.
    let store = builder
        .with_retry(retry(connection))
        .with_unsigned_payload(true)
        .with_checksum_algorithm(Checksum::CRC64NVME)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(options)
        .with_bucket_name(bucket)
        .build()?;
    Ok(Arc::new(store))
}

fn azure(container: &str, connection: &Connection) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new().with_retry(retry(connection)).with_client_options(options());
    for (name, value) in settings(connection, "AZURE_") {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_container_name(container).build()?))
}

fn google(bucket: &str, connection: &Connection) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new().with_retry(retry(connection)).with_client_options(options());
    for (name, value) in settings(connection, "GOOGLE_") {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_bucket_name(bucket).build()?))
}

/// The settings of one provider, their names in lower case as the client knows them. What is empty is not set.
fn settings<'a>(connection: &'a Connection, prefix: &'a str) -> impl Iterator<Item = (String, &'a String)> {
    let of_provider =
        connection.settings.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
    of_provider.map(|(name, value)| (name.to_ascii_lowercase(), value))
}

pub(in crate::store) fn options() -> ClientOptions {
    // Without a limit for whole requests: large parts on slow lines take what they take, and `Attempts` ends the stalled.
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT).with_read_timeout(SILENCE)
}

fn retry(connection: &Connection) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(15),
            base: 2.0,
        },
        max_retries: 1000,
        retry_timeout: connection.patience.min(LONGEST_RETRY),
    }
}

/// Whether plain HTTP goes nowhere but to this machine.
fn is_loopback(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Connection {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Connection { settings, ..Connection::default() }
    }

    #[test]
    fn urls_name_a_bucket_and_a_prefix_or_are_refused() {
        let keys = with(&[("AWS_ACCESS_KEY_ID", "ak"), ("AWS_SECRET_ACCESS_KEY", "very-secret")]);
        for good in ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "S3://bucket/a/b/"] {
            let store = connect(good, &keys).expect(good);
            assert!(!format!("{store}").contains("very-secret"));
        }
        for bad in ["s3://", "s3:///a", "s3://user@bucket", "s3://bucket:80/x", "s3://bucket/a//b", "ftp://host/x"] {
            assert!(matches!(connect(bad, &keys), Err(Error::Misuse(_))), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for here in ["http://127.0.0.1:8333", "http://localhost/x", "http://[::1]:9000"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in
            ["https://127.0.0.1", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com", ""]
        {
            assert!(!is_loopback(there), "{there}");
        }
    }
}
