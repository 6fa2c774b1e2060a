use super::*;

fn others(name: &str) -> Vec<u8> {
    name.as_bytes().to_vec()
}

#[test]
fn a_root_needs_its_threshold_of_holders_however_many_keys_sign() {
    let world = World::new();
    let text = source(&world.keys, |text| {
        text.replace(
            "keys = [\"alice\", \"bob\"]\nthreshold = 2",
            "keys = [\"alice\", \"alice2\", \"bob\"]\nthreshold = 2",
        )
    });
    let pin = |by: &[&str]| {
        let keys: Vec<_> = by.iter().map(|name| &world.keys[name]).collect();
        Reached::pin(&signed_root(&text, None, NOON, &keys))
    };
    assert!(pin(&["alice", "bob"]).is_ok());
    for few in
        [&[][..], &["alice"], &["alice", "alice"], &["alice", "alice2"], &["alice", "carol"], &["alice", "mallory"]]
    {
        assert_eq!(kind(pin(few)), Kind::Authenticity, "{few:?}");
    }
}

#[test]
fn a_root_that_nobody_could_follow_or_with_a_key_under_another_id_is_refused() {
    let world = World::new();
    let bad = |change: &dyn Fn(String) -> String| {
        draft(&source(&world.keys, change), None, clock(NOON), &mut |name| Err(Error::Misuse(name.into())))
    };
    assert!(bad(&|text| text.replace("threshold = 2", "threshold = 3")).is_err(), "more than there are holders");
    assert!(bad(&|text| text.replace("threshold = 2", "threshold = 0")).is_err());
    assert!(bad(&|text| text.replace("\"trainer\"]", "\"nobody\"]")).is_err(), "a key that is not listed");
    assert!(bad(&|text| text.replace("365d", "0d")).is_err());
    let twice = bad(&|text| text.replace("keys = [\"alice\", \"bob\"]", "keys = [\"alice\", \"alice\"]"));
    assert_eq!(twice.expect_err("twice").to_string(), "roles.root: the key \"alice\" is listed twice");
    assert!(bad(&|text| text + "[roles.king]\nkeys = []\n").is_err(), "a role that does not exist");
    assert!(bad(&with_key_line("bob", "status = \"retired\"")).is_err(), "too few active root holders are left");

    let payload = String::from_utf8(world.pinned.root().to_vec().expect("written")).expect("UTF-8");
    let (alice, mallory) = (world.public("alice").key_id().to_hex(), world.public("mallory").key_id().to_hex());
    assert!(crate::trust::TrustRoot::parse(payload.replace(&alice, &mallory).as_bytes()).is_err(), "another id");
    for (from, to) in
        [("\"version\":1", "\"version\":0"), ("\"version\":1", "\"version\":2"), ("{\"created\"", "{ \"created\"")]
    {
        assert!(crate::trust::TrustRoot::parse(payload.replacen(from, to, 1).as_bytes()).is_err(), "{from} -> {to}");
    }
}

#[test]
fn the_next_root_needs_the_holders_of_both() {
    let world = World::new();
    let swap = |text: String| {
        text.replace("keys = [\"alice\", \"bob\"]\nthreshold = 2", "keys = [\"alice\", \"carol\"]\nthreshold = 2")
    };
    assert_eq!(kind(world.next_root(&world.pinned, &["alice", "carol"], swap)), Kind::Authenticity, "of the old");
    assert_eq!(kind(world.next_root(&world.pinned, &["alice", "bob"], swap)), Kind::Authenticity, "of the new");
    let second = world.next_root(&world.pinned, &["alice", "bob", "carol"], swap).expect("both");
    assert_eq!(second.root().version(), 2);
    assert_eq!(world.gate().expect("followed").rooted().root().version(), 2);
    let third = world.next_root(&second, &["alice", "carol"], swap).expect("the new ones alone");
    assert_eq!(third.root().version(), 3);
    assert_eq!(world.gate().expect("followed").rooted().reached().digest(), third.digest());
}

#[test]
fn skipped_lowered_and_foreign_roots_are_refused() {
    let world = World::new();
    let second = world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    let keys = [&world.keys["alice"], &world.keys["bob"]];
    let third = signed_root(&source(&world.keys, |text| text), Some(&second), NOON, &keys);
    assert_eq!(kind(world.pinned.next(&third)), Kind::Integrity, "one is skipped");
    assert_eq!(kind(second.next(world.pinned.envelope())), Kind::Integrity, "lowered");
    assert_eq!(kind(second.next(second.envelope())), Kind::Integrity, "the same again");
    let other = World::new();
    let foreign = other.next_root(&other.pinned, &["alice", "bob"], |text| text).expect("second");
    assert_eq!(kind(world.pinned.next(foreign.envelope())), Kind::Integrity, "of another vault");
}

#[test]
fn junk_under_the_next_number_is_passed_over_and_reported() {
    let world = World::new();
    let junk = world.path(&format!("trust/2/{}.dsse.json", "0".repeat(64)));
    fs::create_dir_all(junk.parent().expect("folder")).expect("folders");
    fs::write(&junk, "junk").expect("planted");
    let text = source(&world.keys, |text| text);
    let unsigned = signed_root(&text, Some(&world.pinned), NOON, &[&world.keys["mallory"]]);
    fs::write(world.path(&format!("trust/2/{}.dsse.json", "1".repeat(64))), unsigned).expect("planted");
    let gate = world.gate().expect("followed as far as it goes");
    assert_eq!(gate.rooted().root().version(), 1);
    assert_eq!(gate.notes().iter().filter(|note| note.contains("no trust root to follow")).count(), 2);
    drop(gate);
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("published beside the junk");
    assert_eq!(world.gate().expect("followed").rooted().root().version(), 2);
}

#[test]
fn a_long_way_is_walked_past_junk_up_to_what_is_damaged() {
    let world = World::new();
    let mut newest = world.pinned.clone();
    for _ in 2..=40 {
        newest = world.next_root(&newest, &["alice", "bob"], |text| text).expect("the next");
    }
    fs::write(world.path(&format!("trust/20/{}.dsse.json", "0".repeat(64))), "junk").expect("planted");
    // Beyond a gap there is nothing to follow.
    fs::create_dir(world.path("trust/42")).expect("a folder");
    fs::write(world.path(&format!("trust/42/{}.dsse.json", "0".repeat(64))), "junk").expect("planted");
    let gate = world.gate().expect("followed");
    assert_eq!(gate.rooted().reached().digest(), newest.digest());
    assert_eq!(gate.notes().iter().filter(|note| note.contains("no trust root to follow")).count(), 1);
    drop(gate);

    // Read ahead, but never followed past what does not count.
    let damaged = fs::read_dir(world.path("trust/30")).expect("listed").next().expect("one").expect("one").path();
    fs::remove_file(&damaged).and_then(|()| fs::write(&damaged, "junk")).expect("damaged");
    let gate = world.stranger().expect("followed as far as it goes");
    assert_eq!(gate.rooted().root().version(), 29);
    assert!(gate.notes().iter().any(|note| note.contains("trust/30/")), "{:?}", gate.notes());
}

#[test]
fn two_valid_roots_of_one_number_are_a_fork() {
    let world = World::new();
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    let other = source(&world.keys, |text| text.replace("365d", "364d"));
    let envelope = signed_root(&other, Some(&world.pinned), NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let published = world.fixture.vault.publish_root(&envelope, Some(world.pinned.clone()));
    assert_eq!(kind(published), Kind::Conflict, "the honest way");
    fs::write(world.path(&format!("trust/2/{}.dsse.json", "2".repeat(64))), envelope).expect("planted");
    assert_eq!(kind(world.gate().map(drop)), Kind::Authenticity);
}

#[test]
fn a_root_that_was_seen_cannot_be_taken_back_or_replaced() {
    let world = World::new();
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    world.gate().expect("seen").close().expect("remembered");
    let folder = world.path("trust/2");
    fs::rename(&folder, world.path("hidden")).expect("hidden");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale);
    assert_eq!(world.stranger().expect("cannot know").rooted().root().version(), 1);
    fs::create_dir_all(&folder).expect("folder");
    let other = source(&world.keys, |text| text.replace("365d", "364d"));
    let envelope = signed_root(&other, Some(&world.pinned), NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    fs::write(folder.join(format!("{}.dsse.json", "2".repeat(64))), envelope).expect("planted");
    assert_eq!(kind(world.gate().map(drop)), Kind::Authenticity, "signed again, and another one: a fork");
}

#[test]
fn another_pinned_root_of_the_number_that_was_seen_is_a_fork() {
    let world = World::new();
    let second = world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    world.gate().expect("seen").close().expect("remembered");
    let other = source(&world.keys, |text| text.replace("365d", "364d"));
    let envelope = signed_root(&other, Some(&world.pinned), NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let pinned = Reached::pin(&envelope).expect("a root");
    let memory = Memory::open(world.state.path(), pinned.origin()).expect("opened");
    assert_eq!(kind(world.fixture.vault.gate(&pinned, memory, clock(NOON)).map(drop)), Kind::Authenticity);
    let memory = Memory::open(world.state.path(), second.origin()).expect("opened");
    world.fixture.vault.gate(&second, memory, clock(NOON)).expect("the one that was seen");
}

#[test]
fn only_the_last_root_must_not_have_expired() {
    let world = World::new();
    let later = "2027-12-24T12:00:00Z";
    assert_eq!(kind(world.gate_at(later).map(drop)), Kind::Stale);
    let text = source(&world.keys, |text| text);
    let envelope = signed_root(&text, Some(&world.pinned), later, &[&world.keys["alice"], &world.keys["bob"]]);
    world.fixture.vault.publish_root(&envelope, Some(world.pinned.clone())).expect("published");
    assert_eq!(world.gate_at(later).expect("renewed").rooted().root().version(), 2);
}

#[test]
fn what_a_sealer_signs_counts_for_its_models_and_under_this_root_only() {
    let world = World::new();
    assert_eq!(world.open("m:1").expect("opens"), others("m:1"));
    world.seal("m:old", None);
    assert_eq!(kind(world.open("m:old")), Kind::Authenticity, "sealed under no trust root");
    world.seal("m:foreign", Some(blake3::hash(b"another root")));
    assert_eq!(kind(world.open("m:foreign")), Kind::Authenticity);
    let mut request = world.fixture.request("m:mine", vec![input("a", b"x")]);
    (request.signer, request.trust_root) = (&world.keys["carol"], Some(world.pinned.origin()));
    world.fixture.vault.seal(request, &()).expect("sealed");
    assert_eq!(kind(world.open("m:mine")), Kind::Authenticity, "a release key is no sealer");
    let narrow =
        |text: String| text.replace("[[roles.sealer]]\nmodels = [\"*\"]", "[[roles.sealer]]\nmodels = [\"org/*\"]");
    world.next_root(&world.pinned, &["alice", "bob"], narrow).expect("second");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity, "a model that the sealer may not seal any more");
}

#[test]
fn compromised_keys_lose_everything_and_retired_ones_keep_what_is_listed() {
    let world = World::new();
    let trainer = world.public("trainer");
    let signed = world.fixture.vault.signed_by(&trainer).expect("listed");
    let of = |artifact: &str| -> Vec<String> {
        signed.iter().filter(|s| s.record.path.contains(artifact)).map(|s| format!("\"b3:{}\"", s.digest)).collect()
    };
    for one in &signed {
        let bytes = fs::read(world.path(&one.record.path)).expect("there");
        assert_eq!(one.record.digest, blake3::hash(&bytes), "what is proven in a log is what was read");
    }
    let digest = world.gate().expect("gate").resolve(&reference("m:1")).expect("there").digest.to_hex();
    let kept = [of("versions/1.dsse"), of(&digest)].concat();
    assert_eq!(kept.len(), 3, "version record, provenance, recipients");
    let line = format!("status = \"retired\"\nkeeps = [{}]", kept.join(", "));
    let second = world.next_root(&world.pinned, &["alice", "bob"], with_key_line("trainer", &line)).expect("second");
    assert_eq!(world.open("m:1").expect("kept"), others("m:1"));
    assert_eq!(kind(world.open("m:2")), Kind::Authenticity);
    // A stolen retired key signs something new with an old date: a date is no evidence.
    world.seal("m:stolen", Some(world.pinned.origin()));
    assert_eq!(kind(world.open("m:stolen")), Kind::Authenticity);

    let line = format!("status = \"compromised\"\nkeeps = [{}]", kept.join(", "));
    world.next_root(&second, &["alice", "bob"], with_key_line("trainer", &line)).expect("third");
    assert_eq!(kind(world.open("m:1")), Kind::Authenticity);
}

#[test]
fn keys_count_within_their_time_only() {
    let world = World::new();
    let line = "valid_from = \"2026-11-22T00:00:00Z\"\nvalid_until = \"2026-11-23T00:00:00Z\"";
    world.next_root(&world.pinned, &["alice", "bob"], with_key_line("trainer", line)).expect("second");
    let at = |time: &str| world.open_with(world.gate_at(time).expect("gate"), "m:1");
    assert_eq!(kind(at("2026-11-21T23:54:00Z")), Kind::Authenticity);
    assert!(at("2026-11-21T23:56:00Z").is_ok(), "clocks may differ by five minutes");
    assert!(at("2026-11-22T12:00:00Z").is_ok());
    assert!(at("2026-11-23T00:04:00Z").is_ok());
    assert_eq!(kind(at("2026-11-23T00:06:00Z")), Kind::Authenticity);
}

#[test]
fn a_compromised_root_key_no_longer_helps_to_sign_the_next_root() {
    let world = World::new();
    let swap = |text: String| {
        let text = with_key_line("bob", "status = \"compromised\"")(text);
        text.replace("keys = [\"alice\", \"bob\"]\nthreshold = 2", "keys = [\"alice\", \"carol\"]\nthreshold = 2")
    };
    let next = world.next_root(&world.pinned, &["alice", "bob", "carol"], swap);
    assert_eq!(kind(next), Kind::Authenticity, "bob is compromised, so the old threshold is not met");
}

#[test]
fn another_root_in_the_place_of_the_one_seen_is_a_fork_and_a_missing_one_is_named() {
    let world = World::new();
    let second = world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    world.gate().expect("gate").close().expect("remembered");
    let folder = world.path("trust/2");
    let hidden = world.path("hidden");
    fs::rename(&folder, &hidden).expect("hidden");
    assert_eq!(kind(world.gate().map(drop)), Kind::Stale, "not shown any more");
    let third = source(&world.keys, |text| text);
    let third = signed_root(&third, Some(&second), NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let early = world.fixture.vault.publish_root(&third, Some(world.pinned.clone())).expect_err("version 2 is missing");
    assert!(matches!(&early, Error::Misuse(_)) && early.to_string().contains("publish version 2 first"), "{early}");
    let other = with_key_line("clock", "status = \"retired\"");
    world.next_root(&world.pinned, &["alice", "bob"], other).expect("another second");
    let fork = world.gate().map(drop).expect_err("two histories");
    assert!(matches!(&fork, Error::Untrusted { .. }) && fork.to_string().contains("a fork"), "{fork}");
}

#[test]
fn whoever_may_not_sign_any_more_is_told_why_and_named() {
    let says = |lines: &str| {
        let world = World::new();
        world.next_root(&world.pinned, &["alice", "bob"], with_key_line("carol", lines)).expect("second");
        let mut gate = world.gate().expect("gate");
        let (name, channel) = ("m:1".parse().expect("a name"), "m@staging".parse().expect("a channel"));
        let asked = gate.propose_promotion(&channel, &name, ("because", None), &world.keys["carol"]);
        asked.expect_err("carol may not").to_string()
    };
    for (lines, why) in [
        ("status = \"retired\"", "is retired, as the trust root says"),
        ("status = \"compromised\"", "is compromised, as the trust root says"),
        ("valid_until = \"2026-11-20T12:00:00Z\"", "is past its time, as the trust root says"),
        ("valid_from = \"2026-11-22T12:00:00Z\"", "is before its time, as the trust root says"),
    ] {
        assert!(says(lines).ends_with(&format!(" of carol: {why}")), "{}", says(lines));
    }
    let world = World::new();
    let of_clock = world.promote("m:1", "staging", "clock").expect_err("clock may not").to_string();
    assert!(
        of_clock.ends_with("of clock: is not given the right to ask for a promotion to this channel"),
        "{of_clock}"
    );
}

#[test]
fn a_source_that_is_edited_says_that_its_expiry_is_that_of_the_version_before() {
    let world = World::new();
    let text = to_toml(world.pinned.root(), world.pinned.digest());
    let at = text.find("expires = ").expect("there");
    assert!(text[..at].ends_with("or a duration from the signature on.\n"), "{text}");
}
