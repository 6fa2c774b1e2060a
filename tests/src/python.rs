//! Python in environments of their own: the reference implementation, and other people's packages.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    build::{kept, workspace},
    workspace::Output,
};

/// What the pinned packages need.
const OLDEST: &str = "import sys; sys.exit(sys.version_info < (3, 11))";

/// A Python with some packages, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python(PathBuf);

impl Python {
    /// Prepares an environment called `name` with these requirements, unless it is there. `None`, said loudly, if this
    /// machine has no Python for it; in continuous integration that is a failure.
    pub fn with(requirements: &Path, name: &str) -> Option<Self> {
        environment(name, requirements).map(Self).map_err(|why| skip(&why)).ok()
    }

    /// The interpreter; beside it are the programs of its packages.
    pub fn program(&self) -> &Path {
        &self.0
    }

    /// Runs a script in `folder`.
    pub fn run(&self, folder: &Path, script: impl AsRef<Path>, args: &[&str]) -> Output {
        let mut command = Command::new(&self.0);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        command.arg(script.as_ref()).args(args).current_dir(folder);
        Output::of(&mut command, b"")
    }
}

/// The reference implementation, ready to run.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    python: &'static Path,
}

impl Reference {
    /// Prepares it on the first call. `None`, said loudly, if this machine has no Python for it; in continuous
    /// integration that is a failure.
    pub fn get() -> Option<Self> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match PYTHON.get_or_init(|| environment("refvenv", &Self::folder().join("requirements.txt"))) {
            Ok(python) => Some(Self { python }),
            Err(why) => {
                skip(why);
                None
            }
        }
    }

    /// The interpreter, with the packages it needs.
    pub fn python(self) -> &'static Path {
        self.python
    }

    /// The folder it is in.
    pub fn folder() -> PathBuf {
        workspace().join("tests/reference")
    }

    /// Runs one of its scripts, or another one that imports it, in `folder`.
    pub fn run(self, folder: &Path, script: impl AsRef<Path>, args: &[&str], input: &[u8]) -> Output {
        let home = Self::folder();
        let mut command = Command::new(self.python);
        command.env("PYTHONPATH", &home).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        command.arg(home.join(script)).args(args).current_dir(folder);
        Output::of(&mut command, input)
    }
}

/// Whether `program` can be run.
pub fn have(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Says why tests are not run; panics if they must be.
pub fn skip(why: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "in continuous integration nothing is skipped: {why}");
    // `eprintln!` would be captured, and nobody would know.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED, NOT PASSED: {why} ***\n");
}

/// Makes the environment of this name, unless one with these requirements is there, and gives its Python. Other test
/// processes wait.
pub(crate) fn environment(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(requirements).expect("requirements.txt");
    let home = kept().join(name);
    let python = home.join("bin/python");
    let stamp = home.join("requirements.stamp");

    let lock = File::create(kept().join(format!("{name}.lock"))).expect("a lock file below the target folder");
    lock.lock().expect("a lock on our own file");
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-c", OLDEST])).map_err(|e| format!("no Python 3.11 or later ({e})"))?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(install).arg(requirements))?;
    fs::write(&stamp, wanted).expect("a stamp in our own environment");
    Ok(python)
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
