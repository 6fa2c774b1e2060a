use vault_core::store::{Directory, Durability};

use super::*;
use crate::rights::Permission;

struct Fixture {
    folder: tempfile::TempDir,
    signer: Arc<SigningKey>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("folder"), signer: Arc::new(SigningKey::generate().expect("key")) }
    }

    fn store(&self) -> Store {
        Store::new(Directory::create(self.folder.path().join("vault"), Durability::NoSync).expect("folder"))
    }

    fn open(&self, instance: &str) -> Result<States> {
        States::open(self.store(), Arc::clone(&self.signer), Some(self.folder.path().join(instance)))
    }
}

fn grants() -> Vec<Grant> {
    let star = || "*".parse().expect("a pattern");
    vec![Grant { permissions: [Permission::Read].into(), models: star(), channels: star() }]
}

fn knows(states: &States, key: &NewKey) -> bool {
    states.lock().checked = None;
    let state = states.current().expect("state");
    let presented = Presented::parse(key.expose()).expect("a key");
    state.authenticate(&presented, Timestamp::now()).is_some()
}

#[test]
fn a_key_counts_from_its_record_on_and_everywhere() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.open("a").expect("open"), fixture.open("b").expect("open"));
    let key = one.add_key("test", "ci", &grants(), None).expect("added");
    assert!(knows(&one, &key) && knows(&two, &key) && knows(&fixture.open("c").expect("open"), &key));
    two.disable_key("test", &key.id).expect("disabled");
    assert!(!knows(&one, &key) && !knows(&two, &key));
    assert!(matches!(one.disable_key("test", "0123456789abcdef"), Err(Error::NotFound { .. })));
    assert!(matches!(one.add_key("test", "a\u{1b}b", &grants(), None), Err(Error::Misuse(_))));
}

#[test]
fn an_expired_key_counts_no_more_and_a_rotated_one_for_the_overlap() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let past = states.add_key("test", "old", &grants(), Some(Timestamp::UNIX_EPOCH)).expect("added");
    assert!(!knows(&states, &past));
    let key = states.add_key("test", "ci", &grants(), None).expect("added");
    let next = states.rotate_key("test", &key.id, Duration::from_mins(1)).expect("rotated");
    assert!(knows(&states, &key) && knows(&states, &next));
    let last = states.rotate_key("test", &next.id, Duration::ZERO).expect("rotated");
    assert!(!knows(&states, &next) && knows(&states, &last));
    assert!(matches!(states.rotate_key("test", &past.id, Duration::ZERO), Err(Error::NotFound { .. })));
}

#[test]
fn records_by_others_burn_their_number_and_no_more() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let key = states.add_key("test", "ci", &grants(), None).expect("added");
    let store = fixture.store();
    // Junk, and a record of the same form by another key.
    assert_eq!(store.create(&path(2), b"junk").expect("create"), Created::New);
    let forger = Fixture {
        folder: tempfile::tempdir().expect("folder"),
        signer: Arc::new(SigningKey::generate().expect("key")),
    };
    let evil = forger.open("f").expect("open").add_key("evil", "evil", &grants(), None).expect("added");
    let record = forger.store().read(&path(1), MAX_RECORD).expect("read").expect("there");
    assert_eq!(store.create(&path(3), &record).expect("create"), Created::New);
    assert!(knows(&states, &key) && !knows(&states, &evil));
    // Replayed under another number.
    let replayed = store.read(&path(1), MAX_RECORD).expect("read").expect("there");
    assert_eq!(store.create(&path(4), &replayed).expect("create"), Created::New);
    let next = states.add_key("test", "next", &grants(), None).expect("added");
    assert!(knows(&states, &next) && knows(&fixture.open("b").expect("open"), &next));
    assert!(store.stat(&path(5)).expect("stat").is_some());
}

#[test]
fn a_store_that_goes_back_is_refused() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let key = states.add_key("test", "ci", &grants(), None).expect("added");
    states.disable_key("test", &key.id).expect("disabled");
    fixture.store().delete(&path(2)).expect("deleted");
    // The instance that runs does not forget, and one that starts again notices.
    assert!(!knows(&states, &key));
    assert!(matches!(fixture.open("a"), Err(Error::Stale { .. })));
}

#[test]
fn instances_that_write_at_once_all_come_through() {
    let fixture = Fixture::new();
    let instances: Vec<_> = (0..4).map(|number| fixture.open(&number.to_string()).expect("open")).collect();
    let keys: Vec<NewKey> = std::thread::scope(|scope| {
        let add = |states| move || States::add_key(states, "test", "ci", &grants(), None).expect("added");
        let threads: Vec<_> = instances.iter().map(|states| scope.spawn(add(states))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for states in &instances {
        assert!(keys.iter().all(|key| knows(states, key)));
    }
}
