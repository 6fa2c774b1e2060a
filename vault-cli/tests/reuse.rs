//! Versions that reuse earlier ones, through the real binary.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt};

use common::{Desk, Ran, noise};

const SEAL: [&str; 4] = ["--to", "node.pub", "--sign-with", "release.key"];

fn seal(desk: &Desk, name: &str, more: &[&str]) -> Ran {
    desk.run(&[&["seal", "model", name, "--json"], &SEAL[..], more].concat())
}

/// `m:1` is sealed; the model in the folder is the next one, which has the same weights and more.
fn desk(first: &[&str]) -> Desk {
    let desk = Desk::new();
    desk.write("model/frozen.bin", &noise(3_000_000));
    desk.write("model/head.bin", b"first");
    seal(&desk, "m:1", first).ok();
    desk.write("model/head.bin", b"second");
    desk
}

#[track_caller]
fn opens(desk: &Desk, name: &str) {
    let out = name.replace(':', "-");
    desk.signed(&["verify", name]).ok();
    desk.open(&[name, &out]).ok();
    for file in ["frozen.bin", "head.bin"] {
        assert!(desk.read(&format!("{out}/{file}")) == desk.read(&format!("model/{file}")), "{file}");
    }
}

#[test]
fn a_version_is_reused_with_an_identity_and_what_was_saved_is_said() {
    let desk = desk(&["--reusable", "--part-size", "8"]);
    let sealed = seal(&desk, "m:2", &["--reuse", "m:1", "--identity", "node.key"]).json();
    assert_eq!((&sealed["reused"]["bytes"], &sealed["reused"]["streams"]), (&3_000_000.into(), &1.into()));
    assert_eq!(sealed["reused"]["reference"], "m:1");
    assert!(sealed["stored_bytes"].as_u64() < Some(2000) && sealed["sealed_bytes"].as_u64() > Some(3_000_000));
    opens(&desk, "m:2");

    let inspected = desk.signed(&["inspect", "m:2", "--identity", "node.key", "--json"]).json();
    assert_eq!(inspected["part_size"], 8 << 20, "that of the version before");
    let origins: Vec<_> = inspected["streams"].as_array().unwrap().iter().map(|stream| &stream["origin"]).collect();
    let first = desk.run(&["inspect", "m:1", "--json"]).json();
    assert_eq!((origins[0], &origins[1]["artifact_id"]), (&serde_json::Value::Null, &first["artifact_id"]));
    assert_eq!(
        (&inspected["files"][0]["reused_bytes"], &inspected["files"][1]["reused_bytes"]),
        (&3_000_000.into(), &0.into())
    );
    let text = desk.signed(&["inspect", "m:2", "--identity", "node.key"]).ok();
    assert!(
        text.contains("of earlier artifacts") && text.contains("reused") && text.contains("stream 0 of artifact"),
        "{text}"
    );

    desk.write("model/head.bin", b"third");
    let args = [&["seal", "model", "m:3"], &SEAL[..], &["--reuse", "m", "--identity", "node.key", "--check-reused"]];
    let noted = desk.run(&args.concat());
    noted.ok();
    assert!(noted.err.contains("reused 2.86 MiB in 1 stream of m:2\n"), "{}", noted.err);
    opens(&desk, "m:3");
}

#[test]
fn the_base_model_that_provenance_names_is_reused() {
    let desk = desk(&["--reusable"]);
    let reuse = ["--reuse", "@base", "--identity", "node.key"];
    let none = seal(&desk, "ft:1", &reuse);
    assert!(none.fails(2).contains("no base model of this vault is named"), "{}", none.err);
    let sealed = seal(&desk, "ft:1", &[&reuse[..], &["--base", "m:1", "--signer", "release.pub"]].concat()).json();
    assert_eq!((&sealed["reused"]["reference"], &sealed["reused"]["bytes"]), (&"m:1".into(), &3_000_000.into()));
    opens(&desk, "ft:1");
    desk.write("how.toml", b"base = [\"ft:1\"]\n");
    let told = [&reuse[..], &["--provenance", "how.toml", "--signer", "release.pub"]].concat();
    assert_eq!(seal(&desk, "ft:2", &told).json()["reused"]["reference"], "ft:1");
    let several = seal(&desk, "ft:3", &[&told[..], &["--base", "m:1"]].concat());
    assert!(several.fails(2).contains("ft:1, m:1"), "{}", several.err);
}

#[test]
fn a_sealer_without_an_identity_reuses_its_own_work_from_a_private_cache() {
    let desk = desk(&["--reusable", "--reuse-cache", "cache"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&desk.path("cache")), 0o700);
    let files = desk.files("cache");
    assert_eq!((files.len(), mode(&files[0])), (1, 0o600));
    for (before, name) in [("m:1", "m:2"), ("m:2", "m:3")] {
        let sealed = seal(&desk, name, &["--reuse", before, "--reuse-cache", "cache"]).json();
        assert!(sealed["reused"]["bytes"].as_u64() >= Some(3_000_000), "{sealed}");
        opens(&desk, name);
    }
    assert_eq!(desk.files("cache").len(), 3);

    let again = ["--reuse", "m:1", "--reuse-cache", "cache"];
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o644)).unwrap();
    assert!(seal(&desk, "m:4", &again).fails(2).contains("others have rights"));
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&files[0], "{").unwrap();
    let damaged = seal(&desk, "m:4", &again);
    assert!(damaged.fails(2).contains("remove the file"), "{}", damaged.err);
    fs::remove_file(&files[0]).unwrap();
    assert!(seal(&desk, "m:4", &again).fails(8).contains("in the reuse cache"));
    desk.run(&["inspect", "m:4"]).fails(8);
}

#[test]
fn whoever_would_get_to_read_more_is_named_and_refused() {
    let desk = desk(&["--reusable"]);
    desk.run(&["key", "generate", "--kind", "recipient", "-o", "other", "--no-passphrase"]).ok();
    desk.write("phrase", b"correct horse\n");
    let reuse = ["--reuse", "m:1", "--identity", "node.key"];
    for more in [&["--to", "other.pub"][..], &["--to-passphrase-file", "phrase"]] {
        let refused = seal(&desk, "m:2", &[&reuse[..], more].concat());
        assert!(refused.fails(2).contains("would get keys of"), "{}", refused.err);
        assert!(refused.err.contains("--allow-disclosure"), "{}", refused.err);
    }
    seal(&desk, "m:2", &[&reuse[..], &["--to", "other.pub", "--allow-disclosure"]].concat()).ok();
    desk.signed(&["open", "m:2", "theirs", "--identity", "other.key"]).ok();
    desk.signed(&["open", "m:1", "not", "--identity", "other.key"]).fails(6);

    // Half of the file is used by the next version: who gets that one could read the rest, too.
    desk.write("model/frozen.bin", &noise(20_000_000));
    seal(&desk, "m:3", &["--reusable"]).ok();
    desk.write("model/frozen.bin", &noise(18_000_000));
    seal(&desk, "m:4", &["--reuse", "m:3", "--identity", "node.key"]).ok();
    desk.run(&["key", "generate", "--kind", "recipient", "-o", "third", "--no-passphrase"]).ok();
    let share = ["share", "m:4", "--to", "third.pub", "--identity", "node.key", "--sign-with", "release.key"];
    let refused = desk.run(&share);
    assert!(
        refused.fails(2).contains("reuses streams") && refused.err.contains("--allow-disclosure"),
        "{}",
        refused.err
    );
    desk.run(&[&share[..], &["--allow-disclosure"]].concat()).ok();
    desk.run(&["share", "m:2", "--to", "third.pub", "--identity", "node.key", "--sign-with", "release.key"]).ok();
}

#[test]
fn what_cannot_be_reused_is_refused_with_advice() {
    let desk = desk(&[]);
    desk.run(&["key", "generate", "--kind", "signing", "-o", "stranger", "--no-passphrase"]).ok();
    let identity = ["--identity", "node.key"];
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--reuse", "m:1", "--identity", "node.key"], 2, "seal the next version with --reusable"),
        (&["--reuse", "m:9", "--identity", "node.key"], 8, "m:9 does not exist"),
        (&["--reuse", "n", "--identity", "node.key"], 8, "a version of n that counts"),
        (&["--reuse", "m:1"], 2, "--reuse-cache"),
        (&["--reuse-cache", "cache"], 2, "add --reusable or --reuse"),
        (&identity, 2, "--reuse"),
        (&["--allow-disclosure"], 2, "--reuse"),
        (&["--reuse", "m:1", "--check-reused"], 2, "--identity"),
        (&["--reuse", "m@channel", "--identity", "node.key"], 2, "trust root"),
    ];
    for (more, code, text) in cases {
        let refused = seal(&desk, "m:2", more);
        assert!(refused.fails(code).contains(text), "{more:?}: {}", refused.err);
    }
    let piped = ["seal", "-", "m:2", "--to", "node.pub", "--sign-with", "release.key", "--reusable"];
    assert!(desk.run_with_input(&piped, b"x").fails(2).contains("once only"));
    // A version that nobody who is believed signed.
    seal(&desk, "m:3", &["--reusable"]).ok();
    let reuse = ["seal", "model", "m:4", "--to", "node.pub", "--reuse", "m:3", "--identity", "node.key"];
    desk.run(&[&reuse[..], &["--sign-with", "stranger.key"]].concat()).fails(4);
    desk.run(&[&reuse[..], &["--sign-with", "stranger.key", "--signer", "release.pub"]].concat()).ok();
    let parts = ["--sign-with", "release.key", "--part-size", "64"];
    assert!(desk.run(&[&reuse[..], &parts].concat()).fails(7).contains("exists"));
    let other = ["seal", "model", "m:5", "--to", "node.pub", "--reuse", "m:3", "--identity", "node.key"];
    assert!(desk.run(&[&other[..], &parts].concat()).fails(2).contains("parts of 16 MiB"));
    assert_eq!(desk.run(&["ls", "--json"]).json()["versions"].as_array().unwrap().len(), 3);
}
