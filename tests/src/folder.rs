//! Folders as values.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Contents of a file, and whether its owner may execute it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.executable { ", executable" } else { "" };
        write!(f, "{} bytes{mark}", self.bytes.len())
    }
}

/// All files of a folder by path.
pub type Tree = BTreeMap<String, Entry>;

/// Every file below `folder`.
pub fn tree(folder: &Path) -> Tree {
    let mut found = Tree::new();
    for path in files(folder) {
        let name = path.strip_prefix(folder).expect("it is below").to_str().expect("a name in UTF-8").to_owned();
        let mode = fs::metadata(&path).expect("a file found").permissions().mode();
        let bytes = fs::read(&path).expect("a readable file");
        found.insert(name, Entry { bytes, executable: mode & 0o100 != 0 });
    }
    found
}

/// The path of every file below `folder`, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies a folder and all that is in it to a new one.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let path = entry.expect("a folder entry").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file is copied");
        }
    }
}

/// Takes a file from everybody but its owner, as private keys demand.
pub fn make_private(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("the mode of a file of ours");
}

/// Bytes without a pattern, always the same.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| step()).collect()
}
