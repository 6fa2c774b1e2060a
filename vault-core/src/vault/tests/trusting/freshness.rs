use super::*;

fn state(world: &World, at: &str, seconds: u64) -> Result<Stated> {
    let mut gate = world.gate_at(at)?;
    let stated = gate.state_freshness(&"m@fresh".parse()?, seconds, &world.keys["clock"]);
    gate.close()?;
    stated
}

fn statements(world: &World) -> std::path::PathBuf {
    world.path("freshness/m/channels/fresh")
}

#[test]
fn a_channel_that_demands_freshness_opens_while_a_statement_is_fresh() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    assert_eq!(kind(world.open("m@fresh")), Kind::Stale, "there is none");
    let stated = state(&world, NOON, 7 * 24 * 3600).expect("stated");
    assert_eq!((stated.generation, stated.revocation, stated.root_version), (1, None, 1));
    assert_eq!(world.open("m@fresh").expect("opens"), b"m:1");
    let at = |time: &str| world.open_with(world.gate_at(time).expect("gate"), "m@fresh");
    assert!(at("2026-11-22T11:59:00Z").is_ok());
    assert_eq!(kind(at("2026-11-22T12:06:00Z")), Kind::Stale, "it counts a week, but the rule says a day");
    assert_eq!(kind(at("2026-11-21T11:50:00Z")), Kind::Stale, "nothing is made yet, and it was seen");
    state(&world, "2026-11-22T12:00:00Z", 60).expect("stated");
    assert!(at("2026-11-22T12:05:00Z").is_ok());
    assert_eq!(kind(at("2026-11-22T12:07:00Z")), Kind::Stale, "it counted a minute, and clocks differ by five");
}

#[test]
fn a_statement_that_is_too_old_is_not_called_missing() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    let says = |at: &str| {
        let opened = world.open_with(world.gate_at(at).expect("gate"), "m@fresh");
        opened.expect_err("nothing that counts is there").to_string()
    };
    let what = "a statement of freshness for m@fresh is stale:";
    assert_eq!(says(NOON), format!("{what} there is none"));
    state(&world, NOON, 7 * 24 * 3600).expect("stated");
    assert_eq!(says("2026-11-24T12:00:00Z"), format!("{what} those that are there are too old"));
}

#[test]
fn only_a_freshness_key_states_it() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    for nobody in ["alice", "trainer", "mallory"] {
        let mut gate = world.gate().expect("gate");
        let stated = gate.state_freshness(&"m@fresh".parse().expect("a channel"), 60, &world.keys[nobody]);
        assert_eq!(kind(stated), Kind::Authenticity, "{nobody}");
    }
    state(&world, NOON, 3600).expect("stated");
    let path = fs::read_dir(statements(&world)).expect("folder").next().expect("one").expect("entry").path();
    let mut envelope = Envelope::parse_record(&fs::read(&path).expect("read")).expect("an envelope");
    envelope = Envelope::sign(envelope.payload().to_vec(), &world.keys["mallory"]).expect("signed");
    fs::write(&path, envelope.to_vec().expect("written")).expect("replaced");
    assert_eq!(kind(world.open("m@fresh")), Kind::Stale, "signed by somebody else");
}

#[test]
fn what_a_statement_knows_cannot_be_hidden_even_from_a_newcomer() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    world.promote("m:2", "fresh", "alice").expect("in force");
    let mut gate = world.gate().expect("gate");
    gate.propose_revocation(&"m:3".parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
    gate.close().expect("remembered");
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    state(&world, NOON, 3600).expect("stated");
    let newcomer = || world.stranger().and_then(|gate| world.open_with(gate, "m@fresh"));
    assert_eq!(newcomer().expect("opens"), b"m:2");
    for hidden in ["models/m/channels/fresh/2.dsse.json", "revocations/1.dsse.json", "trust/2"] {
        fs::rename(world.path(hidden), world.path("hidden")).expect("hidden");
        assert_eq!(kind(newcomer()), Kind::Stale, "{hidden}");
        fs::rename(world.path("hidden"), world.path(hidden)).expect("shown");
    }
    assert_eq!(newcomer().expect("opens"), b"m:2");
    // A promotion after the statement is no reason for alarm.
    world.promote("m:1", "fresh", "bob").expect("in force");
    assert_eq!(newcomer().expect("opens"), b"m:1");
}

#[test]
fn a_statement_for_one_channel_says_nothing_about_another() {
    let world = World::new();
    world.promote("m:1", "fresh", "alice").expect("in force");
    state(&world, NOON, 3600).expect("stated");
    world.seal("n:1", Some(world.pinned.origin()));
    world.promote("n:1", "fresh", "alice").expect("in force");
    let other = world.path("freshness/n/channels/fresh");
    fs::create_dir_all(other.parent().expect("folder")).expect("folders");
    fs::rename(statements(&world), &other).expect("moved");
    assert_eq!(kind(world.open("n@fresh")), Kind::Stale);
}

#[test]
fn without_a_demand_the_explanation_says_how_stale_it_may_be() {
    let world = World::new();
    world.release("m:1");
    let mut gate = world.gate().expect("gate");
    gate.resolve(&reference("m@production")).expect("opens");
    let steps = gate.steps().join("\n");
    for part in [
        "trust root: version 1",
        "approved by alice, bob (2 of 2)",
        "none is demanded",
        "sealed by trainer",
        "not revoked",
    ] {
        assert!(steps.contains(part), "{part}: {steps}");
    }
    drop(gate);
    let mut gate = world.gate_at("2027-01-21T12:00:00Z").expect("gate");
    assert!(gate.resolve(&reference("m@production")).is_err());
    assert!(!gate.steps().join("\n").contains("expiry:"), "what failed is not among what was checked");
}
