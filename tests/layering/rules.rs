//! The rules, each a function from what a file says to what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::scan::{Fact, What};

/// The modules of `vault-core`, lowest first. A module imports only from lines above its own; modules on one line never
/// import one another.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["names"],
    &["secret"],
    &["journal"],
    &["workers"],
    &["canonical"],
    &["keys"],
    &["aead"],
    &["floe"],
    &["stream"],
    &["parts"],
    &["tree"],
    &["source"],
    &["manifest"],
    &["index"],
    &["recipients"],
    &["wrap"],
    &["provenance"],
    &["trust"],
    &["oms"],
    &["body"],
    &["seal", "open", "verify"],
    &["safetensors"],
    &["store"],
    &["log"],
    &["vault"],
];

/// `store` sees no further than this: it moves bytes and knows no document.
const STORE_SEES: &str = "parts";

/// The only module that may hold `unsafe`.
const UNSAFE_MODULE: &str = "source";

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&module))
}

fn may_import(from: &str, to: &str) -> bool {
    let above = layer(to) < layer(from);
    from == to || (above && (from != "store" || layer(to) <= layer(STORE_SEES)))
}

/// What the crate root re-exports, by name: the module it comes from.
pub(crate) fn re_exports(root: &[Fact]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for fact in root {
        if let What::Local(path) | What::Other(path) = &fact.what
            && let [module, .., name] = path.as_slice()
            && layer(module).is_some()
        {
            found.insert(name.clone(), module.clone());
        }
    }
    found
}

/// Imports that point up or sideways, and modules that have no place in the list; each once in a file.
pub(crate) fn layering(facts: &[Fact], re_exports: &BTreeMap<String, String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let fault = |fact| layering_fault(fact, re_exports).map(|fault| (fact, fault));
    let first = |(_, fault): &(&Fact, String)| seen.insert(fault.clone());
    facts.iter().filter_map(fault).filter(first).map(|(fact, fault)| at(fact, &fault)).collect()
}

fn layering_fault(fact: &Fact, re_exports: &BTreeMap<String, String>) -> Option<String> {
    if fact.test {
        // Tests of a pipeline look at it through a whole vault; what ships does not.
        return None;
    }
    let Some(from) = fact.module.first() else {
        // The crate root declares modules and re-exports; it is below nothing and above everything.
        return match &fact.what {
            What::Module(name, _) if layer(name).is_none() => Some(unplaced(name)),
            _ => None,
        };
    };
    if layer(from).is_none() {
        return Some(unplaced(from));
    }
    let What::Local(path) = &fact.what else { return None };
    let Some(name) = path.first().filter(|name| *name != "*") else {
        return Some(format!("`{from}` imports the crate root as a whole"));
    };
    let to = re_exports.get(name).unwrap_or(name);
    if layer(to).is_none() {
        Some(unplaced(to))
    } else if may_import(from, to) {
        None
    } else {
        Some(format!("`{from}` may not import `{to}`"))
    }
}

fn unplaced(module: &str) -> String {
    format!("`{module}` is not a module in the list of layers")
}

/// What a library does not do: print, read the environment, end the process.
pub(crate) fn side_effects(facts: &[Fact]) -> Vec<String> {
    let fault = |fact: &Fact| match &fact.what {
        What::Macro(name) if PRINTING.contains(&name.as_str()) => Some(format!("`{name}!` prints")),
        What::Other(path) => forbidden(path).map(|why| format!("`{}` {why}", path.join("::"))),
        _ => None,
    };
    facts.iter().filter(|fact| !fact.test).filter_map(|fact| fault(fact).map(|fault| at(fact, &fault))).collect()
}

fn forbidden(path: &[String]) -> Option<&'static str> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["std", "env", ..] => Some("reads the environment"),
        ["std", "io", "stdout" | "stderr" | "stdin", ..] => Some("uses the terminal"),
        ["std", "process", "exit" | "abort" | "*"] | ["process", "exit" | "abort"] => Some("ends the process"),
        _ => None,
    }
}

/// `unsafe` outside the one module that may hold it, which is a module of the core.
pub(crate) fn unsafe_code(facts: &[Fact], core: bool) -> Vec<String> {
    let may = |fact: &Fact| core && fact.module.first().is_some_and(|module| module == UNSAFE_MODULE);
    facts.iter().filter(|fact| fact.what == What::Unsafe && !may(fact)).map(|fact| at(fact, "`unsafe`")).collect()
}

/// Whether the crate root starts with an attribute that refuses `unsafe` in all of the crate.
pub(crate) fn forbids_unsafe(source: &str) -> bool {
    source.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]")
}

fn at(fact: &Fact, fault: &str) -> String {
    format!("line {}: {fault}", fact.line)
}
