//! What the URL of a vault names.

use std::path::PathBuf;

use super::is_registry;
use crate::error::{Error, Result};

/// Whether a URL names a bucket or a registry.
pub fn is_remote(url: &str) -> bool {
    is_registry(url)
        || url.split_once("://").is_some_and(|(scheme, _)| {
            ["s3", "s3a", "az", "azure", "abfs", "abfss", "gs"].iter().any(|it| scheme.eq_ignore_ascii_case(it))
        })
}

/// The folder that a path or `file://` URL means.
///
/// # Errors
/// [`Error::Misuse`] for other kinds of URL.
pub fn local_path(url: &str) -> Result<PathBuf> {
    let unfit = |why: &str| Error::Misuse(format!("{url:?}: {why}"));
    match url.split_once("://") {
        _ if url.is_empty() => Err(unfit("a vault needs a path or a URL")),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            let local = rest.strip_prefix("localhost").unwrap_or(rest);
            if !local.starts_with('/') {
                return Err(unfit("a file URL is `file://` and an absolute path"));
            }
            percent_decoded(local).map(PathBuf::from).ok_or_else(|| unfit("has a bad percent escape"))
        }
        Some((scheme, _)) if is_scheme(scheme) => Err(unfit(&format!("{scheme}:// vaults are not supported"))),
        _ => Ok(PathBuf::from(url)),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.as_bytes().split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        bytes.extend(byte);
        bytes.extend(rest);
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_local_folders_or_are_refused() {
        for (url, path) in [
            ("v", "v"),
            ("/a/v", "/a/v"),
            ("./a://b", "./a://b"),
            ("file:///a/v", "/a/v"),
            ("file://localhost/a%20b", "/a b"),
            ("FILE:///%C3%A4", "/ä"),
        ] {
            assert_eq!(local_path(url).expect(url), PathBuf::from(path));
        }
        for bad in ["", "file://v", "file:///%zz", "file:///%2", "file:///%ff", "file:///%00", "file://host/v"] {
            assert!(matches!(local_path(bad), Err(Error::Misuse(_))), "{bad}");
        }
        for later in ["http://registry", "ftp://host/x"] {
            let message = local_path(later).expect_err(later).to_string();
            assert!(message.ends_with("vaults are not supported"), "{message}");
        }
    }
}
