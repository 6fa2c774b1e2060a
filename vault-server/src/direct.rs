//! Content that does not pass here: clients store it in the bucket by presigned URLs. What came so may be anything, so it is read back and
//! hashed before a manifest may name it, and removed if it is not what its name says.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use vault_core::{
    Error, Result,
    parts::object_path,
    store::{Created, Entry, Purpose, Store},
    tree::MAX_PART_SIZE,
};

/// Hashes that are remembered.
const MOST_KNOWN: usize = 100_000;
/// Names that are worked on at a time.
const TURNS: usize = 64;
/// How often something else may be there than a moment ago.
const MAX_ROUNDS: usize = 4;
/// The longest object that is read back, in bytes: no part is longer. What is, is no part.
const LARGEST: u64 = MAX_PART_SIZE;
/// Bytes that are read at a time.
const PIECE: usize = 8 << 20;
/// How long to wait before presigned URLs are tried again, when the store gave no answer.
const PAUSE: Duration = Duration::from_secs(30);

/// What an instance knows of it.
#[derive(Debug)]
pub struct Direct {
    /// Whether it is wanted.
    wanted: bool,
    /// Whether the store has such URLs at all.
    signs: OnceLock<bool>,
    /// Whether the store's presigned URLs hold what they say, if that was tried.
    works: Mutex<Tried>,
    known: Mutex<Known>,
    turns: [Mutex<()>; TURNS],
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

/// What an object was when it was read. One that came in its place has another time or length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    size: u64,
    modified: Timestamp,
}

impl Seen {
    fn of(entry: &Entry) -> Self {
        Self { size: entry.size, modified: entry.modified }
    }
}

/// Content that was seen to be what its name says.
#[derive(Debug, Default)]
struct Known {
    seen: HashMap<blake3::Hash, Seen>,
    order: VecDeque<blake3::Hash>,
}

/// What became of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is what its name says, or nobody could have stored anything else.
    Right,
    /// There is none.
    Absent,
    /// It was something else, and is gone.
    Removed,
}

impl Direct {
    /// Nothing is tried yet.
    pub fn new(wanted: bool) -> Self {
        Self {
            wanted,
            signs: OnceLock::new(),
            works: Mutex::default(),
            known: Mutex::default(),
            turns: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Whether content goes straight to this store. Blocks: whoever comes while it is tried waits for what comes of it.
    pub fn works(&self, store: &Store) -> bool {
        if !self.may_be(store) {
            return false;
        }
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        match *works {
            Tried::Known(works) => return works,
            Tried::Failed(when) if when.elapsed() < PAUSE => return false,
            Tried::Failed(_) | Tried::Never => {}
        }
        *works = store.presigns().map_or_else(|_| Tried::Failed(Instant::now()), Tried::Known);
        matches!(*works, Tried::Known(true))
    }

    /// Whether content may have gone straight to this store, by whichever instance. Blocks.
    pub fn may_be(&self, store: &Store) -> bool {
        let signs = || {
            let path = object_path(&blake3::hash(b""));
            // What cannot be signed now might be by another instance.
            store.presign(&path, Purpose::Read, PAUSE).map_or(true, |signed| signed.is_some())
        };
        self.wanted && *self.signs.get_or_init(signs)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &blake3::Hash, entry: &Entry) {
        let mut known = self.known();
        if known.seen.insert(*name, Seen::of(entry)).is_some() {
            return;
        }
        known.order.push_back(*name);
        while known.order.len() > MOST_KNOWN {
            let Some(oldest) = known.order.pop_front() else { break };
            known.seen.remove(&oldest);
        }
    }

    /// Whether there is content under this name that was seen to be what it says. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn is_right(&self, store: &Store, name: &blake3::Hash) -> Result<bool> {
        let seen = self.known().seen.get(name).copied();
        if seen.is_none() {
            return Ok(false);
        }
        Ok(store.stat(&object_path(name))?.as_ref().map(Seen::of) == seen)
    }

    /// One at a time for each name: what one has found wrong and removes must not be what another has just stored.
    fn turn(&self, name: &blake3::Hash) -> MutexGuard<'_, ()> {
        let number = usize::from(name.as_bytes()[0]) % TURNS;
        self.turns[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that content is what its name says, if there is any. What is not is removed. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Conflict`] if something else is there again and again.
    pub fn settle(&self, store: &Store, name: &blake3::Hash) -> Result<Settled> {
        let _turn = self.turn(name);
        self.settle_now(store, name)
    }

    fn settle_now(&self, store: &Store, name: &blake3::Hash) -> Result<Settled> {
        let path = object_path(name);
        if !self.may_be(store) {
            // Whatever is there came through a registry.
            return Ok(if store.stat(&path)?.is_some() { Settled::Right } else { Settled::Absent });
        }
        for _ in 0..MAX_ROUNDS {
            let Some(entry) = store.stat(&path)? else { return Ok(Settled::Absent) };
            if self.known().seen.get(name) == Some(&Seen::of(&entry)) {
                return Ok(Settled::Right);
            }
            if entry.size <= LARGEST && hash(store, &path, entry.size)? == *name {
                self.note(name, &entry);
                return Ok(Settled::Right);
            }
            // Another instance may have put the right one into its place meanwhile.
            if store.stat(&path)?.as_ref() == Some(&entry) {
                store.delete(&path)?;
                return Ok(Settled::Removed);
            }
        }
        Err(Error::Conflict { what: path })
    }

    /// Stores content that was hashed. Whatever else has its name is removed before. Blocks.
    ///
    /// # Errors
    /// As [`Direct::settle`].
    pub fn create(&self, store: &Store, name: &blake3::Hash, bytes: &[u8]) -> Result<Created> {
        let path = object_path(name);
        let _turn = self.turn(name);
        let mut created = store.create(&path, bytes)?;
        if created == Created::Exists && self.settle_now(store, name)? != Settled::Right {
            created = store.create(&path, bytes)?;
        }
        if created == Created::New
            && self.may_be(store)
            && let Some(entry) = store.stat(&path)?
        {
            self.note(name, &entry);
        }
        Ok(created)
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
    fn what_is_known_is_bounded() {
        let direct = Direct::new(true);
        let name = |n: usize| blake3::hash(&n.to_le_bytes());
        let entry = Entry { path: "x".into(), size: 1, modified: Timestamp::UNIX_EPOCH };
        for n in 0..MOST_KNOWN + 10 {
            direct.note(&name(n), &entry);
            direct.note(&name(n), &entry);
        }
        let known = direct.known();
        assert!(!known.seen.contains_key(&name(9)) && known.seen.contains_key(&name(10)));
        assert_eq!((known.seen.len(), known.order.len()), (MOST_KNOWN, MOST_KNOWN));
    }

    #[test]
    fn a_folder_has_no_such_urls() {
        let folder = tempfile::tempdir().expect("folder");
        let connection = vault_core::store::Connection::default();
        let store = Store::create_url(&folder.path().display().to_string(), &connection).expect("a folder");
        assert!(!Direct::new(true).works(&store));
        let (direct, name) = (Direct::new(true), blake3::hash(b"x"));
        assert_eq!(direct.settle(&store, &name).expect("looked"), Settled::Absent);
        assert_eq!(direct.create(&store, &name, b"x").expect("created"), Created::New);
        assert_eq!(direct.settle(&store, &name).expect("looked"), Settled::Right);
        assert_eq!(direct.create(&store, &name, b"x").expect("there"), Created::Exists);
    }
}
