//! Paths of files in an artifact: relative, portable, and never surprising where they are opened.

use std::{collections::HashSet, fmt};

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Longest path, in bytes of UTF-8.
const MAX_PATH: usize = 4096;
/// Most segments of a path: a folder as deep as this can still be removed again.
const MAX_DEPTH: usize = 64;
/// Longest segment of a path, in bytes of UTF-8.
const MAX_SEGMENT: usize = 255;

/// How names begin that an open keeps beside what it opens, until it is done.
const RESERVED: &str = ".mvault-";

/// The path of one file in an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// Checks a path.
    ///
    /// # Errors
    /// The rule it breaks: what follows "path `…`".
    pub fn new(path: &str) -> Result<Self, &'static str> {
        if path.is_empty() {
            return Err("is empty");
        }
        if path.len() > MAX_PATH {
            return Err("is longer than 4096 bytes");
        }
        if path.starts_with('/') {
            return Err("is absolute");
        }
        if path.contains('\\') {
            return Err("contains a backslash");
        }
        if path.chars().any(char::is_control) {
            return Err("contains a control character");
        }
        if !is_nfc(path) {
            return Err("is not in Unicode normalization form C");
        }
        if path.split('/').count() > MAX_DEPTH {
            return Err("has more than 64 segments");
        }
        for segment in path.split('/') {
            match segment {
                "" => return Err("has an empty segment"),
                "." | ".." => return Err("has a segment `.` or `..`"),
                _ if segment.len() > MAX_SEGMENT => return Err("has a segment longer than 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as text, `/` between segments.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as a file system that ignores case or normalization could see it.
    fn folded(&self) -> String {
        fold(&self.0)
    }
}

fn fold(path: &str) -> String {
    caseless::default_case_fold_str(&path.nfd().collect::<String>()).nfc().collect()
}

/// Whether a path has a reserved segment: one that begins with `.mvault-`, in any case. Such a file could pass for what an
/// interrupted open left, so none is sealed, and none gets its name on disk.
pub fn is_reserved(path: &str) -> bool {
    fold(path).split('/').any(|segment| segment.starts_with(RESERVED))
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds two paths that could collide where they are opened: twins by case or normalization, or a file that is a folder
/// of another.
pub(crate) fn find_collision<'a>(paths: impl Iterator<Item = &'a FilePath> + Clone) -> Option<&'a FilePath> {
    let mut files = HashSet::new();
    for path in paths.clone() {
        if !files.insert(path.folded()) {
            return Some(path);
        }
    }
    paths.into_iter().find(|path| {
        let folded = path.folded();
        folded.match_indices('/').any(|(at, _)| files.contains(&folded[..at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_escape_or_surprise_are_refused() {
        for good in ["a", "a/b.safetensors", "modèle/ß", ".gitattributes", "a b", "...", "a..b", "-rf"] {
            assert!(FilePath::new(good).is_ok(), "{good}");
        }
        let (long, long_segment) = ("aaaa".repeat(1024) + "a", "a".repeat(256));
        let deep = "a/".repeat(64) + "a";
        assert!(FilePath::new(&deep[2..]).is_ok());
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\0b",
            "a\nb",
            "a\\b",
            "C:\\a",
            "a\u{7f}",
            "a\u{85}",
            "e\u{301}",
            &long,
            &long_segment,
            &deep,
        ] {
            assert!(FilePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_what_an_open_keeps_are_reserved() {
        for reserved in [".mvault-resume/0", "a/.mvault-partial-00/b", "a/.MVault-x", ".mvault-"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        for free in [".mvault", "mvault-x", "a.mvault-x", ".mvaultx/-", ".git/x"] {
            assert!(!is_reserved(free), "{free}");
        }
    }

    #[test]
    fn twins_and_files_that_are_folders_collide() {
        let collides = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|p| FilePath::new(p).expect(p)).collect();
            find_collision(paths.iter()).is_some()
        };
        assert!(!collides(&["a", "b", "a.b", "ab/c", "c/a"]));
        for twins in [["a", "a"], ["a", "A"], ["ß", "SS"], ["É", "é"], ["ſ", "s"], ["a", "a/b"], ["A/b", "a"]] {
            assert!(collides(&twins), "{twins:?}");
        }
    }
}
