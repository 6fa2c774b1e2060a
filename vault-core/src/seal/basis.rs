//! What is known of an earlier artifact: which of its streams can be reused, and where which bytes are in them.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::{
    error::{Error, Result},
    index::{Extent, Index, Region},
    manifest::{Manifest, Stream},
    stream::{Dek, Origin, StreamKey},
    tree::PartSize,
};

/// An earlier artifact to reuse streams of.
#[derive(Debug, Clone)]
pub struct Basis {
    part_size: PartSize,
    /// By number in the earlier artifact.
    pub(super) streams: HashMap<u32, Reusable>,
    /// Where the bytes of a digest are: each place once, in the order of the earlier artifact.
    pub(super) places: HashMap<Region, VecDeque<Vec<Extent>>>,
}

/// A stream as a later artifact names it, and its key.
#[derive(Debug, Clone)]
pub(super) struct Reusable {
    pub(super) stream: Stream,
    pub(super) key: StreamKey,
}

/// One file of an earlier artifact: where it is and how it was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where it is in the artifact's streams.
    pub extents: Vec<Extent>,
    /// How it was cut.
    pub regions: Vec<Region>,
}

impl Basis {
    /// What the index of an artifact says, for whoever can open it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the index does not belong to the manifest.
    pub fn of_index(manifest: &Manifest, dek: &Dek, index: &Index) -> Result<Self> {
        let keys = stream_keys(manifest, dek, index)?;
        let files =
            index.files().iter().map(|file| Sealed { extents: file.extents.clone(), regions: file.regions.clone() });
        Self::new(manifest, keys, files)
    }

    /// An artifact whose streams, from 0 on, have these keys. Keys are checked when they are used: headers commit to them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is not a key for each stream, or a file lies outside the streams.
    pub fn new(manifest: &Manifest, keys: Vec<StreamKey>, files: impl IntoIterator<Item = Sealed>) -> Result<Self> {
        if keys.len() != manifest.streams.len() {
            return Err(Error::format("reuse", "has not one key for each stream"));
        }
        let artifact_id = manifest.artifact_id;
        let streams = (0..).zip(manifest.streams.iter().zip(keys)).map(|(number, (stream, key))| {
            let origin = stream.origin.unwrap_or(Origin { artifact_id, stream: number });
            (number, Reusable { stream: Stream { origin: Some(origin), ..stream.clone() }, key })
        });
        let mut basis = Self { part_size: manifest.part_size, streams: streams.collect(), places: HashMap::new() };
        for file in files {
            basis.add(&file)?;
        }
        Ok(basis)
    }

    fn add(&mut self, file: &Sealed) -> Result<()> {
        let mut extents = file.extents.iter().copied();
        let mut current: Option<Extent> = None;
        for region in &file.regions {
            let (mut place, mut left) = (Vec::new(), region.length);
            while left > 0 {
                let extent = current.take().or_else(|| extents.next());
                let extent = extent.ok_or_else(|| Error::format("reuse", "has regions beyond their file"))?;
                let length = extent.length.min(left);
                place.push(Extent { length, ..extent });
                left -= length;
                if length < extent.length {
                    current = Some(Extent { length: extent.length - length, offset: extent.offset + length, ..extent });
                }
            }
            if place.iter().any(|extent| !self.streams.contains_key(&extent.stream)) {
                return Err(Error::format("reuse", "has a file in a stream that is not there"));
            }
            self.places.entry(*region).or_default().push_back(place);
        }
        Ok(())
    }

    /// Whether there is anything by which unchanged data could be found.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The size of the parts, which the new artifact takes over.
    pub fn part_size(&self) -> PartSize {
        self.part_size
    }

    /// How many different origins the streams have: the artifacts that are reused.
    pub fn origins(&self) -> usize {
        let ids = self.streams.values().filter_map(|reusable| reusable.stream.origin);
        ids.map(|origin| origin.artifact_id).collect::<HashSet<_>>().len()
    }
}

impl Reusable {
    /// A key that does not open its stream would be found out by the first reader of the new version.
    pub(super) fn check_key(&self) -> Result<()> {
        let origin = self.stream.origin.ok_or_else(|| Error::Misuse("a reused stream without an origin".into()))?;
        self.key
            .decryptor(&origin, &self.stream.header, crate::aead::Engine::default())
            .map(drop)
            .map_err(|_| Error::format("reuse", format!("the key of {origin} does not open it")))
    }
}

/// The keys of all streams, in order.
///
/// # Errors
/// [`Error::Corrupt`] if the index does not belong to the manifest.
pub fn stream_keys(manifest: &Manifest, dek: &Dek, index: &Index) -> Result<Vec<StreamKey>> {
    let key = |(number, stream): (u32, &Stream)| match stream.origin {
        None => Ok(dek.stream_key(&Origin { artifact_id: manifest.artifact_id, stream: number })),
        Some(_) => index.key(number).cloned().ok_or_else(|| Error::format("index", "has no key for a reused stream")),
    };
    (0..).zip(&manifest.streams).map(key).collect()
}
