//! What says who asks: a token in the header of each request, or a certificate in the handshake.

use std::{
    fmt,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    secret::SecretVec,
};

/// The longest token that is sent, in bytes; registries read none that is longer.
pub const MAX_TOKEN: usize = 16 << 10;

/// What says who asks: an API key of the registry, or a token of an issuer that it believes.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    /// The file that it came from, which somebody may renew.
    file: Option<PathBuf>,
    known: Mutex<(Arc<SecretVec>, Version)>,
}

/// What differs when a file was written again or replaced: its device, number, time of change in seconds and nanoseconds.
type Version = Option<(u64, u64, i64, i64)>;

impl Token {
    /// Takes a token as it will stand in a header: visible ASCII without spaces.
    ///
    /// # Errors
    /// [`Error::Misuse`] for anything else; the message does not repeat it.
    pub fn new(text: SecretVec) -> Result<Self> {
        check(text.expose())?;
        Ok(Self(Arc::new(Inner { file: None, known: Mutex::new((Arc::new(text), None)) })))
    }

    /// The first line of a file, read again whenever the file changes: tokens that live for minutes are renewed there.
    ///
    /// # Errors
    /// As [`Token::new`]; [`Error::NotFound`] and [`Error::Storage`] as the operating system says.
    pub fn from_file(path: &Path) -> Result<Self> {
        let version = version(path);
        let text = read(path)?;
        Ok(Self(Arc::new(Inner { file: Some(path.to_owned()), known: Mutex::new((Arc::new(text), version)) })))
    }

    /// The token as it is now. Of a file that cannot be read any more, or holds none, what it held last.
    pub(super) fn current(&self) -> Arc<SecretVec> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.0.file {
            let now = version(path);
            if now.is_some()
                && now != known.1
                && let Ok(text) = read(path)
            {
                *known = (Arc::new(text), now);
            }
        }
        Arc::clone(&known.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn check(text: &[u8]) -> Result<()> {
    if text.is_empty() || text.len() > MAX_TOKEN || !text.iter().all(u8::is_ascii_graphic) {
        return Err(Error::Misuse("the token is not one line of visible ASCII characters".into()));
    }
    Ok(())
}

fn version(path: &Path) -> Version {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.ctime(), about.ctime_nsec()))
}

fn read(path: &Path) -> Result<SecretVec> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { what: path.display().to_string() },
        _ => Error::storage(path.display())(error),
    };
    // Room for all of it, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 2));
    File::open(path).and_then(|file| file.take(MAX_TOKEN as u64 + 2).read_to_end(&mut bytes)).map_err(failed)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    check(line)?;
    Ok(SecretVec::new(line.to_vec()))
}

/// A certificate for the client, and its key (PEM).
#[derive(Clone)]
pub struct ClientCertificate(Arc<SecretVec>);

impl ClientCertificate {
    /// A chain, the client's own certificate first, and the key of that. They are read when a registry is connected.
    pub fn new(chain: &[u8], key: &SecretVec) -> Self {
        let mut both = Vec::with_capacity(chain.len() + 1 + key.expose().len());
        both.extend_from_slice(chain);
        both.push(b'\n');
        both.extend_from_slice(key.expose());
        Self(Arc::new(SecretVec::new(both)))
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_to_nobody() {
        let token = Token::new(SecretVec::new(b"mvk_secret".to_vec())).expect("good");
        let certificate = ClientCertificate::new(b"chain", &SecretVec::new(b"secret".to_vec()));
        assert!(!format!("{token:?} {certificate:?}").contains("secret"));
        for bad in [&b""[..], b"a b", b"a\nb", "ä".as_bytes(), &vec![b'a'; MAX_TOKEN + 1]] {
            let refused = Token::new(SecretVec::new(bad.to_vec())).expect_err("refused").to_string();
            assert_eq!(refused, "the token is not one line of visible ASCII characters");
        }
    }

    #[test]
    fn a_file_that_is_renewed_is_read_again_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        assert!(matches!(Token::from_file(&path), Err(Error::NotFound { .. })));
        let put = |text: &str| {
            let next = folder.path().join("next");
            fs::write(&next, text).expect("written");
            fs::rename(&next, &path).expect("replaced");
        };
        put("first\r\nnot this\n");
        let token = Token::from_file(&path).expect("a token");
        assert_eq!(token.current().expose(), b"first");
        put("second");
        assert_eq!(token.clone().current().expose(), b"second");
        put("no token\n");
        assert_eq!(token.current().expose(), b"second");
        fs::remove_file(&path).expect("removed");
        assert_eq!(token.current().expose(), b"second");
        put(&"a".repeat(MAX_TOKEN));
        assert_eq!(token.current().expose().len(), MAX_TOKEN);
        put(&"b".repeat(MAX_TOKEN + 1));
        assert!(matches!(Token::from_file(&path), Err(Error::Misuse(_))));
    }
}
