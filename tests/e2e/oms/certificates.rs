//! Which certificates are believed.

use crate::{Desk, refused};

pub(crate) const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
pub(crate) const SIGNER: &str =
    "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n";

impl Desk {
    /// `NAME.pem`, about the key `NAME.key`, by `ISSUER`.
    pub(crate) fn certify(&self, name: &str, issuer: &str, extensions: &str, days: &str) {
        let (key, request, out) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let (ca, ca_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        self.0.write("extensions", extensions.as_bytes());
        self.openssl(&["req", "-new", "-key", &key, "-subj", &format!("/CN={name}"), "-out", &request]);
        let by = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", days];
        self.openssl(&[&by[..], &["-extfile", "extensions", "-out", &out]].concat());
    }

    fn root(&self, name: &str) {
        self.root_with(name, AUTHORITY, "3650");
    }

    /// `NAME.pem`, about the key `NAME.key`, by itself.
    fn root_with(&self, name: &str, extensions: &str, days: &str) {
        let (key, request, out) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        self.0.write("extensions", extensions.as_bytes());
        self.openssl(&["req", "-new", "-key", &key, "-subj", &format!("/CN={name}"), "-out", &request]);
        let by = ["x509", "-req", "-in", &request, "-signkey", &key, "-days", days];
        self.openssl(&[&by[..], &["-extfile", "extensions", "-out", &out]].concat());
    }

    fn certified(&self, name: &str, chain: &[&str]) -> vault_tests::Output {
        let (key, cert, bundle) = (format!("{name}.key"), format!("{name}.pem"), format!("{name}.sig"));
        let mut args = vec!["oms", "sign", "model", "--key", &key, "--cert", &cert, "-o", &bundle];
        for file in chain {
            args.extend(["--chain", file]);
        }
        self.0.run(&args)
    }

    fn believes(&self, bundle: &str, more: &[&str]) -> vault_tests::Output {
        self.0.run(&[&["oms", "verify", "model", "--signature", bundle], more].concat())
    }
}

/// So many days from now.
fn in_days(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string()
}

/// `root` of RSA and `between`, two authorities, and `signer`, whom they vouch for.
pub(crate) fn authority(desk: &Desk) {
    desk.openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "root.key"]);
    desk.root("root");
    desk.key("between", "P-384");
    desk.certify("between", "root", AUTHORITY, "1000");
    desk.key("signer", "P-256");
    desk.certify("signer", "between", SIGNER, "365");
}

#[test]
fn a_path_must_lead_to_a_given_root() {
    let desk = Desk::new();
    authority(&desk);
    desk.certified("signer", &["between.pem"]).ok();
    desk.believes("signer.sig", &["--ca", "root.pem"]).ok();
    desk.key("other", "P-256");
    desk.root("other");
    desk.believes("signer.sig", &["--ca", "other.pem", "--ca", "root.pem"]).ok();
    refused(desk.believes("signer.sig", &["--ca", "other.pem"]), 4, "authenticity", "no valid path");
    refused(desk.believes("signer.sig", &["--ca", "between.pem"]), 2, "usage", "root authority");
    refused(desk.believes("signer.sig", &["--ca", "P-256.pub"]), 2, "usage", "a PUBLIC KEY where certificates");
    refused(desk.believes("signer.sig", &["--key", "signer.pub"]), 4, "authenticity", "made with a certificate");

    // Without the authority between them in the bundle, the verifier must have it.
    std::fs::remove_file(desk.0.path("signer.sig")).expect("ours");
    desk.certified("signer", &[]).ok();
    refused(desk.believes("signer.sig", &["--ca", "root.pem"]), 4, "authenticity", "no valid path");
    desk.believes("signer.sig", &["--ca", "root.pem", "--ca", "between.pem"]).ok();
}

#[test]
fn certificates_are_judged_now_or_at_a_given_time() {
    let desk = Desk::new();
    authority(&desk);
    desk.certified("signer", &["between.pem"]).ok();
    let at = |time: &str| desk.believes("signer.sig", &["--ca", "root.pem", "--at", time]);
    refused(at("2000-01-01T00:00:00Z"), 5, "stale", "it is not valid yet");
    refused(at("2200-01-01T00:00:00Z"), 5, "stale", "it has expired");
    refused(at("yesterday"), 2, "usage", "is not a time");
    desk.certify("P-256", "between", SIGNER, "-1");
    refused(desk.certified("P-256", &[]), 5, "stale", "it has expired");
}

#[test]
fn only_certificates_for_signing_sign() {
    let desk = Desk::new();
    authority(&desk);
    let cases = [
        ("no", "basicConstraints=CA:FALSE\n", "does not say that it may sign"),
        ("usage", "keyUsage=keyEncipherment\nextendedKeyUsage=codeSigning\n", "key usage is not digital signature"),
        ("tls", "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n", "extended key usage is not code signing"),
        ("ca", "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\n", "is that of an authority"),
    ];
    for (name, extensions, message) in cases {
        desk.key(name, "P-256");
        desk.certify(name, "between", extensions, "365");
        refused(desk.certified(name, &[]), 4, "authenticity", message);
    }
    desk.key("plain", "P-521");
    desk.certify("plain", "between", "keyUsage=digitalSignature\n", "365");
    desk.0.write("many.pem", &desk.0.read("between.pem").repeat(256));
    refused(desk.certified("plain", &["many.pem", "many.pem"]), 2, "usage", "at most 512 certificates");
    desk.certified("plain", &["between.pem"]).ok();
    desk.believes("plain.sig", &["--ca", "root.pem"]).ok();
    refused(
        desk.0.run(&["oms", "sign", "model", "--key", "P-256.key", "--cert", "plain.pem", "-o", "x"]),
        2,
        "usage",
        "not about this key",
    );
}

#[test]
fn only_authorities_vouch_for_others() {
    let desk = Desk::new();
    authority(&desk);
    for (name, extensions) in [
        ("leaf", "basicConstraints=CA:FALSE\nkeyUsage=keyCertSign\n"),
        ("uses", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign\n"),
        ("short", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nextendedKeyUsage=serverAuth\n"),
        ("named", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n1.2.3.4=critical,DER:0500\n"),
    ] {
        desk.key(name, "P-256");
        desk.certify(name, "root", extensions, "365");
        let (signer, chain) = (format!("by-{name}"), format!("{name}.pem"));
        desk.key(&signer, "P-256");
        desk.certify(&signer, name, SIGNER, "365");
        desk.certified(&signer, &[&chain]).ok();
        let error = desk.believes(&format!("{signer}.sig"), &["--ca", "root.pem"]).exits(4).error().expect("refused");
        assert_eq!(error.kind, "authenticity", "{name}");
    }
    // A path that is longer than the root allows.
    desk.key("narrow", "P-256");
    desk.certify("narrow", "root", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=keyCertSign\n", "365");
    desk.key("below", "P-256");
    desk.certify("below", "narrow", AUTHORITY, "365");
    desk.key("last", "P-256");
    desk.certify("last", "below", SIGNER, "365");
    desk.certified("last", &["below.pem", "narrow.pem"]).ok();
    refused(
        desk.believes("last.sig", &["--ca", "root.pem"]),
        4,
        "authenticity",
        "outside of what its issuer may issue",
    );
}

#[test]
fn what_a_root_says_about_itself_is_heeded() {
    let desk = Desk::new();
    authority(&desk);
    desk.certified("signer", &["between.pem"]).ok();
    let usable = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
    for (name, extensions, message) in [
        ("none", "basicConstraints=critical,CA:FALSE\n".to_owned(), "may not issue certificates"),
        ("crls", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign\n".into(), "may not issue certificates"),
        ("tls", format!("{usable}extendedKeyUsage=serverAuth\n"), "not an authority for code signing"),
        ("odd", format!("{usable}1.2.3.4=critical,DER:0500\n"), "critical extension that is not known"),
        ("code", format!("{usable}extendedKeyUsage=serverAuth,codeSigning\n"), ""),
        ("any", format!("{usable}extendedKeyUsage=critical,anyExtendedKeyUsage\n1.2.3.4=DER:0500\n"), ""),
    ] {
        desk.key(name, "P-256");
        desk.root_with(name, &extensions, "1000");
        let (signer, ca) = (format!("by-{name}"), format!("{name}.pem"));
        desk.key(&signer, "P-256");
        desk.certify(&signer, name, SIGNER, "365");
        desk.certified(&signer, &[]).ok();
        let bundle = format!("{signer}.sig");
        let (alone, among) = (desk.believes(&bundle, &["--ca", &ca]), &["--ca", "root.pem", "--ca", &ca]);
        if message.is_empty() {
            alone.ok();
            desk.believes(&bundle, among).ok();
        } else {
            refused(alone, 2, "usage", message);
            refused(desk.believes(&bundle, among), 4, "authenticity", "no valid path");
            desk.believes("signer.sig", among).ok();
        }
    }
}

#[test]
fn no_path_below_a_root_is_longer_than_it_allows() {
    let desk = Desk::new();
    authority(&desk);
    desk.key("short", "P-256");
    desk.root_with("short", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n", "1000");
    let between = desk.0.read("between.pem");
    desk.certify("between", "short", AUTHORITY, "1000");
    std::fs::rename(desk.0.path("between.pem"), desk.0.path("other.pem")).expect("ours");
    desk.0.write("between.pem", &between);
    desk.certified("signer", &["other.pem", "between.pem"]).ok();
    let message = "outside of what its issuer may issue";
    refused(desk.believes("signer.sig", &["--ca", "short.pem"]), 4, "authenticity", message);
    // There is another path, which is not too long.
    desk.believes("signer.sig", &["--ca", "short.pem", "--ca", "root.pem"]).ok();

    desk.certify("P-256", "short", SIGNER, "365");
    desk.certified("P-256", &[]).ok();
    desk.believes("P-256.sig", &["--ca", "short.pem"]).ok();
    // A root that certifies its next key is no authority between.
    std::fs::create_dir(desk.0.path("next")).expect("ours");
    desk.key("next/short", "P-256");
    desk.openssl(&["req", "-new", "-key", "next/short.key", "-subj", "/CN=short", "-out", "next/short.csr"]);
    desk.0.write("extensions", AUTHORITY.as_bytes());
    let by = ["x509", "-req", "-in", "next/short.csr", "-CA", "short.pem", "-CAkey", "short.key", "-CAcreateserial"];
    desk.openssl(&[&by[..], &["-days", "1000", "-extfile", "extensions", "-out", "next/short.pem"]].concat());
    desk.certify("P-384", "next/short", SIGNER, "365");
    desk.certified("P-384", &["next/short.pem"]).ok();
    desk.believes("P-384.sig", &["--ca", "short.pem"]).ok();
}

#[test]
fn only_what_somebody_believed_signed_is_called_stale() {
    let desk = Desk::new();
    authority(&desk);
    let (soon, late) = (in_days(500), in_days(1500));
    desk.certified("signer", &["between.pem"]).ok();
    let at = |bundle: &str, time: &str, cas: &[&str]| {
        let cas = cas.iter().flat_map(|ca| ["--ca", ca]).collect::<Vec<_>>();
        desk.believes(bundle, &[&cas[..], &["--at", time]].concat())
    };
    refused(at("signer.sig", &soon, &["root.pem"]), 5, "stale", "certificate of CN=signer is stale: it has expired");
    desk.certify("P-256", "between", SIGNER, "3000");
    desk.certified("P-256", &["between.pem"]).ok();
    refused(at("P-256.sig", &late, &["root.pem"]), 5, "stale", "certificate of CN=between is stale: it has expired");
    desk.key("old", "P-256");
    desk.root_with("old", AUTHORITY, "1000");
    desk.certify("P-384", "old", SIGNER, "3000");
    desk.certified("P-384", &[]).ok();
    at("P-384.sig", &soon, &["old.pem"]).ok();
    refused(at("P-384.sig", &late, &["old.pem"]), 5, "stale", "certificate of CN=old is stale: it has expired");

    // Nobody vouches for these, at whatever time.
    desk.key("evil", "P-256");
    desk.root("evil");
    desk.key("below", "P-256");
    desk.certify("below", "evil", AUTHORITY, "1000");
    for (name, issuer, days) in [("brief", "evil", "365"), ("long", "evil", "3000"), ("deep", "below", "3000")] {
        desk.key(name, "P-256");
        desk.certify(name, issuer, SIGNER, days);
        desk.certified(name, &["below.pem", "evil.pem"]).ok();
        let bundle = format!("{name}.sig");
        for cas in [&["root.pem"][..], &["root.pem", "old.pem"]] {
            refused(at(&bundle, &late, cas), 4, "authenticity", "no valid path");
        }
    }
    let mut bundle: serde_json::Value = serde_json::from_slice(&desk.0.read("signer.sig")).expect("JSON");
    let payload = bundle["dsseEnvelope"]["payload"].as_str().expect("text").replacen("ey", "fy", 1);
    bundle["dsseEnvelope"]["payload"] = serde_json::json!(payload);
    desk.0.write("forged.sig", bundle.to_string().as_bytes());
    refused(at("forged.sig", &soon, &["root.pem"]), 4, "authenticity", "the signature is wrong");
}
