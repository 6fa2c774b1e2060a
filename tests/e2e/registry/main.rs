//! The registry: the real server and the real client, a raw client that asks for what it should not, and a server that lies.
#![forbid(unsafe_code)]

mod abuse;
mod admission;
mod certificates;
mod deployed;
mod described;
mod documents;
mod identity;
mod instances;
mod keys;
mod killed;
mod logged;
mod lying;
mod metrics;
mod rights;
mod straight;
mod traces;
mod vaults;

use std::process::Command;

use vault_tests::{Output, Workspace, mvault, servers::Registry};

/// A folder with keys, and how a registry is reached from there.
struct Desk {
    work: Workspace,
    url: String,
    certificate: String,
    /// The file with the key to show.
    token: String,
}

impl Desk {
    /// Asks as the administrator.
    fn new(work: Workspace, registry: &Registry) -> Self {
        let certificate = registry.certificate().display().to_string();
        let mut desk = Self { work, url: registry.url(), certificate, token: String::new() };
        desk.ask_as("admin", &registry.admin);
        desk
    }

    /// Shows another key from now on.
    fn ask_as(&mut self, name: &str, key: &str) {
        self.work.write(&format!("{name}.token"), format!("{key}\n").as_bytes());
        self.token = format!("{name}.token");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(mvault());
        command.arg("--json").args(args).current_dir(self.work.root()).env("XDG_STATE_HOME", self.work.path("home"));
        command.env("MVAULT_VAULT", &self.url).env("MVAULT_CA", &self.certificate);
        command.env("MVAULT_TOKEN_FILE", &self.token);
        command
    }

    /// `mvault --json …` on the vault.
    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    fn seal(&self, input: &str, version: &str) -> Output {
        self.run(&["seal", input, version, "--to", "alice.pub", "--sign-with", "signer.key"])
    }

    fn open(&self, version: &str, to: &str) -> Output {
        self.run(&["open", version, to, "--identity", "alice.key", "--signer", "signer.pub"])
    }

    fn verify(&self, version: &str) -> Output {
        self.run(&["verify", version, "--signer", "signer.pub"])
    }
}

/// Asserts how a command was refused; returns what it said.
#[track_caller]
fn refused(output: Output, exit: i32, kind: &str) -> String {
    let refusal = output.exits(exit).error().expect("a JSON error");
    assert_eq!((refusal.kind.as_str(), refusal.exit), (kind, i64::from(exit)), "{}", refusal.message);
    refusal.message
}
