//! Every way to forge a token that is known, against a key set of our own.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use jsonwebtoken::{DecodingKey, jwk::Jwk};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://id.example";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Keys of an issuer, private halves included.
struct Forge {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Forge {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ec: EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            ed: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        let (curve, ed) = ("Ed25519", encode(self.ed.public_key().as_ref()));
        match kid {
            "rsa" => {
                let key = DecodingKey::from_rsa_der(self.rsa.public_key().as_ref());
                let mut key = json!(Jwk::from_decoding_key(&key, None).expect("a key"));
                key["kid"] = json!(kid);
                key
            }
            "ec" => json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": encode(x), "y": encode(y) }),
            _ => json!({ "kty": "OKP", "crv": curve, "kid": kid, "alg": "EdDSA", "x": ed }),
        }
    }

    fn keys(&self) -> Keys {
        let keys = ["rsa", "ec", "ed"].map(|kid| self.jwk(kid));
        Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
    }

    /// Signs with the key of this name, whatever the header says.
    fn sign(&self, with: &str, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match with {
            "rsa" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                self.rsa.sign(padding, &random, message.as_bytes(), &mut signature).expect("signed");
                signature
            }
            "ec" => self.ec.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec(),
            "ed" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            "" => Vec::new(),
            other => panic!("there is no key {other}"),
        };
        format!("{message}.{}", encode(signature))
    }
}

/// A token whose shared secret is something public.
fn confused(secret: &[u8], kid: &str) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
    let message = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag.as_ref()))
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "mvault", "sub": "alice", "iat": now(), "exp": now() + 300 })
}

fn rules() -> IssuerConfig {
    toml::from_str(&format!("name = \"corp\"\nissuer = \"{ISSUER}\"\naudience = \"mvault\"")).expect("settings")
}

fn judge(token: &str, keys: &Keys) -> Result<String, Refusal> {
    let token = Unverified::parse(token)?;
    let claims = token.verify(keys, &rules())?;
    claims.principal(&rules(), now()).map(|principal| principal.id)
}

fn changed(value: &Value, change: &Value) -> Value {
    let mut value = value.clone();
    for (name, new) in change.as_object().expect("an object") {
        value[name] = new.clone();
    }
    value
}

#[test]
fn a_token_of_the_issuer_is_believed_whatever_its_key() {
    let forge = Forge::new();
    let keys = forge.keys();
    for (kid, alg) in [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")] {
        for header in [
            json!({ "alg": alg, "kid": kid }),
            json!({ "alg": alg, "typ": "at+JWT" }),
            json!({ "alg": alg, "x5t": "x" }),
        ] {
            assert_eq!(judge(&forge.sign(kid, &header, &claims()), &keys).as_deref(), Ok("corp:alice"), "{header}");
        }
    }
    let several = changed(&claims(), &json!({ "aud": ["other", "mvault"], "azp": "trainer" }));
    let header = json!({ "alg": "ES256", "kid": "ec" });
    assert!(judge(&forge.sign("ec", &header, &several), &keys).is_ok());
}

#[test]
fn headers_that_lie_are_refused() {
    let (forge, stranger) = (Forge::new(), Forge::new());
    let keys = forge.keys();
    let by = |with: &str, header: &Value| judge(&forge.sign(with, header, &claims()), &keys).expect_err("forged");
    // No signature at all.
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        assert_eq!(by("", &json!({ "alg": alg, "kid": "ec" })), Refusal::Algorithm);
    }
    assert_eq!(by("", &json!({ "alg": "ES256", "kid": "ec" })), Refusal::Signature);
    assert_eq!(by("ec", &json!({ "alg": null, "kid": "ec" })), Refusal::Header("alg"));
    assert_eq!(by("ec", &json!({ "kid": "ec" })), Refusal::Algorithm);
    assert_eq!(by("ec", &json!({ "alg": ["ES256"], "kid": "ec" })), Refusal::Header("alg"));
    // A public key as a shared secret.
    let public = forge.rsa.public_key();
    let spki = public.as_der().expect("DER");
    for secret in [public.as_ref(), spki.as_ref(), forge.jwk("rsa").to_string().as_bytes()] {
        assert_eq!(judge(&confused(secret, "rsa"), &keys), Err(Refusal::Algorithm));
    }
    // A key under an algorithm of another kind, or one that its issuer does not use.
    assert_eq!(by("rsa", &json!({ "alg": "ES256", "kid": "rsa" })), Refusal::Key);
    assert_eq!(by("rsa", &json!({ "alg": "ES256", "kid": "ec" })), Refusal::Signature);
    assert_eq!(by("ec", &json!({ "alg": "RS256", "kid": "ec" })), Refusal::Key);
    assert_eq!(by("ec", &json!({ "alg": "EdDSA", "kid": "ec" })), Refusal::Key);
    for alg in ["PS256", "RS384", "ES384"] {
        assert_eq!(by("rsa", &json!({ "alg": alg, "kid": "rsa" })), Refusal::Algorithm);
    }
    // Another's key under a name of ours, and the names of keys that are not there.
    let header = json!({ "alg": "ES256", "kid": "ec" });
    assert_eq!(judge(&stranger.sign("ec", &header, &claims()), &keys), Err(Refusal::Signature));
    for kid in ["other", "../../../../dev/null", "ec' OR '1'='1", "ec\0", "", "EC", "|| id"] {
        assert_eq!(by("ec", &json!({ "alg": "ES256", "kid": kid })), Refusal::Key, "{kid}");
    }
    assert_eq!(by("ec", &json!({ "alg": "ES256", "kid": "k".repeat(513) })), Refusal::Key);
    assert_eq!(by("ec", &json!({ "alg": "ES256", "kid": 7 })), Refusal::Header("kid"));
    // Keys that a token brings, or sends us to.
    for (name, value) in [
        ("jwk", stranger.jwk("ec")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
    ] {
        let header = changed(&header, &json!({ (name): value }));
        assert_eq!(judge(&stranger.sign("ec", &header, &claims()), &keys), Err(Refusal::Header(name)));
        assert_eq!(by("ec", &header), Refusal::Header(name));
    }
    // Tokens for something else.
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        assert_eq!(by("ec", &json!({ "alg": "ES256", "kid": "ec", "typ": typ })), Refusal::Type);
    }
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let forge = Forge::new();
    let keys = forge.keys();
    let header = json!({ "alg": "ES256", "kid": "ec" });
    for (change, why) in [
        (json!({ "aud": "other" }), Refusal::Audience),
        (json!({ "aud": ["other", "mvault2"] }), Refusal::Audience),
        (json!({ "aud": "MVAULT" }), Refusal::Audience),
        (json!({ "aud": [] }), Refusal::Audience),
        (json!({ "aud": null }), Refusal::Claim("aud")),
        (json!({ "aud": 7 }), Refusal::Claim("aud")),
        (json!({ "aud": ["mvault", "other"] }), Refusal::Claim("azp")),
        (json!({ "iss": "https://id.example/" }), Refusal::Issuer),
        (json!({ "iss": "https://ID.example" }), Refusal::Issuer),
        (json!({ "iss": [ISSUER] }), Refusal::Malformed),
        (json!({ "iss": null }), Refusal::Malformed),
        (json!({ "exp": now() - 31 }), Refusal::Expired),
        (json!({ "exp": 0 }), Refusal::Expired),
        (json!({ "exp": null }), Refusal::Claim("exp")),
        (json!({ "exp": "9999999999" }), Refusal::Claim("exp")),
        (json!({ "exp": -1 }), Refusal::Claim("exp")),
        (json!({ "nbf": now() + 60 }), Refusal::NotYet),
        (json!({ "nbf": "soon" }), Refusal::Claim("nbf")),
        (json!({ "iat": now() + 60 }), Refusal::NotYet),
        (json!({ "sub": null }), Refusal::Claim("of the subject")),
    ] {
        let token = forge.sign("ec", &header, &changed(&claims(), &change));
        assert_eq!(judge(&token, &keys), Err(why), "{change}");
    }
    // Clocks may differ a little.
    let nearly = changed(&claims(), &json!({ "exp": now() - 10, "nbf": now() + 10, "iat": now() + 10 }));
    assert!(judge(&forge.sign("ec", &header, &nearly), &keys).is_ok());
}

#[test]
fn what_was_changed_or_is_of_another_form_is_refused() {
    let forge = Forge::new();
    let keys = forge.keys();
    let good = forge.sign("ec", &json!({ "alg": "ES256", "kid": "ec" }), &claims());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other = encode(changed(&claims(), &json!({ "sub": "root" })).to_string());
    assert_eq!(judge(&format!("{header}.{other}.{signature}"), &keys), Err(Refusal::Signature));
    let twice = format!("{{\"iss\":\"{ISSUER}\",\"iss\":\"{ISSUER}\"}}");
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header} .{payload}.{signature}"),
        format!("{header}.{}.{signature}", encode("[".repeat(9000))),
        format!("{header}.{}.{signature}", encode(twice)),
        format!("{header}.{}.{signature}", encode(b"\xff{}")),
        "mvk".into(),
    ] {
        assert_eq!(judge(&bad, &keys), Err(Refusal::Malformed), "{bad}");
    }
    assert_eq!(judge(&format!("{good}.x.y"), &keys), Err(Refusal::Encrypted));
    for signature in ["", "AA", &format!("{signature}AA"), &signature[..80]] {
        assert_eq!(judge(&format!("{header}.{payload}.{signature}"), &keys), Err(Refusal::Signature));
    }
    assert_eq!(judge(&format!("{good}{}", "A".repeat(MAX_TOKEN)), &keys), Err(Refusal::TooLong));
    assert_eq!(judge(&"a.".repeat(MAX_TOKEN / 2), &keys), Err(Refusal::Malformed));
}

#[test]
fn every_refusal_has_words_and_none_repeats_the_token() {
    for refusal in [
        Refusal::Malformed,
        Refusal::TooLong,
        Refusal::Encrypted,
        Refusal::Header("jku"),
        Refusal::Type,
        Refusal::Algorithm,
        Refusal::Issuer,
        Refusal::Key,
        Refusal::NoKeys,
        Refusal::Signature,
        Refusal::Audience,
        Refusal::Expired,
        Refusal::NotYet,
        Refusal::TooOld,
        Refusal::Claim("exp"),
        Refusal::Nameless,
        Refusal::Certificate,
    ] {
        let words = refusal.to_string();
        assert!(words.starts_with("the ") || words.starts_with("it "), "{words}");
        assert!(!words.ends_with('.'));
    }
}
