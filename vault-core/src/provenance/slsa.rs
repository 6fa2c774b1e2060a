//! SLSA provenance v1 (<https://slsa.dev/spec/v1.0/provenance>): how an artifact came to be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Predicate;
use crate::{
    canonical::Time,
    error::{Error, Result},
    names::VersionName,
};

const DOCUMENT: &str = "provenance";
/// The `buildType` of an artifact whose sealer said nothing else about it.
const SEAL_BUILD_TYPE: &str = "https://mvault/seal/v1";

/// A SLSA provenance v1 predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// URI and `externalParameters`, `runDetails` with a `builder.id` URI.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let map: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
        let provenance = Self(map);
        provenance.check()?;
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
        ] {
            let error = Provenance::parse(bad.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains(rule), "{bad}: {error}");
        }
    }
}
