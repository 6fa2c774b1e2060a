//! A folder beside what was signed: every signed file is there and nothing else, and every byte is what it was.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    Authorities, Certificate, Claim, EcPublicKey, Material, Method, SignedFile,
    hashing::{Opened, hash_all},
    untrusted,
};
use crate::{
    error::{Error, Fault, Place, Result},
    names::FilePath,
    source::{Input, Symlinks, files_below_where},
    workers::{Progress, Threads},
};

/// What the specification leaves out of every signature (section 6.2).
pub(super) const LEFT_OUT: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
/// Its files run as programs: what is in it, wherever it is, is accepted only if it was signed or the caller says so. File
/// systems that do not tell cases apart give it to git in any case.
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
    /// Look at signed files only, and at what is in `.git`.
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
    /// [`Error::Corrupt`] if `model` is a folder and one file was signed, a signed file is missing, an unsigned one is there that `scope` does not excuse, or there is a
    /// link that the signer did not follow, one that leaves the folder, leads nowhere or goes in circles; [`Error::NotFound`] if
    /// there is no such folder; [`Error::Storage`] if it cannot be read.
    pub fn select(&self, model: &Path, scope: Scope<'_>) -> Result<Selection> {
        let signed: BTreeSet<&str> = self.claim.files().map(|(path, _)| path.as_str()).collect();
        let needed = |path: &str| {
            let below = format!("{path}/");
            signed.contains(path) || signed.range(below.as_str()..).next().is_some_and(|p| p.starts_with(&below))
        };
        let bundle = scope.bundle.and_then(|bundle| relative_to(model, bundle));
        let by_caller = || scope.ignore.iter().map(FilePath::as_str);
        let excused = |path: &str| {
            let by_signer = self.claim.ignored.iter().map(FilePath::as_str).chain(LEFT_OUT);
            covers(by_caller(), path)
                || (!is_git(path) && (covers(by_signer, path) || scope.unsigned == Unsigned::Ignore))
                || bundle.as_deref() == Some(path)
        };
        if self.claim.is_one_file() && fs::metadata(model).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::format("model", "is a folder, and what was signed is a file"));
        }
        let (mut left_out, mut unseen) = (Vec::new(), Vec::new());
        let symlinks = if self.claim.follow_symlinks { Symlinks::FollowInside } else { Symlinks::Refuse };
        let mut keep = |path: &str| {
            let keep = needed(path) || !excused(path);
            if !keep && bundle.as_deref() != Some(path) {
                left_out.push(path.to_owned());
                unseen.extend((!covers(by_caller(), path)).then(|| path.to_owned()));
            }
            keep
        };
        let inputs = files_below_where(model, symlinks, &mut keep).map_err(unfit)?;
        for path in unseen {
            if let Some(path) = git_below(model, path, &|path| covers(by_caller(), path))? {
                refuse(vec![(path, Fault::Format("is not signed".into()))])?;
            }
        }
        let mut selected = Vec::new();
        for input in inputs {
            // In shards an empty file has none and cannot be listed (specification, section 6.3.2).
            let listless = matches!(self.claim.method, Method::Shards(_)) && !is_git(input.path.as_str());
            if listless
                && self.claim.file(&input.path).is_none()
                && Opened::look(&input.data).map_err(unfit)?.length == 0
            {
                left_out.push(input.path.to_string());
            } else {
                selected.push(input);
            }
        }
        left_out.sort();
        self.check_names(selected.iter().map(|input| &input.path))?;
        Ok(Selection { inputs: selected, left_out })
    }

    /// Refuses files that are not exactly the signed ones, or were not signed as wholes, which is all that sealing digests.
    pub(crate) fn check_inputs(&self, inputs: &[Input<'_>]) -> Result<()> {
        if self.claim.method != Method::Files {
            return Err(Error::Misuse(
                "the bundle signs files in shards; only bundles over whole files can be required".into(),
            ));
        }
        self.check_names(inputs.iter().map(|input| &input.path))
    }

    /// Refuses files that are not exactly the signed ones.
    fn check_names<'a>(&self, found: impl Iterator<Item = &'a FilePath>) -> Result<()> {
        let found: BTreeSet<_> = found.collect();
        if self.claim.is_one_file() {
            let one = (found.len() == 1).then_some(());
            return one.ok_or_else(|| Error::format("model", "is not one file, and what was signed is"));
        }
        let unsigned = found.iter().filter(|path| self.claim.file(path).is_none());
        let unsigned = unsigned.map(|path| (path.to_string(), Fault::Format("is not signed".into())));
        let missing = self.claim.files().filter(|(path, _)| !found.contains(path));
        let missing = missing.map(|(path, _)| (path.to_string(), Fault::Missing));
        refuse(unsigned.chain(missing).collect())
    }

    /// Hashes the selected files and compares every digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file is not what was signed, [`Error::InputChanged`] if it changed meanwhile,
    /// [`Error::Storage`] if it cannot be read.
    pub fn check(&self, selection: &Selection, threads: Threads, progress: &dyn Progress) -> Result<Checked> {
        let looked = selection.inputs.iter().map(|input| Opened::look(&input.data));
        let opened = looked.collect::<Result<Vec<_>>>().map_err(unfit)?;
        let inputs = || selection.inputs.iter().map(|input| (&input.path, self.claim.file(&input.path)));
        // What takes memory by the length of a file must not begin before that is known to be what was signed.
        let lengths = inputs().zip(&opened).filter_map(|((path, file), opened)| match file {
            Some(SignedFile::Shards(length, _)) if *length != opened.length => {
                Some((path.to_string(), Fault::Length { expected: *length, found: opened.length }))
            }
            _ => None,
        });
        refuse(lengths.collect())?;
        let shard = match self.claim.method {
            Method::Files => None,
            Method::Shards(size) => Some(size),
        };
        let hashed = hash_all(&opened, self.claim.algorithm, shard, threads, progress)?;
        let mut faults = Vec::new();
        for ((path, file), hashed) in inputs().zip(&hashed) {
            let fault = match file {
                Some(SignedFile::Whole(expected)) => self.difference(expected, &hashed.digests[0]),
                Some(SignedFile::Shards(_, expected)) => {
                    expected.iter().zip(&hashed.digests).find_map(|(expected, found)| self.difference(expected, found))
                }
                None => Some(Fault::Format("is not signed".into())),
            };
            faults.extend(fault.map(|fault| (path.to_string(), fault)));
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

/// What a model is not to have, whoever made it.
fn unfit(error: Error) -> Error {
    match error {
        Error::Misuse(rule) => Error::format("model", rule),
        other => other,
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

/// Whether a path is, or is in, a folder that git takes for its own.
fn is_git(path: &str) -> bool {
    path.split('/').any(|segment| segment.eq_ignore_ascii_case(GIT))
}

/// The first path for git in a folder, which is `path` in the model, that the caller does not excuse. Nothing is opened, and no
/// link is followed.
fn git_below(model: &Path, path: String, excused: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
    let mut folders = vec![(model.join(&path), path)];
    while let Some((folder, path)) = folders.pop() {
        if !fs::symlink_metadata(&folder).map_err(Error::storage(folder.display()))?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(Error::storage(folder.display()))? {
            let entry = entry.map_err(Error::storage(folder.display()))?;
            let name = entry.file_name();
            let path = format!("{path}/{}", name.to_string_lossy());
            if excused(&path) {
                continue;
            }
            if name.eq_ignore_ascii_case(GIT) {
                return Ok(Some(path));
            }
            folders.push((entry.path(), path));
        }
    }
    Ok(None)
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
