//! One stream on its way into the sink: segments in any order, from several threads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use blake3::hazmat::ChainingValue;

use super::{
    feed::{MAX_SEGMENTS, too_long},
    resume::StreamNotes,
};
use crate::{
    error::{Error, Result},
    floe::{Encryptor, OVERHEAD, PREFIX_LEN},
    manifest::Stream,
    parts::{Sink, Staged},
    tree::{Layout, PartSize, SEGMENT, SegmentHasher, part_hash},
};

/// Encrypts and stores the segments of one stream.
pub(super) struct StreamWriter<'a> {
    encryptor: Encryptor,
    part_size: PartSize,
    /// What an earlier run stored, and where this one notes what it stores.
    notes: Option<StreamNotes<'a>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The values of the segments that are stored.
    values: BTreeMap<u64, ChainingValue>,
    /// Parts of which some segments are stored.
    open: BTreeMap<u64, OpenPart>,
    /// The hashes of the parts that are complete.
    parts: BTreeMap<u64, blake3::Hash>,
    /// Encrypted bytes stored.
    length: u64,
    /// Known once the final segment was handed out.
    segments: Option<u64>,
}

/// A part that several threads write to, until one of them publishes it.
type SharedStaged = Arc<RwLock<Option<Box<dyn Staged>>>>;

#[derive(Default)]
struct OpenPart {
    /// Taken out when the part is published; nothing if it was stored before.
    staged: SharedStaged,
    stored: u64,
}

impl<'a> StreamWriter<'a> {
    pub(super) fn new(encryptor: Encryptor, part_size: PartSize, notes: Option<StreamNotes<'a>>) -> Self {
        Self { encryptor, part_size, notes, state: Mutex::default() }
    }

    /// Announces that `position` is the final segment, before it is written.
    pub(super) fn ends_at(&self, position: u64) {
        self.state().segments = Some(position + 1);
    }

    /// Encrypts, hashes and stores one segment, in one buffer, unless it is stored already. Returns whether the stream is
    /// complete.
    pub(super) fn write(&self, position: u64, is_final: bool, segment: &mut [u8], sink: &dyn Sink) -> Result<bool> {
        if position >= MAX_SEGMENTS {
            return Err(too_long());
        }
        let offset = position % self.per_part() * SEGMENT as u64;
        let plaintext = &segment[PREFIX_LEN..segment.len() + PREFIX_LEN - OVERHEAD];
        let stored = self.notes.as_ref().map_or(Ok(None), |notes| notes.look(position, plaintext))?;
        if let Some(value) = stored {
            self.state().open.entry(position / self.per_part()).or_default();
            return self.count(position, segment.len(), value);
        }
        self.encryptor.encrypt_in_place(position, is_final, segment)?;
        let mut hasher = if is_final && offset == 0 { SegmentHasher::alone() } else { SegmentHasher::at(offset) };
        hasher.update(segment);
        self.store(position, offset, segment, hasher.finish(), sink)
    }

    fn store(&self, position: u64, offset: u64, segment: &[u8], value: ChainingValue, sink: &dyn Sink) -> Result<bool> {
        let part = position / self.per_part();
        let staged = self.open_part(part, sink)?;
        if let Some(staged) = &*staged.read().unwrap_or_else(PoisonError::into_inner) {
            staged.write_at(offset, segment)?;
        }
        drop(staged);
        self.count(position, segment.len(), value)
    }

    /// Takes note that a segment is stored; whoever brings the last one of a part publishes it.
    fn count(&self, position: u64, length: usize, value: ChainingValue) -> Result<bool> {
        let part = position / self.per_part();
        let mut state = self.state();
        state.values.insert(position, value);
        state.length += length as u64;
        let Some(open) = state.open.get_mut(&part) else { return Ok(false) };
        open.stored += 1;
        let first = part * self.per_part();
        let expected = state.segments.map_or(self.per_part(), |all| self.per_part().min(all - first));
        if state.open[&part].stored < expected {
            return Ok(false);
        }
        let Some(complete) = state.open.remove(&part) else { return Ok(false) };
        let values: Vec<_> = state.values.range(first..first + expected).map(|(_, value)| *value).collect();
        drop(state);

        let name = part_hash(&values);
        if let Some(staged) = complete.staged.write().unwrap_or_else(PoisonError::into_inner).take() {
            staged.commit(&name)?;
            self.notes.as_ref().map_or(Ok(()), |notes| notes.stored(part, &values))?;
        }
        let mut state = self.state();
        state.parts.insert(part, name);
        Ok(state.segments.is_some_and(|all| all == state.values.len() as u64) && state.open.is_empty())
    }

    fn open_part(&self, part: u64, sink: &dyn Sink) -> Result<SharedStaged> {
        let mut state = self.state();
        if let Some(open) = state.open.get(&part) {
            return Ok(Arc::clone(&open.staged));
        }
        let staged = Arc::new(RwLock::new(Some(sink.stage(self.part_size.get())?)));
        state.open.insert(part, OpenPart { staged: Arc::clone(&staged), stored: 0 });
        Ok(staged)
    }

    /// Stores the tree and describes the stream, of which all segments are stored.
    pub(super) fn finish(self, sink: &dyn Sink) -> Result<Stream> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let layout = Layout::new(state.length, self.part_size)?;
        let complete = state.segments == Some(layout.segments())
            && state.values.len() as u64 == layout.segments()
            && state.parts.len() as u64 == layout.parts();
        if !complete {
            return Err(Error::Misuse("a stream was finished before its last segment".into()));
        }
        let tree = if layout.has_tree() {
            let object: Vec<u8> = state.values.into_values().flatten().collect();
            let name = blake3::hash(&object);
            sink.put(&name, &object)?;
            Some(name)
        } else {
            None
        };
        Ok(Stream {
            header: *self.encryptor.header(),
            layout,
            parts: state.parts.into_values().collect(),
            tree,
            origin: None,
        })
    }

    fn per_part(&self) -> u64 {
        self.part_size.get() / SEGMENT as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
