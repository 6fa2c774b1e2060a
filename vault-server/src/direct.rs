//! Content that does not pass here: clients store it in the bucket by presigned URLs. What came so may be anything, so it is read back and
//! hashed before a manifest may name it, and removed if it is not what its name says.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vault_core::{Result, parts::object_path, store::Store};

/// Hashes that are remembered.
const MOST_KNOWN: usize = 100_000;
/// How long it is believed that an object is still the one that was read: less than garbage collection waits before it deletes.
const BELIEVED: Duration = Duration::from_hours(1);
/// Bytes that are read at a time.
const PIECE: usize = 8 << 20;
/// How long to wait before presigned URLs are tried again, when the store gave no answer.
const PAUSE: Duration = Duration::from_secs(30);

/// What an instance knows of it.
#[derive(Debug)]
pub struct Direct {
    /// Whether it is wanted.
    wanted: bool,
    /// Whether the store's presigned URLs hold what they say, if that was tried.
    works: Mutex<Tried>,
    known: Mutex<Known>,
}

/// A trial of presigned URLs.
#[derive(Debug, Default)]
enum Tried {
    #[default]
    Never,
    /// There was no answer, then.
    Failed(Instant),
    /// It came out so.
    Known(bool),
}

/// Content that was seen to be what its name says, and when.
#[derive(Debug, Default)]
struct Known {
    since: HashMap<blake3::Hash, Instant>,
    order: VecDeque<blake3::Hash>,
}

impl Direct {
    /// Nothing is tried yet.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, works: Mutex::default(), known: Mutex::default() }
    }

    /// Whether content goes straight to this store. Blocks: whoever comes while it is tried waits for what comes of it.
    pub fn works(&self, store: &Store) -> bool {
        let works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        self.tried(works, store) == Some(true)
    }

    /// Whether content may have gone straight to this store: other instances may know more than this one. Blocks.
    pub fn may_be(&self, store: &Store) -> bool {
        // While somebody tries it, it may be.
        self.wanted && self.works.try_lock().map_or(true, |works| self.tried(works, store) != Some(false))
    }

    /// Tries it once. None as long as that is not known; a store that gave no answer is asked again later.
    fn tried(&self, mut works: MutexGuard<'_, Tried>, store: &Store) -> Option<bool> {
        if !self.wanted {
            return Some(false);
        }
        match *works {
            Tried::Known(works) => return Some(works),
            Tried::Failed(when) if when.elapsed() < PAUSE => return None,
            Tried::Failed(_) | Tried::Never => {}
        }
        let tried = store.presigns().ok();
        *works = tried.map_or_else(|| Tried::Failed(Instant::now()), Tried::Known);
        tried
    }

    /// Content was hashed, and stored by this instance.
    pub fn note(&self, name: &blake3::Hash) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since.insert(*name, Instant::now()).is_some() {
            return;
        }
        known.order.push_back(*name);
        while known.order.len() > MOST_KNOWN {
            let Some(oldest) = known.order.pop_front() else { break };
            known.since.remove(&oldest);
        }
    }

    /// Content may be gone, or become another.
    pub fn forget(&self, name: &blake3::Hash) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since.remove(name).is_some() {
            known.order.retain(|other| other != name);
        }
    }

    /// Whether content was seen to be what its name says a while ago.
    pub fn knows(&self, name: &blake3::Hash) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.since.get(name).is_some_and(|since| since.elapsed() < BELIEVED)
    }

    /// Makes sure that content is what its name says, if there is any. What is not is removed, and then there is none: `false`. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`](vault_core::Error::Storage).
    pub fn settle(&self, store: &Store, name: &blake3::Hash, most: u64) -> Result<bool> {
        if !self.may_be(store) || self.knows(name) {
            return Ok(true);
        }
        let path = object_path(name);
        let Some(entry) = store.stat(&path)? else { return Ok(false) };
        if entry.size <= most && hash(store, &path, entry.size)? == *name {
            self.note(name);
            return Ok(true);
        }
        store.delete(&path)?;
        Ok(false)
    }
}

fn hash(store: &Store, path: &str, length: u64) -> Result<blake3::Hash> {
    let (object, mut hasher, mut at) = (store.open_sized(path, length)?, blake3::Hasher::new(), 0);
    let mut piece = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
    while at < length {
        piece.truncate(usize::try_from(length - at).unwrap_or(PIECE).min(PIECE));
        object.read_exact_at(at, &mut piece)?;
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded_and_can_be_forgotten() {
        let direct = Direct::new(true);
        let name = |n: usize| blake3::hash(&n.to_le_bytes());
        for n in 0..MOST_KNOWN + 10 {
            direct.note(&name(n));
        }
        assert!(!direct.knows(&name(9)) && direct.knows(&name(10)) && direct.knows(&name(MOST_KNOWN)));
        direct.note(&name(10));
        direct.forget(&name(10));
        direct.forget(&name(10));
        assert!(!direct.knows(&name(10)));
        assert_eq!(direct.known.lock().expect("whole").order.len(), MOST_KNOWN - 1);
    }

    #[test]
    fn a_folder_has_no_such_urls() {
        let folder = tempfile::tempdir().expect("folder");
        let connection = vault_core::store::Connection::default();
        let store = Store::create_url(&folder.path().display().to_string(), &connection).expect("a folder");
        assert!(!Direct::new(true).works(&store));
        assert!(Direct::new(true).settle(&store, &blake3::hash(b"x"), 9).expect("nothing to settle"));
    }
}
