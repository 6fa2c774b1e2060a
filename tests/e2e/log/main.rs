//! The transparency log on the command line: kept by every command, published, witnessed, demanded; and logs that lie.
#![forbid(unsafe_code)]

mod carried;
mod honest;
mod lies;
mod witnessed;

use std::process::Command;

use serde_json::Value;
use vault_tests::{Output, Workspace};

/// A workspace with a log, its key `log.key`, and `m:1` sealed before the log was started.
struct Office(Workspace);

impl Office {
    fn new() -> Self {
        let office = Self(Workspace::new());
        office.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
        office.0.write("model/weights.bin", b"weights");
        office.seal("m:1").ok();
        office.run(&["log", "init", "--origin", "example.com/log"]).ok();
        office
    }

    /// `mvault --json …`.
    fn run(&self, args: &[&str]) -> Output {
        self.0.run(args)
    }

    /// What a command says beside its result, in text.
    fn warnings(&self, args: &[&str]) -> String {
        let mut command = Command::new(vault_tests::mvault());
        command.current_dir(self.0.root()).env("MVAULT_VAULT", "vault").args(args);
        Output::of(&mut command, b"").ok().stderr
    }

    /// The same with the memory in `state` and the log's key believed.
    fn believing(&self, args: &[&str]) -> Output {
        self.run(&[args, &["--log-key", "log.pub", "--state", "state"]].concat())
    }

    fn seal(&self, version: &str) -> Output {
        self.run(&["seal", "model", version, "--to", "alice.pub", "--sign-with", "signer.key"])
    }

    fn publish(&self) -> Value {
        self.believing(&["log", "publish", "--key", "log.key"]).ok().json()
    }

    /// Verifies a version that must stand in the log.
    fn demand(&self, reference: &str, more: &[&str]) -> Output {
        self.believing(&[&["verify", reference, "--signer", "signer.pub", "--require-log"], more].concat())
    }

    /// Asserts that a command is refused, with this exit code and this kind; gives what it said.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "what was refused is of no further use")]
    fn refused(output: Output, code: i32, kind: &str) -> String {
        let error = output.exits(code).error().expect("an error in JSON");
        assert_eq!((error.kind.as_str(), error.exit), (kind, i64::from(code)), "{}", error.message);
        error.message
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn actions(shown: &Value) -> Vec<String> {
    shown["entries"].as_array().expect("a list").iter().map(|entry| text(&entry["action"])).collect()
}
