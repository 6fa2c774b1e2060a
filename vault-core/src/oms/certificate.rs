//! Certificates (RFC 5280). Paths are built and checked by `rustls-webpki`; what it leaves to its caller is checked here.
//!
//! The reference implementation asks OpenSSL whether the chain was valid when the signer's certificate became valid, and
//! accepts either of key usage and extended key usage. Here the chain must be valid now, or at the time the caller names, and
//! whatever usage a certificate states must allow signing code.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_cert::{
    certificate::Version,
    der::{Decode, Encode, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUses},
};

use super::{EcPublicKey, pem::blocks, untrusted};
use crate::error::{Error, Result};

const DOCUMENT: &str = "certificate";
/// The most certificates of one bundle or one list of authorities: all authorities of an operating system are about 150.
pub const MAX_CERTIFICATES: usize = 512;
/// Longest certificate, in bytes of DER.
const MAX_CERTIFICATE: usize = 64 * 1024;
/// id-kp-codeSigning.
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// The same as the contents of a DER object identifier.
const CODE_SIGNING_DER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// A well-formed certificate, which nobody vouches for yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.subject()).finish()
    }
}

impl Certificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed or longer than 64 KiB.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > MAX_CERTIFICATE {
            return Err(Error::limit(DOCUMENT, "length", MAX_CERTIFICATE as u64));
        }
        let parsed =
            x509_cert::Certificate::from_der(der).map_err(|_| Error::format(DOCUMENT, "is not a DER certificate"))?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    /// Reads all `CERTIFICATE` blocks of a PEM file, of which there must be one at least and no other block.
    ///
    /// The caller has bounded the length of `text`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a block is malformed, [`Error::Misuse`] if one is no certificate.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>> {
        let read = |block: super::pem::Block| match block.label.as_str() {
            "CERTIFICATE" => Self::from_der(block.contents.expose()),
            label => Err(Error::Misuse(format!("the file holds a {label} where certificates are expected"))),
        };
        blocks(DOCUMENT, text, MAX_CERTIFICATES)?.into_iter().map(read).collect()
    }

    /// Its DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Who it is about, as RFC 4514 writes names.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// Who made it, as RFC 4514 writes names.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_certificate().issuer().to_string()
    }

    /// Its key.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is not on one of the three curves.
    pub fn public_key(&self) -> Result<EcPublicKey> {
        let spki = self.parsed.tbs_certificate().subject_public_key_info().to_der();
        EcPublicKey::from_spki(&spki.map_err(|_| Error::format(DOCUMENT, "has a key that cannot be written again"))?)
    }

    /// Refuses a certificate that may not sign models: key usage and extended key usage must both allow it, if stated, and
    /// one of them must be stated.
    pub(super) fn check_may_sign(&self) -> Result<()> {
        let uses = self.extension::<KeyUses>()?;
        let purposes = self.extension::<ExtendedKeyUsage>()?;
        if uses.is_none() && purposes.is_none() {
            return Err(untrusted("the certificate does not say that it may sign anything"));
        }
        if uses.is_some_and(|uses| !uses.digital_signature()) {
            return Err(untrusted("the certificate's key usage is not digital signature"));
        }
        if purposes.is_some_and(|purposes| !purposes.0.contains(&CODE_SIGNING)) {
            return Err(untrusted("the certificate's extended key usage is not code signing"));
        }
        if self.extension::<BasicConstraints>()?.is_some_and(|basic| basic.ca) {
            return Err(untrusted("the certificate is that of an authority, not of a signer"));
        }
        Ok(())
    }

    /// Refuses a certificate outside of its time.
    pub(super) fn check_time(&self, at: Moment) -> Result<()> {
        let stale = |why| Err(Error::Stale { what: format!("certificate of {}", self.subject()), why });
        let validity = self.parsed.tbs_certificate().validity();
        if at.0.as_secs() < validity.not_before.to_unix_duration().as_secs() {
            return stale("it is not valid yet");
        }
        if at.0.as_secs() > validity.not_after.to_unix_duration().as_secs() {
            return stale("it has expired");
        }
        Ok(())
    }

    fn is_self_issued(&self) -> bool {
        self.parsed.tbs_certificate().issuer() == self.parsed.tbs_certificate().subject()
    }

    /// Whether it may vouch for others. Version 1 certificates have no extensions to say so.
    fn is_authority(&self) -> Result<bool> {
        if self.parsed.tbs_certificate().version() == Version::V1 {
            return Ok(true);
        }
        let is_ca = self.extension::<BasicConstraints>()?.is_some_and(|basic| basic.ca);
        Ok(is_ca && self.extension::<KeyUses>()?.is_none_or(|uses| uses.key_cert_sign()))
    }

    fn extension<T>(&self) -> Result<Option<T>>
    where
        T: for<'a> Decode<'a, Error = x509_cert::der::Error> + x509_cert::der::oid::AssociatedOid,
    {
        let found = self.parsed.tbs_certificate().get_extension::<T>();
        let found = found.map_err(|_| Error::format(DOCUMENT, "has a malformed extension"))?;
        Ok(found.map(|(_, extension)| extension))
    }
}

/// A time at which certificates must be valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(UnixTime);

impl Moment {
    pub(super) fn now() -> Self {
        Self(UnixTime::now())
    }
}

/// Who may vouch for signers, and when.
#[derive(Debug, Clone)]
pub struct Authorities {
    roots: Vec<Certificate>,
    /// Others that were named beside them, to build paths with.
    between: Vec<Certificate>,
    at: Moment,
}

impl Authorities {
    /// These authorities: those that issued their own certificate are the roots, the others help to get there.
    ///
    /// `at` is the time for which certificates are judged, as in RFC 3339; now if it is not given.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no root, a root may not issue certificates, or `at` is no time.
    pub fn new(certificates: Vec<Certificate>, at: Option<&str>) -> Result<Self> {
        let at = match at {
            None => Moment::now(),
            Some(text) => Moment(parse_time(text)?),
        };
        let (roots, between): (Vec<_>, Vec<_>) = certificates.into_iter().partition(Certificate::is_self_issued);
        if roots.is_empty() {
            return Err(Error::Misuse("none of the certificates is that of a root authority".into()));
        }
        for root in &roots {
            if !root.is_authority()? {
                let subject = root.subject();
                return Err(Error::Misuse(format!(
                    "{subject:?} may not issue certificates, so it is no root authority"
                )));
            }
        }
        Ok(Self { roots, between, at })
    }

    /// The certificate of whoever signed, if a valid path leads from it to a root.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a certificate is malformed, [`Error::Stale`] if one is outside of its time,
    /// [`Error::Untrusted`] if there is no path, or the certificate may not sign.
    pub(super) fn signer_of(&self, chain: &[Vec<u8>]) -> Result<Certificate> {
        let [leaf, above @ ..] = chain else { return Err(untrusted("there is no certificate")) };
        let signer = Certificate::from_der(leaf)?;
        signer.check_may_sign()?;
        signer.check_time(self.at)?;

        let timely: Vec<&Certificate> = self.roots.iter().filter(|root| root.check_time(self.at).is_ok()).collect();
        let roots: Vec<CertificateDer<'_>> = timely.iter().map(|root| CertificateDer::from(root.as_der())).collect();
        let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<TrustAnchor<'_>>, _>>();
        let anchors = anchors.map_err(|_| Error::format(DOCUMENT, "of a root authority is not supported"))?;
        let between = self.between.iter().map(Certificate::as_der).chain(above.iter().map(Vec::as_slice));
        let between: Vec<CertificateDer<'_>> = between.map(CertificateDer::from).collect();
        let leaf = CertificateDer::from(leaf.as_slice());
        let end = EndEntityCert::try_from(&leaf).map_err(|e| explain(&e))?;
        let usage = KeyUsage::required_if_present(CODE_SIGNING_DER);
        let path = end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            self.at.0,
            usage,
            None,
            Some(&issuers_may_issue),
        );
        match path {
            Ok(_) => Ok(signer),
            Err(webpki::Error::UnknownIssuer) => {
                // Perhaps there would be a path if a root were not out of its time.
                self.roots.iter().try_for_each(|root| root.check_time(self.at))?;
                Err(untrusted("no valid path leads from the certificate to a given authority"))
            }
            Err(error) => Err(explain(&error)),
        }
    }
}

/// Every certificate between signer and root may sign certificates, if it states a key usage; webpki does not ask.
fn issuers_may_issue(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    for issuer in path.intermediate_certificates() {
        let may = Certificate::from_der(&issuer.der()).and_then(|issuer| issuer.is_authority());
        if !may.unwrap_or(false) {
            return Err(webpki::Error::UnknownIssuer);
        }
    }
    Ok(())
}

fn explain(error: &webpki::Error) -> Error {
    use webpki::Error as E;
    let stale = |why| Error::Stale { what: "a certificate of the chain".into(), why };
    match error {
        E::CertExpired { .. } => stale("it has expired"),
        E::CertNotValidYet { .. } => stale("it is not valid yet"),
        E::BadDer | E::BadDerTime | E::TrailingData(_) | E::MalformedExtensions | E::ExtensionValueInvalid => {
            Error::format(DOCUMENT, "is not a DER certificate")
        }
        E::EndEntityUsedAsCa => untrusted("a certificate of the chain was issued by one that may not issue any"),
        E::PathLenConstraintViolated | E::NameConstraintViolation => {
            untrusted("a certificate of the chain is outside of what its issuer may issue")
        }
        E::InvalidSignatureForPublicKey => untrusted("a certificate of the chain has a wrong signature"),
        E::UnsupportedCriticalExtension => {
            untrusted("a certificate of the chain has a critical extension that is not known")
        }
        _ => untrusted("the certificate chain is not valid"),
    }
}

fn parse_time(text: &str) -> Result<UnixTime> {
    let wrong = || Error::Misuse(format!("{text:?} is not a time like 2026-11-21T20:00:00Z"));
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    let seconds = u64::try_from(time.as_second()).map_err(|_| wrong())?;
    Ok(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
}
