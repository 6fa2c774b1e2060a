//! What a look over the vault says of the small signed records.

use super::*;

fn findings(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    let looked = world.fixture.vault.fsck(threads(1), &(), &mut |finding| {
        findings.push(finding);
        Ok(())
    });
    looked.expect("looked over");
    findings
}

/// A vault with a record of every kind; the paths of one of each, and of another that may not stand in its place.
fn full() -> (World, Vec<String>) {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    for version in ["m:1", "m:2"] {
        world.promote(version, "fresh", "alice").expect("in force");
    }
    for time in [NOON, "2026-11-21T13:00:00Z"] {
        let mut gate = world.gate_at(time).expect("gate");
        let channel = "m@fresh".parse().expect("a channel");
        gate.state_freshness(&channel, 3600, &world.keys["clock"]).expect("stated");
        gate.close().expect("remembered");
    }
    for version in ["m:1", "m:3"] {
        let mut gate = world.gate().expect("gate");
        let name = version.parse().expect("a name");
        gate.propose_revocation(&name, "leaks", &world.keys["alice"]).expect("revoked");
        gate.retire(&name, "old", InUse::Allow, &world.keys["alice"]).expect("retired");
        gate.close().expect("remembered");
    }
    world.next_root(&world.pinned, &["alice", "bob"], |text| text).expect("second");
    let mut paths = Vec::new();
    let listed = world.fixture.vault.store().names("", &mut |path| {
        paths.push(path);
        Ok(())
    });
    listed.expect("listed");
    paths.sort();
    let kinds = [
        "/recipients/",
        "/attestations/",
        "freshness/",
        "/channels/",
        "proposals/",
        "retired/",
        "revocations/",
        "trust/",
    ];
    let records = kinds.iter().flat_map(|kind| {
        let first = if *kind == "/channels/" { "models/" } else { "" };
        let of_kind: Vec<_> = paths.iter().filter(|p| p.contains(kind) && p.starts_with(first)).cloned().collect();
        assert!(of_kind.len() >= 2, "{kind}: {of_kind:?}");
        of_kind.into_iter().take(2)
    });
    let records = records.collect();
    (world, records)
}

#[test]
fn fsck_names_every_record_that_is_none_and_every_one_that_stands_elsewhere() {
    let (world, records) = full();
    assert!(findings(&world).is_empty(), "{:?}", findings(&world));
    let kept: Vec<_> = records.iter().map(|path| fs::read(world.path(path)).expect("read")).collect();
    for pair in [0, 1] {
        for (number, path) in records.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
            let bad = if pair == 0 { b"{}".to_vec() } else { kept[number + 1].clone() };
            fs::write(world.path(path), bad).expect("written");
        }
        let broken: Vec<_> = findings(&world)
            .into_iter()
            .map(|finding| match finding {
                Finding::BrokenRecord { path, error } => {
                    assert_eq!(error.kind(), Kind::Integrity, "{path}: {error}");
                    path
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> = records.iter().step_by(2).cloned().collect();
        assert_eq!(broken.iter().collect::<BTreeSet<_>>(), expected.iter().collect(), "{pair}");
        assert_eq!(broken.len(), expected.len());
    }
}

#[test]
fn fsck_takes_a_withdrawal_for_what_it_is_and_asks_nobody_s_signature() {
    let world = World::new();
    let proposal = world.promote("m:1", "production", "trainer").expect("proposed");
    let mut gate = world.gate().expect("gate");
    gate.withdraw(proposal.id, &world.keys["trainer"]).expect("withdrawn");
    gate.close().expect("remembered");
    // Too few signed it, and it could be anybody's.
    let envelope = signed_root(&source(&world.keys, |text| text), None, NOON, &[&world.keys["alice"]]);
    let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&envelope));
    fs::write(world.path(&format!("trust/1/{name}.dsse.json")), envelope).expect("written");
    assert!(findings(&world).is_empty(), "{:?}", findings(&world));
}

#[test]
fn fsck_calls_foreign_what_no_record_may_be_called() {
    let world = World::new();
    for path in ["revocations/one.dsse.json", "trust/1/first.dsse.json", "models/m/channels/fresh/0.dsse.json"] {
        fs::create_dir_all(world.path(path).parent().expect("a folder")).expect("folder");
        fs::write(world.path(path), "{}").expect("written");
    }
    let found = findings(&world);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|finding| matches!(finding, Finding::Foreign { .. })), "{found:?}");
}
