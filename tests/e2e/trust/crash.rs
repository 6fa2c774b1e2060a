use std::process::{Command, Stdio};

use vault_tests::{have, mvault, skip};

use crate::{Office, text};

/// Runs a command under the example trust root, killed as it is about to name its `number`-th object. Returns whether it
/// came through.
fn killed(office: &Office, args: &[&str], number: usize) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat,rename"]);
    command.args(["-e", &format!("inject=linkat,rename:signal=KILL:when={number}")]).arg(mvault());
    command.args(["--allow-example-keys"]).args(args).args(["--trust", "root.json", "--state", "state"]);
    command.current_dir(office.0.root()).env("MVAULT_VAULT", "vault").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("strace runs").success()
}

#[test]
fn killed_at_any_write_history_is_valid_and_the_work_goes_on() {
    if !have("strace") {
        skip("strace is not installed, which kills at a chosen system call");
        return;
    }
    let office = Office::new();
    office.release("m:1");
    let mut generation = 1;
    for (number, version) in [(1, "m:2"), (2, "m:3"), (3, "m:2")] {
        let propose = ["promote", version, "--channel", "production", "--reason", "kill", "--key", "trainer.key"];
        killed(&office, &propose, number);
        let open = office.trusting(&["approve"]).ok().json();
        let proposal = match open["proposals"].as_array().expect("a list").first() {
            Some(proposal) => text(&proposal["proposal"]),
            // Killed before the signature left the machine, but it is remembered as given: another holder asks.
            None => office.propose(version, "production", "bob"),
        };
        let by_bob = open["proposals"].as_array().is_some_and(Vec::is_empty);
        killed(&office, &["approve", &proposal, "--key", "alice.key"], number);
        office.approve(&proposal, "alice").ok();
        if by_bob {
            // Who asks does not count, and two of two release managers are needed: it is taken back.
            office.trusting(&["promote", "--withdraw", &proposal, "--key", "bob.key"]).ok();
            generation += 1;
            continue;
        }
        killed(&office, &["approve", &proposal, "--key", "bob.key"], number);
        assert_eq!(office.approve(&proposal, "bob").ok().json()["published"], true);
        generation += 1;
        office.state_freshness();
        let opened = office.open("m@production").ok().json();
        assert_eq!((&opened["name"], &opened["generation"]), (&version.into(), &generation.into()));
    }
    let log = office.trusting(&["channel", "log", "m@production"]).ok().json();
    let history = log["history"].as_array().expect("a list");
    assert!(history.iter().filter(|e| e["version"].is_string()).all(|e| e["linked"] == true && e["counts"] == true));
}
