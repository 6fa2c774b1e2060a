//! Pseudonyms: the log names nobody, and those who may audit learn who it was.
//!
//! A pseudonym is a hash of who somebody is under a key of the server. What it stands for is kept under `server/people/`, encrypted
//! under another key of the server, until it is older than the configuration says: then the log has entries by somebody whom nobody
//! can name any more, and is as whole as before.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vault_core::{
    Error, Result,
    error::{Fault, Place},
    keys::SigningKey,
    store::Store,
};
use zeroize::Zeroizing;

use crate::identity::{Means, Principal};

const FOLDER: &str = "server/people";
/// BLAKE3 `derive_key` contexts.
const NAMES: &str = "mvault-server 2026-11-22 pseudonyms v1";
const KEPT: &str = "mvault-server 2026-11-22 people at rest v1";
/// What the server's key signs to derive keys from: Ed25519 signs one message in one way (RFC 8032), and nobody else can.
const SEED: &[u8] = b"mvault-server 2026-11-22 seed of keys v1";
/// The longest record, in bytes.
const MAX_RECORD: u64 = 8 << 10;
/// Bytes of a nonce.
const NONCE: usize = 12;
/// People that an instance remembers to have written down.
const MAX_KNOWN: usize = 100_000;

/// Somebody behind a pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Their id.
    pub id: String,
    /// What people call them.
    pub name: String,
    /// The person behind it.
    pub holder: String,
    /// By what they identified themselves.
    pub means: Means,
}

/// The people of a registry.
#[derive(Debug)]
pub struct People {
    store: Store,
    names: Zeroizing<[u8; 32]>,
    kept: Zeroizing<[u8; 32]>,
    known: Mutex<HashSet<String>>,
}

impl People {
    /// Those whom the holder of this key wrote down.
    pub fn new(store: Store, key: &SigningKey) -> Self {
        let seed = Zeroizing::new(key.sign(SEED));
        let derived = |context| Zeroizing::new(blake3::derive_key(context, &*seed));
        Self { store, names: derived(NAMES), kept: derived(KEPT), known: Mutex::default() }
    }

    /// The pseudonym of somebody; who that is can be found out from then on. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn pseudonym(&self, principal: &Principal) -> Result<String> {
        let who = format!("{:?} {}", principal.means, principal.id);
        let hash = blake3::keyed_hash(&self.names, who.as_bytes());
        let pseudonym = hash.to_hex()[..32].to_owned();
        let lock = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lock().contains(&pseudonym) {
            return Ok(pseudonym);
        }
        let Principal { id, name, holder, means, .. } = principal;
        let person = Person { id: id.clone(), name: name.clone(), holder: holder.clone(), means: *means };
        // Whoever wrote it down first said the same.
        let _ = self.store.create(&path(&pseudonym), &self.seal(&pseudonym, &person)?)?;
        let mut known = lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(pseudonym.clone());
        Ok(pseudonym)
    }

    /// Who is behind a pseudonym. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nobody is, any more; [`Error::Corrupt`] if what is kept is damaged; [`Error::Storage`].
    pub fn resolve(&self, pseudonym: &str) -> Result<Person> {
        let is_one =
            pseudonym.len() == 32 && pseudonym.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let nobody = || Error::NotFound { what: format!("anybody behind the pseudonym {pseudonym:?}") };
        if !is_one {
            return Err(nobody());
        }
        let bytes = self.store.read(&path(pseudonym), MAX_RECORD)?.ok_or_else(nobody)?;
        self.open(pseudonym, bytes).ok_or_else(|| Error::Corrupt {
            place: Place::Object(path(pseudonym)),
            fault: Fault::Format("is not what this registry wrote".into()),
        })
    }

    /// Forgets who was written down longer ago than this. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn forget(&self, age: Duration) -> Result<usize> {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        let (now, mut old) = (Timestamp::now(), Vec::new());
        self.store.list(FOLDER, &mut |entry| {
            if now.duration_since(entry.modified) > age {
                old.push(entry.path);
            }
            Ok(())
        })?;
        for path in &old {
            self.store.delete(path)?;
        }
        // Another instance may have been first to delete: whoever comes again is written down again.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        Ok(old.len())
    }

    fn key(&self) -> Result<RandomizedNonceKey> {
        let failed = |error| Error::storage("cryptography")(std::io::Error::other(error));
        RandomizedNonceKey::new(&AES_256_GCM, &*self.kept).map_err(failed)
    }

    fn seal(&self, pseudonym: &str, person: &Person) -> Result<Vec<u8>> {
        let failed = |error| Error::storage("cryptography")(std::io::Error::other(error));
        let mut text = serde_json::to_vec(person).map_err(|error| Error::Misuse(error.to_string()))?;
        let aad = Aad::from(pseudonym.as_bytes());
        let nonce = self.key()?.seal_in_place_append_tag(aad, &mut text).map_err(failed)?;
        Ok([nonce.as_ref().as_slice(), text.as_slice()].concat())
    }

    fn open(&self, pseudonym: &str, mut bytes: Vec<u8>) -> Option<Person> {
        let (nonce, text) = bytes.split_at_mut_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key().ok()?.open_in_place(nonce, Aad::from(pseudonym.as_bytes()), text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

fn path(pseudonym: &str) -> String {
    format!("{FOLDER}/{pseudonym}")
}

#[cfg(test)]
mod tests {
    use vault_core::store::{Directory, Durability};

    use super::*;

    #[test]
    fn a_pseudonym_is_resolved_by_the_server_alone_and_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("folder");
        let store = || Store::new(Directory::create(folder.path(), Durability::NoSync).expect("folder"));
        let (key, other) = (SigningKey::generate().expect("key"), SigningKey::generate().expect("key"));
        let people = People::new(store(), &key);
        let (ann, ben) = (Principal::of_key("ab", "laptop", "ann", &[]), Principal::of_key("cd", "ci", "ben", &[]));
        let name = people.pseudonym(&ann).expect("written");
        assert_ne!(name, people.pseudonym(&ben).expect("written"));
        // Another instance says the same, and can resolve it.
        let again = People::new(store(), &key);
        assert_eq!(again.pseudonym(&ann).expect("written"), name);
        assert_eq!(again.resolve(&name).expect("found").holder, "ann");
        // The store says nothing, and neither can it swap people.
        let bytes = std::fs::read(folder.path().join(path(&name))).expect("read");
        assert!(!bytes.windows(3).any(|three| three == b"ann"));
        let stranger = People::new(store(), &other);
        assert_ne!(stranger.pseudonym(&ann).expect("written"), name);
        assert!(matches!(stranger.resolve(&name), Err(Error::Corrupt { .. })));
        let elsewhere = path(&people.pseudonym(&ben).expect("written"));
        std::fs::write(folder.path().join(&elsewhere), bytes).expect("written");
        let swapped = elsewhere.rsplit('/').next().expect("a name");
        assert!(matches!(people.resolve(swapped), Err(Error::Corrupt { .. })));
        for bad in ["", "../state/1", "zz", &name.to_uppercase()] {
            assert!(matches!(people.resolve(bad), Err(Error::NotFound { .. })), "{bad}");
        }
        assert_eq!(people.forget(Duration::from_hours(1)).expect("looked"), 0);
        assert!(people.forget(Duration::ZERO).expect("forgotten") >= 2);
        assert!(matches!(people.resolve(&name), Err(Error::NotFound { .. })));
        assert_eq!(people.pseudonym(&ann).expect("written"), name, "they may come back");
    }
}
