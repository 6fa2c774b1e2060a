//! What the registry adds to the vault's log.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use vault_tests::{Workspace, servers::Registry};

use crate::{Desk, refused};

fn entries(desk: &Desk) -> Vec<Value> {
    let shown = desk.run(&["log", "show"]).ok().json();
    shown["entries"].as_array().expect("entries").clone()
}

fn of<'a>(entries: &'a [Value], action: &str) -> Vec<&'a Value> {
    entries.iter().filter(|entry| entry["action"] == action).collect()
}

#[test]
fn records_changes_logins_and_refusals_are_logged_before_the_answer() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    let sealer = registry.key("trainer", &["seal"], "team-*", "*");
    desk.work.write("model.bin", b"weights");
    desk.ask_as("trainer", &sealer);
    desk.seal("model.bin", "team-a:1").ok();
    refused(desk.seal("model.bin", "other:1"), 9, "denied");
    refused(desk.run(&["admin", "key", "list"]), 9, "denied");
    desk.run(&["whoami"]).ok();
    registry.ask("mvk_0123456789abcdef_wrong", "GET", "/v1/whoami", &[], b"");
    desk.token = "admin.token".into();
    let entries = entries(&desk);

    let seals = of(&entries, "seal");
    assert_eq!(seals.len(), 1, "by the registry, and not again by the client: {entries:?}");
    let actor = seals[0]["actor"].as_str().expect("a pseudonym");
    assert_eq!((seals[0]["model"].as_str(), seals[0]["version"].as_str()), (Some("team-a"), Some("1")));
    let refusals = of(&entries, "denial");
    let told: Vec<_> = refusals.iter().map(|entry| (&entry["permission"], &entry["model"])).collect();
    assert!(told.contains(&(&"seal".into(), &"other".into())), "{told:?}");
    assert!(told.contains(&(&"admin".into(), &Value::Null)), "{told:?}");
    assert!(refusals.iter().all(|entry| entry["actor"] == actor));
    let logins = of(&entries, "login").iter().filter(|entry| entry["actor"] == actor).count();
    assert_eq!(logins, 1, "who comes again within a minute is not logged again");
    let changes = of(&entries, "policy");
    assert_eq!(changes[0]["record"]["path"], "server/state/1.dsse.json");
    assert_eq!(changes.len(), 2, "the first administrator, and the trainer");
    assert_eq!(of(&entries, "share").len(), 2, "also of the artifact that then got no name");

    let person = desk.run(&["admin", "who", actor]).ok().json();
    assert_eq!((person["name"].as_str(), person["means"].as_str()), (Some("trainer"), Some("key")));
    refused(desk.run(&["admin", "who", &"ab".repeat(16)]), 8, "not-found");
    desk.token = "trainer.token".into();
    refused(desk.run(&["admin", "who", actor]), 9, "denied");
    // The log is one that everybody can check.
    desk.token = "admin.token".into();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
    let url = format!("file://{}", registry.folder().join("vault").display());
    desk.run(&["--vault", &url, "log", "publish", "--key", "log.key"]).ok();
    desk.run(&["log", "verify", "--log-key", "log.pub", "--complete"]).ok();
}

#[test]
fn nobody_adds_to_the_log_or_takes_from_it_and_what_is_removed_is_logged() {
    let mut registry = Registry::start();
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model.bin", b"weights");
    let sealed = desk.seal("model.bin", "m:1").ok().json();
    let artifact = sealed["digest"].as_str().and_then(|text| text.strip_prefix("b3:")).expect("a digest").to_owned();
    let ask = |method: &str, path: &str| {
        let target = format!("/v1/vaults/main/objects/{path}");
        registry.ask(&registry.admin, method, &target, &[("if-none-match", "*")], b"x").status()
    };
    assert_eq!(registry.get(&registry.admin, "log/batch/0.0").status(), 200);
    for path in ["log/batch/0.0", "log/batch/999.0", "log/genesis.json", "vault.json"] {
        assert_eq!(ask("DELETE", path), 403, "{path}");
    }
    assert_eq!((ask("PUT", "log/batch/999.0"), ask("PUT", "log/batch/0.1")), (403, 403));
    assert_eq!(ask("DELETE", &format!("artifacts/{artifact}/recipients/1.dsse.json")), 204);
    let entries = entries(&desk);
    let removed = of(&entries, "delete");
    assert_eq!(
        (removed.len(), removed[0]["artifact"].as_str().map(|text| text.trim_start_matches("b3:"))),
        (1, Some(&*artifact))
    );
    assert!(removed[0]["actor"].is_string() && removed[0]["record"].is_null());

    // Names that are made up fill no log.
    let reader = registry.key("reader", &["read"], "x", "x");
    for number in 0..60 {
        registry.get(&reader, &format!("models/made-up-{number}/versions/1.dsse.json"));
    }
    let refusals = of(&self::entries(&desk), "denial").len();
    assert!((10..30).contains(&refusals), "{refusals}");

    // What a server that died left without an entry has one soon after the next began.
    registry.stop();
    let left = registry.folder().join("vault/revocations/1.dsse.json");
    fs::create_dir_all(left.parent().expect("a folder")).expect("a new folder");
    fs::write(&left, "a record").expect("written");
    registry.go_on();
    let begun = Instant::now();
    let is_there = |entry: &Value| entry["record"]["path"] == "revocations/1.dsse.json";
    while !self::entries(&desk).iter().any(is_there) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", registry.log());
        std::thread::sleep(Duration::from_millis(100));
    }

    // A vault whose log is hidden is not served.
    registry.stop();
    let genesis = registry.folder().join("vault/log/genesis.json");
    fs::rename(&genesis, registry.folder().join("hidden")).expect("hidden");
    let mut server = std::process::Command::new(vault_tests::mvault_server());
    server.arg("--config").arg(registry.folder().join("server.toml"));
    let refused = vault_tests::Output::of(&mut server, b"").exits(5);
    let said = refused.stderr.clone();
    assert!(said.contains("the one that was there is not shown"), "{said}");
    fs::rename(registry.folder().join("hidden"), &genesis).expect("shown");
    registry.go_on();
    desk.run(&["whoami"]).ok();
}

#[test]
fn a_copy_comes_through_the_registry_with_proofs_of_the_log_it_came_from() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model.bin", b"weights");
    let beside = |desk: &Desk, args: &[&str]| desk.run(&[&["--vault", "local"], args].concat());
    beside(&desk, &["init", "local"]).ok();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
    beside(&desk, &["log", "init"]).ok();
    beside(&desk, &["seal", "model.bin", "m:1", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    beside(&desk, &["log", "publish", "--key", "log.key"]).ok();
    let [sealer, reader] = ["seal", "read"].map(|permission| registry.key(permission, &[permission], "m", "*"));
    desk.ask_as("sealer", &sealer);
    let copied = desk.run(&["copy", "m:1", "--from", "local", "--to", &registry.url()]).ok().json();
    assert_eq!((copied["log_proofs"]["copied"].as_u64(), copied["unproven"].as_u64()), (Some(1), Some(0)));
    let demand =
        |desk: &Desk| desk.run(&["verify", "m:1", "--signer", "signer.pub", "--require-log", "--log-key", "log.pub"]);
    // The log of the registry itself is signed by nobody, and stands in the way of nothing.
    demand(&desk).ok();
    let onward = ["copy", "m:1", "--from", &registry.url(), "--to", "onward", "--init", "--log-key", "log.pub"];
    desk.run(&[&onward[..], &["--require-log"]].concat()).ok();
    beside(&desk, &["copy", "m:1", "--from", "onward", "--to", "local"]).ok();

    // What is no proof, or not under its own name, is not let in; and not from those who only read.
    let mut folders = vec![registry.folder().join("vault/log/proof")];
    let mut proof = None;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { proof = Some(path) }
        }
    }
    let proof = proof.expect("a proof");
    let bytes = fs::read(&proof).expect("read");
    let vault = registry.folder().join("vault");
    let path = proof.strip_prefix(vault).expect("below").to_str().expect("UTF-8").to_owned();
    let larger = path.replacen('.', "0.", 1);
    assert_eq!(registry.put(&sealer, &larger, &bytes).status(), 422);
    assert_eq!(registry.put(&reader, &larger, &bytes).status(), 403);
    assert_eq!(registry.get(&reader, &path).status(), 200);
    let target = format!("/v1/vaults/main/objects/{path}");
    assert_eq!(registry.ask(&sealer, "DELETE", &target, &[], b"").status(), 403);
    assert_eq!(registry.ask(&registry.admin, "DELETE", &target, &[], b"").status(), 204);
    refused(demand(&desk), 4, "authenticity");
}

/// Waits until a checkpoint covers every record.
#[track_caller]
fn until_complete(desk: &Desk) -> Value {
    let start = Instant::now();
    loop {
        let verified = desk.run(&["log", "verify", "--log-key", "log.pub", "--complete"]);
        if verified.code == 0 || start.elapsed() > Duration::from_mins(1) {
            return verified.ok().json();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_registry_with_the_key_of_the_log_publishes_it_and_so_do_two() {
    let mut registry = Registry::with("[metrics]\naddress = \"127.0.0.1:0\"\n");
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model.bin", b"weights");
    desk.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
    assert!(!registry.metrics().contains("mvault_log_published"));
    registry.stop();
    let (config, key) = (registry.folder().join("server.toml"), desk.work.path("log.key"));
    let text = fs::read_to_string(&config).expect("read");
    let with_key = text.replace("[log]\n", &format!("[log]\nkey = {:?}\npublish_seconds = 1\n", key.display()));
    fs::write(&config, with_key).expect("written");
    registry.go_on();
    desk.seal("model.bin", "m:1").ok();
    let size = until_complete(&desk)["entries"].as_u64().expect("a number");
    desk.run(&["verify", "m:1", "--signer", "signer.pub", "--require-log", "--log-key", "log.pub"]).ok();
    let metrics = registry.metrics();
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)).expect(series);
        line.trim().parse::<f64>().expect("a number")
    };
    let entries = value("mvault_log_published_entries ").to_string();
    assert!(entries.parse::<u64>().expect("a whole number") >= size);
    assert!(value("mvault_log_published_age_seconds ") < 30.0);

    let other = registry.beside();
    for version in ["m:2", "m:3"] {
        desk.seal("model.bin", version).ok();
        until_complete(&desk);
    }
    // What one of them finds wrong, it says, and serves on: its log is gone, and comes back.
    let genesis = registry.folder().join("vault/log/genesis.json");
    fs::rename(&genesis, registry.folder().join("hidden")).expect("hidden");
    let start = Instant::now();
    while !registry.log().contains("the log is not published") && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(registry.log().contains("the log is not published"), "{}", registry.log());
    desk.run(&["ls"]).ok();
    fs::rename(registry.folder().join("hidden"), &genesis).expect("shown");
    desk.seal("model.bin", "m:4").ok();
    until_complete(&desk);
    drop(other);
    // A key that others can read, or one with a passphrase, is none to begin with.
    registry.stop();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("open to others");
    let mut server = std::process::Command::new(vault_tests::mvault_server());
    server.arg("--config").arg(&config);
    let refused = vault_tests::Output::of(&mut server, b"").exits(2);
    assert!(refused.stderr.contains("log.key"), "{}", refused.stderr);
}
