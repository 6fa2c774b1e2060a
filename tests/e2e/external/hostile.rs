//! Programs that do not do what they are there for: precise errors, nothing published, nothing written, no hanging.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::Engine as _;
use vault_tests::{Workspace, mvault};

use crate::{scripted, write_private};

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

/// What a program does instead of signing, the exit code, and what is said about it.
fn misdeeds() -> Vec<(String, i32, &'static str)> {
    let answer = |members: &str| format!(r#"cat >/dev/null; echo '{{"protocol":"mvault-key/v1",{members}}}'"#);
    let zeros = BASE64.encode([0; 64]);
    let signature = answer(&format!(r#""signature":"{zeros}""#));
    let refusal = |kind: &str| answer(&format!(r#""error":{{"kind":"{kind}","message":"so it is"}}"#));
    vec![
        ("cat >/dev/null".into(), 1, "it gave no answer"),
        ("cat >/dev/null; exit 3".into(), 1, "it failed (exit status: 3)"),
        ("kill -9 $$".into(), 1, "it failed (signal: 9"),
        ("exec 0<&-; exit 0".into(), 1, "it gave no answer"),
        ("exec yes".into(), 1, "its answer is longer than 65536 bytes"),
        ("exec sleep 60".into(), 1, "it did not answer within 1 s and was stopped"),
        ("exec 1>&-; exec sleep 60".into(), 1, "it did not answer within 1 s and was stopped"),
        ("printf '{'; exec sleep 60".into(), 1, "it did not answer within 1 s and was stopped"),
        ("echo hello".into(), 1, "its answer is not one JSON object and nothing else"),
        ("printf '{'".into(), 1, "its answer ends in the middle"),
        (signature.clone(), 4, "does not verify under that key"),
        (format!("{signature}; echo more"), 1, "its answer is not one JSON object and nothing else"),
        (format!("{signature}; exit 1"), 1, "it failed (exit status: 1)"),
        (answer(r#""signature":"AAAA""#), 1, "its signature is not 64 bytes in base64"),
        (answer(r#""secret":"AAAA""#), 1, "its answer is neither a signature nor an error"),
        (answer(r#""signature":"","signature":"""#), 1, "given twice"),
        (refusal("denied"), 6, "(\"so it is\"): refuses the use of the key"),
        (refusal("not-found"), 8, "(\"so it is\") does not exist"),
        (refusal("unavailable"), 1, "(\"so it is\"): the key is unavailable"),
        (refusal("unsupported"), 2, "(\"so it is\") does not support what was asked"),
        (format!("{}; exit 5", refusal("denied")), 6, "refuses the use of the key"),
    ]
}

#[test]
fn a_program_that_does_not_sign_is_described_precisely_and_nothing_is_published() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    for (script, code, words) in misdeeds() {
        scripted(&desk, "kept", "signer.pub", 1, &script);
        let start = Instant::now();
        let output = desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "kept.key", "--no-sync"]);
        let error = output.exits(code).error().unwrap_or_else(|| panic!("{script}"));
        assert!(error.message.contains(words), "{script}: {}", error.message);
        assert!(start.elapsed().as_secs() < 20, "{script}");
        desk.run(&["verify", "m:1", "--signer", "signer.pub"]).exits(8);
    }
}

#[test]
fn a_program_that_does_not_unwrap_is_described_precisely_and_nothing_is_written() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    let answer = |members: &str| format!(r#"cat >/dev/null; echo '{{"protocol":"mvault-key/v1",{members}}}'"#);
    let wrong = BASE64.encode([7; 32]);
    for (script, code, words) in [
        ("exec sleep 60".to_owned(), 1, "it did not answer within 1 s and was stopped"),
        ("exec yes".into(), 1, "its answer is longer than 65536 bytes"),
        (answer(&format!(r#""secret":"{wrong}""#)), 6, "none of the identities opens it"),
        (answer(r#""error":{"kind":"does-not-open"}"#), 6, "none of the identities opens it"),
        (answer(r#""secret":"AAAA""#), 1, "its secret is not 32 bytes in base64"),
        (answer(r#""signature":"AAAA""#), 1, "its answer is neither a secret nor an error"),
    ] {
        scripted(&desk, "kept", "alice.pub", 1, &script);
        let output = desk.run(&["open", "m:1", "opened", "--identity", "kept.key", "--signer", "signer.pub"]);
        let error = output.exits(code).error().unwrap_or_else(|| panic!("{script}"));
        assert!(error.message.contains(words), "{script}: {}", error.message);
        assert!(!error.message.contains(&wrong), "no secret in errors");
        assert!(!desk.path("opened").exists());
    }
}

#[test]
fn a_signal_is_heeded_while_a_program_is_waited_for() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    scripted(&desk, "kept", "signer.pub", 60, "touch asked; exec sleep 60");
    let mut command = Command::new(mvault());
    command.args(["seal", "model", "m:1", "--vault", "vault", "--to", "alice.pub", "--sign-with", "kept.key"]);
    let start = Instant::now();
    let mut child = command.current_dir(desk.root()).stderr(Stdio::null()).spawn().expect("mvault runs");
    while !desk.path("asked").exists() && start.elapsed().as_secs() < 20 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Only to mvault: what it started is its own affair.
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert!(start.elapsed().as_secs() < 30);
    desk.run(&["verify", "m:1", "--signer", "signer.pub"]).exits(8);
}

#[test]
fn a_file_that_names_no_program_that_can_be_run_is_refused() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    let seal = || desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "kept.key", "--no-sync"]);
    desk.run(&["key", "external", "-o", "kept", "--public", "signer.pub", "--", "/nowhere/keeper"]).ok();
    let error = seal().exits(8).error().expect("JSON");
    assert_eq!(error.message, "program kept.key: /nowhere/keeper does not exist");

    let good = String::from_utf8(desk.read("kept.key")).expect("JSON");
    for (from, to) in [("/nowhere/keeper", "../keeper"), ("mvault-key/v1", "mvault-key/v9"), ("\"program\"", "\"pin\"")]
    {
        write_private(&desk, "kept.key", good.replacen(from, to, 1).as_bytes());
        let error = seal().exits(2).error().expect("JSON");
        assert!(error.message.starts_with("kept.key: "), "{}", error.message);
    }
    // Whoever can write to the file chooses what is run.
    write_private(&desk, "kept.key", good.as_bytes());
    fs::set_permissions(desk.path("kept.key"), fs::Permissions::from_mode(0o620)).expect("chmod");
    seal().exits(2);
}

#[test]
fn a_program_hears_no_shell_and_no_secret() {
    let desk = Workspace::new();
    desk.write("model/a", b"weights");
    // An argument that a shell would act on is an argument.
    let command = ["--", "touch", "$(touch pwned); *", "made; by touch"];
    desk.run(&[&["key", "external", "-o", "kept", "--public", "signer.pub"], &command[..]].concat()).ok();
    desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "kept.key"]).exits(1);
    assert!(desk.path("made; by touch").exists() && !desk.path("pwned").exists());

    scripted(&desk, "kept", "signer.pub", 5, "cat > heard; echo to the terminal >&2");
    let output = desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "kept.key"]).exits(1);
    assert!(output.stderr.starts_with("to the terminal\n"), "{}", output.stderr);
    let heard: serde_json::Value = serde_json::from_slice(&desk.read("heard")).expect("JSON");
    let message = BASE64.decode(heard["message"].as_str().expect("text")).expect("base64");
    assert!(message.starts_with(b"DSSEv1 28 application/vnd.in-toto+json "));
    let mut members: Vec<_> = heard.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["algorithm", "key_id", "message", "operation", "protocol", "public_key"]);
}
