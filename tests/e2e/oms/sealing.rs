//! Sealing what a vendor signed.

use serde_json::json;
use vault_tests::{ModelSigning, Output, Workspace, tree};

use crate::{Desk, refused};

fn desk() -> Desk {
    let desk = Desk(Workspace::new());
    for curve in crate::CURVES {
        desk.key(curve, curve);
    }
    desk.0.plant("model", &crate::model());
    desk.sign("model", "P-256", "model.sig").ok();
    desk
}

fn seal(desk: &Desk, name: &str, bundle: &str, key: &str) -> Output {
    let vendor = ["--require-oms", bundle, "--oms-key", key];
    desk.0.run(&[&["seal", "model", name, "--to", "alice.pub", "--sign-with", "signer.key"], &vendor[..]].concat())
}

#[test]
fn a_vendors_bundle_is_checked_in_the_pass_that_seals_and_kept_inside() {
    let desk = desk();
    seal(&desk, "m:1", "model.sig", "P-256.pub").ok();
    let inspected = desk.0.run(&["inspect", "m:1", "--identity", "alice.key", "--signer", "signer.pub"]).ok().json();
    assert_eq!((&inspected["oms"]["model"], &inspected["oms"]["files"]), (&json!("model"), &json!(6)));
    assert!(inspected["files"][0]["sha256"].is_string(), "the digests that were compared are kept");
    let opened = ["open", "m:1", "out", "--identity", "alice.key", "--signer", "signer.pub", "--oms-out", "out.sig"];
    desk.0.run(&opened).ok();
    assert_eq!(tree(&desk.0.path("out")), tree(&desk.0.path("model")));
    assert_eq!(desk.0.read("out.sig"), desk.0.read("model.sig"));
    desk.verify("out", "P-256", "out.sig", &[]).ok();

    // The bundle tells digests of the plaintext, so none of it may be outside of the encrypted index.
    let digest = hex::encode(sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), b"text")));
    for path in desk.0.files("vault") {
        let bytes = std::fs::read(&path).expect("ours");
        let found = bytes.windows(digest.len()).any(|window| window == digest.as_bytes());
        assert!(!found, "{}", path.display());
    }
    if let Some(python) = vault_tests::Reference::get() {
        let args = ["open", "vault", "m:1", "py", "--signer", "signer.pub", "--identity", "alice.key"];
        desk.0.reference(python, "read.py", &args).ok();
        assert_eq!(tree(&desk.0.path("py")), tree(&desk.0.path("model")));
    }
}

#[test]
fn nothing_is_published_that_the_vendor_did_not_sign() {
    let desk = desk();
    refused(seal(&desk, "m:1", "model.sig", "P-384.pub"), 4, "authenticity", "made with another key");
    desk.0.write("model/a.txt", b"texT");
    refused(seal(&desk, "m:1", "model.sig", "P-256.pub"), 3, "integrity", "a.txt: expected sha256");
    desk.0.write("model/a.txt", b"text");
    desk.0.write("model/extra", b"");
    refused(seal(&desk, "m:1", "model.sig", "P-256.pub"), 3, "integrity", "extra: is not signed");
    std::fs::rename(desk.0.path("model/extra"), desk.0.path("extra")).expect("ours");
    std::fs::remove_file(desk.0.path("model/empty")).expect("ours");
    refused(seal(&desk, "m:1", "model.sig", "P-256.pub"), 3, "integrity", "empty: is missing");
    desk.0.write("model/empty", b"");
    assert_eq!(desk.0.run(&["ls"]).ok().json()["versions"], json!([]));
    seal(&desk, "m:1", "model.sig", "P-256.pub").ok();

    let without = ["seal", "model", "m:2", "--to", "alice.pub", "--sign-with", "signer.key"];
    desk.0.run(&without).ok();
    let open = ["open", "m:2", "out", "--identity", "alice.key", "--signer", "signer.pub", "--oms-out", "out.sig"];
    refused(desk.0.run(&open), 8, "not-found", "an OMS bundle in m:2");
    refused(desk.0.run(&[&without[..], &["--require-oms", "model.sig"]].concat()), 2, "usage", "--oms-key");
}

#[test]
fn a_vendor_may_have_a_certificate() {
    let desk = desk();
    // The vendor's key gets the name that the sealer's has.
    std::fs::rename(desk.0.path("signer.key"), desk.0.path("sealer.key")).expect("ours");
    crate::certificates::authority(&desk);
    let cert = ["--key", "signer.key", "--cert", "signer.pem", "--chain", "between.pem", "-o", "certified.sig"];
    let seal = |name: &str, more: &[&str]| {
        let seal =
            ["seal", "model", name, "--to", "alice.pub", "--sign-with", "sealer.key", "--require-oms", "certified.sig"];
        desk.0.run(&[&seal[..], more].concat())
    };
    desk.0.run(&[&["oms", "sign", "model"], &cert[..]].concat()).ok();
    seal("m:1", &["--oms-ca", "root.pem"]).ok();
    refused(seal("m:2", &["--oms-ca", "root.pem", "--oms-at", "2200-01-01T00:00:00Z"]), 5, "stale", "it has expired");
    refused(seal("m:2", &["--oms-key", "signer.pub"]), 4, "authenticity", "made with a certificate");
    refused(seal("m:2", &["--oms-ca", "between.pem"]), 2, "usage", "root authority");
}

#[test]
fn a_bundle_that_cannot_be_kept_is_refused_before_anything_is_sealed() {
    let desk = desk();
    for number in 0..200 {
        desk.0.write(&format!("model/{number}"), b"x");
    }
    desk.sign("model", "P-256", "long.sig").ok();
    let mut bundle = desk.0.read("long.sig");
    // In the index each of these takes two bytes.
    bundle.resize(32 << 20, b'\n');
    desk.0.write("long.sig", &bundle);
    desk.verify("model", "P-256", "long.sig", &[]).ok();
    refused(seal(&desk, "m:1", "long.sig", "P-256.pub"), 2, "usage", "too long to be kept in an index");
}

#[test]
fn bundles_with_other_hashes_are_required_too_but_not_shards() {
    const SIGN: &str = "
import model_signing
for kind in ['blake3', 'blake2', 'shards']:
    hashing = model_signing.hashing.Config()
    if kind == 'shards':
        hashing.use_shard_serialization(hashing_algorithm='sha256', shard_size=1000)
    else:
        hashing.use_file_serialization(hashing_algorithm=kind)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key='P-256.key')
    signer.set_hashing_config(hashing).sign('model', kind + '.sig')
";
    let Some(reference) = ModelSigning::get() else { return };
    let desk = desk();
    reference.python(desk.0.root(), &["-c", SIGN]).ok();
    seal(&desk, "m:1", "blake3.sig", "P-256.pub").ok();
    seal(&desk, "m:2", "blake2.sig", "P-256.pub").ok();
    refused(seal(&desk, "m:3", "shards.sig", "P-256.pub"), 2, "usage", "in shards");
    desk.0.write("model/a.txt", b"texT");
    refused(seal(&desk, "m:3", "blake3.sig", "P-256.pub"), 3, "integrity", "a.txt: expected blake3");
    refused(seal(&desk, "m:3", "blake2.sig", "P-256.pub"), 3, "integrity", "a.txt: expected blake2b");
}
