//! TLS 1.3 (RFC 8446), and certificates that are renewed while the server runs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use vault_core::{Error, Result, keys::file::read_private};
use x509_cert::der::Decode as _;

use crate::clients::Authorities;

/// The longest file of certificates, in bytes.
pub(crate) const MAX_CERTIFICATES: u64 = 1 << 20;

/// The certificate that is shown, read again when its file changes.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    shown: RwLock<(Arc<CertifiedKey>, Version)>,
}

/// When both files were changed last.
type Version = (Option<SystemTime>, Option<SystemTime>);

impl Certificate {
    /// Reads a chain and its key (PEM). Others must not be able to read the key.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they are none, or do not belong together; [`Error::Storage`].
    pub fn load(chain: &Path, key: &Path) -> Result<Self> {
        let version = version(chain, key);
        let shown = RwLock::new((read(chain, key)?, version));
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), shown })
    }

    /// Reads the files again if they changed. New connections get the new certificate; on an error the old one stays.
    ///
    /// # Errors
    /// As [`Certificate::load`].
    pub fn reload(&self) -> Result<bool> {
        let now = version(&self.chain, &self.key);
        if self.shown.read().unwrap_or_else(PoisonError::into_inner).1 == now {
            return Ok(false);
        }
        let fresh = read(&self.chain, &self.key)?;
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = (fresh, now);
        Ok(true)
    }

    /// When the certificate that is shown expires, since the beginning of 1970; none if it does not say.
    pub fn expires(&self) -> Option<Duration> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let own = x509_cert::Certificate::from_der(shown.0.end_entity_cert().ok()?).ok()?;
        Some(own.tbs_certificate().validity().not_after.to_unix_duration())
    }

    /// How connections are secured: TLS 1.3 and nothing older, HTTP/1.1 inside. With `clients`, certificates of clients are
    /// verified by them.
    ///
    /// # Errors
    /// [`Error::Storage`] if the cryptography of this build cannot.
    pub fn config(self: &Arc<Self>, clients: Option<&Arc<Authorities>>) -> Result<ServerConfig> {
        let failed = |error| Error::storage("TLS")(io::Error::other(error));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).map_err(failed)?;
        let shown: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = match clients {
            None => builder.with_no_client_auth().with_cert_resolver(shown),
            Some(clients) => {
                let clients: Arc<dyn ClientCertVerifier> = Arc::clone(clients) as _;
                let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(shown);
                // A session that is resumed brings its certificate along without showing it.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

fn version(chain: &Path, key: &Path) -> Version {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|about| about.modified()).ok();
    (changed(chain), changed(key))
}

fn read(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>> {
    let unfit = |path: &Path, why: &str| Error::Misuse(format!("{}: {why}", path.display()));
    let length = std::fs::metadata(chain).map_err(Error::storage(chain.display()))?.len();
    if length > MAX_CERTIFICATES {
        return Err(unfit(chain, "is too long for a file of certificates"));
    }
    let text = std::fs::read(chain).map_err(Error::storage(chain.display()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| unfit(chain, "is no PEM file of certificates"))?;
    if certificates.is_empty() {
        return Err(unfit(chain, "holds no certificate"));
    }
    let secret = read_private(key)?;
    let der = PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|_| unfit(key, "holds no private key (PEM)"))?;
    let certified = CertifiedKey::from_der(certificates, der, &aws_lc_rs::default_provider());
    certified.map(Arc::new).map_err(|error| unfit(key, &format!("does not fit {}: {error}", chain.display())))
}

#[cfg(test)]
mod tests {
    use vault_core::{keys::file::write_private, secret::SecretVec};

    use super::*;

    fn make(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("certificate");
        let (chain, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let _ = std::fs::remove_file(&key);
        std::fs::write(chain, made.cert.pem()).expect("written");
        write_private(&key, &SecretVec::new(made.signing_key.serialize_pem().into_bytes())).expect("written");
    }

    #[test]
    fn a_certificate_is_read_again_when_it_changes_and_kept_when_the_new_one_is_bad() {
        let folder = tempfile::tempdir().expect("folder");
        let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        make(folder.path(), "one.example");
        let certificate = Arc::new(Certificate::load(&chain, &key).expect("loaded"));
        certificate.config(None).expect("TLS");
        assert!(!certificate.reload().expect("unchanged"));
        let shown = || certificate.shown.read().expect("lock").0.cert.clone();
        let before = shown();
        std::thread::sleep(Duration::from_millis(20));
        make(folder.path(), "two.example");
        assert!(certificate.reload().expect("changed") && shown() != before);
        let good = shown();
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&chain, "nonsense").expect("written");
        assert!(matches!(certificate.reload(), Err(Error::Misuse(_))));
        assert_eq!(shown(), good);
    }

    #[test]
    fn a_key_of_another_certificate_or_one_that_others_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        make(one.path(), "one.example");
        make(two.path(), "two.example");
        let load = |chain: &Path, key: &Path| Certificate::load(&chain.join("tls.crt"), &key.join("tls.key"));
        assert!(matches!(load(one.path(), two.path()), Err(Error::Misuse(_))));
        std::fs::set_permissions(one.path().join("tls.key"), std::fs::Permissions::from_mode(0o644)).expect("mode");
        assert!(load(one.path(), one.path()).is_err());
    }
}
