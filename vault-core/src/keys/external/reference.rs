//! Files that say where a key is: JSON in place of a private key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PROTOCOL;
use crate::{
    canonical::objects,
    error::{Error, Result},
    keys::{DOCUMENT, MAX_KEY_FILE, PublicKey},
};

/// The longest that an answer may be waited for, in seconds.
pub const MAX_PATIENCE: u64 = 3600;
/// What is waited for if the file does not say, in seconds: time to touch a token or to type a PIN.
const PATIENCE: u64 = 60;
/// The most arguments of a program.
const MAX_ARGUMENTS: usize = 64;
/// The longest argument, in bytes.
const MAX_ARGUMENT: usize = 4096;

/// How a program is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    program: String,
    arguments: Vec<String>,
    seconds: u64,
}

impl Invocation {
    /// Runs `program` with `arguments` and waits `seconds` for its answer; a minute, if it is not said.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the program is neither an absolute path nor the bare name of a command, if there are more than
    /// 64 arguments, or one longer than 4096 bytes or with a NUL, or if the time is not between a second and an hour.
    pub fn new(program: String, arguments: Vec<String>, seconds: Option<u64>) -> Result<Self> {
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
            let rule = format!("program {program:?} is neither an absolute path nor the bare name of a command");
            return Err(Error::Misuse(rule));
        }
        if arguments.len() > MAX_ARGUMENTS {
            return Err(Error::Misuse(format!("more than {MAX_ARGUMENTS} arguments")));
        }
        if arguments.iter().chain([&program]).any(|text| text.len() > MAX_ARGUMENT || text.contains('\0')) {
            return Err(Error::Misuse(format!("an argument is longer than {MAX_ARGUMENT} bytes or has a NUL")));
        }
        let seconds = seconds.unwrap_or(PATIENCE);
        if !(1..=MAX_PATIENCE).contains(&seconds) {
            return Err(Error::Misuse(format!("a timeout of {seconds} s is not between 1 and {MAX_PATIENCE}")));
        }
        Ok(Self { program, arguments, seconds })
    }

    /// The program: an absolute path, or the name of a command.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The program's arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// How long an answer is waited for.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// A key that a program keeps: its public half, and how the program is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The public half of the key.
    pub public: PublicKey,
    /// How its keeper is run.
    pub invocation: Invocation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    protocol: String,
    public_key: String,
    program: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    timeout_seconds: Option<u64>,
}

impl Reference {
    /// Whether a private key file holds a reference instead of a key.
    pub fn is_in(file: &[u8]) -> bool {
        file.trim_ascii_start().starts_with(b"{")
    }

    /// Reads a file that refers to a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed, longer than 64 KiB, or says what [`Invocation::new`] refuses.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_KEY_FILE {
            return Err(Error::limit(DOCUMENT, "length", MAX_KEY_FILE as u64));
        }
        let wire: Wire = objects::from_slice(bytes).map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
        if wire.protocol != PROTOCOL {
            return Err(Error::format(DOCUMENT, format!("protocol {:?} is not {PROTOCOL:?}", wire.protocol)));
        }
        let public = PublicKey::from_pem(&wire.public_key)?;
        let invocation = Invocation::new(wire.program, wire.arguments, wire.timeout_seconds)
            .map_err(|error| Error::format(DOCUMENT, error.to_string()))?;
        Ok(Self { public, invocation })
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None in practice; the encoder is fallible.
    pub fn to_json(&self) -> Result<String> {
        let wire = Wire {
            protocol: PROTOCOL.to_owned(),
            public_key: self.public.to_pem(),
            program: self.invocation.program.clone(),
            arguments: self.invocation.arguments.clone(),
            timeout_seconds: Some(self.invocation.seconds),
        };
        let text = serde_json::to_string_pretty(&wire)
            .map_err(|e| Error::format(DOCUMENT, format!("cannot be written: {e}")))?;
        Ok(text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn reference() -> Reference {
        let public = PublicKey::Signing(SigningKey::generate().expect("key").verifying_key());
        let arguments = vec!["--key".into(), "a b".into()];
        Reference { public, invocation: Invocation::new("/usr/bin/keeper".into(), arguments, None).expect("legal") }
    }

    #[test]
    fn a_reference_survives_its_file() {
        let reference = reference();
        let text = reference.to_json().expect("written");
        assert!(Reference::is_in(text.as_bytes()));
        assert_eq!(Reference::parse(text.as_bytes()).expect("read"), reference);
        assert!(!Reference::is_in(b"-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn what_a_reference_may_leave_out_has_a_default() {
        let pem = serde_json::json!(reference().public.to_pem());
        let text = format!(r#"{{"protocol":"mvault-key/v1","public_key":{pem},"program":"keeper"}}"#);
        let read = Reference::parse(text.as_bytes()).expect("read");
        assert_eq!((read.invocation.arguments().len(), read.invocation.patience()), (0, Duration::from_mins(1)));
    }

    #[test]
    fn malformed_references_are_refused_with_the_reason() {
        let good = reference().to_json().expect("written");
        for (from, to, reason) in [
            ("mvault-key/v1", "mvault-key/v2", "protocol \"mvault-key/v2\" is not \"mvault-key/v1\""),
            ("/usr/bin/keeper", "bin/keeper", "neither an absolute path nor the bare name"),
            ("/usr/bin/keeper", "", "neither an absolute path nor the bare name"),
            ("a b", "a\\u0000b", "has a NUL"),
            ("60", "0", "a timeout of 0 s is not between 1 and 3600"),
            ("60", "3601", "a timeout of 3601 s is not between 1 and 3600"),
            ("60", "-1", "invalid value"),
            ("\"program\"", "\"shell\"", "unknown field"),
            ("\"program\"", "\"program\": \"x\", \"program\"", "duplicate field"),
            ("BEGIN PUBLIC", "BEGIN PRIVATE", "PEM"),
            ("}\n", "}\n{}", "trailing characters"),
            ("}\n", "", "EOF"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let error = Reference::parse(bad.as_bytes()).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Reference::parse(&vec![b' '; MAX_KEY_FILE + 1]).is_err());
        let many = vec![String::new(); MAX_ARGUMENTS + 1];
        assert!(Invocation::new("keeper".into(), many, None).is_err());
        assert!(Invocation::new("keeper".into(), vec!["a".repeat(MAX_ARGUMENT + 1)], Some(5)).is_err());
        assert!(Reference::parse("[".repeat(10_000).as_bytes()).is_err());
    }
}
