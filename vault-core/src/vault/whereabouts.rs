//! What damage means: which segments and bytes of a stream are hit, and, for who can open the artifact, which files and
//! tensors.

use std::ops::Range;

use super::{Vault, manifest_path};
use crate::{
    error::{Error, Place, Result},
    index,
    manifest::{MAX_MANIFEST, Manifest},
    names::ArtifactDigest,
    open::{self, Opened},
    parts::object_path,
    provenance::Subject,
    safetensors,
    tree::{PAYLOAD, SEGMENT},
    trust::{Policy, Verified},
    vault::Artifact,
    wrap::Keyring,
};

/// The most files and tensors of one place that are named.
const MAX_NAMED: usize = 100;

/// Where in an artifact something is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The stream's number; `u32::MAX` is the index.
    pub stream: u32,
    /// Which segments of it.
    pub segments: Range<u64>,
    /// Which bytes of its ciphertext, counted over all parts.
    pub bytes: Range<u64>,
    /// Which files, for who can open the artifact: the first 100.
    pub files: Vec<Hit>,
    /// How many more there are.
    pub more_files: u64,
}

/// A file that is hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its path.
    pub path: String,
    /// Which bytes of it, at most: the first to the last that are hit.
    pub range: Range<u64>,
    /// Which tensors.
    pub tensors: Tensors,
}

/// The tensors that are hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tensors {
    /// It is no safetensors file.
    None,
    /// The header itself is hit, or cannot be read: which tensors there are is not known.
    Unknown(String),
    /// These, the first 100, and how many more.
    Named(Vec<String>, u64),
}

/// Where these damaged objects of a manifest are, in the same order; an object may be in several places or, if it is none
/// of the manifest's, in none.
fn places(manifest: &Manifest, object: &str, place: &Place) -> Vec<Whereabouts> {
    let segments = |number: u32, segments: Range<u64>| {
        let layout = &manifest.stream(number)?.layout;
        let end = segments.end.min(layout.segments());
        let bytes = segments.start * SEGMENT as u64..(end * SEGMENT as u64).min(layout.length());
        let segments = segments.start..end;
        Some(Whereabouts { stream: number, segments, bytes, files: Vec::new(), more_files: 0 })
    };
    if let Place::Segment { stream, position } = *place {
        return segments(stream, position..position + 1).into_iter().collect();
    }
    let mut found = Vec::new();
    for (number, stream) in manifest.numbered_streams() {
        if stream.tree.as_ref().is_some_and(|tree| object_path(tree) == object) {
            found.extend(segments(number, 0..stream.layout.segments()));
        }
        for (part, _) in (0..).zip(&stream.parts).filter(|(_, part)| object_path(part) == object) {
            let first = stream.layout.first_of_part(part);
            found.extend(segments(number, first..first + stream.layout.part_segments(part)));
        }
    }
    found
}

impl Vault {
    /// Where damage is, each given by the path of an object and the place that its error names. With a key, files and
    /// tensors are named, too; if the artifact cannot be opened, the second value says why not.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the manifest is no good; [`Error::Storage`].
    pub fn whereabouts(
        &self,
        digest: ArtifactDigest,
        damage: &[(String, Place)],
        key: Option<(&Policy, &Keyring)>,
    ) -> Result<(Vec<Vec<Whereabouts>>, Option<Error>)> {
        let bytes = self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = Policy::InsecureSkipSignature.unsigned_manifest(digest, &bytes)?;
        let mut found: Vec<_> = damage.iter().map(|(object, place)| places(&manifest, object, place)).collect();
        let Some((policy, ring)) = key else { return Ok((found, None)) };
        let artifact = Artifact::of_digest(digest, manifest.clone(), Subject::of(&bytes));
        match self.opened(&artifact, &manifest, policy, ring) {
            Ok(opened) => {
                found.iter_mut().flatten().for_each(|place| name_files(&opened, place));
                Ok((found, None))
            }
            Err(error) => Ok((found, Some(error))),
        }
    }

    fn opened<'a>(
        &'a self,
        artifact: &Artifact,
        manifest: &'a Verified<Manifest>,
        policy: &Policy,
        ring: &Keyring,
    ) -> Result<Opened<'a>> {
        let dek = self.unlock(artifact, policy, ring)?;
        Opened::new(manifest, dek, &self.store, open::Options::default())
    }
}

/// Names the files and tensors that a place is in.
fn name_files(opened: &Opened<'_>, place: &mut Whereabouts) {
    let hit = place.segments.start * PAYLOAD as u64..place.segments.end * PAYLOAD as u64;
    for file in opened.index().files() {
        let Some(range) = hit_range(file, place.stream, &hit) else { continue };
        if place.files.len() == MAX_NAMED {
            place.more_files += 1;
            continue;
        }
        let tensors = name_tensors(opened, file, &range);
        place.files.push(Hit { path: file.path.to_string(), range, tensors });
    }
}

/// From the first to the last byte of a file that is in a range of a stream.
fn hit_range(file: &index::File, stream: u32, hit: &Range<u64>) -> Option<Range<u64>> {
    let (mut at, mut found): (u64, Option<Range<u64>>) = (0, None);
    for extent in &file.extents {
        let (from, to) = (hit.start.max(extent.offset), hit.end.min(extent.offset + extent.length));
        if extent.stream == stream && from < to {
            let range = at + (from - extent.offset)..at + (to - extent.offset);
            found = Some(found.map_or(range.clone(), |before| before.start..range.end));
        }
        at += extent.length;
    }
    found
}

fn name_tensors(opened: &Opened<'_>, file: &index::File, range: &Range<u64>) -> Tensors {
    if !file.path.as_str().ends_with(".safetensors") {
        return Tensors::None;
    }
    let table = match safetensors::table(opened, file) {
        Ok(table) => table,
        Err(error) => return Tensors::Unknown(format!("its header cannot be read: {error}")),
    };
    let hit = |tensor: &&safetensors::Tensor| {
        let start = table.data + tensor.offset;
        start < range.end && range.start < start + tensor.length
    };
    let mut names: Vec<_> = table.tensors.iter().filter(hit).map(|tensor| tensor.name.clone()).collect();
    let more = names.len().saturating_sub(MAX_NAMED) as u64;
    names.truncate(MAX_NAMED);
    Tensors::Named(names, more)
}
