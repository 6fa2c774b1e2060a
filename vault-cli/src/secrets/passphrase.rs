//! Passphrases: from a file, a descriptor or the terminal; never from the command line or the environment.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use vault_core::{secret::SecretVec, store::MAX_TOKEN};
use zeroize::Zeroizing;

use crate::{
    failure::{Failure, Result},
    streams::{STANDARD, descriptor, duplicate},
};

/// The longest passphrase that is read, in bytes.
const MAX_PASSPHRASE: usize = 1024;
/// What is read as a token and not as a passphrase is called so, and may be longer.
const TOKEN: Line = Line { name: "token", longest: MAX_TOKEN };
const PASSPHRASE: Line = Line { name: "passphrase", longest: MAX_PASSPHRASE };
const TERMINAL: &str = "/dev/tty";

/// Where the passphrase of existing keys comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from the first line of FILE, `-` for standard input, instead of the terminal
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line of this open file descriptor
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<u16>,
}

/// The API key for a registry, from the first line of a file (`-` is standard input) or else from the terminal.
pub fn read_token(file: Option<&PathBuf>, url: &str) -> Result<SecretVec> {
    match Passphrases::from_file(file) {
        given if given.is_given() => given.source.read(TOKEN),
        _ => ask(&format!("API key for {url}: ")),
    }
}

/// Gives passphrases, asking for each at most once. One that was given serves everything in the command.
#[derive(Debug)]
pub struct Passphrases {
    source: Source,
    known: Option<SecretVec>,
    /// Whether `known` was typed for another key than the one it is tried on now.
    reused: bool,
}

/// A secret line.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: &'static str,
    longest: usize,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Descriptor(u32),
    Terminal,
}

impl Source {
    /// The first line of what was given; on a terminal nothing was.
    fn read(&self, line: Line) -> Result<SecretVec> {
        match self {
            Self::File(path) => read(line, File::open(path), &path.display().to_string()),
            Self::Descriptor(0) => read(line, duplicate(0), "standard input"),
            Self::Descriptor(number) => read(line, duplicate(*number), &format!("file descriptor {number}")),
            Self::Terminal => Err(Failure::usage("a terminal is asked, not read")),
        }
    }
}

impl Passphrases {
    pub fn new(args: &PassphraseArgs) -> Self {
        let source = match (&args.passphrase_file, args.passphrase_fd) {
            (Some(path), _) if path == Path::new(STANDARD) => Source::Descriptor(0),
            // Opening such a path would begin at the start of a file again, and fail for a socket.
            (Some(path), _) => descriptor(path).map_or_else(|| Source::File(path.clone()), Source::Descriptor),
            (None, Some(number)) => Source::Descriptor(number.into()),
            (None, None) => Source::Terminal,
        };
        Self { source, known: None, reused: false }
    }

    /// From this file, or else from the terminal.
    pub fn from_file(path: Option<&PathBuf>) -> Self {
        Self::new(&PassphraseArgs { passphrase_file: path.cloned(), passphrase_fd: None })
    }

    /// Whether there is one without asking anybody.
    pub fn is_given(&self) -> bool {
        !matches!(self.source, Source::Terminal)
    }

    /// The passphrase that `what` is protected with.
    pub fn existing(&mut self, what: &str) -> Result<SecretVec> {
        self.reused = self.known.is_some();
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let passphrase = match &self.source {
            Source::Terminal => ask(&format!("passphrase for {what}: "))?,
            given => given.read(PASSPHRASE)?,
        };
        Ok(self.known.insert(passphrase).clone())
    }

    /// A passphrase to protect `what` with from now on; typed twice if it is typed.
    pub fn fresh(&mut self, what: &str) -> Result<SecretVec> {
        if self.is_given() {
            return self.existing(what);
        }
        let passphrase = ask(&format!("new passphrase for {what}: "))?;
        if ask("the same again: ")?.expose() != passphrase.expose() {
            return Err(Failure::usage("the two passphrases differ"));
        }
        Ok(passphrase)
    }

    /// After the last one did not fit: whether asking again makes sense, because it was typed for something else.
    pub fn forget_reused(&mut self) -> bool {
        let again = self.reused && !self.is_given();
        if again {
            self.known = None;
        }
        again
    }
}

fn read(line: Line, file: std::io::Result<File>, name: &str) -> Result<SecretVec> {
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(vault_core::error::Kind::NotFound, format!("{name} does not exist"))
        }
        _ => Failure::io(name, &error),
    })?;
    let mut bytes = Zeroizing::new(vec![0; line.longest + 2]);
    let mut length = 0;
    // Byte by byte: what is behind the line is left for whoever reads the stream next.
    while length < bytes.len() && !bytes[..length].ends_with(b"\n") {
        match file.read(&mut bytes[length..=length]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(name, &error)),
        }
    }
    let what = line.name;
    first_line(&bytes[..length], line.longest).map_err(|rule| Failure::usage(format!("{name}: the {what} {rule}")))
}

/// The first line without its LF or CRLF.
fn first_line(bytes: &[u8], longest: usize) -> Result<SecretVec, String> {
    let line = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]),
        None => bytes,
    };
    match line.len() {
        0 => Err("is empty".into()),
        length if length > longest => Err(format!("is longer than {longest} bytes")),
        _ => Ok(SecretVec::new(line.to_vec())),
    }
}

fn no_terminal(prompt: &str) -> Failure {
    let failure = Failure::usage(format!("there is no terminal to ask for the {}", prompt.trim_end_matches(": ")));
    let is_token = prompt.starts_with("API key");
    failure.hint(if is_token { "give --token-file FILE" } else { "give --passphrase-file FILE or --passphrase-fd N" })
}

fn ask(prompt: &str) -> Result<SecretVec> {
    if File::open(TERMINAL).is_err() {
        return Err(no_terminal(prompt));
    }
    let typed = rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::signal(2),
        _ => Failure::io("terminal", &error),
    })?;
    let typed = SecretVec::new(typed.into_bytes());
    if typed.expose().is_empty() {
        return Err(Failure::usage("the passphrase is empty"));
    }
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_stripped_and_nothing_else() {
        for (bytes, line) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b" secret \nmore\n", b" secret "),
            (b"secret\r\r\n", b"secret\r"),
            (b"secret\r", b"secret\r"),
        ] {
            assert_eq!(first_line(bytes, MAX_PASSPHRASE).expect("a passphrase").expose(), line);
        }
        assert_eq!(first_line(b"", MAX_PASSPHRASE).expect_err("empty"), "is empty");
        assert_eq!(first_line(b"\nsecret", MAX_PASSPHRASE).expect_err("empty"), "is empty");
        assert!(first_line(&[b'a'; MAX_PASSPHRASE], MAX_PASSPHRASE).is_ok());
        assert_eq!(
            first_line(&[b'a'; MAX_PASSPHRASE + 1], MAX_PASSPHRASE).expect_err("long"),
            "is longer than 1024 bytes"
        );
    }
}
