//! The plaintext of one input, handed out segment by segment.

use std::{io::Read, ops::Range, sync::Arc};

use super::original::{Gathered, Place};
use crate::{
    error::{Error, Result},
    oms::{Algorithm, Hasher},
    source::{Data, FileState, SealedFile, read_full},
    tree::{MAX_STREAM, PAYLOAD, SEGMENT},
};

/// Hands out the segments of one input in order.
///
/// What can be read at any position is only *named* here and read by the thread that encrypts it. A reader, and whatever
/// is digested on the way, is read here, one thread at a time.
pub(super) struct Feed<'a> {
    state: State<'a>,
    position: u64,
    /// Known when it was opened, unless it is a reader.
    length: Option<u64>,
    digests: Digests,
}

/// Hashers exist only while a feed is read: there may be a hundred thousand feeds.
enum Digests {
    Wanted(Vec<Algorithm>),
    Open(Vec<Hasher>),
    Done(Vec<(Algorithm, Vec<u8>)>),
}

impl Digests {
    fn update(&mut self, bytes: &[u8]) {
        if let Self::Wanted(algorithms) = self {
            *self = Self::Open(algorithms.iter().map(|algorithm| Hasher::new(*algorithm)).collect());
        }
        if let Self::Open(hashers) = self {
            for hasher in hashers {
                hasher.update(bytes);
            }
        }
    }

    fn finish(self) -> Vec<(Algorithm, Vec<u8>)> {
        let finish = |hasher: Hasher| (hasher.algorithm(), hasher.finish());
        match self {
            Self::Wanted(algorithms) => algorithms.into_iter().map(Hasher::new).map(finish).collect(),
            Self::Open(hashers) => hashers.into_iter().map(finish).collect(),
            Self::Done(digests) => digests,
        }
    }

    fn are_taken(&self) -> bool {
        match self {
            Self::Wanted(algorithms) => !algorithms.is_empty(),
            Self::Open(hashers) => !hashers.is_empty(),
            Self::Done(_) => false,
        }
    }
}

enum State<'a> {
    Unopened(Data<'a>),
    /// Ranges of an input that is looked at a second time.
    Chosen(Data<'a>, Option<FileState>, Vec<Range<u64>>),
    Gathered(Gathered<'a>),
    File {
        file: Arc<SealedFile>,
        offset: u64,
    },
    Bytes {
        rest: &'a [u8],
    },
    Reader {
        reader: Box<dyn Read + Send + 'a>,
        lookahead: Option<u8>,
    },
    Done,
}

/// The next segment of a feed.
pub(super) struct Next<'a> {
    pub(super) position: u64,
    pub(super) is_final: bool,
    /// Length of its plaintext.
    pub(super) len: usize,
    /// Where the plaintext is still to be read from; if nowhere, it is in the buffer.
    pub(super) deferred: Deferred<'a>,
    /// The file it comes from, to be asked at the end whether it changed.
    pub(super) file: Option<Arc<SealedFile>>,
}

pub(super) enum Deferred<'a> {
    Nothing,
    File { file: Arc<SealedFile>, offset: u64 },
    Bytes(&'a [u8]),
    Gathered(Gathered<'a>),
}

impl Deferred<'_> {
    /// Reads the plaintext now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::File { file, offset } => file.read_exact_at(*offset, buffer),
            Self::Bytes(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            Self::Gathered(gathered) => gathered.read(buffer),
        }
    }
}

impl<'a> Feed<'a> {
    /// A feed that takes these digests of all it hands out.
    pub(super) fn new(data: Data<'a>, digests: &[Algorithm]) -> Self {
        Self { state: State::Unopened(data), position: 0, length: None, digests: Digests::Wanted(digests.to_vec()) }
    }

    /// A feed of these ranges of an input, which must be as it was.
    pub(super) fn gathering(
        data: Data<'a>,
        state: Option<FileState>,
        ranges: Vec<Range<u64>>,
        digests: &[Algorithm],
    ) -> Self {
        let state = State::Chosen(data, state, ranges);
        Self { state, position: 0, length: None, digests: Digests::Wanted(digests.to_vec()) }
    }

    /// The next segment, if there is one. `buffer` has room for a segment's plaintext.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Next<'a>>> {
        self.open()?;
        let Some(mut next) = self.advance(buffer)? else { return Ok(None) };
        if self.digests.are_taken() {
            let plaintext = &mut buffer[..next.len];
            std::mem::replace(&mut next.deferred, Deferred::Nothing).read(plaintext)?;
            self.digests.update(plaintext);
        }
        if next.is_final {
            self.digests = Digests::Done(std::mem::replace(&mut self.digests, Digests::Done(Vec::new())).finish());
            self.state = State::Done;
        }
        self.position += 1;
        Ok(Some(next))
    }

    /// How many bytes it hands out in all, if that is known after the first of them.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The digests of all that was handed out.
    pub(super) fn digests(self) -> Vec<(Algorithm, Vec<u8>)> {
        self.digests.finish()
    }

    fn open(&mut self) -> Result<()> {
        let (State::Unopened(_) | State::Chosen(..)) = &self.state else { return Ok(()) };
        let data = match std::mem::replace(&mut self.state, State::Done) {
            State::Unopened(data) => data,
            State::Chosen(data, state, ranges) => {
                let gathered = Gathered::new(Place::of(&data)?.reopen(state.as_ref())?, ranges);
                if gathered.is_empty() {
                    gathered.original().check_unchanged()?;
                } else if gathered.len().div_ceil(PAYLOAD as u64) > MAX_SEGMENTS {
                    return Err(too_long());
                } else {
                    self.length = Some(gathered.len());
                    self.state = State::Gathered(gathered);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.state = match data {
            Data::Path(_) | Data::Found(..) => {
                let file = SealedFile::open_data(&data)?;
                if file.len() == 0 {
                    file.check_unchanged()?;
                    State::Done
                } else if file.len().div_ceil(PAYLOAD as u64) > MAX_SEGMENTS {
                    return Err(too_long());
                } else {
                    self.length = Some(file.len());
                    State::File { file, offset: 0 }
                }
            }
            Data::Bytes([]) => State::Done,
            Data::Bytes(bytes) => {
                self.length = Some(bytes.len() as u64);
                State::Bytes { rest: bytes }
            }
            Data::Reader(mut reader) => match read_byte(&mut reader)? {
                None => State::Done,
                lookahead => State::Reader { reader, lookahead },
            },
        };
        Ok(())
    }

    fn advance(&mut self, buffer: &mut [u8]) -> Result<Option<Next<'a>>> {
        let position = self.position;
        let segment = |len, is_final, deferred, file| Ok(Some(Next { position, is_final, len, deferred, file }));
        match &mut self.state {
            State::Unopened(_) | State::Chosen(..) | State::Done => Ok(None),
            State::Gathered(gathered) => {
                let (taken, len) = gathered.take();
                let file = gathered.original().file().cloned();
                segment(len, gathered.is_empty(), Deferred::Gathered(taken), file)
            }
            State::File { file, offset } => {
                let left = file.len() - *offset;
                let len = usize::try_from(left).map_or(PAYLOAD, |left| left.min(PAYLOAD));
                let deferred = Deferred::File { file: Arc::clone(file), offset: *offset };
                *offset += len as u64;
                segment(len, *offset == file.len(), deferred, Some(Arc::clone(file)))
            }
            State::Bytes { rest } => {
                let (now, later) = rest.split_at(rest.len().min(PAYLOAD));
                *rest = later;
                segment(now.len(), later.is_empty(), Deferred::Bytes(now), None)
            }
            State::Reader { reader, lookahead } => {
                let Some(first) = lookahead.take() else { return Ok(None) };
                buffer[0] = first;
                let len = 1 + read_full(reader, &mut buffer[1..PAYLOAD]).map_err(Error::storage("input"))?;
                *lookahead = if len == PAYLOAD { read_byte(reader)? } else { None };
                segment(len, lookahead.is_none(), Deferred::Nothing, None)
            }
        }
    }
}

/// The most segments of a stream.
pub(super) const MAX_SEGMENTS: u64 = MAX_STREAM / SEGMENT as u64;

pub(super) fn too_long() -> Error {
    Error::Misuse("a file is longer than a stream can be: 2 TiB".into())
}

/// One byte, to know whether there is more: FLOE marks the last segment as final.
fn read_byte(reader: &mut dyn Read) -> Result<Option<u8>> {
    let mut byte = [0];
    let read = read_full(reader, &mut byte).map_err(Error::storage("input"))?;
    Ok((read == 1).then_some(byte[0]))
}
