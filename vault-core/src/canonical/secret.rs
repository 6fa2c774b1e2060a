//! Keys in documents that are encrypted, or private to this machine.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A secret of `N` bytes, written as lower-case hexadecimal. The text is wiped as soon as it was handed on.
#[derive(Debug, Clone)]
pub(crate) struct SecretHex<const N: usize>(pub(crate) Secret<N>);

impl<const N: usize> Serialize for SecretHex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(self.0.expose())))
    }
}

impl<'de, const N: usize> Deserialize<'de> for SecretHex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> de::Visitor<'_> for Visitor<N> {
            type Value = SecretHex<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a key of {} lower-case hex digits", 2 * N)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretHex<N>, E> {
                let mut secret = Secret::new([0; N]);
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                if lower && hex::decode_to_slice(text, secret.expose_mut()).is_ok() {
                    return Ok(SecretHex(secret));
                }
                // Unlike other errors about documents this one does not repeat what it found.
                Err(E::custom(format_args!("expected a key of {} lower-case hex digits", 2 * N)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_writing_and_reading_and_errors_do_not_repeat_it() {
        let text = format!("\"{}\"", "0a".repeat(4));
        let key: SecretHex<4> = serde_json::from_str(&text).expect("a key");
        assert_eq!(key.0.expose(), &[10; 4]);
        assert_eq!(serde_json::to_string(&key).expect("written"), text);
        assert_eq!(format!("{key:?}"), "SecretHex(Secret<4>(..))");
        for bad in ["\"0A0a0a0a\"", "\"0a0a0a\"", "\"0a0a0a0a0a\"", "\"5ecre7\"", "7"] {
            let error = serde_json::from_str::<SecretHex<4>>(bad).expect_err(bad).to_string();
            assert!(!error.contains("0a") && !error.contains("5ecre7"), "{error}");
        }
    }
}
