//! Who vouches for a signer. Paths of certificates (RFC 5280, section 6) are built and checked by `rustls-webpki`; what it
//! leaves to its caller is checked here.
//!
//! The reference implementation asks OpenSSL whether the chain was valid when the signer's certificate became valid, and
//! accepts either of key usage and extended key usage. Here the chain must be valid now, or at the time the caller names, and
//! whatever usage a certificate states must allow signing code.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::{Certificate, EcPublicKey, certificate::Moment, malformed, untrusted};
use crate::error::{Error, Result};

/// id-kp-codeSigning, as the contents of a DER object identifier.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// At how many other times a path is looked for, to tell one that is out of its time from none. Each costs as much as the
/// first; a signer's certificate is seldom older than those above it, so the first of them is the one.
const MAX_OTHER_TIMES: usize = 8;

/// Who may vouch for signers, and when.
#[derive(Debug, Clone)]
pub struct Authorities {
    roots: Vec<Certificate>,
    /// Others that were named beside them, to build paths with.
    between: Vec<Certificate>,
    at: Moment,
}

impl Authorities {
    /// These authorities: those whose issuer has the name of their subject are the roots, the others help to get there. The
    /// signature of a root is not looked at: whoever names it believes it. Of several roots, those that are none for code signing
    /// vouch for nothing.
    ///
    /// `at` is the time for which certificates are judged, as in RFC 3339; now if it is not given.
    ///
    /// # Errors
    /// [`Error::Misuse`] if `at` is no time, or there is no root: none that may issue certificates, for code signing, without a
    /// critical extension that is not known.
    pub fn new(certificates: Vec<Certificate>, at: Option<&str>) -> Result<Self> {
        let at = at.map_or_else(|| Ok(Moment::now()), Moment::parse)?;
        let (named, between): (Vec<_>, Vec<_>) = certificates.into_iter().partition(Certificate::is_self_issued);
        // Of a list of authorities those count that are for this; one that is named alone and is not is the caller's mistake.
        let (mut roots, mut refusal) = (Vec::with_capacity(named.len()), None);
        for root in named {
            match root.check_root() {
                Ok(()) => roots.push(root),
                Err(error) => refusal = Some(error.to_string()),
            }
        }
        if roots.is_empty() {
            let none = || "none of the certificates is that of a root authority".to_owned();
            return Err(Error::Misuse(refusal.unwrap_or_else(none)));
        }
        Ok(Self { roots, between, at })
    }

    /// The certificate of whoever signed, if `is_by` its key, and a valid path leads from it to a root.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a certificate is malformed; [`Error::Stale`] if there is a path and all that is wrong with it is
    /// the time; [`Error::Untrusted`] if there is none, the certificate may not sign, or its key did not.
    pub(super) fn signer_of(&self, chain: &[Vec<u8>], is_by: &dyn Fn(&EcPublicKey) -> bool) -> Result<Certificate> {
        let [leaf, above @ ..] = chain else { return Err(untrusted("there is no certificate")) };
        let signer = Certificate::from_der(leaf)?;
        signer.check_may_sign()?;
        let unsupported = |_| untrusted("the certificate's key is not one of P-256, P-384 or P-521");
        if !is_by(&signer.public_key().map_err(unsupported)?) {
            return Err(untrusted("the signature is wrong"));
        }
        let Err(error) = self.path(&signer, above, self.at) else { return Ok(signer) };
        let other = self.other_times(&signer, above).into_iter().find_map(|at| self.path(&signer, above, at).ok());
        other.unwrap_or_default().iter().try_for_each(|certificate| certificate.check_time(self.at))?;
        Err(explain(&error))
    }

    /// The certificates of a path that is valid at this time: the signer's, those between, and a root.
    fn path(&self, signer: &Certificate, above: &[Vec<u8>], at: Moment) -> Result<Vec<Certificate>, webpki::Error> {
        let timely: Vec<&Certificate> = self.roots.iter().filter(|root| root.check_time(at).is_ok()).collect();
        let roots: Vec<CertificateDer<'_>> = timely.iter().map(|root| CertificateDer::from(root.as_der())).collect();
        let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<TrustAnchor<'_>>, _>>()?;
        let between = self.between.iter().map(Certificate::as_der).chain(above.iter().map(Vec::as_slice));
        let between: Vec<CertificateDer<'_>> = between.map(CertificateDer::from).collect();
        let leaf = CertificateDer::from(signer.as_der());
        let end = EndEntityCert::try_from(&leaf)?;
        // Roots of one name and key may differ in what they allow.
        let root_of = |path: &VerifiedPath<'_>| {
            let mut same = anchors.iter().zip(&timely).filter(|(anchor, _)| *anchor == path.anchor());
            same.find(|(_, root)| is_long_enough(root, path)).map(|(_, root)| Certificate::clone(root))
        };
        let check = |path: &VerifiedPath<'_>| {
            issuers_may_issue(path)?;
            root_of(path).map(drop).ok_or(webpki::Error::PathLenConstraintViolated)
        };
        let path = end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            at.as_unix(),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            Some(&check),
        )?;
        let issuers = path.intermediate_certificates().filter_map(|issuer| Certificate::from_der(&issuer.der()).ok());
        Ok(std::iter::once(signer.clone()).chain(issuers).chain(root_of(&path)).collect())
    }

    /// Where else to look for a path: if one is valid at all, it is when the validity of one of its certificates begins.
    fn other_times(&self, signer: &Certificate, above: &[Vec<u8>]) -> Vec<Moment> {
        let above: Vec<_> = above.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let others = self.roots.iter().chain(&self.between).chain(&above).map(Certificate::begin);
        let mut times: Vec<_> = others.chain([signer.begin()]).filter(|at| signer.check_time(*at).is_ok()).collect();
        times.sort_unstable();
        times.dedup();
        times.truncate(MAX_OTHER_TIMES);
        times
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

/// Whether no more authorities are between signer and root than the root allows, which webpki does not know. Those that
/// issued themselves do not count (RFC 5280, section 4.2.1.9).
fn is_long_enough(root: &Certificate, path: &VerifiedPath<'_>) -> bool {
    let between = path.intermediate_certificates().filter(|issuer| issuer.issuer() != issuer.subject()).count();
    root.path_length().is_ok_and(|most| most.is_none_or(|most| between <= most))
}

/// Why there is no path, whatever the time is.
fn explain(error: &webpki::Error) -> Error {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) | E::MalformedExtensions | E::ExtensionValueInvalid => {
            malformed("has a certificate that is malformed")
        }
        E::EndEntityUsedAsCa => untrusted("a certificate of the chain was issued by one that may not issue any"),
        E::PathLenConstraintViolated | E::NameConstraintViolation => {
            untrusted("a certificate of the chain is outside of what its issuer may issue")
        }
        E::InvalidSignatureForPublicKey => untrusted("a certificate of the chain has a wrong signature"),
        E::UnsupportedCriticalExtension => {
            untrusted("a certificate of the chain has a critical extension that is not known")
        }
        E::UnknownIssuer | E::CertExpired { .. } | E::CertNotValidYet { .. } => {
            untrusted("no valid path leads from the certificate to a given authority")
        }
        _ => untrusted("the certificate chain is not valid"),
    }
}
