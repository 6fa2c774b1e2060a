//! Parts and trees: hashed on their way, several at a time, each in pieces.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::{Existing, Job, Moved, placed, records::damaged};
use crate::{
    error::{Error, Fault, Place, Result},
    manifest::{Manifest, Stream},
    parts::{Fetch, ReadAt, Sink, Wanted, object_path},
    tree::Tree,
    vault::Vault,
    workers,
};

/// Bytes that are read, hashed and written at a time.
const PIECE: usize = 1 << 20;

/// An object that a manifest names.
#[derive(Debug, Clone, Copy)]
pub(in crate::vault) struct Object<'a> {
    pub(in crate::vault) name: blake3::Hash,
    pub(in crate::vault) length: u64,
    /// The stream whose tree it is, if it is one.
    pub(super) tree_of: Option<&'a Stream>,
}

/// Every object of a manifest, each once.
pub(in crate::vault) fn objects(manifest: &Manifest) -> Vec<Object<'_>> {
    let mut seen = HashSet::new();
    let of = |stream: &'_ Stream| -> Vec<(blake3::Hash, u64, bool)> {
        let parts = (0..).zip(&stream.parts).map(|(part, name)| (*name, stream.layout.part_len(part), false));
        parts.chain(stream.tree.map(|name| (name, stream.layout.tree_len(), true))).collect()
    };
    let mut found = Vec::new();
    for (_, stream) in manifest.numbered_streams() {
        for (name, length, is_tree) in of(stream) {
            if seen.insert((*name.as_bytes(), length)) {
                found.push(Object { name, length, tree_of: is_tree.then_some(stream) });
            }
        }
    }
    found
}

impl Job<'_> {
    /// Brings every object of an artifact to the target.
    pub(super) fn content(&mut self, manifest: &Manifest) -> Result<()> {
        let queue = Mutex::new(objects(manifest).into_iter());
        let moved = Mutex::new(Moved::default());
        let note = |change: &dyn Fn(&mut Moved)| change(&mut moved.lock().unwrap_or_else(PoisonError::into_inner));
        workers::run(self.jobs, self.progress, |stop| {
            let mut buffer = vec![0; PIECE];
            while !stop.requested()? {
                let Some(object) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { return Ok(()) };
                if self.is_there(&object, &mut buffer)? {
                    note(&|moved| moved.there(object.length));
                    self.progress.advance(object.length);
                    continue;
                }
                self.fetch(&object, &mut buffer)?;
                note(&|moved| moved.copied(object.length));
            }
            Ok(())
        })?;
        self.report.objects.add(moved.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Whether the target has an object already, so that it need not travel. The only place where the copy comes to rely
    /// on an object that it did not write.
    fn is_there(&self, object: &Object<'_>, buffer: &mut [u8]) -> Result<bool> {
        let path = object_path(&object.name);
        let Some(entry) = self.target.store.stat(&path)? else { return Ok(false) };
        if entry.size != object.length {
            let fault = Fault::Length { expected: object.length, found: entry.size };
            return Err(Error::Corrupt { place: Place::Object(placed(self.target, &path)), fault });
        }
        if self.existing == Existing::Hash {
            let there = Fetch::open(&self.target.store, &object.name, object.length)?;
            check_hash(self.target, object, &*there, buffer, &mut |_, _| Ok(()))?;
        }
        Ok(true)
    }

    /// Copies one object; it gets its name only if it is what that says.
    fn fetch(&self, object: &Object<'_>, buffer: &mut [u8]) -> Result<()> {
        fetch_into(self.source, self.target, object, buffer, &|bytes| self.progress.advance(bytes))?
            .commit(&object.name)
    }
}

/// Reads an object of one vault into a staged object of another and checks it on the way. Nothing has a name yet.
pub(in crate::vault) fn fetch_into(
    source: &Vault,
    target: &Vault,
    object: &Object<'_>,
    buffer: &mut [u8],
    advance: &dyn Fn(u64),
) -> Result<Box<dyn crate::parts::Staged>> {
    let Object { name, length, tree_of } = *object;
    let _ahead = source.store.ahead(vec![Wanted { name, length, range: 0..length }]);
    let from = Fetch::open(&source.store, &name, length).map_err(|error| located(source, error))?;
    let staged = Sink::stage(&target.store, length)?;
    if let Some(stream) = tree_of {
        // A tree is judged as a whole: that its values merge to the part hashes. It has at most 64 MiB.
        let bytes = usize::try_from(length).map_err(|_| Error::limit("tree", "length", length))?;
        let mut tree = vec![0; bytes];
        from.read_exact_at(0, &mut tree).map_err(|error| located(source, error))?;
        Tree::check(&tree, &name, &stream.layout, &stream.parts).map_err(|error| located(source, error))?;
        staged.write_at(0, &tree)?;
        advance(length);
        return Ok(staged);
    }
    check_hash(source, object, &*from, buffer, &mut |offset, piece| {
        staged.write_at(offset, piece)?;
        advance(piece.len() as u64);
        Ok(())
    })?;
    Ok(staged)
}

/// Reads an object in pieces, gives each to `each`, and compares the hash of all with its name.
pub(in crate::vault) fn check_hash(
    vault: &Vault,
    object: &Object<'_>,
    from: &dyn ReadAt,
    buffer: &mut [u8],
    each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < object.length {
        let left = usize::try_from(object.length - offset).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..left];
        from.read_exact_at(offset, piece).map_err(|error| located(vault, error))?;
        hasher.update(piece);
        each(offset, piece)?;
        offset += left as u64;
    }
    let found = hasher.finalize();
    if found == object.name {
        return Ok(());
    }
    let place = Place::Object(placed(vault, &object_path(&object.name)));
    Err(Error::Corrupt { place, fault: Fault::Digest { expected: object.name, found } })
}

/// What is wrong with an object of one of two vaults.
pub(super) fn located(vault: &Vault, error: Error) -> Error {
    match error {
        Error::Corrupt { place: Place::Object(path), fault } if !path.contains(' ') => {
            Error::Corrupt { place: Place::Object(placed(vault, &path)), fault }
        }
        Error::Corrupt { place: Place::Document(document), fault } => {
            damaged(placed(vault, document), &fault.to_string())
        }
        other => other,
    }
}
