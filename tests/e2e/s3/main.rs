//! Vaults in buckets: real servers of the S3 protocol, and a proxy that fails on purpose.
#![forbid(unsafe_code)]

mod collecting;
mod conformance;
mod copies;
mod doctor;
mod faults;
mod frozen;
mod going_on;
mod kills;
mod races;
mod reusing;
mod servers;
mod tls;
mod vaults;

use std::{
    panic,
    process::Command,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use vault_tests::{Output, Workspace, mvault, proxy::Proxy, s3::Client, servers::Seaweed, tree};

/// A folder with keys, and a vault below a prefix of a new bucket.
struct Desk {
    work: Workspace,
    client: Client,
    bucket: String,
    variables: Vec<(String, String)>,
}

/// Below which the vaults are.
const PREFIX: &str = "some/models";

impl Desk {
    /// Keys as in [`Workspace::new`], and an empty vault.
    fn new(client: &Client) -> Self {
        let desk = Self::on(Workspace::new(), client);
        desk.client.make_bucket(&desk.bucket);
        desk.run(&["init"]).ok();
        desk
    }

    /// A folder and a bucket of a name of its own, which is not made.
    fn on(work: Workspace, client: &Client) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("vault-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let variables = variables(client, &format!("s3://{bucket}/{PREFIX}"));
        Self { work, client: client.clone(), bucket, variables }
    }

    /// The same vault by another way.
    fn by(&mut self, client: &Client) {
        self.variables = variables(client, &self.url(PREFIX));
    }

    /// The URL of a vault below another prefix of the same bucket.
    fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.bucket)
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_with(&self.variables, args)
    }

    /// The same by way of a proxy.
    fn command_by(&self, proxy: &Proxy, args: &[&str]) -> Command {
        self.command_with(&variables(&proxy.client(&self.client), &self.url(PREFIX)), args)
    }

    fn command_with(&self, variables: &[(String, String)], args: &[&str]) -> Command {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.work.command(&variables, args)
    }

    /// `mvault --json …` on the vault.
    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    fn seal(&self, input: &str, version: &str) -> Output {
        self.seal_with(input, version, &[])
    }

    /// The same with more options.
    fn seal_with(&self, input: &str, version: &str, more: &[&str]) -> Output {
        self.run(&[&["seal", input, version, "--to", "alice.pub", "--sign-with", "signer.key"], more].concat())
    }

    fn open(&self, version: &str, to: &str) -> Output {
        self.open_with(version, to, &[])
    }

    /// The same with more options.
    fn open_with(&self, version: &str, to: &str, more: &[&str]) -> Output {
        self.run(&[&["open", version, to, "--identity", "alice.key", "--signer", "signer.pub"], more].concat())
    }

    /// Asserts that a version opens to exactly what is in a folder.
    #[track_caller]
    fn opens_to(&self, version: &str, folder: &str) {
        let out = format!("opened-{}", version.replace([':', '/'], "-"));
        self.open(version, &out).ok();
        assert!(tree(&self.work.path(&out)) == tree(&self.work.path(folder)), "{version} is not {folder}");
        std::fs::remove_dir_all(self.work.path(&out)).expect("a folder of ours");
    }

    /// Asserts that nothing in a vault is damaged. What interrupted writers left may be there.
    #[track_caller]
    fn is_sound(&self, vault: &str) {
        let report = self.run(&["fsck", "--vault", vault]).ok().json();
        assert_eq!((&report["damage"], &report["foreign"]), (&json!([]), &json!([])), "{vault}");
    }

    fn verify(&self, version: &str) -> Output {
        self.run(&["verify", version, "--signer", "signer.pub"])
    }

    /// Paths of the vault's objects that begin so, looked up past any proxy.
    fn paths(&self, prefix: &str) -> Vec<String> {
        let keys = self.client.keys(&self.bucket, &format!("{PREFIX}/{prefix}"));
        keys.into_iter().map(|key| key[PREFIX.len() + 1..].to_owned()).collect()
    }
}

fn variables(client: &Client, url: &str) -> Vec<(String, String)> {
    let pairs = [
        ("MVAULT_VAULT", url.to_owned()),
        ("AWS_ACCESS_KEY_ID", client.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", client.secret_key.clone()),
        ("AWS_REGION", client.region.clone()),
        ("AWS_ENDPOINT_URL", format!("http://{}", client.address)),
        // Nothing of the machine's own.
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ("XDG_STATE_HOME", "state-home".to_owned()),
        ("AWS_SESSION_TOKEN", String::new()),
        ("AWS_PROFILE", String::new()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// A vault that is reached by way of a proxy.
fn proxied() -> Option<(Desk, Proxy)> {
    let client = Seaweed::shared()?.client();
    let mut desk = Desk::new(client);
    let proxy = Proxy::before(&client.address);
    desk.by(&proxy.client(client));
    Some((desk, proxy))
}

/// Waits until something is so; fails if it never is.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a test that must end in time, building and installing what it needs aside. One that does not fails; what it left behind ends with the process.
#[track_caller]
fn within(seconds: u64, test: impl FnOnce() + Send + 'static) {
    mvault();
    if Seaweed::shared().is_none() {
        return;
    }
    let (done, ended) = mpsc::channel();
    let body = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match ended.recv_timeout(Duration::from_secs(seconds)) {
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            body.join().unwrap_or_else(|why| panic::resume_unwind(why));
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done after {seconds} s"),
    }
}

/// Asserts that a command was refused so, and gives what it said.
#[track_caller]
fn refused(output: Output, exit: i32, kind: &str) -> String {
    let error = output.exits(exit).error().expect("an error in JSON");
    assert_eq!((error.kind.as_str(), error.exit), (kind, i64::from(exit)), "{}", error.message);
    error.message
}
