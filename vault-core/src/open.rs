//! Opening: from a verified manifest and its key to plaintext, every segment checked and authenticated first.
//!
//! Each segment is read into one private copy, hashed there against the manifest and decrypted from there. Nothing of it
//! is used before both agreed.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use zeroize::Zeroizing;

use crate::{
    aead::Engine,
    body::{Body, OpenPart},
    error::{Error, Place, Result},
    floe::{Decryptor, OVERHEAD},
    index::{File, Index},
    manifest::{Manifest, Stream},
    parts::{Ahead, Fetch, Wanted},
    secret::Secret,
    source::Buffer,
    stream::{Dek, StreamKey},
    tree::{INDEX_STREAM, PAYLOAD, SEGMENT},
    trust::Verified,
    workers::{Progress, Threads},
};

mod plan;
mod ready;
mod target;

use plan::{Piece, Plan};
use ready::Ready;
pub use target::WriteAt;

/// How to open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How many threads work.
    pub threads: Threads,
    /// Which AES-256-GCM.
    pub engine: Engine,
    /// Whether the beginnings of large files will be read first, as for the headers of safetensors files. A remote store
    /// then fetches them along with the index.
    pub beginnings: bool,
}

/// The most beginnings that are fetched along with the index.
const MAX_BEGINNINGS: usize = 16;

/// An artifact that can be read: its manifest is verified, its key fits, its index is decrypted.
pub struct Opened<'a> {
    manifest: &'a Verified<Manifest>,
    dek: Dek,
    index: Index,
    fetch: &'a dyn Fetch,
    options: Options,
    /// Whether the caller announced everything that will be read.
    ahead: AtomicBool,
    /// The streams whose first segments are on their way, until something else is read.
    beginnings: Mutex<Option<(BTreeSet<u32>, Ahead)>>,
    ready: Ready<'a>,
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("files", &self.index.files().len()).finish_non_exhaustive()
    }
}

/// One stream, ready to be decrypted.
struct Reader<'a> {
    body: Body<'a>,
    decryptor: Decryptor,
}

impl Reader<'_> {
    /// The private copy of one segment, checked.
    fn load<'b>(&self, position: u64, part: &mut OpenPart, buffer: &'b mut [u8]) -> Result<&'b mut [u8]> {
        let segment = &mut buffer[..self.body.stream().layout.segment_len(position)];
        self.body.read(position, part, segment)?;
        Ok(segment)
    }

    /// Decrypts one segment where its private copy is.
    fn decrypt<'b>(&self, position: u64, part: &mut OpenPart, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let is_final = self.body.stream().layout.is_final(position);
        let segment = self.load(position, part, buffer)?;
        self.decryptor.decrypt_in_place(position, is_final, segment).map_err(|e| e.at(self.body.place(position)))
    }

    /// Decrypts one whole segment into `out`.
    fn decrypt_into(&self, position: u64, part: &mut OpenPart, buffer: &mut [u8], out: &mut [u8]) -> Result<()> {
        let is_final = self.body.stream().layout.is_final(position);
        let segment = self.load(position, part, buffer)?;
        self.decryptor
            .decrypt_segment_into(position, is_final, segment, out)
            .map_err(|e| e.at(self.body.place(position)))
    }
}

impl<'a> Opened<'a> {
    /// Decrypts the index of an artifact.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything read differs from the manifest, or the key is not this artifact's.
    pub fn new(manifest: &'a Verified<Manifest>, dek: Dek, fetch: &'a dyn Fetch, options: Options) -> Result<Self> {
        let (mut wanted, mut beginnings) = (whole(&manifest.index), BTreeSet::new());
        let large = (0..).zip(&manifest.streams).filter(|(_, stream)| stream.layout.segments() > 1);
        for (number, stream) in large.take(if options.beginnings { MAX_BEGINNINGS } else { 0 }) {
            wanted.extend(stream.wanted_tree().into_iter().chain(stream.wanted_segments(0..1)));
            beginnings.insert(number);
        }
        let coming = fetch.ahead(wanted);
        let index = read_index(manifest, &dek, fetch, options)?;
        let beginnings = Mutex::new((!beginnings.is_empty()).then_some((beginnings, coming)));
        let (ahead, ready) = (AtomicBool::new(false), Ready::default());
        Ok(Self { manifest, dek, index, fetch, options, ahead, beginnings, ready })
    }

    /// The files of the artifact.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// See [`Dek::reopen_key`].
    pub(crate) fn reopen_key(&self, salt: &[u8; 32], what: &[u8; 64]) -> Secret<32> {
        self.dek.reopen_key(salt, what)
    }

    /// Tells the store which files will be read, so that a remote one fetches the next while this one is decrypted. Until
    /// what is returned is dropped, reading announces nothing else.
    pub fn announce<'f>(&self, files: impl IntoIterator<Item = &'f File>) -> Announced<'_> {
        let extents: Vec<_> = files.into_iter().flat_map(|file| plan::extents(file, &(0..file.size))).collect();
        self.forget_beginnings();
        let ahead = self.fetch.ahead(plan::wanted(self, &extents));
        self.ahead.store(true, Ordering::Relaxed);
        Announced { flag: &self.ahead, _ahead: ahead }
    }

    /// Whether what is in these extents is on its way already. If not, the beginnings make room for it.
    fn is_announced(&self, extents: &[(u32, Range<u64>)]) -> bool {
        let begins = |streams: &BTreeSet<u32>| {
            extents.iter().all(|(stream, range)| streams.contains(stream) && range.end <= PAYLOAD as u64)
        };
        if self.ahead.load(Ordering::Relaxed) {
            return true;
        }
        let beginnings = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = beginnings.as_ref().is_some_and(|(streams, _)| begins(streams));
        drop(beginnings);
        if !announced {
            self.forget_beginnings();
        }
        announced
    }

    fn forget_beginnings(&self) {
        drop(self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Reads a whole file into memory.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything read differs from the manifest; [`Error::Storage`] if something cannot be read,
    /// or there is not enough memory. No plaintext comes out then.
    pub fn read(&self, file: &File, progress: &dyn Progress) -> Result<Buffer> {
        let mut buffer = Buffer::zeroed(file.size)?;
        let plan = Plan::new(self, file, 0..file.size)?;
        target::into_memory(&plan, &mut buffer, self.options.threads, progress)?;
        Ok(buffer)
    }

    /// Reads `range` of a file, from its first byte, into memory. Only the segments in the range and the tree of their
    /// stream are fetched.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the range ends behind the file; otherwise as [`Opened::read`].
    pub fn read_range(&self, file: &File, range: Range<u64>) -> Result<Buffer> {
        let plan = Plan::new(self, file, range.clone())?;
        let mut buffer = Buffer::zeroed(range.end - range.start)?;
        target::into_memory(&plan, &mut buffer, self.options.threads, &())?;
        Ok(buffer)
    }

    /// Reads a whole file into something that takes bytes at any position.
    ///
    /// # Errors
    /// As [`Opened::read`], and what `out` returns. What `out` got before an error is authentic, but not all.
    pub fn extract(&self, file: &File, out: &dyn WriteAt, progress: &dyn Progress) -> Result<()> {
        self.extract_range(file, 0..file.size, out, progress)
    }

    /// Reads `range` of a file into something that takes bytes at any position; the first byte of the range goes to 0.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the range ends behind the file; otherwise as [`Opened::extract`].
    pub fn extract_range(
        &self,
        file: &File,
        range: Range<u64>,
        out: &dyn WriteAt,
        progress: &dyn Progress,
    ) -> Result<()> {
        let plan = Plan::new(self, file, range)?;
        target::at_positions(&plan, out, self.options.threads, progress)
    }

    /// Gives `range` of a file to `out` in order. Every piece authenticated before it was given.
    ///
    /// # Errors
    /// As [`Opened::read_range`], and what `out` returns.
    pub fn stream(
        &self,
        file: &File,
        range: Range<u64>,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let plan = Plan::new(self, file, range)?;
        target::in_order(&plan, out, self.options.threads, progress)
    }

    fn reader(&self, number: u32) -> Result<Reader<'a>> {
        let key = self.index.key(number);
        reader(self.manifest, (&self.dek, key), number, self.fetch, self.options.engine)
    }
}

/// See [`Opened::announce`].
#[derive(Debug)]
pub struct Announced<'a> {
    flag: &'a AtomicBool,
    _ahead: Ahead,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.flag.store(false, Ordering::Relaxed);
    }
}

fn reader<'a>(
    manifest: &'a Manifest,
    (dek, reused): (&Dek, Option<&StreamKey>),
    number: u32,
    fetch: &'a dyn Fetch,
    engine: Engine,
) -> Result<Reader<'a>> {
    let stream = manifest.stream(number).ok_or_else(|| Error::format("index", "names a stream that is not there"))?;
    let place = Place::Header { stream: number };
    let decryptor = match (&stream.origin, reused) {
        (None, _) => dek.decryptor(&manifest.artifact_id, number, &stream.header, engine),
        (Some(origin), Some(key)) => key.decryptor(origin, &stream.header, engine),
        (Some(_), None) => Err(Error::format("index", "has no key for a stream that was sealed before")),
    };
    let decryptor = decryptor.map_err(|e| e.at(place))?;
    Ok(Reader { body: Body::open(number, stream, fetch)?, decryptor })
}

/// All that a stream is stored as.
fn whole(stream: &Stream) -> Vec<Wanted> {
    stream.wanted_tree().into_iter().chain(stream.wanted_segments(0..stream.layout.segments())).collect()
}

fn read_index(manifest: &Manifest, dek: &Dek, fetch: &dyn Fetch, options: Options) -> Result<Index> {
    let layout = manifest.index.layout;
    let reader = reader(manifest, (dek, None), INDEX_STREAM, fetch, options.engine)?;
    let mut plaintext = Zeroizing::new(Vec::new());
    let (mut part, mut buffer) = (OpenPart::default(), Zeroizing::new(vec![0; SEGMENT]));
    for position in 0..layout.segments() {
        // Room for all at once, so that no outgrown copy stays behind unwiped.
        if position == 0 {
            plaintext.reserve_exact(usize::try_from(layout.plaintext_len()).unwrap_or_default());
        }
        plaintext.extend_from_slice(reader.decrypt(position, &mut part, &mut buffer)?);
    }
    Index::parse(&plaintext, manifest)
}

const _: () = assert!(PAYLOAD + OVERHEAD == SEGMENT, "a full segment is 1 MiB");

#[cfg(test)]
mod tests;
