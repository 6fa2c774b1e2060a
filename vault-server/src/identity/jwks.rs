//! The keys of an issuer: JSON Web Key Sets (RFC 7517), of which only what verifies signatures is kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;
use vault_core::{
    Error, Result,
    error::{Fault, Place},
};

use super::settings::Algorithm;

/// The longest key set, in bytes.
pub const MAX_SET: usize = 256 << 10;
/// The most keys of a set.
const MAX_KEYS: usize = 100;
/// The longest `kid`.
pub(super) const MAX_KID: usize = 512;
/// The longest modulus: 8192 bits.
const MAX_MODULUS: usize = 1024;
/// The longest exponent, in bytes.
const MAX_EXPONENT: usize = 8;

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part, which is nobody's business.
    d: Option<serde::de::IgnoredAny>,
}

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Family {
    fn of(algorithm: Algorithm) -> Self {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match algorithm {
            ES256 => Self::P256,
            ES384 => Self::P384,
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Self::Rsa,
            EdDSA => Self::Ed25519,
        }
    }
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    family: Family,
    /// The only algorithm it is for, if its issuer says so.
    algorithm: Option<String>,
    public: DecodingKey,
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        let is_said = self.algorithm.as_deref().is_none_or(|name| name == algorithm.as_str());
        self.family == Family::of(algorithm) && is_said
    }
}

/// The keys of one issuer that verify signatures.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads a key set. Keys for something else, of kinds that are not known, or that are no keys are passed over.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no key set, or too long.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let unfit = |why: &str| Error::Corrupt { place: Place::Document("key set"), fault: Fault::Format(why.into()) };
        if bytes.len() > MAX_SET {
            return Err(unfit("is too long"));
        }
        let set: WireSet = serde_json::from_slice(bytes).map_err(|_| unfit("is not JSON with `keys`"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(unfit("has too many keys"));
        }
        let usable = |value| usable(serde_json::from_value(value).ok()?);
        Ok(Self(set.keys.into_iter().filter_map(usable).collect()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a token names, if it is for this algorithm. Without a name there must be no other key that would fit.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let is_named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        let mut fitting = self.0.iter().filter(is_named).filter(|key| key.fits(algorithm));
        // Of several that have one name and one kind, none is meant.
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(&only.public),
            _ => None,
        }
    }
}

/// A key, if it is public, whole, and for signatures.
fn usable(wire: WireKey) -> Option<Key> {
    let is_for_signatures = wire.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && wire.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|one| one == "verify"));
    let is_long = wire.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID);
    if !is_for_signatures || is_long || wire.d.is_some() {
        return None;
    }
    let (x, y) = (wire.x.as_deref(), wire.y.as_deref());
    let (family, public) = match (wire.kty.as_str(), wire.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (wire.n.as_deref()?, wire.e.as_deref()?);
            let (modulus, exponent) = (URL_SAFE_NO_PAD.decode(n).ok()?, URL_SAFE_NO_PAD.decode(e).ok()?);
            if modulus.len() > MAX_MODULUS || exponent.len() > MAX_EXPONENT {
                return None;
            }
            (Family::Rsa, DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        ("EC", Some("P-256")) => (Family::P256, point(x?, y?, 32)?),
        ("EC", Some("P-384")) => (Family::P384, point(x?, y?, 48)?),
        ("OKP", Some("Ed25519")) => (Family::Ed25519, DecodingKey::from_ed_components(sized(x?, 32)?).ok()?),
        _ => return None,
    };
    Some(Key { kid: wire.kid, family, algorithm: wire.alg, public })
}

fn point(x: &str, y: &str, length: usize) -> Option<DecodingKey> {
    DecodingKey::from_ec_components(sized(x, length)?, sized(y, length)?).ok()
}

/// The text, if it stands for so many bytes.
fn sized(text: &str, length: usize) -> Option<&str> {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn x(length: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![7; length])
    }

    fn keys(keys: &Value) -> Keys {
        Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
    }

    #[test]
    fn a_key_is_for_its_own_algorithms_only() {
        let set = keys(&json!([
            { "kty": "RSA", "kid": "r", "n": x(256), "e": "AQAB" },
            { "kty": "RSA", "kid": "p", "alg": "PS256", "use": "sig", "n": x(256), "e": "AQAB" },
            { "kty": "EC", "kid": "e", "crv": "P-256", "x": x(32), "y": x(32) },
            { "kty": "OKP", "kid": "o", "crv": "Ed25519", "key_ops": ["verify"], "x": x(32) },
        ]));
        assert_eq!(set.len(), 4);
        for (kid, algorithm, fits) in [
            ("r", Algorithm::RS256, true),
            ("r", Algorithm::PS512, true),
            ("r", Algorithm::ES256, false),
            ("p", Algorithm::PS256, true),
            ("p", Algorithm::RS256, false),
            ("e", Algorithm::ES256, true),
            ("e", Algorithm::ES384, false),
            ("e", Algorithm::RS256, false),
            ("o", Algorithm::EdDSA, true),
            ("o", Algorithm::ES256, false),
            ("../../r", Algorithm::RS256, false),
            ("r' OR '1'='1", Algorithm::RS256, false),
            ("", Algorithm::RS256, false),
        ] {
            assert_eq!(set.find(Some(kid), algorithm).is_some(), fits, "{kid} {algorithm:?}");
        }
        // Without a name only what is beyond doubt.
        assert!(set.find(None, Algorithm::ES256).is_some() && set.find(None, Algorithm::RS512).is_some());
        assert!(set.find(None, Algorithm::PS256).is_none());
    }

    #[test]
    fn what_verifies_nothing_is_passed_over() {
        let set = keys(&json!([
            { "kty": "oct", "kid": "a", "k": x(32), "alg": "HS256" },
            { "kty": "RSA", "kid": "a", "use": "enc", "n": x(256), "e": "AQAB" },
            { "kty": "RSA", "kid": "a", "key_ops": ["encrypt"], "n": x(256), "e": "AQAB" },
            { "kty": "RSA", "kid": "a", "n": x(256), "e": "AQAB", "d": x(256) },
            { "kty": "RSA", "kid": "a", "n": x(1025), "e": "AQAB" },
            { "kty": "RSA", "kid": "a", "n": "not base64!", "e": "AQAB" },
            { "kty": "RSA", "kid": "k".repeat(600), "n": x(256), "e": "AQAB" },
            { "kty": "EC", "kid": "a", "crv": "P-256", "x": x(31), "y": x(33) },
            { "kty": "EC", "kid": "a", "crv": "secp256k1", "x": x(32), "y": x(32) },
            { "kty": "OKP", "kid": "a", "crv": "X25519", "x": x(32) },
            { "kty": "OKP", "kid": "a", "crv": "Ed25519", "x": x(33) },
            { "kty": 3 }, {}, [], null, "x",
        ]));
        assert!(set.is_empty(), "{set:?}");
    }

    #[test]
    fn two_keys_of_one_name_and_kind_are_none() {
        let one = json!({ "kty": "EC", "kid": "a", "crv": "P-256", "x": x(32), "y": x(32) });
        let rsa = json!({ "kty": "RSA", "kid": "a", "n": x(256), "e": "AQAB" });
        assert!(keys(&json!([one, rsa])).find(Some("a"), Algorithm::ES256).is_some());
        assert!(keys(&json!([one, one])).find(Some("a"), Algorithm::ES256).is_none());
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let many = json!({ "keys": vec![json!({}); 101] }).to_string();
        let long = format!("{{\"keys\":[]{}}}", " ".repeat(MAX_SET));
        for bad in ["", "{}", "[]", r#"{"keys":{}}"#, &"[".repeat(10_000), &many, &long] {
            assert!(matches!(Keys::parse(bad.as_bytes()), Err(Error::Corrupt { .. })));
        }
        assert!(Keys::parse(br#"{"keys":[]}"#).expect("none").is_empty());
    }
}
