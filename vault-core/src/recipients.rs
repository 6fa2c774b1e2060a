//! The recipients of an artifact: stanzas that each hold its key, wrapped to one recipient.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Base64, Hex, Time},
    error::{Error, Result},
    keys::{KeyId, RecipientKind, passphrase::Cost},
};

/// The most stanzas of one generation.
pub const MAX_RECIPIENTS: usize = 1024;
/// The most passphrase stanzas of one generation: each costs an opener an Argon2id run.
pub const MAX_PASSPHRASES: usize = 4;
/// Length of a wrapped key: 32 bytes and a tag.
pub const WRAPPED_LEN: usize = 48;

const DOCUMENT: &str = "recipients";
const X_WING_ENC: usize = 1120;
const X25519_ENC: usize = 32;

/// One generation of the recipients of an artifact, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientsRecord {
    created: Time,
    generation: u64,
    previous: Option<Hex<32>>,
    recipients: Vec<WireStanza>,
    trust_root: Option<Hex<32>>,
}

/// A key wrapped to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stanza {
    /// By HPKE, to a public key.
    Hpke(HpkeStanza),
    /// By Argon2id, to a passphrase.
    Passphrase(PassphraseStanza),
}

/// A key wrapped to a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HpkeStanza {
    /// Which KEM.
    pub kind: RecipientKind,
    /// Whose key.
    pub key_id: KeyId,
    /// The encapsulated key: 1120 bytes for X-Wing, 32 for X25519.
    pub enc: Vec<u8>,
    /// The wrapped key and its tag.
    pub ciphertext: [u8; WRAPPED_LEN],
}

/// A key wrapped to a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseStanza {
    /// The price of a guess.
    pub cost: Cost,
    /// The salt.
    pub salt: [u8; 16],
    /// Commits to the passphrase; compared before the AEAD.
    pub commitment: [u8; 32],
    /// The wrapped key and its tag.
    pub ciphertext: [u8; WRAPPED_LEN],
}

/// Stanzas have fixed lengths and nothing optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum WireStanza {
    #[serde(rename = "x-wing")]
    XWing { ciphertext: Base64<WRAPPED_LEN>, enc: Base64<X_WING_ENC>, key_id: Hex<32> },
    #[serde(rename = "x25519")]
    X25519 { ciphertext: Base64<WRAPPED_LEN>, enc: Base64<X25519_ENC>, key_id: Hex<32> },
    #[serde(rename = "argon2id")]
    Argon2id {
        ciphertext: Base64<WRAPPED_LEN>,
        commitment: Base64<32>,
        lanes: u32,
        memory_kib: u32,
        passes: u32,
        salt: Base64<16>,
    },
}

impl RecipientsRecord {
    /// A generation made now, behind `previous`, the BLAKE3 of the payload of the last valid one, under the trust root
    /// whose version 1 has the BLAKE3 `trust_root`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no stanza, or more than the format allows.
    pub fn new(
        generation: u64,
        previous: Option<blake3::Hash>,
        trust_root: Option<blake3::Hash>,
        stanzas: &[Stanza],
    ) -> Result<Self> {
        let recipients = stanzas.iter().map(WireStanza::of).collect::<Result<_>>()?;
        let (previous, trust_root) = (previous.map(Into::into), trust_root.map(Into::into));
        let record = Self { created: Time::now(), generation, previous, recipients, trust_root };
        record.check().map_err(|e| Error::Misuse(e.to_string()))?;
        Ok(record)
    }

    /// The generation's number, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The BLAKE3 of the payload of the generation before it.
    pub fn previous(&self) -> Option<blake3::Hash> {
        self.previous.map(Into::into)
    }

    /// When it claims to have been made (RFC 3339); a claim, not evidence.
    pub fn created(&self) -> &str {
        self.created.as_str()
    }

    /// Whether it was made under the trust root whose version 1 has this BLAKE3.
    pub fn is_under(&self, trust_root: &blake3::Hash) -> bool {
        self.trust_root == Some(Hex::from(*trust_root))
    }

    /// The stanzas.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are none or more than the format allows, or a passphrase stanza asks for a cost out
    /// of bounds.
    pub fn stanzas(&self) -> Result<Vec<Stanza>> {
        self.check()?;
        self.recipients.iter().map(WireStanza::check).collect()
    }

    fn check(&self) -> Result<()> {
        let passphrases = self.recipients.iter().filter(|s| matches!(s, WireStanza::Argon2id { .. })).count();
        if self.recipients.is_empty() {
            return Err(Error::format(DOCUMENT, "has no stanza"));
        }
        if self.recipients.len() > MAX_RECIPIENTS {
            return Err(Error::limit(DOCUMENT, "number of stanzas", MAX_RECIPIENTS as u64));
        }
        if passphrases > MAX_PASSPHRASES {
            return Err(Error::limit(DOCUMENT, "number of passphrases", MAX_PASSPHRASES as u64));
        }
        Ok(())
    }
}

impl Stanza {
    /// The recipient's key id; a passphrase has none.
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Hpke(stanza) => Some(stanza.key_id),
            Self::Passphrase(_) => None,
        }
    }

    /// The stanza's type as the format names it.
    pub fn type_str(&self) -> &'static str {
        match self {
            Self::Hpke(stanza) => stanza.kind.as_str(),
            Self::Passphrase(_) => "argon2id",
        }
    }
}

impl WireStanza {
    fn of(stanza: &Stanza) -> Result<Self> {
        Ok(match stanza {
            Stanza::Hpke(s) => {
                let (ciphertext, key_id) = (Base64(Box::new(s.ciphertext)), Hex(*s.key_id.as_bytes()));
                match s.kind {
                    RecipientKind::XWing => Self::XWing { ciphertext, enc: fixed(&s.enc)?, key_id },
                    RecipientKind::X25519 => Self::X25519 { ciphertext, enc: fixed(&s.enc)?, key_id },
                }
            }
            Stanza::Passphrase(s) => Self::Argon2id {
                ciphertext: Base64(Box::new(s.ciphertext)),
                commitment: Base64(Box::new(s.commitment)),
                lanes: s.cost.lanes,
                memory_kib: s.cost.memory_kib,
                passes: s.cost.passes,
                salt: Base64(Box::new(s.salt)),
            },
        })
    }

    fn check(&self) -> Result<Stanza> {
        let hpke = |kind, ciphertext: &Base64<WRAPPED_LEN>, enc: &[u8], key_id: &Hex<32>| {
            Stanza::Hpke(HpkeStanza {
                kind,
                key_id: KeyId::from_bytes(key_id.0),
                enc: enc.to_vec(),
                ciphertext: *ciphertext.0,
            })
        };
        Ok(match self {
            Self::XWing { ciphertext, enc, key_id } => hpke(RecipientKind::XWing, ciphertext, &enc.0[..], key_id),
            Self::X25519 { ciphertext, enc, key_id } => hpke(RecipientKind::X25519, ciphertext, &enc.0[..], key_id),
            Self::Argon2id { ciphertext, commitment, lanes, memory_kib, passes, salt } => {
                let cost = Cost { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
                cost.check().map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
                Stanza::Passphrase(PassphraseStanza {
                    cost,
                    salt: *salt.0,
                    commitment: *commitment.0,
                    ciphertext: *ciphertext.0,
                })
            }
        })
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<Base64<N>> {
    let bytes: [u8; N] =
        bytes.try_into().map_err(|_| Error::format(DOCUMENT, format!("an encapsulated key has {N} bytes")))?;
    Ok(Base64(Box::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;

    fn hpke(kind: RecipientKind, enc: usize) -> Stanza {
        let enc = vec![3; enc];
        Stanza::Hpke(HpkeStanza { kind, key_id: KeyId::from_bytes([1; 32]), enc, ciphertext: [2; WRAPPED_LEN] })
    }

    fn passphrase(cost: Cost) -> Stanza {
        let stanza = PassphraseStanza { cost, salt: [1; 16], commitment: [2; 32], ciphertext: [3; WRAPPED_LEN] };
        Stanza::Passphrase(stanza)
    }

    fn record(stanzas: &[Stanza]) -> Result<RecipientsRecord> {
        RecipientsRecord::new(2, Some(blake3::hash(b"")), None, stanzas)
    }

    #[test]
    fn every_kind_of_stanza_survives_writing_and_reading() {
        let stanzas = [hpke(RecipientKind::XWing, 1120), hpke(RecipientKind::X25519, 32), passphrase(Cost::DEFAULT)];
        let bytes = canonical::to_vec(DOCUMENT, &record(&stanzas).expect("legal")).expect("written");
        let read: RecipientsRecord = canonical::from_slice(DOCUMENT, &bytes).expect("read");
        assert_eq!(read.stanzas().expect("legal"), stanzas);
        assert_eq!((read.generation(), read.previous()), (2, Some(blake3::hash(b""))));
    }

    #[test]
    fn stanzas_of_other_lengths_types_or_costs_are_refused() {
        assert!(record(&[]).is_err());
        assert!(record(&[hpke(RecipientKind::XWing, 32)]).is_err());
        assert!(record(&vec![hpke(RecipientKind::X25519, 32); MAX_RECIPIENTS + 1]).is_err());
        assert!(record(&vec![passphrase(Cost::DEFAULT); MAX_PASSPHRASES + 1]).is_err());
        let good = record(&[hpke(RecipientKind::X25519, 32), passphrase(Cost::DEFAULT)]).expect("legal");
        let good = String::from_utf8(canonical::to_vec(DOCUMENT, &good).expect("written")).expect("UTF-8");
        for (from, to) in [
            (r#""memory_kib":65536"#, r#""memory_kib":4294967295"#),
            (r#""memory_kib":65536"#, r#""memory_kib":4294967296"#),
            (r#""passes":3"#, r#""passes":4294967295"#),
            (r#""lanes":4"#, r#""lanes":0"#),
            (r#""type":"x25519""#, r#""type":"x-wing""#),
            (r#""type":"x25519""#, r#""type":"rsa""#),
            (r#""enc":"A"#, r#""enc":"AAAAA"#),
            (r#""ciphertext":"A"#, r#""ciphertext":""#),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let read = canonical::from_slice::<RecipientsRecord>(DOCUMENT, bad.as_bytes());
            assert!(read.and_then(|record| record.stanzas()).is_err(), "{from} -> {to}");
        }
    }
}
