//! A registry is believed no more than a bucket: what it says is checked by who asks.

use vault_tests::{
    Workspace, noise,
    servers::{Liar, Registry},
    wire::Message,
};

use crate::{Desk, refused};

struct Stage {
    registry: Registry,
    liar: Liar,
    desk: Desk,
}

fn stage() -> Stage {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &noise(3_000_000));
    desk.seal("weights", "m:1").ok();
    desk.work.write("other", b"something else entirely");
    desk.seal("other", "m:2").ok();
    let liar = Liar::before(&registry);
    desk.url = liar.url();
    desk.verify("m:1").ok();
    Stage { registry, liar, desk }
}

/// Answers with the object at another path.
fn instead(registry: &Registry, path: &str) -> Message {
    let answer = registry.get(&registry.admin, path);
    assert_eq!(answer.status(), 200);
    answer
}

#[test]
fn bytes_that_were_changed_on_the_way_are_noticed() {
    let Stage { liar, desk, registry: _registry } = stage();
    liar.tell(|request, mut answer| {
        if request.target().contains("/objects/objects/") && !answer.body.is_empty() {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        answer
    });
    refused(desk.verify("m:1"), 3, "integrity");
    refused(desk.open("m:1", "out"), 3, "integrity");
    assert!(!desk.work.path("out").exists());
}

#[test]
fn ranges_of_other_places_are_noticed() {
    let Stage { liar, desk, registry: _registry } = stage();
    liar.tell(|_, mut answer| {
        if answer.status() == 206 {
            // The right length under a description that is not what was asked for.
            let described = answer.header("content-range").unwrap_or_default().to_owned();
            if let Some((range, size)) = described.trim_start_matches("bytes ").split_once('/')
                && let Some((first, last)) = range.split_once('-')
                && let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>())
                && first > 0
            {
                answer.set("content-range", &format!("bytes {}-{}/{size}", first - 1, last - 1));
            } else {
                answer.body.rotate_left(1);
            }
        }
        answer
    });
    refused(desk.open("m:1", "out"), 3, "integrity");
}

#[test]
fn the_record_of_another_version_and_the_manifest_of_another_artifact_are_noticed() {
    let Stage { liar, desk, registry } = stage();
    let other = instead(&registry, "models/m/versions/2.dsse.json");
    liar.tell(
        move |request, answer| {
            if request.target().ends_with("models/m/versions/1.dsse.json") { other.clone() } else { answer }
        },
    );
    refused(desk.verify("m:1"), 4, "authenticity");

    let digest = |version: &str| {
        let shown = desk.run(&["--vault", &registry.url(), "inspect", version, "--signer", "signer.pub"]).ok().json();
        shown["digest"].as_str().expect("a digest").trim_start_matches("b3:").to_owned()
    };
    let (one, two) = (digest("m:1"), digest("m:2"));
    let other = instead(&registry, &format!("artifacts/{two}/manifest.json"));
    liar.tell(move |request, answer| {
        if request.target().ends_with(&format!("artifacts/{one}/manifest.json")) { other.clone() } else { answer }
    });
    refused(desk.verify("m:1"), 3, "integrity");
}

#[test]
fn what_is_hidden_is_not_there_and_what_is_no_answer_is_a_failure() {
    let Stage { liar, desk, registry: _registry } = stage();
    liar.tell(|request, mut answer| {
        if request.target().contains("versions/1") {
            answer.first = "HTTP/1.1 404 Not Found".into();
            answer.body.clear();
            answer.set("content-length", "0");
        }
        answer
    });
    refused(desk.verify("m:1"), 8, "not-found");
    // A listing that never ends.
    liar.tell(|request, mut answer| {
        if request.target().contains("objects?prefix=models") {
            answer.body =
                br#"{"objects":[{"path":"models/a","size":1,"modified":"2026-11-22T00:00:00Z"}],"more":true}"#.to_vec();
            let length = answer.body.len().to_string();
            answer.set("content-length", &length);
        }
        answer
    });
    let message = refused(desk.run(&["ls", "--signer", "signer.pub"]), 1, "operational");
    assert!(message.contains("not in order"), "{message}");
    // Words for a terminal.
    liar.tell(|_, mut answer| {
        answer.first = "HTTP/1.1 403 Forbidden".into();
        answer.body = b"{\"kind\":\"denied\",\"detail\":\"\\u001b[2Jall is well\"}".to_vec();
        let length = answer.body.len().to_string();
        answer.set("content-length", &length);
        answer
    });
    let output = desk.verify("m:1");
    assert!(!output.stderr.contains('\u{1b}'));
    refused(output, 9, "denied");
}

#[test]
fn an_older_state_than_was_seen_is_refused() {
    let registry = Registry::start();
    let mut desk = Desk::new(Workspace::with_examples(), &registry);
    let liar = Liar::before(&registry);
    desk.url = liar.url();
    let run = |args: &[&str]| {
        let more = ["--allow-example-keys", "--trust", "root.json", "--state", "state"];
        desk.run(&[&more[..1], args, &more[1..]].concat())
    };
    desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
    for version in ["m:1", "m:2"] {
        desk.work.write("weights", version.as_bytes());
        run(&["seal", "weights", version, "--to", "node.pub", "--sign-with", "trainer.key"]).ok();
        let asked = ["promote", version, "--channel", "staging", "--reason", "good", "--key", "alice.key"];
        let proposal = run(&asked).ok().json();
        if proposal["published"] != true {
            run(&["approve", proposal["proposal"].as_str().expect("a proposal"), "--key", "bob.key"]).ok();
        }
    }
    run(&["open", "m@staging", "out", "--identity", "node.key"]).ok();
    liar.tell(|request, mut answer| {
        let newest = "channels/staging/2.dsse.json";
        if request.target().contains(newest) {
            answer.first = "HTTP/1.1 404 Not Found".into();
            answer.body.clear();
            answer.set("content-length", "0");
        } else if request.target().contains("objects?prefix=models") {
            let mut page: serde_json::Value = serde_json::from_slice(&answer.body).expect("a page");
            if let Some(objects) = page["objects"].as_array_mut() {
                objects.retain(|object| !object["path"].as_str().is_some_and(|path| path.ends_with(newest)));
            }
            answer.body = page.to_string().into_bytes();
            let length = answer.body.len().to_string();
            answer.set("content-length", &length);
        }
        answer
    });
    refused(run(&["open", "m@staging", "again", "--identity", "node.key"]), 5, "stale");
}
