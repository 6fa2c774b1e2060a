//! The pieces of a vault in the hands of other people's tools.

use std::{fs, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use vault_tests::{Output, Reference, Workspace, have, noise, skip};

use crate::{PAYLOAD, seal};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn header_and_parts_are_one_floe_ciphertext() {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    let data = noise(9 << 20);
    desk.write("model/large", &data);
    desk.write("model/small", &data[..PAYLOAD]);
    desk.run(&["seal", "model", "m:1", "--to", "alice.pub", "--sign-with", "signer.key", "--part-size", "8"]).ok();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/floe_stream.py");
    for (stream, expected) in [("0", &data[..]), ("1", &data[..PAYLOAD])] {
        desk.reference(python, script, &["vault", "m:1", stream, "out", "alice.key", "signer.pub"]).ok();
        assert!(desk.read("out") == expected, "stream {stream}");
    }
}

#[test]
fn objects_are_named_by_what_b3sum_says() {
    let desk = Workspace::new();
    desk.write("model/large", &noise(2 << 20));
    desk.write("model/small", b"small");
    seal(&desk, "model", "m:1");
    let mut files = desk.files("vault/objects");
    files.push(desk.only("vault/artifacts", "manifest.json"));
    assert_eq!(files.len(), 1 + 4, "two files, an index, a tree and the manifest");
    let sums = if have("b3sum") {
        text(&Output::of(Command::new("b3sum").arg("--no-names").args(&files), b"").ok())
    } else {
        let Some(python) = Reference::get() else { return };
        desk.write(
            "sum.py",
            b"import blake3, sys\nfor n in sys.argv[1:]: print(blake3.blake3(open(n, 'rb').read()).hexdigest())\n",
        );
        let names: Vec<_> = files.iter().map(|path| path.to_str().expect("UTF-8")).collect();
        text(&desk.reference(python, desk.path("sum.py"), &names).ok())
    };
    for (path, sum) in files.iter().zip(sums.lines()) {
        let named = if path.ends_with("manifest.json") { path.parent() } else { Some(path.as_path()) };
        assert_eq!(named.and_then(|path| path.file_name()).expect("a name"), sum);
    }
    assert_eq!(sums.lines().count(), files.len());
}

/// The bytes an envelope's signature is over.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[test]
fn openssl_reads_the_keys_and_checks_the_signatures() {
    if !have("openssl") {
        return skip("no openssl");
    }
    let desk = Workspace::new();
    desk.write("weights", b"weights");
    seal(&desk, "weights", "m:1");
    let openssl = |args: &[&str]| Output::of(Command::new("openssl").args(args).current_dir(desk.root()), b"");
    for (name, algorithm) in [("signer", "ED25519"), ("alice", "X25519")] {
        let public = openssl(&["pkey", "-pubin", "-in", &format!("{name}.pub"), "-noout", "-text"]).ok();
        assert!(text(&public).starts_with(algorithm), "{}", text(&public));
        let private = openssl(&["pkey", "-in", &format!("{name}.key"), "-pubout"]).ok();
        assert_eq!(private.stdout, desk.read(&format!("{name}.pub")));
    }

    let envelopes = [("vault/models", "1.dsse.json"), ("vault/artifacts", "recipients/1.dsse.json")];
    for (folder, ending) in envelopes {
        let bytes = fs::read(desk.only(folder, ending)).expect("an envelope");
        let envelope: Value = serde_json::from_slice(&bytes).expect("JSON");
        let base64 = |value: &Value| BASE64_STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        let payload_type = envelope["payloadType"].as_str().expect("a type");
        desk.write("message", &pre_authentication_encoding(payload_type, &base64(&envelope["payload"])));
        desk.write("signature", &base64(&envelope["signatures"][0]["sig"]));
        let check = |signer| {
            let files = ["-inkey", signer, "-in", "message", "-sigfile", "signature"];
            openssl(&[&["pkeyutl", "-verify", "-pubin", "-rawin"], &files[..]].concat())
        };
        check("signer.pub").ok();
        check("stranger.pub").exits(1);
    }
}
