//! Where cargo puts things, and the binary under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace")
}

/// `<target>/<profile>/deps/<this test>`.
fn this_test() -> PathBuf {
    env::current_exe().expect("the path of this test")
}

/// Cargo's target folder, the one this test was built in.
fn target() -> PathBuf {
    let test = this_test();
    let tagged = test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    tagged.or_else(|| test.ancestors().nth(3)).expect("a test is built in a target folder").to_path_buf()
}

/// A folder that outlives the tests; what cargo calls `CARGO_TARGET_TMPDIR`.
pub(crate) fn kept() -> PathBuf {
    let folder = target().join("tmp");
    std::fs::create_dir_all(&folder).expect("a folder below the target folder");
    folder
}

fn profile() -> String {
    let folder =
        this_test().ancestors().nth(2).and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match folder.as_deref() {
        None | Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// The real `mvault`, built on the first call with the profile and target folder of this test.
pub fn mvault() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("vault-cli", "mvault"))
}

/// The real `mvault-server`, in the same way.
pub fn mvault_server() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("vault-server", "mvault-server"))
}

fn build(package: &str, name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // All at once: built alone, a package may have its dependencies with other features, and then all of them are built.
    cargo.args(["build", "--locked", "--quiet", "--workspace", "--bins"]);
    cargo.args(["--message-format", "json"]);
    cargo.arg("--profile").arg(profile()).arg("--target-dir").arg(target()).current_dir(workspace());
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{package} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let built = message["target"]["name"] == name && message["target"]["kind"][0] == "bin";
        if built { message["executable"].as_str().map(PathBuf::from) } else { None }
    };
    messages.lines().find_map(executable).expect("cargo names the binary it built")
}
