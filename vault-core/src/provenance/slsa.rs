//! SLSA provenance v1 (<https://slsa.dev/spec/v1.0/provenance>): how an artifact came to be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Dependency, Object, Predicate};
use crate::{
    canonical::{Time, decode_base64},
    error::{Error, Result},
    names::VersionName,
};

const DOCUMENT: &str = "provenance";
/// The most `resolvedDependencies`: more are not read.
const MAX_DEPENDENCIES: usize = 10_000;

/// The `buildType` of an artifact whose sealer said nothing else about it.
const SEAL_BUILD_TYPE: &str = "https://mvault/seal/v1";
/// The `builder.id` where nobody named one.
pub(super) const OWN_BUILDER: &str = "https://mvault/mvault";

/// A SLSA provenance v1 predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Provenance(Object);

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
                    "id": OWN_BUILDER,
                    "version": { "mvault": env!("CARGO_PKG_VERSION") },
                },
                "metadata": { "finishedOn": Time::now().as_str() },
            },
        });
        match value {
            Value::Object(map) => Self(Object::made_up(map)),
            _ => Self(Object::default()),
        }
    }

    /// Reads a predicate that somebody wrote, and checks what SLSA v1 requires: `buildDefinition` with a `buildType`
    /// URI and `externalParameters`, `runDetails` with a `builder.id` URI, and every other member of its own type, if it
    /// is there. At most 1 MiB, 64 levels deep, no key twice.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let provenance = Self(Object::parse(DOCUMENT, bytes)?);
        provenance.check()?;
        Ok(provenance)
    }

    /// The same of members made up here.
    pub(super) fn of(members: &Value) -> Result<Self> {
        Self::parse(&serde_json::to_vec(members).map_err(|e| Error::format(DOCUMENT, e.to_string()))?)
    }

    /// The same with these dependencies behind those it has.
    ///
    /// # Errors
    /// [`Error::Misuse`] if that makes it longer than 1 MiB or more than 10 000 dependencies.
    pub fn with(mut self, dependencies: &[Dependency]) -> Result<Self> {
        if dependencies.is_empty() {
            return Ok(self);
        }
        let new = dependencies.iter().map(Dependency::to_value);
        let definition = self.0.members_mut().get_mut("buildDefinition").and_then(Value::as_object_mut);
        let list = definition.map(|d| d.entry("resolvedDependencies").or_insert_with(|| json!([])));
        match list.and_then(Value::as_array_mut) {
            Some(list) => list.extend(new),
            None => return Err(Error::Misuse("provenance has no place for `resolvedDependencies`".into())),
        }
        Self::of(&json!(self.0)).map_err(|e| Error::Misuse(format!("with its dependencies: {e}")))
    }

    /// What went into it. What is no descriptor names nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are more than 10 000.
    pub fn dependencies(&self) -> Result<Vec<Dependency>> {
        let definition = self.0.members().get("buildDefinition");
        let list = definition.and_then(|d| d.get("resolvedDependencies")).and_then(Value::as_array);
        let list = list.map_or(&[][..], Vec::as_slice);
        if list.len() > MAX_DEPENDENCIES {
            return Err(Error::limit(DOCUMENT, "number of dependencies", MAX_DEPENDENCIES as u64));
        }
        Ok(list.iter().map(Dependency::read).collect())
    }

    /// The predicate's members.
    pub fn members(&self) -> &Map<String, Value> {
        self.0.members()
    }

    /// The canonical text.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it has none.
    pub fn to_text(&self) -> Result<String> {
        self.0.to_text(DOCUMENT)
    }

    fn check(&self) -> Result<()> {
        let nothing = Value::Null;
        let definition = self.members().get("buildDefinition").unwrap_or(&nothing);
        let details = self.members().get("runDetails").unwrap_or(&nothing);
        let (builder, metadata) = (&details["builder"], &details["metadata"]);
        require(is_uri(&definition["buildType"]), "has no `buildDefinition.buildType` URI")?;
        require(definition["externalParameters"].is_object(), "has no `buildDefinition.externalParameters` object")?;
        require(is_uri(&builder["id"]), "has no `runDetails.builder.id` URI")?;
        optional(&definition["internalParameters"], Value::is_object, "has `internalParameters` that are no object")?;
        optional(&builder["version"], is_map_of_text, "has a `builder.version` that is no object of strings")?;
        optional(metadata, Value::is_object, "has `metadata` that is no object")?;
        optional(&metadata["invocationId"], Value::is_string, "has an `invocationId` that is no string")?;
        for time in ["startedOn", "finishedOn"] {
            optional(&metadata[time], is_time, "has a `startedOn` or `finishedOn` that is no RFC 3339 time")?;
        }
        optional(
            &definition["resolvedDependencies"],
            are_descriptors,
            "has `resolvedDependencies` that are no array of resource descriptors",
        )?;
        for list in [&builder["builderDependencies"], &details["byproducts"]] {
            optional(
                list,
                are_descriptors,
                "has `builderDependencies` or `byproducts` that are no resource descriptors",
            )?;
        }
        self.dependencies().map(drop)
    }
}

fn require(holds: bool, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::format(DOCUMENT, rule)) }
}

/// What may be missing, but not be something else.
fn optional(value: &Value, holds: fn(&Value) -> bool, rule: &str) -> Result<()> {
    require(value.is_null() || holds(value), rule)
}

fn is_uri(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(':'))
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

fn is_map_of_text(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

fn are_descriptors(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(is_descriptor))
}

/// An in-toto `ResourceDescriptor`: at least one of `uri`, `digest`, `content`, or, as its implementations have it, `name`.
fn is_descriptor(value: &Value) -> bool {
    let texts = ["name", "uri", "downloadLocation", "mediaType"];
    let is_base64 = |content: &Value| content.as_str().is_some_and(|text| decode_base64(text).is_some());
    value.is_object()
        && ["name", "uri", "digest", "content"].iter().any(|key| !value[key].is_null())
        && texts.iter().all(|key| value[key].is_null() || value[key].is_string())
        && (value["digest"].is_null() || is_map_of_text(&value["digest"]))
        && (value["content"].is_null() || is_base64(&value["content"]))
        && (value["annotations"].is_null() || value["annotations"].is_object())
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
        assert!(with(&format!("{:?}", "x".repeat(1 << 20))).expect_err("long").contains("limit"));
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
    /// Provenance with these members of `buildDefinition` and `runDetails` besides.
    fn with(definition: &str, details: &str) -> Result<Provenance> {
        let text = format!(
            r#"{{"buildDefinition":{{"buildType":"a:b","externalParameters":{{}}{definition}}},"runDetails":{{"builder":{{"id":"a:b"}}{details}}}}}"#
        );
        Provenance::parse(text.as_bytes())
    }

    #[test]
    fn members_that_may_be_missing_may_not_be_something_else() {
        let dependencies = |list: &str| with(&format!(r#","resolvedDependencies":{list}"#), "");
        for good in [
            "[]",
            r#"[{"uri":"a:b"},{"digest":{"sha256":"00"}},{"name":"x","annotations":{"y":1}},{"content":"AAEC"}]"#,
        ] {
            assert!(dependencies(good).is_ok(), "{good}");
        }
        for bad in ["{}", "[1]", "[{}]", r#"[{"uri":1}]"#, r#"[{"digest":{"sha256":1}}]"#, r#"[{"content":"?"}]"#] {
            assert!(dependencies(bad).is_err(), "{bad}");
        }
        let metadata = |members: &str| with("", &format!(r#","metadata":{members}"#));
        assert!(metadata(r#"{"invocationId":"1","startedOn":"2026-11-21T20:00:00.5+01:00"}"#).is_ok());
        for bad in ["1", r#"{"invocationId":1}"#, r#"{"startedOn":"now"}"#, r#"{"finishedOn":1}"#] {
            assert!(metadata(bad).is_err(), "{bad}");
        }
        assert!(with(r#","internalParameters":1"#, "").is_err());
        assert!(with("", r#","byproducts":[{}]"#).is_err());
        let many = vec![r#"{"uri":"a:b"}"#; MAX_DEPENDENCIES + 1].join(",");
        assert!(dependencies(&format!("[{many}]")).is_err());
    }

    #[test]
    fn dependencies_are_added_behind_those_there_are() {
        let data = Dependency { uri: Some("https://example.com/d".into()), ..Dependency::default() };
        let more = with(r#","resolvedDependencies":[{"name":"x"}]"#, "").expect("valid");
        let more = more.with(std::slice::from_ref(&data)).expect("room");
        let found = more.dependencies().expect("few");
        assert_eq!((found.len(), &found[1]), (2, &data));
        let own = Provenance::of_seal(&"m:1".parse().expect("a name"));
        assert_eq!(own.with(std::slice::from_ref(&data)).expect("room").dependencies().expect("few"), [data]);
    }
}
