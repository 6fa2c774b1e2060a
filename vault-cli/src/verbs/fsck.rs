//! `mvault fsck`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    Error,
    error::{Kind, Place},
    names::ArtifactDigest,
    store::Entry,
    trust::Policy,
    vault::{Finding, Report, Vault},
    wrap::Keyring,
};

use crate::{
    belief::BeliefArgs,
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_identities},
    session::Session,
    ui::{bytes, count, one_line},
};

mod places;

/// Check every stored byte of a vault and report what is damaged or belongs to nothing
///
/// Damage ends with exit code 3, otherwise what could not be read with 1; the report comes first. What an interrupted seal
/// left behind is reported and harmless. Signatures are not checked: that is what `mvault verify --all` is for. Records that
/// are none, or not what their paths say, are damage, too: planted junk cannot be told from a revocation that a disk lost.
///
/// Damage is named by stream, segments and bytes of ciphertext; with --identity also by file, tensor and bytes of the
/// file. If an index is damaged its files cannot be named, if a safetensors header is, its tensors cannot.
///
/// With --repair, what is damaged or missing is taken from --from if that is what it should be: content by its hash, records
/// if they are well formed there and not here. With --signer or --trust, records must also be believed, and missing
/// ones come along. An object is deleted only when a good one is at hand. Repair a vault from one place at a time.
///
/// JSON: {"versions", "artifacts", "objects", "bytes", "damage": [{"kind", "artifact", "version", "object", "message",
/// "where": [{"stream", "segments", "bytes", "files": [{"path", "range", "tensors"}], "more_files"}]}], "repaired":
/// [{"path", "bytes"}], "unrepaired": [{"path", "message"}],
/// "unreadable": [{"path", "message"}], "unpublished": […], "orphans": [{"path", "bytes"}], "collected": [{"artifact", "versions"}], "foreign": […],
/// "leftovers": [{"path", "bytes"}], "more": {"damage", …}}; of every list the first 1000, and how many more there are
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault /srv/models fsck
  mvault --vault /srv/models fsck --identity node.key
  mvault --vault /srv/models fsck --repair --from /backup/models --signer release.pub")]
pub struct Args {
    /// Replace what is damaged or missing by what --from has
    #[arg(long, requires = "from")]
    repair: bool,
    /// Another copy of this vault
    #[arg(long, value_name = "URL", requires = "repair")]
    from: Option<String>,
    /// A private key that opens the artifacts, to name damaged files and tensors; repeat for several
    #[arg(long, value_name = "FILE.key")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    belief: BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// The most entries of a list; the rest is counted.
const MAX_LISTED: usize = 1000;

/// One list of the report.
#[derive(Default)]
struct List {
    entries: Vec<Value>,
    more: u64,
}

impl List {
    fn total(&self) -> u64 {
        self.entries.len() as u64 + self.more
    }
}

#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    /// Damaged objects, each with its artifact, what its error names, and its number in the list of damage.
    places: Vec<(ArtifactDigest, String, Place, usize)>,
    damage: List,
    /// How much of the damage is in records that readers pass over.
    broken_records: u64,
    repaired: List,
    unrepaired: List,
    unreadable: List,
    unpublished: List,
    orphans: List,
    collected: List,
    foreign: List,
    leftovers: List,
}

impl Findings {
    fn add(&mut self, finding: &Finding) {
        let (list, line, object) = match finding {
            Finding::Damaged { artifact, object, error } => {
                let message = error.to_string();
                let line = match object.as_str() {
                    named if message.contains(named) => format!("damaged: {artifact}: {message}"),
                    object => format!("damaged: {artifact}: {message} (in {object})"),
                };
                let artifact = artifact.to_string();
                let damage = json!({ "kind": "damaged", "artifact": artifact, "message": message, "object": object });
                (&mut self.damage, line, damage)
            }
            Finding::MoreDamage { artifact, count: more } => {
                self.damage.more += more;
                self.lines.push(format!("damaged: {artifact}: in {} more", count(*more, "place")));
                return;
            }
            Finding::BrokenVersion { name, error } => {
                let object = json!({ "kind": "version", "version": name.to_string(), "message": error.to_string() });
                (&mut self.damage, format!("broken version: {name}: {error}"), object)
            }
            Finding::BrokenRecord { path, error } => {
                let message = error.to_string();
                let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(&message);
                self.broken_records += 1;
                let object = json!({ "kind": "record", "object": path, "message": message });
                (&mut self.damage, format!("broken record: {path}: {message}"), object)
            }
            Finding::Unreadable { path, error } => {
                let (place, message) = (if path.is_empty() { "the vault" } else { path }, error.to_string());
                let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(&message);
                let object = json!({ "path": path, "message": message });
                (&mut self.unreadable, format!("unreadable: {place}: {message}"), object)
            }
            Finding::Unpublished { artifact } => {
                let line = format!("unpublished: {artifact}: no version names it");
                (&mut self.unpublished, line, json!(artifact.to_string()))
            }
            Finding::Orphan { path, size } => {
                let line = format!("orphan: {path}: {}, no manifest names it", bytes(*size));
                (&mut self.orphans, line, json!({ "path": path, "bytes": size }))
            }
            Finding::Repaired { path, size } => {
                let line = format!("repaired: {path}: {}", bytes(*size));
                (&mut self.repaired, line, json!({ "path": path, "bytes": size }))
            }
            Finding::Unrepaired { path, error } => {
                let line = format!("not repaired: {path}: {error}");
                (&mut self.unrepaired, line, json!({ "path": path, "message": error.to_string() }))
            }
            Finding::Collected { artifact, names } => {
                let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
                let line =
                    format!("collected: {artifact}: retired, as {}, and its contents are gone", names.join(", "));
                (&mut self.collected, line, json!({ "artifact": artifact.to_string(), "versions": names }))
            }
            Finding::Foreign { path } => {
                (&mut self.foreign, format!("foreign: {path}: has no place in a vault"), json!(path))
            }
            other => return self.lines.push(format!("{other:?}")),
        };
        if list.entries.len() < MAX_LISTED {
            list.entries.push(object);
            self.lines.push(line);
            if let Finding::Damaged { artifact, object, error: Error::Corrupt { place, .. } } = finding {
                self.places.push((*artifact, object.clone(), place.clone(), self.damage.entries.len() - 1));
            }
        } else {
            list.more += 1;
        }
    }

    fn leftover(&mut self, entry: &Entry) {
        if self.leftovers.entries.len() < MAX_LISTED {
            self.lines.push(format!("leftover: {}: {}, of a seal at work or killed", entry.path, bytes(entry.size)));
            self.leftovers.entries.push(json!({ "path": entry.path, "bytes": entry.size }));
        } else {
            self.leftovers.more += 1;
        }
    }

    fn lists(&self) -> [(&'static str, &List); 9] {
        [
            ("damage", &self.damage),
            ("repaired", &self.repaired),
            ("unrepaired", &self.unrepaired),
            ("unreadable", &self.unreadable),
            ("unpublished", &self.unpublished),
            ("orphans", &self.orphans),
            ("collected", &self.collected),
            ("foreign", &self.foreign),
            ("leftovers", &self.leftovers),
        ]
    }

    fn object(&self, report: &Report) -> Value {
        let mut object = json!({
            "versions": report.versions, "artifacts": report.artifacts, "objects": report.objects,
            "bytes": report.bytes,
        });
        let lists = self.lists();
        for (name, list) in lists {
            object[name] = json!(list.entries);
        }
        object["more"] = lists.iter().map(|(name, list)| ((*name).to_owned(), json!(list.more))).collect();
        object
    }

    fn text(&self, report: &Report) -> String {
        let more = self.lists().into_iter().filter(|(_, list)| list.more > 0);
        let more = more.map(|(name, list)| format!("{name}: {} more", list.more));
        let fate = match (self.damage.total(), self.unreadable.total()) {
            (0, 0) => "no damage".to_owned(),
            (0, unreadable) => format!("{unreadable} unreadable"),
            (damaged, 0) => format!("{damaged} damaged"),
            (damaged, unreadable) => format!("{damaged} damaged, {unreadable} unreadable"),
        };
        let fate = match self.repaired.total() {
            0 => fate,
            repaired => format!("{fate}, {repaired} repaired"),
        };
        let last = format!(
            "checked {}, {}, {}, {} of ciphertext: {fate}",
            count(report.versions, "version"),
            count(report.artifacts, "artifact"),
            count(report.objects, "object"),
            bytes(report.bytes),
        );
        let lines = self.lines.iter().cloned().chain(more).chain([last]);
        lines.map(|line| one_line(&line)).collect::<Vec<_>>().join("\n")
    }

    fn verdict(&self) -> Result {
        let unreadable = format!("{} could not be read", count(self.unreadable.total(), "object"));
        match (self.damage.total(), self.unreadable.total()) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::operational(unreadable).hint("mend what is named above and check again")),
            (damaged, _) => {
                let hint = if damaged == self.broken_records {
                    "readers pass over broken records; `--repair --from OTHER` mends those of an artifact, others go by hand"
                } else {
                    "`mvault fsck --repair --from OTHER` takes what is named above from another copy"
                };
                Err(Failure::new(Kind::Integrity, format!("the vault is damaged in {}", count(damaged, "place")))
                    .hint(hint))
            }
        }
    }
}

/// Says where damage is, as far as the keys at hand can tell.
fn locate(findings: &mut Findings, vault: &Vault, key: Option<(&Policy, &Keyring)>) -> Result {
    let mut left = std::mem::take(&mut findings.places);
    while let Some(artifact) = left.first().map(|(artifact, ..)| *artifact) {
        let (here, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|(other, ..)| *other == artifact);
        left = rest;
        let damage: Vec<_> = here.iter().map(|(_, object, place, _)| (object.clone(), place.clone())).collect();
        let found = match vault.whereabouts(artifact, &damage, key) {
            Ok((found, refused)) => {
                if let Some(error) = refused {
                    findings.lines.push(format!("files of {artifact} cannot be named: {error}"));
                }
                found
            }
            // A manifest that is damaged itself says nothing.
            Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for ((_, object, _, number), places) in here.iter().zip(found) {
            findings.lines.extend(places.iter().map(|place| places::line_of(object, place)));
            if let Some(entry) = findings.damage.entries.get_mut(*number) {
                entry["where"] = places.iter().map(places::object_of).collect();
            }
        }
    }
    Ok(())
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?;
    let vault = session.vault()?;
    let mut findings = Findings::default();
    let mut add = |finding: Finding| {
        findings.add(&finding);
        Ok(())
    };
    let report = match &args.from {
        Some(from) if args.repair => {
            let other = session.vault_at(from, &session.connection())?;
            // The one that is whole knows more of a trust root and its revocations.
            let policy = belief.view(&other, session)?.policy;
            let bar = session.start("repairing", None)?;
            vault.repair(&other, &policy, session.threads(), &bar, &mut add)?
        }
        _ => {
            let bar = session.start("checking", None)?;
            vault.fsck(session.threads(), &bar, &mut add)?
        }
    };
    if args.identity.is_empty() {
        locate(&mut findings, &vault, None)?;
    } else {
        let mut passphrases = Passphrases::new(&args.passphrase);
        let identities = load_identities(&args.identity, &mut passphrases, session.global.examples())?;
        let ring = Keyring { identities, passphrases: Vec::new() };
        let policy = belief.view(&vault, session)?.policy;
        locate(&mut findings, &vault, Some((&policy, &ring)))?;
    }
    match vault.store().leftovers() {
        Ok(leftovers) => leftovers.iter().for_each(|entry| findings.leftover(entry)),
        Err(error) => findings.add(&Finding::Unreadable { path: "staging".into(), error }),
    }
    session.ui.result(&findings.text(&report), &findings.object(&report))?;
    findings.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable() -> Finding {
        let error = Error::storage("objects/00/00")(std::io::Error::other("bad sector"));
        Finding::Unreadable { path: "objects/00/00".into(), error }
    }

    fn damaged() -> Finding {
        let (artifact, error) = (ArtifactDigest::of(b""), Error::Misuse("segment 0".into()));
        Finding::Damaged { artifact, object: "objects/11/11".into(), error }
    }

    #[test]
    fn what_cannot_be_read_ends_with_1_unless_damage_weighs_more() {
        let mut findings = Findings::default();
        assert!(findings.verdict().is_ok());
        findings.add(&Finding::Orphan { path: "objects/22/22".into(), size: 1 });
        assert!(findings.verdict().is_ok());
        findings.add(&unreadable());
        assert_eq!(findings.verdict().expect_err("unreadable").exit(), 1);
        let text = findings.text(&Report::default());
        assert!(text.contains("unreadable: objects/00/00: bad sector\n"), "{text}");
        findings.add(&damaged());
        assert_eq!(findings.verdict().expect_err("damaged").exit(), 3);
        assert!(findings.text(&Report::default()).contains("segment 0 (in objects/11/11)"));
        assert_eq!(findings.object(&Report::default())["unreadable"][0]["path"], "objects/00/00");
    }

    #[test]
    fn a_broken_record_is_damage_of_its_own_kind_and_names_its_path_once() {
        let mut findings = Findings::default();
        let path = "revocations/1.dsse.json".to_owned();
        let fault = vault_core::error::Fault::Missing;
        let error = Error::Corrupt { place: Place::Object(path.clone()), fault };
        findings.add(&Finding::BrokenRecord { path, error });
        let text = findings.text(&Report::default());
        assert!(text.starts_with("broken record: revocations/1.dsse.json: is missing\n"), "{text}");
        let object = json!({ "kind": "record", "object": "revocations/1.dsse.json", "message": "is missing" });
        assert_eq!(findings.object(&Report::default())["damage"][0], object);
        let verdict = findings.verdict().expect_err("damaged");
        assert!(verdict.exit() == 3 && verdict.advice().is_some_and(|hint| hint.starts_with("readers pass over")));
        findings.add(&damaged());
        let verdict = findings.verdict().expect_err("damaged");
        assert!(verdict.advice().is_some_and(|hint| hint.starts_with("`mvault fsck --repair")));
    }

    #[test]
    fn of_every_list_a_thousand_are_kept_and_the_rest_is_counted() {
        let mut findings = Findings::default();
        for number in 0..1500 {
            findings.add(&Finding::Foreign { path: number.to_string() });
            findings.add(&damaged());
        }
        findings.add(&Finding::MoreDamage { artifact: ArtifactDigest::of(b""), count: 7 });
        let object = findings.object(&Report::default());
        assert_eq!(object["foreign"].as_array().map(Vec::len), Some(1000));
        assert_eq!((&object["more"]["foreign"], &object["more"]["damage"]), (&500.into(), &507.into()));
        assert!(findings.lines.len() <= 2001);
        assert!(findings.text(&Report::default()).ends_with("1507 damaged"));
    }
}
