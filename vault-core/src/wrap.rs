//! Wrapping the key of an artifact to its recipients, and unwrapping it again.

use crate::{
    aead::Engine,
    error::{Error, Result},
    keys::{
        Identity, Recipient,
        passphrase::{self, Context, Cost},
    },
    manifest::Manifest,
    names::ArtifactDigest,
    recipients::{HpkeStanza, MAX_PASSPHRASES, MAX_RECIPIENTS, PassphraseStanza, Stanza, WRAPPED_LEN},
    secret::{Secret, SecretVec},
    stream::Dek,
    tree::INDEX_STREAM,
};

/// Who is to be able to open an artifact.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// Holders of these keys.
    pub recipients: Vec<Recipient>,
    /// Whoever knows one of these.
    pub passphrases: Vec<SecretVec>,
}

/// What one may open artifacts with.
#[derive(Debug, Default)]
pub struct Keyring {
    /// Private keys.
    pub identities: Vec<Identity>,
    /// Passphrases.
    pub passphrases: Vec<SecretVec>,
}

impl Audience {
    /// Whether it fits into one generation of recipients. To be asked before anything is sealed.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is empty or larger than the format allows.
    pub fn check(&self) -> Result<()> {
        let (keys, phrases) = (self.recipients.len(), self.passphrases.len());
        if keys + phrases == 0 {
            return Err(Error::Misuse("no recipient: nobody could open it".into()));
        }
        if keys + phrases > MAX_RECIPIENTS || phrases > MAX_PASSPHRASES {
            let most = format!("at most {MAX_RECIPIENTS} recipients, of them {MAX_PASSPHRASES} passphrases");
            return Err(Error::Misuse(most));
        }
        if self.passphrases.iter().any(|phrase| phrase.expose().is_empty()) {
            return Err(Error::Misuse("an empty passphrase protects nothing".into()));
        }
        Ok(())
    }
}

/// Wraps the key of artifact `digest` to everybody in `audience`, each recipient once.
///
/// # Errors
/// [`Error::Misuse`] if a recipient's key cannot be wrapped to.
pub fn wrap(dek: &Dek, digest: ArtifactDigest, audience: &Audience) -> Result<Vec<Stanza>> {
    let mut stanzas = Vec::new();
    for recipient in &audience.recipients {
        if !stanzas.iter().any(|stanza: &Stanza| stanza.key_id() == Some(recipient.key_id())) {
            stanzas.push(to_recipient(dek, digest, recipient)?);
        }
    }
    for phrase in &audience.passphrases {
        stanzas.push(to_passphrase(dek, digest, phrase)?);
    }
    Ok(stanzas)
}

fn to_recipient(dek: &Dek, digest: ArtifactDigest, recipient: &Recipient) -> Result<Stanza> {
    let wrapped = recipient.wrap(&info(digest), dek.secret())?;
    let ciphertext = fixed(wrapped.ciphertext)?;
    Ok(Stanza::Hpke(HpkeStanza { kind: recipient.kind(), key_id: recipient.key_id(), enc: wrapped.enc, ciphertext }))
}

fn to_passphrase(dek: &Dek, digest: ArtifactDigest, phrase: &SecretVec) -> Result<Stanza> {
    let sealed = passphrase::seal(phrase, Cost::DEFAULT, &Context::recipient(&digest), dek.secret().expose())?;
    Ok(Stanza::Passphrase(PassphraseStanza {
        cost: sealed.cost,
        salt: sealed.salt,
        commitment: sealed.commitment,
        ciphertext: fixed(sealed.ciphertext)?,
    }))
}

/// Finds a stanza that a key of the ring opens. A key counts only if it reproduces the header tag of the index.
///
/// # Errors
/// [`Error::WrongKey`] if none does.
pub fn unwrap(stanzas: &[Stanza], digest: ArtifactDigest, manifest: &Manifest, ring: &Keyring) -> Result<Dek> {
    let fits = |dek: &Dek| {
        dek.decryptor(&manifest.artifact_id, INDEX_STREAM, &manifest.index.header, Engine::default()).is_ok()
    };
    // Private keys first: a passphrase costs an Argon2id run for each of its stanzas.
    let (by_key, by_passphrase): (Vec<_>, Vec<_>) = stanzas.iter().partition(|stanza| stanza.key_id().is_some());
    for stanza in by_key.into_iter().chain(by_passphrase) {
        let dek = match stanza {
            Stanza::Hpke(stanza) => ring
                .identities
                .iter()
                .filter(|identity| identity.key_id() == stanza.key_id)
                .find_map(|identity| identity.unwrap(&info(digest), &stanza.enc, &stanza.ciphertext)),
            Stanza::Passphrase(stanza) => from_passphrase(stanza, digest, &ring.passphrases)?,
        };
        if let Some(dek) = dek.map(Dek::from_secret).filter(fits) {
            return Ok(dek);
        }
    }
    let why = match (ring.identities.is_empty(), ring.passphrases.is_empty()) {
        (true, true) => "neither identity nor passphrase was given",
        (false, true) => "none of the identities opens it",
        (true, false) => "the passphrase does not open it",
        (false, false) => "neither identities nor passphrase open it",
    };
    Err(Error::WrongKey { what: digest.to_string(), why })
}

fn from_passphrase(
    stanza: &PassphraseStanza,
    digest: ArtifactDigest,
    phrases: &[SecretVec],
) -> Result<Option<Secret<32>>> {
    let sealed = passphrase::Sealed {
        cost: stanza.cost,
        salt: stanza.salt,
        commitment: stanza.commitment,
        ciphertext: stanza.ciphertext.to_vec(),
    };
    for phrase in phrases {
        match passphrase::open(phrase, &Context::recipient(&digest), &sealed) {
            Ok(plaintext) => {
                let mut secret = Secret::new([0; 32]);
                if plaintext.expose().len() == 32 {
                    secret.expose_mut().copy_from_slice(plaintext.expose());
                    return Ok(Some(secret));
                }
            }
            // Also a stanza whose commitment fits and whose tag does not: the next one may open.
            Err(Error::WrongKey { .. } | Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// HPKE `info`: binds a stanza to one artifact.
fn info(digest: ArtifactDigest) -> Vec<u8> {
    [b"mvault/v1 dek", &digest.hash().as_bytes()[..]].concat()
}

fn fixed(ciphertext: Vec<u8>) -> Result<[u8; WRAPPED_LEN]> {
    ciphertext.try_into().map_err(|_| Error::Misuse("a wrapped key has 48 bytes".into()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fixtures::{Fixture, reference};

    #[test]
    fn private_keys_are_tried_before_passphrases() {
        let mut fixture = Fixture::new();
        fixture.seal("m:1", &[("a", b"weights")]);
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        let access = fixture.vault.access(&artifact, &fixture.policy()).expect("access");
        let cost = Cost { memory_kib: Cost::MAX_MEMORY_KIB, passes: 1, lanes: 1 };
        let dear = PassphraseStanza { cost, salt: [0; 16], commitment: [0; 32], ciphertext: [0; WRAPPED_LEN] };
        let mut stanzas = vec![Stanza::Passphrase(dear.clone()); MAX_PASSPHRASES];
        stanzas.extend(access.stanzas);
        let phrases = vec![SecretVec::new(b"some passphrase".to_vec())];

        let started = Instant::now();
        assert!(from_passphrase(&dear, artifact.digest, &phrases).expect("tried").is_none());
        let one_try = started.elapsed();
        fixture.ring.passphrases = phrases;
        let started = Instant::now();
        unwrap(&stanzas, artifact.digest, &artifact.manifest, &fixture.ring).expect("opens");
        assert!(started.elapsed() < one_try, "no passphrase was tried");
    }
}
