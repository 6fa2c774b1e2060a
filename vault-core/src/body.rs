//! The stored body of a stream, read segment by segment, each checked against the manifest.
//!
//! What comes out of here is the ciphertext that was signed. Verifying stops here; opening decrypts it next.

use crate::{
    error::{Error, Fault, Place, Result},
    manifest::Stream,
    parts::{Fetch, ReadAt, object_path},
    tree::{SegmentHasher, Tree},
};

/// Bytes are hashed as they arrive in pieces that stay in the processor's cache.
const PIECE: usize = 128 << 10;

/// One stream of a store, with its tree checked against the manifest.
pub(crate) struct Body<'a> {
    number: u32,
    stream: &'a Stream,
    tree: Tree,
    fetch: &'a dyn Fetch,
}

/// The part a reader read from last, kept open.
#[derive(Default)]
pub(crate) struct OpenPart(Option<(u32, u64, Box<dyn ReadAt>)>);

impl OpenPart {
    /// Whether the part that was asked for last could not be opened.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_none()
    }
}

impl<'a> Body<'a> {
    /// Reads and checks the tree of a stream.
    pub(crate) fn open(number: u32, stream: &'a Stream, fetch: &'a dyn Fetch) -> Result<Self> {
        let tree = match (&stream.tree, &stream.parts[..]) {
            (Some(name), parts) => {
                let expected = stream.layout.tree_len();
                let object = fetch.open(name, expected)?;
                let len = usize::try_from(expected).map_err(|_| Error::limit("tree", "length", expected))?;
                let mut bytes = vec![0; len];
                object.read_exact_at(0, &mut bytes)?;
                Tree::check(&bytes, name, &stream.layout, parts)?
            }
            (None, [part]) => Tree::of_single_segment(part),
            (None, _) => return Err(Error::format("manifest", "has a stream without a tree")),
        };
        Ok(Self { number, stream, tree, fetch })
    }

    pub(crate) fn stream(&self) -> &'a Stream {
        self.stream
    }

    pub(crate) fn place(&self, position: u64) -> Place {
        Place::Segment { stream: self.number, position }
    }

    /// Reads one segment into `buffer`, its private copy, and checks it there.
    pub(crate) fn read(&self, position: u64, part: &mut OpenPart, buffer: &mut [u8]) -> Result<()> {
        let mut hasher = SegmentHasher::new(&self.stream.layout, position);
        let (object, mut offset) = self.locate(position, part)?;
        for piece in buffer.chunks_mut(PIECE) {
            object.read_exact_at(offset, piece).map_err(|e| self.in_part(position, e))?;
            hasher.update(piece);
            offset += piece.len() as u64;
        }
        self.check(position, hasher)
    }

    /// Checks one segment without keeping it.
    pub(crate) fn verify(&self, position: u64, part: &mut OpenPart, scratch: &mut [u8]) -> Result<()> {
        let mut hasher = SegmentHasher::new(&self.stream.layout, position);
        let mut left = self.stream.layout.segment_len(position);
        let (object, mut offset) = self.locate(position, part)?;
        while left > 0 {
            let piece = &mut scratch[..left.min(PIECE)];
            object.read_exact_at(offset, piece).map_err(|e| self.in_part(position, e))?;
            hasher.update(piece);
            offset += piece.len() as u64;
            left -= piece.len();
        }
        self.check(position, hasher)
    }

    fn check(&self, position: u64, hasher: SegmentHasher) -> Result<()> {
        let found = hasher.finish();
        match self.tree.value(position) {
            Some(expected) if *expected == found => Ok(()),
            expected => {
                let expected = blake3::Hash::from_bytes(expected.copied().unwrap_or_default());
                let fault = Fault::Digest { expected, found: blake3::Hash::from_bytes(found) };
                Err(Error::Corrupt { place: self.place(position), fault })
            }
        }
    }

    /// The part with this segment, and where the segment begins in it.
    fn locate<'p>(&self, position: u64, open: &'p mut OpenPart) -> Result<(&'p dyn ReadAt, u64)> {
        let layout = &self.stream.layout;
        let part = layout.part_of(position);
        let cached = open.0.take().filter(|(stream, number, _)| (*stream, *number) == (self.number, part));
        let (_, _, object) = match cached {
            Some(cached) => open.0.insert(cached),
            None => open.0.insert((self.number, part, self.open_part(part)?)),
        };
        Ok((&**object, layout.offset_in_part(position)))
    }

    fn open_part(&self, part: u64) -> Result<Box<dyn ReadAt>> {
        let name = usize::try_from(part).ok().and_then(|i| self.stream.parts.get(i));
        let name = name.ok_or_else(|| Error::Misuse(format!("stream {} has no part {part}", self.number)))?;
        let first = self.stream.layout.first_of_part(part);
        self.fetch.open(name, self.stream.layout.part_len(part)).map_err(|e| self.in_part(first, e))
    }

    /// What a store says about an object, said about the part that it is.
    fn in_part(&self, position: u64, error: Error) -> Error {
        let part = self.stream.layout.part_of(position);
        let name = usize::try_from(part).ok().and_then(|i| self.stream.parts.get(i));
        match (error, name) {
            (Error::Corrupt { place: Place::Object(_), fault }, Some(name)) => {
                let place = Place::Part { stream: self.number, part, object: object_path(name) };
                Error::Corrupt { place, fault }
            }
            (error, _) => error,
        }
    }
}

/// Room for one piece, for [`Body::verify`].
pub(crate) fn scratch() -> Vec<u8> {
    vec![0; PIECE]
}
