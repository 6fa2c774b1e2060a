//! Provenance as people write it: a SLSA predicate, or a short form that becomes one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Dependency, Object, Provenance, Role, slsa::OWN_BUILDER};
use crate::{
    canonical::objects,
    error::{Error, Result},
    names::{Reference, VersionName},
};

const DOCUMENT: &str = "provenance";
/// The `buildType` of the short form: `externalParameters` are its `parameters`.
const BUILD_TYPE: &str = "https://mvault/build/v1";
/// The longest file that is read, in bytes.
const MAX_FILE: usize = 1 << 20;

/// Provenance whose base models in the vault are named, but not linked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What is said so far.
    pub provenance: Provenance,
    /// Base models that are artifacts of the vault, still to be found there.
    pub bases: Vec<Reference>,
}

/// The short form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Short {
    builder: Option<String>,
    source: Option<Source>,
    #[serde(default)]
    base: Vec<Value>,
    #[serde(default)]
    data: Vec<Resource>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    repository: String,
    commit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

fn broken<T>(rule: impl Into<String>) -> Result<T> {
    Err(Error::format(DOCUMENT, rule))
}

impl Draft {
    /// What is said of a seal whose sealer says nothing but which base models it has.
    pub fn of_seal(name: &VersionName) -> Self {
        Self { provenance: Provenance::of_seal(name), bases: Vec::new() }
    }

    /// Reads JSON: a SLSA provenance v1 predicate if it has a `buildDefinition`, else the short form.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse_json(bytes: &[u8]) -> Result<Self> {
        let object = Object::parse(DOCUMENT, bytes)?;
        if object.members().contains_key("buildDefinition") {
            return Ok(Self { provenance: Provenance::parse(bytes)?, bases: Vec::new() });
        }
        if object.members().is_empty() {
            return broken("says nothing");
        }
        let short = Value::Object(object.members().clone());
        objects::from_value::<Short>(short).map_err(|e| Error::format(DOCUMENT, e.to_string()))?.draft()
    }

    /// Reads the same in TOML 1.0 (<https://toml.io>). Dates become strings.
    ///
    /// # Errors
    /// As [`Draft::parse_json`].
    pub fn parse_toml(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_FILE {
            return Err(Error::limit(DOCUMENT, "length", MAX_FILE as u64));
        }
        let Ok(text) = str::from_utf8(bytes) else { return broken("is not UTF-8") };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            // The library's own text shows the line, over several lines.
            Err(error) => return broken(format!("is no TOML: {}", toml::de::Error::message(&error))),
        };
        let object: Map<_, _> = table.into_iter().map(|(k, v)| Ok((k, json_of(v)?))).collect::<Result<_>>()?;
        Self::parse_json(&serde_json::to_vec(&object).map_err(|e| Error::format(DOCUMENT, e.to_string()))?)
    }
}

/// The TOML reader has bounded the depth.
fn json_of(value: toml::Value) -> Result<Value> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(_) => return broken("has a number that is not finite"),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect::<Result<_>>()?,
        toml::Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| Ok((key, json_of(value)?)));
            Value::Object(entries.collect::<Result<_>>()?)
        }
    })
}

impl Short {
    fn draft(self) -> Result<Draft> {
        let mut dependencies: Vec<Dependency> = self.source.map(Source::dependency).transpose()?.into_iter().collect();
        let mut bases = Vec::new();
        for base in self.base {
            match base {
                Value::String(text) => bases.push(text.parse().or_else(|e: Error| broken(format!("`base`: {e}")))?),
                other => {
                    let resource = objects::from_value::<Resource>(other);
                    let resource = resource.map_err(|e| Error::format(DOCUMENT, format!("`base`: {e}")))?;
                    dependencies.push(resource.dependency(Role::BaseModel)?);
                }
            }
        }
        for data in self.data {
            dependencies.push(data.dependency(Role::DataSet)?);
        }
        let provenance = Provenance::of(&json!({
            "buildDefinition": { "buildType": BUILD_TYPE, "externalParameters": self.parameters },
            "runDetails": { "builder": { "id": self.builder.as_deref().unwrap_or(OWN_BUILDER) } },
        }))?;
        Ok(Draft { provenance: provenance.with(&dependencies)?, bases })
    }
}

impl Source {
    /// As SLSA writes a commit of a Git repository.
    fn dependency(self) -> Result<Dependency> {
        let is_commit = [40, 64].contains(&self.commit.len()) && is_hex(&self.commit);
        if !is_commit {
            return broken("`source.commit` is not 40 or 64 lower-case hex digits");
        }
        if !self.repository.contains(':') {
            return broken("`source.repository` is no URI");
        }
        let is_git = self.repository.starts_with("git+") || self.repository.starts_with("git:");
        let uri = if is_git { self.repository } else { format!("git+{}", self.repository) };
        let digest = BTreeMap::from([("gitCommit".to_owned(), self.commit)]);
        Ok(Dependency { name: None, uri: Some(uri), digest, role: Some(Role::Source) })
    }
}

impl Resource {
    fn dependency(self, role: Role) -> Result<Dependency> {
        let Self { name, uri, digest } = self;
        let place = role.as_str();
        if name.is_none() && uri.is_none() {
            return broken(format!("a {place} has neither `name` nor `uri`"));
        }
        if uri.as_ref().is_some_and(|uri| !uri.contains(':') || uri.starts_with("mvault:")) {
            return broken(format!("a {place} has a `uri` that is no URI of something outside the vault"));
        }
        // in-toto DigestSet: one entry at least; those of hash functions are lower-case hex.
        if digest.is_empty() {
            return broken(format!("a {place} has no `digest`"));
        }
        let is_name =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/".contains(&b));
        if !digest.iter().all(|(algorithm, hex)| is_name(algorithm) && !hex.is_empty() && is_hex(hex)) {
            return broken(format!("a {place} has a `digest` that is not lower-case hex"));
        }
        let lengths =
            [("sha256", 64), ("sha384", 96), ("sha512", 128), ("blake3", 64), ("sha1", 40), ("gitCommit", 40)];
        let short =
            |(algorithm, length): &(&str, usize)| digest.get(*algorithm).is_some_and(|hex| hex.len() != *length);
        if let Some((algorithm, length)) = lengths.iter().find(|entry| short(entry)) {
            return broken(format!("a {place} has a `{algorithm}` that is not {length} hex digits"));
        }
        Ok(Dependency { name, uri, digest, role: Some(role) })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = r#"{
        "builder": "https://ci.example/trainer",
        "source": {"repository": "https://git.example/train", "commit": "0123456789012345678901234567890123456789"},
        "base": ["llama:1", {"name": "gemma", "digest": {"sha256": "0000000000000000000000000000000000000000000000000000000000000000"}}],
        "data": [{"uri": "https://data.example/corpus", "digest": {"sha256": "1111111111111111111111111111111111111111111111111111111111111111"}}],
        "parameters": {"lr": 0.1, "epochs": 3}
    }"#;

    #[test]
    fn the_short_form_becomes_slsa_provenance() {
        let draft = Draft::parse_json(SHORT.as_bytes()).expect("legal");
        assert_eq!(draft.bases, ["llama:1".parse().expect("a name")]);
        let members = json!(draft.provenance.members());
        assert_eq!(members["buildDefinition"]["externalParameters"], json!({ "lr": 0.1, "epochs": 3 }));
        assert_eq!(members["runDetails"]["builder"]["id"], "https://ci.example/trainer");
        let found = draft.provenance.dependencies().expect("few");
        let roles: Vec<_> = found.iter().map(|d| (d.role, d.label())).collect();
        assert_eq!(
            roles,
            [
                (Some(Role::Source), Some("git+https://git.example/train")),
                (Some(Role::BaseModel), Some("gemma")),
                (Some(Role::DataSet), Some("https://data.example/corpus"))
            ]
        );
        assert_eq!(found[0].digest["gitCommit"].len(), 40);
    }

    #[test]
    fn toml_says_the_same_as_json() {
        let toml = r#"
            builder = "https://ci.example/trainer"
            base = ["llama:1", {name = "gemma", digest = {sha256 = "0000000000000000000000000000000000000000000000000000000000000000"}}]
            [source]
            repository = "https://git.example/train"
            commit = "0123456789012345678901234567890123456789"
            [[data]]
            uri = "https://data.example/corpus"
            digest.sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
            [parameters]
            lr = 0.1
            epochs = 3.0
        "#;
        let json = Draft::parse_json(SHORT.as_bytes()).expect("legal");
        assert_eq!(Draft::parse_toml(toml.as_bytes()).expect("legal"), json);
        let deep = format!("parameters.x = {}{}", "[".repeat(50_000), "]".repeat(50_000));
        let dotted = format!("parameters{} = 1", ".a".repeat(200_000));
        let header = format!("[parameters{}]", ".a".repeat(200_000));
        let inline = format!("parameters = {}1{}", "{a = ".repeat(50_000), "}".repeat(50_000));
        let inline_dotted = format!("parameters = {{a{} = 1}}", ".a".repeat(200_000));
        let deep = [&deep, &dotted, &header, &inline, &inline_dotted].map(String::as_str);
        for bad in
            ["a = 1\na = 2", "builder = nan", "parameters.x = inf", "x", "unknown = 1", "\u{0}"].into_iter().chain(deep)
        {
            assert!(Draft::parse_toml(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(Draft::parse_toml(b"\xff").is_err());
        let dated = Draft::parse_toml(b"parameters.on = 2026-11-21").expect("legal");
        assert_eq!(dated.provenance.members()["buildDefinition"]["externalParameters"]["on"], "2026-11-21");
    }

    #[test]
    fn a_full_predicate_is_known_by_its_build_definition() {
        let own = Draft::of_seal(&"m:1".parse().expect("a name"));
        assert_eq!(Draft::parse_json(own.provenance.to_text().expect("text").as_bytes()).expect("legal"), own);
        let error = Draft::parse_json(br#"{"buildDefinition":{}}"#).expect_err("incomplete").to_string();
        assert!(error.contains("buildType"), "{error}");
        assert_eq!(Draft::parse_json(br#"{"builder":"a:b"}"#).expect("legal").bases, []);
    }

    #[test]
    fn short_forms_against_the_rules_are_refused() {
        let zeros = "0".repeat(64);
        for (bad, rule) in [
            ("{}", "says nothing"),
            (r#"{"extra":1}"#, "unknown field"),
            (r#"{"builder":1}"#, "invalid type"),
            (r#"{"builder":"me"}"#, "builder.id"),
            (r#"{"source":{"repository":"a:b"}}"#, "commit"),
            (r#"{"source":{"repository":"a:b","commit":"main"}}"#, "40 or 64"),
            (r#"{"source":{"repository":"x","commit":"0123456789012345678901234567890123456789"}}"#, "no URI"),
            (r#"{"base":["llama"]}"#, "MODEL:VERSION"),
            (r#"{"base":[1]}"#, "`base`"),
            (r#"{"base":[{"name":"x"}]}"#, "no `digest`"),
            (&format!(r#"{{"base":[{{"uri":"mvault:x:1","digest":{{"blake3":"{zeros}"}}}}]}}"#), "outside the vault"),
            (r#"{"data":[{"name":"x","digest":{"sha256":"00"}}]}"#, "not 64 hex"),
            (r#"{"data":[{"name":"x","digest":{"md5":"XY"}}]}"#, "not lower-case hex"),
            (r#"{"data":[{"digest":{"md5":"00"}}]}"#, "neither"),
            (r#"{"data":[{"name":"x","digest":{"md5":"00"},"y":1}]}"#, "unknown field"),
            (r#"{"parameters":[]}"#, "invalid type"),
            (r#"{"parameters":{"x":1,"x":1}}"#, "a key twice"),
        ] {
            let error = Draft::parse_json(bad.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains(rule), "{bad}: {error}");
        }
    }
}
