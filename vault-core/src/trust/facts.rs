//! What a trust root says, fact by fact, so that people see what a new version changes before they sign it.

use std::collections::BTreeSet;

use super::{
    root::{Grant, Key, Release, Required, Status, TrustRoot},
    source::words,
};
use crate::{keys::KeyId, names::Pattern};

/// How much of a key id stands in a role: what is listed in full besides, with its holder.
const SHORT_ID: usize = 16;

/// What one version of a trust root says and another does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Facts of the version before that hold no more.
    pub removed: Vec<String>,
    /// Facts that are new.
    pub added: Vec<String>,
}

impl Changes {
    /// What changes from one version to another. Number, time of making and the link to the version before are no facts.
    pub fn between(before: &TrustRoot, after: &TrustRoot) -> Self {
        let (old, new) = (before.facts(), after.facts());
        Self { removed: old.difference(&new).cloned().collect(), added: new.difference(&old).cloned().collect() }
    }

    /// What a new version takes away that people do not expect to lose: signatures made before.
    pub fn losses(before: &TrustRoot, after: &TrustRoot) -> Vec<String> {
        let loss = |(id, key): (&KeyId, &Key)| {
            let name = format!("key {id} of {}", key.holder);
            match after.keys.get(id) {
                None => Some(format!("{name} is dropped: what it signed will look like a forgery")),
                Some(now) if now.status == key.status => None,
                Some(now) if now.status == Status::Compromised => {
                    Some(format!("{name} is compromised: nothing that it signed counts any more, revocations neither"))
                }
                Some(now) if now.status == Status::Retired && now.keeps.is_empty() => {
                    Some(format!("{name} is retired and keeps nothing: nothing that it signed counts any more"))
                }
                Some(_) => None,
            }
        };
        before.keys.iter().filter_map(loss).chain(Self::narrowed(before, after)).collect()
    }

    /// Rules that demand more than before: what was promoted under them is judged by the new ones.
    fn narrowed(before: &TrustRoot, after: &TrustRoot) -> Vec<String> {
        let rules = before.roles.release.iter().zip(&after.roles.release).enumerate();
        let narrower = |(at, (old, new)): (usize, (&Release, &Release))| {
            let out = old.keys.iter().any(|id| !new.keys.contains(id));
            (out || new.threshold > old.threshold || old.requester_counts && !new.requester_counts).then(|| {
                format!(
                    "release rule {} demands more: a promotion that has less counts no more, and looks like none; promote what is to stay in force first",
                    at + 1
                )
            })
        };
        rules.filter_map(narrower).collect()
    }

    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl TrustRoot {
    /// All that it says of keys, roles and time, one line each. Every key is named in full once; roles name it by its holder and the
    /// first 16 digits of its id.
    pub fn facts(&self) -> BTreeSet<String> {
        let roles = &self.roles;
        let mut facts = BTreeSet::from([
            format!("it expires {}", self.expires.as_str()),
            format!("root: {} of {}", holders(roles.root.threshold), self.named(&roles.root.keys)),
            format!("revocation: {} of those with a release role", holders(roles.revocation.threshold)),
        ]);
        for (id, key) in &self.keys {
            let status = match key.status {
                Status::Active => "active",
                Status::Retired => "retired",
                Status::Compromised => "compromised",
            };
            let time = |word: &str, time: &Option<crate::canonical::Time>| {
                time.as_ref().map_or_else(String::new, |time| format!(", {word} {}", time.as_str()))
            };
            let (from, until) = (time("from", &key.valid_from), time("until", &key.valid_until));
            facts.insert(format!("key {id} of {}: {status}{from}{until}", key.holder));
            facts.extend(key.keeps.iter().map(|kept| format!("key {id} keeps b3:{}", hex::encode(kept.0))));
        }
        for (role, grants) in roles.plain() {
            facts.extend(grants.iter().map(|grant| self.grant(role, grant)));
        }
        // The first rule that fits a channel governs it, so its place is part of what it says.
        facts.extend(roles.release.iter().enumerate().map(|(at, rule)| self.rule(at + 1, rule)));
        facts
    }

    fn grant(&self, role: &str, grant: &Grant) -> String {
        format!("{role} of {}: {}", patterns(&grant.models), self.named(&grant.keys))
    }

    fn rule(&self, number: usize, rule: &Release) -> String {
        let asks = if rule.requester_counts { "counts" } else { "does not count" };
        let fresh = rule.freshness.map_or_else(String::new, |age| format!(", fresh within {}", words(age)));
        let required = |r: &Required| format!(", with {} by a {}", r.predicate_type, r.role.as_str());
        format!(
            "release rule {number}, {} @ {}: {} of {}, who asks {asks}, for at most {}{fresh}{}",
            patterns(&rule.models),
            patterns(&rule.channels),
            holders(rule.threshold),
            self.named(&rule.keys),
            words(rule.lifetime),
            rule.attestations.iter().map(required).collect::<String>(),
        )
    }

    /// Keys by their holders.
    fn named(&self, keys: &BTreeSet<KeyId>) -> String {
        let name = |id: &KeyId| {
            let holder = self.holder(id).map_or("nobody", |holder| holder.as_str());
            format!("{holder} ({})", &id.to_hex()[..SHORT_ID])
        };
        let mut names: Vec<_> = keys.iter().map(name).collect();
        names.sort();
        if names.is_empty() { "nobody".into() } else { names.join(", ") }
    }
}

fn holders(threshold: u64) -> String {
    if threshold == 1 { "1 holder".into() } else { format!("{threshold} holders") }
}

fn patterns(patterns: &BTreeSet<Pattern>) -> String {
    if patterns.is_empty() {
        return "nothing".into();
    }
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::SigningKey,
        trust::{Clock, draft},
    };

    const ROLES: &str = r#"
[roles.root]
keys = ["a", "b"]
threshold = 1
[[roles.sealer]]
models = ["m*"]
keys = ["a"]
[[roles.release]]
models = ["*"]
channels = ["production"]
keys = ["a", "b"]
threshold = 1
freshness = "24h"
attestations = [{ type = "https://example.com/scan", role = "scanner" }]
[[roles.release]]
models = ["*"]
channels = ["*"]
keys = ["b"]
threshold = 1
[[roles.scanner]]
models = ["*"]
keys = ["b"]
"#;

    fn source() -> String {
        let mut source = "expires = \"2036-01-01T00:00:00Z\"\n".to_owned();
        for (name, seed) in [("a", 1), ("b", 2)] {
            let pem = SigningKey::from_seed_for_tests([seed; 32]).verifying_key().to_pem();
            source += format!("[keys.{name}]\nholder = \"{name}\"\npublic = \"\"\"\n{pem}\"\"\"\n# {name}\n").as_str();
        }
        source + ROLES
    }

    fn root(source: &str) -> TrustRoot {
        draft(source, None, Clock::now(), &mut |_| unreachable!("keys are written out")).expect(source)
    }

    #[test]
    fn what_says_the_same_has_no_changes() {
        assert!(Changes::between(&root(&source()), &root(&source())).is_empty());
    }

    #[test]
    fn whatever_a_new_version_says_otherwise_shows() {
        let kept = format!("keeps = [\"b3:{}\"]\n# a", "ab".repeat(32));
        let edits = [
            ("2036-01-01", "2037-01-01"),
            ("holder = \"b\"", "holder = \"bob\""),
            ("# a", "status = \"retired\""),
            ("# a", "status = \"compromised\""),
            ("# a", "valid_from = \"2020-01-01T00:00:00Z\""),
            ("# a", "valid_until = \"2035-01-01T00:00:00Z\""),
            ("# a", kept.as_str()),
            (
                "[roles.root]\nkeys = [\"a\", \"b\"]\nthreshold = 1",
                "[roles.root]\nkeys = [\"a\", \"b\"]\nthreshold = 2",
            ),
            ("[roles.root]\nkeys = [\"a\", \"b\"]", "[roles.root]\nkeys = [\"b\"]"),
            ("[\"m*\"]", "[\"*\"]"),
            ("[[roles.sealer]]", "[[roles.share]]"),
            ("[[roles.sealer]]", "[[roles.freshness]]"),
            ("[[roles.sealer]]", "[[roles.log]]"),
            ("[[roles.scanner]]", "[[roles.sealer]]"),
            ("[\"production\"]", "[\"staging\"]"),
            ("channels = [\"production\"]\nkeys = [\"a\", \"b\"]", "channels = [\"production\"]\nkeys = [\"b\"]"),
            ("freshness = \"24h\"", "freshness = \"48h\""),
            ("freshness = \"24h\"", ""),
            ("freshness = \"24h\"", "freshness = \"24h\"\nrequester_counts = true"),
            ("freshness = \"24h\"", "freshness = \"24h\"\nlifetime = \"7d\""),
            ("example.com/scan", "example.com/other"),
            ("role = \"scanner\" }", "role = \"sealer\" }"),
            ("[roles.root]", "[roles.revocation]\nthreshold = 2\n[roles.root]"),
        ];
        let before = root(&source());
        for (from, to) in edits {
            let text = source().replacen(from, to, 1);
            assert_ne!(text, source(), "{from}");
            let changes = Changes::between(&before, &root(&text));
            assert!(!changes.added.is_empty() || !changes.removed.is_empty(), "{from} -> {to}");
            let back = Changes::between(&root(&text), &before);
            assert_eq!((back.added, back.removed), (changes.removed, changes.added), "{from} -> {to}");
        }
    }

    #[test]
    fn what_is_lost_is_told_apart_from_what_is_changed() {
        let before = root(&source());
        let losses = |from: &str, to: &str| Changes::losses(&before, &root(&source().replacen(from, to, 1)));
        assert!(losses("[\"m*\"]", "[\"*\"]").is_empty());
        let kept = format!("status = \"retired\"\nkeeps = [\"b3:{}\"]", "ab".repeat(32));
        assert!(losses("# a", &kept).is_empty());
        assert!(losses("# a", "status = \"retired\"")[0].contains("of a is retired and keeps nothing"));
        assert!(losses("# a", "status = \"compromised\"")[0].contains("of a is compromised"));
        let narrower = losses("freshness", "requester_counts = false\nfreshness");
        assert!(narrower.is_empty(), "that is what it was: {narrower:?}");
        let rule = "channels = [\"production\"]\nkeys = [\"a\", \"b\"]\nthreshold = 1";
        for more in [rule.replace("threshold = 1", "threshold = 2"), rule.replace("\"a\", \"b\"", "\"b\"")] {
            assert!(losses(rule, &more)[0].contains("release rule 1 demands more"), "{more}");
        }
        let alone = source().replace("[\"a\", \"b\"]", "[\"a\"]").replace("[\"b\"]", "[\"a\"]");
        let start = alone.find("[keys.b]").expect("there");
        let dropped = [&alone[..start], &alone[alone.find("# b\n").expect("there")..]].concat();
        assert!(Changes::losses(&before, &root(&dropped))[0].contains("of b is dropped"));
    }

    #[test]
    fn the_order_of_rules_is_a_fact() {
        let swapped = source().replacen("[\"production\"]", "[\"#\"]", 1).replacen(
            "[\"*\"]\nkeys = [\"b\"]\nthreshold",
            "[\"production\"]\nkeys = [\"b\"]\nthreshold",
            1,
        );
        let swapped = swapped.replacen("[\"#\"]", "[\"*\"]", 1);
        assert!(!Changes::between(&root(&source()), &root(&swapped)).is_empty());
    }

    #[test]
    fn facts_read_like_sentences() {
        let facts = root(&source()).facts();
        let ids = [1, 2].map(|seed| {
            SigningKey::from_seed_for_tests([seed; 32]).verifying_key().key_id().to_hex()[..SHORT_ID].to_owned()
        });
        for fact in [
            "it expires 2036-01-01T00:00:00Z".to_owned(),
            format!("root: 1 holder of a ({}), b ({})", ids[0], ids[1]),
            "revocation: 1 holder of those with a release role".to_owned(),
            format!("sealer of m*: a ({})", ids[0]),
            format!(
                "release rule 1, * @ production: 1 holder of a ({}), b ({}), who asks does not count, for at most 90d, \
                 fresh within 1d, with https://example.com/scan by a scanner",
                ids[0], ids[1]
            ),
        ] {
            assert!(facts.contains(&fact), "{fact:?} in {facts:#?}");
        }
    }
}
