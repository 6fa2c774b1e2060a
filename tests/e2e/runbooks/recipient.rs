//! A stolen recipient key.

use crate::{Office, blocks};

#[test]
fn a_stolen_recipient_key_opens_nothing_that_is_sealed_again_or_new() {
    let office = Office::new();
    office.run(&["init", "vault"]).ok();
    office.works();
    office.shell(0, &["cp node.key thief.key".to_owned()]);
    office.run(&["open", "llama:1.0", "stolen-first", "--identity", "thief.key"]).ok();

    let steps = blocks("## A stolen recipient key");
    assert_eq!(steps.len(), 4);
    let said = office.shell(6, &steps);
    assert!(said.contains("llama:1.0\n"), "what was exposed is named: {said}");

    for reference in ["llama:1.0", "llama:1.0-resealed", "llama:1.3", "llama@production"] {
        let refusal =
            office.run(&["open", reference, "out", "--identity", "thief.key"]).exits(6).error().expect("JSON");
        assert_eq!(refusal.kind, "no-key", "{reference}: {}", refusal.message);
    }
    let opened = office.run(&["open", "llama@production", "new", "--identity", "node-2.key"]).ok().json();
    assert_eq!(opened["name"], "llama:1.0-resealed");
    assert_eq!(office.work.read("new/model.bin"), b"weights\n");
    // Nothing of the old artifact's keys is left in the vault for whoever comes later.
    let left =
        office.work.files("vault/artifacts").into_iter().filter(|path| path.to_string_lossy().contains("recipients/"));
    assert_eq!(left.count(), 2, "those of the two new versions");
}
