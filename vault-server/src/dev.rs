//! `mvault-server --dev`: everything in one folder, on this machine only.

use std::path::{Path, PathBuf};

use vault_core::Result;

use crate::init::{Plan, write};

/// The folder's configuration, made if it is not there.
///
/// # Errors
/// As [`write()`].
pub fn prepare(folder: &Path) -> Result<PathBuf> {
    let config = folder.join("server.toml");
    if config.exists() {
        return Ok(config);
    }
    write(&Plan {
        folder: folder.to_owned(),
        vault: "vault".into(),
        hosts: ["localhost", "127.0.0.1", "::1"].map(Into::into).to_vec(),
        address: "127.0.0.1:8443".into(),
    })
}
