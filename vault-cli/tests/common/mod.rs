//! A folder to work in, with keys and a vault, and the real binary.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test file uses a part of this, and a failed step is a failed test"
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// What a command printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
    line: String,
}

impl Ran {
    fn new(output: Output, args: &[&str]) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: output.stdout, err, line: args.join(" ") }
    }

    /// Standard output as text, if the command succeeded.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "`{}` failed:\n{}\n{}", self.line, String::from_utf8_lossy(&self.out), self.err);
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The object a successful `--json` command printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        let out = self.ok();
        assert_eq!(out.lines().count(), 1, "one object and nothing else: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Asserts how it failed; returns what it said.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "`{}`:\n{}\n{}", self.line, String::from_utf8_lossy(&self.out), self.err);
        &self.err
    }
}

pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a signing key `release`, a recipient key `node` and a vault `vault`.
    pub fn new() -> Self {
        let desk = Self::empty();
        desk.run(&["key", "generate", "--kind", "signing", "-o", "release", "--no-passphrase"]).ok();
        desk.run(&["key", "generate", "--kind", "recipient", "-o", "node", "--no-passphrase"]).ok();
        desk.run(&["init", "vault"]).ok();
        desk
    }

    /// The same with `demo:1` sealed from a folder of three files.
    pub fn sealed() -> Self {
        let desk = Self::new();
        desk.write("model/config.json", b"{}");
        desk.write("model/sub/weights.bin", &noise(3_000_000));
        desk.write("model/empty", b"");
        desk.seal("model", "demo:1").ok();
        desk
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The command, in this folder, with this vault, away from any terminal.
    pub fn command(&self, args: &[&str]) -> Command {
        // A new session has no terminal to ask for passphrases.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_mvault"));
        command.args(args).current_dir(self.folder.path()).env("MVAULT_VAULT", "vault").stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().unwrap(), args)
    }

    /// A line of a shell in this folder, away from any terminal; `$M` is the command.
    pub fn shell(&self, line: &str) -> Ran {
        let mut command = Command::new("setsid");
        command.args(["--wait", "bash", "-c", line]).env("M", env!("CARGO_BIN_EXE_mvault"));
        command.current_dir(self.folder.path()).env("MVAULT_VAULT", "vault").stdin(Stdio::null());
        Ran::new(command.output().unwrap(), &[line])
    }

    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A command that refuses early does not read its input.
        let _ = writer.join().unwrap();
        Ran::new(output, args)
    }

    pub fn seal(&self, path: &str, name: &str) -> Ran {
        self.run(&["seal", path, name, "--to", "node.pub", "--sign-with", "release.key"])
    }

    /// `verb REF …` with the signer that sealed.
    pub fn signed(&self, args: &[&str]) -> Ran {
        self.run(&[args, &["--signer", "release.pub"]].concat())
    }

    /// `open REF DEST …` with signer and identity.
    pub fn open(&self, args: &[&str]) -> Ran {
        self.signed(&[&["open"], args, &["--identity", "node.key"]].concat())
    }

    /// Names in this folder.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// All files below a folder.
    pub fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path(below)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }

    /// The largest object of the vault: a part of the largest file.
    pub fn largest_part(&self) -> PathBuf {
        self.files("vault/objects").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }
}

/// Bytes without a pattern, always the same.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| step()).collect()
}
