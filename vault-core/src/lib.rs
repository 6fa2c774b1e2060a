//! Sealed, signed, verifiable model weights: the library behind `mvault`.
//!
//! A [`vault::Vault`] keeps artifacts in a [`store::Store`]. Sealing encrypts files in parallel (FLOE-AES-256-GCM), commits to
//! every byte (BLAKE3) and signs the result (Ed25519 over in-toto statements). Verifying needs no key that decrypts. Opening
//! checks every segment against the signature before it decrypts it. `docs/FORMAT.md` in the repository specifies what is stored.
//!
//! The way from a name to plaintext is a chain of types, each made only by the check before it:
//! a [`names::Reference`] and a [`trust::Policy`] give a [`vault::Artifact`] with a [`trust::Verified`] manifest; with a
//! [`wrap::Keyring`] that gives an [`open::Opened`], which reads files.
//!
//! ```
//! use vault_core::{
//!     keys::{Identity, RecipientKind, SigningKey},
//!     names::FilePath,
//!     open, seal,
//!     source::{Data, Input},
//!     store::{Connection, Store},
//!     trust::Policy,
//!     vault::{Deduplication, SealRequest, Vault},
//!     workers::Threads,
//!     wrap::{Audience, Keyring},
//! };
//!
//! # fn main() -> vault_core::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let path = folder.path().to_str().expect("UTF-8");
//! let vault = Vault::init(Store::create_url(path, &Connection::default())?)?;
//! let signer = SigningKey::generate()?;
//! let identity = Identity::generate(RecipientKind::XWing)?;
//!
//! // Seal two files: one from memory, one from a reader of unknown length. The sealer holds public keys only.
//! let weights = vec![7; 3_000_000];
//! let input = |path: &str, data| Input { path: FilePath::new(path).expect("a path"), executable: false, data };
//! let receipt = vault.seal(
//!     SealRequest {
//!         name: "llama-ft:1.4.0".parse()?,
//!         inputs: vec![
//!             input("model.bin", Data::Bytes(&weights)),
//!             input("config.json", Data::Reader(Box::new(std::io::Cursor::new("{}")))),
//!         ],
//!         audience: Audience { recipients: vec![identity.recipient().clone()], passphrases: Vec::new() },
//!         signer: &signer,
//!         trust_root: None,
//!         provenance: None,
//!         private_provenance: None,
//!         vendor: None,
//!         deduplication: Deduplication::None,
//!         cache: None,
//!         options: seal::Options::default(),
//!     },
//!     &(),
//! )?;
//! assert!(receipt.digest.to_string().starts_with("b3:"));
//!
//! // Verify: whoever holds the signer's public key can.
//! let policy = Policy::any_of(vec![signer.verifying_key()])?;
//! let artifact = vault.resolve(&"llama-ft:1.4.0".parse()?, &policy)?;
//! vault.verify(&artifact, Threads::available(), &())?;
//!
//! // Open: a whole file into wiped, page-aligned memory, or a range without the rest.
//! let ring = Keyring { identities: vec![Box::new(identity)], passphrases: Vec::new() };
//! let opened = vault.open_artifact(&artifact, &policy, &ring, open::Options::default())?;
//! let file = opened.index().file("model.bin")?;
//! assert_eq!(opened.read(file, &())?[..], weights[..]);
//! assert_eq!(opened.read_range(file, 2_000_000..2_000_004)?[..], [7; 4]);
//! # Ok(())
//! # }
//! ```
//!
//! Everything is synchronous; on an async runtime use its `spawn_blocking`. Nothing here prints, reads the environment or exits.
//! `unsafe` stands in one place, in `source`: the call of a function that needs more of the processor than every one has.
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod aead;
mod body;
mod canonical;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod floe;
pub mod index;
mod journal;
pub mod keys;
pub mod log;
pub mod manifest;
pub mod names;
pub mod oms;
pub mod open;
pub mod parts;
pub mod provenance;
pub mod recipients;
pub mod safetensors;
pub mod seal;
pub mod secret;
pub mod source;
pub mod store;
pub mod stream;
pub mod tree;
pub mod trust;
pub mod vault;
pub mod verify;
pub mod workers;
pub mod wrap;

pub use error::{Error, Result};
