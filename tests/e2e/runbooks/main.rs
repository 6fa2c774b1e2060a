//! The runbooks for stolen keys: every command of `docs/RUNBOOKS.md`, run as it stands there after a theft.
#![forbid(unsafe_code)]

mod admin;
mod recipient;
mod signing;

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;
use vault_tests::{Output, Workspace, mvault, mvault_server};

/// `! mvault …` of the page, with the exit code that it must have.
const REFUSED: &str = r#"refused() { local code=0; "$@" || code=$?; [ "$code" -eq "$REFUSED" ] || { echo "exit $code: $*" >&2; exit 99; }; }"#;

/// The shell blocks below a heading of the page, up to the next heading of the same or a higher level.
fn blocks(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RUNBOOKS.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading} is not there"));
    let level = heading.split(' ').next().expect("a level");
    let end = ["\n# ", "\n## ", "\n### "].iter().filter(|next| next.trim().len() <= level.len());
    let end = end.filter_map(|next| rest.find(next)).min().unwrap_or(rest.len());
    let blocks = rest[..end].split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a block").to_owned()).collect()
}

/// People with the example keys, a log, and a vault in which `llama:1.0` is production.
struct Office {
    work: Workspace,
    /// How commands reach the vault, and as whom.
    variables: Vec<(String, String)>,
}

impl Office {
    fn new() -> Self {
        let work = Workspace::with_examples();
        let bin = work.path("bin");
        std::fs::create_dir(&bin).expect("a new folder");
        let run = format!("#!/bin/sh\nexec '{}' --allow-example-keys \"$@\"\n", mvault().display());
        for (name, text) in [("mvault", run), ("mvault-server", exec(mvault_server()))] {
            std::fs::write(bin.join(name), text).expect("a script of ours");
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o700)).expect("its mode");
        }
        let mut office = Self { work, variables: Vec::new() };
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));
        office.set("PATH", &path);
        office.set("XDG_STATE_HOME", &office.work.path("home").display().to_string());
        for (name, value) in [("MVAULT_VAULT", "vault"), ("MVAULT_TRUST", "root.json"), ("MVAULT_STATE", "state")] {
            office.set(name, value);
        }
        office
    }

    /// What the day before the theft was like.
    fn works(&self) -> &Self {
        let day = r#"
            mvault key generate --kind signing -o log --no-passphrase
            mvault trust publish root.json
            mvault log init --origin example.com/log || mvault log show # a registry made one
            echo weights >model.bin
            mvault seal model.bin llama:1.0 --to node.pub --sign-with trainer.key
            mvault promote llama:1.0 --channel production --reason good --key trainer.key
            proposal=$(mvault --json approve | grep -o '"proposal":"b3:[0-9a-f]*' | cut -d '"' -f 4)
            mvault approve $proposal --key alice.key
            mvault approve $proposal --key bob.key
            mvault freshness sign llama@production --key clock.key
            mvault log append
            mvault log publish --key log.key --log-key log.pub"#;
        self.shell(0, &[day.to_owned()]);
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(one, _)| one != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Runs blocks of the page in one shell. What they say must be refused ends with `refused`.
    fn shell(&self, refused: i32, blocks: &[String]) -> String {
        let text = blocks.concat().replace("! MVAULT_", "refused env MVAULT_").replace("! mvault", "refused mvault");
        assert!(!text.contains('…'), "something is left to fill in: {text}");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &format!("{REFUSED}\n{text}")]).current_dir(self.work.root());
        shell.env("REFUSED", refused.to_string()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        String::from_utf8(Output::of(&mut shell, b"").ok().stdout).expect("UTF-8")
    }

    /// `mvault --json …`.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(self.work.path("bin/mvault"));
        command.arg("--json").args(args).current_dir(self.work.root());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Output::of(&mut command, b"")
    }

    /// How many entries the log has.
    fn entries(&self) -> u64 {
        self.run(&["log", "show", "--log-key", "log.pub"]).ok().json()["size"].as_u64().expect("a size")
    }
}

fn exec(program: &Path) -> String {
    format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
