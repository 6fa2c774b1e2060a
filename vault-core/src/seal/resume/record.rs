//! What stands in a session, as bytes.
//!
//! All integers are little-endian. The first record is a start; then follow, in any order that makes sense, runs, streams,
//! parts and audiences. A part may be noted again: the later record counts, because the store has lost what the earlier one names.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::{KeptStream, MAX_RUNS, Plain, Segments, Subject};
use crate::{
    error::{Error, Result},
    floe::{HEADER_LEN, Header},
    journal::Records,
    manifest::MAX_STREAMS,
    secret::Secret,
    stream::{ArtifactId, Dek},
    tree::{Layout, PartSize, part_hash},
};

const DOCUMENT: &str = "resume file";
const START: u8 = 1;
const STREAM: u8 = 2;
const PART: u8 = 3;
const RUN: u8 = 4;
const AUDIENCE: u8 = 5;

/// The first record: keys, and what they are for.
pub(super) struct Start {
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) artifact_id: ArtifactId,
    pub(super) dek: Dek,
    pub(super) digest_key: Secret<32>,
    pub(super) part_size: PartSize,
    /// Vault, name and source, digested.
    pub(super) subject: [Plain; 3],
}

/// What the other records add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// How often the session was gone on with.
    pub(super) runs: u32,
    pub(super) streams: BTreeMap<u32, KeptStream>,
    /// To whom the key was wrapped, or was about to be: digests, each once.
    pub(super) audiences: BTreeSet<Plain>,
}

/// What a session holds, without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// How often it was gone on with.
    pub runs: u32,
    /// Streams of which a part is stored.
    pub streams: usize,
    /// Stored parts.
    pub parts: usize,
}

impl Summary {
    /// Reads the bytes of a session file; `None` if a crash left no start in it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no session, or breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let bytes = Zeroizing::new(bytes.to_vec());
        let (records, _) = Records::parse(super::file::MAGIC, bytes).map_err(rule)?;
        let summary = |(start, history): (Start, History)| Self {
            created: start.created,
            runs: history.runs,
            streams: history.streams.len(),
            parts: history.streams.values().map(|stream| stream.parts.len()).sum(),
        };
        Ok(read(records.iter())?.map(summary))
    }
}

pub(super) fn digests_of(subject: Subject<'_>) -> [Plain; 3] {
    let Subject { vault, name, source } = subject;
    [vault, &name.to_string(), source].map(|text| *blake3::hash(text.as_bytes()).as_bytes())
}

pub(super) fn name_of(segments: &Segments) -> blake3::Hash {
    part_hash(&segments.iter().map(|(value, _)| *value).collect::<Vec<_>>())
}

impl Start {
    pub(super) fn to_record(&self) -> Zeroizing<Vec<u8>> {
        // Room for all at once, so that no outgrown copy stays behind unwiped.
        let mut record = Zeroizing::new(Vec::with_capacity(1 + 8 + 3 * 32 + 8 + 3 * 32));
        record.push(START);
        record.extend_from_slice(&self.created.to_le_bytes());
        record.extend_from_slice(&self.artifact_id);
        record.extend_from_slice(self.dek.secret().expose());
        record.extend_from_slice(self.digest_key.expose());
        record.extend_from_slice(&self.part_size.get().to_le_bytes());
        self.subject.iter().for_each(|digest| record.extend_from_slice(digest));
        record
    }

    fn parse(mut rest: Fields<'_>) -> Result<Self> {
        let start = Self {
            created: u64::from_le_bytes(rest.take()?),
            artifact_id: rest.take()?,
            dek: Dek::from_secret(rest.secret()?),
            digest_key: rest.secret()?,
            part_size: PartSize::new(u64::from_le_bytes(rest.take()?))
                .map_err(|_| rule("has a part size that is none"))?,
            subject: [rest.take()?, rest.take()?, rest.take()?],
        };
        rest.end()?;
        Ok(start)
    }

    /// Refuses to go on with something else.
    pub(super) fn check(&self, subject: Subject<'_>, part_size: PartSize, what: &str) -> Result<()> {
        let kinds = ["for another vault", "for another version", "of another input"];
        let differs = digests_of(subject).iter().zip(&self.subject).position(|(wanted, there)| wanted != there);
        if let Some(at) = differs {
            return Err(Error::Misuse(format!("{what} is the session of a seal {}", kinds[at])));
        }
        if self.part_size != part_size {
            let (begun, asked) = (self.part_size.get() >> 20, part_size.get() >> 20);
            return Err(Error::Misuse(format!("{what} was begun with parts of {begun} MiB, not of {asked}")));
        }
        Ok(())
    }
}

pub(super) fn stream(number: u32, stream: &KeptStream) -> Vec<u8> {
    let number = number.to_le_bytes();
    [&[STREAM][..], &number, &stream.path, &stream.length.to_le_bytes(), stream.header.as_bytes()].concat()
}

pub(super) fn part(number: u32, part: u64, segments: &Segments) -> Vec<u8> {
    let mut record = [&[PART][..], &number.to_le_bytes(), &part.to_le_bytes(), name_of(segments).as_bytes()].concat();
    for (value, plain) in segments {
        record.extend([*value, *plain].concat());
    }
    record
}

pub(super) fn run(now: u64) -> Vec<u8> {
    [&[RUN][..], &now.to_le_bytes()].concat()
}

pub(super) fn audience(digest: &Plain) -> Vec<u8> {
    [&[AUDIENCE][..], digest].concat()
}

/// Reads all records; `None` if there are none.
pub(super) fn read<'a>(mut records: impl Iterator<Item = &'a [u8]>) -> Result<Option<(Start, History)>> {
    let Some(first) = records.next() else { return Ok(None) };
    let start = match first.split_first() {
        Some((&START, rest)) => Start::parse(Fields(rest))?,
        _ => return Err(rule("does not begin with a start")),
    };
    let mut history = History::default();
    for record in records {
        match record.split_first() {
            Some((&STREAM, rest)) => history.add_stream(Fields(rest), start.part_size)?,
            Some((&PART, rest)) => history.add_part(Fields(rest), start.part_size)?,
            Some((&RUN, rest)) => history.add_run(Fields(rest))?,
            Some((&AUDIENCE, rest)) => history.add_audience(Fields(rest))?,
            _ => return Err(rule("has a record of an unknown kind")),
        }
    }
    // Streams are noted with their first part; a crash can come between.
    history.streams.retain(|_, stream| !stream.parts.is_empty());
    Ok(Some((start, history)))
}

impl History {
    fn add_run(&mut self, mut rest: Fields<'_>) -> Result<()> {
        let _when: [u8; 8] = rest.take()?;
        rest.end()?;
        self.runs += 1;
        if self.runs > MAX_RUNS { Err(rule("was gone on with too often")) } else { Ok(()) }
    }

    fn add_audience(&mut self, mut rest: Fields<'_>) -> Result<()> {
        self.audiences.insert(rest.take()?);
        rest.end()
    }

    fn add_stream(&mut self, mut rest: Fields<'_>, part_size: PartSize) -> Result<()> {
        let number = u32::from_le_bytes(rest.take()?);
        let (path, length) = (rest.take()?, u64::from_le_bytes(rest.take()?));
        let header = Header::from_bytes(rest.take::<HEADER_LEN>()?);
        rest.end()?;
        if number as usize >= MAX_STREAMS || length == 0 || Layout::of_plaintext(length, part_size).is_err() {
            return Err(rule("has a stream that cannot be"));
        }
        let stream = KeptStream { path, length, header, parts: BTreeMap::new() };
        match self.streams.insert(number, stream) {
            // One that a crash left without a part was begun anew, with another header.
            Some(before) if !before.parts.is_empty() => Err(rule("has a stream twice")),
            _ => Ok(()),
        }
    }

    fn add_part(&mut self, mut rest: Fields<'_>, part_size: PartSize) -> Result<()> {
        let (number, part) = (u32::from_le_bytes(rest.take()?), u64::from_le_bytes(rest.take()?));
        let name = blake3::Hash::from_bytes(rest.take()?);
        let mut segments = Segments::new();
        while !rest.0.is_empty() {
            segments.push((rest.take()?, rest.take()?));
        }
        let stream = self.streams.get_mut(&number).ok_or_else(|| rule("has a part of no stream"))?;
        let layout = Layout::of_plaintext(stream.length, part_size)?;
        if part >= layout.parts() || segments.len() as u64 != layout.part_segments(part) || name != name_of(&segments) {
            return Err(rule("has a part that cannot be"));
        }
        stream.parts.insert(part, segments);
        Ok(())
    }
}

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().ok_or_else(|| rule("has a record that is too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    fn secret(&mut self) -> Result<Secret<32>> {
        let bytes = Zeroizing::new(self.take::<32>()?);
        let mut secret = Secret::new([0; 32]);
        secret.expose_mut().copy_from_slice(&*bytes);
        Ok(secret)
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(rule("has a record that is too long")) }
    }
}

fn rule(rule: &'static str) -> Error {
    Error::format(DOCUMENT, rule)
}
