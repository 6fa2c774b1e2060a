//! Issuers of tokens: the real `oidc-provider`, and one of our own whose keys and answers are what a test says.

use std::{
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{START, process, start};
use crate::{
    build::workspace,
    node::packages,
    python::skip,
    wire::{Message, exchange},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// npm's `oidc-provider`, which gives the client `trainer` tokens for any audience.
#[derive(Debug)]
pub struct Provider {
    address: String,
    _process: process::Process,
}

impl Provider {
    /// Starts one. `None`, said loudly, if it cannot be installed; in continuous integration that is a failure.
    pub fn start() -> Option<Self> {
        static FOLDER: OnceLock<Result<std::path::PathBuf, String>> = OnceLock::new();
        let from = || workspace().join("tests/e2e/registry/oidc");
        let folder = match FOLDER.get_or_init(|| packages("oidc", &from())) {
            Ok(folder) => folder,
            Err(why) => {
                skip(why);
                return None;
            }
        };
        Some(start("oidc-provider", || {
            let [port] = process::free_ports();
            let script = folder.join("provider.mjs").display().to_string();
            let prepare = |_: &Path| vec![script, port.to_string()];
            let mut process = process::Process::start(Path::new("node"), &[], prepare)?;
            let address = format!("127.0.0.1:{port}");
            let start = Instant::now();
            while exchange(&address, &message(&address, "GET", "/jwks", ""), PATIENCE).is_err() {
                if let Some(log) = process.ended() {
                    return Err(format!("it ended: {log}"));
                }
                if start.elapsed() > START {
                    return Err("it does not answer".into());
                }
                thread::sleep(Duration::from_millis(100));
            }
            Ok(Self { address, _process: process })
        }))
    }

    /// What it calls itself.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A new token for this audience, signed in this way.
    pub fn token(&self, audience: &str, algorithm: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id=trainer&client_secret=a+secret+of+the+tests&resource=urn:{audience}:{algorithm}"
        );
        let answer = exchange(&self.address, &message(&self.address, "POST", "/token", &form), PATIENCE);
        let answer = answer.expect("an answer");
        let said: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        said["access_token"].as_str().unwrap_or_else(|| panic!("no token: {said}")).to_owned()
    }

    /// Signs with new keys from now on; those before them are still shown.
    pub fn rotate(&self) {
        let answer = exchange(&self.address, &message(&self.address, "POST", "/rotate", ""), PATIENCE);
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}

fn message(address: &str, method: &str, path: &str, form: &str) -> Message {
    let mut message = Message { first: format!("{method} {path} HTTP/1.1"), ..Message::default() };
    message.set("host", address);
    message.set("connection", "close");
    if method == "POST" {
        message.set("content-type", "application/x-www-form-urlencoded");
        message.set("content-length", &form.len().to_string());
    }
    form.as_bytes().clone_into(&mut message.body);
    message
}

/// An issuer whose answers are what a test says, and which counts how often it is asked.
#[derive(Debug, Clone)]
pub struct Issuer {
    port: u16,
    /// Path and answer, head and all.
    answers: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// Starts one that describes itself and shows these keys.
    pub fn with(keys: &serde_json::Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let issuer = Self { port, answers: Arc::default(), asked: Arc::default() };
        let uri = format!("{}/keys", issuer.url());
        let description = serde_json::json!({ "issuer": issuer.url(), "jwks_uri": uri });
        issuer.say("/.well-known/openid-configuration", &ok(&description.to_string()));
        issuer.show(keys);
        let serving = issuer.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(stream));
            }
        });
        issuer
    }

    /// What it calls itself.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers so from now on.
    pub fn say(&self, path: &str, answer: &str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|(known, _)| known != path);
        answers.push((path.to_owned(), answer.to_owned()));
    }

    /// Shows these keys from now on.
    pub fn show(&self, keys: &serde_json::Value) {
        self.say("/keys", &ok(&serde_json::json!({ "keys": keys }).to_string()));
    }

    /// How often somebody asked for its keys.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Message::read_request(&mut reader, || Ok(()))? {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if request.target() == "/keys" {
                self.asked.fetch_add(1, Ordering::SeqCst);
            }
            let answer = answers.iter().find(|(path, _)| path == request.target()).map(|(_, answer)| answer.as_str());
            stream.write_all(answer.unwrap_or("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
        }
        Ok(())
    }
}

/// A good answer with this body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
