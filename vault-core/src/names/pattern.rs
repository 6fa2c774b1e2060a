//! Patterns over names, as roles and commands use them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest pattern: a model name has at most 519 characters.
const MAX_PATTERN: usize = 600;

/// A pattern in which `*` stands for anything, `/` included, and everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether `name` is like it.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let mut pieces: Vec<_> = rest.split('*').collect();
        let tail = pieces.pop().unwrap_or_default();
        for piece in pieces {
            // The leftmost place leaves most for what follows.
            match name.find(piece) {
                Some(at) => name = &name[at + piece.len()..],
                None => return false,
            }
        }
        name.ends_with(tail)
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*".contains(&b);
        if (1..=MAX_PATTERN).contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Misuse(format!("{text:?} is not a pattern: characters of names, and `*` for anything")))
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().expect(pattern).matches(name)
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("*", "a/b"),
            ("a*", "a"),
            ("*b", "a/b"),
            ("a*b", "ab"),
            ("a*c*e", "abcde"),
            ("a", "a"),
            ("**", "x"),
            ("*ab*ab", "abab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*b", "a"), ("aa*a", "aa"), ("*c*", "ab"), ("*ab*ab", "ab")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn only_characters_of_names_make_a_pattern() {
        for bad in ["", "A", "a b", "ä", "a?", "[a]", "a\0", &"a".repeat(601)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
