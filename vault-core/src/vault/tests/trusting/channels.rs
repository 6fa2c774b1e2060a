use super::*;

#[test]
fn a_channel_opens_what_enough_holders_approved() {
    let world = World::new();
    assert_eq!(kind(world.open("m@production")), Kind::NotFound);
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    assert_eq!((proposal.published, proposal.approvers.len(), proposal.threshold), (false, 0, 2));
    assert_eq!(kind(world.open("m@production")), Kind::NotFound);
    let one = world.approve(&proposal, "alice").expect("approved");
    assert_eq!((one.published, &one.approvers[..]), (false, &["alice".to_owned()][..]));
    assert!(world.approve(&proposal, "bob").expect("approved").published);
    assert_eq!(world.open("m@production").expect("opens"), b"m:1");
    assert!(world.approve(&proposal, "carol").expect("too late, but no harm").published);

    world.release("m:2");
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    let history =
        world.gate().expect("gate").channel_log(&"m@production".parse().expect("a channel")).expect("history").0;
    assert!(history.iter().all(|entry| entry.linked && entry.fault.is_none()));
    let versions: Vec<_> = history.iter().map(|e| e.promotion.as_ref().expect("readable").version.as_str()).collect();
    assert_eq!(versions, ["m:1", "m:2"]);
}

#[test]
fn who_asks_does_not_count_nor_does_a_holder_twice_nor_a_stranger() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "alice").expect("proposed");
    assert_eq!(proposal.approvers.len(), 0);
    for again in ["alice", "alice2"] {
        let state = world.approve(&proposal, again).expect("signed");
        assert_eq!((state.published, state.approvers.len()), (false, 0), "{again} is who asked");
    }
    for nobody in ["mallory", "trainer", "clock", "scanner"] {
        assert_eq!(kind(world.approve(&proposal, nobody)), Kind::Authenticity, "{nobody}");
        if nobody != "trainer" {
            assert_eq!(kind(world.promote("m:1", "production", nobody)), Kind::Authenticity, "{nobody}");
        }
    }
    assert!(!world.approve(&proposal, "bob").expect("signed").published);
    assert!(world.approve(&proposal, "carol").expect("signed").published);

    let proposal = world.promote("m:2", "production", "bob").expect("proposed");
    world.approve(&proposal, "alice").expect("signed");
    let twice = world.approve(&proposal, "alice2").expect("signed");
    assert_eq!((twice.published, twice.approvers.len()), (false, 1), "two keys, one holder");
    let gate = world.gate();
    assert_eq!(kind(gate.and_then(|mut gate| gate.publish(proposal.id))), Kind::Authenticity);
}

#[test]
fn signatures_that_are_smuggled_in_do_not_add_up() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    world.approve(&proposal, "alice").expect("signed");
    let folder = world.path(&format!("proposals/{}", proposal.id.to_hex()));
    let mut envelope = fs::read_dir(&folder)
        .expect("folder")
        .map(|e| fs::read(e.expect("entry").path()).expect("read"))
        .map(|bytes| Envelope::parse_record(&bytes).expect("an envelope"))
        .reduce(|mut all, one| {
            all.merge(&one);
            all
        })
        .expect("two");
    for nobody in ["mallory", "clock", "scanner", "alice2"] {
        envelope.add_signature(&world.keys[nobody]).expect("signed");
    }
    fs::write(folder.join("planted.dsse.json"), envelope.to_vec().expect("written")).expect("planted");
    let channel = world.path("models/m/channels/production");
    fs::create_dir_all(&channel).expect("folder");
    fs::write(channel.join("1.dsse.json"), envelope.to_vec().expect("written")).expect("planted");
    assert_eq!(kind(world.open("m@production")), Kind::NotFound, "one holder is not two");

    // One key's signature under the id of another is no second signature.
    let text = String::from_utf8(envelope.to_vec().expect("written")).expect("UTF-8");
    let (alice, bob) = (world.public("alice").key_id().to_hex(), world.public("alice2").key_id().to_hex());
    fs::write(channel.join("1.dsse.json"), text.replace(&bob, &world.public("bob").key_id().to_hex()))
        .expect("planted");
    assert_eq!(kind(world.open("m@production")), Kind::NotFound);
    fs::write(channel.join("1.dsse.json"), text.replace(&alice, &world.public("bob").key_id().to_hex()))
        .expect("planted");
    assert_eq!(kind(world.open("m@production")), Kind::NotFound);
}

#[test]
fn nobody_signs_two_records_of_one_generation() {
    let world = World::new();
    let first = world.promote("m:1", "production", "trainer").expect("proposed");
    let second = world.promote("m:2", "production", "carol").expect("proposed");
    assert_eq!((first.generation, second.generation), (1, 1));
    world.approve(&first, "alice").expect("signed");
    assert_eq!(kind(world.approve(&second, "alice")), Kind::Conflict);
    assert_eq!(kind(world.promote("m:3", "production", "trainer")), Kind::Conflict, "nor asks twice");
    // Also where the memory is lost, as long as the vault shows it.
    let mut gate = world.stranger().expect("gate");
    assert_eq!(kind(gate.approve(second.id, None, &world.keys["alice"])), Kind::Conflict);
    drop(gate);
    let taken_back = world.gate().expect("gate").withdraw(first.id, &world.keys["trainer"]);
    assert!(!taken_back.expect("withdrawn").published);
    assert_eq!(kind(world.approve(&first, "bob")), Kind::Conflict, "its generation is out of use");
    let third = world.promote("m:3", "production", "trainer").expect("proposed");
    assert_eq!(third.generation, 2);
    world.approve(&third, "alice").expect("signed");
    world.approve(&third, "bob").expect("signed");
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
}

#[test]
fn only_who_asked_or_may_approve_withdraws_and_only_what_is_not_in_force() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    let withdraw = |by: &str| world.gate().and_then(|mut gate| gate.withdraw(proposal.id, &world.keys[by]));
    for nobody in ["clock", "scanner", "mallory"] {
        assert_eq!(kind(withdraw(nobody)), Kind::Authenticity, "{nobody}");
    }
    world.approve(&proposal, "alice").expect("signed");
    world.approve(&proposal, "bob").expect("signed");
    assert_eq!(kind(withdraw("trainer")), Kind::Conflict);
}

#[test]
fn of_two_promotions_one_wins_and_the_other_can_try_again() {
    let world = World::new();
    world.release("m:1");
    let ours = world.promote("m:2", "production", "trainer").expect("proposed");
    let theirs = world.promote("m:3", "production", "carol").expect("proposed");
    assert_eq!((ours.generation, theirs.generation), (2, 2));
    world.approve(&ours, "alice").expect("signed");
    world.approve(&ours, "bob").expect("signed");
    assert_eq!(kind(world.approve(&theirs, "alice2")), Kind::Conflict);
    assert_eq!(world.open("m@production").expect("opens"), b"m:2");
    let again = world.promote("m:3", "production", "carol").expect("proposed");
    assert_eq!(again.generation, 3);
    world.approve(&again, "alice").expect("signed");
    world.approve(&again, "bob").expect("signed");
    assert_eq!(world.open("m@production").expect("opens"), b"m:3");
}

#[test]
fn of_many_who_publish_at_once_one_wins_each_generation() {
    let world = World::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let race = |by: &'static str, version: &'static str| {
            let world = &world;
            scope.spawn(move || {
                let memory = Memory::none(world.pinned.origin());
                let mut gate = world.fixture.vault.gate(&world.pinned, memory, clock(NOON))?;
                let channel = "m@staging".parse().expect("a channel");
                gate.propose_promotion(&channel, &version.parse()?, ("race", None), &world.keys[by])
            })
        };
        let racers = [race("alice", "m:1"), race("bob", "m:2"), race("carol", "m:3")];
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert!(outcomes.iter().any(|outcome| outcome.as_ref().is_ok_and(|p| p.published)));
    for outcome in outcomes {
        match outcome {
            Ok(proposal) => assert!(proposal.published),
            Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
        }
    }
    let history = world.gate().expect("gate").channel_log(&"m@staging".parse().expect("a channel")).expect("history").0;
    assert!(history.iter().all(|entry| entry.linked && entry.fault.is_none()), "{history:?}");
}

#[test]
fn a_record_of_another_channel_model_or_vault_never_counts() {
    let world = World::new();
    world.release("m:1");
    world.promote("m:2", "staging", "alice").expect("in force");
    let staged = world.path("models/m/channels/staging/1.dsse.json");
    let production = |number: u32| world.path(&format!("models/m/channels/production/{number}.dsse.json"));
    fs::copy(&staged, production(2)).expect("planted");
    assert_eq!(world.open("m@production").expect("opens"), b"m:1", "what is staged is not released");
    fs::copy(production(1), production(3)).expect("planted");
    assert_eq!(world.open("m@production").expect("opens"), b"m:1", "under another number");
    let n = world.path("models/n/channels/production/1.dsse.json");
    fs::create_dir_all(n.parent().expect("folder")).expect("folders");
    fs::copy(production(1), n).expect("planted");
    assert_eq!(kind(world.open("n@production")), Kind::NotFound, "of another model");

    // The same people with another trust root.
    let text = source(&world.keys, |text| text.replace("365d", "300d"));
    let other = signed_root(&text, None, NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let pinned = Reached::pin(&other).expect("a root");
    let memory = Memory::none(pinned.origin());
    let gate = world.fixture.vault.gate(&pinned, memory, clock(NOON)).expect("gate");
    assert_eq!(kind(world.open_with(gate, "m@production")), Kind::NotFound, "of another vault");
}

#[test]
fn a_channel_that_no_rule_governs_cannot_be_moved_or_opened() {
    let world = World::new();
    assert_eq!(kind(world.promote("m:1", "nightly", "alice")), Kind::Authenticity);
    assert_eq!(kind(world.open("m@nightly")), Kind::Authenticity);
}

#[test]
fn approvals_lapse_with_the_record() {
    let world = World::new();
    world.release("m:1");
    let proposal = world.promote("m:2", "production", "trainer").expect("proposed");
    world.approve(&proposal, "alice").expect("signed");
    let later = "2026-12-22T12:00:00Z";
    let mut gate = world.gate_at(later).expect("gate");
    assert_eq!(kind(gate.approve(proposal.id, None, &world.keys["bob"])), Kind::Stale);
    assert_eq!(gate.proposals().expect("listed").len(), 0);
    drop(gate);
    assert_eq!(kind(world.open_with(world.gate_at(later).expect("gate"), "m@production")), Kind::Stale);
    assert_eq!(world.gate().expect("gate").proposals().expect("listed").len(), 1);
    let long = world.gate().expect("gate").propose_promotion(
        &"m@production".parse().expect("a channel"),
        &"m:3".parse().expect("a name"),
        ("long", Some(31 * 24 * 3600)),
        &world.keys["carol"],
    );
    assert_eq!(kind(long), Kind::Usage, "longer than the trust root allows");
}

#[test]
fn a_revoked_version_opens_nowhere_and_stays_so() {
    let world = World::new();
    world.release("m:1");
    let digest = world.seal("m:4", Some(world.pinned.origin())).digest;
    let revoke = |name: &str, by: &str| {
        let mut gate = world.gate()?;
        gate.propose_revocation(&name.parse()?, "leaks", &world.keys[by])
    };
    for nobody in ["mallory", "trainer", "clock"] {
        assert_eq!(kind(revoke("m:1", nobody)), Kind::Authenticity, "{nobody}");
    }
    assert!(revoke("m:1", "carol").expect("revoked").published);
    assert!(revoke("m:4", "alice").expect("revoked").published);
    assert_eq!(kind(revoke("m:1", "bob")), Kind::Conflict, "once is enough");
    for reference in ["m:1", "m@production", "m:4", &digest.to_string()] {
        assert_eq!(kind(world.open(reference)), Kind::Authenticity, "{reference}");
        assert_eq!(
            kind(world.open_with(world.stranger().expect("gate"), reference)),
            Kind::Authenticity,
            "{reference}"
        );
    }
    assert_eq!(world.open("m:2").expect("opens"), b"m:2");
    assert_eq!(kind(world.promote("m:1", "staging", "alice")), Kind::Authenticity);
    let all = world.gate().expect("gate").all_revocations().expect("listed");
    assert_eq!(all.iter().map(|r| (r.generation, r.reason.as_str())).collect::<Vec<_>>(), [(1, "leaks"), (2, "leaks")]);
}

#[test]
fn demanded_attestations_must_be_there_in_the_right_role() {
    let world = World::new();
    assert_eq!(kind(world.promote("m:1", "scanned", "alice")), Kind::Authenticity);
    let attest = |by: &str, predicate_type: &str| {
        let mut gate = world.gate().expect("gate");
        let artifact = gate.resolve(&reference("m:1")).expect("there");
        let scan =
            Attested::parse(&predicate_type.parse().expect("a type"), br#"{"clean":true}"#).expect("a predicate");
        world.fixture.vault.attest(&artifact, scan, &world.keys[by]).expect("added");
    };
    for (by, predicate_type) in [
        ("mallory", "https://example.com/scan/v1"),
        ("trainer", "https://example.com/scan/v1"),
        ("alice", "https://example.com/scan/v1"),
        ("scanner", "https://example.com/scan/v2"),
    ] {
        attest(by, predicate_type);
        assert_eq!(kind(world.promote("m:1", "scanned", "alice")), Kind::Authenticity, "{predicate_type} by {by}");
    }
    attest("scanner", "https://example.com/scan/v1");
    world.promote("m:1", "scanned", "alice").expect("in force");
    assert_eq!(world.open("m@scanned").expect("opens"), b"m:1");
    // A scan of one artifact says nothing about another.
    let (from, to) = (reference("m:1"), reference("m:2"));
    let folder = |reference| {
        let digest = world.gate().expect("gate").resolve(reference).expect("there").digest;
        world.path(&attestations_folder(digest))
    };
    for entry in fs::read_dir(folder(&from)).expect("folder") {
        let path = entry.expect("entry").path();
        fs::copy(&path, folder(&to).join(path.file_name().expect("a name"))).expect("moved in");
    }
    assert_eq!(kind(world.promote("m:2", "scanned", "alice")), Kind::Authenticity);
    // What a store hides is missed when it is opened, too.
    fs::remove_dir_all(folder(&from)).expect("hidden");
    assert_eq!(kind(world.open("m@scanned")), Kind::Authenticity);
}

#[test]
fn a_promoted_version_must_still_be_the_artifact_that_was_promoted() {
    let world = World::new();
    world.release("m:1");
    let record = world.path("models/m/versions/1.dsse.json");
    let statement = Statement {
        subject: world.gate().expect("gate").resolve(&reference("m:2")).expect("there").subject,
        predicate: crate::provenance::VersionRecord::new(&"m:1".parse().expect("a name"), Some(world.pinned.origin()))
            .expect("randomness"),
    };
    let other = Envelope::sign(statement.to_vec().expect("written"), &world.keys["trainer"]).expect("signed");
    fs::write(record, other.to_vec().expect("written")).expect("replaced");
    assert_eq!(kind(world.open("m@production")), Kind::Authenticity, "a sealer cannot change what was approved");
}

#[test]
fn a_holder_signs_one_record_of_a_generation_with_whichever_key() {
    let world = World::new();
    let first = world.promote("m:1", "production", "trainer").expect("proposed");
    world.approve(&first, "alice").expect("signed");
    let second = world.promote("m:2", "production", "bob").expect("proposed");
    let refused = world.approve(&second, "alice2").expect_err("the same holder");
    assert!(matches!(&refused, Error::Conflict { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("b3:{}", first.id)), "says what was signed: {refused}");
    let stranger = world.stranger().expect("gate").approve(second.id, None, &world.keys["alice2"]);
    assert_eq!(kind(stranger), Kind::Conflict, "the vault shows it");
}

#[test]
fn what_a_stolen_key_signed_binds_nobody() {
    let world = World::new();
    let stolen = world.promote("m:1", "production", "alice2").expect("by the thief");
    world
        .next_root(&world.pinned, &["alice", "bob"], with_key_line("alice2", "status = \"compromised\""))
        .expect("second");
    let own = world.promote("m:2", "production", "alice").expect("alice goes on");
    assert_eq!(own.generation, stolen.generation);
}

#[test]
fn a_proposal_that_never_got_there_can_be_withdrawn_by_who_asked() {
    let world = World::new();
    let channel: ChannelName = "m@production".parse().expect("a channel");
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    // Killed between its memory and the store.
    fs::remove_dir_all(world.path(&format!("proposals/{}", proposal.id.to_hex()))).expect("never stored");
    let blocked = world.promote("m:2", "production", "trainer").expect_err("something else was signed");
    assert!(blocked.to_string().contains(&format!("b3:{}", proposal.id)), "{blocked}");
    let withdraw = |by: &str| {
        let mut gate = world.gate().expect("gate");
        gate.withdraw(proposal.id, &world.keys[by]).map(|proposal| proposal.generation)
    };
    assert_eq!(kind(withdraw("alice")), Kind::NotFound, "only who asked remembers it");
    assert_eq!(withdraw("trainer").expect("withdrawn"), 1);
    assert_eq!(world.promote("m:2", "production", "trainer").expect("the next number").generation, 2);
    assert!(world.gate().expect("gate").head(&channel).expect("read").is_none());
}

#[test]
fn however_many_proposals_there_were_people_go_on() {
    let world = World::new();
    for number in 0..10_100_u32 {
        let folder = world.path(&format!("proposals/{}", blake3::hash(&number.to_le_bytes()).to_hex()));
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("x"), "").expect("written");
    }
    world.release("m:1");
    let mut gate = world.gate().expect("gate");
    gate.propose_revocation(&"m:1".parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
}
