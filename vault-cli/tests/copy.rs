//! Copying, mending and opening in part, through the real binary.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use std::fs;

use common::{Desk, noise};

#[test]
fn the_recipes_of_the_documentation_can_be_typed() {
    let desk = Desk::sealed();
    let page = include_str!("../../docs/TRANSFER.md");
    let lines: Vec<_> = page.lines().filter(|line| line.starts_with("mvault ")).collect();
    let type_in = |desk: &Desk, line: &str| {
        desk.shell(&format!(r#"unset MVAULT_VAULT; mvault() {{ "$M" "$@"; }}; {line}"#)).ok();
    };
    let (logged, plain): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.contains("--require-log"));
    assert_eq!((logged.len(), plain.len()), (2, 6));
    for line in &plain {
        type_in(&desk, line);
    }
    assert_eq!(desk.read("out/sub/weights.bin"), desk.read("model/sub/weights.bin"));

    let desk = Desk::new();
    desk.run(&["log", "init"]).ok();
    desk.write("model/sub/weights.bin", b"weights");
    desk.seal("model", "demo:1").ok();
    desk.run(&["key", "generate", "--kind", "signing", "-o", "log", "--no-passphrase"]).ok();
    desk.run(&["log", "publish", "--key", "log.key"]).ok();
    type_in(&desk, logged[0]);
    type_in(&desk, plain.iter().find(|line| line.contains("--from stick/vault")).expect("the way back"));
    type_in(&desk, logged[1]);
    assert_eq!(desk.read("out/sub/weights.bin"), b"weights");
}

#[test]
fn a_copy_is_counted_and_refuses_what_it_must() {
    let desk = Desk::sealed();
    let args = ["copy", "demo:1", "--from", "vault", "--to", "other", "--json"];
    assert!(desk.signed(&args).fails(8).contains("--init"), "there is no such vault");
    let copied = desk.signed(&[&args[..], &["--init"]].concat()).json();
    assert_eq!((&copied["versions"], &copied["objects"]["there"]), (&1.into(), &0.into()));
    assert!(copied["objects"]["copied_bytes"].as_u64().unwrap() > 3_000_000);
    let again = desk.signed(&[&args[..], &["--verify"]].concat()).json();
    assert_eq!((&again["objects"]["copied"], &again["records"]["copied"]), (&0.into(), &0.into()));
    desk.run(&["open", "demo:1", "out", "--vault", "other", "--signer", "release.pub", "--identity", "node.key"]).ok();
    assert_eq!(desk.read("out/sub/weights.bin"), desk.read("model/sub/weights.bin"));

    let unsigned = desk.run(&["copy", "demo:1", "--to", "third", "--init"]);
    unsigned.ok();
    assert!(unsigned.err.contains("no signature was checked"), "{}", unsigned.err);
    desk.run(&["key", "generate", "--kind", "signing", "-o", "mallory", "--no-passphrase"]).ok();
    desk.run(&["copy", "demo:1", "--to", "third", "--signer", "mallory.pub"]).fails(4);
    desk.signed(&["copy", "demo:9", "--to", "third"]).fails(8);
    desk.signed(&["copy", "demo@production", "--to", "third"]).fails(2);
    desk.signed(&["copy", "--to", "third"]).fails(2);
    desk.run(&["init", "taken"]).ok();
    desk.run(&["seal", "model", "demo:1", "--vault", "taken", "--to", "node.pub", "--sign-with", "release.key"]).ok();
    assert!(desk.signed(&["copy", "demo:1", "--to", "taken"]).fails(7).contains("taken"));

    // Of many versions one is damaged.
    desk.write("small", b"x");
    desk.seal("small", "demo:2").ok();
    let part = desk.largest_part();
    let mut bytes = fs::read(&part).unwrap();
    bytes[5] ^= 1;
    fs::write(part, bytes).unwrap();
    let all = desk.signed(&["copy", "--all", "--to", "fourth", "--init"]);
    assert!(all.fails(3).contains("1 name could not be copied"), "{}", all.err);
    desk.run(&["verify", "demo:2", "--vault", "fourth", "--signer", "release.pub"]).ok();
    desk.run(&["fsck", "--vault", "fourth"]).ok();
}

#[test]
fn damage_is_located_and_mended_from_another_copy() {
    let desk = Desk::sealed();
    desk.signed(&["copy", "--all", "--to", "other", "--init"]).ok();
    let part = desk.largest_part();
    let mut bytes = fs::read(&part).unwrap();
    bytes[(1 << 20) + 5] ^= 1;
    fs::write(&part, bytes).unwrap();
    let found = desk.run(&["fsck"]);
    found.fails(3);
    let text = String::from_utf8(found.out).unwrap();
    assert!(text.contains("segments 1..2 of stream") && text.contains("bytes 1048576..2097152"), "{text}");
    let found = desk.run(&["fsck", "--identity", "node.key", "--json"]);
    found.fails(3);
    let object: serde_json::Value = serde_json::from_slice(&found.out).unwrap();
    let file = &object["damage"][0]["where"][0]["files"][0];
    assert_eq!((&file["path"], &file["range"][0]), (&"sub/weights.bin".into(), &1_048_544.into()));

    desk.run(&["fsck", "--from", "other"]).fails(2);
    desk.run(&["fsck", "--repair"]).fails(2);
    let mended = desk.signed(&["fsck", "--repair", "--from", "other", "--json"]).json();
    assert_eq!(mended["repaired"].as_array().map(Vec::len), Some(1));
    desk.run(&["fsck"]).ok();
    desk.open(&["demo:1", "out"]).ok();
}

/// A safetensors file of tensors `l.N.weight` of a million bytes.
fn safetensors(first: usize, count: usize) -> Vec<u8> {
    let entry = |number: usize| {
        let at = (number - first) * 1_000_000;
        format!(r#""l.{number}.weight":{{"dtype":"U8","shape":[1000000],"data_offsets":[{at},{}]}}"#, at + 1_000_000)
    };
    let header = format!("{{{}}}", (first..first + count).map(entry).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(noise(count * 1_000_000));
    file
}

#[test]
fn tensors_and_several_files_are_opened_without_the_rest() {
    let desk = Desk::new();
    desk.write("model/one.safetensors", &safetensors(0, 3));
    desk.write("model/sub/two.safetensors", &safetensors(3, 2));
    desk.write("model/config.json", b"{}");
    desk.write("model/tokenizer.json", b"[]");
    desk.seal("model", "demo:1").ok();

    let opened = desk.open(&["demo:1", "some", "--tensor", "l.1.*", "--tensor", "l.4.*", "--json"]).json();
    assert_eq!((&opened["files"], &opened["tensors"]), (&2.into(), &2.into()));
    let out = desk.read("some/one.safetensors");
    assert!(out.ends_with(&desk.read("model/one.safetensors")[8 + safetensors_header(0, 3)..][1_000_000..2_000_000]));
    assert!(desk.path("some/sub/two.safetensors").exists() && !desk.path("some/config.json").exists());
    let stream = desk.open(&["demo:1", "-", "--tensor", "l.[no]*", "--tensor", "l.0*"]);
    assert!(stream.fails(8).contains("l.0.weight"), "{}", stream.err);
    let stream = desk.open(&["demo:1", "-", "--tensor", "l.2.weight", "--tensor", "l.3.weight"]);
    stream.ok();
    assert!(stream.out.len() > 2_000_000 && stream.out.len() < 2_001_000);

    desk.open(&["demo:1", "json", "--file", "*.json"]).ok();
    assert_eq!((desk.read("json/config.json"), desk.read("json/tokenizer.json")), (b"{}".to_vec(), b"[]".to_vec()));
    desk.open(&["demo:1", "named", "--file", "config.json"]).ok();
    assert_eq!(desk.read("named"), b"{}");
    assert!(desk.open(&["demo:1", "none", "--file", "configs.json"]).fails(8).contains("config.json"));
    desk.open(&["demo:1", "-", "--file", "*.json"]).fails(2);
    desk.open(&["demo:1", "x", "--tensor", "l.*", "--range", "0..1"]).fails(2);
    assert!(!desk.path("none").exists() && !desk.path("x").exists());
}

fn safetensors_header(first: usize, count: usize) -> usize {
    safetensors(first, count).len() - 8 - count * 1_000_000
}
