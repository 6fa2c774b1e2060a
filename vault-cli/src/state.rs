//! Where the program keeps what outlives a run.

use std::path::PathBuf;

/// A folder of this program below the user's folder for such things, if the user has one.
pub fn folder(name: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(base.join("mvault").join(name))
}
