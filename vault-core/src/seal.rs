//! Sealing: inputs in, encrypted parts and trees out, and a manifest that commits to all of them.
//!
//! Threads share one queue of segments, in order of the files. Each segment is read once into a private buffer,
//! encrypted there, hashed and written; whoever finishes the last segment of a part names and publishes the part.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use zeroize::Zeroizing;

use crate::{
    aead::Engine,
    error::{Error, Result},
    floe::{OVERHEAD, PREFIX_LEN},
    index::{Extent, File, Index, Notes},
    manifest::{MAX_STREAMS, Manifest, Stream},
    names::{FilePath, is_reserved},
    oms::{Algorithm, Signed},
    parts::Sink,
    secret::fill_random,
    source::{Data, Input},
    stream::{ArtifactId, Dek, StreamKey},
    tree::{INDEX_STREAM, MAX_STREAM, PAYLOAD, PartSize, SEGMENT},
    workers::{self, Progress, Stop, Threads},
};

mod basis;
mod division;
mod feed;
mod original;
mod plan;
mod regions;
pub mod resume;
mod scan;
mod writer;

pub use basis::{Basis, Sealed as SealedBefore, stream_keys};
pub use division::Tensors;
use feed::{Feed, Next};
use plan::Plan;
use regions::RegionHasher;
use resume::{Lasting, Session, StreamNotes};
use writer::StreamWriter;

/// How to seal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The size of the parts.
    pub part_size: PartSize,
    /// How many threads work.
    pub threads: Threads,
    /// Which AES-256-GCM.
    pub engine: Engine,
    /// Whether to take the SHA-256 of every file in the same pass, into the encrypted index.
    pub digests: Digests,
}

/// Which plaintext digests go into the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digests {
    /// None.
    #[default]
    None,
    /// SHA-256, which runs at the speed of one core.
    Sha256,
}

/// What a seal does so that unchanged data is not sealed twice.
#[derive(Debug, Clone, Copy)]
pub enum Reuse<'a> {
    /// Nothing.
    No,
    /// Digests regions, so that a later version can reuse this one.
    Later(Tensors),
    /// Reuses what is in an earlier artifact, and digests regions as well.
    Of(&'a Basis, Tensors),
}

/// How much of a sealed artifact was in an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Streams that were reused.
    pub streams: usize,
    /// Bytes of plaintext that were not sealed again.
    pub bytes: u64,
}

/// A sealed artifact: its parts and trees are in the sink, the rest is still to be stored.
#[derive(Debug)]
pub struct Sealed {
    /// What to store and sign.
    pub manifest: Manifest,
    /// What to wrap.
    pub dek: Dek,
    /// What the encrypted index says.
    pub index: Index,
    /// How much of it was not sealed again.
    pub saved: Saved,
}

/// Seals `inputs` under a new key; the encrypted index says `notes` besides.
///
/// With `vendor`, the files must be those that an OMS bundle vouches for: names are compared before the first
/// byte is read, digests taken in the same pass, and the bundle goes into the index.
///
/// # Errors
/// [`Error::Corrupt`] if a file is not what `vendor` signed; [`Error::InputChanged`] if a file is not the same at its end as at its start; [`Error::Misuse`] if paths collide or are
/// reserved ([`is_reserved`]), or a file is none; [`Error::Storage`] if an input cannot be read or the sink cannot be written.
pub fn seal(
    inputs: Vec<Input<'_>>,
    notes: Notes,
    vendor: Option<&Signed>,
    sink: &dyn Sink,
    options: Options,
    progress: &dyn Progress,
) -> Result<Sealed> {
    seal_reusing(inputs, Reuse::No, notes, vendor, sink, options, progress)
}

/// The same, and what is unchanged is found, or can be found later.
///
/// Streams of an earlier artifact are named in the manifest as they are; that their objects are in the sink is for the
/// caller to see to. Whoever can open the new artifact can decrypt them whole.
///
/// # Errors
/// As [`seal`]; [`Error::Misuse`] if an input cannot be read twice, or parts or digests are asked for that do not go with
/// reuse.
pub fn seal_reusing(
    inputs: Vec<Input<'_>>,
    reuse: Reuse<'_>,
    notes: Notes,
    vendor: Option<&Signed>,
    sink: &dyn Sink,
    options: Options,
    progress: &dyn Progress,
) -> Result<Sealed> {
    seal_with(inputs, reuse, notes, vendor, (sink, options), progress, None)
}

/// The same, under the keys of a session if there is one.
fn seal_with(
    inputs: Vec<Input<'_>>,
    reuse: Reuse<'_>,
    notes: Notes,
    vendor: Option<&Signed>,
    (sink, options): (&dyn Sink, Options),
    progress: &dyn Progress,
    session: Option<(&Session, &dyn Lasting)>,
) -> Result<Sealed> {
    let (artifact_id, dek) = match session {
        Some((session, _)) => (session.artifact_id(), session.dek().clone()),
        None => (random_id()?, Dek::random()?),
    };
    let job = Job { artifact_id, dek: &dek, vendor, sink, options, progress, session };

    let mut inputs = inputs;
    inputs.sort_by(|a, b| a.path.cmp(&b.path));
    let draft = check_paths(&inputs)?;
    if let Some(vendor) = vendor {
        vendor.check_inputs(&inputs)?;
        check_room(draft, vendor)?;
    }
    let plan = job.plan(&inputs, reuse)?;
    let basis = if let Reuse::Of(basis, _) = reuse { Some(basis) } else { None };
    let reused = plan.reused(basis);
    let saved = Saved { streams: reused.len(), bytes: plan.reused_len() };
    let (streams, files, keys) = job.seal_files(inputs, plan, &reused)?;
    let mut notes = notes;
    if let Some(vendor) = vendor {
        notes.oms = Some(vendor.bundle().to_owned());
    }
    let index = Index::new(files)?.with_keys(keys).with_notes(notes)?;
    let index_bytes = Zeroizing::new(index.to_vec()?);
    let index_stream = job.seal_index(&index_bytes)?;
    let manifest = Manifest { artifact_id, part_size: options.part_size, index: index_stream, streams };
    Ok(Sealed { manifest, dek, index, saved })
}

fn random_id() -> Result<ArtifactId> {
    let mut id: ArtifactId = [0; 32];
    fill_random(&mut id)?;
    Ok(id)
}

/// Path rules are checked before the first byte is sealed, not after the last. Gives an index about as long as the one to be.
fn check_paths(inputs: &[Input<'_>]) -> Result<Index> {
    if inputs.len() > MAX_STREAMS {
        return Err(Error::Misuse(format!("an artifact has at most {MAX_STREAMS} files, not {}", inputs.len())));
    }
    if let Some(input) = inputs.iter().find(|input| is_reserved(input.path.as_str())) {
        let path = &input.path;
        return Err(Error::Misuse(format!(
            "path {:?} has a segment that begins with `.mvault-`: an interrupted open leaves such files, and none is sealed",
            path.as_str()
        )));
    }
    let file = |input: &Input<'_>| File {
        path: input.path.clone(),
        size: MAX_STREAM,
        executable: false,
        extents: vec![Extent { length: MAX_STREAM, offset: MAX_STREAM, stream: u32::MAX }],
        sha256: Some([0; 32]),
        regions: Vec::new(),
    };
    Index::new(inputs.iter().map(file).collect())
}

/// A bundle that does not fit the index beside these files is refused before the first byte is sealed, too.
fn check_room(draft: Index, vendor: &Signed) -> Result<()> {
    let notes = Notes { oms: Some(vendor.bundle().to_owned()), ..Notes::default() };
    let room = draft.with_notes(notes)?.to_vec().map(Zeroizing::new).map(drop);
    room.map_err(|_| {
        Error::Misuse("the OMS bundle is too long to be kept in an index, which has 64 MiB at most".into())
    })
}

/// What all threads of one seal share.
struct Job<'a> {
    artifact_id: ArtifactId,
    dek: &'a Dek,
    vendor: Option<&'a Signed>,
    sink: &'a dyn Sink,
    options: Options,
    progress: &'a dyn Progress,
    session: Option<(&'a Session, &'a dyn Lasting)>,
}

/// One input on its way.
struct Lane<'a> {
    /// Its path in the artifact; the index has none.
    path: Option<FilePath>,
    feed: Mutex<Feed<'a>>,
    /// The stream it goes to; none until its first byte was seen, so empty files have none.
    writer: OnceLock<(u32, StreamWriter<'a>)>,
    regions: Option<RegionHasher>,
}

/// A stream of an earlier artifact: its number there, how it is named, and its key.
type Reused<'a> = (u32, &'a Stream, &'a StreamKey);
/// Streams, files and the keys of reused streams.
type Contents = (Vec<Stream>, Vec<File>, Vec<(u32, StreamKey)>);

impl<'a> Job<'a> {
    /// Decides what is sealed and what is reused.
    fn plan(&self, inputs: &[Input<'_>], reuse: Reuse<'_>) -> Result<Plan> {
        let (basis, tensors) = match reuse {
            Reuse::No => return Ok(Plan::plain(inputs.len())),
            Reuse::Later(tensors) => return division::divide(inputs, tensors).map(Plan::digesting),
            Reuse::Of(basis, tensors) => (basis, tensors),
        };
        if !self.digests().is_empty() {
            return Err(Error::Misuse(
                "what is reused is not read in order, so no digest of whole files is taken".into(),
            ));
        }
        if self.options.part_size != basis.part_size() {
            let mebibytes = basis.part_size().get() >> 20;
            return Err(Error::Misuse(format!("what is reused has parts of {mebibytes} MiB, and so must the rest")));
        }
        let divisions = division::divide(inputs, tensors)?;
        let silent = Silent(self.progress);
        let digests = scan::scan(inputs, &divisions, self.options.threads, &silent)?;
        let plan = Plan::reusing(divisions, digests, basis)?;
        self.progress.advance(plan.reused_len());
        Ok(plan)
    }

    fn seal_files(&self, inputs: Vec<Input<'_>>, plan: Plan, reused: &[Reused<'_>]) -> Result<Contents> {
        let digests = self.digests();
        let (descriptions, lanes): (Vec<_>, Vec<_>) = inputs
            .into_iter()
            .zip(plan.files)
            .map(|(input, plan)| {
                let feed = Mutex::new(plan.feed(input.data, &digests));
                let path = Some(input.path.clone());
                let lane = Lane { path, feed, writer: OnceLock::new(), regions: plan.hasher() };
                ((input.path, input.executable, plan), lane)
            })
            .unzip();
        let next_stream = AtomicUsize::new(0);
        self.run(self.options.threads, &lanes, &|| {
            let number = next_stream.fetch_add(1, Ordering::Relaxed);
            match u32::try_from(number) {
                Ok(number) if (number as usize) < MAX_STREAMS => Ok(number),
                _ => Err(Error::limit("manifest", "number of streams", MAX_STREAMS as u64)),
            }
        })?;

        let mut streams = Vec::new();
        let mut files = Vec::with_capacity(lanes.len());
        let own = lanes.iter().filter(|lane| lane.writer.get().is_some()).count();
        let numbered = || reused.iter().zip(u32::try_from(own).unwrap_or(u32::MAX)..);
        let renumbered = numbered().map(|((before, _, _), number)| (*before, number)).collect();
        for ((path, executable, plan), lane) in descriptions.into_iter().zip(lanes) {
            let digests = lane.feed.into_inner().unwrap_or_else(PoisonError::into_inner).digests();
            let digest = |algorithm| digests.iter().find(|(taken, _)| *taken == algorithm).map(|(_, digest)| digest);
            if let Some(vendor) = self.vendor {
                let taken = digest(vendor.claim().algorithm).map(Vec::as_slice).unwrap_or_default();
                vendor.check_digest(&path, taken)?;
            }
            let sha256 = digest(Algorithm::Sha256).and_then(|digest| digest.as_slice().try_into().ok());
            let mut written = None;
            if let Some((number, writer)) = lane.writer.into_inner() {
                let stream = writer.finish(self.sink)?;
                written = Some((number, stream.layout.plaintext_len()));
                streams.push((number, stream));
            }
            let regions = plan.regions_with(lane.regions, path.as_str())?;
            let extents = plan.extents_with(written, &renumbered)?;
            let size = extents.iter().map(|extent| extent.length).sum();
            files.push(File { path, size, executable, extents, sha256, regions });
        }
        streams.sort_by_key(|(number, _)| *number);
        let streams = streams.into_iter().map(|(_, stream)| stream);
        let streams = streams.chain(reused.iter().map(|(_, stream, _)| (*stream).clone())).collect();
        let keys = numbered().map(|((_, _, key), number)| (number, (*key).clone())).collect();
        Ok((streams, files, keys))
    }

    /// What is digested on the way: for the index, and to compare with what the vendor signed.
    fn digests(&self) -> Vec<Algorithm> {
        let own = (self.options.digests == Digests::Sha256).then_some(Algorithm::Sha256);
        let vendor = self.vendor.map(|vendor| vendor.claim().algorithm).filter(|algorithm| Some(*algorithm) != own);
        own.into_iter().chain(vendor).collect()
    }

    fn seal_index(&self, plaintext: &[u8]) -> Result<Stream> {
        let feed = Mutex::new(Feed::new(Data::Bytes(plaintext), &[]));
        let lanes = [Lane { path: None, feed, writer: OnceLock::new(), regions: None }];
        let silent = Job { progress: &(), ..*self };
        silent.run(self.options.threads, &lanes, &|| Ok(INDEX_STREAM))?;
        let [lane] = lanes;
        let (_, writer) = lane.writer.into_inner().ok_or_else(|| Error::format("index", "is empty"))?;
        writer.finish(self.sink)
    }

    /// Seals all lanes. `number` names the stream of a lane when its first byte was seen.
    fn run(&self, threads: Threads, lanes: &[Lane<'a>], number: &(dyn Fn() -> Result<u32> + Sync)) -> Result<()> {
        let current = AtomicUsize::new(0);
        workers::run(threads, self.progress, |stop| self.work(stop, lanes, &current, number))
    }

    fn work(
        &self,
        stop: &Stop<'_>,
        lanes: &[Lane<'a>],
        current: &AtomicUsize,
        number: &(dyn Fn() -> Result<u32> + Sync),
    ) -> Result<()> {
        let mut buffer = Zeroizing::new(vec![0; SEGMENT]);
        while !stop.requested()? {
            let at = current.load(Ordering::Acquire);
            let Some(lane) = lanes.get(at) else { return Ok(()) };
            let mut feed = lane.feed.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(next) = feed.next(&mut buffer[PREFIX_LEN..PREFIX_LEN + PAYLOAD])? else {
                drop(feed);
                let _ = current.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire);
                continue;
            };
            if lane.writer.get().is_none() {
                let number = number()?;
                let _ = lane.writer.set((number, self.writer(number, lane.path.as_ref(), &feed)?));
            }
            // Set by this thread or, under the same lock, by another.
            let Some((_, writer)) = lane.writer.get() else { continue };
            if next.is_final {
                writer.ends_at(next.position);
            }
            drop(feed);
            self.seal_segment((writer, lane.regions.as_ref()), &next, &mut buffer)?;
        }
        Ok(())
    }

    /// Starts a stream, or goes on with it.
    fn writer(&self, number: u32, path: Option<&FilePath>, feed: &Feed<'_>) -> Result<StreamWriter<'a>> {
        let Options { part_size, engine, .. } = self.options;
        if let (Some(session), Some(path), Some(length)) = (self.session, path, feed.length()) {
            let (encryptor, notes) = StreamNotes::start(session, number, (path, length), engine)?;
            return Ok(StreamWriter::new(encryptor, part_size, Some(notes)));
        }
        let encryptor = self.dek.encryptor(&self.artifact_id, number, engine)?;
        Ok(StreamWriter::new(encryptor, part_size, None))
    }

    fn seal_segment(
        &self,
        (writer, regions): (&StreamWriter<'_>, Option<&RegionHasher>),
        next: &Next<'_>,
        buffer: &mut [u8],
    ) -> Result<()> {
        let segment = &mut buffer[..next.len + OVERHEAD];
        let plaintext = &mut segment[PREFIX_LEN..PREFIX_LEN + next.len];
        next.deferred.read(plaintext)?;
        if let Some(regions) = regions {
            regions.update(next.position * PAYLOAD as u64, plaintext);
        }
        let complete = writer.write(next.position, next.is_final, segment, self.sink)?;
        if complete && let Some(file) = &next.file {
            // Every segment was read by now, on whichever thread.
            file.check_unchanged()?;
        }
        self.progress.advance(next.len as u64);
        Ok(())
    }
}

/// Passes on that a caller wants to stop, and does not tell of a look that seals nothing.
struct Silent<'a>(&'a dyn Progress);

impl Progress for Silent<'_> {
    fn advance(&self, _: u64) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

#[cfg(test)]
mod tests;
