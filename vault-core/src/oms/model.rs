//! A folder beside what was signed: every signed file is there and nothing else, and every byte is what it was.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Authorities, Certificate, Claim, EcPublicKey, Material, Method, SignedFile, hashing::hash_all, untrusted};
use crate::{
    error::{Error, Fault, Place, Result},
    names::FilePath,
    source::{Data, Input, Symlinks, files_below_where},
    workers::{Progress, Threads},
};

/// What the specification leaves out of every signature (section 6.2).
pub(super) const LEFT_OUT: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
/// Its files run as programs: what is in it is accepted only if it was signed or the caller says so.
const GIT: &str = ".git";

/// Who is believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The holder of this key.
    Key(EcPublicKey),
    /// Whoever these authorities vouch for.
    Authorities(Authorities),
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// The holder of this key.
    Key(EcPublicKey),
    /// The subject of this certificate.
    Certificate(Box<Certificate>),
}

impl Trust {
    /// Whoever signed, if it is somebody who is believed; `signed` says whether a key did.
    ///
    /// # Errors
    /// As [`super::Bundle::verify`].
    pub(super) fn signer(&self, material: &Material, signed: &dyn Fn(&EcPublicKey) -> bool) -> Result<SignedBy> {
        match (self, material) {
            (Self::Key(key), Material::Key(hint)) => {
                if hint.as_ref().is_some_and(|hint| *hint != key.hint()) {
                    return Err(untrusted("it was made with another key"));
                }
                if !signed(key) {
                    return Err(untrusted("the signature is wrong"));
                }
                Ok(SignedBy::Key(key.clone()))
            }
            (Self::Authorities(authorities), Material::Certificates(chain)) => {
                Ok(SignedBy::Certificate(Box::new(authorities.signer_of(chain, signed)?)))
            }
            (Self::Key(_), Material::Certificates(_)) => {
                Err(untrusted("it was made with a certificate, and a key is what is believed"))
            }
            (Self::Authorities(_), Material::Key(_)) => {
                Err(untrusted("it was made with a bare key, and authorities are what is believed"))
            }
        }
    }
}

/// What somebody who is believed said about a model. Only [`super::Bundle::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    claim: Claim,
    by: SignedBy,
    bundle: String,
}

/// What to look at in a folder, and what not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Unsigned files that are no offence: each path, and all below it.
    pub ignore: &'a [FilePath],
    /// The bundle itself, which may lie in the folder.
    pub bundle: Option<&'a Path>,
    /// What to do about unsigned files.
    pub unsigned: Unsigned,
}

/// What to do about files that nobody signed and that are not ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unsigned {
    /// Refuse the model.
    #[default]
    Refuse,
    /// Look at signed files only.
    Ignore,
}

/// The files of a folder that are signed, all of them, none opened yet.
#[derive(Debug)]
pub struct Selection {
    /// The files, in the order of their paths.
    pub inputs: Vec<Input<'static>>,
    /// What is there and was not looked at: files, or folders with all in them.
    pub left_out: Vec<String>,
}

/// A model whose every signed byte was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Number of files.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
}

impl Signed {
    pub(super) fn new(claim: Claim, by: SignedBy, bundle: String) -> Self {
        Self { claim, by, bundle }
    }

    /// What was signed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The bundle it was in.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// Who signed it.
    pub fn by(&self) -> &SignedBy {
        &self.by
    }

    /// Finds the signed files in a folder, or the only one as itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a signed file is missing, an unsigned one is there that `scope` does not excuse, or there is a
    /// link that the signer did not follow, one that leaves the folder or one that goes in circles; [`Error::NotFound`] if
    /// there is no such folder; [`Error::Storage`] if it cannot be read.
    pub fn select(&self, model: &Path, scope: Scope<'_>) -> Result<Selection> {
        let signed: BTreeSet<&str> = self.claim.files().map(|(path, _)| path.as_str()).collect();
        let needed = |path: &str| {
            let below = format!("{path}/");
            signed.contains(path) || signed.range(below.as_str()..).next().is_some_and(|p| p.starts_with(&below))
        };
        let bundle = scope.bundle.and_then(|bundle| relative_to(model, bundle));
        let excused = |path: &str| {
            let by_signer = self.claim.ignored.iter().map(FilePath::as_str).chain(LEFT_OUT);
            covers(scope.ignore.iter().map(FilePath::as_str), path)
                || (!covers([GIT], path) && covers(by_signer, path))
                || bundle.as_deref() == Some(path)
                || scope.unsigned == Unsigned::Ignore
        };
        let mut left_out = Vec::new();
        let symlinks = if self.claim.follow_symlinks { Symlinks::FollowInside } else { Symlinks::Refuse };
        let mut keep = |path: &str| {
            let keep = needed(path) || !excused(path);
            if !keep && bundle.as_deref() != Some(path) {
                left_out.push(path.to_owned());
            }
            keep
        };
        let inputs = files_below_where(model, symlinks, &mut keep).map_err(|error| match error {
            Error::Misuse(rule) => Error::format("model", rule),
            other => other,
        })?;
        left_out.sort();
        self.check_names(inputs.iter().map(|input| (&input.path, &input.data)))?;
        Ok(Selection { inputs, left_out })
    }

    /// Refuses files that are not exactly the signed ones, or were not signed as wholes, which is all that sealing digests.
    pub(crate) fn check_inputs(&self, inputs: &[Input<'_>]) -> Result<()> {
        if self.claim.method != Method::Files {
            return Err(Error::Misuse(
                "the bundle signs files in shards; only bundles over whole files can be required".into(),
            ));
        }
        self.check_names(inputs.iter().map(|input| (&input.path, &input.data)))
    }

    /// Refuses files that are not exactly the signed ones.
    fn check_names<'a>(&self, found: impl Iterator<Item = (&'a FilePath, &'a Data<'a>)>) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut faults = Vec::new();
        for (path, data) in found {
            if self.claim.file(path).is_some() {
                seen.insert(path);
            } else if !self.is_empty_shard(data) {
                faults.push((path.to_string(), Fault::Format("is not signed".into())));
            }
        }
        let missing = self.claim.files().filter(|(path, _)| !seen.contains(path));
        faults.extend(missing.map(|(path, _)| (path.to_string(), Fault::Missing)));
        refuse(faults)
    }

    /// In shards, an empty file has none and cannot be listed (specification, section 6.3.2).
    fn is_empty_shard(&self, data: &Data<'_>) -> bool {
        let is_empty = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
        matches!(self.claim.method, Method::Shards(_)) && matches!(data, Data::Found(path, _) if is_empty(path))
    }

    /// Hashes the selected files and compares every digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file is not what was signed, [`Error::InputChanged`] if it changed meanwhile,
    /// [`Error::Storage`] if it cannot be read.
    pub fn check(&self, selection: &Selection, threads: Threads, progress: &dyn Progress) -> Result<Checked> {
        let inputs: Vec<_> = selection.inputs.iter().filter(|input| self.claim.file(&input.path).is_some()).collect();
        let data: Vec<_> = inputs.iter().map(|input| &input.data).collect();
        let shard = match self.claim.method {
            Method::Files => None,
            Method::Shards(size) => Some(size),
        };
        let hashed = hash_all(&data, self.claim.algorithm, shard, threads, progress)?;
        let mut faults = Vec::new();
        for (input, hashed) in inputs.iter().zip(&hashed) {
            let fault = match self.claim.file(&input.path) {
                Some(SignedFile::Whole(expected)) => self.difference(expected, &hashed.digests[0]),
                Some(SignedFile::Shards(length, _)) if *length != hashed.length => {
                    Some(Fault::Length { expected: *length, found: hashed.length })
                }
                Some(SignedFile::Shards(_, expected)) => {
                    expected.iter().zip(&hashed.digests).find_map(|(expected, found)| self.difference(expected, found))
                }
                None => None,
            };
            faults.extend(fault.map(|fault| (input.path.to_string(), fault)));
        }
        refuse(faults)?;
        let bytes = hashed.iter().map(|hashed| hashed.length).sum();
        Ok(Checked { files: hashed.len(), bytes })
    }

    /// Compares the digest of one whole file.
    pub(crate) fn check_digest(&self, path: &FilePath, found: &[u8]) -> Result<()> {
        let fault = match self.claim.file(path) {
            Some(SignedFile::Whole(expected)) => self.difference(expected, found),
            _ => Some(Fault::Format("is not signed as a whole".into())),
        };
        refuse(fault.map(|fault| (path.to_string(), fault)).into_iter().collect())
    }

    fn difference(&self, expected: &[u8], found: &[u8]) -> Option<Fault> {
        let name = self.claim.algorithm.as_str();
        let text = || format!("expected {name} {}, found {}", hex::encode(expected), hex::encode(found));
        (expected != found).then(|| Fault::Format(text()))
    }
}

/// An error about the first of these, which says how many more there are.
fn refuse(mut faults: Vec<(String, Fault)>) -> Result<()> {
    faults.sort_by(|a, b| a.0.cmp(&b.0));
    let others = faults.len().saturating_sub(1);
    let Some((path, fault)) = faults.into_iter().next() else { return Ok(()) };
    let fault = if others == 0 { fault } else { Fault::Format(format!("{fault} (and {others} more)")) };
    Err(Error::Corrupt { place: Place::Object(path), fault })
}

/// Whether one of these paths is `path` or a folder above it.
pub(super) fn covers<'a>(paths: impl IntoIterator<Item = &'a str>, path: &str) -> bool {
    let covers = |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    paths.into_iter().any(covers)
}

/// The path of a file that need not exist, as seen from the model, if it lies in it.
pub(super) fn relative_to(model: &Path, file: &Path) -> Option<String> {
    let root = fs::canonicalize(model).ok()?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = fs::canonicalize(folder).ok()?.join(file.file_name()?);
    real.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}
