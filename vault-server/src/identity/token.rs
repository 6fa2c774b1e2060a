//! JSON Web Tokens (RFC 7519), judged as RFC 8725 advises.
//!
//! What a token says of itself picks the issuer and the key among those that are configured, and nothing else: no address and
//! no key in a token is ever looked at.

use std::{collections::BTreeSet, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    claims::Claims,
    jwks::{Keys, MAX_KID},
    settings::{Algorithm, IssuerConfig},
};

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// Headers that name or bring a key, or demand that they are understood.
const FORBIDDEN: [&str; 5] = ["crit", "jku", "jwk", "x5c", "x5u"];
/// What a token may say it is, lower case: others are tokens for something else (RFC 8725 section 3.11).
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// Why a token or a certificate is not believed. It is written down, and told to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is none.
    Malformed,
    /// It is longer than any that is read.
    TooLong,
    /// It is encrypted (five parts).
    Encrypted,
    /// Its header has what is not followed.
    Header(&'static str),
    /// It is of another type.
    Type,
    /// Its algorithm is none of those that its issuer uses.
    Algorithm,
    /// Nobody whose tokens are believed is called so.
    Issuer,
    /// Its issuer has no such key for this algorithm.
    Key,
    /// Its issuer cannot be asked for its keys now.
    NoKeys,
    /// The signature is another's.
    Signature,
    /// It is for somebody else.
    Audience,
    /// It is over.
    Expired,
    /// It is not yet.
    NotYet,
    /// It was issued too long ago.
    TooOld,
    /// A claim is missing, of another form, or too long.
    Claim(&'static str),
    /// It names nobody: there is not exactly one URI, or else one DNS name, in a certificate.
    Nameless,
    /// No authority that is believed vouches for a certificate now.
    Certificate,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Malformed => "it is no token",
            Self::TooLong => "the token is too long",
            Self::Encrypted => "the token is encrypted",
            Self::Header(name) => return write!(f, "the token has the header {name}"),
            Self::Type => "the token is of another type",
            Self::Algorithm => "the token's algorithm is not one of its issuer's",
            Self::Issuer => "the token's issuer is not known",
            Self::Key => "the token's issuer has no such key for its algorithm",
            Self::NoKeys => "the keys of the token's issuer are not known at the moment",
            Self::Signature => "the token's signature is wrong",
            Self::Audience => "the token is for somebody else",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::TooOld => "the token was issued too long ago",
            Self::Claim(name) => return write!(f, "the token's claim {name} is missing or unfit"),
            Self::Nameless => "the certificate does not have exactly one URI, or else DNS name",
            Self::Certificate => "the certificate is not vouched for",
        };
        f.write_str(words)
    }
}

/// What a token says before anything about it is verified.
#[derive(Debug)]
pub struct Unverified<'a> {
    text: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
    issuer: String,
}

#[derive(Deserialize)]
struct WireIssuer {
    iss: String,
}

impl<'a> Unverified<'a> {
    /// Reads header and issuer.
    ///
    /// # Errors
    /// Why it is no token that could be believed.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_TOKEN {
            return Err(Refusal::TooLong);
        }
        let parts: Vec<_> = text.splitn(6, '.').collect();
        let [header, payload, _] = parts[..] else {
            return Err(if parts.len() == 5 { Refusal::Encrypted } else { Refusal::Malformed });
        };
        let header: Map<String, Value> = part(header)?;
        if let Some(name) = FORBIDDEN.into_iter().find(|name| header.contains_key(*name)) {
            return Err(Refusal::Header(name));
        }
        let word = |name: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(word)) => Ok(Some(word.as_str())),
            Some(_) => Err(Refusal::Header(name)),
        };
        if word("typ")?.is_some_and(|typ| !TYPES.contains(&typ.to_ascii_lowercase().as_str())) {
            return Err(Refusal::Type);
        }
        let algorithm = word("alg")?.and_then(Algorithm::from_name).ok_or(Refusal::Algorithm)?;
        let kid = word("kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Refusal::Key);
        }
        let WireIssuer { iss: issuer } = part(payload)?;
        Ok(Self { text, algorithm, kid: kid.map(str::to_owned), issuer })
    }

    /// Who it says issued it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether its issuer uses this algorithm at all.
    ///
    /// # Errors
    /// [`Refusal::Algorithm`].
    pub fn check_algorithm(&self, rules: &IssuerConfig) -> Result<(), Refusal> {
        if rules.algorithms.contains(&self.algorithm) { Ok(()) } else { Err(Refusal::Algorithm) }
    }

    /// Verifies it: the signature, then what it claims about issuer, audience and time.
    ///
    /// # Errors
    /// Why it is not believed; [`Refusal::Key`] if another key might do.
    pub fn verify(&self, keys: &Keys, rules: &IssuerConfig) -> Result<Claims, Refusal> {
        self.check_algorithm(rules)?;
        let key = keys.find(self.kid.as_deref(), self.algorithm).ok_or(Refusal::Key)?;
        let mut validation = Validation::new(self.algorithm.into());
        validation.required_spec_claims = ["exp", "iss", "aud"].map(str::to_owned).into();
        validation.leeway = rules.leeway_seconds;
        validation.validate_nbf = true;
        validation.set_audience(&[&rules.audience]);
        validation.set_issuer(&[&rules.issuer]);
        let verified = jsonwebtoken::decode::<Map<String, Value>>(self.text, key, &validation);
        let claims = verified.map_err(|error| refusal(error.kind()))?.claims;
        // One issuer, not one of several.
        if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
            return Err(Refusal::Issuer);
        }
        Ok(Claims::new(claims))
    }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    let claim = |name: &str| {
        let known = BTreeSet::from(["exp", "nbf", "iss", "aud"]);
        Refusal::Claim(known.get(name).copied().unwrap_or("of time"))
    };
    match kind {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::MissingAlgorithm => {
            Refusal::Algorithm
        }
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYet,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => claim(name),
        _ => Refusal::Malformed,
    }
}

/// One part of a token.
fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests;
