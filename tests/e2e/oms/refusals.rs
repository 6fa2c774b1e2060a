//! What is no bundle, what is no statement, and who is not believed.

use serde_json::{Value, json};

use crate::{Desk, fix_root, refused, statement};

fn two() -> Value {
    statement(&[("a.txt", b"text"), ("b", b"b")])
}

#[test]
fn statements_that_break_a_rule_are_refused_though_their_signature_is_right() {
    let desk = Desk::new();
    desk.0.write("m/a.txt", b"text");
    desk.0.write("m/b", b"b");
    desk.forge("good.sig", two().to_string().as_bytes());
    desk.verify("m", "P-256", "good.sig", &[]).ok();

    let resource = |name: &str| json!({ "name": name, "algorithm": "sha256", "digest": "00".repeat(32) });
    let listing = |resources: Value| {
        let mut statement = two();
        statement["predicate"]["resources"] = resources;
        fix_root(&mut statement);
        statement
    };
    let with = |pointer: &str, value: Value| {
        let mut statement = two();
        *statement.pointer_mut(pointer).expect(pointer) = value;
        // Some of these have no list, or no subject, any more.
        if statement["predicate"]["resources"][0].is_object() && statement["subject"][0].is_object() {
            fix_root(&mut statement);
        }
        statement
    };
    let digest = || two()["predicate"]["resources"][0]["digest"].clone();
    let root = || two()["subject"][0]["digest"]["sha256"].clone();
    let serialization = |name: &str, value: Value| {
        let mut statement = two();
        statement["predicate"]["serialization"][name] = value;
        statement
    };
    let one = |name: &str| listing(json!([resource(name)]));
    let cases = [
        (one("../escape"), "`.` or `..`"),
        (one("a/../../escape"), "`.` or `..`"),
        (one("/etc/passwd"), "is absolute"),
        (one("a//b"), "empty segment"),
        (one("a/./b"), "`.` or `..`"),
        (one("a/"), "empty segment"),
        (one(""), "is empty"),
        (one("a\\b"), "backslash"),
        (one("a\u{0}"), "control character"),
        (listing(json!([])), "lists no files"),
        (listing(json!([resource("a"), resource("a")])), "lists \"a\" twice"),
        (listing(json!([resource("b"), resource("a")])), "in order"),
        (with("/predicate/resources/0/digest", json!("00")), "digest that is not sha256"),
        (with("/predicate/resources/0/digest", json!("AB".repeat(32))), "digest that is not sha256"),
        (with("/predicate/resources/0/algorithm", json!("blake3")), "digest that is not sha256"),
        (with("/predicate/resources/0/name", json!(1)), "invalid type"),
        (with("/subject/0", json!([{ "sha256": root() }, "model"])), "invalid type: sequence"),
        (with("/predicate/resources/0", json!(["sha256", digest(), "a.txt"])), "invalid type: sequence"),
        (with("/predicate/serialization", json!([false, "sha256", [], "files", null])), "invalid type: sequence"),
        (
            with("/predicate", json!([two()["predicate"]["resources"], two()["predicate"]["serialization"]])),
            "invalid type: sequence",
        ),
        (with("/_type", json!("https://in-toto.io/Statement/v0.1")), "in-toto Statement v1"),
        (with("/predicateType", json!("https://model_signing/Digests/v0.1")), "version 0.2"),
        (with("/predicateType", json!("https://slsa.dev/provenance/v1")), "not a model signature"),
        (with("/subject/0/name", json!("")), "subject without a name"),
        (serialization("hash_type", json!("md5")), "hashed with \"md5\""),
        (serialization("method", json!("shards")), "shard size"),
        (serialization("method", json!("tensors")), "unknown way"),
        (serialization("shard_size", json!(4)), "shard size"),
        (serialization("shard_size", json!(0.5)), "shard size"),
        (serialization("ignore_paths", json!(["../x"])), "leaves out a path"),
        (serialization("ignore_paths", json!(["*"])), "wildcard"),
        (serialization("ignore_paths", json!([""])), "is empty"),
        (serialization("surprise", json!(1)), "unknown field"),
        (serialization("allow_symlinks", json!("false")), "invalid type"),
    ];
    for (statement, message) in cases {
        desk.forge("bad.sig", statement.to_string().as_bytes());
        refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", message);
    }

    let mut twice = two();
    let subject = twice["subject"][0].clone();
    twice["subject"] = json!([subject, subject]);
    let mut other_root = two();
    other_root["subject"][0]["digest"]["sha256"] = json!("00".repeat(32));
    let doubled = two().to_string().replacen("\"_type\":", "\"_type\":\"x\",\"_type\":", 1);
    let deep = two().to_string().replacen(
        "\"digest\":{",
        &format!("\"digest\":{{\"x\":{}1{},", "[".repeat(99), "]".repeat(99)),
        1,
    );
    for (payload, message) in [
        (twice.to_string(), "exactly one subject"),
        (other_root.to_string(), "subject digest"),
        (doubled, "given twice"),
        (deep, "nested deeper"),
        ("[]".into(), "invalid"),
        (String::new(), "EOF"),
    ] {
        desk.forge("bad.sig", payload.as_bytes());
        refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", message);
    }
}

#[test]
fn shards_must_be_all_of_a_file() {
    let desk = Desk::new();
    desk.0.write("m/a:b", b"0123456789");
    let shards = |names: &[(&str, &[u8])]| {
        let mut statement = statement(names);
        statement["predicate"]["serialization"]["method"] = json!("shards");
        statement["predicate"]["serialization"]["shard_size"] = json!(4);
        statement.to_string()
    };
    let all: [(&str, &[u8]); 3] = [("a:b:0:4", b"0123"), ("a:b:4:8", b"4567"), ("a:b:8:10", b"89")];
    desk.forge("good.sig", shards(&all).as_bytes());
    desk.verify("m", "P-256", "good.sig", &[]).ok();
    for bad in
        [&all[1..], &[all[0], all[2]], &[("a:b:0:10", b"0123456789")], &[("a:b:0:3", b"012"), ("a:b:3:7", b"3456")]]
    {
        desk.forge("bad.sig", shards(bad).as_bytes());
        refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", "not all of it");
    }
    for bad in ["a", "a:0", "a:0:x", "a:4:4", "a:00:4", "a:+0:4", "a:0:99999999999999999999"] {
        desk.forge("bad.sig", shards(&[(bad, b"")]).as_bytes());
        refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", "names no range");
    }
    // An empty file has no shards; any other has, and git is given nothing.
    desk.0.write("m/empty", b"");
    let checked = desk.verify("m", "P-256", "good.sig", &[]).ok().json();
    assert_eq!((&checked["files"], &checked["left_out"]), (&json!(1), &json!(["empty"])));
    desk.0.write("m/empty", b"x");
    refused(desk.verify("m", "P-256", "good.sig", &[]), 3, "integrity", "empty: is not signed");
    std::fs::remove_file(desk.0.path("m/empty")).expect("ours");
    desk.0.write("m/.git/hooks/post-checkout", b"");
    refused(desk.verify("m", "P-256", "good.sig", &[]), 3, "integrity", ".git/hooks/post-checkout: is not signed");
    std::fs::remove_dir_all(desk.0.path("m/.git")).expect("ours");

    desk.forge("short.sig", shards(&all[..2]).as_bytes());
    refused(desk.verify("m", "P-256", "short.sig", &[]), 3, "integrity", "expected 8 bytes, found 10");
    // What is longer than what was signed is not read, however long it is.
    std::fs::File::options()
        .write(true)
        .open(desk.0.path("m/a:b"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("ours");
    refused(desk.verify("m", "P-256", "good.sig", &[]), 3, "integrity", "expected 10 bytes, found 1099511627776");
}

#[test]
fn bundles_that_break_a_rule_are_refused() {
    let desk = Desk::new();
    desk.0.write("m/a.txt", b"text");
    desk.0.write("m/b", b"b");
    let good = desk.forge("good.sig", two().to_string().as_bytes());
    let with = |pointer: &str, value: Value| {
        let mut bundle = good.clone();
        *bundle.pointer_mut(pointer).expect(pointer) = value;
        bundle.to_string()
    };
    let signature = &good["dsseEnvelope"]["signatures"][0];
    let chain = |chain: Value| with("/verificationMaterial", json!({ "x509CertificateChain": chain }));
    let key = &good["verificationMaterial"]["publicKey"];
    for (bundle, message) in [
        (String::new(), "EOF"),
        ("{}".into(), "missing field"),
        (good.to_string() + "{}", "trailing"),
        (good.to_string().replacen('{', "{\"mediaType\":\"x\",", 1), "given twice"),
        (with("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.2+json")), "Sigstore bundle v0.3"),
        (with("/dsseEnvelope/payloadType", json!("text/plain")), "in-toto"),
        (with("/dsseEnvelope/payload", json!("~")), "base64"),
        (with("/dsseEnvelope/signatures", json!([])), "exactly one signature"),
        (with("/dsseEnvelope/signatures", json!([signature, signature])), "exactly one signature"),
        (with("/dsseEnvelope/signatures/0/sig", json!("")), "no ECDSA key"),
        (with("/dsseEnvelope/signatures/0/sig", json!("A".repeat(400))), "no ECDSA key"),
        (with("/dsseEnvelope", json!({ "messageSignature": {} })), "unknown field"),
        (with("/verificationMaterial", json!({})), "exactly one of publicKey"),
        (with("/verificationMaterial/publicKey", json!([null])), "invalid type: sequence"),
        (with("/dsseEnvelope/signatures/0", json!([signature["sig"], ""])), "invalid type: sequence"),
        (
            json!([good["mediaType"], good["verificationMaterial"], good["dsseEnvelope"]]).to_string(),
            "invalid type: sequence",
        ),
        (with("/verificationMaterial/publicKey", json!({})), "names no key"),
        (with("/verificationMaterial/publicKey", json!({ "hint": "" })), "names no key"),
        (
            with("/verificationMaterial", json!({ "publicKey": key, "tlogEntries": vec![0; 20_000] })),
            "more than 16384 values",
        ),
        (
            with("/verificationMaterial", json!({ "publicKey": key, "x509CertificateChain": { "certificates": [] } })),
            "exactly one of",
        ),
        (chain(json!({ "certificates": [] })), "empty chain"),
        (chain(json!({ "certificates": vec![json!({ "rawBytes": "AA==" }); 513] })), "number of certificates"),
    ] {
        desk.0.write("bad.sig", bundle.as_bytes());
        refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", message);
    }
    desk.0.write("bad.sig", with("/verificationMaterial", json!({ "certificate": {} })).as_bytes());
    refused(desk.verify("m", "P-256", "bad.sig", &[]), 4, "authenticity", "through Sigstore");
    desk.0.write("bad.sig", &vec![b' '; (32 << 20) + 1]);
    refused(desk.verify("m", "P-256", "bad.sig", &[]), 3, "integrity", "length exceeds the limit");
    for keyid in [json!(null), json!("anything")] {
        desk.0.write("odd.sig", with("/dsseEnvelope/signatures/0/keyid", keyid).as_bytes());
        desk.verify("m", "P-256", "odd.sig", &[]).ok();
    }
    // Bundles of before version 1.1 of the reference implementation carry the key; it is not believed.
    desk.0.write("old.sig", with("/verificationMaterial", json!({ "publicKey": { "rawBytes": "AA==" } })).as_bytes());
    desk.verify("m", "P-256", "old.sig", &[]).ok();
    refused(desk.verify("m", "P-384", "old.sig", &[]), 4, "authenticity", "the signature is wrong");
}

#[test]
fn only_the_signer_is_believed() {
    let desk = Desk::new();
    desk.sign("model", "P-256", "model.sig").ok();
    desk.key("other", "P-256");
    refused(desk.verify("model", "other", "model.sig", &[]), 4, "authenticity", "made with another key");
    let mut bundle: Value = serde_json::from_slice(&desk.0.read("model.sig")).expect("JSON");
    bundle["dsseEnvelope"]["payload"] =
        json!(bundle["dsseEnvelope"]["payload"].as_str().expect("text").replacen("ey", "fy", 1));
    desk.0.write("forged.sig", bundle.to_string().as_bytes());
    refused(desk.verify("model", "P-256", "forged.sig", &[]), 4, "authenticity", "the signature is wrong");
    let run = |args: &[&str]| desk.0.run(&[&["oms", "verify", "model", "--signature", "model.sig"], args].concat());
    refused(run(&[]), 2, "usage", "nobody is named");
    refused(run(&["--key", "P-256.pub", "--ca", "root.pem"]), 2, "usage", "cannot be used with");
    refused(run(&["--key", "P-256.key"]), 2, "usage", "is a private key");
    refused(run(&["--key", "model.sig"]), 2, "usage", "no PEM block");
}

#[test]
fn keys_are_read_as_openssl_writes_them_and_no_others() {
    let desk = Desk::new();
    desk.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", "sec1.key"]);
    vault_tests::make_private(&desk.0.path("sec1.key"));
    desk.openssl(&["ec", "-in", "sec1.key", "-pubout", "-out", "sec1.pub"]);
    desk.sign("model", "sec1", "sec1.sig").ok();
    desk.verify("model", "sec1", "sec1.sig", &[]).ok();

    desk.openssl(&["genpkey", "-algorithm", "ed25519", "-out", "ed.key"]);
    desk.openssl(&["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "k1.key"]);
    desk.openssl(&["ec", "-in", "P-256.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"]);
    desk.openssl(&["pkcs8", "-topk8", "-in", "P-256.key", "-passout", "pass:x", "-out", "locked8.key"]);
    for (name, message) in [
        ("ed", "not a valid private key on P-256"),
        ("k1", "not a valid private key on P-256"),
        ("locked", "encrypted"),
        ("locked8", "encrypted"),
    ] {
        vault_tests::make_private(&desk.0.path(format!("{name}.key")));
        refused(desk.sign("model", name, "x.sig"), 2, "usage", message);
    }
    desk.openssl(&["ec", "-in", "P-256.key", "-pubout", "-conv_form", "compressed", "-out", "short.pub"]);
    refused(desk.verify("model", "short", "sec1.sig", &[]), 2, "usage", "uncompressed point");
    desk.0.write("open.key", &desk.0.read("P-256.key"));
    refused(desk.sign("model", "open", "x.sig"), 2, "usage", "others can get at the private key");
    refused(desk.0.run(&["oms", "sign", "model", "--key", "P-256.pub", "-o", "x.sig"]), 2, "usage", "P-256.pub");
    std::fs::create_dir(desk.0.path("void")).expect("ours");
    refused(desk.sign("void", "P-256", "x.sig"), 2, "usage", "holds no files to sign");
}
