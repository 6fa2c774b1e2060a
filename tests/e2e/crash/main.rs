//! What is left when `mvault` is killed, the disk is full or the vault cannot be written: always a valid vault.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use vault_tests::{Workspace, have, mvault, noise, skip};

/// Seals `input` as `m:VERSION`.
const fn seal(version: &'static str) -> [&'static str; 7] {
    ["seal", "input", version, "--to", "alice.pub", "--sign-with", "signer.key"]
}

/// The vault is whole: nothing damaged, everything published verifies, and the next seal succeeds.
fn is_valid(work: &Workspace, version: &'static str) {
    work.run(&["fsck"]).ok();
    work.run(&["verify", "--all", "--signer", "signer.pub"]).ok();
    work.run(&seal(version)).ok();
    work.run(&["open", version, version, "--identity", "alice.key", "--signer", "signer.pub"]).ok();
    assert_eq!(work.read(&format!("{version}/input")), work.read("input"));
}

/// Objects are then linked one after the other by one thread, so that they can be counted.
const IN_ORDER: [&str; 3] = ["--no-sync", "--threads", "1"];

/// How many objects a seal makes. Each comes into being by `linkat`; before it is a file in staging, behind it a name.
fn links(work: &Workspace) -> usize {
    let (call, log) = ("linkat", work.path("strace.log"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace={call}")]).arg(mvault()).args(seal("m:0"));
    command.args(IN_ORDER);
    let status =
        command.current_dir(work.root()).env("MVAULT_VAULT", "vault").stdout(Stdio::null()).stderr(Stdio::null());
    assert!(status.status().expect("strace runs").success());
    fs::read_to_string(log).expect("the log").lines().filter(|line| line.contains(call)).count()
}

/// Seals, killed as a thread is about to link its `number`-th object. Returns whether it came through all the same.
fn seal_killed(work: &Workspace, version: &'static str, number: usize, more: &[&str]) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat"]);
    command
        .args(["-e", &format!("inject=linkat:signal=KILL:when={number}")])
        .arg(mvault())
        .args(seal(version))
        .args(more);
    command.current_dir(work.root()).env("MVAULT_VAULT", "vault").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("strace runs").success()
}

#[test]
fn killed_at_any_object_the_vault_is_valid_and_the_next_seal_succeeds() {
    if !have("strace") {
        skip("strace is not installed, which kills at a chosen system call");
        return;
    }
    let work = Workspace::new();
    work.write("input", &noise(20_000_000));
    let links = links(&work);
    assert!(links >= 8, "parts, trees, manifest, recipients, attestation, version record: {links}");
    for number in 1..=links {
        let version: &'static str = format!("m:{number}").leak();
        assert!(!seal_killed(&work, version, number, &IN_ORDER), "kill {number} of {links}");
        work.run(&["verify", version, "--signer", "signer.pub"]).exits(8);
        is_valid(&work, format!("m:{number}-after").leak());
    }
    // Durably, several threads link, and each has its own first, second, third.
    for number in 1..=3 {
        seal_killed(&work, format!("m:{number}-durable").leak(), number, &[]);
        is_valid(&work, format!("m:{number}-durable-after").leak());
    }
}

/// Seals so that it can be gone on with, killed as a thread makes this system call for the `number`-th time.
fn resumable_killed(work: &Workspace, version: &'static str, call: &str, number: usize) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]).arg(mvault());
    command.args(seal(version)).args(RESUMABLE);
    command.current_dir(work.root()).env("MVAULT_VAULT", "vault").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("strace runs").success()
}

const RESUMABLE: [&str; 7] = ["--no-sync", "--threads", "1", "--part-size", "8", "--resume", "--resume-file=session"];

#[test]
fn a_seal_killed_at_any_step_goes_on_and_ends_its_session() {
    if !have("strace") {
        skip("strace is not installed, which kills at a chosen system call");
        return;
    }
    let work = Workspace::new();
    work.write("input", &noise(20_000_000));
    // Objects get their names by `linkat`, what is noted is brought to disk by `fdatasync`, and the end of a session is
    // `ftruncate` and `unlink`.
    let steps = [("linkat", 1..=9), ("fdatasync", 1..=3), ("ftruncate", 1..=3), ("unlink", 1..=1)];
    for (call, numbers) in steps {
        for number in numbers {
            let version: &'static str = format!("m:{call}-{number}").leak();
            let is_whole = resumable_killed(&work, version, call, number);
            let verified = work.run(&["verify", version, "--signer", "signer.pub"]);
            let again = work.run(&[&seal(version)[..], &RESUMABLE].concat());
            // Killed behind the commit, or not at all, the version is there; otherwise it is sealed now.
            let is_there = verified.code == 0;
            assert!(is_there || !is_whole, "{call} {number}");
            again.exits(if is_there { 7 } else { 0 });
            assert!(!work.path("session").exists(), "{call} {number}: the session is over");
            work.run(&["open", version, version, "--identity", "alice.key", "--signer", "signer.pub"]).ok();
            assert!(work.read(&format!("{version}/input")) == work.read("input"), "{call} {number}");
        }
    }
    work.run(&["fsck"]).ok();
    work.run(&["verify", "--all", "--signer", "signer.pub"]).ok();
}

#[test]
fn killed_at_any_time_while_reading_standard_input_nothing_is_published() {
    let work = Workspace::new();
    work.write("input", &noise(1_000));
    for objects in 1..4 {
        let mut command = Command::new(mvault());
        command.args(["seal", "-", "m:1", "--name", "input", "--part-size", "8"]);
        command.args(["--to", "alice.pub", "--sign-with", "signer.key"]).current_dir(work.root());
        let mut child = command
            .env("MVAULT_VAULT", "vault")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mvault runs");
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        let stored = || if work.path("vault/objects").exists() { work.files("vault/objects").len() } else { 0 };
        let before = stored();
        let mut noise = std::io::repeat(7).take(1 << 30);
        let mut chunk = vec![0; 1 << 20];
        while stored() < before + objects {
            noise.read_exact(&mut chunk).expect("endless");
            std::io::Write::write_all(&mut stdin, &chunk).expect("mvault reads on");
        }
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        drop(stdin);
        work.run(&["verify", "m:1", "--signer", "signer.pub"]).exits(8);
    }
    work.run(&["fsck"]).ok();
    work.run(&seal("m:1")).ok();
}

#[test]
fn a_full_disk_is_an_operational_error_and_leaves_a_valid_vault() {
    let work = Workspace::new();
    work.write("input", &noise(20_000_000));
    let disk = work.path("disk");
    fs::create_dir(&disk).expect("a new folder");
    let mount = |args: &[&str]| Command::new("mount").args(args).arg(&disk).stderr(Stdio::null()).status();
    if !mount(&["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).is_ok_and(|status| status.success()) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"\n*** SKIPPED: a small disk cannot be mounted here ***\n",
        );
        return;
    }
    let on_disk = |args: &[&str]| work.run(&[args, &["--vault", "disk/vault"]].concat());
    on_disk(&["init"]).ok();
    let refusal = on_disk(&seal("m:1")).exits(1).error().expect("a refusal");
    assert_eq!(refusal.kind, "operational");
    assert!(refusal.message.contains("No space left"), "{}", refusal.message);
    on_disk(&["fsck"]).ok();
    on_disk(&["verify", "m:1", "--signer", "signer.pub"]).exits(8);
    assert!(work.files("disk/vault/staging").is_empty(), "nothing is left in staging");

    // With room again, which parts of the failed seal still take, the next seal succeeds.
    assert!(mount(&["-o", "remount,size=120m"]).expect("mount runs").success());
    on_disk(&seal("m:1")).ok();
    on_disk(&["verify", "m:1", "--signer", "signer.pub"]).ok();

    // Opening onto a full disk leaves nothing either.
    assert!(mount(&["-o", "remount,size=45m"]).expect("mount runs").success());
    let open = ["open", "m:1", "disk/out", "--identity", "alice.key", "--signer", "signer.pub"];
    let filler = fs::metadata(&disk).is_ok().then(|| fs::write(disk.join("filler"), noise(4_000_000)));
    drop(filler);
    let opened = on_disk(&open);
    if opened.code == 0 {
        // The disk had room after all: tmpfs rounds in pages. What matters is the other case.
        assert_eq!(work.read("disk/out/input"), work.read("input"));
    } else {
        opened.exits(1);
        let left: Vec<_> =
            fs::read_dir(&disk).expect("the disk").filter_map(Result::ok).map(|e| e.file_name()).collect();
        assert!(left.iter().all(|name| name == "vault" || name == "filler"), "{left:?}");
    }
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
}

#[test]
fn a_vault_that_cannot_be_written_is_an_operational_error_and_still_opens() {
    let work = Workspace::new();
    work.write("input", &noise(3_000_000));
    work.run(&seal("m:1")).ok();
    let vault = work.path("vault");
    let mount = |args: &[&str]| Command::new("mount").args(args).arg(&vault).stderr(Stdio::null()).status();
    let bound = Command::new("mount").arg("--bind").arg(&vault).arg(&vault).stderr(Stdio::null()).status();
    if !bound.is_ok_and(|status| status.success()) || !mount(&["-o", "remount,bind,ro"]).is_ok_and(|s| s.success()) {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\n*** SKIPPED: nothing can be mounted here ***\n");
        return;
    }
    let refused = work.run(&seal("m:2"));
    let opened = work.run(&["open", "m:1", "out", "--identity", "alice.key", "--signer", "signer.pub"]);
    let verified = work.run(&["verify", "m:1", "--signer", "signer.pub"]);
    let shared = work.run(&["share", "m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", "signer.key"]);
    let unmounted = Command::new("umount").arg(&vault).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    let refusal = refused.exits(1).error().expect("a refusal");
    assert_eq!(refusal.kind, "operational");
    assert!(refusal.message.contains("Read-only file system"), "{}", refusal.message);
    shared.exits(1);
    opened.ok();
    verified.ok();
    work.run(&seal("m:2")).ok();
}
