//! Signing keys on PKCS #11 tokens (version 2.40 and later; Ed25519 is `CKM_EDDSA` without parameters).
//!
//! The library that reaches the token runs in this process. The key stays on the token; the PIN is wiped after the login.

use std::{fmt, io, path::Path, sync::Mutex};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as TokenError, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::RawAuthPin,
};
use vault_core::{
    Error,
    keys::{Signer, TokenUri, VerifyingKey},
};

use super::Passphrases;
use crate::failure::{Failure, Result};

/// The ASN.1 headers that an Ed25519 point comes with: an OCTET STRING, as most write it, or a BIT STRING.
const POINT_HEADERS: [&[u8]; 2] = [&[0x04, 0x20], &[0x03, 0x21, 0x00]];

/// A signing key on a token, ready to use.
pub struct TokenSigner {
    name: String,
    key: VerifyingKey,
    object: ObjectHandle,
    session: Mutex<Session>,
}

impl TokenSigner {
    /// Logs in and finds the key.
    pub fn open(uri: &TokenUri, passphrases: &mut Passphrases) -> Result<Self> {
        let (library, slot) = find_token(uri)?;
        let session = library.open_ro_session(slot).map_err(|error| explain(uri, &error))?;
        log_in(&library, slot, &session, uri, passphrases)?;
        let object = only(uri, &find(&session, uri, ObjectClass::PRIVATE_KEY)?)?;
        check_type(&session, uri, object)?;
        let key = public_half(&session, uri, object)?;
        Ok(Self { name: uri.describe(), key, object, session: Mutex::new(session) })
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({}, {}, ..)", self.name, self.key.key_id())
    }
}

impl Signer for TokenSigner {
    fn verifying_key(&self) -> VerifyingKey {
        self.key.clone()
    }

    fn sign(&self, message: &[u8]) -> vault_core::Result<[u8; 64]> {
        let failed = |why: &str| Error::storage(&self.name)(io::Error::other(why));
        let session = self.session.lock().map_err(|_| failed("an earlier signature failed halfway"))?;
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let signature =
            session.sign(&mechanism, self.object, message).map_err(|error| explain_at(&self.name, &error))?;
        signature.try_into().map_err(|_| failed("its signature is not 64 bytes"))
    }
}

/// The public half of a key on a token. Public keys are there to be read, so nobody logs in.
pub fn public_key(uri: &TokenUri) -> Result<VerifyingKey> {
    let (library, slot) = find_token(uri)?;
    let session = library.open_ro_session(slot).map_err(|error| explain(uri, &error))?;
    let object = only(uri, &find(&session, uri, ObjectClass::PUBLIC_KEY)?)?;
    check_type(&session, uri, object)?;
    let key = point(&session, uri, object)?;
    key.ok_or_else(|| Error::NotFound { what: format!("the public half of {}", uri.describe()) }.into())
}

/// Loads the library and finds the only token that the URI fits.
fn find_token(uri: &TokenUri) -> Result<(Pkcs11, Slot)> {
    let path = Path::new(&uri.module_path);
    if !path.exists() {
        return Err(Error::NotFound { what: format!("PKCS #11 library {}", uri.module_path) }.into());
    }
    let library = Pkcs11::new(path).map_err(|error| match error {
        // The loader's words name the file, and whatever it lacks.
        TokenError::LibraryLoading(_) | TokenError::MissingSymbol(_) | TokenError::NullFunctionPointer => {
            Failure::usage(format!("{} is not a PKCS #11 library: {error}", uri.module_path))
        }
        error => explain(uri, &error).into(),
    })?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(explain_at(&uri.module_path, &error).into()),
    }
    let slots = library.get_slots_with_initialized_token().map_err(|error| explain(uri, &error))?;
    let mut fitting = Vec::new();
    for slot in slots {
        let info = library.get_token_info(slot).map_err(|error| explain(uri, &error))?;
        let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        if fits(&uri.token, info.label())
            && fits(&uri.manufacturer, info.manufacturer_id())
            && fits(&uri.model, info.model())
            && fits(&uri.serial, info.serial_number())
            && uri.slot_id.is_none_or(|id| id == slot.id())
        {
            fitting.push(slot);
        }
    }
    match fitting[..] {
        [slot] => Ok((library, slot)),
        [] => Err(Error::NotFound { what: uri.describe_token() }.into()),
        _ => Err(Failure::usage(format!("{} tokens are like {}", fitting.len(), uri.describe_token()))
            .hint("say which with token=, serial= or slot-id=")),
    }
}

fn log_in(
    library: &Pkcs11,
    slot: Slot,
    session: &Session,
    uri: &TokenUri,
    passphrases: &mut Passphrases,
) -> Result<()> {
    let info = library.get_token_info(slot).map_err(|error| explain(uri, &error))?;
    if !info.login_required() {
        return Ok(());
    }
    let done = if info.protected_authentication_path() {
        session.login(UserType::User, None)
    } else {
        // Never one that was typed for something else: a token counts wrong PINs.
        let what = uri.describe_token();
        let pin = match &uri.pin_source {
            Some(path) => Passphrases::from_file(Some(&path.into())).existing(&what)?,
            None if passphrases.is_given() => passphrases.existing(&what)?,
            None => Passphrases::from_file(None).existing(&what)?,
        };
        session.login_with_raw(UserType::User, &RawAuthPin::new(Box::new(pin.expose().to_vec())))
    };
    match done {
        Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(Failure::from(explain_at(&uri.describe_token(), &error))),
    }
}

fn find(session: &Session, uri: &TokenUri, class: ObjectClass) -> Result<Vec<ObjectHandle>> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    session.find_objects(&template).map_err(|error| explain(uri, &error).into())
}

fn only(uri: &TokenUri, found: &[ObjectHandle]) -> Result<ObjectHandle> {
    match found {
        [object] => Ok(*object),
        [] => Err(Error::NotFound { what: uri.describe() }.into()),
        _ => Err(Failure::usage(format!("{} keys are like {}", found.len(), uri.describe()))
            .hint("say which with id= as well as object=")),
    }
}

fn check_type(session: &Session, uri: &TokenUri, object: ObjectHandle) -> Result<()> {
    let attributes = session.get_attributes(object, &[AttributeType::KeyType]).map_err(|e| explain(uri, &e))?;
    match attributes[..] {
        [Attribute::KeyType(KeyType::EC_EDWARDS)] => Ok(()),
        _ => Err(Failure::usage(format!("{} is not an Ed25519 key", uri.describe()))),
    }
}

/// The public half of a private key: the public key object of the same id, or else of the same label.
fn public_half(session: &Session, uri: &TokenUri, private: ObjectHandle) -> Result<VerifyingKey> {
    let failed = |error: TokenError| explain(uri, &error);
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::EC_EDWARDS)];
    let named = session.get_attributes(private, &[AttributeType::Id, AttributeType::Label]).map_err(failed)?;
    let name = |id: bool| {
        let wanted = |a: &&Attribute| match a {
            Attribute::Id(bytes) => id && !bytes.is_empty(),
            Attribute::Label(bytes) => !id && !bytes.is_empty(),
            _ => false,
        };
        named.iter().find(wanted).cloned()
    };
    template.extend(name(true).or_else(|| name(false)));
    for object in session.find_objects(&template).map_err(failed)?.into_iter().chain([private]) {
        if let Some(key) = point(session, uri, object)? {
            return Ok(key);
        }
    }
    Err(Error::NotFound { what: format!("the public half of {}", uri.describe()) }.into())
}

/// The public key in an object's `CKA_EC_POINT`, if it has one.
fn point(session: &Session, uri: &TokenUri, object: ObjectHandle) -> Result<Option<VerifyingKey>> {
    let attributes = session.get_attributes(object, &[AttributeType::EcPoint]).map_err(|e| explain(uri, &e))?;
    let Some(Attribute::EcPoint(point)) =
        attributes.first().filter(|a| !matches!(a, Attribute::EcPoint(p) if p.is_empty()))
    else {
        return Ok(None);
    };
    let bare = POINT_HEADERS.iter().find_map(|header| point.strip_prefix(*header)).unwrap_or(point);
    let bytes = <&[u8; 32]>::try_from(bare).or_else(|_| <&[u8; 32]>::try_from(point.as_slice()));
    let bytes = bytes.map_err(|_| Failure::usage(format!("{} is not an Ed25519 key", uri.describe())))?;
    Ok(Some(VerifyingKey::from_bytes(bytes).map_err(|error| Failure::usage(format!("{}: {error}", uri.describe())))?))
}

fn explain(uri: &TokenUri, error: &TokenError) -> Error {
    explain_at(&uri.describe(), error)
}

/// The error in the terms of this program.
fn explain_at(name: &str, error: &TokenError) -> Error {
    let refused = |why| Error::WrongKey { what: name.to_owned(), why };
    let TokenError::Pkcs11(reason, _) = error else {
        return Error::storage(name)(io::Error::other(error.to_string()));
    };
    match reason {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
            refused("the PIN is wrong, which forbids the use of the key")
        }
        RvError::PinLocked => refused("the PIN is locked, which forbids the use of the key"),
        RvError::PinExpired => refused("the PIN is expired, which forbids the use of the key"),
        RvError::UserNotLoggedIn => refused("the token wants its PIN again for the use of the key"),
        RvError::UserPinNotInitialized => Error::Misuse(format!("{name} has no user PIN yet")),
        RvError::MechanismInvalid | RvError::FunctionNotSupported => {
            Error::Misuse(format!("{name}: the token makes no Ed25519 signatures (CKM_EDDSA)"))
        }
        RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent => {
            Error::Misuse(format!("{name} may not be used for Ed25519 signatures"))
        }
        RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SessionClosed
        | RvError::SessionHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid => Error::storage(name)(io::Error::other("the token was removed")),
        _ => Error::storage(name)(io::Error::other(error.to_string())),
    }
}
