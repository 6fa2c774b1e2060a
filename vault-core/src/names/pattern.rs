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
        is_like(&self.0, name)
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_like(pattern: &str, mut name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    match name.strip_prefix(head) {
        Some(behind) => name = behind,
        None => return false,
    }
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

/// The longest [`Glob`], in bytes.
const MAX_GLOB: usize = 4096;
/// How many names that come near are told, and how much of each.
const MAX_NEAR: usize = 3;
const MAX_TOLD: usize = 100;

/// A pattern over names that others give, of files and tensors: any characters, and `*` stands for anything, `/` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether `name` is like it.
    pub fn matches(&self, name: &str) -> bool {
        is_like(&self.0, name)
    }

    /// Whether it is one name and no more.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That nothing of this kind is like it, and what came near.
    pub(crate) fn unmatched(&self, kind: &str, near: &[(usize, String)]) -> Error {
        let told = |text: &str| text.chars().take(MAX_TOLD).collect::<String>();
        let near: Vec<_> = near.iter().map(|(_, name)| format!("{:?}", told(name))).collect();
        let near = if near.is_empty() { String::new() } else { format!(" (near it: {})", near.join(", ")) };
        Error::NotFound { what: format!("a {kind} like {:?} in the artifact{near}", told(&self.0)) }
    }
}

impl FromStr for Glob {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if (1..=MAX_GLOB).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Misuse(format!("a pattern has 1 to {MAX_GLOB} bytes")))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds those of `names` that come nearest to a pattern: that share the longest beginning and end with it.
pub(crate) fn nearest<'a>(
    pattern: &Glob,
    names: impl IntoIterator<Item = &'a str>,
    nearest: &mut Vec<(usize, String)>,
) {
    let (head, tail) = pattern.0.split_once('*').map_or((&*pattern.0, &*pattern.0), |(head, _)| {
        (head, pattern.0.rsplit_once('*').map_or("", |(_, tail)| tail))
    });
    for name in names {
        let beginning = head.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        let end = tail.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count();
        let likeness = beginning + end;
        let worst = nearest.last().map_or(0, |(worst, _)| *worst);
        if likeness > 1 && (nearest.len() < MAX_NEAR || likeness > worst) {
            nearest.push((likeness, name.to_owned()));
            nearest.sort_by(|a, b| b.cmp(a));
            nearest.truncate(MAX_NEAR);
        }
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
    fn globs_take_any_characters_and_name_what_comes_near() {
        let glob: Glob = "Model.layers.0.*.weight".parse().expect("a glob");
        assert!(glob.matches("Model.layers.0.Å b.weight") && !glob.matches("Model.layers.10.a.weight"));
        assert!("".parse::<Glob>().is_err() && "a".repeat(4097).parse::<Glob>().is_err());
        let glob: Glob = "model.layer.0.weight".parse().expect("a glob");
        let mut near = Vec::new();
        nearest(&glob, ["model.layers.0.weight", "lm_head", "model.layers.1.bias", "x", "model.norm"], &mut near);
        let message = glob.unmatched("tensor", &near).to_string();
        assert_eq!(
            message,
            "a tensor like \"model.layer.0.weight\" in the artifact (near it: \"model.layers.0.weight\", \
             \"model.layers.1.bias\", \"model.norm\") does not exist"
        );
    }

    #[test]
    fn only_characters_of_names_make_a_pattern() {
        for bad in ["", "A", "a b", "ä", "a?", "[a]", "a\0", &"a".repeat(601)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
