//! What is refused, with which exit code, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::Path,
    process::Stdio,
};

use common::{Desk, noise};
use serde_json::Value;

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

/// Runs it as text and as JSON; both must fail in the same way.
#[track_caller]
fn refused(desk: &Desk, args: &[&str], code: i32, kind: &str, says: &str) {
    let ran = desk.run(args);
    let text = ran.fails(code);
    assert!(text.starts_with("error: ") && text.contains(says), "{says}: {text}");
    assert!(ran.out.is_empty(), "a refusal prints nothing on standard output");
    let ran = desk.run(&[args, &["--json"]].concat());
    let object: Value = serde_json::from_str(ran.fails(code)).unwrap();
    let error = &object["error"];
    assert_eq!((error["kind"].as_str(), error["exit"].as_i64()), (Some(kind), Some(code.into())), "{error}");
    assert!(error["message"].as_str().unwrap().contains(says), "{says}: {error}");
}

#[test]
fn every_mistake_on_the_command_line_is_a_usage_error() {
    let desk = Desk::sealed();
    let seal = |name: &'static str| ["seal", "model", name, "--sign-with", "release.key", "--to"];
    desk.write("nonsense", b"nonsense");
    desk.write("empty", b"");
    desk.write("long", &[b'a'; 2000]);
    fs::set_permissions(desk.path("nonsense"), fs::Permissions::from_mode(0o600)).unwrap();
    for (args, says) in [
        (&[][..], ""),
        (&["verify", "demo:1"], "no --signer is named"),
        (&["verify", "--all"], "no --signer is named"),
        (&["verify", "demo"], "not of the form MODEL:VERSION"),
        (&["verify", "demo@production", "--signer", "release.pub"], "who may move a channel"),
        (&["verify", "--signer", "release.pub"], "required arguments"),
        (&["verify", "demo:1", "--all", "--signer", "release.pub"], "cannot be used with"),
        (&["verify", "demo:1", "--signer", "node.pub"], "a recipient key where a signing key is expected"),
        (&["verify", "demo:1", "--signer", "release.key"], "a private key where a public key is expected"),
        (&["verify", "demo:1", "--signer", "nonsense"], "does not start with a PEM block"),
        (&["open", "demo:1", "out", "--identity", "node.key"], "no --signer is named"),
        (&["open", "demo:1", "out", "--identity", "release.key", "--signer", "release.pub"], "a signing key where"),
        (&["open", "demo:1", "out", "--identity", "nonsense", "--signer", "release.pub"], "nonsense: "),
        (&["open", "demo:1", "out", "--signer", "release.pub"], "no terminal to ask"),
        (&["open", "demo:1", "-", "--identity", "node.key", "--signer", "release.pub"], "it has 3 files"),
        (&["open", "demo:1", "out", "--range", "1-2", "--signer", "release.pub"], "not of the form A..B"),
        (
            &["open", "demo:1", "out", "--passphrase-file", "empty", "--signer", "release.pub"],
            "the passphrase is empty",
        ),
        (&["open", "demo:1", "out", "--passphrase-file", "long", "--signer", "release.pub"], "longer than 1024 bytes"),
        (&["seal", "model", "demo:2", "--sign-with", "release.key"], "nobody could open it"),
        (&[&seal("demo:2")[..], &["release.pub"]].concat(), "a signing key where a recipient key is expected"),
        (&[&seal("demo:2")[..], &["node.pub", "--part-size", "7"]].concat(), "invalid value"),
        (&[&seal("demo:2")[..], &["node.pub", "--name", "x"]].concat(), "--name is for standard input"),
        (&[&seal("demo:2")[..], &["node.pub", "--provenance", "nonsense"]].concat(), "nonsense: "),
        (&[&seal("Demo:2")[..], &["node.pub"]].concat(), "is not a model name"),
        (&["key", "generate", "--kind", "signing", "-o", "new"], "no terminal to ask"),
        (&["key", "generate", "--kind", "signing", "--kem", "x25519", "-o", "new", "--no-passphrase"], "--kem is for"),
        (&["key", "show", "nonsense"], "nonsense: "),
        (&["share", "demo:1", "--sign-with", "release.key"], "nothing to change"),
        (&["init", "model"], "is not empty"),
        (&["--vault", "ftp://host/v", "ls"], "are not supported"),
    ] {
        if args.is_empty() {
            desk.run(args).fails(2);
        } else {
            let (text, json) = (desk.run(args), desk.run(&[args, &["--json"]].concat()));
            assert!(text.fails(2).contains(says), "{says}: {}", text.err);
            let object: Value = serde_json::from_str(json.fails(2)).unwrap();
            assert_eq!((&object["error"]["kind"], &object["error"]["exit"]), (&"usage".into(), &2.into()), "{says}");
        }
    }
    assert!(!desk.path("out").exists() && !desk.path("new.key").exists());
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let desk = Desk::sealed();
    fs::set_permissions(desk.path("node.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let open = ["open", "demo:1", "out", "--identity", "node.key", "--signer", "release.pub"];
    refused(&desk, &open, 2, "usage", "mode 0640, so others can get at the private key");
    assert!(desk.run(&open).err.contains("hint: run `chmod 600 node.key`"));
}

#[test]
fn a_symbolic_link_is_refused_unless_it_stays_inside_and_is_asked_for() {
    let desk = Desk::new();
    desk.write("model/weights.bin", b"weights");
    symlink("weights.bin", desk.path("model/link")).unwrap();
    let seal = ["seal", "model", "demo:1", "--to", "node.pub", "--sign-with", "release.key"];
    refused(&desk, &seal, 2, "usage", "is a symbolic link");
    desk.run(&[&seal[..], &["--follow-symlinks"]].concat()).ok();
    assert_eq!(desk.open(&["demo:1", "-", "--file", "link"]).ok(), "weights");
    symlink("/etc/hostname", desk.path("model/out")).unwrap();
    desk.run(&["seal", "model", "demo:2", "--to", "node.pub", "--sign-with", "release.key", "--follow-symlinks"])
        .fails(2);
}

#[test]
fn somebody_elses_signature_does_not_count() {
    let desk = Desk::sealed();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "other", "--no-passphrase"]).ok();
    for args in [
        &["verify", "demo:1", "--signer", "other.pub"][..],
        &["open", "demo:1", "out", "--identity", "node.key", "--signer", "other.pub"],
        &["inspect", "demo:1", "--signer", "other.pub"],
        &["share", "demo:1", "--to", "node.pub", "--identity", "node.key", "--sign-with", "other.key"],
    ] {
        refused(&desk, args, 4, "authenticity", "no valid signature by an accepted signer");
    }
    let both = ["verify", "demo:1", "--signer", "other.pub", "--signer", "release.pub"];
    assert!(desk.run(&both).ok().contains("(release.pub)"));
    assert!(desk.run(&["ls", "--signer", "other.pub"]).ok().contains("no versions"));
    assert!(!desk.path("out").exists());
    let open = ["open", "demo:1", "out", "--identity", "node.key", "--insecure-skip-signature"];
    assert!(desk.run(&open).err.contains("warning: no signature was checked"));
}

#[test]
fn a_key_or_passphrase_that_does_not_fit_opens_nothing() {
    let desk = Desk::sealed();
    desk.run(&["key", "generate", "--kind", "recipient", "-o", "other", "--no-passphrase"]).ok();
    let open = ["open", "demo:1", "out", "--identity", "other.key", "--signer", "release.pub"];
    refused(&desk, &open, 6, "no-key", "none of the identities opens it");
    desk.write("pass", b"right");
    desk.write("wrong", b"wrong");
    let open = ["open", "demo:1", "out", "--passphrase-file", "wrong", "--signer", "release.pub"];
    refused(&desk, &open, 6, "no-key", "the passphrase does not open it");
    desk.run(&["key", "generate", "--kind", "recipient", "-o", "locked", "--passphrase-file", "pass"]).ok();
    refused(&desk, &["key", "show", "locked.key", "--passphrase-file", "wrong"], 6, "no-key", "locked.key: ");
    assert!(!desk.path("out").exists());
}

#[test]
fn a_flipped_bit_is_noticed_by_verify_open_and_fsck_and_nothing_is_left_behind() {
    let desk = Desk::sealed();
    let part = desk.largest_part();
    flip(&part);
    let object = part.strip_prefix(desk.path("vault")).unwrap().display().to_string();
    let before = desk.names();
    let verify = ["verify", "demo:1", "--signer", "release.pub"];
    refused(&desk, &verify, 3, "integrity", "segment 1 of stream");
    assert!(desk.run(&verify).err.contains(&object), "the hint names the object");
    let open = ["open", "demo:1", "out", "--identity", "node.key", "--signer", "release.pub"];
    refused(&desk, &open, 3, "integrity", "segment 1 of stream");
    desk.open(&["demo:1", "one", "--file", "sub/weights.bin"]).fails(3);
    desk.open(&["demo:1", "piece", "--file", "sub/weights.bin", "--range", "1400000..1600000"]).fails(3);
    fs::create_dir(desk.path("there")).unwrap();
    desk.open(&["demo:1", "there"]).fails(3);
    assert_eq!(desk.files("there"), Vec::<std::path::PathBuf>::new());
    fs::remove_dir(desk.path("there")).unwrap();
    assert_eq!(desk.names(), before);
    // What is not damaged still opens.
    assert_eq!(desk.open(&["demo:1", "-", "--file", "config.json"]).ok(), "{}");

    let checked = desk.run(&["fsck"]);
    assert!(checked.fails(3).contains("damaged in 1 place"));
    assert!(String::from_utf8(checked.out).unwrap().contains(&object));
    let all = desk.signed(&["verify", "--all", "--json"]);
    let error: Value = serde_json::from_str(all.fails(3)).unwrap();
    assert_eq!(error["error"]["kind"], "integrity");
    let report: Value = serde_json::from_slice(&all.out).unwrap();
    assert_eq!((&report["failed"], &report["versions"][0]["error"]["exit"]), (&1.into(), &3.into()));

    flip(&part);
    desk.signed(&["verify", "demo:1"]).ok();
    fs::remove_file(&part).unwrap();
    refused(&desk, &verify, 3, "integrity", "is missing");
}

#[test]
fn verifying_all_reports_what_nobody_accepted_signed_and_what_has_no_place() {
    let desk = Desk::sealed();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "other", "--no-passphrase"]).ok();
    desk.run(&["seal", "model", "other:1", "--to", "node.pub", "--sign-with", "other.key"]).ok();
    let all = desk.signed(&["verify", "--all"]);
    all.fails(4);
    let out = String::from_utf8(all.out).unwrap();
    assert!(out.contains("FAILED models/other/versions/1.dsse.json") && out.contains("1 of 2 versions"), "{out}");
    desk.run(&["verify", "--all", "--signer", "release.pub", "--signer", "other.pub"]).ok();
    desk.write("vault/models/demo/notes.txt", b"hello");
    let ignored = desk.run(&["verify", "--all", "--signer", "release.pub", "--signer", "other.pub"]);
    assert!(ignored.ok().contains("2 of 2") && ignored.err.contains("notes.txt is ignored"), "{}", ignored.err);
    let skipped = desk.run(&["ls", "--json"]).json();
    assert_eq!(skipped["foreign"][0], "models/demo/notes.txt");
    assert_eq!(skipped["skipped"], serde_json::json!([]));
}

#[test]
fn names_in_a_hostile_vault_can_neither_steer_a_terminal_nor_forge_a_line() {
    let desk = Desk::sealed();
    desk.write("vault/models/x\n\u{1b}[2Jverified: all is well", b"hello");
    for ran in [desk.run(&["ls"]), desk.signed(&["verify", "--all"]), desk.run(&["fsck"])] {
        let text = ran.ok() + &ran.err;
        assert!(text.contains(r"x\u{a}\u{1b}[2Jverified: all is well"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("verified: all")), "{text}");
    }
    desk.write("vault/models/\u{9b}2J\u{202e}\u{200f}x", b"hello");
    for ran in [desk.run(&["ls", "--json"]), desk.run(&["fsck", "--json"])] {
        let text = ran.ok();
        assert!(text.contains(r"\u009b2J\u202e\u200fx") && text.trim_end().is_ascii(), "{text}");
    }
}

#[test]
fn a_generation_that_does_not_count_is_warned_about() {
    let desk = Desk::sealed();
    let generation = desk.files("vault/artifacts").into_iter().find(|p| p.ends_with("recipients/1.dsse.json")).unwrap();
    fs::write(generation.with_file_name("2.dsse.json"), b"{}").unwrap();
    let verified = desk.signed(&["verify", "demo:1"]);
    assert!(verified.ok().contains("generation 1"));
    assert!(verified.err.contains("warning: recipients generation 2 does not count"), "{}", verified.err);
    let warnings = desk.signed(&["verify", "demo:1", "--json"]).json()["warnings"].clone();
    assert!(warnings[0].as_str().unwrap().contains("generation 2"), "{warnings}");
    let looked = desk.run(&["fsck", "--json"]);
    assert!(looked.fails(3).contains(r#""kind":"integrity""#), "{}", looked.err);
    let report: Value = serde_json::from_slice(&looked.out).unwrap();
    let damage = report["damage"].as_array().unwrap();
    assert_eq!((damage.len(), &damage[0]["kind"]), (1, &"record".into()), "{report}");
    assert!(damage[0]["object"].as_str().unwrap().ends_with("recipients/2.dsse.json"), "{report}");
}

#[test]
fn nothing_that_exists_is_replaced() {
    let desk = Desk::sealed();
    let seal = |name| ["seal", "model", name, "--to", "node.pub", "--sign-with", "release.key"];
    refused(&desk, &seal("demo:1"), 7, "conflict", "version demo:1 exists already");
    desk.seal("model", "demo:v1").ok();
    refused(&desk, &seal("demo:V1"), 7, "conflict", "version demo:v1 exists already");
    desk.write("out/config.json", b"mine");
    let open = ["open", "demo:1", "out", "--identity", "node.key", "--signer", "release.pub"];
    refused(&desk, &open, 7, "conflict", "config.json exists already");
    let one = ["open", "demo:1", "out/config.json", "--file", "config.json", "--identity", "node.key"];
    refused(&desk, &[&one[..], &["--signer", "release.pub"]].concat(), 7, "conflict", "config.json exists already");
    assert_eq!(desk.files("out"), [desk.path("out/config.json")]);
    assert_eq!(desk.read("out/config.json"), b"mine");
    refused(&desk, &["init", "vault"], 7, "conflict", "vault vault exists already");

    let generate = |name| ["key", "generate", "--kind", "signing", "-o", name, "--no-passphrase"];
    refused(&desk, &generate("release"), 7, "conflict", "release.key exists already");
    desk.write("half.pub", b"mine");
    refused(&desk, &generate("half"), 7, "conflict", "half.pub exists already");
    assert!(!desk.path("half.key").exists(), "half a key is no key");
    desk.write("out2", b"");
    desk.run(&["key", "import", "release.key", "-o", "half", "--no-passphrase"]).fails(7);
}

#[test]
fn what_does_not_exist_is_not_found() {
    let desk = Desk::sealed();
    let absent = format!("b3:{}", "0".repeat(64));
    for (args, says) in [
        (&["verify", "demo:2", "--signer", "release.pub"][..], "version demo:2 does not exist"),
        (&["verify", &absent, "--signer", "release.pub"], "artifact b3:0000"),
        (
            &["open", "demo:1", "-", "--file", "x", "--identity", "node.key", "--signer", "release.pub"],
            "a file like \"x\"",
        ),
        (&["--vault", "nowhere", "ls"], "a vault at nowhere"),
        (&["--vault", "model", "ls"], "a vault at model"),
        (&["verify", "demo:1", "--signer", "absent.pub"], "absent.pub does not exist"),
        (&["seal", "absent", "demo:3", "--to", "node.pub", "--sign-with", "release.key"], "absent does not exist"),
        (&["key", "show", "absent"], "absent does not exist"),
        (&["share", "--all", "--model", "x*", "--remove", "node.pub", "--sign-with", "release.key"], "no version"),
    ] {
        refused(&desk, args, 8, "not-found", says);
    }
    let hint = desk.run(&["--vault", "nowhere", "ls"]).err;
    assert!(hint.contains("hint: make one with `mvault init`"), "{hint}");
}

#[test]
fn a_range_past_the_end_is_a_usage_error() {
    let desk = Desk::sealed();
    for range in ["0..3000001", "3000001..", "5000000..6000000"] {
        let open = ["open", "demo:1", "piece", "--file", "sub/weights.bin", "--range", range, "--identity", "node.key"];
        refused(&desk, &[&open[..], &["--signer", "release.pub"]].concat(), 2, "usage", "which has 3000000 bytes");
    }
    assert!(!desk.path("piece").exists());
}

#[test]
fn a_reader_that_went_away_is_an_operational_failure() {
    let desk = Desk::sealed();
    let args =
        ["open", "demo:1", "-", "--file", "sub/weights.bin", "--identity", "node.key", "--signer", "release.pub"];
    let mut command = desk.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("standard output: ") && !err.contains("panicked"), "{err}");
}

#[test]
fn no_progress_is_drawn_into_a_pipe_and_quiet_prints_results_only() {
    let desk = Desk::new();
    desk.write("weights.bin", &noise(2_000_000));
    let sealed = desk.run(&["seal", "weights.bin", "demo:1", "--to", "node.pub", "--sign-with", "release.key", "-q"]);
    assert_eq!((sealed.ok().len(), sealed.err.as_str()), (68, ""));
    let verified = desk.signed(&["verify", "demo:1"]);
    verified.ok();
    assert_eq!(verified.err, "");
}

#[test]
fn example_keys_are_refused_unless_they_are_asked_for() {
    let desk = Desk::sealed();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example");
    for name in ["trainer.key", "trainer.pub", "node.key", "node.pub"] {
        let copy = format!("example/{name}");
        desk.write(&copy, &fs::read(examples.join(name)).unwrap());
        fs::set_permissions(desk.path(&copy), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let seal = |to, key| ["seal", "model", "demo:2", "--to", to, "--sign-with", key];
    for args in [
        &seal("example/node.pub", "release.key")[..],
        &seal("node.pub", "example/trainer.key"),
        &["verify", "demo:1", "--signer", "example/trainer.pub"],
        &["open", "demo:1", "out", "--identity", "example/node.key", "--signer", "release.pub"],
    ] {
        refused(&desk, args, 2, "usage", "is an example key");
    }
    desk.run(&[&seal("example/node.pub", "example/trainer.key")[..], &["--allow-example-keys"]].concat()).ok();
}
