//! Trying again: which failures pass, how long to wait, when to give up.

use std::{
    error::Error as _,
    io,
    time::{Duration, Instant},
};

use object_store::client::{HttpError, HttpErrorKind};

use super::throttle::Waited;
use crate::{
    error::{Error, Result},
    store::{aws::CA_BUNDLE, registry::Refused},
};

/// The wait after the first failure; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A transfer slower than this has stalled, in bytes a second.
const SLOWEST: u64 = 64 << 10;
/// What any request may take besides its bytes.
const ALLOWANCE: Duration = Duration::from_mins(1);

/// How rustls begins to say that a certificate is not believed.
const UNBELIEVED: &str = "invalid peer certificate";

/// One operation on one object, tried until it succeeds, fails for good, or its time is up.
///
/// The client repeats nothing by itself: so it is known here whether an earlier attempt may have been carried out.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    path: &'a str,
    patience: Duration,
    /// Since when nothing moved: the first failure.
    start: Option<Instant>,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(path: &'a str, patience: Duration) -> Self {
        Self { path, patience, start: None, failures: 0 }
    }

    /// One whose patience begins now and not with the first failure.
    pub(super) fn from_now(path: &'a str, patience: Duration) -> Self {
        Self { start: Some(Instant::now()), ..Self::new(path, patience) }
    }

    /// Whether there was an attempt whose outcome is unknown.
    pub(super) fn is_repeated(&self) -> bool {
        self.failures > 0
    }

    /// Waits for one request that moves `bytes`, and tries it again if that may help.
    pub(super) async fn run<T, F: Future<Output = object_store::Result<T>>>(
        &mut self,
        bytes: u64,
        request: impl FnMut() -> F,
    ) -> object_store::Result<T, Failed> {
        let mut request = request;
        self.run_paced(bytes, |_| request()).await
    }

    /// As [`Self::run`], for a request that waits for its turns and says how long. That is nobody's fault, and neither makes
    /// the server late nor takes patience.
    pub(super) async fn run_paced<T, F: Future<Output = object_store::Result<T>>>(
        &mut self,
        bytes: u64,
        mut request: impl FnMut(Waited) -> F,
    ) -> object_store::Result<T, Failed> {
        loop {
            let waited = Waited::default();
            let limit = ALLOWANCE + Duration::from_secs(bytes / SLOWEST);
            let failure = match in_time(limit, &waited, request(waited.clone())).await {
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) if is_transient(&error) => io::Error::other(error),
                Some(Err(error)) => return Err(Failed::Answer(error)),
                None => io::Error::new(io::ErrorKind::TimedOut, "the server took too long to answer"),
            };
            if let Some(start) = &mut self.start {
                *start = start.checked_add(waited.so_far()).unwrap_or(*start);
            }
            self.wait(failure).await.map_err(Failed::GaveUp)?;
        }
    }

    /// Waits after an answer that may be better next time.
    ///
    /// # Errors
    /// [`Error::Storage`] if it will not, or the time is up.
    pub(super) async fn again(&mut self, error: object_store::Error) -> Result<()> {
        if is_transient(&error) {
            return self.wait(io::Error::other(error)).await;
        }
        Err(Failed::Answer(error).about(self.path))
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// [`Error::Storage`] with what went wrong last, if the time is up.
    pub(super) async fn wait(&mut self, failure: io::Error) -> Result<()> {
        let wait = self.next_wait();
        let spent = self.start.get_or_insert_with(Instant::now).elapsed();
        if spent + wait > self.patience {
            let message = format!("gave up after {} s and {} attempts: {failure}", spent.as_secs(), self.failures);
            return Err(Error::storage(self.path)(io::Error::new(failure.kind(), message)));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Exponential backoff with full jitter: many writers that failed together do not come back together.
    fn next_wait(&mut self) -> Duration {
        let longest = LONGEST_WAIT.min(FIRST_WAIT.saturating_mul(1 << self.failures.min(16)));
        self.failures += 1;
        let mut random = [0; 2];
        // Without randomness the wait is the longest, which does no harm.
        let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u16::from_le_bytes(random)) / 65536.0);
        longest.mul_f64(share)
    }
}

/// What comes within a time, of which waiting for a turn is no part.
async fn in_time<T>(limit: Duration, waited: &Waited, request: impl Future<Output = T>) -> Option<T> {
    let mut request = std::pin::pin!(request);
    let mut allowed = Duration::ZERO;
    loop {
        let more = limit.saturating_add(waited.so_far()).saturating_sub(allowed);
        if more.is_zero() {
            return None;
        }
        allowed = allowed.saturating_add(more);
        if let Ok(value) = tokio::time::timeout(more, &mut request).await {
            return Some(value);
        }
    }
}

/// Why an operation ended without a value.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server said so.
    Answer(object_store::Error),
    /// It was tried for long enough.
    GaveUp(Error),
}

impl Failed {
    /// As an error about an object.
    pub(super) fn about(self, path: &str) -> Error {
        match self {
            Self::Answer(error) => match (Refused::within(&error), unbelieved(&error)) {
                (Some(refused), _) => refused.about(path),
                (None, Some(words)) => {
                    let why = format!(
                        "no authority of the system, or of the file that {CA_BUNDLE} names if it names one, vouches for the \
                         server: {words}"
                    );
                    Error::storage(path)(io::Error::new(io::ErrorKind::InvalidData, why))
                }
                (None, None) => Error::storage(path)(io::Error::from(error)),
            },
            Self::GaveUp(error) => error,
        }
    }
}

/// Whether the same request may succeed a moment later.
fn is_transient(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { .. } = error else { return false };
    if let Some(refused) = Refused::within(error) {
        return refused.is_transient();
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(http) = inner.downcast_ref::<HttpError>() {
            // Nobody believes a certificate a moment later.
            return http.kind() != HttpErrorKind::Decode && unbelieved(error).is_none();
        }
        cause = inner.source();
    }
    // The client's own type for this is private; its text is the only way to the status.
    let text = error.to_string();
    ["status code: 5", "status code: 429", "status code: 408", "error response:"].iter().any(|it| text.contains(it))
}

/// What was wrong with the certificate of the other end, if that was it.
fn unbelieved(error: &object_store::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if words.starts_with(UNBELIEVED) {
            return Some(words);
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
    }

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn a_passing_failure_is_tried_again_and_a_final_one_is_not() {
        let mut left = 2;
        let mut attempts = Attempts::new("a/b", Duration::from_mins(1));
        let value = runtime().block_on(attempts.run(0, || {
            left -= 1;
            let answer = if left == 0 { Ok(7) } else { Err(generic("status code: 503 Slow Down")) };
            std::future::ready(answer)
        }));
        assert!(matches!(value, Ok(7)));
        assert!(attempts.is_repeated());

        let mut attempts = Attempts::new("a/b", Duration::from_mins(1));
        let refused =
            runtime().block_on(attempts.run(0, || std::future::ready(Err::<(), _>(generic("status code: 400")))));
        assert!(matches!(refused, Err(Failed::Answer(_))));
        assert!(!attempts.is_repeated());
    }

    #[test]
    fn who_gives_up_names_the_object_and_the_reason() {
        let mut attempts = Attempts::new("objects/ab/abcd", Duration::from_millis(200));
        let failed = runtime()
            .block_on(attempts.run(0, || std::future::ready(Err::<(), _>(generic("status code: 500 oh no")))))
            .expect_err("never works");
        let message = failed.about("objects/ab/abcd").to_string();
        assert!(message.starts_with("objects/ab/abcd: gave up after 0 s and "), "{message}");
        assert!(message.contains("500 oh no"), "{message}");
    }

    #[test]
    fn waiting_for_a_turn_takes_no_patience() {
        let mut attempts = Attempts::from_now("x", Duration::from_millis(200));
        let mut asked = 0;
        let request = |waited: Waited| {
            asked += 1;
            let answer = if asked < 3 { Err(generic("status code: 503")) } else { Ok(asked) };
            async move {
                waited.add(Duration::from_millis(300));
                tokio::time::sleep(Duration::from_millis(300)).await;
                answer
            }
        };
        assert_eq!(runtime().block_on(attempts.run_paced(1, request)).expect("third time"), 3);
        assert!(attempts.is_repeated());
    }

    #[test]
    fn waiting_for_turns_makes_no_server_late_and_silence_does() {
        let limit = Duration::from_millis(200);
        let waits = |waited: Waited, said: bool| async move {
            for _ in 0..5 {
                if said {
                    waited.add(limit);
                }
                tokio::time::sleep(limit).await;
            }
        };
        let waited = Waited::default();
        let (patient, silent) = (waits(waited.clone(), true), waits(Waited::default(), false));
        assert_eq!(runtime().block_on(in_time(limit, &waited, patient)), Some(()));
        assert_eq!(runtime().block_on(in_time(limit, &Waited::default(), silent)), None);
    }

    #[test]
    fn patience_begins_with_the_first_failure_or_at_once() {
        let patience = Duration::from_millis(300);
        for (mut attempts, is_patient) in
            [(Attempts::new("x", patience), true), (Attempts::from_now("x", patience), false)]
        {
            std::thread::sleep(2 * patience);
            let mut asked = 0;
            let request = || {
                asked += 1;
                std::future::ready(if asked == 1 { Err(generic("status code: 500")) } else { Ok(()) })
            };
            assert_eq!(runtime().block_on(attempts.run(1, request)).is_ok(), is_patient);
        }
    }
}
