use super::*;

/// One write fails, and the process is gone; then somebody goes on with what is there.
#[test]
fn a_crash_at_any_write_leaves_history_valid_and_the_work_resumable() {
    let world = World::new();
    world.release("m:1");
    let channel: ChannelName = "m@production".parse().expect("a channel");
    let name: VersionName = "m:2".parse().expect("a name");
    let run = |vault: &Vault, state: &std::path::Path| -> Result<()> {
        let gate = || vault.gate(&world.pinned, Memory::open(state, world.pinned.origin())?, clock(NOON));
        let proposal = gate()?.propose_promotion(&channel, &name, ("because", None), &world.keys["trainer"])?;
        gate()?.approve(proposal.id, None, &world.keys["alice"])?;
        gate()?.approve(proposal.id, None, &world.keys["bob"])?;
        let revoked = "m:3".parse()?;
        gate()?.propose_revocation(&revoked, "leaks", &world.keys["carol"])?;
        gate()?.state_freshness(&channel, 3600, &world.keys["clock"])?;
        Ok(())
    };
    let (_dir, backend) = copy_of(&world);
    let counting = Faulty::counting(backend);
    let state = tempfile::tempdir().expect("folder");
    run(&Vault::open(Store::new(counting.clone())).expect("vault"), state.path()).expect("done");
    let writes = counting.writes();
    assert!(writes >= 7, "{writes} writes");

    for number in 1..=writes {
        for when in [When::Before, When::After] {
            let (dir, backend) = copy_of(&world);
            let state = tempfile::tempdir().expect("folder");
            let vault = Vault::open(Store::new(Faulty::failing(backend, number, when))).expect("vault");
            let crashed = run(&vault, state.path());
            assert!(crashed.is_err(), "write {number} {when:?}");
            let at = format!("write {number} {when:?}");
            let vault = Vault::open(store(dir.path())).expect("still a vault");
            let memory = || Memory::open(state.path(), world.pinned.origin()).expect("memory");
            let gate = || vault.gate(&world.pinned, memory(), clock(NOON)).expect("gate");
            let before = gate().resolve(&reference("m@production")).expect(&at).name.expect("a name");
            assert!(before.version.as_str() == "1" || before.version.as_str() == "2", "{at}");
            let history = gate().channel_log(&channel).expect(&at).0;
            assert!(history.iter().all(|entry| entry.linked && entry.fault.is_none()), "{at}: {history:?}");

            // Whoever was interrupted asks again, and goes on with what was asked before, also if that never reached the vault.
            let open = gate().proposals().expect(&at).into_iter().find(|p| p.channel.is_some());
            if before.version.as_str() == "1" {
                let ask = |reason| gate().propose_promotion(&channel, &name, (reason, None), &world.keys["trainer"]);
                assert_eq!(kind(ask("another reason")), Kind::Conflict, "{at}");
                let proposal = ask("because").expect(&at);
                assert!(open.is_none_or(|open| open.id == proposal.id), "{at}");
                for by in ["alice", "bob"] {
                    gate().approve(proposal.id, None, &world.keys[by]).expect(&at);
                }
            }
            let after = gate().resolve(&reference("m@production")).expect(&at);
            assert_eq!(after.name.expect("a name").version.as_str(), "2", "{at}");
            let revoked = gate().propose_revocation(&"m:3".parse().expect("a name"), "leaks", &world.keys["carol"]);
            let refused = gate().resolve(&reference("m:3"));
            assert_eq!(kind(refused), Kind::Authenticity, "{at}: {revoked:?}");
            gate().state_freshness(&channel, 3600, &world.keys["clock"]).expect(&at);
        }
    }
}

fn copy_of(world: &World) -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().expect("folder");
    for path in world.fixture.objects() {
        let to = dir.path().join(path.strip_prefix(world.fixture.dir.path()).expect("below"));
        fs::create_dir_all(to.parent().expect("folder")).expect("folders");
        fs::copy(path, to).expect("copied");
    }
    let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
    (dir, backend)
}
