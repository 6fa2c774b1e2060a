//! Certificates, alone, as authorities, and as the chain of a bundle.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use vault_core::oms::{Authorities, Bundle, Certificate, Trust};

const ROOT: &[u8] = include_bytes!("../../tests/vectors/oms/ca-cert.pem");

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificates) = Certificate::from_pem(bytes) {
        let _ = Authorities::new(certificates, None);
    }
    if let Ok(certificate) = Certificate::from_der(bytes) {
        assert_eq!(certificate.as_der(), bytes);
        let _ = (certificate.subject(), certificate.issuer(), certificate.public_key(), format!("{certificate:?}"));
        let _ = Authorities::new(vec![certificate], Some("2026-01-01T00:00:00Z"));
    }
    let root = Certificate::from_pem(ROOT).expect("published");
    let trust = Trust::Authorities(Authorities::new(root, Some("2026-01-01T00:00:00Z")).expect("a root"));
    // The certificate twice: as the signer's and as the one above it.
    let certificate = format!(r#"{{"rawBytes":"{}"}}"#, STANDARD.encode(bytes));
    let bundle = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"x509CertificateChain":{{"certificates":[{certificate},{certificate}]}}}},"dsseEnvelope":{{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"AAAA"}}]}}}}"#
    );
    let bundle = Bundle::parse(bundle.as_bytes()).expect("well-formed around the certificate");
    assert!(bundle.verify(&trust).is_err(), "the payload is no statement");
});
