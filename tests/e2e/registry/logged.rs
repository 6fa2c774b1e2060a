//! What the registry adds to the vault's log.

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
    assert!(of(&entries, "login").iter().filter(|entry| entry["actor"] == actor).count() >= 2);
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
