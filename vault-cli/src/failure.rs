//! Why a command did not do what it was asked: message, advice, exit code and JSON.

use std::path::Path;

use serde_json::{Value, json};
use vault_core::{Error, error::Kind, keys::file::OPEN_TO_OTHERS, trust::UNSIGNED_SOURCE};

use crate::ui::shell_quoted;

/// The exit code for a command line that cannot be.
pub const USAGE: u8 = 2;

/// The result of every verb.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// A failed command.
#[derive(Debug, Clone)]
pub struct Failure {
    class: Class,
    message: String,
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Core(Kind),
    /// Stopped by this signal.
    Signal(u8),
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The system did not do its part.
    pub fn operational(message: impl Into<String>) -> Self {
        Self::new(Kind::Operational, message)
    }

    /// A failure of this class.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { class: Class::Core(kind), message: message.into(), hint: None }
    }

    /// Writing to `what` failed.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::operational(format!("{what}: {error}"))
    }

    /// The command was stopped by a signal and has cleaned up.
    pub fn signal(number: u8) -> Self {
        let name = if number == 15 { "terminated" } else { "interrupted" };
        Self { class: Class::Signal(number), message: format!("{name} before it was done"), hint: None }
    }

    /// An error about a file named on the command line. A malformed one is a mistake of the command, not evidence
    /// that somebody tampered with a vault.
    pub fn local(path: &Path, error: &Error) -> Self {
        let kind = match error.kind() {
            Kind::Integrity => Kind::Usage,
            other => other,
        };
        let (name, text) = (path.display().to_string(), error.to_string());
        let text = if text.contains(&name) {
            text
        } else {
            // The library calls every key file "key file"; here its name is known.
            format!("{name}: {}", text.strip_prefix("key file: ").unwrap_or(&text))
        };
        let hint = match kind {
            Kind::NoKey => Some("try again; the passphrase is the one the key was made with".to_owned()),
            Kind::Usage if text.ends_with(OPEN_TO_OTHERS) => Some(format!("run `chmod 600 {}`", shell_quoted(&name))),
            Kind::Usage if text.ends_with(UNSIGNED_SOURCE) => {
                let name = shell_quoted(&name);
                Some(format!("make a trust root of it: `mvault trust sign {name} --key … -o root.json`"))
            }
            _ => None,
        };
        Self { class: Class::Core(kind), message: text, hint }
    }

    /// The same failure with this advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with this before its message.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.message.insert_str(0, prefix);
        self
    }

    /// The exit code.
    pub fn exit(&self) -> u8 {
        match self.class {
            Class::Signal(number) => 128 + number,
            Class::Core(kind) => kind.exit_code(),
        }
    }

    /// The name of the class in JSON.
    pub fn kind(&self) -> &'static str {
        match self.class {
            Class::Signal(_) => "interrupted",
            Class::Core(kind) => kind.as_str(),
        }
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The object printed to standard error with `--json`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "kind": self.kind(), "message": self.message, "exit": self.exit() });
        if let Some(hint) = &self.hint {
            error["hint"] = json!(hint);
        }
        json!({ "error": error })
    }

    /// Of several failures the one that weighs most: evidence of tampering before everything else.
    pub fn worse(self, other: Self) -> Self {
        if other.weight() > self.weight() { other } else { self }
    }

    fn weight(&self) -> u8 {
        match self.class {
            Class::Signal(_) => 9,
            Class::Core(Kind::Integrity) => 8,
            Class::Core(Kind::Authenticity) => 7,
            Class::Core(Kind::Stale) => 6,
            Class::Core(Kind::NoKey) => 5,
            Class::Core(Kind::Denied | Kind::NotFound) => 4,
            Class::Core(Kind::Conflict) => 3,
            Class::Core(Kind::Usage) => 2,
            Class::Core(_) => 1,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = advice(&error).map(str::to_owned);
        Self { class: Class::Core(error.kind()), message: error.to_string(), hint }
    }
}

/// Advice that fits an error wherever it came from.
fn advice(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Corrupt { .. } => {
            "the stored bytes are not what was signed; run `mvault fsck` and restore the object from another copy"
        }
        Error::Untrusted { what, .. } if what.starts_with("a new signature ") => {
            "whatever holds the private key did not sign with it; check which key it uses"
        }
        Error::Untrusted { why: "is revoked", .. } => "`mvault revoke --list` says why; it is not to be opened",
        Error::Untrusted { why, .. } if why.contains("fork") => {
            "somebody made two histories; do not go on before you know who: compare with what others see"
        }
        Error::Untrusted { why: "is not approved by enough holders", .. } => {
            "`mvault approve` lists what is open and who approved it"
        }
        Error::Untrusted { why, .. } if why.contains("right") || why.contains("trust root") || why.contains("role") => {
            "`mvault trust verify` shows who holds which role"
        }
        Error::Untrusted { why, .. } if why.contains("accepted signer") => {
            "check that --signer is the public key of whoever sealed it; do not open it otherwise"
        }
        Error::Untrusted { .. } => "do not use it; under a trust root, --explain says what was checked before that",
        Error::Stale { why, .. } if why.contains("seen before") => {
            "the store shows an older state than this client saw: restore the store, or ask who changed it"
        }
        Error::Stale { why, .. } if why.contains("does not show") => {
            "the store holds something newer back: restore the store, or ask whoever runs it"
        }
        Error::Stale { what, .. } if what.starts_with("a statement of freshness") => {
            "ask whoever keeps the freshness key to run `mvault freshness sign`"
        }
        Error::Stale { .. } => "ask for a new one; `--verify-time` judges by another time, for audits",
        Error::WrongKey { why, .. } if why.ends_with("the use of the key") => {
            "ask whatever keeps the key: PIN, permission, policy or a touch may be missing"
        }
        Error::WrongKey { what, .. } if what.contains(", shredded on ") => "every wrapped key was destroyed on purpose",
        Error::WrongKey { .. } => {
            "`mvault inspect` lists the recipients; ask one of them to `mvault share` it with your key"
        }
        Error::Conflict { what } if what.starts_with("generation ") || what.starts_with("revocation ") => {
            "another record was first, or this one was withdrawn; look at `mvault channel log` and propose again"
        }
        Error::Conflict { what } if what.starts_with("a signature by key ") => {
            "each key signs one record of a generation; withdraw your own proposal first, or let somebody else ask"
        }
        Error::Conflict { what } if what.starts_with("version ") && what.contains(" in ") => {
            "the other vault has something else under this name; versions are never replaced"
        }
        Error::Conflict { what } if what.starts_with("a revocation of ") => {
            "`mvault revoke --list` says by whom and why"
        }
        Error::Conflict { what } if what.starts_with("trust root version ") => {
            "the vault has another one of this number: `mvault trust edit` that one, and sign the next with --after"
        }
        Error::Lost { what, .. } if what.starts_with("session ") => {
            "it gave no sign of life for longer than the grace of `mvault gc`; do it again"
        }
        Error::Lost { .. } => "nothing was lost; try again",
        Error::InUse { .. } => "move the channel first; `--even-if-in-use` retires it all the same",
        Error::Conflict { what } if what.starts_with("version ") => "versions are never replaced; choose a new version",
        Error::Denied { why, .. } if why.contains("who asks") => {
            "`mvault login URL` stores a key that the registry knows"
        }
        Error::Denied { .. } => "ask whoever runs the registry for the permission; `mvault whoami` shows what there is",
        Error::Conflict { .. } => "nothing is ever overwritten; choose another name or remove it first",
        Error::NotFound { what } if what.starts_with("a vault at ") => "make one with `mvault init`",
        Error::NotFound { what } if what.starts_with("version ") => "`mvault ls` lists what there is",
        Error::InputChanged { .. } => "nothing was published; seal again when nobody writes to it",
        Error::Misuse(rule) if rule.ends_with("is a symbolic link") => {
            "--follow-symlinks seals what links inside the folder lead to"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_exit_code_and_name() {
        for (kind, exit, name) in [
            (Kind::Operational, 1, "operational"),
            (Kind::Usage, 2, "usage"),
            (Kind::Integrity, 3, "integrity"),
            (Kind::Authenticity, 4, "authenticity"),
            (Kind::Stale, 5, "stale"),
            (Kind::NoKey, 6, "no-key"),
            (Kind::Conflict, 7, "conflict"),
            (Kind::NotFound, 8, "not-found"),
            (Kind::Denied, 9, "denied"),
        ] {
            let failure = Failure::new(kind, "m");
            assert_eq!((failure.exit(), failure.kind()), (exit, name));
            assert_eq!(failure.to_json(), json!({ "error": { "kind": name, "message": "m", "exit": exit } }));
        }
        assert_eq!((Failure::signal(2).exit(), Failure::signal(15).exit()), (130, 143));
    }

    #[test]
    fn evidence_of_tampering_weighs_more_than_anything_but_a_signal() {
        let (missing, tampered) = (Failure::new(Kind::NotFound, "n"), Failure::new(Kind::Integrity, "i"));
        assert_eq!(missing.clone().worse(tampered.clone()).exit(), 3);
        assert_eq!(tampered.worse(missing).exit(), 3);
    }

    #[test]
    fn advice_fits_what_was_refused() {
        let advice = |error: Error| Failure::from(error).advice().unwrap_or_default().to_owned();
        let untrusted = |why| advice(Error::Untrusted { what: "m:1".into(), why });
        let conflict = |what: &str| advice(Error::Conflict { what: what.into() });
        assert!(untrusted("has no valid signature by an accepted signer").contains("--signer"));
        assert!(!untrusted("is another artifact than the one that was promoted").contains("--signer"));
        assert!(untrusted("is retired, as the trust root says").contains("`mvault trust verify`"));
        assert!(conflict("a revocation of m:1").contains("`mvault revoke --list`"));
        assert!(conflict("trust root version 2").contains("`mvault trust edit`"));
        assert!(conflict("out.key").contains("choose another name"));
    }

    #[test]
    fn a_malformed_local_file_is_a_usage_error_that_names_it() {
        let error = Error::WrongKey { what: "key file".into(), why: "the passphrase does not open it" };
        let failure = Failure::local(Path::new("a.key"), &error);
        assert_eq!((failure.exit(), failure.message()), (6, "a.key: the passphrase does not open it"));
        let Err(error) = vault_core::keys::PublicKey::from_pem("nonsense") else { panic!("parsed") };
        let failure = Failure::local(Path::new("a.pub"), &error);
        assert_eq!((failure.exit(), failure.message()), (2, "a.pub: does not start with a PEM block"));
    }
}
