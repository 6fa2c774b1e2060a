//! Whatever one seals, the other verifies and opens.

use vault_tests::{Reference, Tree, Workspace};

use crate::{PAYLOAD, file, model, mvault_open, mvault_reads, python_open, python_reads};

const EVERYBODY: [&[&str]; 3] =
    [&["--identity", "alice.key"], &["--identity", "bob.key"], &["--passphrase-file", "pass"]];
const RECIPIENTS: [&str; 5] = ["--to", "alice.pub", "--to", "bob.pub", "--to-passphrase-file"];

#[test]
fn the_reference_opens_what_mvault_seals_from_a_folder() {
    let Some(python) = Reference::get() else { return };
    let (desk, model) = (Workspace::new(), model());
    desk.plant("model", &model);
    let options = ["--part-size", "8", "--digest", "sha256", "--sign-with", "signer.key"];
    let sealed = desk.run(&[&["seal", "model", "org/model:v1"], &RECIPIENTS[..], &["pass"], &options].concat()).ok();
    for keys in EVERYBODY {
        assert_eq!(python_reads(&desk, python, "vault", "org/model:v1", keys), model, "{keys:?}");
    }
    let digest = sealed.json()["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(python_reads(&desk, python, "vault", &digest, EVERYBODY[0]), model);
}

#[test]
fn the_reference_opens_what_has_private_provenance_and_more_attestations() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    desk.write("run.toml", b"builder = \"https://ci.example/trainer\"\nparameters = { lr = 0.1, \"\xc3\xa4\" = -1 }\n");
    let private = ["--provenance", "run.toml", "--private-provenance", "--sign-with", "signer.key"];
    let sealed = desk.run(&[&["seal", "weights", "m:1", "--to", "alice.pub"], &private[..]].concat()).ok().json();
    desk.write("report.json", br#"{"score":0.5}"#);
    for key in ["signer.key", "stranger.key"] {
        let report = ["--predicate-type", "https://example.com/report", "--predicate", "report.json"];
        desk.run(&[&["sign", "m:1", "--signer", "signer.pub", "--key", key], &report[..]].concat()).ok();
        desk.run(&["sign", "m:1", "--signer", "signer.pub", "--key", key]).ok();
    }
    let expected = Tree::from([("weights".to_owned(), file("weights"))]);
    for reference in ["m:1", sealed["digest"].as_str().expect("a digest")] {
        assert_eq!(python_reads(&desk, python, "vault", reference, EVERYBODY[0]), expected);
        assert_eq!(mvault_reads(&desk, "vault", reference, EVERYBODY[0]), expected);
    }
}

#[test]
fn the_reference_opens_what_mvault_seals_from_a_file_and_a_pipe() {
    let Some(python) = Reference::get() else { return };
    let (desk, whole) = (Workspace::new(), model());
    for (at, length) in [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1].into_iter().enumerate() {
        let entry = &whole[&format!("sizes/{length}")];
        let only = |name: &str| Tree::from([(name.to_owned(), file(entry.bytes.clone()))]);
        desk.write(&format!("weights-{length}"), &entry.bytes);
        // Turn by turn another kind of recipient, with the digest and without.
        let kind: &[&str] = [&["--to", "alice.pub"][..], &["--to", "bob.pub"]][at % 2];
        let digest: &[&str] = [&[][..], &["--digest", "sha256"]][at / 2 % 2];
        let common = [kind, digest, &["--sign-with", "signer.key"]].concat();
        let keys = EVERYBODY[at % 2];

        let (path, name) = (format!("weights-{length}"), format!("file:{length}"));
        desk.run(&[&["seal", &path, &name], &common[..]].concat()).ok();
        assert_eq!(python_reads(&desk, python, "vault", &name, keys), only(&path));

        let name = format!("pipe:{length}");
        let line = [&["seal", "-", &name, "--name", "piped"], &common[..]].concat();
        desk.run_with_input(&line, &entry.bytes).ok();
        assert_eq!(python_reads(&desk, python, "vault", &name, keys), only("piped"));
    }
}

#[test]
fn mvault_opens_what_the_reference_seals() {
    let Some(python) = Reference::get() else { return };
    let (desk, model) = (Workspace::new(), model());
    desk.plant("model", &model);
    let to = ["--to", "alice.pub", "bob.pub", "--to-passphrase-file", "pass", "--sign-with", "signer.key"];
    let line = [&["theirs", "org/model:v1", "model"], &to[..], &["--part-size", "8"]].concat();
    let sealed = desk.reference(python, "write.py", &line).ok();
    for keys in EVERYBODY {
        assert_eq!(mvault_reads(&desk, "theirs", "org/model:v1", keys), model, "{keys:?}");
    }
    let digest = String::from_utf8(sealed.stdout).expect("a digest");
    assert_eq!(mvault_reads(&desk, "theirs", digest.trim(), EVERYBODY[0]), model);

    // A vault of one is a vault of the other: mvault adds a version, and the reference one more.
    desk.run(&[
        "seal",
        "model/empty",
        "org/model:v2",
        "--vault",
        "theirs",
        "--to",
        "alice.pub",
        "--sign-with",
        "signer.key",
    ])
    .ok();
    let line = ["theirs", "org/model:v3", "model/empty", "--to", "alice.pub", "--sign-with", "signer.key"];
    desk.reference(python, "write.py", &line).ok();
    let empty = Tree::from([("empty".to_owned(), file([]))]);
    for version in ["org/model:v2", "org/model:v3"] {
        assert_eq!(mvault_reads(&desk, "theirs", version, EVERYBODY[0]), empty);
        assert_eq!(python_reads(&desk, python, "theirs", version, EVERYBODY[0]), empty);
    }
}

#[test]
fn both_use_the_keys_of_the_other_under_a_passphrase_too() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    let expected = Tree::from([("weights".to_owned(), file("weights"))]);
    let protected = ["--passphrase-file", "pass"];

    desk.run(&[&["key", "generate", "--kind", "signing", "-o", "ours"], &protected[..]].concat()).ok();
    desk.run(&[&["key", "generate", "--kind", "recipient", "-o", "ours-x-wing"], &protected[..]].concat()).ok();
    desk.reference(python, "keygen.py", &[&["signing", "theirs.key"], &protected[..]].concat()).ok();
    desk.reference(python, "keygen.py", &[&["x25519", "theirs-x25519.key"], &protected[..]].concat()).ok();

    let line =
        ["by", "ours:1", "weights", "--to", "theirs-x25519.key.pub", "ours-x-wing.pub", "--sign-with", "ours.key"];
    desk.reference(python, "write.py", &[&line, &protected[..]].concat()).ok();
    let line =
        ["seal", "weights", "theirs:1", "--vault", "by", "--to", "theirs-x25519.key.pub", "--to", "ours-x-wing.pub"];
    desk.run(&[&line[..], &["--sign-with", "theirs.key"], &protected[..]].concat()).ok();

    for (name, signer) in [("ours:1", "ours.pub"), ("theirs:1", "theirs.key.pub")] {
        for (at, identity) in ["theirs-x25519.key", "ours-x-wing.key"].into_iter().enumerate() {
            let (keys, target) = (["--identity", identity, "--signer", signer], format!("{name}-{at}"));
            desk.run(&[&["open", name, &target, "--vault", "by"], &keys[..], &protected].concat()).ok();
            assert_eq!(vault_tests::tree(&desk.path(&target)), expected);
            let target = format!("{target}-again");
            desk.reference(python, "read.py", &[&["open", "by", name, &target], &keys[..], &protected].concat()).ok();
            assert_eq!(vault_tests::tree(&desk.path(&target)), expected);
        }
    }
}

#[test]
fn a_passphrase_ends_before_the_line_does() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    desk.write("crlf", b" p\xc3\xa4ss \r\n");
    desk.write("bare", b" p\xc3\xa4ss ");
    desk.write("trimmed", b"p\xc3\xa4ss");
    desk.run(&["seal", "weights", "m:1", "--to-passphrase-file", "crlf", "--sign-with", "signer.key"]).ok();
    for (at, (file, code)) in [("bare", 0), ("crlf", 0), ("trimmed", 6)].into_iter().enumerate() {
        let keys = ["--passphrase-file", file];
        mvault_open(&desk, "vault", "m:1", &format!("{at}"), &keys).exits(code);
        python_open(&desk, python, "vault", "m:1", &format!("{at}-again"), &keys).exits(code);
    }
}

#[test]
fn the_reference_opens_what_reuses_streams_of_earlier_versions() {
    let Some(python) = Reference::get() else { return };
    let (desk, model) = (Workspace::new(), model());
    let data = vault_tests::noise(20 << 20);
    let (mut first, mut second, mut third) = (model.clone(), model.clone(), model);
    first.insert("weights.bin".into(), file(&data[..18 << 20]));
    second.insert("weights.bin".into(), file(&data[..20 << 20]));
    second.insert("sizes/1".into(), file(b"changed"));
    third.insert("renamed.bin".into(), file(&data[..20 << 20]));
    third.remove("sizes/0");
    let seal = |folder: &str, name: &str, reuse: &[&str]| {
        let args = ["seal", folder, name, "--to", "alice.pub", "--sign-with", "signer.key"];
        desk.run(&[&args[..], reuse].concat()).ok().json()
    };
    for (folder, tree) in [("first", &first), ("second", &second), ("third", &third)] {
        desk.plant(folder, tree);
    }
    assert_eq!(seal("first", "m:1", &["--reusable"])["reused"], serde_json::Value::Null);
    for (folder, name, before) in [("second", "m:2", "m:1"), ("third", "m:3", "m:2")] {
        let sealed = seal(folder, name, &["--reuse", before, "--identity", "alice.key"]);
        assert!(sealed["reused"]["bytes"].as_u64().expect("a number") > 16 << 20, "{sealed}");
    }
    for (name, tree) in [("m:1", first), ("m:2", second), ("m:3", third)] {
        assert_eq!(python_reads(&desk, python, "vault", name, EVERYBODY[0]), tree, "{name}");
        assert_eq!(mvault_reads(&desk, "vault", name, EVERYBODY[0]), tree, "{name}");
    }
}
