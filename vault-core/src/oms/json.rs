//! JSON that others write, read so that it has one meaning: no member twice, no deep nesting, nothing behind it, and no array
//! where an object belongs.

use std::{collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use super::malformed;
use crate::{canonical::objects, error::Result};

/// A bundle has about ten levels.
const MAX_DEPTH: usize = 32;

/// Reads a document. The caller has bounded its length.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict(MAX_DEPTH).deserialize(&mut reader).and_then(|()| reader.end()).map_err(|e| malformed(e.to_string()))?;
    objects::from_slice(bytes).map_err(|e| malformed(e.to_string()))
}

/// Looks at a value of this depth at most and keeps nothing of it.
struct Strict(usize);

impl Strict {
    fn inner<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while values.next_element_seed(Strict(inner))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("member {name:?} is given twice")));
            }
            seen.insert(name);
            members.next_value_seed(Strict(inner))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_document_with_two_meanings_is_refused() {
        assert!(read::<Value>(br#" {"a":[1,-1,1.5,"x",null,true,{"b":{}}],"b":{"a":1}} "#).is_ok());
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read::<Value>(deep(MAX_DEPTH).as_bytes()).is_ok());
        for (bad, rule) in [
            (r#"{"a":1,"a":1}"#.to_owned(), "member \"a\" is given twice"),
            (r#"{"x":{"y":[{"a":1,"\u0061":2}]}}"#.to_owned(), "member \"a\" is given twice"),
            (deep(MAX_DEPTH + 1), "nested deeper than 32 levels"),
            (deep(100_000), "nested deeper"),
            ("{} {}".to_owned(), "trailing characters"),
            (String::new(), "EOF"),
            ("\"\u{1}\"".to_owned(), "control character"),
            ("1e999".to_owned(), "out of range"),
        ] {
            let error = read::<Value>(bad.as_bytes()).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        assert!(read::<Value>(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
