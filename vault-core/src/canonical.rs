//! Canonical JSON (RFC 8785): one spelling for every document, so that a digest fixes its meaning.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use zeroize::Zeroizing;

use crate::error::{Error, Result};

mod object;
pub(crate) mod objects;
mod secret;

pub use object::Object;
pub(crate) use secret::SecretHex;

/// Writes a document canonically.
pub(crate) fn to_vec<T: Serialize>(document: &'static str, value: &T) -> Result<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value).map_err(|e| Error::format(document, format!("cannot be written: {e}")))
}

/// Reads a document that must be canonical: its bytes equal its own re-serialization.
///
/// The caller has bounded the length of `bytes`.
pub(crate) fn from_slice<T>(document: &'static str, bytes: &[u8]) -> Result<T>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    let value: T = serde_json::from_slice(bytes).map_err(|e| Error::format(document, e.to_string()))?;
    // An index holds names and keys.
    if Zeroizing::new(to_vec(document, &value)?).as_slice() != bytes {
        return Err(Error::format(document, "is not canonical JSON (RFC 8785)"));
    }
    Ok(value)
}

/// `N` bytes, written as lower-case hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> de::Visitor<'_> for Visitor<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} lower-case hex digits", 2 * N)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                let mut bytes = [0; N];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                if lower && hex::decode_to_slice(text, &mut bytes).is_ok() {
                    return Ok(Hex(bytes));
                }
                Err(E::custom(format_args!("expected {} lower-case hex digits", 2 * N)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl From<blake3::Hash> for Hex<32> {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<Hex<32>> for blake3::Hash {
    fn from(hex: Hex<32>) -> Self {
        Self::from_bytes(hex.0)
    }
}

/// Bytes of exactly `N`, written as base64 with padding (RFC 4648 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base64<const N: usize>(pub(crate) Box<[u8; N]>);

impl<const N: usize> Serialize for Base64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_base64(self.0.as_slice()))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Base64<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        if text.len() != N.div_ceil(3) * 4 {
            return Err(de::Error::custom(format_args!("expected {N} bytes in base64")));
        }
        let bytes = decode_base64(&text).ok_or_else(|| de::Error::custom("expected base64"))?;
        let bytes: Box<[u8; N]> = bytes
            .into_boxed_slice()
            .try_into()
            .map_err(|_| de::Error::custom(format_args!("expected {N} bytes in base64")))?;
        Ok(Self(bytes))
    }
}

/// A time as documents have it: RFC 3339 in UTC, to the second. It is a claim and kept as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Time(String);

impl Time {
    /// The time now.
    pub(crate) fn now() -> Self {
        let now = jiff::Timestamp::now();
        Self(now.round(jiff::Unit::Second).unwrap_or(now).to_string())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// This many seconds since 1970; the last second that can be written if that is too late.
    pub(crate) fn at(seconds: i64) -> Self {
        let last = jiff::Timestamp::MAX.as_second();
        Self(jiff::Timestamp::from_second(seconds.min(last)).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string())
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        // Whatever is in a `Time` was parsed or written by this type.
        self.0.parse().map_or(i64::MIN, jiff::Timestamp::as_second)
    }
}

impl std::str::FromStr for Time {
    type Err = ();

    /// Takes only the one spelling that this time is written in.
    fn from_str(text: &str) -> Result<Self, ()> {
        let time: jiff::Timestamp = text.parse().map_err(|_| ())?;
        let whole = time.subsec_nanosecond() == 0 && time.to_string() == text;
        if whole { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|()| de::Error::custom("expected a time like 2026-11-21T20:00:00Z"))
    }
}

/// Base64 with padding, standard alphabet.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Base64 in the standard or the URL-safe alphabet, with or without padding, as DSSE readers must accept.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::{
        Engine as _, alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.bytes().any(|b| b == b'-' || b == b'_');
    let alphabet = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Document {
        b: u64,
        a: Option<Hex<2>>,
    }

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let good = br#"{"a":"00ff","b":1}"#;
        let document: Document = from_slice("document", good).expect("canonical");
        assert_eq!(to_vec("document", &document).expect("written"), good);
        for bad in [
            r#"{"b":1,"a":"00ff"}"#,
            r#"{"a":"00ff","b":1} "#,
            r#" {"a":"00ff","b":1}"#,
            r#"{"a":"00FF","b":1}"#,
            r#"{"a":"00ff","b":1.0}"#,
            r#"{"a":"00ff","b":1e0}"#,
            r#"{"a":"00ff","b":01}"#,
            r#"{"a":"00ff","b":-0}"#,
            r#"{"a":"00ff","b":1,"b":1}"#,
            r#"{"a":"00ff","b":1,"c":1}"#,
            r#"{"a":"00","b":1}"#,
            r#"{"a":"\u0030\u0030ff","b":1}"#,
            r#"{"b":1}"#,
            r#"{"a":"00ff","b":99999999999999999999}"#,
            r#"{"a":"00ff","b":9007199254740993}"#,
            r#"{"a":"00ff","b":1}{"#,
            "",
            "null",
        ] {
            assert!(from_slice::<Document>("document", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_has_one_spelling() {
        let now = Time::now();
        assert_eq!(now.as_str().len(), "2026-11-21T20:00:00Z".len());
        assert_eq!(now.as_str().parse(), Ok(now.clone()));
        for bad in [
            "",
            "now",
            "2026-11-21 20:00:00Z",
            "2026-11-21T20:00:00+00:00",
            "2026-11-21T20:00:00.5Z",
            "2026-11-21T20:00:00.0Z",
            "2026-11-21t20:00:00z",
            "2026-02-30T20:00:00Z",
            "2026-11-21T20:00:60Z",
            "2026-11-21T20:00Z",
        ] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_of_both_alphabets_is_read() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            assert_eq!(decode_base64(text).as_deref(), Some(&[0xFB, 0xFF][..]), "{text}");
        }
        assert_eq!(decode_base64("+_8="), None);
        assert_eq!(encode_base64(&[0xFB, 0xFF]), "+/8=");
    }
}
