//! Each reads what the other wrote.

use std::{fs, path::Path};

use serde_json::json;
use vault_tests::{ModelSigning, Workspace};

use crate::{CURVES, Desk, certificates::authority};

#[test]
fn bundles_with_keys_verify_both_ways() {
    let Some(reference) = ModelSigning::get() else { return };
    let desk = Desk::new();
    desk.0.write("model/.gitattributes", b"*.bin");
    desk.0.write("model/cache/tmp", b"x");
    for curve in CURVES {
        let (key, public) = (format!("{curve}.key"), format!("{curve}.pub"));
        let (ours, theirs) = (format!("{curve}-ours.sig"), format!("model/{curve}-theirs.sig"));
        let output = desk.0.run(&["oms", "sign", "model", "--key", &key, "-o", &ours, "--ignore-path", "cache"]);
        output.ok();
        let ignore = ["--ignore-paths", "model/cache"];
        let verify = ["verify", "key", "--signature", &ours, "--public_key", &public];
        reference.run(desk.0.root(), &[&verify[..], &ignore, &["model"]].concat()).ok();

        let sign = ["sign", "key", "--signature", &theirs, "--private_key", &key];
        reference.run(desk.0.root(), &[&sign[..], &ignore, &["model"]].concat()).ok();
        let checked = desk.verify("model", curve, &theirs, &[]).ok().json();
        assert_eq!(checked["left_out"], json!([".gitattributes", "cache"]));
        fs::remove_file(desk.0.path(&theirs)).expect("ours");
    }
}

#[test]
fn bundles_with_certificates_verify_both_ways() {
    let Some(reference) = ModelSigning::get() else { return };
    let desk = Desk::new();
    authority(&desk);
    for curve in CURVES {
        desk.certify(curve, "between", crate::certificates::SIGNER, "365");
        let (key, cert) = (format!("{curve}.key"), format!("{curve}.pem"));
        let (ours, theirs) = (format!("{curve}-ours.sig"), format!("{curve}-theirs.sig"));
        desk.0
            .run(&["oms", "sign", "model", "--key", &key, "--cert", &cert, "--chain", "between.pem", "-o", &ours])
            .ok();
        let verify = ["verify", "certificate", "--signature", &ours, "--certificate_chain", "root.pem", "model"];
        reference.run(desk.0.root(), &verify).ok();

        let sign =
            ["sign", "certificate", "--signature", &theirs, "--private_key", &key, "--signing_certificate", &cert];
        reference.run(desk.0.root(), &[&sign[..], &["--certificate_chain", "between.pem", "model"]].concat()).ok();
        let checked = desk.0.run(&["oms", "verify", "model", "--signature", &theirs, "--ca", "root.pem"]).ok().json();
        assert_eq!(checked["signer"]["subject"], json!(format!("CN={curve}")));
    }
}

/// The command knows only SHA-256 over whole files; its library makes the other kinds.
#[test]
fn other_hashes_and_shards_verify() {
    const SIGN: &str = "
import sys, model_signing
hashing = model_signing.hashing.Config()
if sys.argv[1] == 'shards':
    hashing.use_shard_serialization(hashing_algorithm='sha256', shard_size=1000)
else:
    hashing.use_file_serialization(hashing_algorithm=sys.argv[1])
signer = model_signing.signing.Config().use_elliptic_key_signer(private_key='P-256.key')
signer.set_hashing_config(hashing).sign('model', sys.argv[2])
";
    let Some(reference) = ModelSigning::get() else { return };
    let desk = Desk::new();
    for kind in ["blake3", "blake2", "shards"] {
        let bundle = format!("{kind}.sig");
        reference.python(desk.0.root(), &["-c", SIGN, kind, &bundle]).ok();
        desk.verify("model", "P-256", &bundle, &[]).ok();
    }
    desk.0.write("model/a.txt", b"texT");
    for (kind, message) in
        [("blake3", "expected blake3"), ("blake2", "expected blake2b"), ("shards", "expected sha256")]
    {
        crate::refused(desk.verify("model", "P-256", &format!("{kind}.sig"), &[]), 3, "integrity", message);
    }
    desk.0.write("model/a.txt", b"text and more");
    crate::refused(desk.verify("model", "P-256", "shards.sig", &[]), 3, "integrity", "expected 4 bytes, found 13");
}

/// What the reference implementation's own tests keep of its releases (Apache-2.0).
#[test]
fn published_vectors_verify() {
    let desk = Workspace::empty();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/oms");
    vault_tests::copy(&vectors, &desk.path("vectors"));
    let verify = |folder: &str, trust: &[&str]| {
        let (model, signature) = (format!("vectors/{folder}"), format!("vectors/{folder}/model.sig"));
        desk.run(&[&["oms", "verify", &model, "--signature", &signature], trust].concat())
    };
    let key = ["--key", "vectors/signing-key-pub.pem"];
    let checked = verify("v1.1.0-elliptic-key", &key).ok().json();
    assert_eq!((&checked["files"], &checked["left_out"]), (&json!(2), &json!(["ignore-me"])));
    // One file, which its bundle calls `.` and this folder is not.
    let bundle = ["--signature", "vectors/v0.3.1-elliptic-key/model.sig"];
    let verify_one = |model: &str| desk.run(&[&["oms", "verify", model], &bundle[..], &key].concat());
    verify_one("vectors/v0.3.1-elliptic-key/signme-1").ok();
    crate::refused(verify_one("vectors/v0.3.1-elliptic-key"), 3, "integrity", "is a folder");
    // This certificate says that it is an authority's, which no signer's is.
    let output = verify("v1.1.0-certificate", &["--ca", "vectors/ca-cert.pem"]);
    crate::refused(output, 4, "authenticity", "is that of an authority, not of a signer");
}
