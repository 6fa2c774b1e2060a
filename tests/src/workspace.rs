//! A folder to work in, with keys and a vault.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    build::{mvault, workspace},
    folder::{Entry, Tree, copy, files, make_private},
    python::Reference,
};

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    line: String,
}

/// The error a `--json` command printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: String,
    pub message: String,
    pub exit: i64,
}

#[allow(clippy::return_self_not_must_use, reason = "to assert is what some are called for")]
impl Output {
    /// Runs a command to its end, with this on its standard input.
    pub fn of(command: &mut Command, input: &[u8]) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        let output = thread::scope(|scope| {
            // A command that refuses early does not read its input.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap_or_else(|e| panic!("{line}: {e}"))
        });
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr, line }
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts its exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { line, stderr, .. } = &self;
        assert_eq!(self.code, code, "{line}\n{}\n{stderr}", String::from_utf8_lossy(&self.stdout));
        self
    }

    /// What `--json` printed on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{}\n{e}\n{}", self.line, self.stderr))
    }

    /// What `--json` printed on standard error, if it failed.
    pub fn error(&self) -> Option<Refusal> {
        let object = self.stderr.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())?;
        let error = object.get("error")?;
        let text = |key: &str| error[key].as_str().map(str::to_owned);
        Some(Refusal { kind: text("kind")?, message: text("message")?, exit: error["exit"].as_i64()? })
    }
}

/// A temporary folder with keys, passphrases and a vault:
///
/// * `signer.key` signs, `stranger.key` is another signing key;
/// * `alice.key` (X25519) and `bob.key` (X-Wing) are recipients, `eve.key` (X25519) is nobody's;
/// * `pass` and `wrong` are passphrases;
/// * `vault` is an empty vault.
#[derive(Debug)]
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A folder with keys and an empty vault.
    #[allow(clippy::new_without_default, reason = "making keys is no default")]
    pub fn new() -> Self {
        let made = Self::empty();
        for name in ["signer", "stranger"] {
            made.run(&["key", "generate", "--kind", "signing", "-o", name, "--no-passphrase"]).ok();
        }
        for (name, kem) in [("alice", "x25519"), ("bob", "x-wing"), ("eve", "x25519")] {
            made.run(&["key", "generate", "--kind", "recipient", "--kem", kem, "-o", name, "--no-passphrase"]).ok();
        }
        made.write("pass", b"correct horse\n");
        made.write("wrong", b"battery staple\n");
        made.run(&["init", "vault"]).ok();
        made
    }

    /// A folder with the example keys and their trust root, and no vault.
    pub fn with_examples() -> Self {
        let made = Self::empty();
        for entry in fs::read_dir(workspace().join("keys-example")).expect("the example keys") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            made.write(&name, &fs::read(&path).expect("an example"));
            make_private(&made.path(&name));
        }
        made
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file, and the folders it is in.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is below a folder")).expect("a new folder");
        fs::write(path, bytes).expect("a new file");
    }

    /// Writes all files of a tree below `name`.
    pub fn plant(&self, name: &str, tree: &Tree) {
        fs::create_dir_all(self.path(name)).expect("a new folder");
        for (path, Entry { bytes, executable }) in tree {
            let path = format!("{name}/{path}");
            self.write(&path, bytes);
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("the mode of our own file");
        }
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The path of every file below `name`, in order.
    pub fn files(&self, name: &str) -> Vec<PathBuf> {
        files(&self.path(name))
    }

    /// The only file below `name` whose path ends so.
    #[track_caller]
    pub fn only(&self, name: &str, ending: &str) -> PathBuf {
        let found = self.files(name).into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{name}/…{ending}: {found:?}");
        found.into_iter().next().expect("one was found")
    }

    /// Copies a folder.
    pub fn copy(&self, from: &str, to: &str) {
        copy(&self.path(from), &self.path(to));
    }

    /// `mvault --json …` in this folder, with `vault` as the vault if no other is named.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, b"")
    }

    /// The same with this on standard input.
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(mvault());
        command.arg("--json").args(args).current_dir(self.root()).env("MVAULT_VAULT", "vault");
        Output::of(&mut command, input)
    }

    /// The same with these variables, which may name another vault.
    pub fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Output {
        let mut command = self.command(variables, args);
        Output::of(&mut command, b"")
    }

    /// The command of [`Self::run_with`], not yet run.
    pub fn command(&self, variables: &[(&str, &str)], args: &[&str]) -> Command {
        let mut command = Command::new(mvault());
        command.arg("--json").args(args).current_dir(self.root()).env("MVAULT_VAULT", "vault");
        command.envs(variables.iter().copied());
        command
    }

    /// A script of the reference implementation, in this folder, with this on standard input.
    pub fn reference_with_input(
        &self,
        reference: Reference,
        script: impl AsRef<Path>,
        args: &[&str],
        input: &[u8],
    ) -> Output {
        reference.run(self.root(), script, args, input)
    }

    /// A script of the reference implementation, in this folder.
    pub fn reference(&self, reference: Reference, script: impl AsRef<Path>, args: &[&str]) -> Output {
        self.reference_with_input(reference, script, args, b"")
    }
}
