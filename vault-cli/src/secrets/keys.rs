//! Key files named on the command line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use vault_core::{
    Error,
    keys::{KeyId, PrivateKey, PublicKey, Recipient, Signer, Unwrapper, VerifyingKey, file},
    trust::Policy,
};

use super::{Examples, Passphrases};
use crate::failure::{Failure, Result};

/// More than any key file has before its first PEM line ends.
const MAX_SNIFF: u64 = 64 * 1024;

/// Reads a private key of any kind, asking for its passphrase if it has one.
pub fn load_private(path: &Path, passphrases: &mut Passphrases) -> Result<PrivateKey> {
    let pem = file::read_private(path).map_err(|e| Failure::local(path, &e))?;
    let name = path.display().to_string();
    loop {
        let mut refusal = None;
        let mut ask = || {
            passphrases.existing(&name).map_err(|failure| {
                refusal = Some(failure);
                Error::Misuse("no passphrase".into())
            })
        };
        let key = PrivateKey::from_pem(pem.expose(), &mut ask);
        match (key, refusal) {
            (_, Some(failure)) => return Err(failure),
            (Err(Error::WrongKey { .. }), None) if passphrases.forget_reused() => {}
            (key, None) => return key.map_err(|e| Failure::local(path, &e)),
        }
    }
}

/// Reads a key that signs.
pub fn load_signing(path: &Path, passphrases: &mut Passphrases, examples: Examples) -> Result<Box<dyn Signer>> {
    match load_private(path, passphrases)? {
        PrivateKey::Signing(key) => {
            examples.check(path, key.verifying_key().key_id())?;
            Ok(Box::new(key))
        }
        PrivateKey::Identity(_) => Err(wrong_kind(path, "a recipient key", "a signing key")),
    }
}

/// Reads keys that open artifacts.
pub fn load_identities(
    paths: &[PathBuf],
    passphrases: &mut Passphrases,
    examples: Examples,
) -> Result<Vec<Box<dyn Unwrapper>>> {
    let load = |path: &PathBuf| match load_private(path, passphrases)? {
        PrivateKey::Identity(key) => {
            examples.check(path, key.key_id())?;
            Ok(Box::new(key) as Box<dyn Unwrapper>)
        }
        PrivateKey::Signing(_) => Err(wrong_kind(path, "a signing key", "a recipient key")),
    };
    paths.iter().map(load).collect()
}

/// Reads a public key of any kind.
pub fn load_public(path: &Path) -> Result<PublicKey> {
    file::read_public(path).and_then(|text| PublicKey::from_pem(&text)).map_err(|e| Failure::local(path, &e))
}

/// Reads public keys to wrap to.
pub fn load_recipients(paths: &[PathBuf], examples: Examples) -> Result<Vec<Recipient>> {
    let load = |path: &PathBuf| match load_public(path)? {
        PublicKey::Recipient(key) => {
            examples.check(path, key.key_id())?;
            Ok(key)
        }
        PublicKey::Signing(_) => Err(wrong_kind(path, "a signing key", "a recipient key")),
    };
    paths.iter().map(load).collect()
}

/// Whether a PEM file holds a private key, judged by its first line; the key itself is not read.
pub fn holds_private_key(path: &Path) -> Result<bool> {
    let kind = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::local(path, &Error::NotFound { what: path.display().to_string() }),
        _ => Failure::io(path.display(), &error),
    })?;
    if !kind.is_file() {
        return Err(Failure::usage(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
    let mut line = Vec::new();
    let mut reader = BufReader::with_capacity(64, file.take(MAX_SNIFF));
    while line.trim_ascii().is_empty() {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| Failure::io(path.display(), &error))?;
        if read == 0 {
            break;
        }
    }
    Ok(line.trim_ascii().ends_with(b"PRIVATE KEY-----"))
}

fn wrong_kind(path: &Path, found: &str, expected: &str) -> Failure {
    Failure::usage(format!("{} is {found} where {expected} is expected", path.display()))
}

/// The keys whose signatures count, and the files they came from.
#[derive(Debug, Default)]
pub struct Signers(Vec<(String, VerifyingKey)>);

impl Signers {
    /// Reads public signing keys.
    pub fn load(paths: &[PathBuf], examples: Examples) -> Result<Self> {
        let load = |path: &PathBuf| match load_public(path)? {
            PublicKey::Signing(key) => {
                examples.check(path, key.key_id())?;
                Ok((file_name(path), key))
            }
            PublicKey::Recipient(_) => Err(wrong_kind(path, "a recipient key", "a signing key")),
        };
        paths.iter().map(load).collect::<Result<_>>().map(Self)
    }

    /// Counts this key in, too.
    #[must_use]
    pub fn and(mut self, path: &Path, key: VerifyingKey) -> Self {
        self.0.push((file_name(path), key));
        self
    }

    /// These keys, or an error that says how to name one.
    pub fn demand(&self) -> Result<Policy> {
        if self.0.is_empty() {
            return Err(Failure::usage("no --signer is named, so there is nobody to believe")
                .hint("give --signer FILE.pub, the public key of whoever sealed it"));
        }
        self.policy()
    }

    /// These keys; anybody's signature, even none, if there are none.
    pub fn or_anybody(&self) -> Result<Policy> {
        if self.0.is_empty() { Ok(Policy::InsecureSkipSignature) } else { self.policy() }
    }

    fn policy(&self) -> Result<Policy> {
        Ok(Policy::any_of(self.0.iter().map(|(_, key)| key.clone()).collect())?)
    }

    /// The name of the file a key was read from.
    pub fn file_of(&self, id: &KeyId) -> Option<&str> {
        self.0.iter().find(|(_, key)| key.key_id() == *id).map(|(file, _)| file.as_str())
    }

    /// A key id with the name of the file it was read from.
    pub fn name(&self, id: &KeyId) -> String {
        match self.file_of(id) {
            Some(file) => format!("{id} ({file})"),
            None => id.to_string(),
        }
    }

    /// All of these, named, or what `nobody` says.
    pub fn names(&self, ids: &[KeyId], nobody: &str) -> String {
        if ids.is_empty() {
            return nobody.to_owned();
        }
        ids.iter().map(|id| self.name(id)).collect::<Vec<_>>().join(", ")
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
