//! `OpenSSF` Model Signing: `mvault oms` and the reference implementation read each other's bundles, everything hostile is
//! refused with its own exit code, and sealing can demand a vendor's bundle.
#![forbid(unsafe_code)]

mod certificates;
mod interop;
mod refusals;
mod sealing;

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vault_tests::{Entry, Output, Tree, Workspace, noise};

/// The three curves, as OpenSSL calls them; each is also the name of a key pair.
const CURVES: [&str; 3] = ["P-256", "P-384", "P-521"];

/// A folder with a model and keys that OpenSSL made: `P-256.key`, `P-256.pub` and so on.
struct Desk(Workspace);

impl Desk {
    fn new() -> Self {
        let desk = Self(Workspace::empty());
        for curve in CURVES {
            desk.key(curve, curve);
        }
        desk.0.plant("model", &model());
        desk
    }

    fn openssl(&self, args: &[&str]) -> Output {
        Output::of(Command::new("openssl").args(args).current_dir(self.0.root()), b"").ok()
    }

    fn key(&self, name: &str, curve: &str) {
        let (key, public) = (format!("{name}.key"), format!("{name}.pub"));
        let curve = format!("ec_paramgen_curve:{curve}");
        self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve, "-out", &key]);
        self.openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        vault_tests::make_private(&self.0.path(&key));
    }

    fn sign(&self, model: &str, key: &str, bundle: &str) -> Output {
        self.0.run(&["oms", "sign", model, "--key", &format!("{key}.key"), "-o", bundle])
    }

    fn verify(&self, model: &str, key: &str, bundle: &str, more: &[&str]) -> Output {
        let key = format!("{key}.pub");
        self.0.run(&[&["oms", "verify", model, "--signature", bundle, "--key", &key], more].concat())
    }

    /// A bundle over any payload, with a signature by P-256 that is right.
    fn forge(&self, bundle: &str, payload: &[u8]) -> Value {
        let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
        self.0.write("message", &[head.as_bytes(), payload].concat());
        self.openssl(&["dgst", "-sha256", "-sign", "P-256.key", "-out", "message.sig", "message"]);
        let value = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": { "publicKey": { "hint": hex::encode(Sha256::digest(self.0.read("P-256.pub"))) } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{ "sig": STANDARD.encode(self.0.read("message.sig")), "keyid": "" }],
            },
        });
        self.0.write(bundle, value.to_string().as_bytes());
        value
    }
}

/// Files of every interesting size and name. Segment by segment `a/x` comes before `a.txt`, by code point after it.
fn model() -> Tree {
    let data = noise(3 << 20);
    let file = |bytes: &[u8]| Entry { bytes: bytes.to_vec(), executable: false };
    Tree::from([
        ("a/x".into(), file(b"x")),
        ("a.txt".into(), file(b"text")),
        ("a-b/\u{e4} \u{1f511}".into(), file(b"key")),
        ("empty".into(), file(b"")),
        ("model-1.safetensors".into(), file(&data)),
        ("model-2.safetensors".into(), file(&data[7..])),
    ])
}

/// A statement over files of this content, that breaks no rule.
fn statement(files: &[(&str, &[u8])]) -> Value {
    let digests: Vec<_> = files.iter().map(|(_, bytes)| Sha256::digest(bytes)).collect();
    let resource = |((name, _), digest): (&(&str, &[u8]), _)| json!({ "name": name, "algorithm": "sha256", "digest": hex::encode::<&[u8]>(digest) });
    let resources: Vec<_> = files.iter().zip(digests.iter().map(|digest| &digest[..])).map(resource).collect();
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "model", "digest": { "sha256": "" } }],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": resources,
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false },
        },
    });
    fix_root(&mut statement);
    statement
}

/// Makes the subject's digest that of the list again.
fn fix_root(statement: &mut Value) {
    let mut root = Sha256::new();
    for resource in statement["predicate"]["resources"].as_array().expect("a list") {
        root.update(hex::decode(resource["digest"].as_str().expect("text")).unwrap_or_default());
    }
    statement["subject"][0]["digest"]["sha256"] = json!(hex::encode(root.finalize()));
}

/// Asserts that it was refused so.
#[track_caller]
fn refused(output: Output, exit: i32, kind: &str, message: &str) {
    let error = output.exits(exit).error().expect("an error in JSON");
    assert_eq!((error.kind.as_str(), error.exit), (kind, i64::from(exit)), "{}", error.message);
    assert!(error.message.contains(message), "{:?} is not in {:?}", message, error.message);
}

#[test]
fn a_model_verifies_until_anything_changes() {
    let desk = Desk::new();
    let signed = desk.sign("model", "P-256", "model.sig").ok().json();
    assert_eq!((&signed["files"], &signed["signer"]["curve"]), (&json!(6), &json!("P-256")));
    let checked = desk.verify("model", "P-256", "model.sig", &[]).ok().json();
    assert_eq!(checked["root_digest"], signed["root_digest"]);

    let path = desk.0.path("model/model-2.safetensors");
    let before = fs::read(&path).expect("ours");
    let mut after = before.clone();
    *after.last_mut().expect("not empty") ^= 1;
    fs::write(&path, after).expect("ours");
    refused(desk.verify("model", "P-256", "model.sig", &[]), 3, "integrity", "model-2.safetensors: expected sha256");
    fs::write(&path, &before[1..]).expect("ours");
    refused(
        desk.verify("model", "P-256", "model.sig", &["--ignore-unsigned-files"]),
        3,
        "integrity",
        "expected sha256",
    );
    fs::remove_file(&path).expect("ours");
    refused(desk.verify("model", "P-256", "model.sig", &[]), 3, "integrity", "model-2.safetensors: is missing");
    refused(desk.verify("nothing", "P-256", "model.sig", &[]), 8, "not-found", "nothing does not exist");
    refused(desk.verify("model", "P-256", "no.sig", &[]), 8, "not-found", "no.sig does not exist");
}

#[test]
fn what_is_left_out_is_said_and_what_nobody_signed_is_refused() {
    let desk = Desk::new();
    for name in ["model/.gitattributes", "model/.github/ci.yml", "model/cache/a", "model/cache-2"] {
        desk.0.write(name, b"x");
    }
    let args = ["oms", "sign", "model", "--key", "P-256.key", "-o", "model/model.sig", "--ignore-path", "cache/"];
    let signed = desk.0.run(&args).ok().json();
    assert_eq!(signed["left_out"], json!([".gitattributes", ".github", "cache"]));
    let checked = desk.verify("model", "P-256", "model/model.sig", &[]).ok().json();
    assert_eq!(checked["left_out"], json!([".gitattributes", ".github", "cache"]));
    refused(desk.0.run(&args), 7, "conflict", "model/model.sig exists already");

    desk.0.write("model/more/evil.py", b"x");
    let verify = |more: &[&str]| desk.verify("model", "P-256", "model/model.sig", more);
    refused(verify(&[]), 3, "integrity", "more/evil.py: is not signed");
    verify(&["--ignore-path", "more"]).ok();
    verify(&["--ignore-unsigned-files"]).ok();
    refused(verify(&["--ignore-path", "mor"]), 3, "integrity", "is not signed");
    fs::remove_dir_all(desk.0.path("model/more")).expect("ours");

    // Nothing the signer says excuses what git would run.
    desk.0.write("model/.git/hooks/post-checkout", b"rm -rf /");
    refused(verify(&[]), 3, "integrity", ".git/hooks/post-checkout: is not signed");
    verify(&["--ignore-path", ".git"]).ok();
    for bad in ["*.py", "../x", "/etc", ""] {
        refused(verify(&["--ignore-path", bad]), 2, "usage", "invalid value");
    }
}

#[test]
fn links_are_followed_inside_only_and_only_if_the_signer_did() {
    use std::os::unix::fs::symlink;
    let desk = Desk::new();
    desk.sign("model", "P-256", "plain.sig").ok();
    fs::remove_file(desk.0.path("model/a.txt")).expect("ours");
    desk.0.write("outside", b"text");
    symlink("../outside", desk.0.path("model/a.txt")).expect("a link");
    let verify = |bundle: &str| desk.verify("model", "P-256", bundle, &[]);
    refused(verify("plain.sig"), 3, "integrity", "is a symbolic link");
    let sign = |bundle: &str, more: &[&str]| {
        desk.0.run(&[&["oms", "sign", "model", "--key", "P-256.key", "-o", bundle], more].concat())
    };
    refused(sign("x.sig", &[]), 2, "usage", "is a symbolic link");
    refused(sign("x.sig", &["--follow-symlinks"]), 2, "usage", "leads outside");
    fs::remove_file(desk.0.path("model/a.txt")).expect("ours");

    symlink("a/x", desk.0.path("model/a.txt")).expect("a link");
    sign("link.sig", &["--follow-symlinks"]).ok();
    verify("link.sig").ok();
    fs::remove_file(desk.0.path("model/a.txt")).expect("ours");
    desk.0.write("outside", b"x");
    symlink("../outside", desk.0.path("model/a.txt")).expect("a link");
    refused(verify("link.sig"), 3, "integrity", "leads outside");
    fs::remove_file(desk.0.path("model/a.txt")).expect("ours");
    symlink("..", desk.0.path("model/a/up")).expect("a link");
    refused(verify("link.sig"), 3, "integrity", "leads in a circle");
    fs::remove_file(desk.0.path("model/a/up")).expect("ours");
    for (target, message) in [("nowhere", "leads nowhere"), ("up", "leads in a circle")] {
        symlink(target, desk.0.path("model/a/up")).expect("a link");
        refused(verify("link.sig"), 3, "integrity", message);
        refused(sign("x.sig", &["--follow-symlinks"]), 2, "usage", message);
        fs::remove_file(desk.0.path("model/a/up")).expect("ours");
    }
    symlink("..", desk.0.path("model/a/up")).expect("a link");
    refused(sign("x.sig", &["--follow-symlinks"]), 2, "usage", "leads in a circle");
}

#[test]
fn a_single_file_is_signed_under_its_name() {
    let desk = Desk::new();
    desk.sign("model/a.txt", "P-384", "a.sig").ok();
    desk.verify("model/a.txt", "P-384", "a.sig", &[]).ok();
    refused(desk.verify("model/empty", "P-384", "a.sig", &[]), 3, "integrity", "a.txt: is missing");
}

#[test]
fn the_single_file_of_another_signer_verifies_whatever_it_is_called() {
    let desk = Desk::new();
    desk.forge("one.sig", statement(&[(".", b"text")]).to_string().as_bytes());
    desk.0.write("other/name.bin", b"text");
    for model in ["model/a.txt", "other/name.bin"] {
        let checked = desk.verify(model, "P-256", "one.sig", &[]).ok().json();
        assert_eq!(checked["files"], json!(1));
    }
    refused(desk.verify("model/a/x", "P-256", "one.sig", &[]), 3, "integrity", "expected sha256");
    refused(
        desk.verify("other", "P-256", "one.sig", &[]),
        3,
        "integrity",
        "is a folder, and what was signed is a file",
    );
    // Not even if the subject has a name that no file has here.
    let mut odd = statement(&[(".", b"text")]);
    odd["subject"][0]["name"] = json!("C:\\model");
    desk.forge("odd.sig", odd.to_string().as_bytes());
    desk.verify("other/name.bin", "P-256", "odd.sig", &[]).ok();
}

#[test]
fn what_git_would_run_is_refused_wherever_it_is() {
    let desk = Desk::new();
    desk.0.write("model/cache/a", b"x");
    let args = ["oms", "sign", "model", "--key", "P-256.key", "-o", "model.sig", "--ignore-path", "cache"];
    desk.0.run(&args).ok();
    let verify = |more: &[&str]| desk.verify("model", "P-256", "model.sig", more);
    verify(&[]).ok();
    for (file, git, shown) in [
        (".git/config", ".git", ".git/config"),
        (".GIT/hooks/x", ".GIT", ".GIT/hooks/x"),
        ("a/.git/hooks/x", "a/.git", "a/.git/hooks/x"),
        ("cache/.git/hooks/x", "cache/.git", "cache/.git"),
        ("cache/deep/.Git/x", "cache/deep/.Git", "cache/deep/.Git"),
        (".github/.git/x", ".github/.git", ".github/.git"),
    ] {
        desk.0.write(&format!("model/{file}"), b"x");
        for more in [&[][..], &["--ignore-unsigned-files"]] {
            refused(verify(more), 3, "integrity", &format!("{shown}: is not signed"));
        }
        verify(&["--ignore-path", git]).ok();
        let top = file.split('/').next().expect("a segment");
        verify(&["--ignore-path", top]).ok();
        fs::remove_dir_all(desk.0.path(format!("model/{git}"))).expect("ours");
    }
    verify(&[]).ok();
}

#[test]
fn what_cannot_be_written_is_not_signed_and_what_is_not_there_is_said() {
    let desk = Desk::new();
    // The key is not looked at, let alone a file.
    refused(desk.sign("model", "none", "nodir/x.sig"), 8, "not-found", "folder nodir does not exist");
    let mut sign = Command::new(vault_tests::mvault());
    sign.args(["oms", "sign", "model", "--key", "P-256.key", "-o", "x.sig", "--ignore-path", "a.txt"]);
    let said = Output::of(sign.args(["--ignore-path", "typo"]).current_dir(desk.0.root()), b"").ok().stderr;
    assert!(said.contains("warning: --ignore-path typo: there is no such file or folder"), "{said}");
    assert!(!said.contains("--ignore-path a.txt"), "{said}");
}
