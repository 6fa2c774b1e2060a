//! What the registry says of its API is true, for every role: schemathesis asks what the description allows, and what it does not.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;
use vault_tests::{Output, Python, Workspace, servers::Registry};

use crate::Desk;

/// What is demanded of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth";

/// Asks on behalf of somebody; panics with what was found.
fn explore(python: &Python, registry: &Registry, key: &str, folder: &Path) {
    let origin = registry.url().trim_end_matches("/main").to_owned();
    let mut command = Command::new(python.program().with_file_name("schemathesis"));
    command.args(["--no-color", "run"]).arg(format!("{origin}/v1/openapi.json"));
    command.arg("--tls-verify").arg(registry.certificate());
    command.args(["--header", &format!("Authorization:Bearer {key}"), "--checks", CHECKS]);
    command.args(["--max-examples", "5", "--generation-deterministic", "--max-time", "15", "--request-timeout", "20"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--warnings", "off"]);
    command.current_dir(folder).env("PYTHONUTF8", "1");
    let output = Output::of(&mut command, b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.code == 0, "{said}\n{}", output.stderr);
}

fn objects(registry: &Registry) -> Value {
    let target = "/v1/vaults/main/objects";
    let answer = registry.ask(&registry.admin, "GET", target, &[], b"");
    assert_eq!(answer.status(), 200);
    let listed: Value = serde_json::from_slice(&answer.body).expect("JSON");
    // The log grows with every refusal.
    let kept = listed["objects"].as_array().expect("objects").iter();
    kept.filter(|one| !one["path"].as_str().is_some_and(|path| path.starts_with("log/"))).cloned().collect()
}

fn keys(registry: &Registry) -> Vec<String> {
    let answer = registry.ask(&registry.admin, "GET", "/v1/keys", &[], b"");
    let listed: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let counting = listed["keys"].as_array().expect("keys").iter().filter(|key| key["counts"] == true);
    counting.map(|key| key["id"].to_string()).collect()
}

#[test]
fn the_description_is_served_to_everybody_and_names_every_route() {
    let registry = Registry::start();
    let answer = registry.ask("", "GET", "/v1/openapi.json", &[], b"");
    assert_eq!(answer.status(), 200);
    let described: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(described["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths: Vec<_> = described["paths"].as_object().expect("paths").keys().cloned().collect();
    for path in ["/v1/whoami", "/v1/keys/{id}/rotate", "/v1/vaults/{vault}/objects/{path}", "/v1/policies", "/readyz"] {
        assert!(paths.iter().any(|one| one == path), "{path} is not among {paths:?}");
    }
}

#[test]
fn answers_are_as_described_whoever_asks() {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/registry/requirements.txt");
    let Some(python) = Python::with(&requirements, "schemathesis") else { return };
    // What is forbidden is not asked for less often than what is allowed.
    let registry = Registry::with("per_principal = 100000\nper_address = 100000\nstrangers_per_minute = 100000\n");
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model.bin", b"weights");
    desk.seal("model.bin", "m:1").ok();
    let roles: [(&str, &[&str]); 5] = [
        ("nothing", &[]),
        ("reader", &["read"]),
        ("trainer", &["seal", "sign"]),
        ("manager", &["promote", "approve"]),
        ("auditor", &["audit"]),
    ];
    let roles = roles.map(|(name, permissions)| {
        let models = if name == "trainer" { "team-*" } else { "*" };
        let grants = if permissions.is_empty() { &["read"][..] } else { permissions };
        (name, registry.key(name, grants, if permissions.is_empty() { "nothing-at-all" } else { models }, "*"))
    });
    let (before, known) = (objects(&registry), keys(&registry));
    for (name, key) in &roles {
        explore(&python, &registry, key, desk.work.root());
        assert_eq!((objects(&registry), keys(&registry)), (before.clone(), known.clone()), "{name} changed something");
    }
    // An administrator may do all of it, also to end the key of somebody: what is asked for is made up, so nobody's is.
    explore(&python, &registry, &registry.admin, desk.work.root());
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(registry.ask(&registry.admin, "GET", "/readyz", &[], b"").status(), 200);
}
