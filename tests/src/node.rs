//! Packages of npm, each lock file in a folder of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{build::kept, python::run};

/// Prepares a folder called `name` with the files in `from`, and the packages that its lock file names, unless it is there.
/// Other test processes wait. No script of a package is run.
pub(crate) fn packages(name: &str, from: &Path) -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(from.join("package-lock.json")).expect("package-lock.json");
    let home = kept().join(name);
    let stamp = home.join("packages.stamp");

    let lock = File::create(kept().join(format!("{name}.lock"))).expect("a lock file below the target folder");
    lock.lock().expect("a lock on our own file");
    fs::create_dir_all(&home).expect("a folder below the target folder");
    let is_there = fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == wanted);
    for file in fs::read_dir(from).expect("a folder of ours") {
        let file = file.expect("a file of ours");
        fs::copy(file.path(), home.join(file.file_name())).expect("copied");
    }
    if is_there {
        return Ok(home);
    }
    run(Command::new("node").arg("--version"))?;
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    run(Command::new("npm").args(install).current_dir(&home))?;
    fs::write(&stamp, wanted).expect("a stamp in our own folder");
    Ok(home)
}
