//! The shape of the code, checked: which module imports which, where `unsafe` is, what the library never does.
#![forbid(unsafe_code)]

mod planted;
mod rules;
mod scan;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use scan::{Fact, What};

/// Crates whose root forbids `unsafe`. `vault-core` has one module that needs it, and the fuzz targets a macro.
const FORBID_UNSAFE: [&str; 4] = ["vault-cli", "vault-server", "tests", "benches"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_path_buf()
}

/// Every Rust file below `folder`, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module a file of a crate is: `src/floe/header.rs` is `[floe, header]`, the root is `[]`.
fn module_of(file: &Path, src: &Path) -> Vec<String> {
    let inside = file.strip_prefix(src).expect("a file of the crate").with_extension("");
    let mut module: Vec<String> = inside.iter().map(|name| name.to_str().expect("UTF-8").to_owned()).collect();
    module.pop_if(|last| *last == "mod" || (*last == "lib" && inside.components().count() == 1));
    module
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn facts_of(file: &Path, module: &[String], test: bool) -> Vec<Fact> {
    scan::scan(&read(file), module, test).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Every file of `vault-core` and what it says. A file is for tests only if its module was declared so.
fn core() -> Vec<(PathBuf, Vec<Fact>)> {
    let src = workspace().join("vault-core/src");
    let mut modules: BTreeMap<PathBuf, Vec<String>> =
        rust_files(&src).into_iter().map(|file| (file.clone(), module_of(&file, &src))).collect();
    let mut tests = Vec::new();
    for (file, module) in modules.clone() {
        for fact in facts_of(&file, &module, false) {
            let What::Module(name, path) = fact.what else { continue };
            let child = [fact.module, vec![name]].concat();
            if fact.test {
                tests.push(child.clone());
            }
            if let Some(path) = path {
                modules.insert(file.with_file_name(path), child);
            }
        }
    }
    let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
    modules.into_iter().map(|(file, module)| (file.clone(), facts_of(&file, &module, is_test(&module)))).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn faults_in(files: &[(PathBuf, Vec<Fact>)], rule: impl Fn(&[Fact]) -> Vec<String>) -> Vec<String> {
    files
        .iter()
        .flat_map(|(file, facts)| rule(facts).into_iter().map(move |fault| format!("{}: {fault}", file.display())))
        .collect()
}

#[test]
fn modules_import_only_from_the_layers_below_them() {
    let core = core();
    let (_, root) = core.iter().find(|(file, _)| file.ends_with("src/lib.rs")).expect("vault-core has a root");
    let re_exports = rules::re_exports(root);
    assert_none(&faults_in(&core, |facts| rules::layering(facts, &re_exports)));
}

#[test]
fn the_library_never_prints_reads_the_environment_or_exits() {
    assert_none(&faults_in(&core(), rules::side_effects));
}

#[test]
fn unsafe_is_in_one_module_of_the_core_and_nowhere_else() {
    assert_none(&faults_in(&core(), |facts| rules::unsafe_code(facts, true)));
    let root = workspace();
    let others: Vec<(PathBuf, Vec<Fact>)> = FORBID_UNSAFE
        .iter()
        .chain(&["fuzz"])
        .flat_map(|folder| rust_files(&root.join(folder)))
        .map(|file| (file.clone(), facts_of(&file, &[], false)))
        .collect();
    assert_none(&faults_in(&others, |facts| rules::unsafe_code(facts, false)));
}

#[test]
fn every_crate_but_the_core_forbids_unsafe() {
    let root = workspace();
    let faults: Vec<String> = FORBID_UNSAFE
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder).join("src")))
        .filter(|file| file.ends_with("src/lib.rs") || file.ends_with("src/main.rs") || is_binary(file))
        .filter(|file| !rules::forbids_unsafe(&read(file)))
        .map(|file| format!("{}: no #![forbid(unsafe_code)]", file.display()))
        .collect();
    assert_none(&faults);
}

/// Whether a file is the root of a binary in `src/bin`.
fn is_binary(file: &Path) -> bool {
    let in_bin = |folder: Option<&Path>| folder.is_some_and(|folder| folder.ends_with("src/bin"));
    in_bin(file.parent()) || (file.ends_with("main.rs") && in_bin(file.parent().and_then(Path::parent)))
}
