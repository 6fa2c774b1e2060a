//! What is signed: an in-toto Statement v1 with the predicate of OMS v1.0 (specification, sections 5 and 6).

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Algorithm, json, malformed};
use crate::{
    canonical::{self, objects},
    error::Result,
    names::FilePath,
};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const OLD_PREDICATE_TYPE: &str = "https://model_signing/Digests/v0.1";
/// The most values of JSON in a statement: four for each file of the longest that fits a bundle, and as many of others.
const MAX_VALUES: usize = 1 << 21;
/// What the reference implementation calls the only file of a model that is no folder.
const ITSELF: &str = ".";

/// What a bundle says about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What the signer called the model; it binds nothing.
    pub name: String,
    /// SHA-256 over all digests in order: a short name for this list of files.
    pub root: [u8; 32],
    /// How files were hashed.
    pub algorithm: Algorithm,
    /// In what pieces.
    pub method: Method,
    /// Whether links were followed.
    pub follow_symlinks: bool,
    /// What the signer left out, relative to the model: a file, or a folder with all in it.
    pub ignored: Vec<FilePath>,
    pub(super) files: BTreeMap<FilePath, SignedFile>,
    /// Whether the signer signed one file, whatever it is called, instead of a folder.
    one_file: bool,
}

/// In what pieces files were hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As a whole.
    Files,
    /// In ranges of so many bytes; the last of a file may be shorter.
    Shards(u64),
}

/// One file of a signed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedFile {
    /// The digest of the whole.
    Whole(Vec<u8>),
    /// The length, and the digests of its ranges in order.
    Shards(u64, Vec<Vec<u8>>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStatement {
    #[serde(rename = "_type")]
    statement_type: String,
    predicate: serde_json::Value,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<WireSubject>,
}

#[derive(Serialize, Deserialize)]
struct WireSubject {
    digest: BTreeMap<String, String>,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePredicate {
    resources: Vec<WireResource>,
    serialization: WireSerialization,
}

/// As the specification demands, members that are not known are ignored here.
#[derive(Serialize, Deserialize)]
struct WireResource {
    algorithm: String,
    digest: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSerialization {
    allow_symlinks: bool,
    hash_type: String,
    #[serde(default)]
    ignore_paths: Vec<String>,
    method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_size: Option<serde_json::Number>,
}

/// The rule for what may be left out: a path relative to the model, without wildcards (specification, section 6.2.1).
///
/// # Errors
/// What is wrong with it: what follows "path `…`".
pub fn ignore_path(text: &str) -> Result<FilePath, &'static str> {
    if text.contains(['*', '?', '[']) {
        return Err("contains a wildcard");
    }
    FilePath::new(text)
}

impl Claim {
    /// Reads a payload and checks every rule of the format.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if it breaks one.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let wire: WireStatement = json::read(payload, MAX_VALUES)?;
        if wire.statement_type != STATEMENT_TYPE {
            return Err(malformed("is not an in-toto Statement v1"));
        }
        if wire.predicate_type == OLD_PREDICATE_TYPE {
            return Err(malformed("is of version 0.2, which is not supported; sign the model again"));
        }
        if wire.predicate_type != PREDICATE_TYPE {
            return Err(malformed(format!("is of type {:?}, not a model signature v1.0", wire.predicate_type)));
        }
        let [subject] = &wire.subject[..] else { return Err(malformed("has not exactly one subject")) };
        if subject.name.is_empty() {
            return Err(malformed("has a subject without a name"));
        }
        let predicate: WirePredicate =
            objects::from_value(wire.predicate).map_err(|e| malformed(format!("predicate: {e}")))?;
        let WirePredicate { mut resources, serialization } = predicate;
        let algorithm = Algorithm::from_name(&serialization.hash_type)
            .ok_or_else(|| malformed(format!("has files hashed with {:?}", serialization.hash_type)))?;
        let method = serialization.method()?;
        let mut one_file = false;
        if let ([only], Method::Files) = (&mut resources[..], method)
            && only.name == ITSELF
        {
            one_file = true;
            // Only to call it something: the subject's name binds nothing (specification, section 6.5).
            let name = FilePath::new(&subject.name).is_ok().then_some(subject.name.as_str());
            name.unwrap_or("model").clone_into(&mut only.name);
        }
        let root = check_root(&resources, subject)?;
        let ignored = serialization
            .ignore_paths
            .iter()
            .map(|path| ignore_path(path).map_err(|rule| malformed(format!("leaves out a path {path:?} that {rule}"))));
        Ok(Self {
            name: subject.name.clone(),
            root,
            algorithm,
            method,
            follow_symlinks: serialization.allow_symlinks,
            ignored: ignored.collect::<Result<_>>()?,
            files: check_resources(&resources, algorithm, method)?,
            one_file,
        })
    }

    /// A claim about whole files, hashed with SHA-256.
    pub(super) fn of_files(
        name: String,
        files: impl Iterator<Item = (FilePath, Vec<u8>)>,
        ignored: Vec<FilePath>,
        follow_symlinks: bool,
    ) -> Self {
        let files: BTreeMap<_, _> = files.map(|(path, digest)| (path, SignedFile::Whole(digest))).collect();
        let mut root = Sha256::new();
        for file in files.values() {
            if let SignedFile::Whole(digest) = file {
                root.update(digest);
            }
        }
        let root = root.finalize().into();
        Self {
            name,
            root,
            algorithm: Algorithm::Sha256,
            method: Method::Files,
            follow_symlinks,
            ignored,
            files,
            one_file: false,
        }
    }

    /// The payload to sign. Only claims about whole files are ever made.
    pub(super) fn to_vec(&self) -> Result<Vec<u8>> {
        let algorithm = self.algorithm.as_str();
        // A map of UTF-8 text is in the order of code points, as the specification wants it.
        let resource = |(path, file): (&FilePath, &SignedFile)| match file {
            SignedFile::Whole(digest) => {
                Some(WireResource { algorithm: algorithm.into(), digest: hex::encode(digest), name: path.to_string() })
            }
            SignedFile::Shards(..) => None,
        };
        let predicate = WirePredicate {
            resources: self.files.iter().filter_map(resource).collect(),
            serialization: WireSerialization {
                allow_symlinks: self.follow_symlinks,
                hash_type: algorithm.into(),
                ignore_paths: self.ignored.iter().map(ToString::to_string).collect(),
                method: "files".into(),
                shard_size: None,
            },
        };
        let unwritable = |e: serde_json::Error| malformed(format!("cannot be written: {e}"));
        let wire = WireStatement {
            statement_type: STATEMENT_TYPE.into(),
            predicate: serde_json::to_value(predicate).map_err(unwritable)?,
            predicate_type: PREDICATE_TYPE.into(),
            subject: vec![WireSubject {
                digest: BTreeMap::from([("sha256".to_owned(), hex::encode(self.root))]),
                name: self.name.clone(),
            }],
        };
        canonical::to_vec(super::DOCUMENT, &wire)
    }

    /// The signed files, in the order of their paths.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&FilePath, &SignedFile)> {
        self.files.iter()
    }

    /// A signed file. If the signer signed one file instead of a folder it is that one, whatever `path` is.
    pub fn file(&self, path: &FilePath) -> Option<&SignedFile> {
        if self.one_file { self.files.values().next() } else { self.files.get(path) }
    }

    /// Whether the signer signed one file, whatever it is called, instead of a folder.
    pub fn is_one_file(&self) -> bool {
        self.one_file
    }
}

impl WireSerialization {
    fn method(&self) -> Result<Method> {
        match (self.method.as_str(), self.shard_size.as_ref().map(whole_number)) {
            ("files", None) => Ok(Method::Files),
            ("shards", Some(Some(size))) if size > 0 => Ok(Method::Shards(size)),
            ("files" | "shards", _) => Err(malformed("has a shard size where none belongs, or none where one does")),
            (other, _) => Err(malformed(format!("has files hashed in an unknown way {other:?}"))),
        }
    }
}

/// The reference implementation writes all numbers as protobuf has them, as floating point.
fn whole_number(number: &serde_json::Number) -> Option<u64> {
    /// Up to here every integer is a floating point number of its own.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=LARGEST).contains(float));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, not negative and in range"
    )]
    number.as_u64().or(float.map(|float| float as u64))
}

/// The subject's digest must be that of the list, or the statement contradicts itself.
fn check_root(resources: &[WireResource], subject: &WireSubject) -> Result<[u8; 32]> {
    let mut root = Sha256::new();
    for resource in resources {
        root.update(hex::decode(&resource.digest).unwrap_or_default());
    }
    let root: [u8; 32] = root.finalize().into();
    if subject.digest.get("sha256") != Some(&hex::encode(root)) {
        return Err(malformed("has a subject digest that is not that of its files"));
    }
    Ok(root)
}

/// One entry of the list, its name taken apart.
struct Entry {
    path: FilePath,
    /// Start and end of a range.
    range: Option<(u64, u64)>,
    digest: Vec<u8>,
}

fn check_resources(
    resources: &[WireResource],
    algorithm: Algorithm,
    method: Method,
) -> Result<BTreeMap<FilePath, SignedFile>> {
    if resources.is_empty() {
        return Err(malformed("lists no files"));
    }
    let mut names = HashSet::new();
    if let Some(twice) = resources.iter().find(|resource| !names.insert(resource.name.as_str())) {
        return Err(malformed(format!("lists {:?} twice", twice.name)));
    }
    let entries = resources.iter().map(|wire| entry(wire, algorithm, method)).collect::<Result<Vec<_>>>()?;
    // The specification sorts by code point; the reference implementation segment by segment, and ranges by number.
    let by_segment = |e: &Entry| (e.path.as_str().split('/').map(str::to_owned).collect::<Vec<_>>(), e.range);
    if !resources.is_sorted_by(|a, b| a.name < b.name) && !entries.is_sorted_by(|a, b| by_segment(a) < by_segment(b)) {
        return Err(malformed("does not list its files in order"));
    }
    match method {
        Method::Files => Ok(entries.into_iter().map(|e| (e.path, SignedFile::Whole(e.digest))).collect()),
        Method::Shards(size) => join_shards(entries, size),
    }
}

fn entry(wire: &WireResource, algorithm: Algorithm, method: Method) -> Result<Entry> {
    let name = &wire.name;
    let (path, range) = match method {
        Method::Files => (name.as_str(), None),
        Method::Shards(_) => {
            let split = split_range(name).ok_or_else(|| malformed(format!("lists {name:?}, which names no range")))?;
            (split.0, Some(split.1))
        }
    };
    let path = FilePath::new(path).map_err(|rule| malformed(format!("lists a path {name:?} that {rule}")))?;
    let lower = wire.digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let digest = if lower { hex::decode(&wire.digest).ok() } else { None };
    let named = wire.algorithm == algorithm.as_str() || names_shards(&wire.algorithm, algorithm, method);
    match digest.filter(|digest| digest.len() == algorithm.length() && named) {
        Some(digest) => Ok(Entry { path, range, digest }),
        None => Err(malformed(format!("lists {name:?} with a digest that is not {}", algorithm.as_str()))),
    }
}

/// The reference implementation puts the size of shards into the name of their algorithm.
fn names_shards(name: &str, algorithm: Algorithm, method: Method) -> bool {
    matches!(method, Method::Shards(size) if name == format!("{}-sharded-{size}", algorithm.as_str()))
}

/// Splits `path:start:end`; a path may have colons of its own.
fn split_range(name: &str) -> Option<(&str, (u64, u64))> {
    let number = |text: &str| {
        let canonical = text == "0" || !text.starts_with('0');
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        (canonical && digits).then(|| text.parse::<u64>().ok()).flatten()
    };
    let mut parts = name.rsplitn(3, ':');
    let (end, start, path) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
    (start < end).then_some((path, (start, end)))
}

/// The ranges of a file must be all of it: from 0, without gaps, each of full size but the last.
fn join_shards(entries: Vec<Entry>, size: u64) -> Result<BTreeMap<FilePath, SignedFile>> {
    let mut by_path: BTreeMap<FilePath, BTreeMap<(u64, u64), Vec<u8>>> = BTreeMap::new();
    for entry in entries {
        let Some(range) = entry.range else { continue };
        by_path.entry(entry.path).or_default().insert(range, entry.digest);
    }
    let join = |(path, shards): (FilePath, BTreeMap<(u64, u64), Vec<u8>>)| {
        let count = shards.len();
        let mut length = 0;
        for (number, (start, end)) in shards.keys().enumerate() {
            let full = end - start == size || (number + 1 == count && end - start < size);
            if *start != length || !full {
                return Err(malformed(format!("lists ranges of {:?} that are not all of it", path.as_str())));
            }
            length = *end;
        }
        Ok((path, SignedFile::Shards(length, shards.into_values().collect())))
    };
    by_path.into_iter().map(join).collect()
}
