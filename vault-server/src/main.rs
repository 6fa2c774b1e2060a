//! `mvault-server`, the registry beside a vault.
#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown, reason = "comments on arguments are help texts, not documentation")]

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::{Parser, Subcommand};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use vault_core::{
    Error, Result,
    store::{Connection, Store},
    trust::{MAX_ROOT, Reached},
    vault::Vault,
};
use vault_server::{
    app::{Admissions, App, Uses, router},
    audit::{Audit, JsonLines},
    chronicle::Chronicle,
    clients::Authorities,
    config::Config,
    dev,
    direct::Direct,
    identity::issuer::Issuers,
    init,
    limits::Gauges,
    listen,
    metrics::{Metrics, listener},
    owners::Owners,
    people::People,
    policy::{self, Policies},
    publisher::Publisher,
    repeats::Repeats,
    routes::Readiness,
    state::States,
    tls::Certificate,
    traces::Traces,
};

/// How often the files of the certificate are looked at.
const RELOAD: Duration = Duration::from_secs(5);
/// How often people are forgotten who are to be.
const FORGETTING: Duration = Duration::from_hours(1);
/// Where the environment says that traces go (OpenTelemetry, "OTLP Exporter Configuration").
const COLLECTOR: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How the settings of object stores begin.
const PROVIDERS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// The registry beside a vault: identity, rights and a record of every action, in front of the same objects.
#[derive(Debug, Parser)]
#[command(name = "mvault-server", version, max_term_width = 120, args_conflicts_with_subcommands = true)]
struct Cli {
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Serve a vault in a folder, to try things out: on this machine only, with a certificate of its own
    #[arg(long)]
    dev: bool,
    /// The folder of --dev
    #[arg(long, value_name = "FOLDER", default_value = "mvault-dev", requires = "dev")]
    dir: PathBuf,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration, a TLS key and certificate, a key for the server's own records, and show the key of
    /// the first administrator, once
    Init {
        /// The folder for the files
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
        /// The vault: a folder, or s3://BUCKET/PREFIX; made if it is not there
        #[arg(long, value_name = "URL", default_value = "vault")]
        vault: String,
        /// A name or address that clients use; repeat for several
        #[arg(long, value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
        host: Vec<String>,
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
    },
    /// Check a file of policies (Cedar) against what the registry knows, and try it on cases
    Policy {
        /// The policies
        #[arg(value_name = "FILE", required_unless_present = "schema")]
        file: Option<PathBuf>,
        /// Cases and what is to come of them (JSON)
        #[arg(long, value_name = "FILE")]
        tests: Option<PathBuf>,
        /// Print the schema, which says what policies may speak of
        #[arg(long)]
        schema: bool,
    },
    /// Add an administrator's key without anybody's approval, if those who could approve are gone. The registry's own records say so
    Recover {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What the key is called, and the person behind it
        #[arg(value_name = "NAME")]
        name: String,
        /// Take away all policies, if they are what keeps administrators out
        #[arg(long)]
        reset_policies: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed the exit code has to do.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if let Some(Command::Init { dir, vault, host, listen }) = cli.command {
        let plan = init::Plan { folder: dir, vault, hosts: host, address: listen.to_string() };
        return show_admin(&Config::load(&init::write(&plan)?)?);
    }
    match cli.command {
        Some(Command::Policy { file, tests, schema }) => {
            return check_policies(file.as_deref(), tests.as_deref(), schema);
        }
        Some(Command::Recover { config, name, reset_policies }) => {
            let config = Config::load(&config)?;
            let store = store(&config)?;
            let (_, chronicle) = records(&config, &store)?;
            let states = states(&config, store, &chronicle)?;
            if reset_policies {
                states.reset_policies_by_operator()?;
            }
            let key = states.add_key_by_operator(&name, &init::everything()?)?;
            return say(&format!("the key of an administrator, shown this once:\n  {}", key.expose()));
        }
        _ => {}
    }
    let path = match cli.config {
        Some(path) => path,
        None => dev::prepare(&cli.dir)?,
    };
    let mut config = Config::load(&path)?;
    if let Some(address) = cli.listen {
        config.listen.address = address;
    }
    if cli.dev {
        if !config.listen.address.ip().is_loopback() {
            return Err(Error::Misuse("--dev serves this machine only".into()));
        }
        show_admin(&config)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Error::storage("async runtime"))?;
    let certificate = Certificate::load(&config.listen.certificate, &config.listen.key)?;
    let app = Arc::new(App { traces: traces(&config, runtime.handle())?, ..open(&config)? });
    let result = runtime.block_on(serve(&config, Arc::clone(&app), Arc::new(certificate), cli.dev));
    if let Some(traces) = &app.traces {
        traces.stop();
    }
    result
}

fn check_policies(file: Option<&Path>, tests: Option<&Path>, schema: bool) -> Result<()> {
    if schema {
        say(policy::SCHEMA)?;
    }
    let Some(file) = file else { return Ok(()) };
    let policies = Policies::parse(&read_text(file)?)?;
    let Some(tests) = tests else { return say("the policies are well formed") };
    let number = policy::check_cases(&policies, &read_text(tests)?)?;
    say(&format!("the policies are well formed, and {number} cases come out as they should"))
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_short(path)?).map_err(|_| Error::Misuse(format!("{}: is not UTF-8", path.display())))
}

fn store(config: &Config) -> Result<Store> {
    let settings = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| PROVIDERS.iter().any(|provider| name.starts_with(provider)))
        .collect();
    Store::create_url(&config.vault.url, &Connection { settings, ..Connection::default() })
}

/// Where traces go: as the configuration says, or else the environment.
fn traces(config: &Config, runtime: &Handle) -> Result<Option<Arc<Traces>>> {
    let endpoint = config.traces.as_ref().map(|traces| traces.endpoint.as_str());
    if endpoint.is_none() && COLLECTOR.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(None);
    }
    Traces::to(endpoint, runtime.clone()).map(|traces| Some(Arc::new(traces)))
}

fn states(config: &Config, store: Store, chronicle: &Arc<Chronicle>) -> Result<States> {
    let chronicle = Arc::clone(chronicle);
    let states = States::open(store, init::server_key(&config.server.key)?, Some(config.server.checkpoint.clone()))?;
    Ok(states.telling(move |path, bytes| chronicle.record(path, bytes, None, false)))
}

/// What the registry adds to the log, and under which pseudonyms.
fn records(config: &Config, store: &Store) -> Result<(Arc<People>, Arc<Chronicle>)> {
    let people = Arc::new(People::new(store.clone(), &*init::server_key(&config.server.key)?));
    let chronicle = Chronicle::new(store.clone(), Arc::clone(&people));
    Ok((people, Arc::new(chronicle.remembering(beside(&config.server.checkpoint, "log")))))
}

/// Makes vault and first key where there are none, and shows the key.
fn show_admin(config: &Config) -> Result<()> {
    let store = store(config)?;
    init::vault(&store)?;
    let (_, chronicle) = records(config, &store)?;
    if let Some(key) = init::first_admin(&states(config, store, &chronicle)?)? {
        say(&format!("the key of the first administrator, shown this once:\n  {}", key.expose()))?;
    }
    Ok(())
}

/// A file beside another, which its name says.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Error::storage("standard output"))
}

fn read_short(path: &Path) -> Result<Vec<u8>> {
    let failed = || Error::storage(path.display());
    if std::fs::metadata(path).map_err(failed())?.len() > 2 * MAX_ROOT {
        return Err(Error::Misuse(format!("{}: is too long", path.display())));
    }
    std::fs::read(path).map_err(failed())
}

fn open(config: &Config) -> Result<App> {
    let store = store(config)?;
    let vault = Vault::open(store.clone())?;
    let pinned = config.vault.trust_root.as_deref().map(|path| Reached::pin(&read_short(path)?)).transpose()?;
    let (people, chronicle) = records(config, &store)?;
    chronicle.begin()?;
    Ok(App {
        name: config.vault.name.clone(),
        states: states(config, store.clone(), &chronicle)?,
        chronicle,
        people,
        owners: Owners::new(store.clone()),
        direct: Direct::new(config.vault.direct),
        store,
        admissions: Admissions::new(vault, pinned),
        limits: config.limits,
        gauges: Arc::new(Gauges::new(&config.limits)),
        audit: Arc::new(JsonLines::new(std::io::stderr())),
        uses: Uses::default(),
        repeats: Repeats::default(),
        readiness: Readiness::default(),
        issuers: Issuers::new(&config.identity.issuers)?,
        clients: config.identity.certificates.as_ref().map(Authorities::load).transpose()?.map(Arc::new),
        metrics: Metrics::default(),
        traces: None,
        known: Mutex::default(),
    })
}

/// Whoever signs checkpoints of the log, if this instance does.
fn publisher(config: &Config) -> Result<Option<Publisher>> {
    let Some(key) = &config.log.key else { return Ok(None) };
    let memory = config.server.checkpoint.with_extension("published");
    Ok(Some(Publisher::new(init::server_key(key)?, memory)))
}

async fn serve(config: &Config, app: Arc<App>, certificate: Arc<Certificate>, dev: bool) -> Result<()> {
    let publisher = publisher(config)?;
    let address = config.listen.address;
    let listener = TcpListener::bind(address).await.map_err(Error::storage(address))?;
    let address = listener.local_addr().map_err(Error::storage(address))?;
    let url = format!("https://{address}/{}", config.vault.name);
    say(&format!("serving {url}"))?;
    if dev {
        let folder = config.listen.certificate.display();
        say(&format!("trust its certificate with:\n  export MVAULT_CA={folder}\n  mvault login {url}"))?;
    }
    if let Some(metrics) = &config.metrics {
        let listener = TcpListener::bind(metrics.address).await.map_err(Error::storage(metrics.address))?;
        let address = listener.local_addr().map_err(Error::storage(metrics.address))?;
        say(&format!("metrics at http://{address}/metrics"))?;
        tokio::spawn(listener::serve(listener, Arc::clone(&app), Arc::clone(&certificate)));
    }
    let (tls, gauges) = (Arc::new(certificate.config(app.clients.as_ref())?), Arc::clone(&app.gauges));
    let audit = Arc::clone(&app.audit);
    tokio::spawn(renew("the certificate", move || certificate.reload(), Arc::clone(&audit)));
    if let Some(clients) = app.clients.clone() {
        tokio::spawn(renew("the authority of client certificates", move || clients.reload(), Arc::clone(&audit)));
    }
    app.issuers.start(&audit);
    let first = Arc::clone(&app);
    // Whoever comes first should not have to wait for it.
    tokio::task::spawn_blocking(move || {
        let caught_up = match first.chronicle.catch_up() {
            Ok(0) => None,
            Ok(number) => Some(format!("{number} records had no entry in the log, and have one now")),
            Err(error) => Some(format!("records without an entry in the log were not looked for: {error}")),
        };
        if let Some(note) = caught_up {
            first.audit.note(&note);
        }
        if let Err(error) = first.owners.note_all() {
            first.audit.note(&format!("it is not known to which models all artifacts belong: {error}"));
        }
        first.direct.works(&first.store)
    });
    if let Some(days) = config.log.forget_people_after_days {
        tokio::spawn(forget(Arc::clone(&app.people), Duration::from_hours(24 * u64::from(days)), Arc::clone(&audit)));
    }
    if let Some(publisher) = publisher {
        let pause = Duration::from_secs(config.log.publish_seconds.get().into());
        tokio::spawn(publisher.run(Arc::clone(&app), pause, Arc::clone(&audit)));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::storage("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::storage("signals"))?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let watch = (audit, app.metrics.clone());
    listen::serve(listener, tls, router(app), config.limits, gauges, watch, stop).await;
    Ok(())
}

/// Forgets who is behind old pseudonyms, for ever.
async fn forget(people: Arc<People>, age: Duration, audit: Arc<dyn Audit>) {
    loop {
        let people = Arc::clone(&people);
        match tokio::task::spawn_blocking(move || people.forget(age)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(number)) => audit.note(&format!("{number} people were forgotten, as the configuration says")),
            Ok(Err(error)) => audit.note(&format!("people are not forgotten: {error}")),
        }
        tokio::time::sleep(FORGETTING).await;
    }
}

/// Looks for new certificates, for ever.
async fn renew(what: &str, reload: impl Fn() -> Result<bool> + Send + Sync + 'static, audit: Arc<dyn Audit>) {
    let (mut told, reload) = (None, Arc::new(reload));
    loop {
        tokio::time::sleep(RELOAD).await;
        let reload = Arc::clone(&reload);
        let result = tokio::task::spawn_blocking(move || reload()).await;
        let Ok(result) = result else { continue };
        match result {
            Ok(false) => {}
            Ok(true) => audit.note(&format!("{what} was read again")),
            // The same failure every few seconds is told once.
            Err(error) if told.as_ref() == Some(&error.to_string()) => {}
            Err(error) => {
                audit.note(&format!("{what} stays the old one: {error}"));
                told = Some(error.to_string());
            }
        }
    }
}
