//! The names people give things: models, versions, references, artifact digests.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

mod path;
mod pattern;

pub(crate) use path::find_collision;
pub use path::{FilePath, is_reserved};
pub(crate) use pattern::nearest;
pub use pattern::{Glob, Pattern};

const MAX_SEGMENTS: usize = 8;
const MAX_SEGMENT: usize = 64;
const MAX_VERSION: usize = 128;
/// A model of this name could not be told from an artifact digest.
const DIGEST_PREFIX: &str = "b3";
/// Words the vault tree uses itself, so no segment of a model may be one.
const RESERVED: [&str; 2] = ["versions", "channels"];

/// The name of an artifact: the BLAKE3 hash of its manifest, written `b3:<hex>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArtifactDigest(blake3::Hash);

impl ArtifactDigest {
    /// The digest of these manifest bytes.
    pub fn of(manifest: &[u8]) -> Self {
        Self(blake3::hash(manifest))
    }

    /// The hash itself.
    pub fn hash(&self) -> blake3::Hash {
        self.0
    }

    /// The 64 hexadecimal digits, without `b3:`.
    pub fn to_hex(&self) -> String {
        self.0.to_hex().to_string()
    }

    /// Reads 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Misuse`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self> {
        parse_hash(hex).map(Self).ok_or_else(|| Error::Misuse(format!("`{hex}` is not 64 lower-case hex digits")))
    }
}

impl From<blake3::Hash> for ArtifactDigest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl fmt::Display for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.0)
    }
}

impl FromStr for ArtifactDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("b3:") {
            Some(hex) => Self::from_hex(hex),
            None => Err(Error::Misuse(format!("`{text}` is not an artifact digest: it does not start with `b3:`"))),
        }
    }
}

/// Reads the 64 lower-case hexadecimal digits of a BLAKE3 hash.
pub(crate) fn parse_hash(hex: &str) -> Option<blake3::Hash> {
    let lower = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    lower.then(|| blake3::Hash::from_hex(hex).ok()).flatten()
}

/// The name of a model: one to eight segments joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(String);

/// The name of one version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(String);

/// The name of one channel of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(String);

macro_rules! name_type {
    ($name:ident, $what:literal, $valid:ident, $rule:literal) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                if $valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::Misuse(format!(concat!("{:?} is not a ", $what, " name: ", $rule), text)))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    ModelName,
    "model",
    is_model,
    "one to eight segments joined by `/`, each of 1 to 64 characters a-z 0-9 . _ - starting with a letter or digit, none `versions` or `channels`, and not `b3` alone"
);
name_type!(Version, "version", is_version, "1 to 128 characters A-Z a-z 0-9 . _ + - starting with a letter or digit");
name_type!(
    Channel,
    "channel",
    is_channel,
    "1 to 64 characters a-z 0-9 . _ - starting with a letter or digit, and not `versions` or `channels`"
);

fn is_model(text: &str) -> bool {
    text != DIGEST_PREFIX
        && text.split('/').count() <= MAX_SEGMENTS
        && text.split('/').all(|s| is_model_segment(s) && !RESERVED.contains(&s))
}

fn is_model_segment(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_SEGMENT
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().all(|b| alphanumeric(b) || b"._-".contains(&b))
}

fn is_channel(text: &str) -> bool {
    is_model_segment(text) && !RESERVED.contains(&text)
}

fn is_version(text: &str) -> bool {
    text.len() <= MAX_VERSION
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

/// `model:version`, the name a seal publishes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionName {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: Version,
}

impl FromStr for VersionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (model, version) =
            text.split_once(':').ok_or_else(|| Error::Misuse(format!("{text:?} is not of the form MODEL:VERSION")))?;
        Ok(Self { model: model.parse()?, version: version.parse()? })
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.model, self.version)
    }
}

/// `model@channel`, a pointer that promotions move.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    /// The model.
    pub model: ModelName,
    /// The channel.
    pub channel: Channel,
}

impl FromStr for ChannelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (model, channel) =
            text.split_once('@').ok_or_else(|| Error::Misuse(format!("{text:?} is not of the form MODEL@CHANNEL")))?;
        Ok(Self { model: model.parse()?, channel: channel.parse()? })
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.channel)
    }
}

/// What a reader asks for: `model:version`, `model@channel` or `b3:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// What a channel points to.
    Channel(ChannelName),
    /// A published version.
    Version(VersionName),
    /// An artifact by its digest.
    Digest(ArtifactDigest),
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("b3:") {
            return text.parse().map(Self::Digest);
        }
        if text.contains('@') {
            return text.parse().map(Self::Channel);
        }
        text.parse().map(Self::Version)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => name.fmt(f),
            Self::Version(name) => name.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_follow_the_grammar() {
        for good in ["a", "llama-ft", "org/team/llama.2_x", "0", &"a".repeat(64), "a/b/c/d/e/f/g/h"] {
            assert_eq!(good.parse::<ModelName>().expect(good).as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            ".a",
            "-a",
            "a b",
            "..",
            "a/../b",
            "ä",
            "a:b",
            "a@b",
            "b3",
            "versions",
            "a/channels",
            "a/b/c/d/e/f/g/h/i",
            "a\0",
            &long,
        ] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_follow_the_grammar() {
        for good in ["1", "1.4.0", "V1.0-rc.1+build_7", &"9".repeat(128)] {
            assert_eq!(good.parse::<Version>().expect(good).as_str(), good);
        }
        let long = "9".repeat(129);
        for bad in ["", ".1", "-1", "+1", "1/2", "1 2", "ü", "1\n", &long] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn references_are_told_apart() {
        let hex = blake3::hash(b"x").to_hex();
        assert!(matches!(format!("b3:{hex}").parse(), Ok(Reference::Digest(_))));
        assert!(matches!("m:1".parse(), Ok(Reference::Version(_))));
        assert!(matches!("org/m@production".parse(), Ok(Reference::Channel(_))));
        for bad in ["", "m", "m@", "@c", "m@versions", "m@A", "m@a/b", "m:1@c", "b3:", "b3:1.0", ":1", "m:", "m:1:2"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!(format!("b3:{}", hex.to_uppercase()).parse::<ArtifactDigest>().is_err());
    }
}
