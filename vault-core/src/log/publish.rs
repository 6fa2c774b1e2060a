//! From batches to tiles to a signed checkpoint. Whatever is interrupted here is done again from the checkpoint before,
//! with the same outcome: everything but the signature follows from the batches.

use sha2::{Digest as _, Sha256};

use super::{
    Log,
    checkpoint::{Checkpoint, Judge, SignedCheckpoint, Witnessed},
    entry::Entry,
    find::hint_path,
    grow::Growth,
    latest::{CACHE, FOLDER, Newest, gone},
    merkle::MAX_LEAVES,
    seen::Seen,
    tile::{MAX_BUNDLE, Tile, Tiles},
};
use crate::{
    error::{Error, Fault, Place, Result},
    keys::Signer,
    store::Created,
};

/// What came of publishing.
#[derive(Debug, Clone)]
pub struct Published {
    /// The checkpoint that is the newest now.
    pub checkpoint: Witnessed,
    /// How many entries it has more than the one before.
    pub added: u64,
    /// Whether it was signed now. If not, there was nothing new.
    pub new: bool,
    /// Why the cache under `log/checkpoint` was not replaced, if it was not. Readers find the checkpoint without it.
    pub not_cached: Option<String>,
    /// How many things stand in the place of batches and are none.
    pub skipped: u64,
}

impl Log {
    /// Writes the tiles of everything that is in the log by now, and signs a checkpoint of it. If there are checkpoints and
    /// none that counts, because of strangers or because a key does not count any more, it begins with the first batch.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if `judge` does not accept this signer, or what the store shows does not continue what was
    /// signed or `seen` before; [`Error::Stale`] if the store shows less; [`Error::Corrupt`] if something else stands where a
    /// tile should, and cannot be replaced; [`Error::Storage`].
    pub fn publish(&self, judge: &Judge, seen: &mut Seen, signer: &dyn Signer) -> Result<Published> {
        let judge = judge.alone();
        let (Newest { counts: before, refusal }, unseen) = self.newest_and_unseen(&judge, seen.all())?;
        let mut growth =
            before.as_ref().map_or_else(|| Ok(Growth::default()), |before| self.grown(before.checkpoint()))?;
        let start = growth.frontier();
        let mut tail = self.tail_from(start.clone());
        tail.advance(&mut |index, entry| {
            growth.push(entry, &mut |tile, bytes| self.put_tile(tile, bytes).map(drop))?;
            self.create_hint(index, entry)?;
            check_seen(&unseen, &growth)
        })?;
        if let Some(unseen) = unseen.iter().find(|unseen| unseen.size() > growth.size()) {
            return Err(gone(unseen));
        }
        let (now, skipped) = (growth.frontier(), tail.skipped());
        if let Some(before) = before.clone().filter(|_| now.size() == start.size()) {
            self.remember(seen, before.checkpoint())?;
            let not_cached = self.cache(&judge, before.signed()).err().map(|error| error.to_string());
            return Ok(Published { checkpoint: before, added: 0, new: false, not_cached, skipped });
        }
        growth.tell_partial(start.size(), &mut |tile, bytes| self.put_tile(tile, bytes).map(drop))?;
        // What nobody can use is not signed.
        Tiles::open(&self.store, now.size(), now.root())?;
        let checkpoint = Checkpoint::new(self.origin.clone(), now.size(), now.root()).sign(signer)?;
        let checkpoint = judge.judge(checkpoint, &self.origin)?;
        if before.is_none() && refusal.is_some() {
            // Nothing that counts was found among what claims to be larger than the log is.
            if let Some(older) = self.newest(&judge, 0, now.size())?.counts {
                self.continues(checkpoint.checkpoint(), older.checkpoint())?;
            }
        }
        // Remembered before anybody can see it: a log never signs two trees of one size.
        self.remember(seen, checkpoint.checkpoint())?;
        let not_cached = self.store_checkpoint(&judge, checkpoint.signed())?;
        Ok(Published { checkpoint, added: now.size() - start.size(), new: true, not_cached, skipped })
    }

    /// The tree of a checkpoint, ready to grow: from its tiles, or from the batches if those are damaged.
    fn grown(&self, checkpoint: &Checkpoint) -> Result<Growth> {
        let (size, root) = (checkpoint.size(), checkpoint.root());
        let from_tiles = Tiles::open(&self.store, size, root).and_then(|mut tiles| Growth::after(&mut tiles, size));
        match from_tiles {
            Err(Error::Corrupt { .. }) => self.mended(checkpoint).map(|(growth, _)| growth),
            other => other,
        }
    }

    /// Writes every tile of the newest checkpoint, cosigned or not, that is missing or is not what follows from the batches.
    /// Gives how many.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the batches do not lead to the checkpoint; [`Error::Corrupt`] if a wrong tile cannot be
    /// replaced; [`Error::Storage`].
    pub fn mend(&self, judge: &Judge) -> Result<u64> {
        let newest = self.newest(&judge.alone(), 0, MAX_LEAVES)?.counts;
        newest.map_or(Ok(0), |newest| Ok(self.mended(newest.checkpoint())?.1))
    }

    /// The tree of a checkpoint from its batches, with all its tiles in the store; how many of them were not.
    fn mended(&self, checkpoint: &Checkpoint) -> Result<(Growth, u64)> {
        let (size, root) = (checkpoint.size(), checkpoint.root());
        let (mut growth, mut mended) = (Growth::default(), 0);
        let mut tail = self.tail_from(growth.frontier());
        let mut put = |tile, bytes: &[u8]| {
            mended += u64::from(self.put_tile(tile, bytes)?);
            Ok(())
        };
        tail.advance(&mut |index, entry| if index < size { growth.push(entry, &mut put) } else { Ok(()) })?;
        if growth.size() != size || growth.frontier().root() != root {
            let what = format!("the log at {size} entries");
            return Err(Error::Untrusted { what, why: "is not what its batches say: a fork" });
        }
        growth.tell_partial(0, &mut put)?;
        Ok((growth, mended))
    }

    /// Stores a checkpoint for good, and then in the cache. Gives why it is not in the cache, if so.
    pub(super) fn store_checkpoint(&self, judge: &Judge, signed: &SignedCheckpoint) -> Result<Option<String>> {
        let bytes = signed.to_vec();
        let name = format!("{FOLDER}/{}.{}", signed.checkpoint().size(), hex::encode(Sha256::digest(&bytes)));
        let (Created::New | Created::Exists) = self.store.create(&super::path(&name), &bytes)?;
        Ok(self.cache(judge, signed).err().map(|error| error.to_string()))
    }

    /// Puts a checkpoint into the cache, unless a larger one is there that counts. What stands there is only a hint to be
    /// judged, so that two who do this at once do no harm.
    fn cache(&self, judge: &Judge, signed: &SignedCheckpoint) -> Result<()> {
        let (path, bytes) = (super::path(CACHE), signed.to_vec());
        let judge = judge.alone();
        let larger = |shown: &[u8]| {
            let shown = self.judged(&judge, shown);
            shown.is_ok_and(|shown| shown.checkpoint().size() > signed.checkpoint().size())
        };
        match self.shown()? {
            Some(shown) if shown == bytes || larger(&shown) => Ok(()),
            // The first one needs no right to overwrite.
            None if self.store.create(&path, &bytes)? == Created::New => Ok(()),
            _ => self.store.replace(&path, &bytes),
        }
    }

    /// Puts a tile in its place, where it may be already if somebody else did. What is not it gives way: a tile follows
    /// from the entries, and is never believed. Whether something changed.
    fn put_tile(&self, tile: Tile, bytes: &[u8]) -> Result<bool> {
        let path = super::path(&tile.path());
        if self.store.create(&path, bytes)? == Created::New {
            return Ok(true);
        }
        match self.store.read(&path, MAX_BUNDLE) {
            Ok(Some(there)) if there == bytes => return Ok(false),
            Ok(_) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store.replace(&path, bytes).map_err(|error| {
            let rule = format!("is not the tile that follows from the entries, and cannot be replaced: {error}");
            Error::Corrupt { place: Place::Object(path), fault: Fault::Format(rule) }
        })?;
        Ok(true)
    }

    /// Notes where the entry about a record stands, so that it is found without a search. Only a hint.
    fn create_hint(&self, index: u64, entry: &[u8]) -> Result<()> {
        if let Some(record) = Entry::parse(entry).ok().as_ref().and_then(Entry::record) {
            let (Created::New | Created::Exists) =
                self.store.create(&super::path(&hint_path(record)), format!("{index}\n").as_bytes())?;
        }
        Ok(())
    }
}

/// Checks that a tree is what was seen of this size.
fn check_seen(seen: &[&Checkpoint], growth: &Growth) -> Result<()> {
    let other = |seen: &&&Checkpoint| seen.size() == growth.size() && seen.root() != growth.frontier().root();
    match seen.iter().find(other) {
        Some(seen) => {
            let what = format!("the log at {} entries", seen.size());
            Err(Error::Untrusted { what, why: "does not continue what was signed or seen before: a fork" })
        }
        None => Ok(()),
    }
}
