//! A result too long to hold: printed in pieces as it is found.

use super::{Ui, json_text, printable};
use crate::failure::Result;

/// Printed at once.
const ENOUGH: usize = 64 << 10;

/// Standard output while a long result is written to it.
#[derive(Debug)]
pub struct Piecewise<'a> {
    ui: &'a Ui,
    waiting: String,
}

impl<'a> Piecewise<'a> {
    pub(super) fn new(ui: &'a Ui) -> Self {
        Self { ui, waiting: String::new() }
    }

    /// More of a text, with its ends of lines.
    pub fn text(&mut self, text: &str) -> Result {
        self.add(&printable(text))
    }

    /// More of a JSON document on one line.
    pub fn json(&mut self, json: &str) -> Result {
        self.add(&json_text(&json))
    }

    /// The end of the line.
    pub fn end_line(&mut self) -> Result {
        self.add("\n")
    }

    fn add(&mut self, text: &str) -> Result {
        self.waiting.push_str(text);
        if self.waiting.len() < ENOUGH { Ok(()) } else { self.finish() }
    }

    /// Prints what waits.
    pub fn finish(&mut self) -> Result {
        let text = std::mem::take(&mut self.waiting);
        self.ui.write_all(text.as_bytes())
    }
}
