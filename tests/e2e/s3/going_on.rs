//! Seals into a bucket and opens from it that are killed and gone on with.

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use vault_core::seal::resume::Summary;
use vault_tests::{
    noise,
    proxy::{Fault, Kind, Proxy, Rule},
};

use crate::{Desk, proxied, refused, until, within};

/// Six parts of 8 MiB.
const BYTES: usize = 45_000_000;
const RESUME: [&str; 5] = ["--resume", "--part-size", "8", "--jobs", "1"];

fn start(desk: &Desk, args: &[&str]) -> Child {
    desk.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mvault runs")
}

/// The bytes of all files whose path contains this.
fn bytes_of(desk: &Desk, folder: &str, part: &str) -> u64 {
    if !desk.work.path(folder).exists() {
        return 0;
    }
    let fitting = desk.work.files(folder).into_iter().filter(|path| path.to_string_lossy().contains(part));
    // A file may go while it is looked at.
    fitting.filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum()
}

/// A seal that was killed when its session knew of parts that are in the bucket.
fn killed_seal(desk: &Desk, proxy: &Proxy) {
    proxy.set_latency(Duration::from_millis(150));
    // It cannot come to its end.
    proxy.add(Rule::new("PUT", "/manifest.json", Fault::Delay(Duration::from_mins(1))).always());
    let seal = ["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "signer.key"];
    let mut child = start(desk, &[&seal[..], &RESUME].concat());
    until("a part to be noted", || {
        let sessions = desk.work.path("state-home/mvault/resume");
        let Some(Ok(session)) = fs::read_dir(sessions).ok().and_then(|mut found| found.next()) else { return false };
        let summary = fs::read(session.path()).ok().and_then(|bytes| Summary::parse(&bytes).ok().flatten());
        summary.is_some_and(|summary| summary.parts > 0)
    });
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    assert!(proxy.is_quiet_within(Duration::from_secs(100)));
    proxy.set_latency(Duration::ZERO);
    proxy.clear();
}

#[test]
fn a_killed_seal_goes_on_and_notices_input_that_changed() {
    within(120, || {
        let Some((desk, proxy)) = proxied() else { return };
        let data = noise(BYTES);
        desk.work.write("model/weights", &data);
        killed_seal(&desk, &proxy);
        desk.verify("m:1").exits(8);
        let stored = desk.paths("objects/");
        assert!(!stored.is_empty());
        let before = proxy.take_requests();
        assert!(before.count(Kind::Create) > 0);
        let resumed = desk.seal_with("model", "m:1", &RESUME).ok().json()["resumed_bytes"].as_u64();
        assert!(resumed.is_some_and(|bytes| bytes > 8_000_000), "{resumed:?}");
        let sent = proxy.take_requests();
        let again =
            stored.iter().filter(|path| sent.all().iter().any(|it| it.method == "PUT" && it.target.contains(*path)));
        let again = again.count();
        assert!(again < stored.len(), "none of {} parts was kept", stored.len());
        assert_eq!(bytes_of(&desk, "state-home", ".session"), 0, "the session is gone");
        desk.opens_to("m:1", "model");

        let mut changed = data;
        changed[5] ^= 1;
        desk.work.write("model/weights", &changed);
        refused(desk.seal_with("model", "m:1", &RESUME), 7, "conflict");
        desk.is_sound(&desk.url(crate::PREFIX));
    });
}

#[test]
fn what_changed_after_a_kill_is_named_and_nothing_is_published() {
    within(120, || {
        let Some((desk, proxy)) = proxied() else { return };
        let mut data = noise(BYTES);
        desk.work.write("model/weights", &data);
        killed_seal(&desk, &proxy);
        data[5] ^= 1;
        desk.work.write("model/weights", &data);
        let message = refused(desk.seal_with("model", "m:1", &RESUME), 1, "operational");
        assert!(message.contains("weights, bytes 0..1048544 changed"), "{message}");
        assert_eq!(bytes_of(&desk, "state-home", ".session"), 0, "the session is gone");
        desk.verify("m:1").exits(8);
        assert_eq!(desk.seal_with("model", "m:1", &RESUME).ok().json()["resumed_bytes"], 0);
        desk.opens_to("m:1", "model");
    });
}

#[test]
fn a_killed_open_goes_on_with_the_files_that_are_complete() {
    within(90, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk.work.write("model/a", &noise(9_000_000));
        desk.work.write("model/z", &noise(3_000_000));
        desk.seal("model", "m:1").ok();
        let is_of_z = |path: &&String| {
            let size = desk.client.get(&desk.bucket, &format!("{}/{path}", crate::PREFIX)).len();
            (3_000_000..3_200_000).contains(&size)
        };
        let objects = desk.paths("objects/");
        let z = objects.iter().find(is_of_z).expect("a part of that size");
        proxy.add(Rule::new("GET", z.as_str(), Fault::Delay(Duration::from_mins(1))).always());
        let open = ["open", "m:1", "out", "--identity", "alice.key", "--signer", "signer.pub", "--resume"];
        let mut child = start(&desk, &open);
        let noted = || bytes_of(&desk, ".", ".mvault-resume");
        // Its record says which files are complete: first a key and two digests, then a number, a length and a digest for each.
        let record = || bytes_of(&desk, ".", "/record");
        until("a file to be complete", || noted() > 9_000_000 && record() > 14 + 3 * 32 + 44);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        proxy.clear();
        assert!(!desk.work.path("out").exists());
        assert_eq!(desk.open_with("m:1", "out", &["--resume"]).ok().json()["resumed_bytes"], 9_000_000);
        assert!(vault_tests::tree(&desk.work.path("out")) == vault_tests::tree(&desk.work.path("model")));
        assert_eq!(bytes_of(&desk, ".", ".mvault-resume"), 0);
    });
}
