//! Client certificates: whose are believed, read again when the file changes.
//!
//! A certificate is verified when the connection begins and again with each request, so that one that expires, or whose
//! authority is taken away, ends at once and not with the connection.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use vault_core::{Error, Result};

use crate::{
    identity::{Principal, certificate, settings::CertificatesConfig, token::Refusal},
    tls::MAX_CERTIFICATES,
};

/// The certificates that a client showed, its own first. They were verified once.
#[derive(Debug, Clone)]
pub struct Shown(pub Arc<[CertificateDer<'static>]>);

/// Whose certificates are believed.
#[derive(Debug)]
pub struct Authorities {
    path: PathBuf,
    required: bool,
    current: RwLock<(Arc<dyn ClientCertVerifier>, Option<SystemTime>)>,
}

impl Authorities {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the file holds none; [`Error::Storage`].
    pub fn load(config: &CertificatesConfig) -> Result<Self> {
        let changed = changed(&config.ca);
        let current = RwLock::new((read(&config.ca)?, changed));
        Ok(Self { path: config.ca.clone(), required: config.required, current })
    }

    /// Reads the file again if it changed; on an error the old ones stay.
    ///
    /// # Errors
    /// As [`Authorities::load`].
    pub fn reload(&self) -> Result<bool> {
        let now = changed(&self.path);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == now {
            return Ok(false);
        }
        let fresh = read(&self.path)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (fresh, now);
        Ok(true)
    }

    /// Who shows these certificates, as of now.
    ///
    /// # Errors
    /// Why it is nobody.
    pub fn judge(&self, shown: &Shown) -> Result<Principal, Refusal> {
        let (leaf, between) = shown.0.split_first().ok_or(Refusal::Certificate)?;
        let verified = self.current().verify_client_cert(leaf, between, UnixTime::now());
        verified.map_err(|_| Refusal::Certificate)?;
        certificate::principal(leaf)
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Every judgement is that of [`WebPkiClientVerifier`] over the authorities of the moment.
impl ClientCertVerifier for Authorities {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Who is believed is nobody's business who is not.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current().verify_client_cert(leaf, between, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|about| about.modified()).ok()
}

fn read(path: &Path) -> Result<Arc<dyn ClientCertVerifier>> {
    let unfit = |why: String| Error::Misuse(format!("{}: {why}", path.display()));
    if fs::metadata(path).map_err(Error::storage(path.display()))?.len() > MAX_CERTIFICATES {
        return Err(unfit("is too long for a file of certificates".into()));
    }
    let pem = fs::read(path).map_err(Error::storage(path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unfit("is no PEM file of certificates".into()))?;
        roots.add(certificate).map_err(|error| unfit(format!("holds what is no authority: {error}")))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| match error {
        rustls::server::VerifierBuilderError::NoRootAnchors => unfit("holds no certificate".into()),
        other => Error::storage(path.display())(io::Error::other(other)),
    })
}
