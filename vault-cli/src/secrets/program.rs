//! Programs that keep keys: run once for each question, without a shell, and never waited for without end.
//!
//! The question goes to standard input, the answer comes from standard output, and standard error is the user's.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};
use vault_core::{
    Error,
    keys::external::{Invocation, Keeper, MAX_ANSWER, is_refusal},
    secret::SecretVec,
};
use zeroize::Zeroizing;

use crate::interrupt;

/// How often a program that is silent is asked whether it has ended: what it started may hold its output open.
const TICK: Duration = Duration::from_millis(50);
/// The same for a program that has closed its output and so is about to end.
const SHORT_TICK: Duration = Duration::from_millis(1);

/// How long a program that was asked to end may take until it is ended.
const GRACE: Duration = Duration::from_millis(500);

/// A program that keeps a key.
#[derive(Debug)]
pub struct Program {
    name: String,
    invocation: Invocation,
}

impl Program {
    /// The program that this file names.
    pub fn new(file: &Path, invocation: Invocation) -> Self {
        Self { name: format!("{}: {}", file.display(), invocation.program()), invocation }
    }
}

impl Keeper for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&self, question: &[u8]) -> vault_core::Result<SecretVec> {
        let failed = |error: io::Error| Error::storage(&self.name)(error);
        let mut command = Command::new(self.invocation.program());
        command.args(self.invocation.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound { what: format!("program {}", self.name) },
            _ => failed(error),
        })?;
        let (status, answer) = talk(child, question, self.invocation.patience()).map_err(failed)?;
        if status.success() || is_refusal(answer.expose()) {
            return Ok(answer);
        }
        Err(failed(io::Error::other(format!("it failed ({status})"))))
    }
}

/// Ends a program that is not waited for any longer, first with the signal that lets it end what it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Where anything fails here the program has ended, which is all that is wanted.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(SHORT_TICK);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that is given pipes for both, and returns how it ended and what it said.
///
/// # Errors
/// What the system says; a longer answer than any, no answer in time, or an interruption.
pub fn run(mut command: Command, question: &[u8], patience: Duration) -> io::Result<(ExitStatus, SecretVec)> {
    talk(command.spawn()?, question, patience)
}

/// Asks and listens at the same time, so that neither side waits for the other for ever.
fn talk(mut child: Child, question: &[u8], patience: Duration) -> io::Result<(ExitStatus, SecretVec)> {
    let start = Instant::now();
    let (mut input, mut output) = (child.stdin.take(), child.stdout.take());
    let mut child = Running(child);
    for end in [input.as_ref().map(AsFd::as_fd), output.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
        fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
    }
    let mut question = question;
    // Never grown, so that it leaves no copy behind.
    let mut answer = Zeroizing::new(vec![0; MAX_ANSWER + 1]);
    let mut length = 0;
    loop {
        // Asked before reading: what a program wrote before its end is then there to be read.
        let ended = child.0.try_wait()?;
        tell(&mut input, &mut question);
        let silent = hear(&mut output, &mut answer, &mut length)?;
        if length > MAX_ANSWER {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("its answer is longer than {MAX_ANSWER} bytes"),
            ));
        }
        if let Some(status) = ended.filter(|_| silent) {
            answer.truncate(length);
            return Ok((status, SecretVec::new(std::mem::take(&mut *answer))));
        }
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
        let left = patience.checked_sub(start.elapsed()).ok_or_else(|| {
            let seconds = patience.as_secs();
            io::Error::new(ErrorKind::TimedOut, format!("it did not answer within {seconds} s and was stopped"))
        })?;
        wait(input.as_ref(), output.as_ref(), left)?;
    }
}

/// Writes what there is room for. A program that does not want to hear all of it need not.
fn tell(input: &mut Option<ChildStdin>, question: &mut &[u8]) {
    let Some(pipe) = input else { return };
    match pipe.write(question) {
        Ok(written) => *question = &question[written..],
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => *question = &[],
    }
    if question.is_empty() {
        *input = None;
    }
}

/// Reads what there is; whether there is nothing more for the moment.
fn hear(output: &mut Option<ChildStdout>, answer: &mut [u8], length: &mut usize) -> io::Result<bool> {
    let Some(pipe) = output else { return Ok(true) };
    match pipe.read(&mut answer[*length..]) {
        Ok(0) => *output = None,
        Ok(read) => {
            *length += read;
            return Ok(false);
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(true)
}

fn wait(input: Option<&ChildStdin>, output: Option<&ChildStdout>, left: Duration) -> io::Result<()> {
    let longest = if output.is_some() { TICK } else { SHORT_TICK };
    let timeout = Timespec::try_from(left.min(longest)).map_err(io::Error::other)?;
    let mut ends = Vec::with_capacity(2);
    ends.extend(input.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    ends.extend(output.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    match poll(&mut ends, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk_to(script: &str, question: &[u8], patience: Duration) -> io::Result<(ExitStatus, SecretVec)> {
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        talk(child.expect("sh runs"), question, patience)
    }

    fn patient(script: &str, question: &[u8]) -> (ExitStatus, Vec<u8>) {
        let (status, answer) = talk_to(script, question, Duration::from_secs(20)).expect("answered");
        (status, answer.expose().to_vec())
    }

    #[test]
    fn a_question_larger_than_any_pipe_is_told_and_its_answer_heard() {
        let question = vec![b'q'; 3 << 20];
        let (status, answer) = patient("wc -c", &question);
        assert!(status.success());
        assert_eq!(String::from_utf8_lossy(&answer).trim(), question.len().to_string());
    }

    #[test]
    fn a_program_that_does_not_listen_is_heard_all_the_same() {
        let question = vec![b'q'; 3 << 20];
        assert_eq!(patient("exec 0<&-; echo answer", &question).1, b"answer\n");
        assert_eq!(patient("echo answer", &question).1, b"answer\n");
    }

    #[test]
    fn a_program_that_never_ends_is_stopped() {
        let start = Instant::now();
        for script in [
            "exec sleep 60",
            "echo half; exec sleep 60",
            "exec >&-; exec sleep 60",
            "trap '' TERM; cat >/dev/null; sleep 5",
            "exec yes",
        ] {
            let error = talk_to(script, b"question", Duration::from_secs(1)).expect_err("stopped");
            let expected =
                if script.ends_with("yes") { "longer than 65536 bytes" } else { "within 1 s and was stopped" };
            assert!(error.to_string().contains(expected), "{script}: {error}");
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        assert_eq!(patient("sleep 30 & echo answer", b"").1, b"answer\n");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_longest_answer_is_heard_whole_and_one_byte_more_is_refused() {
        let script = |length: usize| format!("head -c {length} /dev/zero");
        assert_eq!(patient(&script(MAX_ANSWER), b"").1.len(), MAX_ANSWER);
        let error = talk_to(&script(MAX_ANSWER + 1), b"", Duration::from_secs(20)).expect_err("too long");
        assert_eq!(error.to_string(), "its answer is longer than 65536 bytes");
    }
}
