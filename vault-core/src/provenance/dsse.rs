//! DSSE v1 envelopes (<https://github.com/secure-systems-lab/dsse>).

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, decode_base64, encode_base64, objects},
    error::{Error, Result},
    keys::{self, KeyId, Signer, VerifyingKey},
};

/// The longest envelope that is read, in bytes.
pub const MAX_ENVELOPE: u64 = 4 << 20;
/// The media type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The most signatures that are looked at.
const MAX_SIGNATURES: usize = 64;
const DOCUMENT: &str = "envelope";

/// A payload and signatures over it, none of them checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which key made it; a hint that nothing relies on.
    pub keyid: String,
    /// The signature's bytes.
    pub sig: Vec<u8>,
}

/// As DSSE demands, unrecognized members are ignored; a member given twice is an error.
#[derive(Serialize, Deserialize)]
struct WireEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// Signs an in-toto statement, and checks the signature.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn sign(payload: Vec<u8>, signer: &dyn Signer) -> Result<Self> {
        let mut envelope = Self::unsigned(PAYLOAD_TYPE, payload);
        envelope.add_signature(signer)?;
        Ok(envelope)
    }

    /// An envelope that nobody signed yet.
    pub fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    /// Adds this key's signature and checks it. Each key signs once: an earlier signature under its id goes.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn add_signature(&mut self, signer: &dyn Signer) -> Result<()> {
        let sig = keys::sign(signer, &pae(&self.payload_type, &self.payload))?.to_vec();
        let keyid = signer.verifying_key().key_id().to_hex();
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
        self.signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        Ok(())
    }

    /// Takes over the signatures of an envelope of the same payload, one for each key id.
    pub(crate) fn merge(&mut self, other: &Self) {
        if (&self.payload_type, &self.payload) != (&other.payload_type, &other.payload) {
            return;
        }
        for signature in &other.signatures {
            if !self.signatures.iter().any(|there| there.keyid == signature.keyid) {
                self.signatures.push(signature.clone());
            }
        }
        self.signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
    }

    /// The same envelope with one valid signature by each of these keys that signed it, and no others.
    pub(crate) fn signed_only_by(&self, keys: &[VerifyingKey]) -> Self {
        let message = pae(&self.payload_type, &self.payload);
        let by = |key: &VerifyingKey| {
            let id = key.key_id().to_hex();
            self.signatures.iter().find(|s| s.keyid == id && key.verify(&message, &s.sig)).cloned()
        };
        let mut signatures: Vec<_> = keys.iter().filter_map(by).collect();
        signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        signatures.dedup();
        Self { signatures, ..self.clone() }
    }

    /// Reads an envelope of a vault, which is stricter than DSSE: canonical JSON, nothing unrecognized, so that no byte
    /// of it can change unnoticed.
    ///
    /// # Errors
    /// As [`Envelope::parse`], and [`Error::Corrupt`] if it is not canonical.
    pub fn parse_record(bytes: &[u8]) -> Result<Self> {
        Self::parse_record_of(bytes, PAYLOAD_TYPE)
    }

    /// The same for another type of payload.
    ///
    /// # Errors
    /// As [`Envelope::parse_record`].
    pub fn parse_record_of(bytes: &[u8], payload_type: &str) -> Result<Self> {
        let envelope = Self::read(bytes)?;
        if envelope.payload_type != payload_type {
            return Err(Error::format(DOCUMENT, format!("has a payload that is not {payload_type}")));
        }
        if envelope.to_vec()? != bytes {
            return Err(Error::format(DOCUMENT, "is not canonical JSON (RFC 8785)"));
        }
        Ok(envelope)
    }

    /// Reads any DSSE envelope.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is too long, no envelope, of another payload type, or has more than 64 signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let envelope = Self::read(bytes)?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(Error::format(DOCUMENT, "is not about an in-toto statement"));
        }
        Ok(envelope)
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_ENVELOPE {
            return Err(Error::limit(DOCUMENT, "length", MAX_ENVELOPE));
        }
        let wire: WireEnvelope = objects::from_slice(bytes).map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
        if wire.signatures.len() > MAX_SIGNATURES {
            return Err(Error::limit(DOCUMENT, "number of signatures", MAX_SIGNATURES as u64));
        }
        let decode = |text: &str| decode_base64(text).ok_or_else(|| Error::format(DOCUMENT, "has invalid base64"));
        let signature =
            |wire: WireSignature| Ok(Signature { keyid: wire.keyid.unwrap_or_default(), sig: decode(&wire.sig)? });
        Ok(Self {
            payload_type: wire.payload_type,
            payload: decode(&wire.payload)?,
            signatures: wire.signatures.into_iter().map(signature).collect::<Result<_>>()?,
        })
    }

    /// The envelope's bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is longer than 4 MiB.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let signature = |s: &Signature| WireSignature { keyid: Some(s.keyid.clone()), sig: encode_base64(&s.sig) };
        let wire = WireEnvelope {
            payload: encode_base64(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        let bytes = canonical::to_vec(DOCUMENT, &wire)?;
        if bytes.len() as u64 > MAX_ENVELOPE {
            return Err(Error::limit(DOCUMENT, "length", MAX_ENVELOPE));
        }
        Ok(bytes)
    }

    /// The payload, which nobody vouches for yet.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, none checked.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The keys that a record with these bytes names as its signers, each once, ascending; none of them checked. What is no
    /// envelope of a statement names nobody.
    pub fn signers_claimed_in(record: &[u8]) -> Vec<KeyId> {
        Self::parse_record(record).map(|envelope| envelope.claimed_signers()).unwrap_or_default()
    }

    /// The keys that its signatures name, each once, ascending; none of them checked.
    pub fn claimed_signers(&self) -> Vec<KeyId> {
        let mut ids: Vec<_> = self.signatures.iter().filter_map(|s| KeyId::from_hex(&s.keyid).ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether a signature under the id of this key is one by this key.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let (id, message) = (key.key_id().to_hex(), pae(&self.payload_type, &self.payload));
        self.signatures.iter().any(|signature| signature.keyid == id && key.verify(&message, &signature.sig))
    }

    /// Which of these keys signed the payload: each at most once, in the order of `keys`.
    pub fn signed_by<'a>(&self, keys: &'a [VerifyingKey]) -> Vec<&'a VerifyingKey> {
        keys.iter().filter(|key| !self.signatures_by(key).is_empty()).collect()
    }

    /// The valid signatures by this key.
    pub fn signatures_by(&self, key: &VerifyingKey) -> Vec<&Signature> {
        let message = pae(&self.payload_type, &self.payload);
        self.signatures.iter().filter(|signature| key.verify(&message, &signature.sig)).collect()
    }
}

/// The pre-authentication encoding: what is signed.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn the_pre_authentication_encoding_is_that_of_the_specification() {
        // protocol.md, "Test Vectors".
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn only_the_key_that_signed_is_found() {
        let (key, other) = (SigningKey::generate().expect("key"), SigningKey::generate().expect("key"));
        let envelope = Envelope::sign(b"{}".to_vec(), &key).expect("signed");
        let keys = [other.verifying_key(), key.verifying_key()];
        let read = Envelope::parse(&envelope.to_vec().expect("written")).expect("read");
        assert_eq!(read, envelope);
        assert_eq!(read.signed_by(&keys), [&keys[1]]);
        assert!(read.signed_by(&keys[..1]).is_empty());

        let mut forged = read.clone();
        forged.payload.push(b' ');
        assert!(forged.signed_by(&keys).is_empty());
        forged = read;
        forged.signatures.clear();
        assert!(forged.signed_by(&keys).is_empty());
    }

    #[test]
    fn key_ids_are_hints_and_unknown_members_are_ignored() {
        let key = SigningKey::generate().expect("key");
        let envelope = Envelope::sign(b"{}".to_vec(), &key).expect("signed");
        let sig = encode_base64(&envelope.signatures[0].sig).replace('+', "-").replace('/', "_");
        let text = format!(
            r#"{{"x":1,"payloadType":"{PAYLOAD_TYPE}","payload":"e30=","signatures":[{{"sig":"","y":2}},{{"sig":"{sig}"}}]}}"#
        );
        let read = Envelope::parse(text.as_bytes()).expect("read");
        assert_eq!(read.signed_by(&[key.verifying_key()]).len(), 1);
        let twice = text.replacen(r#""x":1"#, r#""payload":"e30=""#, 1);
        assert!(Envelope::parse(twice.as_bytes()).is_err(), "a payload given twice");
        let array = format!(r#"["e30=","{PAYLOAD_TYPE}",[{{"sig":"{sig}"}}]]"#);
        assert!(Envelope::parse(array.as_bytes()).is_err(), "members without names");
        let array = text.replacen(r#"{"sig":"","y":2}"#, r#"[null,""]"#, 1);
        assert!(array != text && Envelope::parse(array.as_bytes()).is_err(), "members without names");
    }

    #[test]
    fn too_many_signatures_are_refused() {
        let many = vec![r#"{"sig":""}"#; MAX_SIGNATURES + 1].join(",");
        let text = format!(r#"{{"payloadType":"{PAYLOAD_TYPE}","payload":"","signatures":[{many}]}}"#);
        assert!(Envelope::parse(text.as_bytes()).is_err());
    }
}
