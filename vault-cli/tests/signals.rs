//! Stopped by a signal: nothing half done is published or left.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Desk, noise};

/// Waits until something is staged: the seal is under way.
fn wait_for_staging(desk: &Desk) {
    let started = Instant::now();
    while desk.files("vault/staging").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing was ever staged");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_during_a_seal_leaves_no_version_and_no_staging_file() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let desk = Desk::new();
        let args = ["seal", "-", "demo:1", "--to", "node.pub", "--sign-with", "release.key", "--json"];
        let mut command = desk.command(&args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Not all of it: the input stays open, and silent.
        stdin.write_all(&noise(20_000_000)).unwrap();
        wait_for_staging(&desk);
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(r#""kind":"interrupted""#), "{err}");
        assert!(output.stdout.is_empty());
        assert_eq!(desk.files("vault/staging"), Vec::<std::path::PathBuf>::new());
        assert_eq!(desk.files("vault/models"), Vec::<std::path::PathBuf>::new());
        // What was stored of it is reported, and harmless.
        desk.run(&["fsck"]).ok();
        desk.write("weights.bin", b"weights");
        desk.seal("weights.bin", "demo:1").ok();
    }
}
