//! Standard streams and inherited descriptors: one reader each, and no silence about what is closed or full.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use common::Desk;

const OPEN: &str = "$M open demo:1 - --file config.json --identity node.key --signer release.pub";
const SEAL: &str = "$M seal - demo:2 --to node.pub --sign-with release.key";

fn locked() -> Desk {
    let desk = Desk::sealed();
    desk.write("pass", b"pass\n");
    desk.run(&["key", "generate", "--kind", "signing", "-o", "locked", "--passphrase-file", "pass"]).ok();
    desk
}

#[test]
fn a_stream_has_one_reader_whatever_it_is_called() {
    let desk = locked();
    let seal = "$M seal - demo:2 --to node.pub --sign-with locked.key";
    let provenance = "$M seal model demo:2 --to node.pub --sign-with locked.key --provenance /dev/stdin";
    for line in [
        format!("{SEAL} --to-passphrase-file /dev/stdin"),
        format!("{SEAL} --to-passphrase-file -"),
        format!("{SEAL} --to-passphrase-file /proc/self/fd/0"),
        format!("ln -sf /dev/stdin link; {SEAL} --to-passphrase-file link"),
        format!("{SEAL} --provenance /dev/stdin"),
        format!("{seal} --passphrase-fd 0"),
        format!("{seal} --passphrase-file -"),
        format!("{seal} --passphrase-file /dev/stdin"),
        format!("{provenance} --passphrase-fd 0"),
        "$M seal - demo:2 --to node.pub --sign-with /dev/stdin".into(),
        "$M open demo:1 out --identity /dev/stdin --signer release.pub --passphrase-fd 0".into(),
        "$M key passwd locked.key --passphrase-file - --new-passphrase-file /dev/stdin".into(),
        "$M share demo:1 --to-passphrase-file - --passphrase-fd 0 --identity node.key --sign-with release.key".into(),
    ] {
        for input in ["(printf 'pass\\nweights'; sleep 0.1) |", "exec < pass;"] {
            let ran = desk.shell(&format!("{input} {{ {line}; code=$?; cat; exit $code; }}"));
            assert!(ran.fails(2).contains("standard input is read by "), "{line}: {}", ran.err);
            assert!(!ran.out.is_empty(), "{line}: nothing was read before it was refused");
        }
    }
    let both = "--passphrase-fd 3 --to-passphrase-file /dev/fd/3 3< <(printf 'pass\\nother\\n')";
    let ran = desk.shell(&format!("$M seal model demo:2 --sign-with locked.key {both}"));
    assert!(ran.fails(2).contains("file descriptor 3 is read by "), "{}", ran.err);
    let twice = "--passphrase-fd 3 --to-passphrase-file /dev/fd/4 3< <(printf 'pass\\nother\\n') 4<&3";
    let ran = desk.shell(&format!("$M seal model demo:2 --sign-with locked.key {twice}"));
    assert!(ran.fails(2).contains("one pipe or socket is read by "), "{}", ran.err);
    let ran = desk.shell(&format!("printf pass | {seal} --passphrase-fd 0 --json"));
    let error: serde_json::Value = serde_json::from_str(ran.fails(2)).expect("JSON");
    assert_eq!((&error["error"]["exit"], &error["error"]["kind"]), (&2.into(), &"usage".into()), "{}", ran.err);
    assert!(!desk.run(&["ls"]).ok().contains("demo:2"));
}

#[test]
fn streams_and_files_with_one_reader_each_are_read() {
    let desk = locked();
    let seal = |line: &str| {
        desk.shell(line).ok();
        let open = ["open", "demo:2", "-", "--identity", "node.key", "--signer", "locked.pub"];
        assert_eq!(desk.run(&open).ok(), "weights");
        std::fs::remove_file(desk.path("vault/models/demo/versions/2.dsse.json")).unwrap();
    };
    let locked = "$M seal - demo:2 --to node.pub --sign-with locked.key";
    seal(&format!("printf weights | {locked} --passphrase-file pass --to-passphrase-file pass"));
    seal(&format!("printf weights | {locked} --passphrase-fd 3 3< <(printf pass)"));
    seal(&format!("printf weights | {locked} --passphrase-file /dev/fd/3 3< pass"));
    desk.shell("printf pass | $M key show locked.key --passphrase-file -").ok();
}

#[test]
fn a_passphrase_is_read_from_the_descriptor_itself() {
    let desk = locked();
    desk.write("passes", b"first\npass\nthird\n");
    for option in ["--passphrase-fd 3", "--passphrase-file /dev/fd/3"] {
        let ran = desk.shell(&format!(
            "exec 3< passes; read -r skipped <&3; $M key show locked.key {option} >/dev/null && cat <&3"
        ));
        assert_eq!(ran.ok(), "third\n", "one line is taken and the rest is left");
    }
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"pass\n").unwrap();
    let mut command = desk.command(&["key", "show", "locked.key", "--passphrase-fd", "0"]);
    let output = command.stdin(OwnedFd::from(theirs)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let absent = desk.run(&["key", "show", "locked.key", "--passphrase-fd", "47"]);
    assert!(absent.fails(8).contains("file descriptor 47 does not exist"), "{}", absent.err);
}

#[test]
fn a_closed_standard_stream_is_not_an_empty_one() {
    let desk = Desk::sealed();
    assert!(desk.shell(&format!("{SEAL} <&-")).fails(1).contains("standard input is closed"));
    assert!(!desk.run(&["ls"]).ok().contains("demo:2"));
    desk.shell(&format!("{SEAL} </dev/null")).ok();
    assert!(desk.shell(&format!("{OPEN} >&-")).fails(1).contains("standard output is closed"));
    desk.shell(&format!("{OPEN} >/dev/null")).ok();
}

#[test]
fn output_that_does_not_arrive_is_a_failure_of_every_verb() {
    let desk = Desk::sealed();
    desk.shell("$M key generate --kind recipient -o new --no-passphrase").ok();
    let verbs = [
        "$M init other",
        "$M key generate --kind signing -o made --no-passphrase",
        "$M key import release.key -o imported --no-passphrase",
        "$M key show node.pub",
        "$M key passwd new.key --no-passphrase",
        "$M seal model demo:NEW --to node.pub --sign-with release.key",
        "$M verify demo:1 --signer release.pub",
        "$M verify --all --signer release.pub",
        "$M open demo:1 out --identity node.key --signer release.pub",
        "$M ls",
        "$M inspect demo:1",
        "$M inspect demo:1 --identity node.key",
        "$M share demo:1 --to new.pub --identity node.key --sign-with release.key",
        "$M fsck",
        "$M completions bash",
        "$M manpages man",
        "$M quickstart",
    ];
    for (number, verb) in verbs.iter().enumerate() {
        // To a full device, and to a descriptor that is for reading only.
        for (name, output) in ["> /dev/full", "1< /dev/null"].into_iter().enumerate() {
            for json in ["", " --json"] {
                let clean = "rm -rf other made.* imported.* out mvault-quickstart";
                let line = verb.replace("NEW", &format!("{number}-{name}{}", json.len()));
                let ran = desk.shell(&format!("{clean}; {line}{json} {output}"));
                assert!(ran.fails(1).contains("standard output: "), "{line}{json} {output}: {}", ran.err);
            }
        }
    }
    desk.shell(&format!("{OPEN} > /dev/full")).fails(1);
    desk.shell(&format!("{OPEN} 1< /dev/null")).fails(1);
    for help in ["$M --help", "$M --version", "$M seal --help"] {
        desk.shell(&format!("{help} > /dev/full")).fails(1);
    }
}
