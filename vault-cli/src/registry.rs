//! Which registries this user is known to: one private file for each, named by the hash of where it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vault_core::{
    Error,
    keys::file::{read_private, replace_private, write_private},
    secret::SecretVec,
    store::{Access, Address, ClientCertificate, Token},
};

use crate::{
    cli::RegistryArgs,
    failure::{Failure, Result},
    secrets::read_token,
    state,
    streams::descriptor,
};

/// The longest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// How this user reaches a registry. What is given for it on the command line, a file with a key or a certificate, is for the registry
/// of `vault` and no other one: what one copies or repairs from may be anybody's.
pub fn access(url: &str, vault: Option<&str>, args: &RegistryArgs) -> Result<Access> {
    let address = Address::parse(url)?;
    let is_meant = vault.and_then(|vault| Address::parse(vault).ok()).is_some_and(|it| it.origin() == address.origin());
    let certificate = if is_meant { certificate(args)? } else { None };
    let token = match &args.token_file {
        // What is no file can be read only once.
        Some(path) if is_meant && path.is_file() && descriptor(path).is_none() => Some(Token::from_file(path)?),
        Some(path) if is_meant => Some(Token::new(read_token(Some(path), url)?)?),
        // Whoever shows a certificate wants to be known by it.
        None if certificate.is_some() => None,
        _ => stored(&address)?.map(Token::new).transpose()?,
    };
    Ok(Access { token, certificate, authorities: authorities(args)?, through: args.no_direct })
}

/// The certificate to show, and its key.
pub fn certificate(args: &RegistryArgs) -> Result<Option<ClientCertificate>> {
    let (Some(chain), Some(key)) = (&args.client_cert, &args.client_key) else { return Ok(None) };
    let secret = read_private(key).map_err(|error| Failure::local(key, &error))?;
    Ok(Some(ClientCertificate::new(&certificates(chain)?, &secret)))
}

/// The certificates that are believed besides those of the system.
pub fn authorities(args: &RegistryArgs) -> Result<Option<Vec<u8>>> {
    args.registry_ca.as_deref().map(certificates).transpose()
}

fn certificates(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    if fs::metadata(path).map_err(failed)?.len() > MAX_CERTIFICATES {
        return Err(Failure::usage(format!("{}: is too long for a file of certificates", path.display())));
    }
    fs::read(path).map_err(failed)
}

/// Where the key for a registry is kept.
fn place(address: &Address) -> Result<PathBuf> {
    let folder = state::folder("registries");
    let folder = folder.ok_or_else(|| Failure::operational("there is no home folder to keep keys of registries in"))?;
    Ok(folder.join(blake3::hash(address.origin().as_bytes()).to_hex().as_str()))
}

fn stored(address: &Address) -> Result<Option<SecretVec>> {
    let Ok(path) = place(address) else { return Ok(None) };
    match read_private(&path) {
        Ok(token) => Ok(Some(token)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(Failure::local(&path, &error)),
    }
}

/// Keeps a key, in the place of an earlier one.
pub fn keep(address: &Address, token: &SecretVec) -> Result {
    let path = place(address)?;
    if let Some(folder) = path.parent() {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::io(folder.display(), &error))?;
    }
    match write_private(&path, token) {
        Err(Error::Conflict { .. }) => Ok(replace_private(&path, token)?),
        other => Ok(other?),
    }
}

/// Forgets a key. Says whether there was one.
pub fn forget(address: &Address) -> Result<bool> {
    let path = place(address)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::io(path.display(), &error)),
    }
}
