//! A signing key on a PKCS #11 token: `SoftHSM2`, which the system's packages have.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use vault_tests::{Output, Workspace, mvault, skip};

/// Where systems put it.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const PIN: &str = "5678";

/// A folder with a vault, recipient keys and a token `vault` that holds the Ed25519 key `release`, id 01.
struct Desk {
    desk: Workspace,
    module: &'static str,
}

impl Desk {
    fn new() -> Option<Self> {
        let module = MODULES.into_iter().find(|path| Path::new(path).exists());
        let tool = Command::new("pkcs11-tool").arg("--help").output().is_ok();
        let (Some(module), true) = (module, tool) else {
            skip("SoftHSM2 or pkcs11-tool is missing: install the packages softhsm2 and opensc");
            return None;
        };
        let desk = Self { desk: Workspace::new(), module };
        let tokens = desk.path("tokens");
        fs::create_dir(&tokens).expect("a new folder");
        let text = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        desk.desk.write("softhsm2.conf", text.as_bytes());
        desk.desk.write("pin", PIN.as_bytes());
        desk.desk.write("model/weights", b"weights");
        desk.token("vault");
        desk.generate("vault", "EC:edwards25519", "release", "01");
        Some(desk)
    }

    fn path(&self, name: &str) -> String {
        self.desk.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn tool(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(program);
        Output::of(command.args(args).env("SOFTHSM2_CONF", self.path("softhsm2.conf")), b"").ok();
    }

    fn token(&self, label: &str) {
        self.tool("softhsm2-util", &["--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN]);
    }

    fn generate(&self, token: &str, kind: &str, label: &str, id: &str) {
        let login = ["--module", self.module, "--token-label", token, "--login", "--pin", PIN];
        self.tool(
            "pkcs11-tool",
            &[&login[..], &["--keypairgen", "--key-type", kind, "--label", label, "--id", id]].concat(),
        );
    }

    fn uri(&self, path: &str) -> String {
        format!("pkcs11:{path}?module-path={}", self.module)
    }

    fn uri_with_pin(&self, path: &str, pin: &str) -> String {
        format!("{}&pin-source=file:{}", self.uri(path), self.path(pin))
    }

    fn command(&self, args: &[&str]) -> Command {
        // A new session has no terminal to ask for PINs.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(mvault()).arg("--json").args(args).current_dir(self.desk.root());
        command.env("MVAULT_VAULT", "vault").env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    fn seal(&self, name: &str, uri: &str) -> Output {
        self.run(&["seal", "model", name, "--to", "alice.pub", "--sign-with", uri, "--no-sync"])
    }

    #[track_caller]
    fn refused(&self, uri: &str, code: i32, words: &str) {
        let error = self.seal("m:9", uri).exits(code).error().expect("JSON");
        assert!(error.message.contains(words), "{uri}: {}", error.message);
        self.run(&["verify", "m:9", "--signer", "signer.pub"]).exits(8);
    }
}

#[test]
fn a_key_on_a_token_signs_and_its_exported_half_verifies() {
    let Some(desk) = Desk::new() else { return };
    let uri = desk.uri("token=vault;object=release");
    let exported = desk.run(&["key", "export", &uri, "-o", "release.pub"]).ok().json();
    let shown = desk.run(&["key", "show", &uri]).ok().json();
    assert_eq!((&shown["key_id"], shown["private"].as_bool()), (&exported["key_id"], Some(false)));

    let sealed = desk.seal("m:1", &desk.uri_with_pin("token=vault;id=%01", "pin")).ok().json();
    assert_eq!(sealed["signer"], exported["key_id"]);
    desk.run(&["verify", "m:1", "--signer", "release.pub"]).ok();
    let opened = desk.run(&["open", "m:1", "-", "--identity", "alice.key", "--signer", "release.pub"]).ok();
    assert_eq!(opened.stdout, b"weights");
    desk.run(&["verify", "m:1", "--signer", &uri]).ok();

    // The PIN may come as passphrases do.
    let share = ["share", "m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", &uri];
    desk.run(&[&share[..], &["--passphrase-file", "pin"]].concat()).ok();
    desk.run(&["open", "m:1", "opened", "--identity", "bob.key", "--signer", "release.pub"]).ok();
}

#[test]
fn whatever_keeps_a_key_from_signing_is_said_precisely_and_nothing_is_published() {
    let Some(desk) = Desk::new() else { return };
    desk.desk.write("wrong", b"9999");
    let release = "token=vault;object=release";
    desk.refused(&desk.uri_with_pin(release, "wrong"), 6, "token \"vault\": the PIN is wrong");
    desk.refused(&desk.uri_with_pin(release, "missing"), 8, "missing does not exist");
    desk.refused(&desk.uri(release), 2, "there is no terminal to ask for");
    desk.refused(&desk.uri_with_pin("token=other;object=release", "pin"), 8, "token \"other\" does not exist");
    desk.refused(&desk.uri_with_pin("token=vault;object=x", "pin"), 8, "key \"x\" on token \"vault\" does not exist");
    desk.refused(
        &desk.uri_with_pin("token=vault;id=%07", "pin"),
        8,
        "key with id 07 on token \"vault\" does not exist",
    );
    desk.refused("pkcs11:object=a?module-path=/nowhere/p11.so", 8, "PKCS #11 library /nowhere/p11.so does not exist");
    let not_a_library = desk.path("pin");
    desk.refused(&format!("pkcs11:object=a?module-path={not_a_library}"), 2, "is not a PKCS #11 library");
    desk.refused(&format!("{}&pin-value={PIN}", desk.uri(release)), 2, "a PIN does not belong on a command line");

    desk.generate("vault", "EC:prime256v1", "p256", "02");
    desk.generate("vault", "rsa:2048", "rsa", "03");
    for label in ["p256", "rsa"] {
        let key = format!("token=vault;object={label}");
        desk.refused(&desk.uri_with_pin(&key, "pin"), 2, "is not an Ed25519 key");
        desk.run(&["key", "show", &desk.uri(&key)]).exits(2);
    }
    desk.generate("vault", "EC:edwards25519", "release", "04");
    desk.refused(&desk.uri_with_pin(release, "pin"), 2, "2 keys are like key \"release\" on token \"vault\"");
    desk.seal("m:1", &desk.uri_with_pin("token=vault;object=release;id=%04", "pin")).ok();
    desk.token("vault");
    desk.refused(&desk.uri_with_pin(release, "pin"), 2, "2 tokens are like token \"vault\"");

    // A key on a token is not a file, and opens nothing.
    let uri = desk.uri(release);
    desk.run(&["open", "m:1", "opened", "--identity", &uri, "--insecure-skip-signature"]).exits(2);
    desk.run(&["key", "passwd", &uri, "--no-passphrase"]).exits(2);
}

#[test]
fn a_token_that_is_removed_while_sealing_ends_it_and_nothing_is_published() {
    let Some(desk) = Desk::new() else { return };
    let uri = desk.uri_with_pin("token=vault;object=release", "pin");
    let args = ["seal", "-", "m:1", "--to", "alice.pub", "--sign-with", &uri, "--no-sync"];
    let mut command = desk.command(&args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mvault runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&vec![7; 3 << 20]).expect("read, so the key was found before");
    // More than a pipe holds was taken: sealing has begun, and with it the login is over.
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_dir_all(desk.path("tokens")).expect("the token's folder");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("key \\\"release\\\" on token \\\"vault\\\""), "{error}");
    assert!(!desk.desk.path("vault/models").exists(), "nothing was published");
}
