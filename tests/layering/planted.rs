//! The checker checked: what it must find, planted, and what it must not mistake for it.

use std::{collections::BTreeMap, path::Path};

use crate::{
    module_of, rules,
    scan::{What, scan},
};

fn module(path: &str) -> Vec<String> {
    path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What `rules::layering` says of `source` as the module `path`, when the root re-exports `Error` and `Sealer`.
fn layering(path: &str, source: &str) -> Vec<String> {
    let root = scan("pub use error::{Error, Result}; pub use seal::Sealer;", &[], false).expect("it parses");
    rules::layering(&scan(source, &module(path), false).expect("it parses"), &rules::re_exports(&root))
}

fn side_effects(source: &str) -> Vec<String> {
    rules::side_effects(&scan(source, &module("floe"), false).expect("it parses"))
}

#[test]
fn imports_from_below_are_allowed() {
    for (path, source) in [
        ("floe", "use crate::aead::Key;"),
        ("floe", "use crate::{Error, Result, aead::{self, Key}, secret::*};"),
        ("floe", "use super::secret::Secret;"),
        ("floe", "use std::{fmt, io}; use crate::error;"),
        ("floe::header", "use super::Segment; use crate::floe::Header;"),
        ("floe::header", "use super::super::aead::Key;"),
        ("floe", "mod tests { use super::*; use super::super::error::Error; }"),
        ("floe", "#[cfg(test)] mod tests { use crate::tree; }"),
        ("floe", "pub(crate) fn f() {} pub(super) struct S; pub(in crate::floe) struct T;"),
        ("floe", "impl S { fn f(&self) -> u8 { self.0 } fn g(self) -> Self { self } }"),
        ("floe", "/// See [`crate::vault::Vault`].\n//! crate::vault\n"),
        ("floe", "// crate::vault::Vault\n/* crate::vault /* nested */ crate::store */ const C: u8 = 0;"),
        (
            "floe",
            r##"const A: &str = "crate::vault"; const B: &str = r#""crate::vault::X"#; const C: &[u8] = b"super::vault";"##,
        ),
        ("floe", "fn f<'a>(x: &'a str) -> char { 'c' } use crate::aead;"),
        ("seal", "use crate::{oms, manifest::Manifest};"),
        ("store", "use crate::{parts::Sink, error::Error, names::ModelName};"),
        ("vault", "use crate::{store::Store, seal, open, verify};"),
        ("vault", "use crate::Sealer;"),
        ("", "mod error; pub mod floe; pub use vault::Vault;"),
    ] {
        assert_eq!(layering(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

#[test]
fn imports_from_above_are_found() {
    for (path, source, fault) in [
        ("floe", "use crate::vault::Vault;", "line 1: `floe` may not import `vault`"),
        ("floe", "\n\nuse crate::{error::Error, seal};", "line 3: `floe` may not import `seal`"),
        ("floe", "use crate::{error::{Error, Kind}, secret, {tree::Tree}};", "line 1: `floe` may not import `tree`"),
        ("floe", "use crate::r#tree::Tree;", "line 1: `floe` may not import `tree`"),
        ("floe", "use super::tree;", "line 1: `floe` may not import `tree`"),
        ("floe", "use self::super::tree::Tree;", "line 1: `floe` may not import `tree`"),
        ("floe", "fn f() { let _ = crate::tree::merge(1); }", "line 1: `floe` may not import `tree`"),
        ("floe", "fn f() -> Vec<crate::tree::Tree> { vec![] }", "line 1: `floe` may not import `tree`"),
        ("floe", "fn f() { assert!(crate::tree::ok()); }", "line 1: `floe` may not import `tree`"),
        ("floe", "macro_rules! m { () => { $crate::tree::f() } }", "line 1: `floe` may not import `tree`"),
        ("floe", "pub(in crate::tree) struct S;", "line 1: `floe` may not import `tree`"),
        ("floe", "mod inner { use super::super::tree; }", "line 1: `floe` may not import `tree`"),
        ("floe::header", "use super::super::tree::Tree;", "line 1: `floe` may not import `tree`"),
        ("floe", "use crate::Sealer;", "line 1: `floe` may not import `seal`"),
        ("error", "use crate::names;", "line 1: `error` may not import `names`"),
    ] {
        assert_eq!(layering(path, source), [fault], "{path}: {source}");
    }
}

#[test]
fn pipelines_and_the_store_keep_apart() {
    for (from, to) in [
        ("seal", "open"),
        ("seal", "verify"),
        ("open", "verify"),
        ("verify", "seal"),
        ("seal", "store"),
        ("open", "store"),
        ("verify", "vault"),
        ("store", "seal"),
        ("store", "open"),
        ("store", "verify"),
        ("store", "manifest"),
        ("store", "source"),
        ("store", "vault"),
    ] {
        let fault = format!("line 1: `{from}` may not import `{to}`");
        assert_eq!(layering(from, &format!("use crate::{to}::X;")), [fault]);
    }
}

#[test]
fn what_has_no_place_in_the_list_is_found() {
    for (path, source, fault) in [
        ("helpers", "use std::fmt;", "line 1: `helpers` is not a module in the list of layers"),
        ("floe", "use crate::helpers::f;", "line 1: `helpers` is not a module in the list of layers"),
        ("", "mod error; mod helpers;", "line 1: `helpers` is not a module in the list of layers"),
        ("", "mod helpers { use std::fmt; }", "line 1: `helpers` is not a module in the list of layers"),
        ("floe", "use crate::*;", "line 1: `floe` imports the crate root as a whole"),
        ("floe", "use super::*;", "line 1: `floe` imports the crate root as a whole"),
        ("floe", "use crate as root;", "line 1: `floe` imports the crate root as a whole"),
        ("floe", "use crate::{self as root};", "line 1: `floe` imports the crate root as a whole"),
        ("floe", "use super as up;", "line 1: `floe` imports the crate root as a whole"),
    ] {
        assert_eq!(layering(path, source), [fault], "{path}: {source}");
    }
}

#[test]
fn side_effects_are_found() {
    for (source, fault) in [
        ("fn f() { println!(\"x\"); }", "`println!` prints"),
        ("fn f() { std::eprintln!(\"x\"); }", "`eprintln!` prints"),
        ("fn f() { dbg!(1); }", "`dbg!` prints"),
        ("use std::env;", "`std::env` reads the environment"),
        ("use std::{fmt, env::var};", "`std::env::var` reads the environment"),
        ("fn f() { ::std::env::args(); }", "`std::env::args` reads the environment"),
        ("use std::process; fn f() { process::exit(1) }", "`process::exit` ends the process"),
        ("use std::process::{Command, exit};", "`std::process::exit` ends the process"),
        ("fn f() { std::process::abort() }", "`std::process::abort` ends the process"),
        ("fn f() { std::io::stderr(); }", "`std::io::stderr` uses the terminal"),
        ("#[cfg(test)] mod tests { } fn f() { print!(\"x\"); }", "`print!` prints"),
        ("#[cfg(test)] use a::{b, c}; fn f() { print!(\"x\"); }", "`print!` prints"),
        ("#[cfg(not(test))] fn f() { print!(\"x\"); }", "`print!` prints"),
    ] {
        let found = side_effects(source);
        assert_eq!(found, [format!("line 1: {fault}")], "{source}");
    }
}

#[test]
fn tests_may_print_and_other_code_is_not_mistaken_for_it() {
    for source in [
        "#[cfg(test)] mod tests { fn f() { println!(\"x\"); let _ = std::env::temp_dir(); } }",
        "#[cfg(test)] #[derive(Debug)] struct S { a: u8 } #[test] fn t() -> Result<(), E> { eprintln!(\"x\"); Ok(()) }",
        "// println!(\"x\")\n/// println!(\"x\");\nfn f() { write!(f, \"println!()\"); }",
        "const V: &str = env!(\"CARGO_PKG_VERSION\"); fn f(println: u8) -> bool { println != (1) }",
        "use std::process::Command; fn exit() {} fn f() { exit() }",
    ] {
        assert_eq!(side_effects(source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn modules_in_other_files_are_found_with_what_was_said_of_them() {
    let source = "mod a; #[cfg(test)] #[path = \"b_tests.rs\"] mod b; mod c { #[cfg(test)] mod d; }";
    let found: Vec<_> = scan(source, &module("floe"), false)
        .expect("it parses")
        .into_iter()
        .map(|fact| (fact.module.join("::"), fact.test, fact.what))
        .collect();
    let file = |name: &str, path: Option<&str>| What::Module(name.to_owned(), path.map(str::to_owned));
    let expected = [
        ("floe".to_owned(), false, file("a", None)),
        ("floe".to_owned(), true, file("b", Some("b_tests.rs"))),
        ("floe::c".to_owned(), true, file("d", None)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn unsafe_is_found_in_code_only() {
    let faults = |path: &str, source: &str, core| {
        rules::unsafe_code(&scan(source, &module(path), false).expect("it parses"), core).len()
    };
    let block = "fn f() { unsafe { g() } }";
    assert_eq!(faults("floe", block, true), 1);
    assert_eq!(faults("source", block, true), 0);
    assert_eq!(faults("source::map", block, true), 0);
    assert_eq!(faults("source", block, false), 1);
    assert_eq!(faults("floe", "unsafe impl Send for S {}", true), 1);
    assert_eq!(faults("floe", "#![forbid(unsafe_code)] // unsafe\nconst S: &str = \"unsafe\";", true), 0);

    assert!(rules::forbids_unsafe("//! Doc.\n#![forbid(unsafe_code)]\n"));
    assert!(!rules::forbids_unsafe("// #![forbid(unsafe_code)]\nfn main() {}\n"));
}

#[test]
fn files_are_the_modules_rust_says() {
    for (file, expected) in [
        ("src/lib.rs", ""),
        ("src/floe.rs", "floe"),
        ("src/floe/mod.rs", "floe"),
        ("src/floe/header.rs", "floe::header"),
        ("src/floe/lib.rs", "floe::lib"),
    ] {
        assert_eq!(module_of(Path::new(file), Path::new("src")), module(expected), "{file}");
    }
    assert!(rules::re_exports(&scan("pub use std::fmt;", &[], false).expect("it parses")).is_empty());
    assert_eq!(
        rules::re_exports(&scan("pub use crate::error::Error;", &[], false).expect("it parses")),
        BTreeMap::from([("Error".to_owned(), "error".to_owned())])
    );
}
