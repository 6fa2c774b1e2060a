//! One stream of a seal that can be gone on with.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use blake3::hazmat::ChainingValue;

use super::{KeptStream, Lasting, Plain, Segments, Session, record};
use crate::{
    aead::Engine,
    error::{Error, Result},
    floe::Encryptor,
    names::FilePath,
    tree::{Layout, PAYLOAD},
};

/// What is known of a stream's plaintext: from an earlier run, and from this one until it is noted.
pub(in crate::seal) struct StreamNotes<'a> {
    session: &'a Session,
    store: &'a dyn Lasting,
    number: u32,
    path: FilePath,
    /// Without parts, for the notes of this run.
    stream: KeptStream,
    layout: Layout,
    kept: BTreeMap<u64, Kept<'a>>,
    plain: Mutex<BTreeMap<u64, Plain>>,
}

/// A part that an earlier run stored.
struct Kept<'a> {
    segments: &'a Segments,
    /// Whether the store still has it; asked when its first segment comes.
    is_there: Mutex<Option<bool>>,
}

impl<'a> StreamNotes<'a> {
    /// Starts stream `number`, or goes on with it.
    pub(in crate::seal) fn start(
        (session, store): (&'a Session, &'a dyn Lasting),
        number: u32,
        (path, length): (&FilePath, u64),
        engine: Engine,
    ) -> Result<(Encryptor, Self)> {
        let kept = session.stream(number, path, length)?;
        let (id, dek) = (session.artifact_id(), session.dek());
        let encryptor = match kept {
            Some(kept) => dek.resume(&id, number, &kept.header, engine)?,
            None => dek.encryptor(&id, number, engine)?,
        };
        let layout = Layout::of_plaintext(length, session.start.part_size)?;
        let digest = session.digest(path.as_str().as_bytes());
        let stream = KeptStream { path: digest, length, header: *encryptor.header(), parts: BTreeMap::new() };
        let part = |(part, segments): (&u64, &'a Segments)| (*part, Kept { segments, is_there: Mutex::default() });
        let kept = kept.map(|kept| kept.parts.iter().map(part).collect()).unwrap_or_default();
        let path = path.clone();
        let notes = Self { session, store, number, path, stream, layout, kept, plain: Mutex::default() };
        Ok((encryptor, notes))
    }

    /// The value of a segment that is stored already. `plaintext` must be what it was.
    pub(in crate::seal) fn look(&self, position: u64, plaintext: &[u8]) -> Result<Option<ChainingValue>> {
        let digest = self.session.digest(plaintext);
        let part = self.layout.part_of(position);
        if let Some(kept) = self.kept.get(&part) {
            let at = usize::try_from(position - self.layout.first_of_part(part)).unwrap_or(usize::MAX);
            let Some((value, expected)) = kept.segments.get(at) else {
                return Err(Error::Misuse(format!("{} is longer than it was", self.path)));
            };
            // Also if the store has lost the part: what was noted of another input is worth nothing as a whole.
            if digest != *expected {
                let start = position * PAYLOAD as u64;
                let what = format!("{}, bytes {start}..{}", self.path, start + plaintext.len() as u64);
                return Err(Error::InputChanged { what, why: "the interrupted seal stored other bytes" });
            }
            if self.is_there(part, kept)? {
                self.session.skipped.fetch_add(plaintext.len() as u64, Ordering::Relaxed);
                return Ok(Some(*value));
            }
        }
        self.plain().insert(position, digest);
        Ok(None)
    }

    fn is_there(&self, part: u64, kept: &Kept<'_>) -> Result<bool> {
        // The first to come asks the store, while others with segments of the same part wait.
        let mut is_there = kept.is_there.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *is_there {
            return Ok(known);
        }
        let length = self.store.length(&record::name_of(kept.segments))?;
        Ok(*is_there.insert(length == Some(self.layout.part_len(part))))
    }

    /// Takes note that a part is stored, whose segments have these values.
    pub(in crate::seal) fn stored(&self, part: u64, values: &[ChainingValue]) -> Result<()> {
        let first = self.layout.first_of_part(part);
        let mut plain = self.plain();
        let digests = (first..).map_while(|position| plain.remove(&position));
        let segments: Segments = values.iter().copied().zip(digests).collect();
        drop(plain);
        if segments.len() != values.len() {
            return Err(Error::Misuse("a part was stored before its plaintext was seen".into()));
        }
        self.session.stored(self.number, part, segments, self.stream.clone())
    }

    fn plain(&self) -> MutexGuard<'_, BTreeMap<u64, Plain>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
