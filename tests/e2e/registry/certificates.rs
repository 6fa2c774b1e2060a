//! Client certificates: workloads that are known by them, and certificates that nobody vouches for.

use std::{
    fs,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};
use vault_tests::{
    Workspace, make_private,
    servers::{Registry, drain, request},
    wire::{Asked, Message},
};

use crate::{Desk, refused};

/// An authority, and the folder for what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem, folder: tempfile::tempdir().expect("a folder") }
    }

    /// A certificate and its key, in files.
    fn sign(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "spiffe://org/admin");
        let san = |name: &&str| {
            let text = (*name).try_into().expect("ASCII");
            if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }
        };
        params.subject_alt_names = names.iter().map(san).collect();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (chain, private) =
            (self.folder.path().join(format!("{name}.crt")), self.folder.path().join(format!("{name}.key")));
        fs::write(&chain, certificate.pem()).expect("written");
        fs::write(&private, key.serialize_pem()).expect("written");
        make_private(&private);
        (chain, private)
    }

    /// A registry that believes it.
    fn registry(&self) -> Registry {
        Registry::with(&self.settings())
    }

    fn settings(&self) -> String {
        let ca = self.folder.path().join("ca.crt");
        fs::write(&ca, &self.pem).expect("written");
        format!("[identity.certificates]\nca = {:?}\n", ca.display().to_string())
    }
}

fn whoami(key: &str) -> Vec<u8> {
    request(key, "GET", "/v1/whoami", &[], b"")
}

/// The status with this certificate; 0 if there is no answer.
fn status(registry: &Registry, (chain, key): &(PathBuf, PathBuf), request: &[u8]) -> u16 {
    registry.exchange_as(chain, key, request).map_or(0, |answer| answer.status())
}

/// What is answered on a connection without a certificate.
fn nobody(registry: &Registry) -> Vec<u8> {
    let Ok(mut connection) = registry.connect_as_nobody() else { return Vec::new() };
    let _ = connection.write_all(&request("", "GET", "/healthz", &[], b"")).and_then(|()| connection.flush());
    drain(&mut connection)
}

#[test]
fn a_workload_is_known_by_its_certificate_and_a_header_counts_before_it() {
    let authority = Authority::new();
    let registry = authority.registry();
    let good = authority.sign("train", &["spiffe://org/ns/train", "train.example"], |_| ());
    let answer = registry.exchange_as(&good.0, &good.1, &whoami("")).expect("an answer");
    let who: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&who["id"], &who["means"]), (&json!("cert:spiffe://org/ns/train"), &json!("certificate")), "{who}");
    assert_eq!((&who["holder"], &who["groups"]), (&who["id"], &json!([])));
    let host = authority.sign("host", &["Train.example"], |_| ());
    let answer = registry.exchange_as(&host.0, &host.1, &whoami("")).expect("an answer");
    assert!(answer.text().contains("\"cert:train.example\""), "{}", answer.text());
    // Nothing is allowed by default.
    let read = request("", "GET", "/v1/vaults/main/objects/models/m/versions/1.dsse.json", &[], b"");
    assert_eq!(status(&registry, &good, &read), 403);

    // A key in the header counts, and a bad one is not made good by the certificate.
    let admin = registry.exchange_as(&good.0, &good.1, &whoami(&registry.admin)).expect("an answer");
    assert!(admin.text().contains("first administrator"), "{}", admin.text());
    for bad in ["mvk_0123456789abcdef_x", "a.b.c", "x"] {
        assert_eq!(status(&registry, &good, &whoami(bad)), 401, "{bad}");
    }
    for header in ["", "Basic x", "Bearer", "Bearer "] {
        let asked = request("", "GET", "/v1/whoami", &[("authorization", header)], b"");
        assert_eq!(status(&registry, &good, &asked), 401, "{header}");
    }
    // Others need none.
    assert_eq!(registry.ask(&registry.admin, "GET", "/v1/whoami", &[], b"").status(), 200);
    assert_eq!(registry.ask("", "GET", "/v1/whoami", &[], b"").status(), 401);
}

#[test]
fn certificates_that_are_foreign_expired_or_say_no_name_get_nobody_in() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let registry = authority.registry();
    let names = ["spiffe://org/ns/train"];
    let health = request("", "GET", "/healthz", &[], b"");
    assert_eq!(status(&registry, &authority.sign("good", &names, |_| ()), &health), 200);
    for (what, bad) in [
        ("foreign", foreign.sign("foreign", &names, |_| ())),
        ("expired", authority.sign("old", &names, |params| params.not_after = date_time_ymd(2020, 1, 1))),
        ("of the future", authority.sign("new", &names, |params| params.not_before = date_time_ymd(2100, 1, 1))),
        (
            "for servers",
            authority.sign("server", &names, |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "an authority's own",
            authority.sign("ca", &names, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
    ] {
        assert_eq!(status(&registry, &bad, &health), 0, "{what}: the handshake fails");
    }
    // These are vouched for, and name nobody, or several.
    for (name, names) in
        [("cn", &[][..]), ("two", &["spiffe://org/a", "spiffe://org/b"]), ("hosts", &["a.example", "b.example"])]
    {
        assert_eq!(status(&registry, &authority.sign(name, names, |_| ()), &whoami("")), 401, "{name}");
    }
}

#[test]
fn an_authority_that_is_replaced_counts_no_more_also_on_open_connections() {
    let (authority, next) = (Authority::new(), Authority::new());
    let names = ["spiffe://org/ns/train"];
    let (old, new) = (authority.sign("old", &names, |_| ()), next.sign("new", &names, |_| ()));
    let settings = format!("{}required = true\n", authority.settings());
    let registry = Registry::with_client(&settings, &old.0, &old.1);
    // A connection that stays open, and its first answer.
    let mut open = registry.connect().expect("connected");
    let hello = b"GET /v1/whoami HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut ask = || {
        open.write_all(hello).and_then(|()| open.flush()).expect("sent");
        Message::read_answer(&mut BufReader::new(&mut open), Asked::Other).expect("an answer").status()
    };
    assert_eq!(ask(), 200);
    assert_eq!((status(&registry, &old, &whoami("")), status(&registry, &new, &whoami(""))), (200, 0));
    assert!(nobody(&registry).is_empty(), "without a certificate there is no answer");
    fs::write(authority.folder.path().join("ca.crt"), &next.pem).expect("replaced");
    let start = Instant::now();
    while status(&registry, &new, &whoami("")) != 200 {
        assert!(start.elapsed() < Duration::from_secs(30), "the new authority is not believed");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(status(&registry, &old, &whoami("")), 0);
    assert_eq!(ask(), 401, "who was let in is asked again");
}

#[test]
fn the_client_shows_a_certificate_and_needs_no_key() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let registry = authority.registry();
    let desk = Desk::new(Workspace::empty(), &registry);
    let names = ["spiffe://org/ns/train"];
    let run = |(chain, key): &(PathBuf, PathBuf)| {
        let mut command = desk.command(&["whoami"]);
        command.env_remove("MVAULT_TOKEN_FILE").env("MVAULT_CLIENT_CERT", chain).env("MVAULT_CLIENT_KEY", key);
        vault_tests::Output::of(&mut command, b"")
    };
    let good = authority.sign("train", &names, |_| ());
    assert_eq!(run(&good).ok().json()["id"], "cert:spiffe://org/ns/train");
    // Not the key that somebody stored, but the one that is named.
    desk.run(&["login", &registry.url()]).ok();
    assert_eq!(run(&good).ok().json()["id"], "cert:spiffe://org/ns/train");
    let (chain, key) = (good.0.display().to_string(), good.1.display().to_string());
    let both = ["whoami", "--client-cert", &chain, "--client-key", &key];
    assert_eq!(desk.run(&both).ok().json()["name"], "first administrator");

    let said = refused(run(&foreign.sign("foreign", &names, |_| ())), 9, "denied");
    assert!(said.contains("does not accept the client certificate"), "{said}");
    let other = authority.sign("other", &names, |_| ());
    refused(run(&(good.0.clone(), other.1)), 2, "usage");
    desk.run(&["whoami", "--client-cert", &chain]).exits(2);
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("mode");
    };
    open(&good.1);
    refused(run(&good), 2, "usage");
}
