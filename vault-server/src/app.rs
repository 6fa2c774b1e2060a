//! What every request shares, and the way of a request from its first header to its line in the log.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State as Shared,
    http::{HeaderValue, Method, Request, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use vault_core::{
    Error, Result,
    names::{ChannelName, VersionName},
    secret::fill_random,
    store::Store,
    trust::{Clock, Reached},
    vault::{Admission, Vault, moves},
};

use crate::{
    audit::{Audit, Event},
    chronicle::Chronicle,
    clients::Authorities,
    direct::Direct,
    evidence::{Evidence, Unknown},
    identity::{Means, Principal, issuer::Issuers},
    limits::{Gauges, Limits},
    listen,
    metrics::{self, Metrics},
    owners::Owners,
    people::People,
    policy::Rights,
    problem::{Failed, Problem, Reason},
    repeats::Repeats,
    rights::Missing,
    routes,
    state::{Author, State, States},
    traces::{self, Traced, Traces},
};

/// How long what was read counts as current.
const FRESH: Duration = Duration::from_secs(1);
/// The most characters of a path that are written down.
const MAX_TARGET: usize = 1200;

/// A server.
#[derive(Debug)]
pub struct App {
    /// What the vault is called in paths.
    pub name: String,
    /// Its objects.
    pub store: Store,
    /// What is known of content that does not pass here.
    pub direct: Direct,
    /// The registry's own records.
    pub states: States,
    /// What the registry adds to the vault's log.
    pub chronicle: Arc<Chronicle>,
    /// Which model artifacts belong to.
    pub owners: Owners,
    /// Who is behind pseudonyms.
    pub people: Arc<People>,
    /// What is let in.
    pub admissions: Admissions,
    /// What is allowed at a time.
    pub limits: Limits,
    /// What is counted.
    pub gauges: Arc<Gauges>,
    /// Where everything is written down.
    pub audit: Arc<dyn Audit>,
    /// When each key was used at this instance last.
    pub uses: Uses,
    /// Answers that may be asked for again.
    pub repeats: Repeats,
    /// Whether the vault was there a moment ago.
    pub readiness: routes::Readiness,
    /// Whose tokens are believed.
    pub issuers: Issuers,
    /// Whose client certificates are believed.
    pub clients: Option<Arc<Authorities>>,
    /// What is counted for others to see.
    pub metrics: Metrics,
    /// Where spans go, if anywhere.
    pub traces: Option<Arc<Traces>>,
    /// When the registry's own records were known to be current last.
    pub known: Mutex<Option<Instant>>,
}

/// When each key was used last, since this instance began. Nobody else is in it, so it is no longer than the list of keys.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<String, Timestamp>>);

impl Uses {
    fn note(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Timestamp::now());
    }

    /// When somebody asked last.
    pub fn last(&self, id: &str) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }
}

impl App {
    /// Does what blocks on a thread for that.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = Arc::clone(self);
        Ok(off(move || work(&app)).await?)
    }

    /// The registry's own records, as they are now. Without them nobody is served.
    ///
    /// # Errors
    /// A problem if they cannot be read, or are not as they were: to clients that is a failure of the registry.
    pub async fn state(self: &Arc<Self>) -> Result<Arc<State>, Problem> {
        let state = match self.states.fresh() {
            Some(state) => state,
            None => self.blocking(|app| app.states.current()).await.map_err(Problem::of_the_registry)?,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(state)
    }

    /// Reads the records and the trust root, unless they were read just now. Who asks wants to know how old what is known is, so a
    /// failure is no error.
    pub async fn look(self: &Arc<Self>) {
        let _ = self.state().await;
        let _ = self.blocking(|app| app.admissions.current()).await;
    }

    /// How long ago the registry's own records were current; none if never.
    pub fn state_age(&self) -> Option<Duration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).map(|read| read.elapsed())
    }

    /// What somebody may do who began a request a while ago.
    ///
    /// # Errors
    /// A problem if they are not known any more, or as [`App::state`].
    pub async fn again(self: &Arc<Self>, caller: &Caller) -> Result<Rights, Problem> {
        let (state, now) = (self.state().await?, Timestamp::now());
        let principal = &caller.principal;
        let counts =
            principal.means != Means::Key || state.keys().get(&principal.id).is_some_and(|key| key.counts(now));
        if !counts {
            return Err(Problem::unauthenticated());
        }
        Ok(state.rights(principal, caller.address, now)?)
    }
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// What `work` returns.
pub async fn off<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _span = traces::store_call();
    let ended = |error: tokio::task::JoinError| Error::storage("worker")(std::io::Error::other(error));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

/// What the trust root of the vault lets in, read again every second.
#[derive(Debug)]
pub struct Admissions {
    vault: Vault,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest root that was reached: what was seen once is not forgotten.
    root: Option<Reached>,
    current: Option<(Instant, Admission)>,
    read: Option<Instant>,
}

impl Admissions {
    /// Begins at a trust root that somebody named; without one, at the one that the vault shows.
    pub fn new(vault: Vault, pinned: Option<Reached>) -> Self {
        Self { vault, known: Mutex::new(Known { root: pinned, ..Known::default() }) }
    }

    /// What is let in now. Blocks.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the vault shows several trust roots; [`Error::Storage`].
    pub fn current(&self) -> Result<Admission> {
        let root = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, admission)) = known.current.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
                return Ok(admission.clone());
            }
            known.root.clone()
        };
        let root = root.map_or_else(|| self.vault.first_root(), |root| Ok(Some(root)))?;
        let admission = match &root {
            None => Admission::WellFormed,
            Some(root) => self.vault.admission(root, Clock::now())?,
        };
        let reached = match &admission {
            Admission::WellFormed => None,
            Admission::Rooted(rooted) => Some(rooted.reached().clone()),
            Admission::Expired(reached) => Some(Reached::clone(reached)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = |root: &Option<Reached>| root.as_ref().map_or(0, |root| root.root().version());
        let found = reached.or(root);
        if version(&found) < version(&known.root) {
            // Somebody else was faster and saw more.
            drop(known);
            return self.current();
        }
        known.root = found;
        (known.current, known.read) = (Some((Instant::now(), admission.clone())), Some(Instant::now()));
        Ok(admission)
    }

    /// The version, and the channel if there is one, that a promotion, a revocation, a proposal or a withdrawal of either is about; none
    /// for everything else. Blocks.
    ///
    /// # Errors
    /// As [`Admissions::current`], and [`Vault::withdrawn`] for a withdrawal that is not let in.
    pub fn about(&self, path: &str, bytes: &[u8]) -> Result<Option<(VersionName, Option<ChannelName>)>> {
        match moves(path, bytes) {
            Some(about) => Ok(Some(about)),
            None => self.vault.withdrawn(&self.current()?, path, bytes),
        }
    }

    /// How long ago the trust root was read; none if never.
    pub fn age(&self) -> Option<Duration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).read.map(|read| read.elapsed())
    }

    /// Reads again before the next object: the trust root may just have changed.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).current = None;
    }
}

/// All that the server answers.
pub fn router(app: Arc<App>) -> Router {
    let (everybody, known, _) = routes::all(&app);
    let all = everybody.merge(known.layer(middleware::from_fn_with_state(Arc::clone(&app), identify)));
    let all = all.fallback(routes::nowhere).method_not_allowed_fallback(routes::not_so);
    all.layer(middleware::from_fn_with_state(Arc::clone(&app), journey)).with_state(app)
}

/// Who asks, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who asks.
    pub principal: Principal,
    /// From where.
    pub address: IpAddr,
    /// What they may do in this request.
    pub rights: Rights,
}

impl Caller {
    /// As somebody who wants a change.
    pub fn author(&self) -> Author<'_> {
        Author::new(&self.principal, self.address)
    }
}

/// The id of a request.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The first and the last that happens to a request.
async fn journey(Shared(app): Shared<Arc<App>>, mut request: Request<Body>, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id();
    let address = listen::address(&request).map_or(IpAddr::from([0; 4]), |address| address.ip());
    let (method, target) = (request.method().clone(), shortened(request.uri().path()));
    let sent = length(request.headers());
    let asking = Asking::default();
    request.extensions_mut().insert(asking.clone());
    let mut under_way = UnderWay {
        app: Arc::clone(&app),
        request: id.clone(),
        address: address.to_string(),
        action: action(&method, &target),
        target: target.clone(),
        asking,
        start,
        done: is_probe(&target),
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = metrics::route(&request);
    let traced = Traced::begin(app.traces.as_ref().filter(|_| !is_probe(&target)), &request, &route, &id);
    let answer = async {
        match app.gauges.address(address) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let mut response = traced.run(answer, Response::status).await;
    app.metrics.answered(&route, metrics::method(&method), response.status(), start.elapsed());
    if response.extensions_mut().remove::<Failed>().is_some() {
        app.metrics.store_errors.inc();
    }
    under_way.done = true;
    let principal = response.extensions_mut().remove::<Principal>();
    let reason = response.extensions_mut().remove::<Reason>();
    if !is_probe(&target) {
        app.audit.record(&Event {
            request: &id,
            address: &address.to_string(),
            principal: principal.as_ref().map(|principal| principal.id.as_str()),
            action: action(&method, &target),
            target: &target,
            status: response.status().as_u16(),
            reason: reason.as_ref().map(|reason| reason.0.as_str()),
            bytes: if method == Method::PUT { sent } else { length(response.headers()) },
            millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Who asks, as soon as that is known.
#[derive(Debug, Clone, Default)]
struct Asking(Arc<OnceLock<String>>);

/// The status of a request whose sender left before the answer. Nobody sees it but in the log.
const LEFT: u16 = 499;

/// A request that has no answer yet. If it never has one, because whoever asked left, that is written down: what it asked for may
/// have been done all the same.
struct UnderWay {
    app: Arc<App>,
    request: String,
    address: String,
    action: &'static str,
    target: String,
    asking: Asking,
    start: Instant,
    done: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.app.audit.record(&Event {
            request: &self.request,
            address: &self.address,
            principal: self.asking.0.get().map(String::as_str),
            action: self.action,
            target: &self.target,
            status: LEFT,
            reason: Some("whoever asked left before the answer; it may have been done"),
            bytes: 0,
            millis: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}

/// Who asks. Everything behind this has a [`Caller`].
async fn identify(Shared(app): Shared<Arc<App>>, mut request: Request<Body>, next: Next) -> Response {
    let address = listen::address(&request).map_or(IpAddr::from([0; 4]), |address| address.ip());
    let principal = match Evidence::of(&request) {
        Ok(evidence) => evidence.principal(&app).await,
        Err(unknown) => Err(unknown),
    };
    let principal = match principal {
        Ok(principal) => principal,
        Err(Unknown::Stranger(problem)) => {
            app.metrics.strangers.inc();
            return app.gauges.stranger(address).map_or_else(Problem::into_response, |()| problem.into_response());
        }
        Err(Unknown::Failure(problem)) => return problem.into_response(),
    };
    if let Some(asking) = request.extensions().get::<Asking>() {
        let _ = asking.0.set(principal.id.clone());
    }
    let rights = match app.state().await {
        Ok(state) => state.rights(&principal, address, Timestamp::now()),
        Err(problem) => return problem.into_response(),
    };
    if principal.means == Means::Key {
        app.uses.note(&principal.id);
    }
    let admitted = app.gauges.principal(&principal.id).and_then(|()| Ok(rights?));
    let logged_in = match admitted {
        Ok(rights) => arrive(&app, &principal, request.uri().path()).await.map(|()| rights),
        Err(problem) => Err(problem),
    };
    let mut response = match logged_in {
        Ok(rights) => {
            request.extensions_mut().insert(Caller { principal: principal.clone(), address, rights });
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(missing) = response.extensions_mut().remove::<Missing>() {
        let who = principal.clone();
        if let Err(problem) = app.blocking(move |app| app.chronicle.refusal(&who, &missing)).await {
            response = problem.into_response();
        }
    }
    response.extensions_mut().insert(principal);
    response
}

/// Logs somebody who was away, or who asks who they are.
async fn arrive(app: &Arc<App>, principal: &Principal, path: &str) -> Result<(), Problem> {
    if path != "/v1/whoami" && !app.chronicle.is_away(principal) {
        return Ok(());
    }
    let who = principal.clone();
    app.blocking(move |app| app.chronicle.login(&who)).await
}

fn request_id() -> String {
    let mut random = [0; 8];
    // An id that is no id at all still leaves the time.
    let _ = fill_random(&mut random);
    format!("{:016x}", u64::from_be_bytes(random))
}

fn shortened(path: &str) -> String {
    path.chars().take(MAX_TARGET).collect()
}

fn length(headers: &axum::http::HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn is_probe(target: &str) -> bool {
    matches!(target, "/healthz" | "/readyz")
}

/// What a request wants to do, in a word.
fn action(method: &Method, target: &str) -> &'static str {
    let is_key = target.starts_with("/v1/keys");
    match *method {
        Method::GET | Method::POST if target.contains("/links/") => "link",
        Method::PUT => "create",
        Method::DELETE => "delete",
        Method::POST if is_key => "key",
        Method::GET if target.ends_with("/objects") => "list",
        Method::GET | Method::HEAD if target == "/v1/whoami" => "login",
        Method::GET | Method::HEAD => "read",
        _ => "other",
    }
}
