//! One bit of a vault, flipped and put back.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use vault_core::{
    names::Reference,
    parts::object_path,
    store::{Connection, Store},
    trust::Policy,
    vault::Vault,
};

use crate::failure::{Failure, Result};

/// The byte to damage.
pub struct Victim {
    pub path: PathBuf,
    pub offset: u64,
}

/// A damaged byte.
pub struct Flipped<'a>(&'a Victim);

impl Victim {
    /// A byte in the middle of a part of the longest stream.
    pub fn choose(vault: &Path, version: &str, policy: &Policy) -> Result<Self> {
        let store = Store::open_url(&vault.display().to_string(), &Connection::default())?;
        let artifact = Vault::open(store)?.resolve(&version.parse::<Reference>()?, policy)?;
        let streams = artifact.manifest.numbered_streams().map(|(_, stream)| stream);
        let longest = streams.max_by_key(|stream| stream.layout.length());
        let part = longest.and_then(|stream| stream.parts.first().map(|part| (stream, part)));
        let (stream, part) = part.ok_or_else(|| Failure::operational("the artifact has no part to damage"))?;
        Ok(Self { path: vault.join(object_path(part)), offset: stream.layout.part_len(0) / 2 })
    }

    pub fn flip(&self) -> Result<Flipped<'_>> {
        self.invert()?;
        Ok(Flipped(self))
    }

    fn invert(&self) -> Result {
        let flip = || {
            let file = File::options().read(true).write(true).open(&self.path)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, self.offset)?;
            file.write_all_at(&[byte[0] ^ 1], self.offset)
        };
        flip().map_err(|e| Failure::io(self.path.display(), &e))
    }
}

impl Flipped<'_> {
    pub fn restore(self) -> Result {
        self.0.invert()
    }
}
