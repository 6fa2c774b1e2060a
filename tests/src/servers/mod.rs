//! Servers of the S3 protocol on loopback, each started with no manual step and ended with the test.

mod issuers;
mod moto;
mod process;
mod rclone;
mod registry;
mod seaweed;

use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

pub use issuers::{Issuer, Provider, ok};
pub use moto::Moto;
pub use rclone::Rclone;
pub use registry::{Connection, Liar, Registry, drain, request};
pub use seaweed::Seaweed;

use crate::{
    build::workspace,
    python::{environment, skip},
    s3::Client,
};

/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(30);
/// How often a server is started again, on other ports: between finding a port free and taking it, somebody else may.
const ATTEMPTS: usize = 3;

/// A program of the environment with the servers, installed on the first call. `None`, said loudly, if it cannot be; in
/// continuous integration that is a failure.
fn program(name: &str) -> Option<PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let requirements = || workspace().join("tests/e2e/s3/requirements.txt");
    match PYTHON.get_or_init(|| environment("s3venv", &requirements())) {
        Ok(python) => Some(python.with_file_name(name)),
        Err(why) => {
            skip(why);
            None
        }
    }
}

/// Asks until the answer is as it should be; says what was last answered if it never is.
fn until_ready(process: &mut process::Process, client: &Client, path: &str, ready: &[u16]) -> Result<(), String> {
    let start = Instant::now();
    let mut last = "nothing".to_owned();
    while start.elapsed() < START {
        if let Some(log) = process.ended() {
            return Err(format!("it ended: {log}"));
        }
        let request = client.signed("s3", "GET", path, &[], &[], b"");
        match crate::wire::exchange(&client.address, &request, Duration::from_secs(5)) {
            Ok(answer) if ready.contains(&answer.status()) => return Ok(()),
            Ok(answer) => last = format!("{} {}", answer.first, answer.text()),
            Err(error) => last = error.to_string(),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("it is not ready after {} s: {last}", START.as_secs()))
}

/// Starts a server, again on other ports if it does not come up.
fn start<T>(name: &str, attempt: impl Fn() -> Result<T, String>) -> T {
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(server) => return server,
            Err(failure) => failures.push(failure),
        }
    }
    panic!("{name} does not start: {failures:?}")
}
