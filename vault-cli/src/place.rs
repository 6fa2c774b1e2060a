//! Where a vault is, in one spelling: what is remembered about a vault is filed under this, because the user said it and no
//! store can change it.

use std::path::{Component, Path, PathBuf};

use vault_core::store::{Address, is_registry, is_remote, local_path};

use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// The vault at this URL.
pub fn of(url: &str, session: &Session) -> Result<String> {
    let mut place = spelled(url)?;
    if is_remote(url) && !is_registry(url) {
        // Two servers may have buckets of one name.
        let settings = session.reach(url, &session.connection())?.settings;
        let mut endpoints: Vec<_> = settings.iter().filter(|(name, _)| name.contains("ENDPOINT")).collect();
        endpoints.sort();
        endpoints.dedup();
        for (name, value) in endpoints {
            place.extend(["\n", name.as_str(), "=", value.trim_end_matches('/')]);
        }
    }
    Ok(place)
}

/// The one spelling of a URL. Links are not followed: where they lead is for the store to say.
fn spelled(url: &str) -> Result<String> {
    if is_registry(url) {
        let address = Address::parse(url)?;
        let origin = address.origin().strip_suffix(":443").unwrap_or(address.origin());
        return Ok(format!("{origin}/{}", address.vault()));
    }
    if let Some((scheme, rest)) = url.split_once("://").filter(|_| is_remote(url)) {
        let scheme = scheme.to_ascii_lowercase();
        let scheme = if scheme == "s3a" { "s3" } else { &scheme };
        let rest: Vec<_> = rest.split('/').filter(|name| !name.is_empty()).collect();
        return Ok(format!("{scheme}://{}", rest.join("/")));
    }
    let path = local_path(url)?;
    let path = std::path::absolute(&path).map_err(|error| Failure::io(path.display(), &error))?;
    Ok(plain(&path).display().to_string())
}

/// Without `..`, as it is written.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_spelling() {
        let here = std::env::current_dir().expect("a folder").display().to_string();
        for (urls, place) in [
            (&["v", "./v/", "a/../v", "v/."][..], format!("{here}/v")),
            (&["/a/v", "//a//v/", "file:///a/v", "file://localhost/a/v", "/b/../a/v"], "/a/v".into()),
            (&["s3://b/p", "S3://b/p/", "s3a://b//p"], "s3://b/p".into()),
            (&["https://h", "HTTPS://H:443/main/"], "https://h/main".into()),
        ] {
            for url in urls {
                assert_eq!(spelled(url).expect(url), place, "{url}");
            }
        }
        assert!(spelled("ftp://h/v").is_err());
    }
}
