//! Writers that are frozen while garbage is collected twice, and go on afterwards.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use vault_tests::{
    noise,
    proxy::{Moment, Proxy, Release},
    servers::Seaweed,
};

use crate::{Desk, PREFIX, collecting::AGE, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// A writer that stands still at one of its writes.
struct Frozen {
    at: String,
    version: String,
    child: Child,
    /// Has let the write go on: only the process stands still.
    _proxy: Proxy,
}

impl Frozen {
    /// Starts `mvault` and stops it at this write; `None` if it ended before.
    fn start(desk: &Desk, version: String, args: &[&str], number: u32, moment: Moment) -> Option<Self> {
        let proxy = Proxy::before(&desk.client.address);
        proxy.hold(number, moment);
        let mut command = desk.command_by(&proxy, args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mvault runs");
        let start = Instant::now();
        while !proxy.is_held_within(Duration::from_millis(10)) {
            assert!(start.elapsed() < PATIENCE, "write {number} {moment:?}: neither held nor ended");
            if let Some(status) = child.try_wait().expect("a child of ours") {
                assert!(status.success(), "write {number} {moment:?} of {args:?}");
                return None;
            }
        }
        kill_process(Pid::from_child(&child), Signal::STOP).expect("it runs");
        proxy.release(Release::GoOn);
        Some(Self { at: format!("write {number} {moment:?}"), version, child, _proxy: proxy })
    }

    /// Lets it go on; returns its exit code and what it said.
    fn go_on(self) -> (i32, String) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it is stopped");
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Freezes the same command at each of its writes, one process for each.
fn freeze_at_each_write(desk: &Desk, args: impl Fn(&str) -> Vec<String>) -> Vec<Frozen> {
    let mut frozen = Vec::new();
    for number in 1..100 {
        for (moment, name) in [(Moment::Arrived, "before"), (Moment::Done, "after")] {
            let version = format!("m:{number}-{name}");
            let args = args(&version);
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            match Frozen::start(desk, version, &args, number, moment) {
                Some(one) => frozen.push(one),
                None => return frozen,
            }
        }
    }
    frozen
}

/// As many versions as a copy has moments to be frozen at, and more.
const MOST_WRITES: u32 = 20;

/// Collects twice, lets everybody go on, and judges what became of them.
fn thaw(desk: &Desk, frozen: Vec<Frozen>) {
    let count = frozen.len();
    thread::sleep(AGE);
    desk.collect(&[]).ok();
    thread::sleep(AGE);
    desk.collect(&[]).ok();
    desk.opens_to("m:0", "model");
    let (mut whole, mut failed) = (0, 0);
    for one in frozen {
        let (at, version) = (one.at.clone(), one.version.clone());
        let (code, said) = one.go_on();
        match code {
            0 => {
                whole += 1;
                desk.opens_to(&version, "model");
            }
            7 => {
                failed += 1;
                assert!(said.contains("garbage collection"), "{at}: {said}");
                desk.verify(&version).exits(8);
            }
            _ => panic!("{at}: {code} {said}"),
        }
    }
    // Those whose commit was decided, and those that had not begun.
    assert!(whole >= 3 && failed >= 8, "of {count}, {whole} are whole and {failed} failed");
    desk.opens_to("m:0", "model");
    desk.is_sound(&desk.url(PREFIX));
    thread::sleep(AGE);
    desk.collect(&[]).ok();
    let verified = desk.run(&["verify", "--all", "--signer", "signer.pub"]).ok().json();
    assert_eq!(verified["failed"], 0);
}

#[test]
fn a_seal_frozen_while_garbage_is_collected_twice_is_whole_or_fails_cleanly() {
    within(150, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("model/weights", &noise(1_500_000));
        desk.seal("model", "m:0").ok();
        let args = |version: &str| {
            ["seal", "model", version, "--to", "alice.pub", "--sign-with", "signer.key"].map(str::to_owned).to_vec()
        };
        let frozen = freeze_at_each_write(&desk, args);
        thaw(&desk, frozen);
    });
}

#[test]
fn a_copy_frozen_while_garbage_is_collected_twice_is_whole_or_fails_cleanly() {
    within(200, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("model/weights", &noise(1_500_000));
        // One version for each: a copy of what is there already writes nothing.
        let names =
            (1..=MOST_WRITES).flat_map(|number| ["before", "after"].map(|moment| format!("m:{number}-{moment}")));
        for version in names.chain(["m:0".to_owned()]) {
            desk.seal_with("model", &version, &["--vault", "vault"]).ok();
        }
        let url = desk.url(PREFIX);
        let args = |version: &str| {
            ["copy", version, "--from", "vault", "--to", &url, "--signer", "signer.pub"].map(str::to_owned).to_vec()
        };
        desk.run(&args("m:0").iter().map(String::as_str).collect::<Vec<_>>()).ok();
        let frozen = freeze_at_each_write(&desk, args);
        let versions: Vec<_> = frozen.iter().map(|one| one.version.clone()).collect();
        thaw(&desk, frozen);
        // Whoever failed is told so once: the same copy, made again, succeeds.
        for version in versions {
            desk.run(&args(&version).iter().map(String::as_str).collect::<Vec<_>>()).ok();
            desk.opens_to(&version, "model");
        }
    });
}
