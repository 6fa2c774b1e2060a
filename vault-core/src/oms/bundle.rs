//! Sigstore bundles v0.3 (<https://docs.sigstore.dev/about/bundle/>), as far as OMS uses them: one DSSE envelope with one
//! signature, and a hint at its key or a chain of certificates.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Claim, MAX_CERTIFICATES, Signed, Trust, json, malformed, untrusted};
use crate::{
    canonical::{self, decode_base64, encode_base64},
    error::{Error, Result},
    provenance::{PAYLOAD_TYPE, pae},
};

/// The longest bundle that is read, in bytes: some hundred thousand files.
pub const MAX_BUNDLE: u64 = 32 << 20;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The most values of JSON in a bundle, whose payload is one of them: all that certificates and logs come to.
const MAX_VALUES: usize = 1 << 14;
/// The longest signature of the three curves is 139 bytes.
const MAX_SIGNATURE: usize = 256;

/// A signature over a model, by nobody yet: what is in it is to be believed only after [`Bundle::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    text: String,
    material: Material,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// What a bundle says its signature is to be checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// A key the verifier has: the SHA-256 of its PEM text in hexadecimal. Bundles made before version 1.1 of the reference
    /// implementation have none.
    Key(Option<String>),
    /// The signer's certificate and those above it, in DER.
    Certificates(Vec<Vec<u8>>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireBundle {
    media_type: String,
    verification_material: WireMaterial,
    dsse_envelope: WireEnvelope,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireMaterial {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<WirePublicKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<WireChain>,
    /// What keyless signing with Sigstore puts in the place of a chain.
    #[serde(skip_serializing)]
    certificate: Option<IgnoredAny>,
    /// Neither log entries nor time stamps vouch for a long-lived key; they are read and not believed.
    #[serde(default, rename = "tlogEntries", serialize_with = "no_entries")]
    _log: Vec<IgnoredAny>,
    #[serde(default, skip_serializing, rename = "timestampVerificationData")]
    _timestamps: Option<IgnoredAny>,
}

/// There are none in our bundles, but readers of others want the list.
fn no_entries<S: serde::Serializer>(_: &[IgnoredAny], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(std::iter::empty::<()>())
}

/// Members that are not known are ignored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePublicKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The key itself, in bundles of before version 1.1 of the reference implementation. It is not believed.
    #[serde(skip_serializing)]
    raw_bytes: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
struct WireChain {
    certificates: Vec<WireCertificate>,
}

#[derive(Serialize, Deserialize)]
struct WireCertificate {
    #[serde(rename = "rawBytes")]
    raw_bytes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    sig: String,
    /// A hint that nothing relies on: a string, null or absent.
    #[serde(default)]
    keyid: Option<String>,
}

impl Bundle {
    /// Reads a bundle of at most 32 MiB.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is longer, no Sigstore bundle v0.3, ambiguous, or has not exactly one signature;
    /// [`Error::Untrusted`] if it was signed without a key, through Sigstore, which is not supported.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_BUNDLE {
            return Err(Error::limit(super::DOCUMENT, "length", MAX_BUNDLE));
        }
        let text = str::from_utf8(bytes).map_err(|_| malformed("is not UTF-8"))?.to_owned();
        let wire: WireBundle = json::read(bytes, MAX_VALUES)?;
        if wire.media_type != MEDIA_TYPE {
            return Err(malformed("is not a Sigstore bundle v0.3"));
        }
        if wire.dsse_envelope.payload_type != PAYLOAD_TYPE {
            return Err(malformed("is not about an in-toto statement"));
        }
        let [signature] = &wire.dsse_envelope.signatures[..] else {
            return Err(malformed("has not exactly one signature"));
        };
        let signature = base64(&signature.sig)?;
        if signature.is_empty() || signature.len() > MAX_SIGNATURE {
            return Err(malformed("has a signature that no ECDSA key makes"));
        }
        Ok(Self {
            text,
            material: wire.verification_material.check()?,
            payload: base64(&wire.dsse_envelope.payload)?,
            signature,
        })
    }

    /// Writes a bundle.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the model has so many files that it would be longer than 32 MiB.
    pub(super) fn new(material: &Material, payload: &[u8], signature: &[u8]) -> Result<Self> {
        let wire = WireBundle {
            media_type: MEDIA_TYPE.into(),
            verification_material: WireMaterial::of(material),
            dsse_envelope: WireEnvelope {
                payload: encode_base64(payload),
                payload_type: PAYLOAD_TYPE.into(),
                signatures: vec![WireSignature { sig: encode_base64(signature), keyid: Some(String::new()) }],
            },
        };
        let bytes = canonical::to_vec(super::DOCUMENT, &wire)?;
        if bytes.len() as u64 > MAX_BUNDLE {
            return Err(Error::Misuse("the model has too many files: its bundle is longer than 32 MiB".into()));
        }
        Self::parse(&bytes)
    }

    /// The bundle as it was read or is to be written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it says its signature is to be checked with.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// What it says about the model, whoever said so: for showing, not for relying on.
    ///
    /// # Errors
    /// As [`Claim::parse`].
    pub fn unverified_claim(&self) -> Result<Claim> {
        Claim::parse(&self.payload)
    }

    /// Checks the signature, and only then reads what was signed.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is not by the key or, through a valid path of certificates, by an authority of `trust`;
    /// [`Error::Stale`] if it is, and there is such a path, but not at the time for which it is judged; [`Error::Corrupt`] if a
    /// certificate is malformed or what was signed breaks a rule.
    pub fn verify(&self, trust: &Trust) -> Result<Signed> {
        let message = pae(PAYLOAD_TYPE, &self.payload);
        let by = trust.signer(&self.material, &|key| key.verify(&message, &self.signature))?;
        Ok(Signed::new(Claim::parse(&self.payload)?, by, self.text.clone()))
    }
}

impl WireMaterial {
    fn of(material: &Material) -> Self {
        let raw = |der: &Vec<u8>| WireCertificate { raw_bytes: encode_base64(der) };
        match material {
            Material::Key(hint) => {
                Self { public_key: Some(WirePublicKey { hint: hint.clone(), raw_bytes: None }), ..Self::default() }
            }
            Material::Certificates(chain) => {
                let chain = WireChain { certificates: chain.iter().map(raw).collect() };
                Self { x509_certificate_chain: Some(chain), ..Self::default() }
            }
        }
    }

    fn check(self) -> Result<Material> {
        match (self.public_key, self.x509_certificate_chain, self.certificate) {
            (Some(key), None, None) => match key.hint.filter(|hint| !hint.is_empty()) {
                None if key.raw_bytes.is_none() => Err(malformed("has a publicKey that names no key")),
                hint => Ok(Material::Key(hint)),
            },
            (None, Some(chain), None) => {
                if chain.certificates.is_empty() {
                    return Err(malformed("has an empty chain of certificates"));
                }
                if chain.certificates.len() > MAX_CERTIFICATES {
                    return Err(Error::limit(super::DOCUMENT, "number of certificates", MAX_CERTIFICATES as u64));
                }
                let chain = chain.certificates.iter().map(|certificate| base64(&certificate.raw_bytes));
                chain.collect::<Result<_>>().map(Material::Certificates)
            }
            (None, None, Some(_)) => {
                Err(untrusted("it was made without a key, through Sigstore, which is not supported"))
            }
            _ => Err(malformed("has not exactly one of publicKey and x509CertificateChain")),
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>> {
    decode_base64(text).ok_or_else(|| malformed("has invalid base64"))
}
