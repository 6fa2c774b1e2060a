//! Each thing that can go wrong between a client and a server: the result is right, or the exit code is.

use std::{process::Stdio, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use vault_tests::{
    noise,
    proxy::{Fault, Kind, Rule},
};

use crate::{proxied, refused, within};

/// What a seal writes, from the first to the last.
const WRITTEN: [&str; 4] = ["/objects/", "/manifest.json", "/recipients/", "/versions/"];

/// One version after the other is sealed while this happens to one of its writes. Each is there once and is whole.
fn seals_survive(fault: &Fault) {
    let Some((desk, proxy)) = proxied() else { return };
    desk.work.write("input", &noise(100_000));
    for (number, target) in WRITTEN.into_iter().enumerate() {
        let version = format!("m:{number}");
        proxy.add(Rule::new("PUT", target, fault.clone()));
        let sealed = desk.seal("input", &version);
        assert_eq!(sealed.code, 0, "{fault:?} of {target}: {}", sealed.stderr);
        assert!(proxy.clear(), "{fault:?} of {target} did not happen");
        desk.verify(&version).ok();
        assert_eq!(desk.paths("models/m/versions/").len(), number + 1);
    }
    desk.open("m:3", "out").ok();
    assert_eq!(desk.work.read("out/input"), desk.work.read("input"));
    assert_eq!(desk.run(&["fsck"]).ok().json()["damage"], serde_json::json!([]));
}

#[test]
fn a_write_that_was_refused_for_now_is_tried_again() {
    within(90, || seals_survive(&Fault::SLOW_DOWN));
    within(90, || seals_survive(&Fault::ERROR));
}

#[test]
fn a_write_whose_answer_was_an_error_is_not_taken_for_somebody_elses() {
    within(90, || seals_survive(&Fault::ERROR_AFTER));
}

#[test]
fn a_write_that_raced_with_nobody_is_tried_again() {
    within(90, || seals_survive(&Fault::RACING));
    within(90, || seals_survive(&Fault::RefuseAfter { status: 409, code: "ConditionalRequestConflict" }));
}

#[test]
fn a_write_whose_connection_broke_is_tried_again() {
    within(90, || seals_survive(&Fault::CutBefore));
}

#[test]
fn a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses() {
    within(90, || seals_survive(&Fault::CutAfter));
}

#[test]
fn a_refusal_that_was_lost_is_still_a_conflict() {
    within(90, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", b"1");
        desk.seal("input", "m:1").ok();
        let before = desk.paths("");
        desk.work.write("input", b"2");
        for fault in [Fault::ERROR_AFTER, Fault::CutAfter] {
            proxy.add(Rule::new("PUT", "/versions/", fault));
            refused(desk.seal("input", "m:1"), 7, "conflict");
            proxy.clear();
        }
        assert_eq!(
            desk.paths("models"),
            before.into_iter().filter(|path| path.starts_with("models")).collect::<Vec<_>>()
        );
        desk.open("m:1", "out").ok();
        assert_eq!(desk.work.read("out/input"), b"1");
    });
}

#[test]
fn reads_that_fail_or_break_are_tried_again() {
    within(120, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", &noise(20_000_000));
        desk.seal("input", "m:1").ok();
        let faults = [
            Fault::SLOW_DOWN,
            Fault::ERROR,
            Fault::CutBefore,
            Fault::CutAfter,
            Fault::CutDuring,
            Fault::Delay(Duration::from_millis(500)),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            for target in ["/objects/", "/manifest.json", "/versions/"] {
                proxy.add(Rule::new("GET", target, fault.clone()));
            }
            let out = format!("out-{number}");
            let opened = desk.open("m:1", &out);
            assert_eq!(opened.code, 0, "{fault:?}: {}", opened.stderr);
            assert!(proxy.clear(), "{fault:?} did not happen");
            assert_eq!(desk.work.read(&format!("{out}/input")), desk.work.read("input"));
        }
    });
}

#[test]
fn answers_that_lie_are_noticed_and_nothing_of_them_is_written() {
    within(120, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", &noise(5_000_000));
        desk.seal("input", "m:1").ok();
        for (target, fault) in [
            ("/objects/", Fault::Flip(20)),
            ("/manifest.json", Fault::Flip(20)),
            ("/recipients/", Fault::Flip(60)),
            ("/objects/", Fault::WrongRange(1)),
            ("/objects/", Fault::Truncate(1)),
            ("/manifest.json", Fault::Truncate(1)),
        ] {
            proxy.add(Rule::new("GET", target, fault.clone()).always());
            let opened = desk.run(&[
                "open",
                "m:1",
                "out",
                "--identity",
                "alice.key",
                "--signer",
                "signer.pub",
                "--give-up-after",
                "2s",
            ]);
            assert!([1, 3, 4, 6].contains(&opened.code), "{fault:?} of {target}: {} {}", opened.code, opened.stderr);
            assert!(!desk.work.path("out").exists(), "{fault:?} of {target}");
            proxy.clear();
        }
        desk.open("m:1", "out").ok();
    });
}

#[test]
fn a_listing_that_hides_the_newest_does_not_replace_anything() {
    within(90, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", b"1");
        desk.run(&["ls"]).ok();
        desk.seal("input", "m:1").ok();
        proxy.add(Rule::new("GET", "list-type", Fault::StaleListing).always());
        desk.work.write("input", b"2");
        refused(desk.seal("input", "m:1"), 7, "conflict");
        desk.verify("m:1").ok();
        proxy.clear();
        desk.open("m:1", "out").ok();
        assert_eq!(desk.work.read("out/input"), b"1");
    });
}

#[test]
fn who_gives_up_says_about_which_object() {
    within(60, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", b"1");
        for fault in [Fault::SLOW_DOWN, Fault::CutBefore] {
            proxy.add(Rule::new("PUT", "/versions/", fault.clone()).always());
            let args =
                ["seal", "input", "m:1", "--to", "alice.pub", "--sign-with", "signer.key", "--give-up-after", "2s"];
            let message = refused(desk.run(&args), 1, "operational");
            assert!(message.contains("models/m/versions/1"), "{fault:?}: {message}");
            assert!(proxy.clear());
        }
        desk.seal("input", "m:1").ok();
    });
}

#[test]
fn a_stopped_seal_goes_on_where_it_was() {
    within(60, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("input", &noise(40_000_000));
        proxy.set_latency(Duration::from_millis(100));
        let mut child = desk
            .command(&["seal", "input", "m:1", "--to", "alice.pub", "--sign-with", "signer.key"])
            .stdout(Stdio::null())
            .spawn()
            .expect("mvault runs");
        while !proxy.has_seen(Kind::Create) {
            thread::sleep(Duration::from_millis(5));
        }
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::STOP).expect("it runs");
        thread::sleep(Duration::from_secs(2));
        kill_process(pid, Signal::CONT).expect("it is stopped");
        assert!(child.wait().expect("it ends").success());
        proxy.set_latency(Duration::ZERO);
        desk.open("m:1", "out").ok();
        assert_eq!(desk.work.read("out/input"), desk.work.read("input"));
    });
}
