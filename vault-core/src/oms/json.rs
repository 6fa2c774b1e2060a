//! JSON that others write, read so that it has one meaning: no member twice, no deep nesting, nothing behind it, and no array
//! where an object belongs.

use std::{cell::Cell, collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use super::malformed;
use crate::{canonical::objects, error::Result};

/// A bundle has about ten levels.
const MAX_DEPTH: usize = 32;

/// Reads a document of at most so many values, names of members not counted. The caller has bounded its length.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(most);
    let look = Strict { levels: MAX_DEPTH, left: &left, most };
    look.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|e| malformed(e.to_string()))?;
    objects::from_slice(bytes).map_err(|e| malformed(e.to_string()))
}

/// Looks at a value of this depth at most and keeps nothing of it.
#[derive(Clone, Copy)]
struct Strict<'a> {
    levels: usize,
    /// How many values more there may be, of the most.
    left: &'a Cell<usize>,
    most: usize,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1);
        let levels = levels.ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))?;
        Ok(Self { levels, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format_args!("more than {} values", self.most)))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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
        while values.next_element_seed(inner)?.is_some() {}
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
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn look(bytes: &[u8]) -> Result<Value> {
        read(bytes, 100)
    }

    #[test]
    fn a_document_with_two_meanings_is_refused() {
        assert!(look(br#" {"a":[1,-1,1.5,"x",null,true,{"b":{}}],"b":{"a":1}} "#).is_ok());
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(look(deep(MAX_DEPTH).as_bytes()).is_ok());
        for (bad, rule) in [
            (r#"{"a":1,"a":1}"#.to_owned(), "member \"a\" is given twice"),
            (r#"{"x":{"y":[{"a":1,"\u0061":2}]}}"#.to_owned(), "member \"a\" is given twice"),
            (deep(MAX_DEPTH + 1), "nested deeper than 32 levels"),
            (deep(100_000), "nested deeper"),
            (format!("[{}0]", "0,".repeat(99)), "more than 100 values"),
            (format!("{{\"a\":[{}0]}}", "{\"b\":0},".repeat(50)), "more than 100 values"),
            ("{} {}".to_owned(), "trailing characters"),
            (String::new(), "EOF"),
            ("\"\u{1}\"".to_owned(), "control character"),
            ("1e999".to_owned(), "out of range"),
        ] {
            let error = look(bad.as_bytes()).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        assert!(look(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
