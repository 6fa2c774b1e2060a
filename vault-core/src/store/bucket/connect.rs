//! From a URL and the settings of the environment to a client.

use std::{io, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    path::Path,
    prefix::PrefixStore,
};

use super::{
    http::{Connector, is_loopback},
    signed::Signing,
    throttle::Throttle,
};
use crate::{
    error::{Error, Result},
    store::{Connection, registry},
};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A client, and what signs URLs for others if it can.
pub(super) type Connected = (Arc<dyn ObjectStore>, Option<Signing>);

/// The object store or registry that a URL names, its root moved to the vault's. What is sent to it goes by way of `line`.
pub(super) fn connect(url: &str, connection: &Connection, line: &Arc<Throttle>) -> Result<Connected> {
    if registry::is_registry(url) {
        return Ok((Arc::new(registry::Objects::new(url, connection, line)?), None));
    }
    let unfit = |why: &str| Error::Misuse(format!("{url:?}: {why}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| unfit("is no URL"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
        return Err(unfit("names no bucket: a vault in an object store is `s3://BUCKET/PREFIX`"));
    }
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|e| unfit(&e.to_string()))?;
    let connector = Connector::new(connection, endpoint(connection), line)?;
    let built = match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" => s3(bucket, &prefix, connection, &connector),
        "az" | "azure" | "abfs" | "abfss" => azure(bucket, connection, connector).map(|store| (store, None)),
        "gs" => google(bucket, connection, connector).map(|store| (store, None)),
        other => return Err(unfit(&format!("{other}:// vaults are not supported"))),
    };
    let (store, signing) = built.map_err(|error| Error::storage(url)(io::Error::from(error)))?;
    let store = if prefix.as_ref().is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) };
    Ok((store, signing))
}

/// Where the settings say that S3 is, if they do.
fn endpoint(connection: &Connection) -> Option<&str> {
    let is_endpoint = |name: &str| matches!(name, "aws_endpoint_url_s3" | "aws_endpoint_url" | "aws_endpoint");
    settings(connection, "AWS_").filter(|(name, _)| is_endpoint(name)).last().map(|(_, value)| value.as_str())
}

fn s3(bucket: &str, prefix: &Path, connection: &Connection, connector: &Connector) -> object_store::Result<Connected> {
    let mut builder = AmazonS3Builder::new();
    let mut allowed = endpoint(connection).is_some_and(is_loopback);
    for (name, value) in settings(connection, "AWS_") {
        allowed |= name == "aws_allow_http" && (value.eq_ignore_ascii_case("true") || value == "1");
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    // What a vault needs is no setting. Parts are named by their hash and records are signed, so payloads are not; the
    // checksum is there for Object Lock, which wants one.
    let store = builder
        .with_retry(once())
        .with_unsigned_payload(true)
        .with_checksum_algorithm(Checksum::CRC64NVME)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_http_connector(connector.clone())
        .with_client_options(options().with_allow_http(allowed))
        // They are deleted one by one anyway, and the client trusts answers about many too much.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
        .with_bucket_name(bucket)
        .build()?;
    let store = Arc::new(store);
    let signing = Signing::new(Arc::clone(&store) as _, prefix.clone(), connector, allowed)?;
    Ok((store, Some(signing)))
}

fn azure(container: &str, connection: &Connection, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder =
        MicrosoftAzureBuilder::new().with_retry(once()).with_http_connector(connector).with_client_options(options());
    for (name, value) in settings(connection, "AZURE_") {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_container_name(container).build()?))
}

fn google(bucket: &str, connection: &Connection, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_retry(once())
        .with_http_connector(connector)
        .with_client_options(options());
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
    // No limit for whole requests, nor for silence, in which an upload counts as silent: large parts on slow lines take
    // what they take, and `Attempts` ends what has stalled.
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT)
}

/// `Attempts` tries again, and then knows that an earlier attempt may have been carried out.
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

#[cfg(test)]
mod tests {
    use object_store::ClientConfigKey;

    use super::*;
    use crate::store::aws::CA_BUNDLE;

    fn connect(url: &str, connection: &Connection) -> Result<Connected> {
        super::connect(url, connection, &Throttle::unlimited())
    }

    fn with(settings: &[(&str, &str)]) -> Connection {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Connection { settings, ..Connection::default() }
    }

    #[test]
    fn urls_name_a_bucket_and_a_prefix_or_are_refused() {
        let keys = with(&[("AWS_ACCESS_KEY_ID", "ak"), ("AWS_SECRET_ACCESS_KEY", "very-secret")]);
        for good in ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "S3://bucket/a/b/"] {
            let (store, signing) = connect(good, &keys).expect(good);
            assert!(!format!("{store} {signing:?}").contains("very-secret"));
        }
        for bad in ["s3://", "s3:///a", "s3://user@bucket", "s3://bucket:80/x", "s3://bucket/a//b", "ftp://host/x"] {
            assert!(matches!(connect(bad, &keys), Err(Error::Misuse(_))), "{bad}");
        }
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (path, why) in
            [("/does/not/exist.pem", "No such file"), (file.path().to_str().expect("UTF-8"), "has no certificate")]
        {
            let keys = with(&[("AWS_ACCESS_KEY_ID", "ak"), ("AWS_SECRET_ACCESS_KEY", "s"), (CA_BUNDLE, path)]);
            let error = connect("s3://bucket", &keys).expect_err(why).to_string();
            assert!(error.contains(path) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn nothing_but_a_connection_has_a_limit_of_time() {
        let limit = |key| options().get_config_value(&key);
        assert_eq!(limit(ClientConfigKey::ConnectTimeout).as_deref(), Some("10s"));
        // An upload is silent until it is over.
        assert_eq!(limit(ClientConfigKey::ReadTimeout), None);
        assert_eq!(limit(ClientConfigKey::Timeout), None);
    }
}
