use serde_json::{Value, json};

use crate::{Office, text};

#[test]
fn a_release_from_the_proposal_to_the_serving_node_and_back() {
    let office = Office::new();
    let proposal = office.propose("m:1", "production", "trainer");
    let open = office.trusting(&["approve"]).ok().json();
    assert_eq!(open["proposals"][0]["proposal"], json!(proposal));
    assert_eq!(office.approve(&proposal, "alice").ok().json()["published"], false);
    assert_eq!(office.approve(&proposal, "bob").ok().json()["published"], true);
    office.state_freshness();

    let opened = office.open("m@production").ok();
    assert_eq!(office.opened(), "1".repeat(5000).as_bytes());
    assert_eq!((&opened.json()["channel"], &opened.json()["generation"]), (&json!("m@production"), &json!(1)));
    for step in [
        "trust root: version 1",
        "asked for by trainer, approved by alice, bob (2 of 2)",
        "freshness: stated",
        "not revoked",
    ] {
        assert!(opened.stderr.contains(step), "{step}: {}", opened.stderr);
    }
    office.trusting(&["verify", "m@production"]).ok();

    office.release("m:2");
    office.open("m@production").ok();
    assert_eq!(office.opened(), "2".repeat(5000).as_bytes());

    let back = office.trusting(&["rollback", "m@production", "--reason", "loops", "--key", "trainer.key"]).ok().json();
    assert_eq!(back["version"], "m:1");
    for by in ["alice", "bob"] {
        office.approve(&text(&back["proposal"]), by).ok();
    }
    office.open("m@production").ok();
    assert_eq!(office.opened(), "1".repeat(5000).as_bytes());

    let log = office.trusting(&["channel", "log", "m@production"]).ok().json();
    let versions: Vec<_> = log["history"].as_array().expect("a list").iter().map(|e| text(&e["version"])).collect();
    assert_eq!(versions, ["m:1", "m:2", "m:1"]);
    assert_eq!(log["history"][1]["approvers"], json!(["alice", "bob"]));
    let now = text(&log["history"][2]["created"]);
    let then = office.trusting(&["channel", "log", "m@production", "--at", &now]).ok().json();
    assert_eq!(then["history"].as_array().expect("a list").len(), 1);
    Office::refused(
        office.trusting(&["channel", "log", "m@production", "--at", "2020-01-01T00:00:00Z"]),
        8,
        "not-found",
    );

    office.trusting(&["revoke", "m:1", "--reason", "leaks", "--key", "alice.key"]).ok();
    for reference in ["m:1", "m@production"] {
        assert!(Office::refused(office.open(reference), 4, "authenticity").contains("revoked"), "{reference}");
    }
    assert!(!office.0.path("out").exists(), "nothing was written");
    let listed = office.trusting(&["ls"]).ok().json();
    assert_eq!(listed["versions"][0]["revoked"], true);
    let revoked = office.trusting(&["revoke", "--list"]).ok().json();
    assert_eq!(revoked["revocations"][0]["reason"], "leaks");
    assert_eq!(office.run(&["fsck"]).ok().json()["foreign"], json!([]), "all of it has its place");
}

#[test]
fn a_trust_root_is_renewed_and_everybody_follows() {
    let office = Office::new();
    office.release("m:1");
    let keeps = office.run(&["trust", "keeps", "trainer.pub"]).ok().json();
    let kept = digests(&keeps["keeps"]);
    assert!(kept.len() >= 9, "three versions, each with a record, provenance and recipients; and a proposal: {kept:?}");
    office.retire_trainer(&kept);

    let verified = office.trusting(&["trust", "verify"]).ok().json();
    assert_eq!((&verified["version"], &verified["pinned_version"]), (&json!(2), &json!(1)));
    office.open("m@production").ok();
    Office::refused(office.seal("m:4"), 4, "authenticity");
    // Whoever has the retired key seals all the same, without asking: nobody believes it.
    let sealed = office.run(&["seal", "model", "m:4", "--to", "node.pub", "--sign-with", "trainer.key"]);
    sealed.ok();
    Office::refused(office.open("m:4"), 4, "authenticity");
}

#[test]
fn a_key_is_retired_from_a_place_in_the_log_on() {
    let office = Office::new();
    office.release("m:1");
    office.run(&["log", "init", "--origin", "example.com/log"]).ok();
    let unnamed = |before: &str| {
        let list = ["trust", "keeps", "trainer.pub", "--before-entry", before];
        [&list[..], &["--log-key", "carol.pub", "--state", "state"]].concat().iter().map(ToString::to_string).collect()
    };
    let run = |line: Vec<String>| office.run(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let keeps = |before: &str| {
        let named: Vec<String> = unnamed(before);
        run([named, vec!["--log-origin".to_owned(), "example.com/log".to_owned()]].concat())
    };
    office.run(&["log", "append"]).ok();
    Office::refused(keeps("1"), 4, "authenticity");
    let publish = || {
        let published = office.run(&["log", "publish", "--key", "carol.key", "--state", "state"]).ok().json();
        published["size"].to_string()
    };
    let size = publish();
    // Somebody else may have the key by now.
    office.run(&["seal", "model", "m:4", "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
    let later = publish();
    Office::refused(keeps("1000"), 2, "usage");

    let listed = keeps(&size).ok().json();
    let (kept, left_out) = (digests(&listed["keeps"]), digests(&listed["left_out"]));
    assert_eq!(left_out.len(), 3, "the record, provenance and recipients of m:4: {listed}");
    let entries = listed["keeps"].as_array().expect("a list").iter().map(|one| one["entry"].as_u64());
    assert!(entries.into_iter().all(|entry| entry.is_some() && entry < size.parse().ok()), "{listed}");
    assert_eq!(listed["log"]["origin"], "example.com/log");
    let all = digests(&office.run(&["trust", "keeps", "trainer.pub"]).ok().json()["keeps"]);
    assert_eq!(all.len(), kept.len() + 3);
    assert_eq!(digests(&keeps(&later).ok().json()["keeps"]).len(), all.len());
    office.retire_trainer(&kept);
    office.open("m@production").ok();
    Office::refused(office.open("m:4"), 4, "authenticity");
}

#[test]
fn a_lineage_says_which_ancestors_are_revoked() {
    let office = Office::new();
    let sealed = ["seal", "model", "m:4", "--to", "node.pub", "--sign-with", "trainer.key", "--base", "m:1"];
    office.trusting(&sealed).ok();
    let revoked = || {
        let lineage = office.trusting(&["inspect", "m:4", "--lineage"]).ok().json();
        let list = lineage["lineage"].as_array().expect("a list").iter().map(|one| one["revoked"] == true);
        list.collect::<Vec<_>>()
    };
    assert_eq!(revoked(), [false, false]);
    office.trusting(&["revoke", "m:1", "--reason", "leaks", "--key", "alice.key"]).ok();
    assert_eq!(revoked(), [false, true]);
}

fn digests(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|one| text(&one["digest"])).collect()
}

#[test]
fn many_who_open_at_once_share_one_memory() {
    let office = Office::new();
    office.release("m:1");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let office = &office;
            scope.spawn(move || {
                let out = format!("out-{number}");
                office.trusting(&["open", "m@production", &out, "--identity", "node.key"]).ok();
            });
        }
    });
}

#[test]
fn what_is_not_remembered_is_said() {
    let office = Office::new();
    office.release("m:1");
    let says = |args: &[&str]| {
        let args = [&["--allow-example-keys", "verify", "m@production", "--trust", "root.json"], args].concat();
        let mut command = std::process::Command::new(vault_tests::mvault());
        command.args(args).current_dir(office.0.root()).env("MVAULT_VAULT", "vault");
        vault_tests::Output::of(&mut command, b"").ok().stderr
    };
    assert!(says(&["--state", "other"]).contains("nothing was remembered"));
    assert!(!says(&["--state", "other"]).contains("remembered"));
    assert!(says(&["--stateless"]).contains("nothing is remembered"));
}

#[test]
fn whoever_signs_sees_what_it_changes_before_the_passphrase() {
    let office = Office::new();
    let proposal = office.propose("m:1", "production", "trainer");
    let told = |args: &[&str]| {
        let mut command = std::process::Command::new(vault_tests::mvault());
        let args = [&["--allow-example-keys"], args].concat();
        command.args(args).current_dir(office.0.root()).env("MVAULT_VAULT", "vault");
        vault_tests::Output::of(&mut command, b"")
    };
    let trust = ["--trust", "root.json", "--state", "state"];
    // The key is read only afterwards: here there is none.
    let shown = told(&[&["approve", &proposal, "--key", "absent.key"], &trust[..]].concat()).exits(8).stderr;
    for line in ["to be signed: generation 1 of m@production -> m:1", "reason:   because", "asked by: trainer"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let told_only = told(&[&["approve", &proposal], &trust[..]].concat()).exits(4).stderr;
    assert!(told_only.contains("proposed: generation 1 of m@production -> m:1"), "{told_only}");
    let repeated = told(&[&["approve", &proposal, "--key", "alice.key", "--explain"], &trust[..]].concat()).ok();
    assert_eq!(repeated.stderr.matches("explain: trust root: version 1").count(), 1, "{}", repeated.stderr);
    let again = told(&[&["approve", &proposal, "--key", "alice.key"], &trust[..]].concat()).ok();
    assert!(again.stderr.contains("changes nothing: its holder approved already"), "{}", again.stderr);
    let list = told(&[&["approve"], &trust[..]].concat()).ok().stdout;
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(list.contains(&format!("mvault approve {proposal} --expect b3:")), "{list}");

    office.run(&["trust", "edit", "root.json", "-o", "trust-2.toml"]).ok();
    let source = String::from_utf8(office.0.read("trust-2.toml")).expect("UTF-8");
    let edited = source.replace("holder = \"trainer\"", "holder = \"trainer\"\nstatus = \"compromised\"");
    office.0.write("trust-2.toml", edited.as_bytes());
    let sign = |source: &str, key: &str, after: &[&str]| {
        told(&[&["trust", "sign", source, "--key", key, "-o", "root-2.json"], after].concat())
    };
    let after = ["--after", "root.json"];
    for (source, key) in [("trust-2.toml", "alice.key"), ("root-2.json", "carol.key")] {
        let shown = sign(source, key, &after).ok().stderr;
        for line in [
            "to be signed: version 2 of the trust root b3:",
            "of trainer: compromised",
            "of trainer: active",
            "warning: key",
            "nothing that it signed counts any more",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(!shown.contains("of alice"), "what stays as it was is not shown: {shown}");
    }
    assert!(sign("root-2.json", "bob.key", &[]).ok().stderr.contains("--after names the version before"));
    // Another version 2 is no next version of this one.
    Office::refused(
        office.run(&["trust", "sign", "root-2.json", "--after", "root-2.json", "--key", "bob.key", "-o", "x.json"]),
        2,
        "usage",
    );
    let changes = office.run(&["trust", "show", "root-2.json", "--after", "root.json"]).ok().json();
    let facts = |member: &str| changes["changes"][member].as_array().expect("a list").len();
    assert_eq!((facts("added"), facts("removed")), (1, 1), "{changes}");
    let signed = ["trust", "sign", "root-2.json", "--after", "root.json", "--key", "bob.key", "-o", "root-2.json"];
    let signed = office.run(&signed).ok().json();
    assert_eq!(signed["before"], json!({ "signed_by": ["alice", "bob", "carol"], "threshold": 2 }));
}

#[test]
fn at_another_time_nothing_is_remembered_and_nothing_is_signed() {
    let office = Office::new();
    office.release("m:1");
    office.release("m:2");
    office.open("m@production").ok();
    std::fs::rename(office.0.path("vault/models/m/channels/production/2.dsse.json"), office.0.path("hidden"))
        .expect("hidden");
    let log = |more: &[&str]| office.trusting(&[&["channel", "log", "m@production"], more].concat());
    assert!(Office::refused(log(&[]), 5, "stale").contains("seen before"), "this client knows better");
    let then = text(&log(&[]).json()["history"][0]["created"]);
    log(&["--verify-time", &then]).ok();
    for signs in [
        &["seal", "model", "m:4", "--to", "node.pub", "--sign-with", "trainer.key"][..],
        &["sign", "m:1", "--key", "trainer.key"],
        &["share", "m:1", "--to", "node.pub", "--identity", "node.key", "--sign-with", "trainer.key"],
        &["revoke", "m:1", "--reason", "x", "--key", "alice.key"],
    ] {
        let message = Office::refused(office.trusting(&[signs, &["--verify-time", &then]].concat()), 2, "usage");
        assert!(message.contains("signed now"), "{message}");
    }
}
