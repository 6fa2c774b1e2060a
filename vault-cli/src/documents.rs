//! Small documents named on the command line.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use vault_core::Error;

use crate::failure::{Failure, Result};

/// Reads a file of at most so many bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let bytes = read_start(path, most)?;
    if bytes.len() as u64 > most {
        return Err(Failure::usage(format!("{} is longer than {most} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a file of at most so many bytes; one byte more of a longer one, which its parser refuses.
pub fn read_start(path: &Path, most: u64) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::local(path, &Error::NotFound { what: name.clone() }),
        _ => Failure::io(&name, &error),
    })?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| Failure::io(&name, &error))?;
    Ok(bytes)
}

/// Writes a new file, which nobody need keep secret. On failure nothing is left.
pub fn create(path: &Path, bytes: &[u8]) -> Result {
    let name = path.display().to_string();
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::from(Error::Conflict { what: name.clone() }),
        _ => Failure::io(&name, &error),
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // The write is what failed; a leftover is the lesser news.
        let _ = std::fs::remove_file(path);
    }
    written.map_err(|error| Failure::io(&name, &error))
}
