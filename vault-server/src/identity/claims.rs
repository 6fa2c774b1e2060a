//! What a verified token says about whoever shows it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Means, Principal, safe_id, safe_name, settings::IssuerConfig, token::Refusal};

/// The longest subject, in bytes.
const MAX_SUBJECT: usize = 2048;
/// The most groups, and the longest name of one.
const MAX_GROUPS: usize = 500;
const MAX_GROUP: usize = 512;
/// The most audiences.
const MAX_AUDIENCES: usize = 50;
/// The most methods of authentication, and the longest name of one, or of a class.
const MAX_METHODS: usize = 32;
const MAX_METHOD: usize = 256;

/// The claims of a token whose signature, issuer, audience and expiry were verified.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Whom the token is about. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why it is about nobody: a claim that is missing, too long or of another form is never passed over.
    pub fn principal(&self, rules: &IssuerConfig, now: u64) -> Result<Principal, Refusal> {
        self.check_age(rules, now)?;
        self.check_parties()?;
        if self.0.contains_key("cnf") {
            // Bound to a key that whoever shows it would have to prove (RFC 8705, RFC 9449); taking it would undo that.
            return Err(Refusal::Claim("cnf"));
        }
        let subject = self.text(&rules.subject_claim, MAX_SUBJECT).map_err(|()| Refusal::Claim("of the subject"))?;
        let subject = subject.ok_or(Refusal::Claim("of the subject"))?;
        if rules.subject_claim == "email" && self.0.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(Refusal::Claim("email_verified"));
        }
        let groups = self.words(&rules.groups_claim, MAX_GROUPS, MAX_GROUP).ok_or(Refusal::Claim("of groups"))?;
        let id = safe_id(&rules.name, subject);
        let name = self.0.get(&rules.name_claim).and_then(Value::as_str).unwrap_or(subject);
        Ok(Principal {
            name: safe_name(name),
            holder: id.clone(),
            id,
            means: Means::Token,
            // No issuer speaks of the groups of another.
            groups: groups.iter().map(|group| format!("{}:{group}", rules.name)).collect(),
            acr: self.text("acr", MAX_METHOD).map_err(|()| Refusal::Claim("acr"))?.map(str::to_owned),
            amr: self.words("amr", MAX_METHODS, MAX_METHOD).ok_or(Refusal::Claim("amr"))?,
            grants: Vec::new(),
        })
    }

    fn check_age(&self, rules: &IssuerConfig, now: u64) -> Result<(), Refusal> {
        let issued = match self.0.get("iat") {
            None | Some(Value::Null) => None,
            Some(value) => Some(seconds(value).ok_or(Refusal::Claim("iat"))?),
        };
        let leeway = rules.leeway_seconds;
        if issued.is_some_and(|issued| issued > now.saturating_add(leeway)) {
            return Err(Refusal::NotYet);
        }
        let Some(most) = rules.max_age_seconds else { return Ok(()) };
        let issued = issued.ok_or(Refusal::Claim("iat"))?;
        let is_old = now.saturating_sub(issued) > most.get().saturating_add(leeway);
        if is_old { Err(Refusal::TooOld) } else { Ok(()) }
    }

    /// A token for several says for whom it was made (OpenID Connect Core 1.0 section 3.1.3.7).
    fn check_parties(&self) -> Result<(), Refusal> {
        let audiences = self.words("aud", MAX_AUDIENCES, MAX_SUBJECT).ok_or(Refusal::Claim("aud"))?;
        match self.text("azp", MAX_SUBJECT).map_err(|()| Refusal::Claim("azp"))? {
            None if audiences.len() > 1 => Err(Refusal::Claim("azp")),
            _ => Ok(()),
        }
    }

    /// A text that is not empty, if it is there.
    fn text(&self, claim: &str, most: usize) -> Result<Option<&str>, ()> {
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= most => Ok(Some(text)),
            Some(_) => Err(()),
        }
    }

    /// A list of texts, or a single one; none if it is something else, or too much.
    fn words(&self, claim: &str, most: usize, longest: usize) -> Option<BTreeSet<String>> {
        let list = match self.0.get(claim) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        if list.len() > most {
            return None;
        }
        let word = |value: &Value| value.as_str().filter(|word| word.len() <= longest).map(str::to_owned);
        list.iter().map(word).collect()
    }
}

/// A time in seconds, which may have a fraction (RFC 7519 section 2).
fn seconds(value: &Value) -> Option<u64> {
    let fraction = || {
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
        // Rounded up: the checks are about what is in the future.
        format!("{:.0}", seconds.ceil()).parse().ok()
    };
    value.as_u64().or_else(fraction)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn rules() -> IssuerConfig {
        toml::from_str("name = \"corp\"\nissuer = \"https://id.example\"\naudience = \"mvault\"").expect("settings")
    }

    fn judge(rules: &IssuerConfig, change: &Value) -> Result<Principal, Refusal> {
        let mut claims = json!({ "sub": "alice", "aud": "mvault", "iat": NOW - 60 });
        for (name, value) in change.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        Claims(claims.as_object().expect("claims").clone()).principal(rules, NOW)
    }

    #[test]
    fn a_token_names_its_subject_and_what_the_issuer_says_about_it() {
        let more =
            json!({ "name": "Alice\u{1b}[31m", "groups": ["ml", "release"], "acr": "aal2", "amr": ["pwd", "otp"] });
        let who = judge(&rules(), &more).expect("known");
        assert_eq!((who.id.as_str(), who.holder.as_str(), who.means), ("corp:alice", "corp:alice", Means::Token));
        assert_eq!(who.name, "Alice??31m");
        assert_eq!(who.groups, BTreeSet::from(["corp:ml".to_owned(), "corp:release".to_owned()]));
        assert_eq!((who.acr.as_deref(), who.amr.len(), who.grants.len()), (Some("aal2"), 2, 0));
        let alone = judge(&rules(), &json!({ "groups": "one" })).expect("known");
        assert!(alone.groups.contains("corp:one") && alone.name == "alice");
    }

    #[test]
    fn claims_of_another_form_are_refused_and_not_passed_over() {
        for change in [
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": 7 }),
            json!({ "sub": "a".repeat(3000) }),
            json!({ "groups": {} }),
            json!({ "groups": [1] }),
            json!({ "groups": vec!["g"; 501] }),
            json!({ "groups": ["g".repeat(600)] }),
            json!({ "acr": 2 }),
            json!({ "amr": [[]] }),
            json!({ "aud": ["mvault", "other"] }),
            json!({ "aud": ["mvault", "other"], "azp": 7 }),
            json!({ "azp": "" }),
            json!({ "iat": "yesterday" }),
            json!({ "iat": -1 }),
            json!({ "cnf": { "jkt": "x" } }),
        ] {
            assert!(matches!(judge(&rules(), &change), Err(Refusal::Claim(_))), "{change}");
        }
        judge(&rules(), &json!({ "aud": ["mvault", "other"], "azp": "client" })).expect("known");
    }

    #[test]
    fn a_token_of_the_future_or_of_long_ago_is_refused() {
        assert_eq!(judge(&rules(), &json!({ "iat": NOW + 31 })).expect_err("future"), Refusal::NotYet);
        assert_eq!(judge(&rules(), &json!({ "iat": 1e14 })).expect_err("future"), Refusal::NotYet);
        judge(&rules(), &json!({ "iat": NOW + 30 })).expect("clocks differ");
        judge(&rules(), &json!({ "iat": null })).expect("not demanded");
        let short = IssuerConfig { max_age_seconds: std::num::NonZeroU64::new(600), ..rules() };
        judge(&short, &json!({ "iat": NOW - 630 })).expect("just so");
        assert_eq!(judge(&short, &json!({ "iat": NOW - 631 })).expect_err("old"), Refusal::TooOld);
        assert_eq!(judge(&short, &json!({ "iat": null })).expect_err("unknown"), Refusal::Claim("iat"));
    }

    #[test]
    fn an_address_counts_only_if_it_was_verified() {
        let by_email = IssuerConfig { subject_claim: "email".into(), ..rules() };
        let who = judge(&by_email, &json!({ "email": "a@x.example", "email_verified": true })).expect("known");
        assert_eq!(who.id, "corp:a@x.example");
        for verified in [json!(null), json!(false), json!("true")] {
            assert!(judge(&by_email, &json!({ "email": "a@x.example", "email_verified": verified })).is_err());
        }
    }
}
