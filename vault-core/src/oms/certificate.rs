//! Certificates (RFC 5280): what each of them says about itself.

use std::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::anchor_from_trusted_cert;
use x509_cert::{
    certificate::Version,
    der::{Decode, Encode, asn1::ObjectIdentifier, oid::AssociatedOid},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName},
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
/// anyExtendedKeyUsage.
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// The extensions that are heeded, in a root by us and in other certificates by webpki.
const UNDERSTOOD: [ObjectIdentifier; 5] =
    [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, NameConstraints::OID, SubjectAltName::OID];

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
        let uses = self.extension::<KeyUsage>()?;
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

    /// When its time begins.
    pub(super) fn begin(&self) -> Moment {
        Moment(UnixTime::since_unix_epoch(self.parsed.tbs_certificate().validity().not_before.to_unix_duration()))
    }

    /// Refuses a certificate that cannot be a root: webpki takes name, key and name constraints of a root, and asks nothing.
    pub(super) fn check_root(&self) -> Result<()> {
        let refuse = |why: &str| Err(Error::Misuse(format!("{:?} {why}", self.subject())));
        if !self.is_authority()? {
            return refuse("may not issue certificates, so it is no root authority");
        }
        let extensions = self.parsed.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        if extensions.iter().any(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id)) {
            return refuse("has a critical extension that is not known");
        }
        let vouches = |purposes: ExtendedKeyUsage| purposes.0.iter().any(|p| [CODE_SIGNING, ANY_PURPOSE].contains(p));
        if !self.extension()?.is_none_or(vouches) {
            return refuse("is not an authority for code signing");
        }
        if anchor_from_trusted_cert(&CertificateDer::from(self.as_der())).is_err() {
            return refuse("is not a root authority that is supported");
        }
        Ok(())
    }

    /// The most authorities that may stand between it and a signer, if it says so.
    pub(super) fn path_length(&self) -> Result<Option<usize>> {
        Ok(self.extension::<BasicConstraints>()?.and_then(|basic| basic.path_len_constraint).map(usize::from))
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.parsed.tbs_certificate().issuer() == self.parsed.tbs_certificate().subject()
    }

    /// Whether it may vouch for others. Version 1 certificates have no extensions to say so.
    pub(super) fn is_authority(&self) -> Result<bool> {
        if self.parsed.tbs_certificate().version() == Version::V1 {
            return Ok(true);
        }
        let is_ca = self.extension::<BasicConstraints>()?.is_some_and(|basic| basic.ca);
        Ok(is_ca && self.extension::<KeyUsage>()?.is_none_or(|uses| uses.key_cert_sign()))
    }

    fn extension<T>(&self) -> Result<Option<T>>
    where
        T: for<'a> Decode<'a, Error = x509_cert::der::Error> + AssociatedOid,
    {
        let found = self.parsed.tbs_certificate().get_extension::<T>();
        let found = found.map_err(|_| Error::format(DOCUMENT, "has a malformed extension"))?;
        Ok(found.map(|(_, extension)| extension))
    }
}

/// A time at which certificates must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(UnixTime);

impl Moment {
    pub(super) fn now() -> Self {
        Self(UnixTime::now())
    }

    /// A time as RFC 3339 has it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Misuse(format!("{text:?} is not a time like 2026-11-21T20:00:00Z"));
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        let seconds = u64::try_from(time.as_second()).map_err(|_| wrong())?;
        Ok(Self(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))))
    }

    pub(super) fn as_unix(self) -> UnixTime {
        self.0
    }
}
