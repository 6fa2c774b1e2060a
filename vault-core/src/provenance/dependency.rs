//! What went into an artifact: in-toto `ResourceDescriptor`s among the `resolvedDependencies` of SLSA provenance
//! (<https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md>).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Subject;
use crate::names::{ArtifactDigest, Reference};

/// How a `uri` begins that names an artifact of a vault; a reference follows.
const SCHEME: &str = "mvault:";
/// The annotation that says what a dependency was used for.
const ROLE: &str = "https://mvault/role";

/// What a dependency was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Weights that training started from.
    BaseModel,
    /// What was trained on.
    DataSet,
    /// The program.
    Source,
}

impl Role {
    const ALL: [Self; 3] = [Self::BaseModel, Self::DataSet, Self::Source];

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BaseModel => "base-model",
            Self::DataSet => "data-set",
            Self::Source => "source",
        }
    }
}

/// One thing that went into an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependency {
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub uri: Option<String>,
    /// Digests by algorithm, as text.
    pub digest: BTreeMap<String, String>,
    /// What it was used for, if that is said.
    pub role: Option<Role>,
}

impl Dependency {
    /// The artifact of a vault as a base model.
    pub fn artifact(reference: &Reference, subject: &Subject) -> Self {
        let digest = [("blake3", subject.blake3.to_hex()), ("sha256", hex::encode(subject.sha256))];
        Self {
            name: None,
            uri: Some(format!("{SCHEME}{reference}")),
            digest: digest.map(|(algorithm, hex)| (algorithm.to_owned(), hex)).into(),
            role: Some(Role::BaseModel),
        }
    }

    /// Reads a descriptor, leaving out what is not as in-toto has it.
    pub(super) fn read(descriptor: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let digests = descriptor["digest"].as_object().into_iter().flatten();
        let role = descriptor["annotations"][ROLE].as_str();
        Self {
            name: text(&descriptor["name"]),
            uri: text(&descriptor["uri"]),
            digest: digests.filter_map(|(algorithm, hex)| Some((algorithm.clone(), text(hex)?))).collect(),
            role: Role::ALL.into_iter().find(|known| role == Some(known.as_str())),
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut descriptor = Map::new();
        if let Some(role) = self.role {
            descriptor.insert("annotations".into(), json!({ ROLE: role.as_str() }));
        }
        if !self.digest.is_empty() {
            descriptor.insert("digest".into(), json!(self.digest));
        }
        if let Some(name) = &self.name {
            descriptor.insert("name".into(), json!(name));
        }
        if let Some(uri) = &self.uri {
            descriptor.insert("uri".into(), json!(uri));
        }
        descriptor.into()
    }

    /// The artifact of a vault that it names by URI and digest; not what is merely called by a BLAKE3 digest, which may be
    /// that of a file.
    pub fn artifact_digest(&self) -> Option<ArtifactDigest> {
        self.uri.as_ref()?.strip_prefix(SCHEME)?;
        ArtifactDigest::from_hex(self.digest.get("blake3")?).ok()
    }

    /// Whether this artifact is the one named: no digest that is given differs.
    pub fn is(&self, subject: &Subject) -> bool {
        self.artifact_digest() == Some(subject.blake3)
            && self.digest.get("sha256").is_none_or(|given| *given == hex::encode(subject.sha256))
    }

    /// What to call it: the reference of an artifact, else its name, else its URI.
    pub fn label(&self) -> Option<&str> {
        let uri = self.uri.as_deref();
        uri.and_then(|uri| uri.strip_prefix(SCHEME)).or(self.name.as_deref()).or(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_named_by_uri_and_both_digests() {
        let (one, other) = (Subject::of(b"one"), Subject::of(b"other"));
        let reference: Reference = "org/llama:1.4.0".parse().expect("a name");
        let dependency = Dependency::artifact(&reference, &one);
        assert_eq!(Dependency::read(&dependency.to_value()), dependency);
        assert_eq!(dependency.label(), Some("org/llama:1.4.0"));
        assert!(dependency.is(&one) && !dependency.is(&other));
        let mut crossed = dependency.clone();
        crossed.digest.insert("sha256".into(), hex::encode(other.sha256));
        assert!(!crossed.is(&one), "two digests of two manifests");
        let file = Dependency { uri: Some("https://example.com/m".into()), ..dependency };
        assert_eq!(file.artifact_digest(), None);
    }

    #[test]
    fn what_is_no_descriptor_says_nothing() {
        for odd in
            [json!(1), json!([]), json!({ "uri": 1, "digest": [1], "annotations": "x" }), json!({ "digest": {"a": 1} })]
        {
            assert_eq!(Dependency::read(&odd), Dependency::default(), "{odd}");
        }
    }
}
