//! SLSA provenance v1 (<https://slsa.dev/spec/v1.0/provenance>): how an artifact came to be.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::Predicate;
use crate::{
    canonical::{self, Time},
    error::{Error, Result},
    names::VersionName,
};

const DOCUMENT: &str = "provenance";
/// The longest predicate that is sealed, in bytes: signed and in base64 it still fits an envelope.
const MAX_PREDICATE: usize = 1 << 20;
/// How deep a predicate may nest, so that parsers with a limit still read the statement around it.
const MAX_DEPTH: usize = 64;

/// The `buildType` of an artifact whose sealer said nothing else about it.
const SEAL_BUILD_TYPE: &str = "https://mvault/seal/v1";

/// A SLSA provenance v1 predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance(Map<String, Value>);

impl Predicate for Provenance {
    const TYPE: &'static str = "https://slsa.dev/provenance/v1";
    const CANONICAL: bool = false;
}

impl Provenance {
    /// What is true of every seal: these bytes were sealed as `name`, now, by this program.
    pub fn of_seal(name: &VersionName) -> Self {
        let value = json!({
            "buildDefinition": {
                "buildType": SEAL_BUILD_TYPE,
                "externalParameters": { "model": name.model.as_str(), "version": name.version.as_str() },
            },
            "runDetails": {
                "builder": {
                    "id": "https://mvault/mvault",
                    "version": { "mvault": env!("CARGO_PKG_VERSION") },
                },
                "metadata": { "finishedOn": Time::now().as_str() },
            },
        });
        match value {
            Value::Object(map) => Self(map),
            _ => Self(Map::new()),
        }
    }

    /// Reads a predicate that somebody wrote, and checks what SLSA v1 requires: `buildDefinition` with a `buildType`
    /// URI and `externalParameters`, `runDetails` with a `builder.id` URI. At most 1 MiB, 64 levels deep, no key twice.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_PREDICATE {
            return Err(Error::limit(DOCUMENT, "length", MAX_PREDICATE as u64));
        }
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|e| Error::format(DOCUMENT, e.to_string()));
        let provenance: Self = read(bytes)?;
        provenance.check()?;
        // What is signed is the canonical form; it must say what was written.
        let again: Self = read(&canonical::to_vec(DOCUMENT, &provenance)?)?;
        if again != provenance {
            return Err(Error::format(DOCUMENT, "has a number that JSON (RFC 8785) cannot hold exactly"));
        }
        Ok(provenance)
    }

    fn check(&self) -> Result<()> {
        let rule = |rule: &str| Err(Error::format(DOCUMENT, rule));
        let definition = self.0.get("buildDefinition");
        let uri = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| text.contains(':'));
        if !uri(definition.and_then(|d| d.get("buildType"))) {
            return rule("has no `buildDefinition.buildType` URI");
        }
        if !definition.and_then(|d| d.get("externalParameters")).is_some_and(Value::is_object) {
            return rule("has no `buildDefinition.externalParameters` object");
        }
        if !uri(self.0.get("runDetails").and_then(|d| d.get("builder")).and_then(|b| b.get("id"))) {
            return rule("has no `runDetails.builder.id` URI");
        }
        let materials = definition.and_then(|d| d.get("resolvedDependencies"));
        if !materials.is_none_or(|m| m.as_array().is_some_and(|list| list.iter().all(Value::is_object))) {
            return rule("has `resolvedDependencies` that are no array of objects");
        }
        Ok(())
    }

    /// The predicate's members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Provenance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Unique(MAX_DEPTH))? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(de::Error::custom("expected an object")),
        }
    }
}

/// Reads JSON in which no object has a key twice and nothing nests deeper than this.
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
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
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

    #[test]
    fn what_every_seal_says_is_valid_provenance() {
        let own = Provenance::of_seal(&"m:1".parse().expect("a name"));
        let bytes = serde_json::to_vec(&own).expect("written");
        assert_eq!(Provenance::parse(&bytes).expect("valid"), own);
    }

    #[test]
    fn what_cannot_be_signed_as_it_was_written_is_refused() {
        let with = |parameter: &str| {
            let text = format!(
                r#"{{"buildDefinition":{{"buildType":"a:b","externalParameters":{{"x":{parameter}}}}},"runDetails":{{"builder":{{"id":"a:b"}}}}}}"#
            );
            Provenance::parse(text.as_bytes()).map_err(|e| e.to_string())
        };
        assert!(with("[1, 0.5, -3, 1e300, null, true, \"ä\"]").is_ok());
        assert!(with("9007199254740993").expect_err("inexact").contains("cannot hold exactly"));
        assert!(with(&format!("{}{}", "[".repeat(80), "]".repeat(80))).expect_err("deep").contains("too deeply"));
        assert!(with(&format!("{:?}", "x".repeat(MAX_PREDICATE))).expect_err("long").contains("limit"));
    }

    #[test]
    fn provenance_without_the_required_members_is_refused() {
        for (bad, rule) in [
            ("[]", "expected a map"),
            ("{}", "buildType"),
            (r#"{"buildDefinition":{"buildType":"x"}}"#, "buildType"),
            (r#"{"buildDefinition":{"buildType":"a:b"}}"#, "externalParameters"),
            (r#"{"buildDefinition":{"buildType":"a:b","externalParameters":{}}}"#, "builder.id"),
            (
                r#"{"buildDefinition":{"buildType":"a:b","externalParameters":{},"resolvedDependencies":[1]},"runDetails":{"builder":{"id":"a:b"}}}"#,
                "resolvedDependencies",
            ),
            (r#"{"a":{"b":1,"b":2}}"#, "a key twice"),
        ] {
            let error = Provenance::parse(bad.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains(rule), "{bad}: {error}");
        }
    }
}
