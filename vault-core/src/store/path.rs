//! Which paths a vault has.

use crate::error::{Error, Result};

/// Where a directory writes files before they get their names.
pub(super) const STAGING: &str = "staging";
/// The longest key S3 takes, and more than the longest model and version need.
const MAX_PATH: usize = 1024;
/// `NAME_MAX` of common file systems.
const MAX_SEGMENT: usize = 255;

/// Refuses what is not the path of an object.
///
/// # Errors
/// [`Error::Misuse`].
pub fn check(path: &str) -> Result<()> {
    if is_path(path) { Ok(()) } else { Err(Error::Misuse(format!("{path:?} is not a path in a vault"))) }
}

/// Refuses what is neither a folder nor empty, which means the whole vault.
///
/// # Errors
/// [`Error::Misuse`].
pub fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.is_empty() { Ok(()) } else { check(prefix) }
}

fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH && path.split('/').all(is_segment) && path.split('/').next() != Some(STAGING)
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.len() <= MAX_SEGMENT
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

/// Folder and last segment; the folder of a top-level object is empty.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_of_plain_segments_are_taken() {
        for good in ["vault.json", "models/a.b/versions/1.0+x_y-Z.dsse.json", "objects/ab/abcd", "x/staging"] {
            check(good).expect(good);
        }
        let (long, longer) = ("a".repeat(256), "a/".repeat(512) + "a");
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a b",
            "a\\b",
            "ä",
            "a\0",
            "staging/x",
            &long,
            &longer,
        ] {
            assert!(matches!(check(bad), Err(Error::Misuse(_))), "{bad:?}");
        }
        check_prefix("").expect("the whole vault");
        assert!(check_prefix("../x").is_err());
    }

    #[test]
    fn a_path_splits_into_folder_and_name() {
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("c"), ("", "c"));
    }
}
