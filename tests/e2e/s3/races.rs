//! Many writers of one name: one wins, the others are told, and the history is whole.

use std::{fs, sync::Barrier, thread};

use vault_tests::{Output, Workspace, servers::Seaweed};

use crate::{Desk, within};

const WRITERS: usize = 16;

/// Runs a command so many times at once.
fn race(command: impl Fn(usize) -> Output + Sync) -> Vec<Output> {
    let start = Barrier::new(WRITERS);
    thread::scope(|scope| {
        let run = |number| {
            let (start, command) = (&start, &command);
            scope.spawn(move || {
                start.wait();
                command(number)
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(run).collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    })
}

/// The one that succeeded; all others met a conflict.
#[track_caller]
fn only_winner(outputs: &[Output]) -> usize {
    let winners: Vec<_> = (0..outputs.len()).filter(|number| outputs[*number].code == 0).collect();
    for output in outputs {
        assert!([0, 7].contains(&output.code), "{} {}", output.code, output.stderr);
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    winners[0]
}

#[test]
fn of_sixteen_writers_of_one_version_one_wins() {
    within(120, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        for number in 0..WRITERS {
            desk.work.write(&format!("in-{number}/input"), number.to_string().as_bytes());
        }
        let winner = only_winner(&race(|number| desk.seal(&format!("in-{number}/input"), "m:1")));
        assert_eq!(desk.paths("models/m/versions/").len(), 1);
        desk.open("m:1", "out").ok();
        assert_eq!(desk.work.read("out/input"), winner.to_string().as_bytes());
        desk.run(&["fsck"]).ok();
    });
}

#[test]
fn of_sixteen_promotions_of_one_generation_one_wins_and_the_history_is_whole() {
    within(150, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::on(Workspace::with_examples(), server.client());
        desk.client.make_bucket(&desk.bucket);
        let run = |state: &str, args: &[&str]| {
            desk.run(&[&["--allow-example-keys"], args, &["--trust", "root.json", "--state", state]].concat())
        };
        desk.run(&["init"]).ok();
        desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
        desk.work.write("weights", b"1");
        run("state", &["seal", "weights", "m:1", "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
        // Each on a machine of its own, with a memory of its own.
        let outputs = race(|number| {
            let key = ["alice.key", "bob.key", "carol.key"][number % 3];
            let asked = ["promote", "m:1", "--channel", "staging", "--reason", "race", "--key", key];
            run(&format!("state-{number}"), &asked)
        });
        let codes: Vec<_> = outputs.iter().map(|output| output.code).collect();
        let generations: Vec<_> = outputs
            .iter()
            .filter(|output| output.code == 0)
            .map(|output| output.json()["generation"].as_u64().expect("a number"))
            .collect();
        assert!(codes.iter().all(|code| [0, 7].contains(code)), "{codes:?}");
        assert!(!generations.is_empty());
        let mut distinct = generations.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), generations.len(), "no generation has two winners: {generations:?}");
        let log = run("reader", &["channel", "log", "m@staging"]).ok().json();
        let history = log["history"].as_array().expect("a list");
        assert_eq!(history.len(), generations.len());
        assert_eq!(
            desk.paths("models/m/channels/staging/").iter().filter(|path| !path.contains("proposals")).count(),
            history.len()
        );
        let _ = fs::remove_dir_all(desk.work.path("out"));
        run("reader", &["open", "m@staging", "out", "--identity", "node.key"]).ok();
    });
}
