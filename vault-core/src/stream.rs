//! The data encryption key of an artifact, and the FLOE key and associated data of each of its streams.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha384;
use subtle::ConstantTimeEq;

use crate::{
    aead::Engine,
    error::Result,
    floe::{Decryptor, Encryptor, Header, Params},
    secret::Secret,
};

/// The segment length of every stream: 1 MiB.
const ENC_SEG_LEN: u32 = 1 << 20;

/// The random name that ties every stream to its artifact; public.
pub type ArtifactId = [u8; 32];

/// Where a stream was sealed first: the artifact and its number there. Key and associated data derive from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The artifact.
    pub artifact_id: ArtifactId,
    /// The number of the stream in it.
    pub stream: u32,
}

/// The FLOE key of one stream, and of nothing else.
#[derive(Debug, Clone)]
pub struct StreamKey(Secret<32>);

impl StreamKey {
    /// Lends the key, to be written to where only those who may open the stream read it.
    pub(crate) fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// A key that came out of an index or a cache.
    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Starts decrypting the stream that was sealed first at `origin`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the header does not commit to this key and origin.
    pub fn decryptor(&self, origin: &Origin, header: &Header, engine: Engine) -> Result<Decryptor> {
        Decryptor::with_engine(self.0.expose(), &aad(origin), header, params(), engine)
    }
}

impl PartialEq for StreamKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose().ct_eq(other.0.expose()).into()
    }
}

impl Eq for StreamKey {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of artifact {}", self.stream, hex::encode(self.artifact_id))
    }
}

/// The data encryption key of one artifact. Every stream's key derives from it.
#[derive(Debug, Clone)]
pub struct Dek(Secret<32>);

impl Dek {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) if the operating system has no randomness to give.
    pub fn random() -> Result<Self> {
        Secret::random().map(Self)
    }

    /// Lends the key, to be wrapped.
    pub(crate) fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// A key that came out of a wrapping.
    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// `HKDF-SHA-384(ikm = DEK, salt = artifact id, info = "mvault/v1 stream" || u32be(number))`.
    pub(crate) fn stream_key(&self, origin: &Origin) -> StreamKey {
        StreamKey(self.expand(&origin.artifact_id, &[b"mvault/v1 stream", &origin.stream.to_be_bytes()]))
    }

    /// A key for the digests of files that an interrupted open left: whoever has not the DEK cannot have written them.
    ///
    /// `HKDF-SHA-384(ikm = DEK, salt, info = "mvault/v1 reopen" || what)`; `what` has a fixed length.
    pub(crate) fn reopen_key(&self, salt: &[u8; 32], what: &[u8; 64]) -> Secret<32> {
        self.expand(salt, &[b"mvault/v1 reopen", what])
    }

    fn expand(&self, salt: &[u8; 32], info: &[&[u8]]) -> Secret<32> {
        let mut key = Secret::new([0; 32]);
        #[expect(clippy::expect_used, reason = "32 bytes are fewer than 255 blocks")]
        Hkdf::<Sha384>::new(Some(salt), self.0.expose())
            .expand_multi_info(info, key.expose_mut())
            .expect("HKDF gives 32 bytes");
        key
    }

    /// Starts encrypting stream `number`.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) if the operating system has no randomness to give.
    pub fn encryptor(&self, artifact: &ArtifactId, number: u32, engine: Engine) -> Result<Encryptor> {
        let origin = Origin { artifact_id: *artifact, stream: number };
        Encryptor::with_engine(self.stream_key(&origin).0.expose(), &aad(&origin), params(), engine)
    }

    /// Goes on encrypting stream `number`, which was started with this header. See [`Encryptor::resume`].
    ///
    /// # Errors
    /// As [`Dek::decryptor`].
    pub(crate) fn resume(
        &self,
        artifact: &ArtifactId,
        number: u32,
        header: &Header,
        engine: Engine,
    ) -> Result<Encryptor> {
        let origin = Origin { artifact_id: *artifact, stream: number };
        Encryptor::resume(self.stream_key(&origin).0.expose(), &aad(&origin), header, params(), engine)
    }

    /// Starts decrypting stream `number`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the header does not commit to this key, artifact and stream.
    pub fn decryptor(&self, artifact: &ArtifactId, number: u32, header: &Header, engine: Engine) -> Result<Decryptor> {
        let origin = Origin { artifact_id: *artifact, stream: number };
        self.stream_key(&origin).decryptor(&origin, header, engine)
    }
}

/// The FLOE parameters of every stream.
pub(crate) fn params() -> Params {
    #[expect(clippy::expect_used, reason = "a constant")]
    Params::new(ENC_SEG_LEN).expect("1 MiB is a legal segment length")
}

fn aad(origin: &Origin) -> Vec<u8> {
    [b"mvault/v1", &origin.artifact_id[..], &origin.stream.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_fits_no_other_stream_and_no_other_artifact() {
        let dek = Dek::random().expect("randomness");
        let (one, other) = ([1; 32], [2; 32]);
        let encryptor = dek.encryptor(&one, 0, Engine::Fast).expect("starts");
        let segment = encryptor.encrypt_segment(0, true, b"weights").expect("encrypts");
        let decryptor = dek.decryptor(&one, 0, encryptor.header(), Engine::Reference).expect("starts");
        assert_eq!(decryptor.decrypt_segment(0, true, &segment).expect("decrypts"), b"weights");
        assert!(dek.decryptor(&one, 1, encryptor.header(), Engine::Fast).is_err());
        assert!(dek.decryptor(&other, 0, encryptor.header(), Engine::Fast).is_err());
        let second = dek.encryptor(&one, 1, Engine::Fast).expect("starts");
        let decryptor = dek.decryptor(&one, 1, second.header(), Engine::Fast).expect("starts");
        assert!(decryptor.decrypt_segment(0, true, &segment).is_err());
    }

    #[test]
    fn the_key_of_one_stream_opens_it_and_no_other() {
        let dek = Dek::random().expect("randomness");
        let origin = |artifact, stream| Origin { artifact_id: [artifact; 32], stream };
        let encryptor = dek.encryptor(&[1; 32], 3, Engine::Fast).expect("starts");
        let segment = encryptor.encrypt_segment(0, true, b"weights").expect("encrypts");
        let key = dek.stream_key(&origin(1, 3));
        let decryptor = key.decryptor(&origin(1, 3), encryptor.header(), Engine::Fast).expect("starts");
        assert_eq!(decryptor.decrypt_segment(0, true, &segment).expect("decrypts"), b"weights");
        assert!(key.decryptor(&origin(1, 2), encryptor.header(), Engine::Fast).is_err());
        assert!(key.decryptor(&origin(2, 3), encryptor.header(), Engine::Fast).is_err());
        let other = dek.stream_key(&origin(1, 2));
        assert!(other != key && other.decryptor(&origin(1, 3), encryptor.header(), Engine::Fast).is_err());
    }

    #[test]
    fn the_derivation_is_the_specified_one() {
        // HKDF-SHA-384 written out with HMAC, from RFC 5869.
        use hmac::{Hmac, KeyInit, Mac};
        let hmac = |key: &[u8], message: &[u8]| -> Vec<u8> {
            let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("any length");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        };
        let (dek, artifact) = ([9; 32], [4; 32]);
        let prk = hmac(&artifact, &dek);
        let block = hmac(&prk, b"mvault/v1 stream\x00\x00\x00\x07\x01");
        let origin = Origin { artifact_id: artifact, stream: 7 };
        let key = Dek::from_secret(Secret::new(dek)).stream_key(&origin);
        assert_eq!(key.secret().expose()[..], block[..32]);
        assert_eq!(format!("{key:?}"), "StreamKey(Secret<32>(..))");
    }
}
