//! JSON objects that somebody else wrote, read so that nothing about them is ambiguous.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::to_vec;
use crate::error::{Error, Result};

/// The longest object that is sealed or signed, in bytes: signed and in base64 it still fits an envelope.
const MAX_OBJECT: usize = 1 << 20;
/// How deep one may nest, so that parsers with a limit still read the statement around it.
const MAX_DEPTH: usize = 64;
/// The largest integer that RFC 8785 writes as one, and that every JSON reader holds exactly.
const MAX_INTEGER: u64 = 1 << 53;

/// A JSON object at most 64 levels deep in which no object has a key twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Reads what is to be signed or sealed. `document` names it in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is longer than 1 MiB or no such object, or if its canonical form (RFC 8785) would say
    /// something else, because a number is not exact there.
    pub fn parse(document: &'static str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_OBJECT {
            return Err(Error::limit(document, "length", MAX_OBJECT as u64));
        }
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|e| Error::format(document, e.to_string()));
        let object: Self = read(bytes)?;
        let canonical = to_vec(document, &object)?;
        // Another spelling of the same may be a little longer.
        if canonical.len() > MAX_OBJECT {
            return Err(Error::limit(document, "length", MAX_OBJECT as u64));
        }
        let again: Self = read(&canonical)?;
        if again != object {
            return Err(Error::format(document, "has a number that JSON (RFC 8785) cannot hold exactly"));
        }
        Ok(object)
    }

    /// What this program makes up itself.
    pub(crate) fn made_up(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// The members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(crate) fn members_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// The canonical text.
    pub(crate) fn to_text(&self, document: &'static str) -> Result<String> {
        String::from_utf8(to_vec(document, self)?).map_err(|e| Error::format(document, e.to_string()))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Unique(MAX_DEPTH))? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(de::Error::custom("expected an object")),
        }
    }
}

/// Reads JSON in which no object has a key twice and nothing nests deeper than this. A number is kept in one form,
/// whichever way it was spelled: an integer up to 2^53, otherwise a float if that is exact.
#[derive(Clone, Copy)]
struct Unique(usize);

impl Unique {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("is nested too deeply"))
    }
}

impl<'de> de::DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "whether a cast is exact is the question"
)]
impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        let float = value as f64;
        let exact = value.unsigned_abs() > MAX_INTEGER && float as i128 == i128::from(value);
        Ok(if exact { float.into() } else { value.into() })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        let float = value as f64;
        let exact = value > MAX_INTEGER && float as i128 == i128::from(value);
        Ok(if exact { float.into() } else { value.into() })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let whole = value.fract() == 0.0 && value.abs() <= MAX_INTEGER as f64;
        Ok(if whole { (value as i64).into() } else { value.into() })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (inner, mut list) = (self.deeper()?, Vec::new());
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (inner, mut map) = (self.deeper()?, Map::new());
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if map.insert(key, value).is_some() {
                return Err(de::Error::custom("has a key twice"));
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<String, String> {
        let object = Object::parse("document", format!(r#"{{"x":{value}}}"#).as_bytes()).map_err(|e| e.to_string())?;
        object.to_text("document").map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_are_kept_if_their_canonical_form_says_the_same() {
        for (given, written) in [
            ("1.0", "1"),
            ("-3", "-3"),
            ("-0", "0"),
            ("0.1", "0.1"),
            ("1e2", "100"),
            ("1e300", "1e+300"),
            ("1e17", "100000000000000000"),
            ("100000000000000000", "100000000000000000"),
            ("-100000000000000000", "-100000000000000000"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
        ] {
            assert_eq!(parse(given).expect(given), format!(r#"{{"x":{written}}}"#));
        }
        for bad in ["9007199254740993", "-9007199254740993", "18446744073709551615"] {
            assert!(parse(bad).expect_err(bad).contains("cannot hold exactly"), "{bad}");
        }
        assert!(parse("1e400").is_err());
    }

    #[test]
    fn what_is_ambiguous_deep_or_long_is_refused() {
        for (bad, rule) in [
            (r#"{"a":1,"a":2}"#, "a key twice"),
            (r#"{"a":1,"\u0061":2}"#, "a key twice"),
            (&format!("{}{}", "[".repeat(64), "]".repeat(64)), "too deeply"),
            (&format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)), "too deeply"),
            (&format!("{:?}", "x".repeat(MAX_OBJECT)), "limit of 1048576"),
            ("1 2", "expected"),
        ] {
            assert!(parse(bad).expect_err(rule).contains(rule), "{rule}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(63), "]".repeat(63))).is_ok());
        assert!(Object::parse("document", b"[]").is_err());
        assert!(Object::parse("document", b"{} {}").is_err());
        // Short as written, long in its canonical form.
        let wide = vec!["1e20"; MAX_OBJECT / 8].join(",");
        assert!(parse(&format!("[{wide}]")).expect_err("long").contains("limit"));
    }
}
