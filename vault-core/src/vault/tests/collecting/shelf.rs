//! A store in memory whose clock a test turns, and which lets two parties take turns at every operation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    error::{Error, Fault, Place, Result},
    parts::{ReadAt, Staged, object_path},
    store::{Backend, Created, Deletion, Entry, Presigned, Purpose, Store},
};

/// When the clock begins.
const EPOCH: i64 = 1_800_000_000;
/// So many seconds a test never turns it back.
const LONG: i64 = 100_000_000;

/// The objects and the time.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, (Vec<u8>, i64)>,
    now: i64,
    /// Whether deletions cannot end.
    signs_nothing: bool,
    /// Whether deletions never end, whatever was signed.
    ends_nothing: bool,
    /// By so many seconds deletions of contents are dated ahead.
    ahead: i64,
    /// How many deletions to come get no answer at first.
    unanswered: usize,
    /// How many looks of collections at themselves fail from now on.
    failing_looks: usize,
    /// What the store has and does not give.
    withheld: Option<String>,
    /// By so many seconds the clock is behind that gives the objects of this party their times.
    behind: BTreeMap<usize, i64>,
}

/// A party's view of the shelf.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    shelf: Shelf,
    turns: Option<(Arc<Turns>, usize)>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic")
    }

    /// The store, for whoever need not take turns.
    pub(super) fn store(&self) -> Store {
        Store::new(Seat { shelf: self.clone(), turns: None })
    }

    pub(super) fn pass_hours(&self, hours: i64) {
        self.lock().now += hours * 3600;
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        self.put_as(None, path, bytes);
    }

    fn put_as(&self, party: Option<usize>, path: &str, bytes: &[u8]) {
        let mut inner = self.lock();
        let behind = party.and_then(|party| inner.behind.get(&party).copied()).unwrap_or(0);
        let now = inner.now - behind;
        inner.objects.insert(path.to_owned(), (bytes.to_vec(), now));
    }

    /// One store, several machines: what this party stores gets its time from one whose clock is behind.
    pub(super) fn put_behind(&self, party: usize, seconds: i64) {
        self.lock().behind.insert(party, seconds);
    }

    pub(super) fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(path).map(|(bytes, _)| bytes.clone())
    }

    /// From now on it has no deletions that end.
    pub(super) fn sign_nothing(&self) {
        self.lock().signs_nothing = true;
    }

    /// From now on deletions never end.
    pub(super) fn end_nothing(&self) {
        self.lock().ends_nothing = true;
    }

    /// From now on whoever signs deletions of contents has a clock that is ahead.
    pub(super) fn date_ahead(&self, seconds: i64) {
        self.lock().ahead = seconds;
    }

    /// The next signed deletion is carried out, and a request for it stays without an answer.
    pub(super) fn leave_unanswered(&self) {
        self.lock().unanswered = 1;
    }

    pub(super) fn withhold(&self, path: &str) {
        self.lock().withheld = Some(path.to_owned());
    }

    fn fails_to_look(&self) -> bool {
        let mut inner = self.lock();
        let fails = inner.failing_looks > 0;
        inner.failing_looks = inner.failing_looks.saturating_sub(1);
        fails
    }

    pub(super) fn remove(&self, path: &str) {
        self.lock().objects.remove(path);
    }

    /// The same objects, on their own, at another time.
    pub(super) fn moved(&self, hours: i64) -> Self {
        let moved = self.copy();
        for (_, modified) in moved.lock().objects.values_mut() {
            *modified += hours * 3600;
        }
        moved
    }

    /// The same objects, on their own.
    pub(super) fn copy(&self) -> Self {
        let inner = self.lock();
        let (objects, behind, signs_nothing) = (inner.objects.clone(), inner.behind.clone(), inner.signs_nothing);
        Self(Arc::new(Mutex::new(Inner { objects, now: inner.now, behind, signs_nothing, ..Inner::default() })))
    }
}

fn entry(path: &str, (bytes, modified): &(Vec<u8>, i64)) -> Entry {
    let modified = Timestamp::from_second(EPOCH + modified).expect("a time");
    Entry { path: path.to_owned(), size: bytes.len() as u64, modified }
}

impl Seat {
    fn turn(&self) {
        if let Some((turns, party)) = &self.turns {
            turns.wait(*party);
        }
    }
}

impl Backend for Seat {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.turn();
        if self.shelf.lock().objects.contains_key(path) {
            return Ok(Created::Exists);
        }
        self.shelf.put_as(self.turns.as_ref().map(|(_, party)| *party), path, bytes);
        Ok(Created::New)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        self.turn();
        if self.shelf.lock().withheld.as_deref() == Some(path) {
            return Err(Error::storage(path)(std::io::ErrorKind::TimedOut.into()));
        }
        let bytes = self.shelf.get(path);
        if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > cap) {
            let fault = Fault::Limit { what: "length", limit: cap };
            return Err(Error::Corrupt { place: Place::Object(path.to_owned()), fault });
        }
        Ok(bytes)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        self.turn();
        Ok(self.shelf.get(path).map(|bytes| Box::new(Bytes(bytes)) as Box<dyn ReadAt>))
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.turn();
        Ok(self.shelf.lock().objects.get(path).map(|object| entry(path, object)))
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.turn();
        self.shelf.remove(path);
        Ok(())
    }

    fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        // Nobody is asked for that, but time may pass before.
        self.turn();
        let inner = self.shelf.lock();
        if inner.signs_nothing {
            return Ok(None);
        }
        let ahead = if path.starts_with("objects/") { inner.ahead } else { 0 };
        let expires = Timestamp::from_second(EPOCH + inner.now + ahead).expect("a time") + lifetime;
        let url = format!("{}:{path}", purpose.method());
        Ok(Some(Presigned { url, headers: BTreeMap::new(), expires }))
    }

    fn delete_by(&self, path: &str, permit: &Presigned) -> Deletion {
        self.turn();
        let mut inner = self.shelf.lock();
        let now = Timestamp::from_second(EPOCH + inner.now).expect("a time");
        if now > permit.expires {
            let error = Error::storage(path)(std::io::ErrorKind::PermissionDenied.into());
            return Deletion { result: Err(error), is_answered: true };
        }
        // What was signed counts, whatever the caller takes it for.
        inner.objects.remove(permit.url.strip_prefix("DELETE:").expect("for deleting"));
        let is_answered = inner.unanswered == 0;
        inner.unanswered = inner.unanswered.saturating_sub(1);
        Deletion { result: Ok(()), is_answered }
    }

    fn expires(&self, path: &str) -> Result<bool> {
        self.turn();
        self.shelf.remove(path);
        Ok(!self.shelf.lock().ends_nothing)
    }

    fn instant(&self) -> Instant {
        let passed = u64::try_from(self.shelf.lock().now + LONG).expect("later");
        Instant::now() + Duration::from_secs(passed)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.turn();
        if prefix.starts_with("gc/") && self.shelf.fails_to_look() {
            return Err(Error::storage(prefix)(std::io::ErrorKind::TimedOut.into()));
        }
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let found: Vec<_> = {
            let inner = self.shelf.lock();
            let fitting = inner.objects.iter().filter(|(path, _)| path.starts_with(&below));
            fitting.map(|(path, object)| entry(path, object)).collect()
        };
        found.into_iter().try_for_each(each)
    }

    fn stage(&self, _capacity: u64) -> Result<Box<dyn Staged>> {
        Ok(Box::new(Draft { seat: self.clone(), bytes: Mutex::default() }))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        "a shelf".into()
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

struct Draft {
    seat: Seat,
    bytes: Mutex<Vec<u8>>,
}

impl Staged for Draft {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).expect("small");
        let mut draft = self.bytes.lock().expect("no panic");
        let length = draft.len().max(start + bytes.len());
        draft.resize(length, 0);
        draft[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, name: &blake3::Hash) -> Result<()> {
        let bytes = self.bytes.into_inner().expect("no panic");
        self.seat.create(&object_path(name), &bytes).map(drop)
    }
}

/// Who may go on.
#[derive(Debug, Default)]
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// For each party: whether it waits before an operation, and whether it is through.
    waiting: Vec<bool>,
    through: Vec<bool>,
    granted: Option<usize>,
}

impl Turns {
    fn wait(&self, party: usize) {
        let mut state = self.state.lock().expect("no panic");
        state.waiting[party] = true;
        self.changed.notify_all();
        while state.granted != Some(party) {
            state = self.changed.wait(state).expect("no panic");
        }
        state.granted = None;
        state.waiting[party] = false;
    }

    fn leave(&self, party: usize) {
        self.state.lock().expect("no panic").through[party] = true;
        self.changed.notify_all();
    }

    /// Lets a party do one operation and waits until it is before its next one. Whether it was still there.
    fn step(&self, party: usize) -> bool {
        let mut state = self.state.lock().expect("no panic");
        while !state.waiting[party] && !state.through[party] {
            state = self.changed.wait(state).expect("no panic");
        }
        if state.through[party] {
            return false;
        }
        state.granted = Some(party);
        self.changed.notify_all();
        while state.granted.is_some() || (!state.waiting[party] && !state.through[party]) {
            state = self.changed.wait(state).expect("no panic");
        }
        true
    }
}

/// Says that a party is through, also if it panics.
struct Leave(Arc<Turns>, usize);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// One entry of a schedule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    /// This party does so many operations.
    Steps(usize, usize),
    /// This party goes on to its end.
    Finish(usize),
    /// Time passes.
    Hours(i64),
    /// The next collection that looks whether it was revoked gets no answer.
    FailLook,
}

/// Somebody who works on a store.
pub(super) type Party<'a, T> = Box<dyn FnOnce(Store) -> T + Send + 'a>;

/// How many operations a party does.
pub(super) fn operations<T: Send>(shelf: &Shelf, party: Party<'_, T>) -> usize {
    let turns = Arc::new(Turns::default());
    *turns.state.lock().expect("no panic") = State { waiting: vec![false], through: vec![false], granted: None };
    std::thread::scope(|scope| {
        let (shelf, ours) = (shelf.copy(), Arc::clone(&turns));
        scope.spawn(move || {
            party(Store::new(Seat { shelf, turns: Some((Arc::clone(&ours), 0)) }));
            ours.leave(0);
        });
        let mut count = 0;
        while turns.step(0) {
            count += 1;
        }
        count
    })
}

/// Runs parties that take turns as the schedule says; in the end each goes on to its end, in order.
pub(super) fn together<T: Send>(shelf: &Shelf, parties: Vec<Party<'_, T>>, schedule: &[Turn]) -> Vec<T> {
    let count = parties.len();
    let turns = Arc::new(Turns::default());
    *turns.state.lock().expect("no panic") =
        State { waiting: vec![false; count], through: vec![false; count], granted: None };
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, party) in parties.into_iter().enumerate() {
            let (turns, shelf) = (Arc::clone(&turns), shelf.clone());
            running.push(scope.spawn(move || {
                let leave = Leave(Arc::clone(&turns), number);
                let result = party(Store::new(Seat { shelf, turns: Some((turns, number)) }));
                drop(leave);
                result
            }));
        }
        for turn in schedule {
            match *turn {
                Turn::Steps(party, steps) => (0..steps).all(|_| turns.step(party)),
                Turn::Finish(party) => {
                    while turns.step(party) {}
                    true
                }
                Turn::FailLook => {
                    shelf.lock().failing_looks = 1;
                    true
                }
                Turn::Hours(hours) => {
                    shelf.pass_hours(hours);
                    true
                }
            };
        }
        for party in 0..count {
            while turns.step(party) {}
        }
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}
