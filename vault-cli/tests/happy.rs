//! What works, through the real binary.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use common::{Desk, noise};

#[test]
fn a_folder_is_sealed_verified_and_opened() {
    let desk = Desk::new();
    desk.write("model/config.json", b"{}");
    desk.write("model/sub/weights.bin", &noise(3_000_000));
    desk.write("model/empty", b"");
    desk.write("model/run", b"#!/bin/sh\n");
    fs::set_permissions(desk.path("model/run"), fs::Permissions::from_mode(0o755)).unwrap();

    let sealed = desk.seal("model", "org/demo:1.0");
    let digest = sealed.ok().trim().to_owned();
    assert!(digest.starts_with("b3:") && digest.len() == 67, "{digest}");
    assert!(sealed.err.contains("sealed org/demo:1.0: 4 files"), "{}", sealed.err);

    for reference in ["org/demo:1.0", &digest] {
        let verified = desk.signed(&["verify", reference]).ok();
        assert!(verified.starts_with("verified: these "), "{verified}");
        assert!(verified.contains("(release.pub)") && verified.contains("nothing about whether they decrypt"));
        assert!(verified.contains("generation 1"), "{verified}");
        let out = format!("out-{}", reference.len());
        desk.open(&[reference, &out]).ok();
        for name in ["config.json", "sub/weights.bin", "empty", "run"] {
            assert_eq!(desk.read(&format!("model/{name}")), desk.read(&format!("{out}/{name}")), "{name}");
        }
        let mode = |name: &str| fs::metadata(desk.path(&out).join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("config.json"), mode("run")), (0o600, 0o700));
    }
    let all = desk.signed(&["verify", "--all"]).ok();
    assert!(all.ends_with("1 of 1 version verified\n"), "{all}");
}

#[test]
fn a_file_and_standard_input_are_sealed_and_opened_in_pieces() {
    let desk = Desk::new();
    let bytes = noise(2_500_000);
    desk.write("weights.bin", &bytes);
    desk.seal("weights.bin", "file:1").ok();
    let args = ["seal", "-", "piped:1", "--name", "weights.bin", "--to", "node.pub", "--sign-with", "release.key"];
    desk.run_with_input(&args, &bytes).ok();
    desk.run_with_input(&["seal", "-", "piped:2", "--to", "node.pub", "--sign-with", "release.key"], &bytes).ok();

    for reference in ["file:1", "piped:1", "piped:2"] {
        assert!(desk.open(&[reference, "-"]).out == bytes, "{reference}");
    }
    for (range, expected) in [
        ("0..10", &bytes[..10]),
        ("1048540..1048560", &bytes[1_048_540..1_048_560]),
        ("2400000..", &bytes[2_400_000..]),
        ("..5", &bytes[..5]),
        ("7..7", &[]),
        ("2500000..", &[]),
    ] {
        assert!(desk.open(&["file:1", "-", "--range", range]).out == expected, "{range}");
        desk.open(&["file:1", "piece", "--range", range]).ok();
        assert!(desk.read("piece") == expected, "{range}");
        fs::remove_file(desk.path("piece")).unwrap();
    }
    desk.open(&["file:1", "renamed", "--file", "weights.bin"]).ok();
    assert!(desk.read("renamed") == bytes);
}

#[test]
fn json_is_one_object_with_the_documented_keys() {
    let desk = Desk::new();
    desk.write("weights.bin", &noise(100_000));
    let seal = ["seal", "weights.bin", "demo:1", "--to", "node.pub", "--sign-with", "release.key", "--json"];
    let sealed = desk.run(&[&seal[..], &["--digest", "sha256"]].concat()).json();
    assert_eq!(sealed["plaintext_bytes"], 100_000);
    assert_eq!(sealed["recipients"][0]["type"], "x-wing");

    let verified = desk.signed(&["verify", "demo:1", "--json"]).json();
    assert_eq!((&verified["verified"], &verified["digest"]), (&true.into(), &sealed["digest"]));
    assert_eq!((&verified["signers"][0], &verified["bytes"]), (&sealed["signer"], &sealed["sealed_bytes"]));
    assert_eq!(verified["recipients"]["generation"], 1);
    assert_eq!(verified["attestations"][0]["type"], "https://slsa.dev/provenance/v1");

    let opened = desk.open(&["demo:1", "out", "--json"]).json();
    assert_eq!((&opened["files"], &opened["bytes"]), (&1.into(), &100_000.into()));
    let listed = desk.run(&["ls", "--json"]).json();
    assert_eq!(listed["versions"][0]["name"], "demo:1");
    assert_eq!(listed["signatures_checked"], false);
    let inspected = desk.run(&["inspect", "demo:1", "--identity", "node.key", "--json"]).json();
    assert_eq!(inspected["files"][0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(inspected["signature_checked"], false);
    let checked = desk.run(&["fsck", "--json"]).json();
    assert_eq!((&checked["versions"], &checked["damage"]), (&1.into(), &serde_json::json!([])));
    let shown = desk.run(&["key", "show", "node.pub", "--json"]).json();
    assert_eq!(shown["kind"], "recipient x-wing");
    assert_eq!(desk.signed(&["verify", "--all", "--json"]).json()["verified"], 1);
}

#[test]
fn listing_and_inspecting_say_whether_a_signature_was_checked() {
    let desk = Desk::sealed();
    assert!(desk.run(&["ls"]).ok().contains("not checked"));
    assert!(desk.signed(&["ls"]).ok().contains("release.pub"));
    assert!(desk.signed(&["ls", "demo"]).ok().contains("demo:1"));
    assert!(desk.signed(&["ls", "dem"]).ok().contains("no versions"));
    let plain = desk.run(&["inspect", "demo:1"]).ok();
    assert!(plain.contains("signature not checked") && plain.contains("x-wing"), "{plain}");
    assert!(!plain.contains("config.json"), "file names are for those who can open it: {plain}");
    let inside = desk.signed(&["inspect", "demo:1", "--identity", "node.key"]).ok();
    assert!(inside.contains("config.json") && inside.contains("signed by"), "{inside}");
}

#[test]
fn the_tensors_of_a_sealed_model_are_listed_and_a_hostile_header_is_not() {
    let desk = Desk::new();
    let header = br#"{"w":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    desk.write("model/good.safetensors", &file);
    desk.write("model/huge.safetensors", &u64::MAX.to_le_bytes());
    desk.seal("model", "demo:1").ok();
    let inspected = desk.run(&["inspect", "demo:1", "--identity", "node.key", "--json"]).json();
    let tensor = &inspected["files"][0]["tensors"][0];
    assert_eq!((&tensor["name"], &tensor["shape"], &tensor["bytes"]), (&"w".into(), &vec![2, 2].into(), &8.into()));
    let fault = inspected["files"][1]["tensors_error"].as_str().unwrap();
    assert_eq!(fault, "safetensors header: length exceeds the limit of 100000000");
}

#[test]
fn files_are_inspected_one_after_the_other_and_what_was_read_is_printed() {
    let desk = Desk::new();
    for (name, tensor) in [("a", "first"), ("b", "second")] {
        let header = format!(r#"{{"{tensor}":{{"dtype":"U8","shape":[{}],"data_offsets":[0,{0}]}}}}"#, 3_000_000);
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &noise(3_000_000)].concat();
        desk.write(&format!("model/{name}.safetensors"), &file);
    }
    desk.seal("model", "demo:1").ok();
    let inspect = ["inspect", "demo:1", "--identity", "node.key"];
    let json = [&inspect[..], &["--json"]].concat();
    assert_eq!(desk.run(&json).json()["files"][1]["tensors"][0]["name"], "second");
    let text = desk.run(&inspect).ok();
    assert!(text.contains("    first  U8  [3000000]") && text.contains("  b.safetensors  "), "{text}");

    // Of the second stream the first segment, in which the header is.
    let second = desk.run(&[&json[..], &["--signer", "release.pub"]].concat()).json()["digest"].clone();
    let manifest = desk.path(format!("vault/artifacts/{}/manifest.json", &second.as_str().unwrap()[3..]));
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let part = manifest["streams"][1]["parts"][0].as_str().unwrap().to_owned();
    desk.write(&format!("vault/objects/{}/{part}", &part[..2]), &noise(3_000_200));
    let ran = desk.run(&json);
    ran.fails(3);
    let printed: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(printed["files"].as_array().map(Vec::len), Some(1), "{printed}");
    let ran = desk.run(&inspect);
    ran.fails(3);
    let text = String::from_utf8(ran.out).unwrap();
    assert!(text.contains("first") && !text.contains("second"), "{text}");
}

#[test]
fn a_passphrase_protects_keys_and_opens_artifacts() {
    let desk = Desk::new();
    desk.write("pass", b"correct horse\n");
    desk.write("other", b"battery staple\r\n");
    let generate = ["key", "generate", "--kind", "signing", "-o", "locked", "--passphrase-file", "pass"];
    desk.run(&generate).ok();
    assert!(String::from_utf8(desk.read("locked.key")).unwrap().contains("MVAULT ENCRYPTED PRIVATE KEY"));
    desk.run(&["key", "passwd", "locked.key", "--passphrase-file", "pass", "--new-passphrase-file", "other"]).ok();
    let shown = desk.run_with_input(&["key", "show", "locked.key", "--passphrase-fd", "0"], b"battery staple").ok();
    assert!(shown.contains("BEGIN PUBLIC KEY"), "{shown}");

    desk.write("weights.bin", b"weights");
    let seal = ["seal", "weights.bin", "demo:1", "--to-passphrase-file", "pass", "--sign-with", "locked.key"];
    desk.run(&[&seal[..], &["--passphrase-file", "other"]].concat()).ok();
    let open = ["open", "demo:1", "-", "--signer", "locked.pub", "--passphrase-file"];
    assert_eq!(desk.run(&[&open[..], &["pass"]].concat()).ok(), "weights");
    desk.run(&[&open[..], &["other"]].concat()).fails(6);
    desk.run(&["key", "passwd", "locked.key", "--passphrase-file", "other", "--no-passphrase"]).ok();
    desk.run(&["key", "show", "locked.key"]).ok();
}

#[test]
fn provenance_that_somebody_wrote_is_signed_with_the_artifact() {
    let desk = Desk::new();
    desk.write("weights.bin", b"weights");
    let provenance = br#"{"buildDefinition":{"buildType":"https://example.com/train","externalParameters":{}},
        "runDetails":{"builder":{"id":"https://example.com/cluster"}}}"#;
    desk.write("provenance.json", provenance);
    let seal = ["seal", "weights.bin", "demo:1", "--to", "node.pub", "--sign-with", "release.key"];
    desk.run(&[&seal[..], &["--provenance", "provenance.json"]].concat()).ok();
    let attestations = desk.signed(&["verify", "demo:1", "--json"]).json()["attestations"].clone();
    assert_eq!(attestations[0]["signers"].as_array().map(Vec::len), Some(1), "{attestations}");
    desk.write("provenance.json", b"{}");
    let refused = desk.run(&[&seal[..5], &["--sign-with", "release.key", "--provenance", "provenance.json"]].concat());
    assert!(refused.fails(2).contains("provenance.json: "), "{}", refused.err);
}

#[test]
fn sharing_adds_and_removes_recipients_and_touches_no_weights() {
    let desk = Desk::sealed();
    desk.run(&["key", "generate", "--kind", "recipient", "--kem", "x25519", "-o", "new", "--no-passphrase"]).ok();
    let objects = desk.files("vault/objects");
    let open_new = ["open", "demo:1", "-", "--file", "config.json", "--identity", "new.key"];
    desk.signed(&open_new).fails(6);
    let share =
        ["share", "demo:1", "--to", "new.pub", "--identity", "node.key", "--sign-with", "release.key", "--json"];
    let shared = desk.run(&share).json();
    assert_eq!((&shared["shared"][0]["generation"], &shared["shared"][0]["changed"]), (&2.into(), &true.into()));
    assert_eq!(desk.signed(&open_new).ok(), "{}");
    assert_eq!(desk.run(&share).json()["shared"][0]["changed"], false);

    desk.seal("model", "demo:2").ok();
    let remove = ["share", "--all", "--model", "de*", "--remove", "new.pub", "--sign-with", "release.key", "--json"];
    let removed = desk.run(&remove).json();
    assert_eq!(removed["shared"].as_array().map(Vec::len), Some(2));
    assert_eq!((&removed["shared"][0]["changed"], &removed["shared"][1]["changed"]), (&true.into(), &false.into()));
    desk.signed(&open_new).fails(6);
    desk.run(&remove).fails(8);
    assert!(objects.iter().all(|object| object.exists()));
}

#[test]
fn openssl_reads_our_public_key_and_a_key_it_made_signs() {
    let desk = Desk::new();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(desk.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(openssl(&["pkey", "-pubin", "-in", "release.pub", "-noout", "-text"]).contains("ED25519"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "made.pem"]);
    fs::set_permissions(desk.path("made.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    desk.run(&["key", "import", "made.pem", "-o", "made", "--no-passphrase"]).ok();
    assert_eq!(String::from_utf8(desk.read("made.pub")).unwrap(), openssl(&["pkey", "-in", "made.pem", "-pubout"]));
    desk.write("weights.bin", b"weights");
    desk.run(&["seal", "weights.bin", "demo:1", "--to", "node.pub", "--sign-with", "made.key"]).ok();
    assert!(desk.run(&["verify", "demo:1", "--signer", "made.pub"]).ok().contains("(made.pub)"));
}

#[test]
fn the_quickstart_works_from_an_empty_folder_and_refuses_a_used_one() {
    let desk = Desk::empty();
    let shown = desk.run(&["quickstart"]).ok();
    for expected in ["$ mvault seal ", "$ mvault verify ", "(exit code 3)", "files are the same", "embed_tokens"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    desk.run(&["quickstart"]).fails(7);
    desk.write("mine/a file", b"weights");
    let json = desk.run(&["quickstart", "mine", "--folder", "demo 2", "--json"]).json();
    assert_eq!(json["identical"], true);
    let steps = json["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["exit"] == 3 && step["output"].as_str().unwrap().contains("segment 0")));
    // What it shows is what a shell would run.
    let verify = steps.iter().map(|s| s["command"].as_str().unwrap()).find(|c| c.starts_with("mvault verify")).unwrap();
    let script = verify.replacen("mvault", env!("CARGO_BIN_EXE_mvault"), 1);
    assert!(Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).output().unwrap().status.success());
}

#[test]
fn completions_and_manual_pages_are_written() {
    let desk = Desk::empty();
    assert!(desk.run(&["completions", "bash"]).ok().contains("mvault"));
    desk.run(&["manpages", "man"]).ok();
    assert!(desk.path("man/mvault-seal.1").exists());
}
