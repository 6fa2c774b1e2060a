//! `mvault-server` on loopback, a raw client for it, and one in front of it that lies.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use super::{START, process};
use crate::{
    build::mvault_server,
    wire::{Asked, Message},
    workspace::Output,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection of a raw client.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A running registry. It ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    process: process::Process,
    folder: tempfile::TempDir,
    port: u16,
    variables: Vec<(String, String)>,
    /// Certificate and key (PEM) that are shown, if any.
    client: Option<(PathBuf, PathBuf)>,
    /// The key of the first administrator.
    pub admin: String,
}

impl Registry {
    /// Starts one over a new vault.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with these lines at the end of its configuration, where the limits are.
    pub fn with(limits: &str) -> Self {
        Self::over("vault", &[], limits)
    }

    /// The same, and it is asked on connections with this certificate and key (PEM).
    pub fn with_client(limits: &str, chain: &Path, key: &Path) -> Self {
        Self::make("vault", &[], limits, Some((chain.to_owned(), key.to_owned())))
    }

    /// Starts one over this vault, which is made, with these variables and limits.
    pub fn over(vault: &str, variables: &[(&str, &str)], limits: &str) -> Self {
        Self::make(vault, variables, limits, None)
    }

    /// Starts one over this vault in a bucket, which is made, with these limits.
    pub fn over_bucket(vault: &str, bucket: &crate::s3::Client, limits: &str) -> Self {
        let endpoint = format!("http://{}", bucket.address);
        let variables = [
            ("AWS_ACCESS_KEY_ID", bucket.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", bucket.secret_key.as_str()),
            ("AWS_REGION", bucket.region.as_str()),
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ];
        Self::over(vault, &variables, limits)
    }

    fn make(vault: &str, variables: &[(&str, &str)], limits: &str, client: Option<(PathBuf, PathBuf)>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = process::free_ports();
        let mut init = Command::new(mvault_server());
        init.args(["init", "--vault", vault, "--listen", &format!("127.0.0.1:{port}"), "--dir"]).arg(folder.path());
        init.envs(variables.iter().copied());
        let said = String::from_utf8(Output::of(&mut init, b"").ok().stdout).expect("UTF-8");
        let admin = said.lines().map(str::trim).find(|line| line.starts_with("mvk_")).expect("a key").to_owned();
        let config = folder.path().join("server.toml");
        let text = fs::read_to_string(&config).expect("a configuration");
        fs::write(&config, text + limits).expect("our own file");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::begin(folder, port, variables, client, admin)
    }

    /// Starts one with a configuration for a machine of its own: its absolute paths are below a new folder, its bucket is a folder
    /// there, its ports are free ones, and its keys are where it says.
    pub fn deployed(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = process::free_ports();
        let at = |path: &str| folder.path().join(path);
        let mut init = Command::new(mvault_server());
        init.arg("init").arg("--dir").arg(folder.path()).arg("--vault").arg(at("vault"));
        let said = String::from_utf8(Output::of(&mut init, b"").ok().stdout).expect("UTF-8");
        let admin = said.lines().map(str::trim).find(|line| line.starts_with("mvk_")).expect("a key").to_owned();
        for path in ["run/mvault/keys", "var/lib/mvault"] {
            fs::create_dir_all(at(path)).expect("a new folder");
        }
        for file in ["tls.crt", "tls.key", "server.key"] {
            fs::copy(at(file), at("run/mvault/keys").join(file)).expect("copied with its mode");
        }
        let here = format!("= \"{}/", folder.path().display());
        let text = config.replace("= \"/", &here).replace("s3://models/vault", &at("vault").display().to_string());
        let text = text.replace("0.0.0.0:8443", &format!("127.0.0.1:{port}")).replace("0.0.0.0:9464", "127.0.0.1:0");
        fs::write(at("server.toml"), text).expect("our own file");
        Self::begin(folder, port, Vec::new(), None, admin)
    }

    /// Asks for its metrics, or for anything else where they are.
    pub fn ask_metrics(&self, method: &str, target: &str) -> Message {
        let log = self.log();
        let address = log.split("metrics at http://").nth(1).and_then(|rest| rest.split('/').next()).expect("metrics");
        let mut message = Message { first: format!("{method} {target} HTTP/1.1"), ..Message::default() };
        message.set("host", address);
        crate::wire::exchange(address, &message, PATIENCE).expect("an answer")
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        let answer = self.ask_metrics("GET", "/metrics");
        assert_eq!(answer.status(), 200);
        answer.text()
    }

    /// Another instance over the same vault.
    #[must_use]
    pub fn beside(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = process::free_ports();
        for file in ["tls.crt", "tls.key", "server.key"] {
            fs::copy(self.folder().join(file), folder.path().join(file)).expect("copied with its mode");
        }
        let text = fs::read_to_string(self.folder().join("server.toml")).expect("a configuration");
        let here = format!("url = \"{}\"", self.folder().join("vault").display());
        let text = text.replace("url = \"vault\"", &here).replace(&format!(":{}", self.port), &format!(":{port}"));
        fs::write(folder.path().join("server.toml"), text).expect("our own file");
        Self::begin(folder, port, self.variables.clone(), self.client.clone(), self.admin.clone())
    }

    fn begin(
        folder: tempfile::TempDir,
        port: u16,
        variables: Vec<(String, String)>,
        client: Option<(PathBuf, PathBuf)>,
        admin: String,
    ) -> Self {
        let process = run(&folder.path().join("server.toml"), &variables);
        let mut registry = Self { process, folder, port, variables, client, admin };
        registry.wait();
        registry
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while start.elapsed() < START {
            if let Some(log) = self.process.ended() {
                panic!("mvault-server ended: {log}");
            }
            let hello = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            if self.try_exchange(hello, Asked::Other).is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("mvault-server is not ready");
    }

    /// Ends it and starts it again over the same vault.
    pub fn restart(&mut self) {
        self.stop();
        self.go_on();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.terminate();
        while self.process.ended().is_none() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again, after it was stopped.
    pub fn go_on(&mut self) {
        self.process = run(&self.folder.path().join("server.toml"), &self.variables);
        self.wait();
    }

    /// What clients call it.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/main", self.port)
    }

    /// The certificate to believe.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The folder with its configuration; `vault` in it is its vault.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All that it wrote down.
    pub fn log(&self) -> String {
        self.process.whole_log()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub fn connect(&self) -> io::Result<Connection> {
        let client = self.client.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()));
        connect_as(self.port, &self.certificate(), client)
    }

    /// A connection of its own, without a certificate.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub fn connect_as_nobody(&self) -> io::Result<Connection> {
        connect(self.port, &self.certificate())
    }

    /// Sends bytes as they are on a connection with this certificate and key (PEM), and reads the answer.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub fn exchange_as(&self, chain: &Path, key: &Path, request: &[u8]) -> io::Result<Message> {
        let connection = connect_as(self.port, &self.certificate(), Some((chain, key)))?;
        Self::over_connection(connection, request, Asked::Other)
    }

    fn try_exchange(&self, request: &[u8], asked: Asked) -> io::Result<Message> {
        Self::over_connection(self.connect()?, request, asked)
    }

    fn over_connection(mut connection: Connection, request: &[u8], asked: Asked) -> io::Result<Message> {
        connection.write_all(request)?;
        connection.flush()?;
        Message::read_answer(&mut BufReader::new(connection), asked)
    }

    /// Sends bytes as they are, and reads the answer.
    pub fn exchange(&self, request: &[u8]) -> Message {
        self.try_exchange(request, Asked::Other).expect("an answer")
    }

    /// Asks with a key.
    pub fn ask(&self, key: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let asked = if method == "HEAD" { Asked::Head } else { Asked::Other };
        self.try_exchange(&request(key, method, target, headers, body), asked).expect("an answer")
    }

    /// The same, where it may be that nobody answers.
    ///
    /// # Errors
    /// What the connection says.
    pub fn try_ask(
        &self,
        key: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Message> {
        self.try_exchange(&request(key, method, target, headers, body), Asked::Other)
    }

    /// Creates an object with a key.
    pub fn put(&self, key: &str, path: &str, bytes: &[u8]) -> Message {
        self.ask(key, "PUT", &format!("/v1/vaults/main/objects/{path}"), &[("if-none-match", "*")], bytes)
    }

    /// Reads an object with a key.
    pub fn get(&self, key: &str, path: &str) -> Message {
        self.ask(key, "GET", &format!("/v1/vaults/main/objects/{path}"), &[], b"")
    }

    /// Makes a key with these permissions.
    pub fn key(&self, name: &str, permissions: &[&str], models: &str, channels: &str) -> String {
        let permissions = permissions.join("\",\"");
        let body = format!(
            r#"{{"name":"{name}","grants":[{{"permissions":["{permissions}"],"models":"{models}","channels":"{channels}"}}]}}"#
        );
        let answer =
            self.ask(&self.admin, "POST", "/v1/keys", &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(answer.status(), 201, "{}", answer.text());
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        answer["key"].as_str().expect("a key").to_owned()
    }
}

fn run(config: &Path, variables: &[(String, String)]) -> process::Process {
    let arguments = vec!["--config".into(), config.display().to_string()];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    process::Process::start(mvault_server(), &variables, |_| arguments).expect("mvault-server starts")
}

/// A request as it is sent, on a connection that ends with it.
pub fn request(key: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut message = Message { first: format!("{method} {target} HTTP/1.1"), ..Message::default() };
    message.set("host", "localhost");
    message.set("connection", "close");
    if !key.is_empty() {
        message.set("authorization", &format!("Bearer {key}"));
    }
    if !matches!(method, "GET" | "HEAD") {
        message.set("content-length", &body.len().to_string());
    }
    for (name, value) in headers {
        message.set(name, value);
    }
    body.clone_into(&mut message.body);
    message.bytes()
}

fn connect(port: u16, certificate: &Path) -> io::Result<Connection> {
    connect_as(port, certificate, None)
}

fn connect_as(port: u16, certificate: &Path, client: Option<(&Path, &Path)>) -> io::Result<Connection> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_file_iter(chain).map_err(io::Error::other)?;
            let chain = chain.collect::<Result<_, _>>().map_err(io::Error::other)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
            config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, stream))
}

type Lie = dyn Fn(&Message, Message) -> Message + Send;

/// A server with the registry's certificate that answers as the registry does, except where it lies.
pub struct Liar {
    port: u16,
    lie: Arc<Mutex<Box<Lie>>>,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liar").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Liar {
    /// In front of a registry; it tells the truth yet.
    pub fn before(registry: &Registry) -> Self {
        let folder = registry.folder().to_owned();
        let chain = CertificateDer::pem_file_iter(folder.join("tls.crt")).expect("certificates");
        let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("TLS").with_no_client_auth().with_single_cert(chain, key).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let lie: Arc<Mutex<Box<Lie>>> = Arc::new(Mutex::new(Box::new(|_, answer| answer)));
        let (upstream, config, telling) = (registry.port, Arc::new(config), Arc::clone(&lie));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, telling, certificate) =
                    (Arc::clone(&config), Arc::clone(&telling), folder.join("tls.crt"));
                // A connection that breaks is the client's business.
                thread::spawn(move || serve(stream, config, upstream, &certificate, &telling));
            }
        });
        Self { port, lie }
    }

    /// Lies from now on.
    pub fn tell(&self, lie: impl Fn(&Message, Message) -> Message + Send + 'static) {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(lie);
    }

    /// What clients call it.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/main", self.port)
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    upstream: u16,
    certificate: &Path,
    lie: &Mutex<Box<Lie>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(session, stream));
    while let Some(mut request) = Message::read_request(&mut reader, || Ok(()))? {
        let asked = if request.method() == "HEAD" { Asked::Head } else { Asked::Other };
        request.set("connection", "close");
        let mut onward = connect(upstream, certificate)?;
        onward.write_all(&request.bytes())?;
        onward.flush()?;
        let mut answer = Message::read_answer(&mut BufReader::new(onward), asked)?;
        answer.set("connection", "keep-alive");
        let answer = lie.lock().unwrap_or_else(PoisonError::into_inner)(&request, answer);
        let stream = reader.get_mut();
        stream.write_all(&if asked == Asked::Head { answer.head() } else { answer.bytes() })?;
        stream.flush()?;
    }
    Ok(())
}

/// Reads until the other end has no more to say, which is what an answer that breaks off is.
pub fn drain(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = connection.read_to_end(&mut all);
    all
}
