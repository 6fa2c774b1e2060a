//! Everything that is wrong with an artifact, where verifying stops at the first fault.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{Lane, whole};
use crate::{
    body::{self, OpenPart},
    error::{Error, Result},
    manifest::{Manifest, Stream},
    parts::{Fetch, object_path},
    trust::Verified,
    workers::{self, Progress, Threads},
};

/// The most flaws of one artifact that are kept; the rest is counted.
const MAX_FLAWS: usize = 1000;

/// Something wrong with a stored object.
#[derive(Debug)]
pub struct Flaw {
    /// The object's path in the vault.
    pub object: String,
    /// [`Error::Corrupt`] if it is not what it should be, [`Error::Storage`] if it cannot be read.
    pub error: Error,
}

/// What [`damage`] found.
#[derive(Debug, Default)]
pub struct Survey {
    /// What is wrong, in the order of the streams. An object that cannot be opened or read is one flaw, not one for each
    /// of its segments.
    pub flaws: Vec<Flaw>,
    /// How many flaws there are beyond those.
    pub more: u64,
    /// Bytes of ciphertext that were read and hashed.
    pub bytes: u64,
}

/// Parts that are what their names say, and their lengths: artifacts that share them need not have them hashed again.
#[derive(Debug, Default)]
pub struct Sound(HashMap<[u8; 32], u64>);

impl Sound {
    fn has(&self, stream: &Stream, part: u64) -> bool {
        let name = usize::try_from(part).ok().and_then(|part| stream.parts.get(part));
        name.and_then(|name| self.0.get(name.as_bytes())).is_some_and(|len| *len == stream.layout.part_len(part))
    }
}

/// Looks at all of an artifact, except at parts that are in `sound` already, and adds its sound parts to those.
///
/// # Errors
/// [`Error::Storage`] if the caller asks to stop, or there are no threads.
pub fn damage(
    manifest: &Verified<Manifest>,
    fetch: &dyn Fetch,
    threads: Threads,
    progress: &dyn Progress,
    sound: &mut Sound,
) -> Result<Survey> {
    let lanes: Vec<_> = manifest.numbered_streams().map(|(number, stream)| Lane::new(number, stream)).collect();
    let (current, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let found = Mutex::new(Found::default());
    let mut wanted: Vec<_> = manifest.numbered_streams().flat_map(|(_, stream)| whole(stream)).collect();
    wanted.retain(|wanted| sound.0.get(wanted.name.as_bytes()) != Some(&wanted.length));
    let _ahead = fetch.ahead(wanted);
    let add = |at, part, position, flaw| {
        found.lock().unwrap_or_else(PoisonError::into_inner).add(at, part, position, flaw);
    };
    workers::run(threads, progress, |stop| {
        let (mut part, mut scratch) = (OpenPart::default(), body::scratch());
        while !stop.requested()? {
            let at = current.load(Ordering::Acquire);
            let Some(lane) = lanes.get(at) else { return Ok(()) };
            let (body, position) = match lane.next(fetch, |part| sound.has(lane.stream, part)) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    let _ = current.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire);
                    continue;
                }
                Err(error) => {
                    // Without its tree nothing can be said about the segments of a stream.
                    lane.skip_to(lane.stream.layout.segments());
                    let object = lane.stream.tree.as_ref().map(object_path).unwrap_or_default();
                    add(at, None, 0, Flaw { object, error });
                    continue;
                }
            };
            let number = lane.stream.layout.part_of(position);
            match body.verify(position, &mut part, &mut scratch) {
                Ok(()) => {
                    let length = lane.stream.layout.segment_len(position) as u64;
                    bytes.fetch_add(length, Ordering::Relaxed);
                    progress.advance(length);
                }
                Err(error) => {
                    let whole = part.is_closed() || matches!(error, Error::Storage { .. });
                    if whole {
                        lane.skip_to(lane.stream.layout.first_of_part(number + 1));
                    }
                    let name = usize::try_from(number).ok().and_then(|number| lane.stream.parts.get(number));
                    let object = name.map(object_path).unwrap_or_default();
                    add(at, Some((number, whole)), position, Flaw { object, error });
                }
            }
        }
        Ok(())
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (at, (_, stream)) in manifest.numbered_streams().enumerate().filter(|(at, _)| !found.unchecked.contains(at)) {
        let parts = (0..).zip(&stream.parts).filter(|(part, _)| !found.bad.contains_key(&(at, *part)));
        sound.0.extend(parts.map(|(part, name)| (*name.as_bytes(), stream.layout.part_len(part))));
    }
    Ok(found.survey(bytes.into_inner()))
}

/// What the workers of [`damage`] found so far.
#[derive(Default)]
struct Found {
    /// With stream and position, to sort them by.
    flaws: Vec<((usize, u64), Flaw)>,
    more: u64,
    /// Streams whose tree is no good.
    unchecked: HashSet<usize>,
    /// Parts that are no good, and whether that was said of the part as a whole.
    bad: HashMap<(usize, u64), bool>,
}

impl Found {
    fn add(&mut self, at: usize, part: Option<(u64, bool)>, position: u64, flaw: Flaw) {
        let said = match part {
            None => !self.unchecked.insert(at),
            // Another thread may have been at another segment of it.
            Some((number, whole)) => {
                let before = self.bad.entry((at, number)).or_default();
                let said = *before && whole;
                *before |= whole;
                said
            }
        };
        if said {
            return;
        }
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push(((at, position), flaw));
        } else {
            self.more += 1;
        }
    }

    fn survey(mut self, bytes: u64) -> Survey {
        self.flaws.sort_by_key(|(place, _)| *place);
        Survey { flaws: self.flaws.into_iter().map(|(_, flaw)| flaw).collect(), more: self.more, bytes }
    }
}
