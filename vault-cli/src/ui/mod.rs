//! The only place that writes to the terminal.
//!
//! Results go to standard output, everything else to standard error. What comes out of a vault is not trusted to be
//! free of control characters, so none gets through.

use std::{
    cell::RefCell,
    fmt,
    io::{self, Write},
};

use serde_json::Value;

use crate::failure::{Failure, Result};

mod bar;
mod figures;

pub use bar::Bar;
pub use figures::{bytes, count, shell_quoted, short, table};

/// How output is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Text,
    /// For people who want results and warnings only.
    Quiet,
    /// For programs.
    Json,
}

/// Where output goes.
pub struct Ui {
    style: Style,
    out: RefCell<Box<dyn Write>>,
    err: RefCell<Box<dyn Write>>,
    /// Whether `out` or `err` is a terminal's or a pipe's end, and not a buffer.
    real: bool,
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Ui {
    /// Output to the process's standard streams.
    pub fn terminal(style: Style) -> Self {
        let (out, err) = (RefCell::new(Box::new(io::stdout()) as _), RefCell::new(Box::new(io::stderr()) as _));
        Self { style, out, err, real: true }
    }

    /// Everything to standard output, in the order it happened.
    pub fn transcript(style: Style) -> Self {
        let (out, err) = (RefCell::new(Box::new(io::stdout()) as _), RefCell::new(Box::new(io::stdout()) as _));
        Self { style, out, err, real: true }
    }

    /// Output to anything else.
    pub fn captured(style: Style, out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { style, out: RefCell::new(out), err: RefCell::new(err), real: false }
    }

    /// How output is to look.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The result of the command: `text` for people, `object` for programs. Exactly one is printed, once.
    pub fn result(&self, text: &str, object: &Value) -> Result {
        let text = match self.style {
            Style::Json => object.to_string(),
            Style::Text | Style::Quiet => printable(text.trim_end()),
        };
        self.write_out(&text)
    }

    /// A line of a result that is not for programs.
    pub fn line(&self, text: &str) -> Result {
        match self.style {
            Style::Json => Ok(()),
            Style::Text | Style::Quiet => self.write_out(&printable(text)),
        }
    }

    fn write_out(&self, text: &str) -> Result {
        let mut out = self.out.borrow_mut();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Failure::io("standard output", &e))
    }

    /// A detail, for people who want details.
    pub fn note(&self, text: &str) {
        if self.style == Style::Text {
            self.write_err(text);
        }
    }

    /// Something that should not be overlooked. Programs find it in the result.
    pub fn warn(&self, text: &str) {
        if self.style != Style::Json {
            self.write_err(&format!("warning: {text}"));
        }
    }

    /// Why the command failed.
    pub fn failure(&self, failure: &Failure) {
        if self.style == Style::Json {
            let mut err = self.err.borrow_mut();
            // There is nowhere left to say that standard error is closed; the exit code says the rest.
            let _ = writeln!(err, "{}", failure.to_json());
            return;
        }
        self.write_err(&format!("error: {}", failure.message()));
        if let Some(hint) = failure.advice() {
            self.write_err(&format!("hint: {hint}"));
        }
    }

    fn write_err(&self, text: &str) {
        let _ = writeln!(self.err.borrow_mut(), "{}", one_line(text));
    }

    /// A progress bar; nothing is drawn unless standard error is a terminal and `wanted`.
    pub fn bar(
        &self,
        doing: &'static str,
        total: Option<u64>,
        wanted: bool,
        interrupt: crate::interrupt::Interrupt,
    ) -> Bar {
        Bar::new(doing, total, wanted && self.real && self.style == Style::Text, interrupt)
    }

    /// Raw bytes to standard output.
    pub fn write_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.out.borrow_mut().write_all(bytes)
    }

    /// Makes sure that everything printed has arrived.
    pub fn finish(&self) -> Result {
        self.out.borrow_mut().flush().map_err(|e| Failure::io("standard output", &e))
    }
}

/// `text` without control characters: neither names in a vault nor errors about them may steer a terminal.
fn printable(text: &str) -> String {
    escaped(text, |c| c != '\n')
}

/// The same on one line: a name must not look like a line of ours either.
pub fn one_line(text: &str) -> String {
    escaped(text, |_| true)
}

/// Pretty JSON that a terminal shows and a program reads: what would steer the terminal is escaped as JSON escapes it.
pub fn pretty_json(value: &Value) -> String {
    let text = format!("{value:#}");
    text.chars().map(|c| if steers(c) && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.into() }).collect()
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, applies: fn(char) -> bool) -> String {
    let steers = |c: char| steers(c) && applies(c);
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars().map(|c| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_vault_cannot_steer_the_terminal() {
        assert_eq!(printable("modèle\nß"), "modèle\nß");
        assert_eq!(one_line("a\nverified: b"), r"a\u{a}verified: b");
        assert_eq!(printable("a\u{1b}[2Jb\r\u{9b}c\u{202e}d"), r"a\u{1b}[2Jb\u{d}\u{9b}c\u{202e}d");
        let value = serde_json::json!({ "a": "\u{1b}\u{9b}\u{202e}\n" });
        assert_eq!(pretty_json(&value), "{\n  \"a\": \"\\u001b\\u009b\\u202e\\n\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&pretty_json(&value)).expect("JSON"), value);
    }
}
