//! A process that cannot outlive the test, however the test ends.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// Waits for the end of standard input, which comes when the test drops its end or dies, even by SIGKILL; then ends the
/// server and removes its folder. `$1` is the folder, the rest is the server.
const WATCHDOG: &str = r#"
folder=$1; shift
( "$@" >"$folder/log" 2>&1 </dev/null & echo $! >"$folder/pid"; wait; : >"$folder/ended" ) &
read -r nothing
while [ ! -s "$folder/pid" ]; do sleep 0.1; done
kill -KILL "$(cat "$folder/pid")" 2>/dev/null
wait
rm -rf "$folder"
"#;

/// How long the watchdog may take to clean up before it is ended itself.
const GRACE: Duration = Duration::from_secs(5);

/// Ports are looked for from here, below those that the system gives to outgoing connections.
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 12_000;

/// A server in a folder of its own.
#[derive(Debug)]
pub(super) struct Process {
    watchdog: Child,
    folder: PathBuf,
}

impl Process {
    /// Starts a program; `prepare` gives its arguments, knowing the folder.
    pub(super) fn start(
        program: &Path,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&Path) -> Vec<String>,
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("server-").tempdir().map_err(|e| e.to_string())?.keep();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "sh"]).arg(&folder).arg(program).args(prepare(&folder));
        command.envs(variables.iter().copied()).current_dir(&folder).process_group(0);
        // What the test inherited must not leak into a server: its proxies, its own credentials.
        for name in ["http_proxy", "HTTP_PROXY", "AWS_PROFILE", "AWS_SESSION_TOKEN"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = command.spawn().map_err(|error| format!("sh: {error}"))?;
        Ok(Self { watchdog, folder })
    }

    /// What the server last said, if it has ended.
    pub(super) fn ended(&mut self) -> Option<String> {
        let ended = self.folder.join("ended").exists() || !matches!(self.watchdog.try_wait(), Ok(None));
        ended.then(|| self.log())
    }

    /// The end of what the server said.
    fn log(&self) -> String {
        let log = self.whole_log();
        let from = log.len().saturating_sub(2000);
        log.get(from..).unwrap_or(&log).to_owned()
    }

    /// All that the server said.
    pub(super) fn whole_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Asks the server to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it in the middle of whatever it does.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.folder.join("pid")).ok().and_then(|text| text.trim().parse().ok());
        let pid = pid.and_then(Pid::from_raw).expect("the server runs");
        rustix::process::kill_process(pid, signal).expect("the server runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let start = Instant::now();
        while start.elapsed() < GRACE && matches!(self.watchdog.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Where this fails everybody has ended, which is all that is wanted.
        let _ = kill_process_group(Pid::from_child(&self.watchdog), Signal::KILL);
        let _ = self.watchdog.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// So many ports that nobody listens on.
pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that start at the same time begin elsewhere.
    let start = std::process::id().wrapping_mul(7919);
    let mut listeners = Vec::new();
    for _ in 0..PORTS {
        if listeners.len() == N {
            break;
        }
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST_PORT;
        let port = u16::try_from(number).expect("below 32000");
        // Kept until all are found.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            listeners.push((port, listener));
        }
    }
    let ports: Vec<u16> = listeners.iter().map(|(port, _)| *port).collect();
    ports.try_into().expect("a machine with free ports")
}

/// A flag as programs written in Go take it.
pub(super) fn flag(name: &str, value: impl AsRef<OsStr>) -> String {
    format!("-{name}={}", value.as_ref().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use rustix::process::test_kill_process;

    use super::*;

    fn server(folder: &Path) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()?)
    }

    fn wait_until(what: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if what() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    #[test]
    fn a_server_ends_with_its_owner_even_one_that_panics() {
        let panicked = std::panic::catch_unwind(|| {
            let process = Process::start(Path::new("sleep"), &[], |_| vec!["3600".into()]).expect("started");
            assert!(wait_until(|| server(&process.folder).is_some()));
            let pid = server(&process.folder).expect("it runs");
            test_kill_process(pid).expect("it runs");
            std::panic::panic_any((pid, process.folder.clone()));
        });
        let panicked = panicked.expect_err("it panicked").downcast::<(Pid, PathBuf)>().expect("what was thrown");
        assert!(wait_until(|| test_kill_process(panicked.0).is_err()) && !panicked.1.exists());
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed_with_its_last_words() {
        let mut process = Process::start(Path::new("sh"), &[], |_| vec!["-c".into(), "echo no port; exit 1".into()])
            .expect("started");
        let mut said = None;
        let start = Instant::now();
        while said.is_none() && start.elapsed() < Duration::from_secs(10) {
            said = process.ended();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(said.as_deref(), Some("no port\n"));
    }

    #[test]
    fn free_ports_differ() {
        let (first, second) = (free_ports::<4>(), free_ports::<4>());
        assert!(first.iter().all(|port| !second.contains(port)));
    }
}
