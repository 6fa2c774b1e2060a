//! What a keeper is asked.

use serde::Serialize;

use super::PROTOCOL;
use crate::{
    canonical::encode_base64,
    error::{Error, Result},
    keys::{PublicKey, Recipient, VerifyingKey},
};

/// The longest question, in bytes: what is signed may be a statement of almost 3 MiB, and Ed25519 takes it as a whole.
pub const MAX_QUESTION: usize = 8 << 20;

const DOCUMENT: &str = "question to the keeper of a key";

/// A question. Binary values are base64 with padding; members that do not apply are left out.
#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'a str,
    #[serde(flatten)]
    operation: Operation,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    key: Option<Subject>,
}

#[derive(Serialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
enum Operation {
    PublicKey,
    Sign { message: String },
    Unwrap { info: String, enc: String, ciphertext: String },
}

#[derive(Serialize)]
struct Subject {
    /// `ed25519`, or the stanza's type: `x-wing` or `x25519`.
    algorithm: &'static str,
    key_id: String,
    /// PEM.
    public_key: String,
}

impl Subject {
    fn of(key: &PublicKey) -> Self {
        let algorithm = match key {
            PublicKey::Signing(_) => "ed25519",
            PublicKey::Recipient(recipient) => recipient.kind().as_str(),
        };
        Self { algorithm, key_id: key.key_id().to_hex(), public_key: key.to_pem() }
    }
}

/// Asks for a public key.
pub(super) fn public_key() -> Result<Vec<u8>> {
    write(Operation::PublicKey, None)
}

/// Asks for a signature of `message`.
pub(super) fn sign(key: &VerifyingKey, message: &[u8]) -> Result<Vec<u8>> {
    write(Operation::Sign { message: encode_base64(message) }, Some(&PublicKey::Signing(key.clone())))
}

/// Asks for what `ciphertext` holds (HPKE, RFC 9180 section 6.1, base mode, no associated data).
pub(super) fn unwrap(recipient: &Recipient, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>> {
    let [info, enc, ciphertext] = [info, enc, ciphertext].map(encode_base64);
    write(Operation::Unwrap { info, enc, ciphertext }, Some(&PublicKey::Recipient(recipient.clone())))
}

fn write(operation: Operation, key: Option<&PublicKey>) -> Result<Vec<u8>> {
    let wire = Wire { protocol: PROTOCOL, operation, key: key.map(Subject::of) };
    let bytes = serde_json::to_vec(&wire).map_err(|e| Error::format(DOCUMENT, format!("cannot be written: {e}")))?;
    if bytes.len() > MAX_QUESTION {
        return Err(Error::limit(DOCUMENT, "length", MAX_QUESTION as u64));
    }
    Ok(bytes)
}
