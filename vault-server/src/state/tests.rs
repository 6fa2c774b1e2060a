use vault_core::store::{Created, Directory, Durability};

use super::*;
use crate::{identity::Presented, rights::Permission};

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
    let permissions = [Permission::Read].into();
    vec![Grant { permissions, models: star(), channels: star(), networks: Vec::new(), until: None }]
}

/// A person with a key.
fn person(name: &str) -> Principal {
    Principal::of_key(name, name, name, &[])
}

fn add(states: &States, name: &str, expires: Option<Timestamp>) -> Result<NewKey> {
    let wanted = WantedKey { name: name.into(), holder: name.into(), grants: grants(), expires };
    states.add_key(&person("test"), "a test", &wanted).map(|(key, _)| key)
}

fn rotate(states: &States, id: &str, overlap: Duration) -> Result<NewKey> {
    states.rotate_key(&person("test"), id, overlap).map(|(key, _)| key)
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
    let key = add(&one, "ci", None).expect("added");
    assert!(knows(&one, &key) && knows(&two, &key) && knows(&fixture.open("c").expect("open"), &key));
    two.disable_key("test", &key.id).expect("disabled");
    assert!(!knows(&one, &key) && !knows(&two, &key));
    assert!(matches!(one.disable_key("test", "0123456789abcdef"), Err(Error::NotFound { .. })));
    assert!(matches!(add(&one, "a\u{1b}b", None), Err(Error::Misuse(_))));
}

#[test]
fn an_expired_key_counts_no_more_and_a_rotated_one_for_the_overlap() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let past = add(&states, "old", Some(Timestamp::UNIX_EPOCH)).expect("added");
    assert!(!knows(&states, &past));
    let key = add(&states, "ci", None).expect("added");
    let next = rotate(&states, &key.id, Duration::from_mins(1)).expect("rotated");
    assert!(knows(&states, &key) && knows(&states, &next));
    let last = rotate(&states, &next.id, Duration::ZERO).expect("rotated");
    assert!(!knows(&states, &next) && knows(&states, &last));
    assert!(matches!(rotate(&states, &past.id, Duration::ZERO), Err(Error::NotFound { .. })));
}

#[test]
fn records_by_others_burn_their_number_and_no_more() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let key = add(&states, "ci", None).expect("added");
    let store = fixture.store();
    // Junk, and a record of the same form by another key.
    assert_eq!(store.create(&path(2), b"junk").expect("create"), Created::New);
    let forger = Fixture {
        folder: tempfile::tempdir().expect("folder"),
        signer: Arc::new(SigningKey::generate().expect("key")),
    };
    let evil = add(&forger.open("f").expect("open"), "evil", None).expect("added");
    let record = forger.store().read(&path(1), MAX_RECORD).expect("read").expect("there");
    assert_eq!(store.create(&path(3), &record).expect("create"), Created::New);
    assert!(knows(&states, &key) && !knows(&states, &evil));
    // Replayed under another number.
    let replayed = store.read(&path(1), MAX_RECORD).expect("read").expect("there");
    assert_eq!(store.create(&path(4), &replayed).expect("create"), Created::New);
    let next = add(&states, "next", None).expect("added");
    assert!(knows(&states, &next) && knows(&fixture.open("b").expect("open"), &next));
    assert!(store.stat(&path(5)).expect("stat").is_some());
}

#[test]
fn a_store_that_goes_back_is_refused() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let key = add(&states, "ci", None).expect("added");
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
        let add = |states| move || add(states, "ci", None).expect("added");
        let threads: Vec<_> = instances.iter().map(|states| scope.spawn(add(states))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for states in &instances {
        assert!(keys.iter().all(|key| knows(states, key)));
    }
}

#[test]
fn once_two_people_administer_one_alone_gives_no_rights_and_takes_them_still() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let admin = || Grant { permissions: [Permission::Admin].into(), ..grants().remove(0) };
    let wanted =
        |holder: &str| WantedKey { name: "admin".into(), holder: holder.into(), grants: vec![admin()], expires: None };
    let (ann, ben) = (person("ann"), person("ben"));
    let (first, outcome) = states.add_key(&ann, "begin", &wanted("ann")).expect("added");
    assert_eq!(outcome, Outcome::InForce);
    let (second, outcome) = states.add_key(&ann, "begin", &wanted("ben")).expect("added");
    assert_eq!(outcome, Outcome::InForce, "she administers alone until then");
    let (third, outcome) = states.add_key(&ann, "more", &wanted("cleo")).expect("proposed");
    let Outcome::Waits(id) = outcome else { panic!("{outcome:?}") };
    assert!(knows(&states, &first) && knows(&states, &second) && !knows(&states, &third));
    // Neither she herself nor another name for her.
    for same in ["ann", " Ann "] {
        assert!(matches!(states.approve(&person(same), &id), Err(Error::Denied { .. })), "{same}");
    }
    let other = fixture.open("b").expect("open");
    other.approve(&ben, &id).expect("approved");
    assert!(knows(&states, &third) && knows(&fixture.open("c").expect("open"), &third));
    assert!(matches!(states.approve(&ben, &id), Err(Error::NotFound { .. })), "it is over");
    // To replace her own key she needs nobody; that of another, somebody.
    let (own, outcome) = states.rotate_key(&ann, &first.id, Duration::ZERO).expect("rotated");
    assert!(outcome == Outcome::InForce && knows(&states, &own));
    let (stolen, outcome) = states.rotate_key(&ann, &second.id, Duration::ZERO).expect("proposed");
    assert!(matches!(&outcome, Outcome::Waits(_)) && !knows(&states, &stolen) && knows(&states, &second));
    let Outcome::Waits(id) = outcome else { panic!("waits") };
    states.reject(&ben, &id).expect("rejected");
    assert!(matches!(states.approve(&ben, &id), Err(Error::NotFound { .. })));
    states.disable_key("ann", &third.id).expect("one is enough");
    assert!(!knows(&states, &third));
    assert!(matches!(states.add_key(&ann, "  ", &wanted("dan")), Err(Error::Misuse(_))), "a reason is needed");
}

#[test]
fn policies_that_make_administrators_end_the_reign_of_one() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let ann = person("ann");
    let set = |text: &str| states.set_policies(&ann, "a test", text);
    let reads = "permit (principal, action == Action::\"read\", resource);";
    assert_eq!(set(reads).expect("set"), Outcome::InForce);
    assert!(matches!(set("permit ("), Err(Error::Misuse(_))));
    assert_eq!(set("permit (principal, action, resource);").expect("set"), Outcome::InForce);
    assert!(matches!(set(reads).expect("proposed"), Outcome::Waits(_)));
    assert!(states.current().expect("state").policies().text().contains("action, resource"));
}

#[test]
fn rights_are_lent_when_another_agrees_and_for_their_time() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let (ann, ben) = (person("ann"), person("ben"));
    let grant = Grant { permissions: [Permission::Promote].into(), ..grants().remove(0) };
    let may = |person: &Principal, seconds: i64| {
        let now = Timestamp::now() + SignedDuration::from_secs(seconds);
        let state = states.current().expect("state");
        let rights = state.rights(person, [127, 0, 0, 1].into(), now).expect("rights");
        rights.allow(Permission::Promote, crate::rights::Resource::Vault)
    };
    let Outcome::Waits(id) = states.elevate(&ann, "an incident", &grant, Duration::from_mins(5)).expect("asked") else {
        panic!("not at once")
    };
    assert!(!may(&ann, 0));
    assert!(matches!(states.approve(&ann, &id), Err(Error::Denied { .. })));
    states.approve(&ben, &id).expect("approved");
    assert!(may(&ann, 0) && !may(&ben, 0) && !may(&ann, 301));
    assert!(matches!(states.elevate(&ann, "more", &grant, Duration::from_hours(25)), Err(Error::Misuse(_))));
    for _ in 0..20 {
        states.elevate(&ann, "again", &grant, Duration::from_mins(5)).expect("asked");
    }
    let flood = states.elevate(&ann, "and again", &grant, Duration::from_mins(5));
    assert!(matches!(flood, Err(Error::Misuse(_))), "one person asks for so much and no more");
    states.elevate(&ben, "another", &grant, Duration::from_mins(5)).expect("others may");
}

#[test]
fn two_histories_by_one_key_are_a_fork_and_not_junk() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.open("a").expect("open"), fixture.open("b").expect("open"));
    let key = add(&one, "ci", None).expect("added");
    assert!(knows(&two, &key));
    add(&one, "shown to one", None).expect("added");
    // The store takes it away before the other instance sees it.
    fixture.store().delete(&path(2)).expect("deleted");
    add(&two, "shown to the other", None).expect("added");
    two.disable_key("test", &key.id).expect("disabled");
    one.lock().checked = None;
    let why = one.current().expect_err("noticed").to_string();
    assert!(why.contains("fork"), "{why}");
}

#[test]
fn junk_in_a_row_is_counted_over_all_looks() {
    let fixture = Fixture::new();
    let (states, store) = (fixture.open("a").expect("open"), fixture.store());
    let look = || {
        states.lock().checked = None;
        states.current().map(|_| ())
    };
    for number in 1..=MAX_JUNK {
        assert_eq!(store.create(&path(number), b"junk").expect("create"), Created::New);
    }
    look().expect("as much is borne");
    assert_eq!(store.create(&path(MAX_JUNK + 1), b"junk").expect("create"), Created::New);
    assert!(matches!(look(), Err(Error::Untrusted { .. })));
    assert!(fixture.open("b").is_err(), "as a new instance sees it");
}

#[test]
fn rights_that_cannot_be_judged_are_not_given() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let grant = |permission: Permission, models: &str, network: &str| Grant {
        permissions: [permission].into(),
        models: models.parse().expect("a pattern"),
        networks: (!network.is_empty()).then(|| network.to_owned()).into_iter().collect(),
        ..grants().remove(0)
    };
    for bad in [
        grant(Permission::Admin, "team-*", ""),
        grant(Permission::Audit, "team-*", ""),
        grant(Permission::Read, "*", "somewhere"),
    ] {
        let wanted = WantedKey { name: "ci".into(), holder: "ci".into(), grants: vec![bad.clone()], expires: None };
        let refused = states.add_key(&person("test"), "a test", &wanted);
        assert!(matches!(refused, Err(Error::Misuse(_))), "{bad:?}");
        assert!(matches!(states.elevate(&person("test"), "a", &bad, Duration::from_mins(1)), Err(Error::Misuse(_))));
    }
    assert_eq!(states.current().expect("state").next, 1, "nothing was written");
}
