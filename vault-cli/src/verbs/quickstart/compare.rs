//! Whether what was opened is what was sealed, judged by nothing but the bytes.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::Path,
};

use vault_core::source::{Symlinks, files_below};

use crate::failure::{Failure, Result};

const CHUNK: usize = 1 << 20;

/// Compares two trees (the first may be a single file) and counts their files.
pub fn same_files(sealed: &Path, opened: &Path) -> Result<usize> {
    let (expected, found) = (names(sealed)?, names(opened)?);
    if expected != found {
        return Err(Failure::operational(format!("sealed {expected:?}, but opened {found:?}")));
    }
    for name in &expected {
        let original = if sealed.is_dir() { sealed.join(name) } else { sealed.to_path_buf() };
        if !same(&original, &opened.join(name))? {
            return Err(Failure::operational(format!("{name} is not the same any more")));
        }
    }
    Ok(expected.len())
}

fn names(path: &Path) -> Result<Vec<String>> {
    let files = files_below(path, Symlinks::Refuse)?;
    Ok(files.iter().map(|file| file.path.as_str().to_owned()).collect())
}

fn same(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|e| Failure::io(path.display(), &e));
    let (mut a_file, mut b_file) = (BufReader::new(open(a)?), BufReader::new(open(b)?));
    let mut compare = || -> io::Result<bool> {
        if fs::metadata(a)?.len() != fs::metadata(b)?.len() {
            return Ok(false);
        }
        let (mut left, mut right) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
        loop {
            left.clear();
            right.clear();
            (&mut a_file).take(CHUNK as u64).read_to_end(&mut left)?;
            (&mut b_file).take(CHUNK as u64).read_to_end(&mut right)?;
            if left != right {
                return Ok(false);
            }
            if left.is_empty() {
                return Ok(true);
            }
        }
    };
    compare().map_err(|e| Failure::io(b.display(), &e))
}
