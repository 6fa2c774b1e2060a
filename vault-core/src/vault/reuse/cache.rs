//! What a machine remembers of the artifacts it sealed: digests and the keys of streams, so that a sealer without an
//! identity can reuse its own work. Whoever reads it can decrypt those streams.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    canonical::{self, Hex, SecretHex},
    error::{Error, Fault, Place, Result},
    index::{Extent, Index, MAX_REGIONS, WireRegion, check_extents, check_regions},
    keys::file,
    manifest::Manifest,
    names::ArtifactDigest,
    seal::{Basis, SealedBefore, stream_keys},
    secret::SecretVec,
    stream::{Dek, StreamKey},
    vault::Artifact,
};

const DOCUMENT: &str = "reuse cache";
const FORMAT: &str = "mvault-reuse/v1";
/// As long as an index may be: it holds less.
const MAX_LENGTH: u64 = 64 << 20;
/// Every right of group and world.
const OTHERS: u32 = 0o077;

/// A folder with a file of mode 0600 for each artifact that this machine sealed.
#[derive(Debug, Clone)]
pub struct ReuseCache {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    artifact: Hex<32>,
    files: Vec<WireFile>,
    format: String,
    /// Of all streams, in order.
    keys: Vec<SecretHex<32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile {
    extents: Vec<Extent>,
    regions: Vec<WireRegion>,
}

impl ReuseCache {
    /// The cache in `folder`, which is made (mode 0700) if it is not there.
    ///
    /// # Errors
    /// [`Error::Misuse`] if others have any right to the folder; [`Error::Storage`].
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |error| Error::storage(folder.display())(error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
        if mode & OTHERS != 0 {
            return Err(open_to_others(folder));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// What is remembered of an artifact.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing is; [`Error::Misuse`] if others have any right to the file; [`Error::Corrupt`] if it
    /// is damaged or does not belong to the artifact; [`Error::Storage`].
    pub fn load(&self, artifact: &Artifact) -> Result<Basis> {
        let path = self.path(artifact.digest);
        let bytes = read(&path)?.ok_or_else(|| Error::NotFound {
            what: format!("{} in the reuse cache {}", artifact.digest, self.folder.display()),
        })?;
        Self::parse(&bytes, artifact.digest, &artifact.manifest).map_err(|error| match error {
            Error::Corrupt { fault, .. } => Error::Corrupt { place: Place::Object(path.display().to_string()), fault },
            other => other,
        })
    }

    /// Reads what is remembered of the artifact with this digest and manifest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not canonical, breaks a rule, or is about another artifact.
    pub fn parse(bytes: &[u8], digest: ArtifactDigest, manifest: &Manifest) -> Result<Basis> {
        if bytes.len() as u64 > MAX_LENGTH {
            return Err(Error::limit(DOCUMENT, "length", MAX_LENGTH));
        }
        let wire: Wire = canonical::from_slice(DOCUMENT, bytes)?;
        if wire.format != FORMAT {
            return Err(Error::format(DOCUMENT, "is of another format"));
        }
        if blake3::Hash::from(wire.artifact) != digest.hash() {
            return Err(Error::format(DOCUMENT, "is about another artifact"));
        }
        if wire.files.iter().map(|file| file.regions.len()).sum::<usize>() > MAX_REGIONS {
            return Err(Error::limit(DOCUMENT, "number of regions", MAX_REGIONS as u64));
        }
        check_extents(wire.files.iter().flat_map(|file| file.extents.iter().copied()), manifest)
            .map_err(|rule| Error::format(DOCUMENT, rule))?;
        let keys = wire.keys.into_iter().map(|key| StreamKey::from_secret(key.0)).collect();
        let file = |file: WireFile| {
            // Within streams and not overlapping, so that the sum fits.
            let size = file.extents.iter().map(|extent| extent.length).sum();
            let regions = check_regions(Some(file.regions), size).map_err(|rule| Error::format(DOCUMENT, rule))?;
            Ok(SealedBefore { extents: file.extents, regions })
        };
        let files = wire.files.into_iter().map(file).collect::<Result<Vec<_>>>()?;
        Basis::new(manifest, keys, files)
    }

    /// Remembers an artifact that was sealed just now. What is there already is left as it is.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Misuse`] if there is too much to remember.
    pub(crate) fn remember(&self, digest: ArtifactDigest, manifest: &Manifest, dek: &Dek, index: &Index) -> Result<()> {
        let file = |file: &crate::index::File| WireFile {
            extents: file.extents.clone(),
            regions: file.regions.iter().map(WireRegion::of).collect(),
        };
        let keys = stream_keys(manifest, dek, index)?;
        let wire = Wire {
            artifact: digest.hash().into(),
            files: index.files().iter().filter(|file| !file.regions.is_empty()).map(file).collect(),
            format: FORMAT.into(),
            keys: keys.iter().map(|key| SecretHex(key.secret().clone())).collect(),
        };
        let bytes = SecretVec::new(canonical::to_vec(DOCUMENT, &wire)?);
        if bytes.expose().len() as u64 > MAX_LENGTH {
            return Err(Error::Misuse("the artifact has too many streams to be remembered in a reuse cache".into()));
        }
        match file::write_private(&self.path(digest), &bytes) {
            Err(Error::Conflict { .. }) => Ok(()),
            other => other,
        }
    }

    /// Forgets an artifact that was not published after all.
    pub(crate) fn forget(&self, digest: ArtifactDigest) {
        // What remains is of no use to anybody: nothing names its streams.
        let _ = fs::remove_file(self.path(digest));
    }

    fn path(&self, digest: ArtifactDigest) -> PathBuf {
        self.folder.join(format!("{}.json", digest.to_hex()))
    }
}

fn open_to_others(path: &Path) -> Error {
    Error::Misuse(format!("others have rights to {}, so it is no place for keys of streams", path.display()))
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let failed = |error| Error::storage(path.display())(error);
    // Without NONBLOCK, opening a FIFO would wait for a writer for ever; a link could lead anywhere.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::Misuse(format!("{} is not a regular file", path.display())));
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(open_to_others(path));
    }
    let over = || Error::Corrupt {
        place: Place::Object(path.display().to_string()),
        fault: Fault::Limit { what: "length", limit: MAX_LENGTH },
    };
    if metadata.len() > MAX_LENGTH {
        return Err(over());
    }
    // Room for all at once, so that no outgrown copy stays behind unwiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).map_err(|_| over())? + 1));
    file.take(metadata.len() + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
