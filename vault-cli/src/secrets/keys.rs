//! Key files named on the command line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use vault_core::{
    Error,
    keys::{
        KeyId, PrivateKey, PublicKey, Recipient, Signer, TokenUri, Unwrapper, VerifyingKey,
        external::{ExternalIdentity, ExternalSigner, Reference},
        file,
    },
    secret::SecretVec,
    trust::Policy,
};

use super::{Examples, Passphrases, program::Program};
use crate::failure::{Failure, Result};

/// More than any key file has before its first PEM line ends.
const MAX_SNIFF: u64 = 64 * 1024;

/// What a private key file leads to.
#[derive(Debug)]
enum Private {
    /// The key is in the file.
    Here(PrivateKey),
    /// A program keeps it.
    Elsewhere(Reference),
}

/// The key on a token that is named instead of a file.
pub fn token_uri(path: &Path) -> Result<Option<TokenUri>> {
    let uri = path.to_str().filter(|text| TokenUri::is_in(text)).map(TokenUri::parse);
    uri.transpose().map_err(Failure::from)
}

fn load(path: &Path, passphrases: &mut Passphrases) -> Result<Private> {
    if token_uri(path)?.is_some() {
        return Err(Failure::usage("a key on a token signs, and does nothing else"));
    }
    let bytes = file::read_private(path).map_err(|e| Failure::local(path, &e))?;
    if Reference::is_in(bytes.expose()) {
        return Reference::parse(bytes.expose()).map(Private::Elsewhere).map_err(|e| Failure::local(path, &e));
    }
    decrypt(path, &bytes, passphrases).map(Private::Here)
}

/// Reads a private key of any kind, asking for its passphrase if it has one. One that is kept elsewhere cannot be read.
pub fn load_private(path: &Path, passphrases: &mut Passphrases) -> Result<PrivateKey> {
    match load(path, passphrases)? {
        Private::Here(key) => Ok(key),
        Private::Elsewhere(reference) => Err(Failure::usage(format!(
            "the private key of {} is kept by {}",
            path.display(),
            reference.invocation.program()
        ))),
    }
}

/// Reads the file of a private key that a program keeps; `None` if the key is in the file.
pub fn load_reference(path: &Path) -> Result<Option<Reference>> {
    let bytes = file::read_private(path).map_err(|e| Failure::local(path, &e))?;
    let reference = Reference::is_in(bytes.expose()).then(|| Reference::parse(bytes.expose()));
    reference.transpose().map_err(|e| Failure::local(path, &e))
}

fn decrypt(path: &Path, pem: &SecretVec, passphrases: &mut Passphrases) -> Result<PrivateKey> {
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
    if let Some(uri) = token_uri(path)? {
        let signer = token_signer(&uri, passphrases)?;
        examples.check(path, signer.verifying_key().key_id())?;
        return Ok(signer);
    }
    let signer: Box<dyn Signer> = match load(path, passphrases)? {
        Private::Here(PrivateKey::Signing(key)) => Box::new(key),
        Private::Here(PrivateKey::Identity(_)) => return Err(wrong_kind(path, "a recipient key", "a signing key")),
        Private::Elsewhere(Reference { public, invocation }) => match public {
            PublicKey::Signing(key) => Box::new(ExternalSigner::new(key, Program::new(path, invocation))),
            PublicKey::Recipient(_) => return Err(wrong_kind(path, "a recipient key", "a signing key")),
        },
    };
    examples.check(path, signer.verifying_key().key_id())?;
    Ok(signer)
}

#[cfg(feature = "pkcs11")]
fn token_signer(uri: &TokenUri, passphrases: &mut Passphrases) -> Result<Box<dyn Signer>> {
    Ok(Box::new(super::token::TokenSigner::open(uri, passphrases)?))
}

#[cfg(feature = "pkcs11")]
fn token_public(uri: &TokenUri) -> Result<VerifyingKey> {
    super::token::public_key(uri)
}

#[cfg(not(feature = "pkcs11"))]
fn token_signer(_: &TokenUri, _: &mut Passphrases) -> Result<Box<dyn Signer>> {
    Err(no_tokens())
}

#[cfg(not(feature = "pkcs11"))]
fn token_public(_: &TokenUri) -> Result<VerifyingKey> {
    Err(no_tokens())
}

#[cfg(not(feature = "pkcs11"))]
fn no_tokens() -> Failure {
    Failure::usage("this mvault was built without PKCS #11")
}

/// Reads keys that open artifacts.
pub fn load_identities(
    paths: &[PathBuf],
    passphrases: &mut Passphrases,
    examples: Examples,
) -> Result<Vec<Box<dyn Unwrapper>>> {
    let load = |path: &PathBuf| {
        let identity: Box<dyn Unwrapper> = match load(path, passphrases)? {
            Private::Here(PrivateKey::Identity(key)) => Box::new(key),
            Private::Here(PrivateKey::Signing(_)) => return Err(wrong_kind(path, "a signing key", "a recipient key")),
            Private::Elsewhere(Reference { public, invocation }) => match public {
                PublicKey::Recipient(key) => Box::new(ExternalIdentity::new(key, Program::new(path, invocation))),
                PublicKey::Signing(_) => return Err(wrong_kind(path, "a signing key", "a recipient key")),
            },
        };
        examples.check(path, identity.key_id())?;
        Ok(identity)
    };
    paths.iter().map(load).collect()
}

/// Reads a public key of any kind.
pub fn load_public(path: &Path) -> Result<PublicKey> {
    if let Some(uri) = token_uri(path)? {
        return token_public(&uri).map(PublicKey::Signing);
    }
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

/// Whether a file holds a private key or refers to one, judged by its first line; the key itself is not read.
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
    Ok(line.trim_ascii().ends_with(b"PRIVATE KEY-----") || Reference::is_in(&line))
}

fn wrong_kind(path: &Path, found: &str, expected: &str) -> Failure {
    Failure::usage(format!("{} is {found} where {expected} is expected", path.display()))
}

/// The keys whose signatures count, and the files they came from.
#[derive(Debug, Clone, Default)]
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    if let Ok(Some(uri)) = token_uri(path) {
        return uri.describe();
    }
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
