//! Bodies: bytes on their way in and out, a piece at a time.

use std::{ops::Range, sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use vault_core::{
    Error,
    error::{Fault, Place},
    parts::ReadAt,
    store::{Created, Upload},
};

use crate::{
    app::{App, off},
    limits::{self, Limits},
    problem::Problem,
};

/// Bytes that are read or written at a time.
const PIECE: usize = 256 << 10;
/// A buffer for a piece: the last frame of one may reach beyond it.
const BUFFER: usize = PIECE + (32 << 10);

/// A range of an object as a body. Each piece is read when the one before it was taken.
pub fn outgoing(object: Arc<dyn ReadAt>, range: Range<u64>, place: limits::Place, limits: &Limits) -> Body {
    let (place, limits, begun, first) = (Arc::new(place), *limits, Instant::now(), range.start);
    Body::from_stream(stream::try_unfold(range.start, move |at| {
        let (object, place, end) = (Arc::clone(&object), Arc::clone(&place), range.end);
        async move {
            if at >= end {
                return Ok::<_, std::io::Error>(None);
            }
            if begun.elapsed() > limits.body(at - first) {
                return Err(std::io::Error::other("it is taken too slowly"));
            }
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let read = move || {
                let mut bytes = vec![0; length];
                object.read_exact_at(at, &mut bytes)?;
                Ok(Bytes::from(bytes))
            };
            let bytes = off(read).await.map_err(std::io::Error::other)?;
            // The place is held until the last piece is on its way.
            drop(place);
            Ok(Some((bytes, at + length as u64)))
        }
    }))
}

/// A body on its way in, of a length that was announced.
pub struct Incoming {
    body: Body,
    announced: u64,
    arrived: u64,
    begun: Instant,
    limits: Limits,
}

impl Incoming {
    /// Nothing is read yet.
    pub fn new(body: Body, announced: u64, limits: &Limits) -> Self {
        Self { body, announced, arrived: 0, begun: Instant::now(), limits: *limits }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let late = |_| Problem::http(StatusCode::REQUEST_TIMEOUT, "the object stopped arriving");
            let frame = timeout(self.limits.idle(), self.body.frame()).await.map_err(late)?;
            if self.begun.elapsed() > self.limits.body(self.arrived) {
                return Err(Problem::http(StatusCode::REQUEST_TIMEOUT, "the object arrives too slowly"));
            }
            let broken = || Problem::http(StatusCode::BAD_REQUEST, "the object broke off on its way");
            let Some(frame) = frame else {
                let is_whole = self.arrived == self.announced;
                return if is_whole { Ok(None) } else { Err(broken()) };
            };
            let Ok(bytes) = frame.map_err(|_| broken())?.into_data() else { continue };
            self.arrived += bytes.len() as u64;
            if self.arrived > self.announced {
                return Err(Problem::http(StatusCode::BAD_REQUEST, "the object is longer than was said"));
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// At least [`PIECE`] bytes, except at the end, in a buffer that is used again: they come in small frames, and are hashed and written
    /// faster in one.
    async fn piece(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>, Problem> {
        buffer.clear();
        while buffer.len() < PIECE
            && let Some(bytes) = self.next().await?
        {
            buffer.extend_from_slice(&bytes);
        }
        Ok(buffer)
    }

    /// All of it. Whoever calls has made sure that it is not too long.
    pub async fn whole(mut self) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(more) = self.next().await? {
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }
}

/// Reads a body to its end, or to its length, and keeps nothing of it.
pub async fn discard(body: Body, length: u64, limits: &Limits) {
    let mut body = Incoming::new(body, length, limits);
    while let Ok(Some(_)) = body.next().await {}
}

/// Content on its way into the store: hashed as it arrives, and named only if the hash is its name.
pub struct Content {
    app: Arc<App>,
    path: String,
    name: blake3::Hash,
    hasher: blake3::Hasher,
    to: Destination,
    _room: Option<OwnedSemaphorePermit>,
}

enum Destination {
    Upload(Box<dyn Upload>),
    /// The store takes objects as a whole.
    Memory(Vec<u8>),
}

impl Content {
    /// Makes room.
    pub async fn start(app: &Arc<App>, path: &str, name: blake3::Hash, length: u64) -> Result<Self, Problem> {
        let there = path.to_owned();
        let upload = app.blocking(move |app| app.store.upload(&there)).await?;
        let (to, room) = match upload {
            Some(upload) => (Destination::Upload(upload), None),
            None => (Destination::Memory(Vec::new()), Some(app.gauges.memory(length).await?)),
        };
        Ok(Self { app: Arc::clone(app), path: path.to_owned(), name, hasher: blake3::Hasher::new(), to, _room: room })
    }

    /// Takes the body.
    pub async fn receive(mut self, mut body: Incoming) -> Result<Self, Problem> {
        let (mut piece, mut spare) = (body.piece(Vec::with_capacity(BUFFER)).await?, Vec::with_capacity(BUFFER));
        while !piece.is_empty() {
            // The next one arrives while this one is hashed and written.
            let (taken, next) = tokio::join!(off(move || self.take(piece)), body.piece(spare));
            (self, spare) = taken?;
            piece = next?;
        }
        Ok(self)
    }

    /// Gives the object its name, if that is its hash.
    pub async fn finish(self) -> Result<Created, Problem> {
        Ok(off(move || self.store()).await?)
    }

    /// Gives the buffer back.
    fn take(mut self, piece: Vec<u8>) -> vault_core::Result<(Self, Vec<u8>)> {
        self.hasher.update(&piece);
        match &mut self.to {
            Destination::Upload(upload) => upload.write(&piece)?,
            Destination::Memory(all) => all.extend_from_slice(&piece),
        }
        Ok((self, piece))
    }

    fn store(self) -> vault_core::Result<Created> {
        let found = self.hasher.finalize();
        if found != self.name {
            let fault = Fault::Digest { expected: self.name, found };
            return Err(Error::Corrupt { place: Place::Object(self.path), fault });
        }
        let all = match self.to {
            Destination::Upload(upload) => return upload.finish(),
            Destination::Memory(all) => all,
        };
        self.app.direct.create(&self.app.store, &found, &all)
    }
}
