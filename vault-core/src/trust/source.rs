//! The trust root as people write it: TOML, with names for keys and words for times.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Deserialize;

use super::{
    chain::Reached,
    clock::Clock,
    root::{Grant, Holder, Key, Public, Release, Required, Role, Roles, RootRole, Status, Threshold, TrustRoot},
};
use crate::{
    canonical::{Hex, Time},
    error::{Error, Result},
    keys::{KeyId, PublicKey},
    names::{Pattern, parse_hash},
};

/// The longest source that is read, in bytes.
const MAX_SOURCE: usize = 1 << 20;
const DAY: u64 = 24 * 3600;
const DEFAULT_LIFETIME: u64 = 90 * DAY;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    expires: String,
    /// The BLAKE3 of the version it was made from, if it was.
    follows: Option<String>,
    keys: BTreeMap<String, SourceKey>,
    roles: SourceRoles,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceKey {
    holder: String,
    public: String,
    #[serde(default = "active")]
    status: Status,
    valid_from: Option<String>,
    valid_until: Option<String>,
    #[serde(default)]
    keeps: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceRoles {
    root: SourceRoot,
    #[serde(default)]
    sealer: Vec<SourceGrant>,
    #[serde(default)]
    share: Vec<SourceGrant>,
    #[serde(default)]
    release: Vec<SourceRelease>,
    #[serde(default)]
    freshness: Vec<SourceGrant>,
    #[serde(default)]
    scanner: Vec<SourceGrant>,
    #[serde(default)]
    log: Vec<SourceGrant>,
    revocation: Option<SourceThreshold>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceRoot {
    keys: Vec<String>,
    threshold: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceThreshold {
    threshold: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceGrant {
    models: Vec<Pattern>,
    keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceRelease {
    models: Vec<Pattern>,
    channels: Vec<Pattern>,
    keys: Vec<String>,
    threshold: u64,
    #[serde(default)]
    requester_counts: bool,
    lifetime: Option<String>,
    freshness: Option<String>,
    #[serde(default)]
    attestations: Vec<SourceRequired>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceRequired {
    #[serde(rename = "type")]
    predicate_type: String,
    role: Role,
}

fn active() -> Status {
    Status::Active
}

/// Makes the payload of a trust root of its source, as the next version behind `previous`, or as version 1.
///
/// `public` gives the text of a public key file that the source names; keys may also be written out as PEM.
///
/// # Errors
/// [`Error::Misuse`] with the line or the member that is wrong.
pub fn draft(
    text: &str,
    previous: Option<&Reached>,
    clock: Clock,
    public: &mut dyn FnMut(&str) -> Result<String>,
) -> Result<TrustRoot> {
    if text.len() > MAX_SOURCE {
        return Err(Error::Misuse(format!("the trust root's source is longer than {MAX_SOURCE} bytes")));
    }
    let source: Source = toml::from_str(text).map_err(|e| Error::Misuse(located(text, &e)))?;
    source.check_follows(previous)?;
    let mut keys = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for (name, key) in &source.keys {
        let (id, key) = key.read(public).map_err(|e| Error::Misuse(format!("keys.{name}: {e}")))?;
        if keys.insert(id, key).is_some() {
            return Err(Error::Misuse(format!("keys.{name}: the key {id} is listed twice")));
        }
        ids.insert(name.as_str(), id);
    }
    let place = match previous {
        None => (1, None, None),
        Some(reached) => (reached.root().version() + 1, Some(reached.origin().into()), Some(reached.digest().into())),
    };
    let times = (clock.time(), moment(&source.expires, clock).map_err(|e| Error::Misuse(format!("expires: {e}")))?);
    let root = TrustRoot::assemble(place, times, keys, source.roles.read(&ids)?);
    root.to_vec().map_err(|e| Error::Misuse(e.to_string()))?;
    Ok(root)
}

impl Source {
    /// A source that was made from one version becomes the next version of that one, and nothing else.
    fn check_follows(&self, previous: Option<&Reached>) -> Result<()> {
        let Some(follows) = &self.follows else { return Ok(()) };
        let refuse = |rule: &str| Err(Error::Misuse(format!("follows: {rule}")));
        match (digest(follows), previous) {
            (None, _) => refuse(&format!("{follows:?} is not a digest b3:<hex>")),
            (Some(_), None) => refuse("was made from another trust root, and none is named that it comes after"),
            (Some(made_from), Some(previous)) if previous.digest() != made_from => refuse(&format!(
                "was made from another trust root than version {}, b3:{}",
                previous.root().version(),
                previous.digest()
            )),
            (Some(_), Some(_)) => Ok(()),
        }
    }
}

impl SourceKey {
    fn read(&self, public: &mut dyn FnMut(&str) -> Result<String>) -> Result<(KeyId, Key)> {
        let pem = if self.public.contains("-----BEGIN") { self.public.clone() } else { public(&self.public)? };
        let PublicKey::Signing(key) = PublicKey::from_pem(&pem)? else {
            return Err(Error::Misuse("is a recipient key where a signing key is expected".into()));
        };
        let time = |text: &Option<String>| text.as_deref().map(absolute).transpose();
        let keeps = self.keeps.iter().map(|digest| kept(digest)).collect::<Result<_>>()?;
        let key_id = key.key_id();
        let key = Key {
            holder: Holder::try_from(self.holder.clone())?,
            keeps,
            public: Public(key),
            status: self.status,
            valid_from: time(&self.valid_from)?,
            valid_until: time(&self.valid_until)?,
        };
        Ok((key_id, key))
    }
}

impl SourceRoles {
    fn read(&self, ids: &BTreeMap<&str, KeyId>) -> Result<Roles> {
        let keys = |role: &str, names: &[String]| -> Result<BTreeSet<KeyId>> {
            let find = |name: &String| {
                let unknown = || Error::Misuse(format!("roles.{role}: there is no [keys.{name}]"));
                ids.get(name.as_str()).copied().ok_or_else(unknown)
            };
            let mut found = BTreeSet::new();
            for name in names {
                if !found.insert(find(name)?) {
                    return Err(Error::Misuse(format!("roles.{role}: the key {name:?} is listed twice")));
                }
            }
            Ok(found)
        };
        let grants = |role: &str, grants: &[SourceGrant]| -> Result<Vec<Grant>> {
            let grant = |grant: &SourceGrant| {
                Ok(Grant { keys: keys(role, &grant.keys)?, models: grant.models.iter().cloned().collect() })
            };
            grants.iter().map(grant).collect()
        };
        let release = |rule: &SourceRelease| -> Result<Release> {
            let seconds = |text: &str| duration(text).map_err(|e| Error::Misuse(format!("roles.release: {e}")));
            Ok(Release {
                attestations: rule
                    .attestations
                    .iter()
                    .map(|a| Required { predicate_type: a.predicate_type.clone(), role: a.role })
                    .collect(),
                channels: rule.channels.iter().cloned().collect(),
                freshness: rule.freshness.as_deref().map(seconds).transpose()?,
                keys: keys("release", &rule.keys)?,
                lifetime: rule.lifetime.as_deref().map_or(Ok(DEFAULT_LIFETIME), seconds)?,
                models: rule.models.iter().cloned().collect(),
                requester_counts: rule.requester_counts,
                threshold: rule.threshold,
            })
        };
        Ok(Roles {
            freshness: grants("freshness", &self.freshness)?,
            log: grants("log", &self.log)?,
            release: self.release.iter().map(release).collect::<Result<_>>()?,
            revocation: Threshold { threshold: self.revocation.as_ref().map_or(1, |r| r.threshold) },
            root: RootRole { keys: keys("root", &self.root.keys)?, threshold: self.root.threshold },
            scanner: grants("scanner", &self.scanner)?,
            sealer: grants("sealer", &self.sealer)?,
            share: grants("share", &self.share)?,
        })
    }
}

/// What is wrong with a source, and where, on one line: the parser's own text is a drawing of several.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1));
    format!("line {line}, column {}: {message}", before[start..].chars().count() + 1)
}

/// `b3:<hex>` or `<hex>` of the payload of a record.
fn kept(text: &str) -> Result<Hex<32>> {
    digest(text).map(Hex::from).ok_or_else(|| Error::Misuse(format!("keeps: {text:?} is not a digest b3:<hex>")))
}

fn digest(text: &str) -> Option<blake3::Hash> {
    parse_hash(text.strip_prefix("b3:").unwrap_or(text))
}

/// A time of its own, or a duration from now.
fn moment(text: &str, clock: Clock) -> Result<Time> {
    duration(text).map(|seconds| clock.after(seconds)).or_else(|_| absolute(text))
}

fn absolute(text: &str) -> Result<Time> {
    text.parse().map_err(|()| Error::Misuse(format!("{text:?} is not a time like 2026-11-21T20:00:00Z")))
}

/// A number of seconds, minutes, hours or days: `90s`, `30m`, `24h`, `90d`.
///
/// # Errors
/// [`Error::Misuse`] for anything else.
pub fn duration(text: &str) -> Result<u64> {
    let refuse = || Error::Misuse(format!("{text:?} is not a duration like 24h or 90d"));
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => DAY,
        _ => return Err(refuse()),
    };
    let digits = &text[..text.len() - 1];
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    number.filter(|n| *n > 0).and_then(|n| n.checked_mul(unit)).ok_or_else(refuse)
}

/// A duration as people write it.
pub(super) fn words(seconds: u64) -> String {
    match seconds {
        s if s % DAY == 0 => format!("{}d", s / DAY),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The source of a trust root, to be edited for the next version: its BLAKE3 is what the next one follows. Keys are named by their
/// holders.
pub fn to_toml(root: &TrustRoot, digest: blake3::Hash) -> String {
    let names = key_names(root);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ =
        writeln!(out, "# Trust root, from version {}. Signed, it becomes version {}.", root.version, root.version + 1);
    let _ = writeln!(out, "follows = \"b3:{digest}\"");
    let _ =
        writeln!(out, "# When the version before expires: renew it, by a time or a duration from the signature on.");
    let _ = writeln!(out, "expires = {:?}\n", root.expires.as_str());
    for (id, key) in &root.keys {
        let _ = writeln!(out, "[keys.{:?}]\nholder = {:?}", names[id], key.holder.as_str());
        let _ = writeln!(out, "public = \"\"\"\n{}\"\"\"", key.verifying_key().to_pem());
        if key.status != Status::Active {
            let status = if key.status == Status::Retired { "retired" } else { "compromised" };
            let _ = writeln!(out, "status = {status:?}");
        }
        for (member, time) in [("valid_from", &key.valid_from), ("valid_until", &key.valid_until)] {
            if let Some(time) = time {
                let _ = writeln!(out, "{member} = {:?}", time.as_str());
            }
        }
        if !key.keeps.is_empty() {
            let _ = writeln!(out, "keeps = [");
            for digest in &key.keeps {
                let _ = writeln!(out, "  \"b3:{}\",", hex::encode(digest.0));
            }
            let _ = writeln!(out, "]");
        }
        out.push('\n');
    }
    let list = |keys: &BTreeSet<KeyId>| {
        let quoted: Vec<_> = keys.iter().map(|id| format!("{:?}", names[id])).collect();
        format!("[{}]", quoted.join(", "))
    };
    let patterns = |patterns: &BTreeSet<Pattern>| {
        let quoted: Vec<_> = patterns.iter().map(|p| format!("{:?}", p.as_str())).collect();
        format!("[{}]", quoted.join(", "))
    };
    let roles = &root.roles;
    let _ = writeln!(out, "[roles.root]\nkeys = {}\nthreshold = {}\n", list(&roles.root.keys), roles.root.threshold);
    let _ = writeln!(out, "[roles.revocation]\nthreshold = {}\n", roles.revocation.threshold);
    for (role, grants) in roles.plain() {
        for grant in grants {
            let _ =
                writeln!(out, "[[roles.{role}]]\nmodels = {}\nkeys = {}\n", patterns(&grant.models), list(&grant.keys));
        }
    }
    for rule in &roles.release {
        let _ = writeln!(out, "[[roles.release]]\nmodels = {}", patterns(&rule.models));
        let _ = writeln!(out, "channels = {}\nkeys = {}", patterns(&rule.channels), list(&rule.keys));
        let _ = writeln!(out, "threshold = {}\nrequester_counts = {}", rule.threshold, rule.requester_counts);
        let _ = writeln!(out, "lifetime = {:?}", words(rule.lifetime));
        if let Some(age) = rule.freshness {
            let _ = writeln!(out, "freshness = {:?}", words(age));
        }
        if !rule.attestations.is_empty() {
            let required = |r: &Required| format!("{{ type = {:?}, role = {:?} }}", r.predicate_type, r.role.as_str());
            let all: Vec<_> = rule.attestations.iter().map(required).collect();
            let _ = writeln!(out, "attestations = [{}]", all.join(", "));
        }
        out.push('\n');
    }
    out
}

/// A name for every key: its holder, and a number if that is taken.
fn key_names(root: &TrustRoot) -> BTreeMap<KeyId, String> {
    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for (id, key) in &root.keys {
        let mut name = key.holder.to_string();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{}-{number}", key.holder);
        }
        names.insert(*id, name);
    }
    names
}
