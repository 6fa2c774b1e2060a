use vault_core::store::{Created, Directory, Durability};

use super::*;
use crate::{
    identity::{Means, Presented, Principal},
    rights::Permission,
};

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

fn admin() -> Grant {
    Grant { permissions: [Permission::Admin].into(), ..grants().remove(0) }
}

/// A person who administers, known by a token.
fn person(name: &str) -> Principal {
    Principal { means: Means::Token, ..Principal::of_key(name, name, name, &[admin()]) }
}

fn by(principal: &Principal) -> Author<'_> {
    Author::new(principal, [127, 0, 0, 1].into())
}

fn add(states: &States, name: &str, expires: Option<Timestamp>) -> Result<NewKey> {
    let wanted = WantedKey { name: name.into(), holder: name.into(), grants: grants(), expires };
    states.add_key(&by(&person("test")), "a test", &wanted).map(|(key, _)| key)
}

fn rotate(states: &States, id: &str, overlap: Duration) -> Result<NewKey> {
    states.rotate_key(&by(&person("test")), id, overlap).map(|(key, _)| key)
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
    two.disable_key(&by(&person("test")), &key.id).expect("disabled");
    assert!(!knows(&one, &key) && !knows(&two, &key));
    assert!(matches!(one.disable_key(&by(&person("test")), "0123456789abcdef"), Err(Error::NotFound { .. })));
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
    states.disable_key(&by(&person("test")), &key.id).expect("disabled");
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
    let wanted =
        |holder: &str| WantedKey { name: "admin".into(), holder: holder.into(), grants: vec![admin()], expires: None };
    let (ann, ben) = (person("ann"), person("ben"));
    let (first, outcome) = states.add_key(&by(&ann), "begin", &wanted("ann")).expect("added");
    assert_eq!(outcome, Outcome::InForce);
    let (second, outcome) = states.add_key(&by(&ann), "begin", &wanted("ben")).expect("added");
    assert_eq!(outcome, Outcome::InForce, "she administers alone until then");
    let (third, outcome) = states.add_key(&by(&ann), "more", &wanted("cleo")).expect("proposed");
    let Outcome::Waits(id) = outcome else { panic!("{outcome:?}") };
    assert!(knows(&states, &first) && knows(&states, &second) && !knows(&states, &third));
    // Neither she herself nor another name for her.
    for same in ["ann", " Ann "] {
        assert!(matches!(states.approve(&by(&person(same)), &id), Err(Error::Denied { .. })), "{same}");
    }
    let other = fixture.open("b").expect("open");
    other.approve(&by(&ben), &id).expect("approved");
    assert!(knows(&states, &third) && knows(&fixture.open("c").expect("open"), &third));
    assert!(matches!(states.approve(&by(&ben), &id), Err(Error::NotFound { .. })), "it is over");
    // To replace her own key she needs nobody; that of another, somebody.
    let (own, outcome) = states.rotate_key(&by(&ann), &first.id, Duration::ZERO).expect("rotated");
    assert!(outcome == Outcome::InForce && knows(&states, &own));
    let (stolen, outcome) = states.rotate_key(&by(&ann), &second.id, Duration::ZERO).expect("proposed");
    assert!(matches!(&outcome, Outcome::Waits(_)) && !knows(&states, &stolen) && knows(&states, &second));
    let Outcome::Waits(id) = outcome else { panic!("waits") };
    states.reject(&by(&ben), &id).expect("rejected");
    assert!(matches!(states.approve(&by(&ben), &id), Err(Error::NotFound { .. })));
    states.disable_key(&by(&person("ann")), &third.id).expect("one is enough");
    assert!(!knows(&states, &third));
    assert!(matches!(states.add_key(&by(&ann), "  ", &wanted("dan")), Err(Error::Misuse(_))), "a reason is needed");
}

#[test]
fn policies_that_make_administrators_end_the_reign_of_one() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let ann = person("ann");
    let set = |text: &str| states.set_policies(&by(&ann), "a test", text);
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
    let Outcome::Waits(id) = states.elevate(&by(&ann), "an incident", &grant, Duration::from_mins(5)).expect("asked")
    else {
        panic!("not at once")
    };
    assert!(!may(&ann, 0));
    assert!(matches!(states.approve(&by(&ann), &id), Err(Error::Denied { .. })));
    states.approve(&by(&ben), &id).expect("approved");
    assert!(may(&ann, 0) && !may(&ben, 0) && !may(&ann, 301));
    assert!(matches!(states.elevate(&by(&ann), "more", &grant, Duration::from_hours(25)), Err(Error::Misuse(_))));
    for _ in 0..20 {
        states.elevate(&by(&ann), "again", &grant, Duration::from_mins(5)).expect("asked");
    }
    let flood = states.elevate(&by(&ann), "and again", &grant, Duration::from_mins(5));
    assert!(matches!(flood, Err(Error::Misuse(_))), "one person asks for so much and no more");
    states.elevate(&by(&ben), "another", &grant, Duration::from_mins(5)).expect("others may");
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
    two.disable_key(&by(&person("test")), &key.id).expect("disabled");
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
        let refused = states.add_key(&by(&person("test")), "a test", &wanted);
        assert!(matches!(refused, Err(Error::Misuse(_))), "{bad:?}");
        assert!(matches!(
            states.elevate(&by(&person("test")), "a", &bad, Duration::from_mins(1)),
            Err(Error::Misuse(_))
        ));
    }
    assert_eq!(states.current().expect("state").next, 1, "nothing was written");
}

#[test]
fn whoever_may_not_administer_any_more_changes_nothing_however_late_the_request_ends() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let wanted =
        |name: &str, grants: Vec<Grant>| WantedKey { name: name.into(), holder: name.into(), grants, expires: None };
    let (eve, _) = states.add_key(&by(&person("root")), "begin", &wanted("eve", vec![admin()])).expect("added");
    let (ci, _) = states.add_key(&by(&person("root")), "begin", &wanted("ci", grants())).expect("added");
    let (as_eve, as_ci) =
        (Principal::of_key(&eve.id, "eve", "eve", &[admin()]), Principal::of_key(&ci.id, "ci", "ci", &grants()));
    let lent = states.elevate(&by(&as_ci), "an incident", &grants()[0], Duration::from_mins(1)).expect("asked");
    let Outcome::Waits(id) = lent else { panic!("not at once") };
    let refused = |done: Result<()>| assert!(matches!(done, Err(Error::Denied { .. })), "{done:?}");
    refused(states.approve(&by(&as_ci), &id));
    states.disable_key(&by(&person("root")), &eve.id).expect("disabled");
    refused(states.approve(&by(&as_eve), &id));
    refused(states.reject(&by(&as_eve), &id));
    refused(states.disable_key(&by(&as_eve), &ci.id));
    refused(states.add_key(&by(&as_eve), "more", &wanted("more", grants())).map(drop));
    refused(states.rotate_key(&by(&as_eve), &ci.id, Duration::ZERO).map(drop));
    refused(states.set_policies(&by(&as_eve), "more", "permit (principal, action, resource);").map(drop));
    refused(states.elevate(&by(&as_eve), "more", &grants()[0], Duration::from_mins(1)).map(drop));
    assert!(knows(&states, &ci));
}

#[test]
fn a_right_to_administer_that_was_lent_gives_no_rights_that_stay() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let wanted = |name: &str, grant: Grant| WantedKey {
        name: name.into(),
        holder: name.into(),
        grants: vec![grant],
        expires: None,
    };
    let (first, _) = states.add_key(&by(&person("ann")), "begin", &wanted("ann", admin())).expect("added");
    let ben = Principal { grants: Vec::new(), ..person("ben") };
    let Outcome::Waits(id) = states.elevate(&by(&ben), "an incident", &admin(), Duration::from_mins(9)).expect("asked")
    else {
        panic!("not at once")
    };
    states.approve(&by(&person("ann")), &id).expect("approved");
    // One person administers, and he may now, too: what he adds waits for her all the same.
    for holder in ["ben", "ann"] {
        let (key, outcome) = states.add_key(&by(&ben), "more", &wanted(holder, admin())).expect("proposed");
        assert!(matches!(outcome, Outcome::Waits(_)) && !knows(&states, &key), "{holder}");
    }
    let eve = Principal { grants: Vec::new(), ..person("eve") };
    let Outcome::Waits(id) = states.elevate(&by(&eve), "more", &admin(), Duration::from_mins(9)).expect("asked") else {
        panic!("not at once")
    };
    assert!(matches!(states.approve(&by(&ben), &id), Err(Error::Denied { .. })));
    states.disable_key(&by(&ben), &first.id).expect("taking away takes one");
}

#[test]
fn what_a_disabled_key_asked_for_or_was_to_get_waits_no_more() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let wanted =
        |name: &str| WantedKey { name: name.into(), holder: name.into(), grants: vec![admin()], expires: None };
    let (ann, ben) = (person("ann"), person("ben"));
    let (eve, _) = states.add_key(&by(&ann), "begin", &wanted("eve")).expect("added");
    states.add_key(&by(&ann), "begin", &wanted("ann")).expect("added");
    let as_eve = Principal::of_key(&eve.id, "eve", "eve", &[admin()]);
    let waits = |outcome: Outcome| match outcome {
        Outcome::Waits(id) => id,
        other @ Outcome::InForce => panic!("{other:?}"),
    };
    let hers = waits(states.add_key(&by(&as_eve), "more", &wanted("accomplice")).expect("proposed").1);
    let renewed = waits(states.rotate_key(&by(&ann), &eve.id, Duration::from_mins(1)).expect("proposed").1);
    let others = waits(states.add_key(&by(&ann), "more", &wanted("cleo")).expect("proposed").1);
    states.disable_key(&by(&ben), &eve.id).expect("disabled");
    for gone in [hers, renewed] {
        assert!(matches!(states.approve(&by(&ben), &gone), Err(Error::NotFound { .. })));
    }
    // One that expired meanwhile is not renewed either.
    let (old, _) = states.add_key(&by(&ann), "x", &WantedKey { expires: None, ..wanted("old") }).expect("proposed");
    assert!(!knows(&states, &old));
    states.approve(&by(&ben), &others).expect("approved");
}

#[test]
fn a_record_that_nobody_would_follow_is_not_written() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let networks = (0..20_000).map(|number| format!("10.{}.{}.0/24", number / 256, number % 256)).collect();
    let grant = Grant { networks, ..grants().remove(0) };
    let wanted = WantedKey { name: "ci".into(), holder: "ci".into(), grants: vec![grant], expires: None };
    assert!(matches!(states.add_key(&by(&person("ann")), "long", &wanted), Err(Error::Misuse(_))));
    assert_eq!(states.current().expect("state").next, 1);
}

#[test]
fn policies_that_lock_out_whoever_sets_them_are_not_set_and_an_operator_can_take_all_away() {
    let fixture = Fixture::new();
    let states = fixture.open("a").expect("open");
    let ann = person("ann");
    let forbids = "forbid (principal, action, resource);";
    assert!(matches!(states.set_policies(&by(&ann), "oops", forbids), Err(Error::Misuse(_))));
    let others = "forbid (principal, action == Action::\"admin\", resource) unless { principal.holder == \"ann\" };";
    assert_eq!(states.set_policies(&by(&ann), "mine", others).expect("set"), Outcome::InForce);
    assert!(matches!(states.disable_key(&by(&person("ben")), "x"), Err(Error::Denied { .. })));
    states.reset_policies_by_operator().expect("reset");
    assert!(matches!(states.disable_key(&by(&person("ben")), "x"), Err(Error::NotFound { .. })));
}

#[test]
fn what_could_not_be_told_is_told_later_and_once() {
    let fixture = Fixture::new();
    let told = Arc::new(Mutex::new((false, Vec::new())));
    let teller = Arc::clone(&told);
    let states = fixture.open("a").expect("open").telling(move |path, _| {
        let mut told = teller.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.0 {
            return Err(Error::storage("log")(std::io::Error::other("full")));
        }
        told.1.push(path.to_owned());
        Ok(())
    });
    assert!(add(&states, "ci", None).is_err(), "it is not said to be done");
    told.lock().expect("whole").0 = true;
    for _ in 0..2 {
        states.lock().checked = None;
        states.current().expect("state");
    }
    assert_eq!(told.lock().expect("whole").1, [path(1)]);
}
