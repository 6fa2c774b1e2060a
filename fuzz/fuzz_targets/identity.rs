//! What strangers show to a registry: tokens and certificates. And what an issuer answers: its keys. Nobody gets in, whatever the bytes
//! are, because nothing here was signed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vault_server::identity::{
    certificate,
    jwks::Keys,
    settings::{Algorithm, IssuerConfig},
    token::{MAX_TOKEN, Unverified},
};

/// RFC 8037 appendix A.2: a key whose private half is not here.
const KEYS: &[u8] =
    br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn rules() -> IssuerConfig {
    IssuerConfig {
        name: "fuzz".into(),
        issuer: "https://id.example".into(),
        audience: "mvault".into(),
        jwks_uri: None,
        ca: None,
        algorithms: vec![Algorithm::EdDSA],
        subject_claim: "sub".into(),
        groups_claim: "groups".into(),
        name_claim: "name".into(),
        max_age_seconds: None,
        leeway_seconds: 30,
    }
}

fuzz_target!(|input: (&str, &[u8])| {
    static KNOWN: OnceLock<(Keys, IssuerConfig)> = OnceLock::new();
    let (known, rules) = KNOWN.get_or_init(|| (Keys::parse(KEYS).expect("a key set"), rules()));
    let (text, bytes) = input;
    if let Ok(token) = Unverified::parse(text) {
        assert!(text.len() <= MAX_TOKEN && text.bytes().filter(|byte| *byte == b'.').count() == 2);
        assert!(token.verify(known, rules).is_err());
    }
    if let Ok(keys) = Keys::parse(bytes) {
        assert!(keys.len() <= 100);
    }
    if let Ok(who) = certificate::principal(bytes) {
        assert!(who.id.starts_with("cert:") && who.id.len() <= 205 && who.id.is_ascii());
    }
});
