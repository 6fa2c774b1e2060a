//! The files of a folder, as an artifact holds them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Data, FileId, Input};
use crate::{
    error::{Error, Result},
    names::FilePath,
};

/// What to do about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symlinks {
    /// Refuse them.
    #[default]
    Refuse,
    /// Follow those that stay inside the folder.
    FollowInside,
}

/// Deeper folders than this are taken for a mistake.
const MAX_DEPTH: usize = 64;

/// The input for `path`: itself if it is a file, all files below it if it is a folder, sorted by path. Empty folders are
/// left out.
///
/// # Errors
/// [`Error::Misuse`] for a symbolic link (or one that leads outside, nowhere or round in circles), anything that is neither file
/// nor folder, and names that an artifact cannot hold; [`Error::Storage`] if something cannot be read.
pub fn files_below(path: &Path, symlinks: Symlinks) -> Result<Vec<Input<'static>>> {
    files_below_where(path, symlinks, &mut |_| true)
}

/// The same without what `keep` does not want: it is asked about every file, folder and link below a folder, by its path in
/// the artifact, before anything else is. What is below an unwanted folder is not looked at.
///
/// # Errors
/// As [`files_below`].
pub(crate) fn files_below_where(
    path: &Path,
    symlinks: Symlinks,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<Input<'static>>> {
    let name = path.display().to_string();
    // The path itself was typed by the user: a link there is followed.
    let root = fs::canonicalize(path).map_err(|e| not_found_or_storage(&name, e))?;
    let metadata = fs::metadata(&root).map_err(Error::storage(&name))?;
    if metadata.is_dir() {
        let mut walk = Walk { root: &root, symlinks, keep, inputs: Vec::new(), ancestors: vec![root.clone()] };
        walk.folder(&root, "")?;
        let mut inputs = walk.inputs;
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        return Ok(inputs);
    }
    let file_name = path.file_name().or(root.file_name()).unwrap_or_default().to_owned();
    let file_name = file_name.to_str().ok_or_else(|| Error::Misuse(format!("{name} is not UTF-8")))?;
    Ok(vec![input(file_name, root, &metadata)?])
}

struct Walk<'a> {
    root: &'a Path,
    symlinks: Symlinks,
    keep: &'a mut dyn FnMut(&str) -> bool,
    inputs: Vec<Input<'static>>,
    /// The real folders above the one being read: meeting one again is a circle.
    ancestors: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        if self.ancestors.len() > MAX_DEPTH {
            return Err(Error::Misuse(format!("{} is nested too deeply", folder.display())));
        }
        for entry in fs::read_dir(folder).map_err(Error::storage(folder.display()))? {
            let entry = entry.map_err(Error::storage(folder.display()))?;
            let path = entry.path();
            let file_name = entry.file_name();
            let name = file_name.to_str().ok_or_else(|| Error::Misuse(format!("{} is not UTF-8", path.display())))?;
            let relative = format!("{prefix}{name}");
            if !(self.keep)(&relative) {
                continue;
            }
            let kind = entry.file_type().map_err(Error::storage(path.display()))?;
            let real = if kind.is_symlink() { self.follow(&path)? } else { path };
            let metadata = fs::symlink_metadata(&real).map_err(Error::storage(real.display()))?;
            if metadata.is_dir() {
                if kind.is_symlink() && self.ancestors.contains(&real) {
                    return Err(Error::Misuse(format!("{relative} is a symbolic link that leads in a circle")));
                }
                self.ancestors.push(real.clone());
                self.folder(&real, &format!("{relative}/"))?;
                self.ancestors.pop();
            } else {
                self.inputs.push(input(&relative, real, &metadata)?);
            }
        }
        Ok(())
    }

    fn follow(&self, path: &Path) -> Result<PathBuf> {
        let name = path.display();
        if self.symlinks == Symlinks::Refuse {
            return Err(Error::Misuse(format!("{name} is a symbolic link")));
        }
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Misuse(format!("{name} is a symbolic link that leads nowhere")));
            }
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(Error::Misuse(format!("{name} is a symbolic link that leads in a circle")));
            }
            Err(e) => return Err(Error::storage(name)(e)),
        };
        if !real.starts_with(self.root) {
            return Err(Error::Misuse(format!("{} is a symbolic link that leads outside", path.display())));
        }
        Ok(real)
    }
}

fn input(relative: &str, real: PathBuf, metadata: &fs::Metadata) -> Result<Input<'static>> {
    if !metadata.is_file() {
        return Err(Error::Misuse(format!("{} is neither file nor folder", real.display())));
    }
    let path = FilePath::new(relative).map_err(|rule| Error::Misuse(format!("path {relative:?} {rule}")))?;
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(Input { path, executable, data: Data::Found(real, FileId::of(metadata)) })
}

fn not_found_or_storage(what: &str, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => Error::NotFound { what: what.to_owned() },
        _ => Error::storage(what)(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(path: &Path, symlinks: Symlinks) -> Result<Vec<String>, String> {
        let inputs = files_below(path, symlinks).map_err(|e| e.to_string())?;
        Ok(inputs.iter().map(|input| input.path.to_string()).collect())
    }

    #[test]
    fn files_are_found_in_order_with_their_executable_bit() {
        let dir = tempfile::tempdir().expect("folder");
        fs::create_dir_all(dir.path().join("b/empty")).expect("folders");
        for name in ["b/z", "a", "b/.hidden"] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o755)).expect("mode");
        assert_eq!(paths(dir.path(), Symlinks::Refuse).expect("found"), ["a", "b/.hidden", "b/z"]);
        let inputs = files_below(dir.path(), Symlinks::Refuse).expect("found");
        assert_eq!(inputs.iter().map(|i| i.executable).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(paths(&dir.path().join("b/z"), Symlinks::Refuse).expect("found"), ["z"]);
        assert!(paths(&dir.path().join("none"), Symlinks::Refuse).expect_err("absent").ends_with("does not exist"));
    }

    #[test]
    fn links_are_refused_or_followed_inside_only() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).expect("folders");
        fs::write(dir.path().join("secret"), "x").expect("written");
        fs::write(root.join("sub/a"), "x").expect("written");
        symlink("sub/a", root.join("link")).expect("link");
        symlink("sub", root.join("twin")).expect("link");
        assert!(paths(&root, Symlinks::Refuse).expect_err("a link").ends_with("is a symbolic link"));
        assert_eq!(paths(&root, Symlinks::FollowInside).expect("inside"), ["link", "sub/a", "twin/a"]);

        symlink("../secret", root.join("out")).expect("link");
        assert!(paths(&root, Symlinks::FollowInside).expect_err("outside").ends_with("leads outside"));
        fs::remove_file(root.join("out")).expect("removed");
        for (target, message) in [("nowhere", "leads nowhere"), ("odd", "leads in a circle")] {
            symlink(target, root.join("odd")).expect("link");
            assert!(paths(&root, Symlinks::FollowInside).expect_err(message).ends_with(message));
            fs::remove_file(root.join("odd")).expect("removed");
        }
        symlink("..", root.join("sub/up")).expect("link");
        assert!(paths(&root, Symlinks::FollowInside).expect_err("circle").ends_with("leads in a circle"));
    }

    #[test]
    fn names_an_artifact_cannot_hold_are_refused() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("a\\b"), "x").expect("written");
        assert!(paths(dir.path(), Symlinks::Refuse).expect_err("backslash").contains("contains a backslash"));
    }
}
