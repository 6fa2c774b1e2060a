//! Deciding what is reused and what is sealed.
//!
//! Unchanged regions are found by digest and length. Reusing is not free: every extent is an entry of the index and a
//! seek of each reader, and a reused stream is kept, copied and verified whole. So little pieces are sealed again, and a
//! stream of which little is used is not reused.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use super::{basis::Basis, division::Division, feed::Feed, regions::RegionHasher};
use crate::{
    error::{Error, Result},
    index::{Extent, Region},
    manifest::{MAX_MANIFEST, MAX_STREAMS, Stream},
    oms::Algorithm,
    source::{Data, FileState},
    stream::StreamKey,
};

/// The shortest extent of a reused stream, one segment or so: reading less costs as much. A file that is found whole in
/// few extents is exempt, for it saves a stream.
const MIN_EXTENT: u64 = 1 << 20;
/// A stream is reused if at least this fraction of it is: whoever verifies or copies the new version reads all of it.
const MIN_SHARE: u64 = 8;
/// Leaving out an extent shortens its neighbours, which may be too short then. A file that does not settle is sealed.
const MAX_ROUNDS: usize = 16;
/// More bytes than a stream takes in a manifest besides its parts: header, tree, origin, numbers and names of members.
const ENTRY_OF_STREAM: u64 = 450;
/// Bytes that a part takes in a manifest: a hash in quotation marks, and a comma.
const ENTRY_OF_PART: u64 = 67;
/// Parts of 8 MiB of the longest index, and one for its overhead.
const MAX_PARTS_OF_INDEX: u64 = 9;

/// What becomes of every file.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<FilePlan>,
}

/// What becomes of one file.
#[derive(Debug, Default)]
pub(super) struct FilePlan {
    state: Option<FileState>,
    /// None if the file is sealed as it comes.
    regions: Vec<Planned>,
}

#[derive(Debug, Clone)]
struct Planned {
    length: u64,
    /// The digest by the first look; none if there was none.
    blake3: Option<blake3::Hash>,
    /// Where it is in streams of the earlier artifact, by their numbers there; if nowhere, it is sealed.
    place: Option<Vec<Extent>>,
}

impl Plan {
    /// Every file is sealed as it comes.
    pub(super) fn plain(files: usize) -> Self {
        Self { files: (0..files).map(|_| FilePlan::default()).collect() }
    }

    /// Every file is sealed, and its regions are digested on the way.
    pub(super) fn digesting(divisions: Vec<Division>) -> Self {
        let planned = |length| Planned { length, blake3: None, place: None };
        let file = |division: Division| FilePlan {
            state: division.state,
            regions: division.lengths.into_iter().map(planned).collect(),
        };
        Self { files: divisions.into_iter().map(file).collect() }
    }

    /// What is found in the earlier artifact is reused.
    pub(super) fn reusing(divisions: Vec<Division>, digests: Vec<Vec<blake3::Hash>>, basis: &Basis) -> Result<Self> {
        let mut places = basis.places.clone();
        let mut plan = Self::digesting(divisions);
        for (file, digests) in plan.files.iter_mut().zip(digests) {
            for (region, blake3) in file.regions.iter_mut().zip(digests) {
                region.blake3 = Some(blake3);
                // Each place once: extents do not overlap.
                let found = places.get_mut(&Region { blake3, length: region.length });
                region.place = found.and_then(std::collections::VecDeque::pop_front);
            }
            file.leave_out_little();
        }
        let rejected = plan.little_used(basis);
        for file in &mut plan.files {
            file.leave_out(|extent| rejected.contains(&extent.stream));
            file.leave_out_little();
        }
        if !plan.fits(basis) {
            // Very many small files, each with an origin.
            for file in &mut plan.files {
                file.leave_out(|extent| extent.length < MIN_EXTENT);
            }
            if !plan.fits(basis) {
                return Err(Error::Misuse(
                    "with what is reused there are too many streams: seal it without reuse".into(),
                ));
            }
        }
        plan.used()
            .keys()
            .filter_map(|stream| basis.streams.get(stream))
            .try_for_each(super::basis::Reusable::check_key)?;
        Ok(plan)
    }

    /// Whether the manifest will be within the limits of the format, by a cautious estimate.
    fn fits(&self, basis: &Basis) -> bool {
        let used = self.used();
        let reused = used.keys().filter_map(|stream| basis.streams.get(stream)).map(|r| r.stream.layout.parts());
        let sealed = self.files.iter().filter(|file| file.is_sealed());
        let sealed = sealed.map(|file| file.sealed_len() / basis.part_size().get() + 2);
        let (mut streams, mut length) = (0, 0);
        for parts in reused.chain(sealed) {
            streams += 1;
            length += ENTRY_OF_STREAM + parts * ENTRY_OF_PART;
        }
        streams <= MAX_STREAMS && length <= MAX_MANIFEST - ENTRY_OF_STREAM * 2 - MAX_PARTS_OF_INDEX * ENTRY_OF_PART
    }

    /// How many bytes of each stream of the earlier artifact are reused.
    fn used(&self) -> BTreeMap<u32, u64> {
        let mut used = BTreeMap::new();
        for extent in self.files.iter().flat_map(FilePlan::extents) {
            *used.entry(extent.stream).or_default() += extent.length;
        }
        used
    }

    fn little_used(&self, basis: &Basis) -> BTreeSet<u32> {
        let is_little = |stream: &u32, bytes: u64| {
            let whole = basis.streams.get(stream).map_or(u64::MAX, |r| r.stream.layout.plaintext_len());
            bytes < whole / MIN_SHARE
        };
        self.used().into_iter().filter(|(stream, bytes)| is_little(stream, *bytes)).map(|(stream, _)| stream).collect()
    }

    /// The streams that are reused, in the order they had, and their keys.
    pub(super) fn reused<'b>(&self, basis: Option<&'b Basis>) -> Vec<(u32, &'b Stream, &'b StreamKey)> {
        let Some(basis) = basis else { return Vec::new() };
        let reused = |stream: &u32| basis.streams.get(stream).map(|r| (*stream, &r.stream, &r.key));
        self.used().keys().filter_map(reused).collect()
    }

    /// Bytes of plaintext that are not sealed again.
    pub(super) fn reused_len(&self) -> u64 {
        self.used().values().sum()
    }
}

impl FilePlan {
    /// Extents of reused streams, those that adjoin merged.
    fn extents(&self) -> Vec<Extent> {
        self.pieces()
            .into_iter()
            .filter_map(|piece| if let Piece::Reused(extent, _) = piece { Some(extent) } else { None })
            .collect()
    }

    /// The file as runs of sealed and of reused bytes.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0;
        for (number, region) in self.regions.iter().enumerate() {
            match &region.place {
                None => match pieces.last_mut() {
                    Some(Piece::Sealed(range)) => range.end += region.length,
                    _ => pieces.push(Piece::Sealed(at..at + region.length)),
                },
                Some(place) => {
                    for extent in place {
                        match pieces.last_mut() {
                            Some(Piece::Reused(last, regions)) if adjoins(last, extent) => {
                                last.length += extent.length;
                                regions.end = number + 1;
                            }
                            _ => pieces.push(Piece::Reused(*extent, number..number + 1)),
                        }
                    }
                }
            }
            at += region.length;
        }
        pieces
    }

    /// Seals what would be reused in extents that are too short.
    fn leave_out_little(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let pieces = self.pieces();
            let size: u64 = self.regions.iter().map(|region| region.length).sum();
            let is_whole = pieces.iter().all(|piece| matches!(piece, Piece::Reused(..)));
            if is_whole && pieces.len() as u64 <= size / MIN_EXTENT + 1 {
                return;
            }
            let short = pieces.into_iter().filter_map(|piece| match piece {
                Piece::Reused(extent, regions) if extent.length < MIN_EXTENT => Some(regions),
                _ => None,
            });
            let short: Vec<_> = short.flatten().collect();
            if short.is_empty() {
                return;
            }
            for region in short {
                self.regions[region].place = None;
            }
        }
        self.leave_out(|_| true);
    }

    fn leave_out(&mut self, which: impl Fn(&Extent) -> bool) {
        for region in &mut self.regions {
            if region.place.as_ref().is_some_and(|place| place.iter().any(&which)) {
                region.place = None;
            }
        }
    }

    /// Bytes of the file that go into a stream of its own.
    fn sealed_len(&self) -> u64 {
        self.regions.iter().filter(|region| region.place.is_none()).map(|region| region.length).sum()
    }

    /// Whether anything of the file goes into a stream of its own.
    fn is_sealed(&self) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|region| region.place.is_none())
    }

    /// What is to be sealed of the file.
    pub(super) fn feed<'a>(&self, data: Data<'a>, digests: &[Algorithm]) -> Feed<'a> {
        if self.regions.is_empty() {
            return Feed::new(data, digests);
        }
        let ranges = self.pieces().into_iter().filter_map(|piece| match piece {
            Piece::Sealed(range) => Some(range),
            Piece::Reused(..) => None,
        });
        Feed::gathering(data, self.state.clone(), ranges.collect(), digests)
    }

    /// What digests the regions that are sealed.
    pub(super) fn hasher(&self) -> Option<RegionHasher> {
        let sealed = self.regions.iter().filter(|region| region.place.is_none());
        (!self.regions.is_empty()).then(|| RegionHasher::new(sealed.map(|region| region.length)))
    }

    /// Where the file is, with the number and length of the stream made of what was sealed, and `renumbered` streams of the
    /// earlier artifact.
    pub(super) fn extents_with(&self, own: Option<(u32, u64)>, renumbered: &HashMap<u32, u32>) -> Result<Vec<Extent>> {
        if self.regions.is_empty() {
            return Ok(own.map(|(stream, length)| Extent { length, offset: 0, stream }).into_iter().collect());
        }
        let missing = || Error::Misuse("a file was finished without its stream".into());
        let mut sealed = 0;
        let extent = |piece: Piece| match piece {
            Piece::Reused(extent, _) => {
                let stream = *renumbered.get(&extent.stream).ok_or_else(missing)?;
                Ok(Extent { stream, ..extent })
            }
            Piece::Sealed(range) => {
                let (stream, _) = own.ok_or_else(missing)?;
                let (length, offset) = (range.end - range.start, sealed);
                sealed += length;
                Ok(Extent { length, offset, stream })
            }
        };
        let extents = self.pieces().into_iter().map(extent).collect::<Result<Vec<_>>>()?;
        if sealed == own.map_or(0, |(_, length)| length) { Ok(extents) } else { Err(missing()) }
    }

    /// The regions for the index. What was sealed was digested again from the bytes that were encrypted; if it is not what
    /// was seen first, the input changed.
    pub(super) fn regions_with(&self, hasher: Option<RegionHasher>, name: &str) -> Result<Vec<Region>> {
        let mut taken = hasher.map_or(Ok(Vec::new()), RegionHasher::finish)?.into_iter();
        let region = |planned: &Planned| {
            let taken = if planned.place.is_none() { taken.next() } else { planned.blake3 };
            let blake3 = taken.ok_or_else(|| Error::Misuse("a region was not digested".into()))?;
            if planned.blake3.is_some_and(|before| before != blake3) {
                return Err(Error::InputChanged { what: name.to_owned(), why: "it was written to" });
            }
            Ok(Region { blake3, length: planned.length })
        };
        self.regions.iter().map(region).collect()
    }
}

#[derive(Debug)]
enum Piece {
    /// A range of the file.
    Sealed(Range<u64>),
    /// A range of a stream of the earlier artifact, and the regions it has a part in.
    Reused(Extent, Range<usize>),
}

fn adjoins(before: &Extent, after: &Extent) -> bool {
    before.stream == after.stream && before.offset + before.length == after.offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        floe::{HEADER_LEN, Header},
        manifest::Manifest,
        secret::Secret,
        tree::{Layout, PartSize},
    };

    fn basis(streams: usize, plaintext: u64) -> Basis {
        let layout = Layout::of_plaintext(plaintext, PartSize::DEFAULT).expect("legal");
        let parts = vec![blake3::hash(b""); usize::try_from(layout.parts()).expect("few")];
        let stream = Stream { header: Header::from_bytes([0; HEADER_LEN]), layout, parts, tree: None, origin: None };
        let manifest = Manifest {
            artifact_id: [0; 32],
            part_size: PartSize::DEFAULT,
            index: stream.clone(),
            streams: vec![stream; streams],
        };
        let keys = (0..streams).map(|_| StreamKey::from_secret(Secret::new([0; 32]))).collect();
        Basis::new(&manifest, keys, []).expect("fits")
    }

    /// A file of regions; those with a place are in stream, at offset.
    fn file(regions: &[(u64, Option<(u32, u64)>)]) -> FilePlan {
        let planned = |&(length, place): &(u64, Option<(u32, u64)>)| {
            let place = place.map(|(stream, offset)| vec![Extent { length, offset, stream }]);
            Planned { length, blake3: None, place }
        };
        FilePlan { state: None, regions: regions.iter().map(planned).collect() }
    }

    #[test]
    fn a_manifest_that_would_be_too_long_is_noticed_before_anything_is_sealed() {
        let fits = |files: u32| {
            let files = (0..files).map(|stream| file(&[(100, Some((stream, 0)))])).collect();
            Plan { files }.fits(&basis(100_000, 100))
        };
        assert!(fits(60_000) && !fits(90_000));
    }

    #[test]
    fn short_extents_are_sealed_unless_they_adjoin_or_are_the_file() {
        const MIB: u64 = 1 << 20;
        let settled = |regions: &[(u64, Option<(u32, u64)>)]| {
            let mut file = file(regions);
            file.leave_out_little();
            let extents = file.extents();
            let sealed = file.sealed_len();
            (extents.iter().map(|e| (e.stream, e.offset, e.length)).collect::<Vec<_>>(), sealed)
        };
        assert_eq!(settled(&[(100, Some((0, 7)))]), (vec![(0, 7, 100)], 0), "a file in one piece");
        assert_eq!(settled(&[(100, Some((0, 7))), (1, None)]), (vec![], 101));
        assert_eq!(settled(&[(100, Some((0, 7))), (1, Some((1, 0)))]), (vec![], 101), "two pieces are too many");
        let adjoining = [(MIB - 1, Some((0, 0))), (1, Some((0, MIB - 1))), (5, None), (MIB - 1, Some((0, 2 * MIB)))];
        assert_eq!(settled(&adjoining), (vec![(0, 0, MIB)], MIB + 4));
        assert_eq!(settled(&[(MIB, Some((0, 0))), (MIB, Some((1, 0)))]), (vec![(0, 0, MIB), (1, 0, MIB)], 0));
        assert_eq!(settled(&[]), (vec![], 0));
    }

    #[test]
    fn bytes_that_are_encrypted_must_be_those_that_were_compared() {
        let mut plan = file(&[(7, None), (3, Some((0, 0)))]);
        plan.regions[0].blake3 = Some(blake3::hash(b"weights"));
        plan.regions[1].blake3 = Some(blake3::hash(b"abc"));
        let taken = |bytes: &[u8]| {
            let hasher = plan.hasher().expect("there are regions");
            hasher.update(0, bytes);
            plan.regions_with(Some(hasher), "model.bin")
        };
        assert_eq!(taken(b"weights").expect("the same").len(), 2);
        let error = taken(b"WEIGHTS").expect_err("written to, and its times set back");
        assert_eq!(error.to_string(), "model.bin changed while it was read: it was written to");
    }

    #[test]
    fn a_stream_of_which_little_is_used_is_sealed() {
        let basis = basis(1, 80 << 20);
        let plan = |length| Plan { files: vec![file(&[(length, Some((0, 0)))])] };
        assert!(plan((10 << 20) - 1).little_used(&basis).contains(&0));
        assert!(plan(10 << 20).little_used(&basis).is_empty());
    }
}
