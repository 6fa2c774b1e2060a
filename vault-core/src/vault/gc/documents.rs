//! The documents of a run of garbage collection. They coordinate honest programs and authenticate nothing.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    canonical::{self, Hex},
    error::{Error, Result},
    names::ArtifactDigest,
    parts::object_path,
    secret::fill_random,
};

/// The longest of these documents, in bytes.
pub(in crate::vault) const MAX_DOCUMENT: u64 = 4 << 20;
/// The most paths in one list: at most 2 MiB, the paths being at most 200 bytes long.
pub(in crate::vault) const MAX_PATHS: usize = 10_000;
/// The longest path that is condemned.
const MAX_PATH: usize = 200;

/// The start of a run: a new object whose time is what the run calls now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    format: String,
    grace: u64,
    nonce: Hex<16>,
}

/// Some of what a run would delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condemned {
    format: String,
    paths: Vec<String>,
}

/// What became of a run: created once, by the run itself or by somebody who needs what it condemned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    format: String,
    nonce: Hex<16>,
    outcome: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Cancelled,
    Deleting,
}

/// The end of a run: its process deletes nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    deleted: u64,
    format: String,
}

/// A promise of a run: it deletes only by permits that the store itself ends, and takes out none once it is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    format: String,
    /// For how many seconds a permit lasts.
    lifetime: u64,
}

/// The end of a run that another one takes over: it takes out no more permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    format: String,
    nonce: Hex<16>,
}

/// A document with a format.
pub(in crate::vault) trait Document: Serialize + DeserializeOwned {
    const NAME: &'static str;
    const FORMAT: &'static str;

    fn format(&self) -> &str;

    /// What else is demanded.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(Error::limit(Self::NAME, "length", MAX_DOCUMENT));
        }
        let document: Self = canonical::from_slice(Self::NAME, bytes)?;
        if document.format() != Self::FORMAT {
            return Err(Error::format(Self::NAME, format!("is of format {:?}", document.format())));
        }
        document.check()?;
        Ok(document)
    }

    fn write(&self) -> Result<Vec<u8>> {
        canonical::to_vec(Self::NAME, self)
    }
}

macro_rules! document {
    ($document:ty, $name:literal, $format:literal) => {
        impl Document for $document {
            const NAME: &'static str = $name;
            const FORMAT: &'static str = $format;

            fn format(&self) -> &str {
                &self.format
            }
        }
        document!(@parse $document);
    };
    (@parse $document:ty) => {
        impl $document {
            /// Reads one.
            ///
            /// # Errors
            /// [`Error::Corrupt`] with the rule it breaks.
            pub fn parse(bytes: &[u8]) -> Result<Self> {
                Self::read(bytes)
            }
        }
    };
}

document!(Started, "start of a garbage collection", "mvault-gc-start/v1");
document!(Decision, "decision of a garbage collection", "mvault-gc-decision/v1");
document!(Done, "end of a garbage collection", "mvault-gc-end/v1");
document!(Promise, "promise of a garbage collection", "mvault-gc-promise/v1");
document!(Revocation, "revocation of a garbage collection", "mvault-gc-revocation/v1");
document!(@parse Condemned);

impl Document for Condemned {
    const NAME: &'static str = "list of a garbage collection";
    const FORMAT: &'static str = "mvault-gc-list/v1";

    fn format(&self) -> &str {
        &self.format
    }

    fn check(&self) -> Result<()> {
        if self.paths.len() > MAX_PATHS {
            return Err(Error::limit(Self::NAME, "number of paths", MAX_PATHS as u64));
        }
        if !self.paths.is_sorted_by(|a, b| a < b) {
            return Err(Error::format(Self::NAME, "has paths that do not ascend"));
        }
        match self.paths.iter().find(|path| !may_be_condemned(path)) {
            Some(path) => Err(Error::format(Self::NAME, format!("names {path:?}, which no collection deletes"))),
            None => Ok(()),
        }
    }
}

fn nonce() -> Result<Hex<16>> {
    let mut nonce = [0; 16];
    fill_random(&mut nonce)?;
    Ok(Hex(nonce))
}

impl Started {
    pub(in crate::vault) fn new(grace: u64) -> Result<Self> {
        Ok(Self { format: Self::FORMAT.into(), grace, nonce: nonce()? })
    }
}

impl Condemned {
    /// A list of ascending paths.
    pub(in crate::vault) fn new(paths: &[String]) -> Result<Self> {
        let list = Self { format: Self::FORMAT.into(), paths: paths.to_vec() };
        list.check()?;
        Ok(list)
    }

    /// The paths, ascending.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }
}

impl Decision {
    pub(in crate::vault) fn cancelled() -> Result<Self> {
        Ok(Self { format: Self::FORMAT.into(), nonce: nonce()?, outcome: Verdict::Cancelled })
    }

    pub(in crate::vault) fn deleting() -> Result<Self> {
        Ok(Self { format: Self::FORMAT.into(), nonce: nonce()?, outcome: Verdict::Deleting })
    }

    /// Whether the run may delete; otherwise it was called off.
    pub fn is_deleting(&self) -> bool {
        self.outcome == Verdict::Deleting
    }
}

impl Promise {
    pub(in crate::vault) fn new(lifetime: u64) -> Self {
        Self { format: Self::FORMAT.into(), lifetime }
    }

    /// For how many seconds a permit lasts.
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }
}

impl Revocation {
    pub(in crate::vault) fn new() -> Result<Self> {
        Ok(Self { format: Self::FORMAT.into(), nonce: nonce()? })
    }
}

impl Done {
    pub(in crate::vault) fn new(deleted: u64) -> Self {
        Self { deleted, format: Self::FORMAT.into() }
    }

    /// How many objects it deleted.
    pub fn deleted(&self) -> u64 {
        self.deleted
    }
}

/// Whether this is the path of something that a collection may delete: a content object, or a part of an artifact.
pub(in crate::vault) fn may_be_condemned(path: &str) -> bool {
    let digest = |hex: &str| ArtifactDigest::from_hex(hex).ok();
    if path.len() > MAX_PATH {
        return false;
    }
    match path.split('/').collect::<Vec<_>>()[..] {
        ["objects", _, name] => digest(name).is_some_and(|name| object_path(&name.hash()) == path),
        ["artifacts", artifact, "manifest.json"] => digest(artifact).is_some(),
        ["artifacts", artifact, "recipients" | "attestations" | "shredded", name] => {
            digest(artifact).is_some() && name.ends_with(".dsse.json")
        }
        _ => false,
    }
}
