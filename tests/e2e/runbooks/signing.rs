//! A stolen signing key.

use crate::{Office, blocks, text};

#[test]
fn a_stolen_signing_key_counts_no_more_and_honest_work_goes_on() {
    let office = Office::new();
    office.run(&["init", "vault"]).ok();
    office.works();
    office.run(&["seal", "model.bin", "llama:0.9", "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
    let honest = office.entries();
    // The thief works on a copy without a log, and puts the records back, one of them in the place of an honest one: nothing is
    // logged. Another time the thief is careless.
    office.shell(
        0,
        &["cp -r vault copy && rm -r copy/log copy/models/llama/versions/0.9.dsse.json
           echo evil >evil.bin
           MVAULT_STATE=thief mvault --vault copy seal evil.bin llama:1.1 --to node.pub --sign-with trainer.key
           MVAULT_STATE=thief mvault --vault copy seal evil.bin llama:0.9 --to node.pub --sign-with trainer.key
           cp copy/models/llama/versions/0.9.dsse.json vault/models/llama/versions/
           cp -rn copy/. vault/
           MVAULT_STATE=thief mvault seal evil.bin llama:6.6 --to node.pub --sign-with trainer.key
           MVAULT_STATE=thief mvault promote llama:1.1 --channel production --reason urgent --key trainer.key
           cp trainer.key thief.key"
            .to_owned()],
    );
    office.run(&["open", "llama:1.1", "evil", "--identity", "node.key"]).ok();
    office.run(&["open", "llama:0.9", "evil-too", "--identity", "node.key"]).ok();

    let fill =
        |block: String| block.replace("FIRST_BAD=…", &format!("FIRST_BAD={honest}")).replace("BAD=…", "BAD=llama:1.1");
    let steps: Vec<_> = blocks("## A stolen signing key").into_iter().map(fill).collect();
    assert_eq!(steps.len(), 5);
    office.shell(4, &steps);

    // The stolen key is refused whatever it signs, and whatever it signed unseen; what was honest still opens.
    for refused in [
        vec!["seal", "model.bin", "llama:9", "--to", "node.pub", "--sign-with", "thief.key"],
        vec!["open", "llama:0.9", "out", "--identity", "node.key"],
        vec!["verify", "llama:0.9"],
        vec!["open", "llama:6.6", "out", "--identity", "node.key"],
        vec!["promote", "llama:1.2", "--channel", "production", "--reason", "x", "--key", "thief.key"],
    ] {
        let refusal = office.run(&refused).exits(4).error().expect("JSON");
        assert_eq!(refusal.kind, "authenticity", "{refused:?}: {}", refusal.message);
    }
    office.run(&["open", "llama@production", "old", "--identity", "node.key"]).ok();
    assert_eq!(office.work.read("old/model.bin"), b"weights\n");
    // The next release goes its usual way.
    let asked =
        office.run(&["promote", "llama:1.2", "--channel", "production", "--reason", "y", "--key", "trainer-2.key"]);
    let asked = asked.ok().json();
    for key in ["alice.key", "bob.key"] {
        office.run(&["approve", text(&asked["proposal"]), "--key", key]).ok();
    }
    office.run(&["freshness", "sign", "llama@production", "--key", "clock.key"]).ok();
    let opened = office.run(&["open", "llama@production", "new", "--identity", "node.key"]).ok().json();
    assert_eq!(opened["name"], "llama:1.2");
}
