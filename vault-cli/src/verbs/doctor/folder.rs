//! Vaults that are no buckets of S3: a few steps of every kind of store.

use vault_core::store::{Created, Store};

use super::Check;
use crate::{
    failure::{Failure, Result},
    session::Session,
};

const DOCUMENT: &str = "vault.json";
/// Far more than it has.
const LONGEST: u64 = 4096;

pub(super) fn examine(url: &str, session: &Session) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Err(check) = steps(url, session, &mut checks) {
        checks.push(check);
    }
    checks
}

fn steps(url: &str, session: &Session, checks: &mut Vec<Check>) -> Result<(), Check> {
    let failed = |check, remedy: &'static str| move |error| Check::failed(check, &Failure::from(error), remedy);
    let store = Store::open_url(url, &session.connection())
        .map_err(failed("store", "check the path, or make a vault with `mvault init`"))?;
    checks.push(Check::ok("store", store.describe()));
    let document = store.read(DOCUMENT, LONGEST).map_err(failed("read", "check who may read it"))?;
    let Some(document) = document else {
        return Err(Check::fail("vault", "there is no vault.json: this is no vault", "make one with `mvault init`"));
    };
    let vault = session
        .vault_at(url, &session.connection())
        .map_err(|failure| Check::failed("vault", &failure, "restore vault.json from another copy"))?;
    checks.push(Check::ok("vault", format!("id {}", vault.id())));
    let writable = "right for who only reads; whoever seals needs the right to write";
    match store.create(DOCUMENT, &document) {
        Ok(Created::Exists) => checks.push(Check::ok("create once", "what is there is not replaced")),
        Ok(Created::New) => checks.push(Check::fail(
            "create once",
            "an object that is there was created a second time",
            "do not keep vaults in this store: writers would replace one another's records",
        )),
        Err(vault_core::Error::Storage { source, .. }) if source.kind() == std::io::ErrorKind::Unsupported => {
            let remedy = "do not keep vaults in this store: writers would replace one another's records";
            checks.push(Check::fail("create once", source.to_string(), remedy));
        }
        Err(error) => checks.push(Check::warn("write", error.to_string(), writable)),
    }
    match store.leftovers() {
        Ok(left) if left.is_empty() => {}
        Ok(left) => {
            let message = format!("{} files are being staged, or were left by seals that were killed", left.len());
            checks.push(Check::warn("leftovers", message, "`mvault fsck` lists them"));
        }
        Err(error) => checks.push(Check::warn("leftovers", error.to_string(), "check who may read the folder")),
    }
    Ok(())
}
