//! FLOE-AES-256-GCM: random-access authenticated encryption, exactly as <https://c2sp.org/FLOE> specifies it
//! (ePrint 2025/2275).
//!
//! These are the *random access* functions of the specification. They encrypt and decrypt single segments and leave it
//! to the caller to encrypt every position once, to stop after the final segment and to know how many segments there
//! are; the pipelines of this crate do.
//!
//! ```
//! use vault_core::floe::{Decryptor, Encryptor, Params};
//!
//! let (key, aad) = ([7; 32], b"associated data");
//! let params = Params::new(64)?;
//! let encryptor = Encryptor::new(&key, aad, params)?;
//! let header = encryptor.header();
//! let first = encryptor.encrypt_segment(0, false, &[1; 32])?; // a full segment carries 64 - 32 bytes
//! let last = encryptor.encrypt_segment(1, true, b"the end")?;
//!
//! let decryptor = Decryptor::new(&key, aad, header, params)?;
//! assert_eq!(decryptor.decrypt_segment(1, true, &last)?, b"the end");
//! assert_eq!(decryptor.decrypt_segment(0, false, &first)?, [1; 32]);
//! assert!(decryptor.decrypt_segment(1, false, &first).is_err()); // not at this position
//! # Ok::<(), vault_core::Error>(())
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha384;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{
    aead::{Engine, KEY_LEN, NONCE_LEN, SegmentCipher, TAG_LEN},
    error::{Error, Fault, Place, Result},
    secret::{Secret, fill_random},
};

/// Length of the length field at the start of a segment.
const LENGTH_LEN: usize = 4;
/// Where the AEAD ciphertext begins in a segment.
pub(crate) const PREFIX_LEN: usize = LENGTH_LEN + NONCE_LEN;
/// Bytes of a segment that are not plaintext: length field, IV and tag.
pub const OVERHEAD: usize = PREFIX_LEN + TAG_LEN;
/// Length of a FLOE header in bytes: parameters, IV, tag.
pub const HEADER_LEN: usize = PARAMS_LEN + IV_LEN + HEADER_TAG_LEN;
/// `AEAD_MAX_SEGMENTS`: positions are below this.
pub const MAX_SEGMENTS: u64 = 1 << 40;

const PARAMS_LEN: usize = 10;
const IV_LEN: usize = 32;
const HEADER_TAG_LEN: usize = 32;
const MESSAGE_KEY_LEN: usize = 48;
/// `AEAD_ROTATION_MASK`: 2^20 segments are encrypted under one AEAD key.
const ROTATION_MASK: u32 = 20;
/// The length field of a segment that is not the final one.
const NOT_FINAL: u32 = u32::MAX;

/// The parameters of a FLOE ciphertext; only the segment length is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    enc_seg_len: u32,
    rotation_mask: u32,
}

impl Params {
    /// Segments of `enc_seg_len` bytes (`ENC_SEG_LEN`), encrypted; [`OVERHEAD`] fewer of plaintext.
    ///
    /// # Errors
    /// [`Error::Misuse`] unless `enc_seg_len` is from 33 to 2^32 − 2.
    pub fn new(enc_seg_len: u32) -> Result<Self> {
        if enc_seg_len as usize <= OVERHEAD || enc_seg_len == NOT_FINAL {
            return Err(Error::Misuse(format!("{enc_seg_len} is not a FLOE segment length")));
        }
        Ok(Self { enc_seg_len, rotation_mask: ROTATION_MASK })
    }

    /// Encrypted length of every segment but the final one.
    pub fn segment_len(self) -> usize {
        self.enc_seg_len as usize
    }

    /// Plaintext length of every segment but the final one.
    pub fn plaintext_len(self) -> usize {
        self.segment_len() - OVERHEAD
    }

    /// `PARAM_ENCODE`.
    fn encode(self) -> [u8; PARAMS_LEN] {
        let mut out = [0; PARAMS_LEN]; // AEAD_ID 0, KDF_ID 0
        out[2..6].copy_from_slice(&self.enc_seg_len.to_be_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "32")]
        out[6..].copy_from_slice(&(IV_LEN as u32).to_be_bytes());
        out
    }

    fn check_position(position: u64) -> Result<()> {
        if position < MAX_SEGMENTS {
            return Ok(());
        }
        Err(Error::limit("FLOE segment", "position", MAX_SEGMENTS - 1))
    }
}

/// A FLOE header: parameters, IV and a tag that commits to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header([u8; HEADER_LEN]);

impl Header {
    /// Takes header bytes as they are; a [`Decryptor`] checks them.
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.0
    }

    /// Whether the header is for these parameters.
    pub fn has_params(&self, params: Params) -> bool {
        self.0[..PARAMS_LEN] == params.encode()
    }

    fn iv(&self) -> &[u8] {
        &self.0[PARAMS_LEN..PARAMS_LEN + IV_LEN]
    }

    fn tag(&self) -> &[u8] {
        &self.0[PARAMS_LEN + IV_LEN..]
    }
}

/// What encryption and decryption share: the message key and the AEAD keys derived from it.
struct State {
    params: Params,
    engine: Engine,
    message_key: Secret<MESSAGE_KEY_LEN>,
    /// `PARAM_ENCODE(params) || iv`, the start of every KDF info.
    info_prefix: Vec<u8>,
    aad: Vec<u8>,
    /// The cipher of the first rotation, all there is below 2^20 segments.
    first: Arc<dyn SegmentCipher>,
    /// The latest cipher of a later rotation, and the masked position it is for.
    later: Mutex<Option<(u64, Arc<dyn SegmentCipher>)>>,
}

impl State {
    fn new(key: &[u8; KEY_LEN], aad: &[u8], iv: &[u8], params: Params, engine: Engine) -> Self {
        let info_prefix = [&params.encode()[..], iv].concat();
        let mut message_key = Secret::new([0; MESSAGE_KEY_LEN]);
        kdf(key, &[&info_prefix, b"MESSAGE_KEY:", aad], message_key.expose_mut());
        let first = derive_cipher(&message_key, &info_prefix, aad, 0, engine);
        Self { params, engine, message_key, info_prefix, aad: aad.to_vec(), first, later: Mutex::new(None) }
    }

    /// `DERIVE_KEY`, cached.
    fn cipher(&self, position: u64) -> Arc<dyn SegmentCipher> {
        let masked = position >> self.params.rotation_mask << self.params.rotation_mask;
        if masked == 0 {
            return Arc::clone(&self.first);
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        match &*later {
            Some((at, cipher)) if *at == masked => Arc::clone(cipher),
            _ => {
                let cipher = derive_cipher(&self.message_key, &self.info_prefix, &self.aad, masked, self.engine);
                *later = Some((masked, Arc::clone(&cipher)));
                cipher
            }
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("params", &self.params).field("engine", &self.engine).finish_non_exhaustive()
    }
}

fn derive_cipher(
    key: &Secret<MESSAGE_KEY_LEN>,
    info_prefix: &[u8],
    aad: &[u8],
    masked: u64,
    engine: Engine,
) -> Arc<dyn SegmentCipher> {
    let mut aead_key = Secret::new([0; KEY_LEN]);
    kdf(key.expose(), &[info_prefix, b"DEK:", &masked.to_be_bytes(), aad], aead_key.expose_mut());
    engine.cipher(aead_key.expose()).into()
}

/// `FLOE_KDF`: HKDF-Expand with SHA-384. No output is longer than one block, so it is `HMAC(key, info || 0x01)`, cut.
/// (The `hkdf` crate takes no pseudorandom key shorter than the hash; FLOE keys are.)
fn kdf(key: &[u8], info: &[&[u8]], out: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("HMAC takes keys of any length");
    for piece in info {
        mac.update(piece);
    }
    mac.update(&[1]);
    let mut block: [u8; MESSAGE_KEY_LEN] = mac.finalize().into_bytes().into();
    out.copy_from_slice(&block[..out.len()]);
    block.zeroize();
}

fn header_tag(key: &[u8; KEY_LEN], aad: &[u8], iv: &[u8], params: Params) -> [u8; HEADER_TAG_LEN] {
    let mut tag = [0; HEADER_TAG_LEN];
    kdf(key, &[&params.encode(), iv, b"HEADER_TAG:", aad], &mut tag);
    tag
}

/// The AEAD associated data of a segment: its position and whether it is final.
fn segment_aad(position: u64, is_final: bool) -> [u8; 9] {
    let mut aad = [0; 9];
    aad[..8].copy_from_slice(&position.to_be_bytes());
    aad[8] = is_final.into();
    aad
}

/// Encrypts the segments of one ciphertext. May be shared by threads.
#[derive(Debug)]
pub struct Encryptor {
    state: State,
    header: Header,
}

impl Encryptor {
    /// Starts a ciphertext (`startEncryption`) under a 32-byte key with a fresh random IV.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn new(key: &[u8; KEY_LEN], aad: &[u8], params: Params) -> Result<Self> {
        Self::with_engine(key, aad, params, Engine::default())
    }

    /// The same with the engine of choice.
    ///
    /// # Errors
    /// As [`Encryptor::new`].
    pub fn with_engine(key: &[u8; KEY_LEN], aad: &[u8], params: Params, engine: Engine) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        bytes[..PARAMS_LEN].copy_from_slice(&params.encode());
        fill_random(&mut bytes[PARAMS_LEN..PARAMS_LEN + IV_LEN])?;
        let tag = header_tag(key, aad, &bytes[PARAMS_LEN..PARAMS_LEN + IV_LEN], params);
        bytes[PARAMS_LEN + IV_LEN..].copy_from_slice(&tag);
        let header = Header(bytes);
        Ok(Self { state: State::new(key, aad, header.iv(), params, engine), header })
    }

    /// Goes on with a ciphertext that [`Encryptor::new`] started and that was interrupted.
    ///
    /// FLOE's random access functions leave it to the caller to encrypt every position once. Whoever goes on cannot know
    /// which positions were encrypted just before the interruption, and encrypts those again: that shares no IV, because
    /// every segment draws a fresh one, but which of the two segments counts must be fixed from outside, and both count
    /// towards the limit of AES-GCM keys (`docs/FORMAT.md`, section 5).
    ///
    /// # Errors
    /// As [`Decryptor::new`].
    pub fn resume(key: &[u8; KEY_LEN], aad: &[u8], header: &Header, params: Params, engine: Engine) -> Result<Self> {
        let Decryptor { state } = Decryptor::with_engine(key, aad, header, params, engine)?;
        Ok(Self { state, header: *header })
    }

    /// The header that a decryptor needs.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Encrypts one segment (`encryptSegment`). Encrypt each position once only, and nothing behind the final one.
    ///
    /// # Errors
    /// [`Error::Misuse`] if `plaintext` is longer than a segment carries, or not exactly as long when not final;
    /// [`Error::Corrupt`] if the position is 2^40 or more.
    pub fn encrypt_segment(&self, position: u64, is_final: bool, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut segment = vec![0; plaintext.len() + OVERHEAD];
        segment[PREFIX_LEN..PREFIX_LEN + plaintext.len()].copy_from_slice(plaintext);
        self.encrypt_in_place(position, is_final, &mut segment)?;
        Ok(segment)
    }

    /// Encrypts one segment where it is: `segment` holds the plaintext at 16 with 16 bytes of room behind it.
    pub(crate) fn encrypt_in_place(&self, position: u64, is_final: bool, segment: &mut [u8]) -> Result<()> {
        let full = self.state.params.segment_len();
        let fits = if is_final { (OVERHEAD..=full).contains(&segment.len()) } else { segment.len() == full };
        if !fits {
            return Err(Error::Misuse(format!("a segment of {} bytes where {full} is full", segment.len())));
        }
        Params::check_position(position)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most ENC_SEG_LEN, which is a u32")]
        let length = if is_final { segment.len() as u32 } else { NOT_FINAL };
        let mut iv = [0; NONCE_LEN];
        fill_random(&mut iv)?;
        let (prefix, rest) = segment.split_at_mut(PREFIX_LEN);
        let (plaintext, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
        prefix[..LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
        prefix[LENGTH_LEN..].copy_from_slice(&iv);
        let aad = segment_aad(position, is_final);
        tag.copy_from_slice(&self.state.cipher(position).seal_in_place(&iv, &aad, plaintext)?);
        Ok(())
    }
}

/// Decrypts the segments of one ciphertext. May be shared by threads.
#[derive(Debug)]
pub struct Decryptor {
    state: State,
}

impl Decryptor {
    /// Checks the header against key, associated data and parameters (`startDecryption`).
    ///
    /// # Errors
    /// [`Error::Corrupt`]: [`Fault::Format`] if the header is for other parameters, [`Fault::Tag`] if its tag does not
    /// commit to this key.
    pub fn new(key: &[u8; KEY_LEN], aad: &[u8], header: &Header, params: Params) -> Result<Self> {
        Self::with_engine(key, aad, header, params, Engine::default())
    }

    /// The same with the engine of choice.
    ///
    /// # Errors
    /// As [`Decryptor::new`].
    pub fn with_engine(
        key: &[u8; KEY_LEN],
        aad: &[u8],
        header: &Header,
        params: Params,
        engine: Engine,
    ) -> Result<Self> {
        if !header.has_params(params) {
            return Err(Error::format("FLOE header", "is for other parameters"));
        }
        let expected = header_tag(key, aad, header.iv(), params);
        if !bool::from(expected.ct_eq(header.tag())) {
            return Err(Error::Corrupt { place: Place::Document("FLOE header"), fault: Fault::Tag });
        }
        Ok(Self { state: State::new(key, aad, header.iv(), params, engine) })
    }

    /// Decrypts one segment (`decryptSegment`).
    ///
    /// The caller must know from a trusted source which position is final.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: [`Fault::Format`] if length or length field do not fit, [`Fault::Tag`] if it does not
    /// authenticate at this position.
    pub fn decrypt_segment(&self, position: u64, is_final: bool, segment: &[u8]) -> Result<Vec<u8>> {
        let mut plaintext = vec![0; segment.len().saturating_sub(OVERHEAD)];
        self.decrypt_segment_into(position, is_final, segment, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Decrypts one segment into `out`, which is [`OVERHEAD`] bytes shorter than the segment.
    ///
    /// # Errors
    /// As [`Decryptor::decrypt_segment`]; [`Fault::Tag`] too if `out` has another length. `out` holds no plaintext then.
    pub fn decrypt_segment_into(&self, position: u64, is_final: bool, segment: &[u8], out: &mut [u8]) -> Result<()> {
        self.check(position, is_final, segment)?;
        let (iv, sealed) = split(segment);
        let aad = segment_aad(position, is_final);
        if self.state.cipher(position).open_into(iv, &aad, sealed, out) { Ok(()) } else { Err(unauthentic()) }
    }

    /// Decrypts one segment where it is and returns the plaintext in it.
    pub(crate) fn decrypt_in_place<'a>(
        &self,
        position: u64,
        is_final: bool,
        segment: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        self.check(position, is_final, segment)?;
        let (iv, _) = split(segment);
        let (iv, aad, end) = (*iv, segment_aad(position, is_final), segment.len() - TAG_LEN);
        if self.state.cipher(position).open_in_place(&iv, &aad, &mut segment[PREFIX_LEN..]) {
            Ok(&segment[PREFIX_LEN..end])
        } else {
            segment.zeroize();
            Err(unauthentic())
        }
    }

    fn check(&self, position: u64, is_final: bool, segment: &[u8]) -> Result<()> {
        let full = self.state.params.segment_len();
        let expected = if is_final { segment.len() } else { full };
        if !(OVERHEAD..=full).contains(&segment.len()) || segment.len() != expected {
            return Err(Error::format("FLOE segment", format!("has {} bytes where {full} is full", segment.len())));
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most ENC_SEG_LEN, which is a u32")]
        let field = if is_final { segment.len() as u32 } else { NOT_FINAL };
        if segment[..LENGTH_LEN] != field.to_be_bytes() {
            return Err(Error::format("FLOE segment", "has a length field that does not fit its place"));
        }
        Params::check_position(position)
    }
}

/// IV, and ciphertext with tag, of a segment that was checked to be long enough.
fn split(segment: &[u8]) -> (&[u8; NONCE_LEN], &[u8]) {
    #[expect(clippy::expect_used, reason = "`check` demands OVERHEAD bytes")]
    segment[LENGTH_LEN..].split_first_chunk().expect("a checked segment holds an IV")
}

fn unauthentic() -> Error {
    Error::Corrupt { place: Place::Document("FLOE segment"), fault: Fault::Tag }
}

#[cfg(test)]
mod tests;
