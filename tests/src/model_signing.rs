//! The reference implementation of `OpenSSF` Model Signing, in an environment of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    build::workspace,
    python::{environment, skip},
    workspace::Output,
};

/// The command `model_signing`, ready to run.
#[derive(Debug, Clone, Copy)]
pub struct ModelSigning {
    python: &'static Path,
}

impl ModelSigning {
    /// Installs it on the first call. `None`, said loudly, if it cannot be; in continuous integration that is a failure.
    pub fn get() -> Option<Self> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let requirements = || workspace().join("tests/e2e/oms/requirements.txt");
        match PYTHON.get_or_init(|| environment("omsvenv", &requirements())) {
            Ok(python) => Some(Self { python }),
            Err(why) => {
                skip(why);
                None
            }
        }
    }

    /// Runs the command in `folder`.
    pub fn run(self, folder: &Path, args: &[&str]) -> Output {
        self.python(folder, &[&["-m", "model_signing"], args].concat())
    }

    /// Runs its Python in `folder`.
    pub fn python(self, folder: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(self.python);
        command.args(args).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        Output::of(&mut command, b"")
    }
}
