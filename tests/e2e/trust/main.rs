//! A release, from the trust root to the serving node, by the people of `keys-example/`; and what is refused on the way.
#![forbid(unsafe_code)]

mod crash;
mod refusals;
mod release;
mod words;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use vault_tests::{Output, Workspace};

/// A workspace with the example keys, the example trust root published, and `m:1`, `m:2`, `m:3` sealed.
struct Office(Workspace);

impl Office {
    fn new() -> Self {
        let work = Workspace::empty();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example");
        for entry in fs::read_dir(examples).expect("the example keys") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            work.write(&name, &fs::read(&path).expect("an example"));
            if path.extension().is_some_and(|extension| extension == "key") {
                fs::set_permissions(work.path(&name), fs::Permissions::from_mode(0o600)).expect("the mode");
            }
        }
        let office = Self(work);
        office.run(&["init", "vault"]).ok();
        office.run(&["trust", "publish", "root.json"]).ok();
        for version in ["1", "2", "3"] {
            office.0.write("model/weights.bin", version.repeat(5000).as_bytes());
            office.seal(&format!("m:{version}")).ok();
        }
        office
    }

    /// `mvault --json --allow-example-keys …` with the memory in `state`.
    fn run(&self, args: &[&str]) -> Output {
        self.0.run(&[&["--allow-example-keys"], args].concat())
    }

    /// The same under the example trust root.
    fn trusting(&self, args: &[&str]) -> Output {
        self.run(&[args, &["--trust", "root.json", "--state", "state"]].concat())
    }

    fn seal(&self, version: &str) -> Output {
        self.trusting(&["seal", "model", version, "--to", "node.pub", "--sign-with", "trainer.key"])
    }

    /// Asks for a promotion; its digest.
    fn propose(&self, version: &str, channel: &str, by: &str) -> String {
        let key = format!("{by}.key");
        let asked =
            self.trusting(&["promote", version, "--channel", channel, "--reason", "because", "--key", &key]).ok();
        text(&asked.json()["proposal"])
    }

    fn approve(&self, proposal: &str, by: &str) -> Output {
        self.trusting(&["approve", proposal, "--key", &format!("{by}.key")])
    }

    /// Promotes to production with both approvals.
    fn release(&self, version: &str) {
        let proposal = self.propose(version, "production", "trainer");
        self.approve(&proposal, "alice").ok();
        assert_eq!(self.approve(&proposal, "bob").ok().json()["published"], true);
        self.state_freshness();
    }

    /// Publishes a second trust root, in which the trainer's key is retired and keeps these signatures.
    fn retire_trainer(&self, kept: &[String]) {
        self.run(&["trust", "edit", "root.json", "-o", "trust-2.toml"]).ok();
        let source = String::from_utf8(self.0.read("trust-2.toml")).expect("UTF-8");
        let retired = format!("holder = \"trainer\"\nstatus = \"retired\"\nkeeps = {kept:?}");
        self.0.write("trust-2.toml", source.replace("holder = \"trainer\"", &retired).as_bytes());
        let sign = |key: &str, source: &str, more: &[&str]| {
            self.run(&[&["trust", "sign", source, "--key", key, "-o", "root-2.json"], more].concat())
        };
        sign("alice.key", "trust-2.toml", &["--after", "root.json"]).ok();
        Self::refused(self.run(&["trust", "publish", "root-2.json", "--trust", "root.json"]), 4, "authenticity");
        sign("carol.key", "root-2.json", &[]).ok();
        self.run(&["trust", "publish", "root-2.json", "--trust", "root.json"]).ok();
    }

    fn state_freshness(&self) {
        self.trusting(&["freshness", "sign", "m@production", "--key", "clock.key"]).ok();
    }

    /// Opens into a new folder and gives what the file holds.
    fn open(&self, reference: &str) -> Output {
        let _ = fs::remove_dir_all(self.0.path("out"));
        self.trusting(&["open", reference, "out", "--identity", "node.key", "--explain"])
    }

    fn opened(&self) -> Vec<u8> {
        self.0.read("out/weights.bin")
    }

    /// Asserts that a command is refused, with this exit code and this kind.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "what was refused is of no further use")]
    fn refused(output: Output, code: i32, kind: &str) -> String {
        let error = output.clone().exits(code).error().expect("an error in JSON");
        assert_eq!((error.kind.as_str(), error.exit), (kind, i64::from(code)), "{}", error.message);
        error.message
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
