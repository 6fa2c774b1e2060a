//! A stolen admin key of the registry.

use vault_tests::servers::Registry;

use crate::{Office, blocks};

fn id(key: &str) -> &str {
    key.split('_').nth(1).expect("an id")
}

#[test]
fn a_stolen_admin_key_opens_nothing_and_what_it_deleted_is_back() {
    let mut registry = Registry::start();
    let mut office = Office::new();
    office.set("MVAULT_VAULT", &registry.url());
    office.set("MVAULT_CA", &registry.certificate().display().to_string());
    office.set("MVAULT_TOKEN_FILE", "admin.token");
    office.work.write("admin.token", format!("{}\n", registry.admin).as_bytes());
    office.works();
    office.run(&["copy", "--all", "--to", "backup", "--init"]).ok();
    // The thief makes a key to stay, and deletes a part.
    let planted = registry.key("ci", &["read", "seal", "admin"], "*", "*");
    office.work.write("planted.token", format!("{planted}\n").as_bytes());
    let part = vault_tests::tree(&registry.folder().join("vault/objects")).into_keys().next().expect("a part");
    let target = format!("/v1/vaults/main/objects/objects/{part}");
    assert_eq!(registry.ask(&planted, "DELETE", &target, &[], b"").status(), 204);
    office.work.write("server.log", registry.log().as_bytes());
    let knows = |registry: &Registry, key: &str| registry.ask(key, "GET", "/v1/whoami", &[], b"").status();
    assert_eq!((knows(&registry, &registry.admin), knows(&registry, &planted)), (200, 200));

    let folder = registry.folder().display().to_string();
    let fill = |block: &String| {
        block
            .replace("https://registry.example:8443/main", &registry.url())
            .replace("/etc/mvault", &folder)
            .replace("STOLEN=…", &format!("STOLEN={}", id(&registry.admin)))
            .replace("PLANTED=…", &format!("PLANTED={}", id(&planted)))
            .replace("LOG=…", "LOG=server.log")
    };
    let all: Vec<_> = blocks("## A stolen admin key").iter().map(fill).collect();
    let locked_out: Vec<_> = blocks("### Locked out").iter().map(fill).collect();
    assert_eq!((all.len(), locked_out.len()), (10, 4));
    let said = office.shell(9, &all[..6]);
    assert!(said.contains(r#""event":"delete""#), "what the thief deleted is found: {said}");

    assert_eq!((knows(&registry, &registry.admin), knows(&registry, &planted)), (401, 401));
    let next = String::from_utf8(office.work.read("admin-2.token")).expect("UTF-8");
    assert_eq!(knows(&registry, next.trim()), 200);
    office.set("MVAULT_TOKEN_FILE", "admin-2.token");
    office.run(&["open", "llama@production", "out", "--identity", "node.key"]).ok();

    assert_eq!(
        (locked_out[0].trim(), locked_out[2].trim()),
        ("systemctl stop mvault-server", "systemctl start mvault-server")
    );
    registry.stop();
    office.shell(9, &locked_out[1..2]);
    registry.go_on();
    office.shell(9, &locked_out[3..]);
    assert_eq!(knows(&registry, next.trim()), 401);
    let last = std::fs::read_to_string(registry.folder().join("admin-3.token")).expect("a key");
    assert_eq!(knows(&registry, last.trim()), 200);
}
