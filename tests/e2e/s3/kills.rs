//! Every command that writes, killed at each of its writes: before the server saw it, and after it did what it says.
//!
//! Afterwards what was there before is whole, what was being made is whole or absent, nothing is damaged, and the same
//! command, given again, comes to its end.

use std::{
    cell::RefCell,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use vault_tests::{
    Output, Workspace,
    proxy::{Moment, Proxy, Release},
    servers::Seaweed,
};

use crate::{Desk, PREFIX, collecting::AGE, within};

const PATIENCE: Duration = Duration::from_mins(1);

/// Kills a command at its write of this number. Whether it came so far: otherwise it ended well by itself.
fn is_killed_at(proxy: &Proxy, mut command: Command, number: u32, moment: Moment) -> bool {
    proxy.hold(number, moment);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mvault runs");
    let start = Instant::now();
    let ended = loop {
        if proxy.is_held_within(Duration::from_millis(10)) {
            break None;
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break Some(status);
        }
        assert!(start.elapsed() < PATIENCE, "write {number} {moment:?}: neither held nor ended");
    };
    if let Some(status) = ended {
        let output = child.wait_with_output().expect("it ended");
        assert!(status.success(), "write {number} {moment:?}: {}", String::from_utf8_lossy(&output.stderr));
        proxy.release(Release::GoOn);
        return false;
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    proxy.release(Release::Cut);
    assert!(proxy.is_quiet_within(PATIENCE), "what it had sent comes to its end");
    true
}

/// Kills `command` at each of its writes; it is told a word of its own for each. Then `check` is told the same word.
/// Returns how many writes there are.
fn sweep(proxy: &Proxy, command: impl Fn(&str) -> Command, check: impl Fn(&str)) -> u32 {
    for number in 1.. {
        for moment in [Moment::Arrived, Moment::Done] {
            let word = format!("{number}-{}", if moment == Moment::Arrived { "before" } else { "after" });
            if !is_killed_at(proxy, command(&word), number, moment) {
                return number - 1;
            }
            check(&word);
        }
        assert!(number < 100, "it never comes to its end");
    }
    0
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn seals_killed_at_any_write_are_repeated(more: &[&str]) {
    let Some(server) = Seaweed::shared() else { return };
    let (desk, proxy) = (Desk::new(server.client()), Proxy::before(&server.client().address));
    // Two segments, so that there is a tree.
    desk.work.write("model/weights", &vec![7; 1_500_000]);
    let seal = |version: &str| {
        let args = ["seal", "model", version, "--to", "alice.pub", "--sign-with", "signer.key"];
        [&args[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    Output::of(&mut desk.command_by(&proxy, &words(&seal("m:0"))), b"").ok();
    let writes = sweep(
        &proxy,
        |word| desk.command_by(&proxy, &words(&seal(&format!("m:{word}")))),
        |word| {
            let version = format!("m:{word}");
            let there = desk.verify(&version);
            assert!([0, 8].contains(&there.code), "{word}: {} {}", there.code, there.stderr);
            let again = desk.run(&words(&seal(&version)));
            // A seal that is gone on with may find that all was decided: it publishes the version, which then exists.
            let is_finished = !more.is_empty() && again.code == 7;
            let expected = if there.code == 0 || is_finished { 7 } else { 0 };
            assert_eq!(again.code, expected, "{word}: {}", again.stderr);
        },
    );
    // Lease, part, tree, index, manifest, recipients, provenance, outcome, version.
    assert!(writes >= 9, "{writes} writes");
    // The first one, one for each kill, and the one that nobody killed.
    let all_are_whole = || {
        let verified = desk.run(&["verify", "--all", "--signer", "signer.pub"]).ok().json();
        assert_eq!((&verified["verified"], &verified["failed"]), (&(2 * writes + 2).into(), &0.into()));
    };
    all_are_whole();
    desk.is_sound(&desk.url(PREFIX));
    for version in ["m:0", "m:2-before", "m:4-after"] {
        desk.opens_to(version, "model");
    }
    // What the killed ones left goes, and nothing else.
    thread::sleep(AGE);
    desk.collect(&[]).ok();
    all_are_whole();
    has_no_garbage(&desk, &desk.url(PREFIX));
}

#[track_caller]
fn has_no_garbage(desk: &Desk, vault: &str) {
    let report = desk.run(&["fsck", "--vault", vault]).ok().json();
    for list in ["damage", "orphans", "unpublished", "foreign"] {
        assert_eq!(report[list], json!([]), "{list}");
    }
}

#[test]
fn a_seal_killed_at_any_write_is_whole_or_absent() {
    within(150, || seals_killed_at_any_write_are_repeated(&[]));
}

#[test]
fn a_seal_that_can_be_gone_on_with_killed_at_any_write_is_whole_or_absent() {
    within(150, || seals_killed_at_any_write_are_repeated(&["--resume"]));
}

#[test]
fn a_copy_killed_at_any_write_is_whole_or_absent() {
    within(150, || {
        let Some(server) = Seaweed::shared() else { return };
        let (desk, proxy) = (Desk::new(server.client()), Proxy::before(&server.client().address));
        desk.work.write("model/weights", &vec![7; 1_500_000]);
        desk.seal_with("model", "m:1", &["--vault", "vault"]).ok();
        let copy = |word: &str| {
            let to = desk.url(&format!("copy-{word}"));
            let args = ["copy", "m:1", "--from", "vault", "--to", &to, "--init", "--signer", "signer.pub"];
            args.map(str::to_owned).to_vec()
        };
        let verify = |word: &str| {
            let to = desk.url(&format!("copy-{word}"));
            desk.run(&["verify", "m:1", "--vault", &to, "--signer", "signer.pub"])
        };
        let writes = sweep(
            &proxy,
            |word| desk.command_by(&proxy, &words(&copy(word))),
            |word| {
                let there = verify(word);
                assert!([0, 8].contains(&there.code), "{word}: {} {}", there.code, there.stderr);
                desk.run(&words(&copy(word))).ok();
                desk.is_sound(&desk.url(&format!("copy-{word}")));
            },
        );
        // The vault, twice because it is the first thing stored; and what a seal writes.
        assert!(writes >= 11, "{writes} writes");
    });
}

#[test]
fn a_collection_killed_at_any_write_has_lost_nothing_and_the_next_one_finishes() {
    within(400, || {
        let Some(server) = Seaweed::shared() else { return };
        let (desk, proxy) = (Desk::new(server.client()), Proxy::before(&server.client().address));
        desk.work.write("input", b"weights");
        desk.seal("input", "m:1").ok();
        let paths = desk.paths("").into_iter();
        let sealed = paths.map(|path| (desk.client.get(&desk.bucket, &format!("{PREFIX}/{path}")), path));
        let sealed: Vec<_> = sealed.collect();
        // The same vault with the same garbage, once for each kill, so that they age together.
        let prefix = |word: &str| format!("gc-{word}");
        for number in 1..=MOST_WRITES {
            for moment in ["before", "after"] {
                let prefix = prefix(&format!("{number}-{moment}"));
                for (bytes, path) in &sealed {
                    desk.client.put(&desk.bucket, &format!("{prefix}/{path}"), bytes);
                }
                desk.litter(&prefix, 1);
                desk.litter(&prefix, 2);
            }
        }
        thread::sleep(AGE);
        let collect = |word: &str| {
            ["gc", "--vault", &desk.url(&prefix(word)), "--grace", "1s", "--signer", "signer.pub"].map(str::to_owned)
        };
        let killed = RefCell::new(Vec::new());
        let writes = sweep(
            &proxy,
            |word| desk.command_by(&proxy, &words(&collect(word))),
            |word| killed.borrow_mut().push(word.to_owned()),
        );
        // All at once: each waits for what its trial signed to end.
        thread::scope(|scope| {
            for word in killed.take() {
                let (desk, collect, prefix) = (&desk, &collect, &prefix);
                scope.spawn(move || {
                    let vault = desk.url(&prefix(&word));
                    desk.run(&["verify", "m:1", "--vault", &vault, "--signer", "signer.pub"]).ok();
                    desk.run(&words(&collect(&word))).ok();
                    has_no_garbage(desk, &vault);
                });
            }
        });
        // Start (twice, as the first thing stored), list, trial (created, deleted, refused), promise, decision, two of litter,
        // lease, outcome, end.
        assert!((13..MOST_WRITES).contains(&writes), "{writes} writes");
    });
}

#[test]
fn a_collection_killed_while_it_deletes_is_taken_over_by_a_later_one() {
    within(240, || {
        let Some(server) = Seaweed::shared() else { return };
        let (desk, proxy) = (Desk::new(server.client()), Proxy::before(&server.client().address));
        desk.work.write("input", b"weights");
        desk.seal("input", "m:1").ok();
        let litter = [desk.litter(PREFIX, 1), desk.litter(PREFIX, 2)];
        thread::sleep(AGE);
        let mut run = None;
        for number in 1..MOST_WRITES {
            let collect = desk.command_by(&proxy, &["gc", "--grace", "1s", "--signer", "signer.pub"]);
            assert!(is_killed_at(&proxy, collect, number, Moment::Done), "it never decided");
            let paths = desk.paths("gc/");
            let ids = paths.iter().filter_map(|path| path.strip_prefix("gc/")?.strip_suffix("/outcome.json"));
            let is_done = |id: &&str| !paths.contains(&format!("gc/{id}/done.json"));
            let decides = |id: &str| desk.client.get(&desk.bucket, &format!("{PREFIX}/gc/{id}/outcome.json"));
            let killed = ids.filter(is_done).find(|id| String::from_utf8_lossy(&decides(id)).contains("deleting"));
            if let Some(id) = killed {
                run = Some(id.to_owned());
                break;
            }
        }
        let run = run.expect("a run that decided");
        assert!(desk.paths("gc/").contains(&format!("gc/{run}/promise.json")));
        let events = || {
            let said = desk.collect(&[]).ok().json();
            let of_run = said["events"].as_array().expect("a list").iter().filter(|event| event["id"] == run.as_str());
            of_run.cloned().collect::<Vec<_>>()
        };
        thread::sleep(AGE);
        assert_eq!(events(), [json!({ "event": "taken-over", "id": run })]);
        let paths = desk.paths("objects/");
        assert!(!litter.iter().any(|path| paths.contains(path)), "what it had not deleted is deleted all the same");
        assert_eq!(events(), [json!({ "event": "unfinished", "id": run, "pending": "settling" })]);
        desk.run(&["gc", "--declare-finished", &run]).ok();
        assert_eq!(events(), Vec::<serde_json::Value>::new());
        desk.verify("m:1").ok();
        has_no_garbage(&desk, &desk.url(PREFIX));
    });
}

/// More than a collection of so little does.
const MOST_WRITES: u32 = 18;

#[test]
fn a_promotion_killed_at_any_write_is_in_force_or_not_and_the_work_goes_on() {
    within(150, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::on(Workspace::with_examples(), server.client());
        desk.client.make_bucket(&desk.bucket);
        let proxy = Proxy::before(&desk.client.address);
        let under = |args: &[&str]| {
            let all = [&["--allow-example-keys"], args, &["--trust", "root.json", "--state", "state"]].concat();
            all.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let run = |args: &[&str]| desk.run(&words(&under(args)));
        desk.run(&["init"]).ok();
        desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
        for version in ["m:1", "m:2"] {
            desk.work.write("weights", version.as_bytes());
            run(&["seal", "weights", version, "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
        }
        let promote = |version: &str, key: &str| {
            under(&["promote", version, "--channel", "staging", "--reason", "kill", "--key", key])
        };
        Output::of(&mut desk.command_by(&proxy, &words(&promote("m:1", "alice.key"))), b"").ok();
        let current = || {
            let log = run(&["channel", "log", "m@staging"]).ok().json();
            let history = log["history"].as_array().expect("a list").clone();
            assert!(history.iter().all(|entry| entry["counts"] == true && entry["linked"] == true), "{log}");
            history.len()
        };
        let writes = sweep(
            &proxy,
            |_| desk.command_by(&proxy, &words(&promote("m:2", "alice.key"))),
            |word| {
                let before = current();
                let again = desk.run(&words(&promote("m:2", "alice.key")));
                assert_eq!(again.code, 0, "{word}: {}", again.stderr);
                assert!(current() > before, "{word}");
                run(&["verify", "m@staging"]).ok();
            },
        );
        assert!(writes >= 2, "{writes} writes");
        run(&["open", "m@staging", "out", "--identity", "node.key"]).ok();
        assert_eq!(desk.work.read("out/weights"), b"m:2");
    });
}
