//! The only place that writes to the terminal.
//!
//! Results go to standard output, everything else to standard error. What comes out of a vault is not trusted to be
//! free of control characters, so none gets through.

use std::{
    cell::RefCell,
    fmt::{self, Display},
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use serde_json::Value;

use crate::failure::{Failure, Result};

mod bar;
mod figures;
mod piecewise;

pub use bar::Bar;
pub use figures::{bytes, count, shell_quoted, short, table};
pub use piecewise::Piecewise;

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
        Self { style, out: RefCell::new(stdout()), err: RefCell::new(Box::new(io::stderr())), real: true }
    }

    /// Everything to standard output, in the order it happened.
    pub fn transcript(style: Style) -> Self {
        Self { style, out: RefCell::new(stdout()), err: RefCell::new(stdout()), real: true }
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
            Style::Json => json_text(object),
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

    /// A result in pieces.
    pub fn piecewise(&self) -> Piecewise<'_> {
        Piecewise::new(self)
    }

    fn write_out(&self, text: &str) -> Result {
        self.write_all(format!("{text}\n").as_bytes())
    }

    fn write_all(&self, bytes: &[u8]) -> Result {
        let mut out = self.out.borrow_mut();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Failure::io("standard output", &e))
    }

    /// A detail, for people who want details.
    pub fn note(&self, text: &str) {
        if self.style == Style::Text {
            self.write_err(text);
        }
    }

    /// One step of an explanation that was asked for.
    pub fn explain(&self, step: &str) {
        self.write_err(&format!("explain: {step}"));
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
            let _ = writeln!(err, "{}", json_text(&failure.to_json()));
            return;
        }
        self.write_err(&format!("error: {}", failure.message()));
        if let Some(hint) = failure.advice() {
            self.write_err(&format!("hint: {hint}"));
        }
    }

    fn write_err(&self, text: &str) {
        let _ = self.err.borrow_mut().write_all(format!("{}\n", one_line(text)).as_bytes());
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

/// Standard output, without the one of Rust's library, which takes a descriptor that refuses to be written for a success.
fn stdout() -> Box<dyn Write> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::stdout()),
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

/// An object on one line. JSON itself asks to escape the first 32 characters only; the others stand in strings, where an
/// escape means the same.
pub fn json_text(object: &impl Display) -> String {
    escape(&object.to_string(), steers, |c| format!("\\u{:04x}", u32::from(c)))
}

/// The same over several lines, for people.
pub fn pretty_json(value: &Value) -> String {
    escape(&format!("{value:#}"), |c| steers(c) && c != '\n', |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, applies: fn(char) -> bool) -> String {
    escape(text, |c| steers(c) && applies(c), |c| c.escape_unicode().to_string())
}

fn escape(text: &str, which: impl Fn(char) -> bool, how: impl Fn(char) -> String) -> String {
    if !text.contains(&which) {
        return text.to_owned();
    }
    text.chars().map(|c| if which(c) { how(c) } else { c.to_string() }).collect()
}

/// Whether a character may move the cursor, end a line, or turn the direction of writing (UAX #9, section 2).
fn steers(c: char) -> bool {
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || ends_line || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_vault_cannot_steer_the_terminal() {
        assert_eq!(printable("modèle\nß"), "modèle\nß");
        assert_eq!(one_line("a\nverified: b"), r"a\u{a}verified: b");
        assert_eq!(printable("a\u{1b}[2Jb\r\u{9b}c\u{202e}d"), r"a\u{1b}[2Jb\u{d}\u{9b}c\u{202e}d");
        for turning in "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}\u{7f}\u{85}".chars() {
            assert_eq!(one_line(&turning.to_string()), turning.escape_unicode().to_string());
        }
    }

    #[test]
    fn nor_do_they_in_json_and_it_still_says_the_same() {
        let object = serde_json::json!({ "na\u{202e}me": "a\u{1b}b\n\u{7f}\u{9b}\u{61c}\u{200f}\u{2069}\u{2028} modèle \u{1f600}" });
        let text = json_text(&object);
        assert_eq!(text, r#"{"na\u202eme":"a\u001bb\n\u007f\u009b\u061c\u200f\u2069\u2028 modèle 😀"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).expect("still JSON"), object);
        let value = serde_json::json!({ "a": "\u{1b}\u{9b}\u{202e}\n" });
        assert_eq!(pretty_json(&value), "{\n  \"a\": \"\\u001b\\u009b\\u202e\\n\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&pretty_json(&value)).expect("JSON"), value);
    }
}
