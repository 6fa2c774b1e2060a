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
        let (key, out) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let new = ["req", "-x509", "-new", "-key", &key, "-subj", &subject, "-days", "3650", "-out", &out];
        let constraints = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
        self.openssl(&[&new[..], &constraints].concat());
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
