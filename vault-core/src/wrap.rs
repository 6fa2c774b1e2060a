//! Wrapping the key of an artifact to its recipients, and unwrapping it again.

use crate::{
    aead::Engine,
    error::{Error, Result},
    keys::{
        Recipient, Unwrapper,
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
    pub identities: Vec<Box<dyn Unwrapper>>,
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
/// [`Error::WrongKey`] if none does; if a key could not be used, whatever kept it from being used.
pub fn unwrap(stanzas: &[Stanza], digest: ArtifactDigest, manifest: &Manifest, ring: &Keyring) -> Result<Dek> {
    let fits = |dek: &Dek| {
        dek.decryptor(&manifest.artifact_id, INDEX_STREAM, &manifest.index.header, Engine::default()).is_ok()
    };
    // Private keys first: a passphrase costs an Argon2id run for each of its stanzas.
    let mut unusable = None;
    let (by_key, by_passphrase): (Vec<_>, Vec<_>) = stanzas.iter().partition(|stanza| stanza.key_id().is_some());
    for stanza in by_key.into_iter().chain(by_passphrase) {
        let dek = match stanza {
            Stanza::Hpke(stanza) => from_key(stanza, digest, &ring.identities, &fits, &mut unusable),
            Stanza::Passphrase(stanza) => {
                from_passphrase(stanza, digest, &ring.passphrases)?.map(Dek::from_secret).filter(&fits)
            }
        };
        if let Some(dek) = dek {
            return Ok(dek);
        }
    }
    if let Some(error) = unusable {
        return Err(error);
    }
    let why = match (ring.identities.is_empty(), ring.passphrases.is_empty()) {
        (true, true) => "neither identity nor passphrase was given",
        (false, true) => "none of the identities opens it",
        (true, false) => "the passphrase does not open it",
        (false, false) => "neither identities nor passphrase open it",
    };
    Err(Error::WrongKey { what: digest.to_string(), why })
}

/// A key that cannot be used is remembered: the next one may open.
fn from_key(
    stanza: &HpkeStanza,
    digest: ArtifactDigest,
    identities: &[Box<dyn Unwrapper>],
    fits: &dyn Fn(&Dek) -> bool,
    unusable: &mut Option<Error>,
) -> Option<Dek> {
    let named = identities.iter().filter(|identity| identity.key_id() == stanza.key_id);
    named.map(|identity| identity.unwrap(&info(digest), &stanza.enc, &stanza.ciphertext)).find_map(|answer| {
        let secret = answer.unwrap_or_else(|error| {
            unusable.get_or_insert(error);
            None
        });
        secret.map(Dek::from_secret).filter(fits)
    })
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
    use super::*;
    use crate::{
        error::Kind,
        fixtures::{Fixture, input, reference},
        keys::{Identity, RecipientKind},
    };

    /// A key of which everything is known but how to use it.
    #[derive(Debug)]
    struct Unusable(Recipient);

    impl Unwrapper for Unusable {
        fn recipient(&self) -> &Recipient {
            &self.0
        }

        fn unwrap(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<Option<Secret<32>>> {
            Err(Error::Storage { what: "token".into(), source: std::io::Error::other("was removed") })
        }
    }

    /// A key whose keeper answers with any secret.
    #[derive(Debug)]
    struct Liar(Recipient);

    impl Unwrapper for Liar {
        fn recipient(&self) -> &Recipient {
            &self.0
        }

        fn unwrap(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<Option<Secret<32>>> {
            Ok(Some(Secret::new([7; 32])))
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_the_reason_only_if_no_other_opens() {
        let mut fixture = Fixture::new();
        let second = Identity::generate(RecipientKind::X25519).expect("key");
        let mut request = fixture.request("m:1", vec![input("a", b"weights")]);
        request.audience.recipients.push(second.recipient().clone());
        fixture.vault.seal(request, &()).expect("sealed");
        let first = fixture.ring.identities.remove(0);

        fixture.ring.identities = vec![Box::new(Unusable(first.recipient().clone()))];
        assert_eq!(fixture.read("m:1", "a").expect_err("unusable").to_string(), "token: was removed");
        fixture.ring.identities.push(Box::new(second));
        assert_eq!(fixture.read("m:1", "a").expect("opened"), b"weights");

        let stranger = Identity::generate(RecipientKind::X25519).expect("key");
        fixture.ring.identities = vec![Box::new(Unusable(stranger.recipient().clone()))];
        assert_eq!(fixture.read("m:1", "a").expect_err("never asked").kind(), Kind::NoKey);
    }

    #[test]
    fn a_secret_that_is_not_the_key_of_the_artifact_opens_nothing() {
        let mut fixture = Fixture::new();
        fixture.seal("m:1", &[("a", b"weights")]);
        let first = fixture.ring.identities.remove(0);
        fixture.ring.identities = vec![Box::new(Liar(first.recipient().clone()))];
        let policy = fixture.policy();
        let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
        let unlocked = fixture.vault.unlock(&artifact, &policy, &fixture.ring);
        assert_eq!(unlocked.expect_err("a lie").kind(), Kind::NoKey);
        fixture.ring.identities.push(first);
        assert_eq!(fixture.read("m:1", "a").expect("opened by the one behind it"), b"weights");
    }

    /// A key that notes that it was used.
    #[derive(Debug)]
    struct Watched(Box<dyn Unwrapper>, std::sync::Arc<std::sync::atomic::AtomicBool>);

    impl Unwrapper for Watched {
        fn recipient(&self) -> &Recipient {
            self.0.recipient()
        }

        fn unwrap(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Option<Secret<32>>> {
            self.1.store(true, std::sync::atomic::Ordering::Relaxed);
            self.0.unwrap(info, enc, ciphertext)
        }
    }

    #[test]
    fn private_keys_are_tried_before_passphrases() {
        let mut fixture = Fixture::new();
        let phrase = SecretVec::new(b"some passphrase".to_vec());
        let mut request = fixture.request("m:1", vec![input("a", b"weights")]);
        request.audience.passphrases.push(phrase.clone());
        fixture.vault.seal(request, &()).expect("sealed");
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        let mut stanzas = fixture.vault.access(&artifact, &fixture.policy()).expect("access").stanzas;
        // The passphrase stands first and would open, too.
        stanzas.sort_by_key(|stanza| stanza.key_id().is_some());
        let used = std::sync::Arc::default();
        let identity = fixture.ring.identities.remove(0);
        fixture.ring.identities = vec![Box::new(Watched(identity, std::sync::Arc::clone(&used)))];
        fixture.ring.passphrases = vec![phrase];
        unwrap(&stanzas, artifact.digest, &artifact.manifest, &fixture.ring).expect("opens");
        assert!(used.load(std::sync::atomic::Ordering::Relaxed));
    }
}
