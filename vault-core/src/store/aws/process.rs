//! `credential_process`: a program that prints credentials. Here is what it is called with and what it may answer;
//! running it is a front end's.
//!
//! Source: "Process credential provider", AWS SDKs and Tools Reference Guide.

use std::{fmt, io};

use jiff::Timestamp;
use serde::Deserialize;

use super::Keys;
use crate::error::{Error, Result};

/// The longest answer, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;
/// The longest command, in bytes.
const MAX_COMMAND: usize = 4096;

/// A program and its arguments. There is no shell.
#[derive(Clone, PartialEq, Eq)]
pub struct Process {
    program: String,
    arguments: Vec<String>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some put secrets into arguments.
        f.debug_struct("Process").field("program", &self.program).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: u64,
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
    #[serde(default)]
    expiration: Option<String>,
}

impl Process {
    /// Reads a command line as a POSIX shell would split it, without expanding anything.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is empty, too long, or a quote does not end. It is not quoted: some put secrets there.
    pub fn parse(command: &str) -> Result<Self> {
        let words = words(command).map_err(|rule| Error::Misuse(format!("credential_process: {rule}")))?;
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self { program, arguments: words.collect() }),
            _ => Err(Error::Misuse("credential_process: names no program".into())),
        }
    }

    /// The program, to be looked up in the search path if it has no `/`.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Reads what the program printed.
    ///
    /// # Errors
    /// [`Error::Storage`] if that is no answer, or one that has expired at `now`. The answer is not quoted.
    pub fn keys(&self, answer: &[u8], now: Timestamp) -> Result<Keys> {
        let fault = |rule: String| {
            let what = format!("credential_process {}", self.program);
            Error::storage(what)(io::Error::new(io::ErrorKind::InvalidData, rule))
        };
        if answer.len() > MAX_ANSWER {
            return Err(fault(format!("its answer is longer than {MAX_ANSWER} bytes")));
        }
        // What serde says of a wrong type may quote the value.
        let answer: Answer =
            serde_json::from_slice(answer).map_err(|_| fault("its answer is not what AWS specifies".into()))?;
        if answer.version != 1 {
            return Err(fault(format!("its answer has version {}, not 1", answer.version)));
        }
        if let Some(text) = answer.expiration {
            let expires: Timestamp = text.parse().map_err(|_| fault("its answer expires at no time".into()))?;
            if expires <= now {
                return Err(fault(format!("its answer has expired at {expires}")));
            }
        }
        let token = answer.session_token.filter(|token| !token.is_empty());
        let keys = Keys::new(answer.access_key_id, answer.secret_access_key, token);
        keys.ok_or_else(|| fault("its answer has an empty key, or one with characters that no key has".into()))
    }
}

/// The words of a command line, quoted and escaped as POSIX says.
fn words(command: &str) -> Result<Vec<String>, &'static str> {
    if command.len() > MAX_COMMAND {
        return Err("is too long");
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            '\0' => return Err("has a null character"),
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(characters.next().ok_or("ends in a backslash")?),
            '\'' => loop {
                match characters.next().ok_or("has a quote without an end")? {
                    '\'' => break,
                    inner => word.get_or_insert_default().push(inner),
                }
            },
            '"' => loop {
                match characters.next().ok_or("has a quote without an end")? {
                    '"' => break,
                    '\\' => match characters.next().ok_or("has a quote without an end")? {
                        escaped @ ('"' | '\\') => word.get_or_insert_default().push(escaped),
                        other => word.get_or_insert_default().extend(['\\', other]),
                    },
                    inner => word.get_or_insert_default().push(inner),
                }
            },
            other => word.get_or_insert_default().push(other),
        }
        // An empty pair of quotes is a word too.
        if matches!(character, '\'' | '"') {
            word.get_or_insert_default();
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-05-03T12:00:00Z".parse().expect("time")
    }

    #[test]
    fn commands_are_split_as_a_shell_does() {
        let process = Process::parse(r#" /opt/p  --a 'b c' "d \"e\" \n" f\ g '' x"y"z "#).expect("good");
        assert_eq!(process.program(), "/opt/p");
        assert_eq!(process.arguments(), ["--a", "b c", r#"d "e" \n"#, "f g", "", "xyz"]);
        for bad in ["", "  ", "''", "a 'b", "a \"b", "a \\", "a\0b", &"a".repeat(MAX_COMMAND + 1)] {
            assert!(Process::parse(bad).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", Process::parse("p --password x").expect("good")).contains("password"));
    }

    #[test]
    fn answers_are_read_or_refused_without_quoting_them() {
        let process = Process::parse("p").expect("good");
        let answer =
            |more: &str| format!(r#"{{"Version":1,"AccessKeyId":"AKIA","SecretAccessKey":"hush"{more}}}"#).into_bytes();
        let keys = process.keys(&answer(r#","SessionToken":"t","Expiration":"2026-05-03T12:00:01Z","X":1"#), now());
        assert!(keys.is_ok());
        assert!(process.keys(&answer(r#","SessionToken":null"#), now()).is_ok());
        let expired = process.keys(&answer(r#","Expiration":"2026-05-03T12:00:00Z""#), now()).expect_err("expired");
        assert_eq!(expired.to_string(), "credential_process p: its answer has expired at 2026-05-03T12:00:00Z");
        for bad in [
            b"hush".to_vec(),
            answer(",\"AccessKeyId\":\"hush\""),
            br#"{"Version":2,"AccessKeyId":"a","SecretAccessKey":"hush"}"#.to_vec(),
            br#"{"Version":1,"AccessKeyId":"","SecretAccessKey":"hush"}"#.to_vec(),
            br#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"hush\r\nX: y"}"#.to_vec(),
            br#"{"Version":1,"AccessKeyId":"a"}"#.to_vec(),
            answer(r#","Expiration":"hush""#),
            vec![b' '; MAX_ANSWER + 1],
        ] {
            let error = process.keys(&bad, now()).expect_err("bad").to_string();
            assert!(error.starts_with("credential_process p: its answer ") && !error.contains("hush"), "{error}");
        }
    }
}
