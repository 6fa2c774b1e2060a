//! Whom a command believes about a log, and the demand that what it uses stands in one.

use std::path::PathBuf;

use vault_core::{
    Error,
    keys::PublicKey,
    log::{
        Checkpoint, Evidence, Judge, KeyName, Log, LogKeys, Logged, MAX_PROOF_FILE, Proof, RecordRef, Search, Seen,
        VerifierKey,
    },
    trust::Policy,
    vault::{Artifact, Record, Vault},
};

use crate::{
    belief::TrustArgs,
    documents,
    failure::{Failure, Result},
    place,
    secrets::load_public,
    session::Session,
    ui::count,
};

/// Under what is kept that was seen without a trust root.
const NO_ROOT: &str = "no trust root";

/// Whose checkpoints count.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Whom to believe about the log")]
pub struct LogKeyArgs {
    /// Whose checkpoints count: a public key file, or NAME+ID+KEY; repeat for several [default: the log keys of the trust root]
    #[arg(long, value_name = "KEY")]
    pub log_key: Vec<String>,
    /// Which log it must be, by its name [default: the one that was seen before]
    #[arg(long, value_name = "NAME")]
    pub log_origin: Option<KeyName>,
    /// The key of a witness, NAME+ID+KEY; repeat for several
    #[arg(long, value_name = "VKEY")]
    pub witness_key: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned [default: all]
    #[arg(long, value_name = "M")]
    pub witnesses: Option<usize>,
}

/// The demand that what is opened stands in a log.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Whom to believe about the log")]
pub struct RequireLogArgs {
    /// Refuse what does not stand in the log of the vault, or of the one it was copied from as proofs beside it show
    #[arg(long)]
    pub require_log: bool,
    /// A proof that it does, from `mvault log prove`, instead of asking the vault; repeat for several
    #[arg(long, value_name = "FILE", requires = "require_log")]
    pub log_proof: Vec<PathBuf>,
    #[command(flatten)]
    pub keys: LogKeyArgs,
}

/// Who is believed about a log, and what was seen of it.
#[derive(Debug)]
pub struct LogView {
    pub judge: Judge,
    pub seen: Seen,
}

impl LogKeyArgs {
    /// Whether a key of the log is named.
    pub fn is_given(&self) -> bool {
        !self.log_key.is_empty()
    }

    /// Whether anything is said about a log.
    pub fn is_asked(&self) -> bool {
        self.is_given() || !self.witness_key.is_empty() || self.log_origin.is_some()
    }

    /// The keys that are named, or those of the trust root behind `policy`; and what was seen of the log of the vault.
    pub fn view(&self, policy: Option<&Policy>, trust: &TrustArgs, session: &Session) -> Result<LogView> {
        self.view_at(session.vault_url()?, policy, trust, session)
    }

    /// The same of the vault at this URL.
    pub fn view_at(&self, url: &str, policy: Option<&Policy>, trust: &TrustArgs, session: &Session) -> Result<LogView> {
        let (keys, root) = match policy {
            _ if self.is_given() => (self.named(session)?, None),
            Some(Policy::Rooted(rooted)) => (LogKeys::Rooted(rooted.clone()), Some(rooted.origin())),
            _ => {
                return Err(Failure::usage("no key of the log is named")
                    .hint("give --log-key FILE.pub, or --trust ROOT.json with keys of the role `log`"));
            }
        };
        let root = root.map_or_else(|| NO_ROOT.to_owned(), |root| root.to_hex().to_string());
        self.view_of(keys, &format!("{root}\n{}", place::of(url, session)?), trust)
    }

    /// These keys, and what was seen of the log of the vault under no trust root.
    pub fn view_by(&self, keys: LogKeys, trust: &TrustArgs, session: &Session) -> Result<LogView> {
        self.view_of(keys, &format!("{NO_ROOT}\n{}", place::of(session.vault_url()?, session)?), trust)
    }

    /// These keys, and what was seen under this name.
    fn view_of(&self, keys: LogKeys, name: &str, trust: &TrustArgs) -> Result<LogView> {
        let witnesses = self.witnesses.unwrap_or(self.witness_key.len());
        let judge = Judge::new(keys).with_witnesses(self.witness_key.clone(), witnesses)?;
        let judge = match &self.log_origin {
            Some(origin) => judge.of_log(origin.clone()),
            None => judge,
        };
        let seen = match trust.memory_of_logs()? {
            Some(folder) => Seen::open(&folder, name)?,
            None => Seen::nothing(),
        };
        Ok(LogView { judge, seen })
    }

    /// The keys on the command line.
    pub fn named(&self, session: &Session) -> Result<LogKeys> {
        let (mut named, mut any) = (Vec::new(), Vec::new());
        for text in &self.log_key {
            if text.contains('+') && !std::path::Path::new(text).exists() {
                named.push(text.parse()?);
                continue;
            }
            let path = PathBuf::from(text);
            let PublicKey::Signing(key) = load_public(&path)? else {
                return Err(Failure::usage(format!("{text} is a recipient key, where the key of a log is expected")));
            };
            session.global.examples().check(&path, key.key_id())?;
            any.push(key);
        }
        Ok(LogKeys::Several(vec![LogKeys::Named(named), LogKeys::Any(any)]))
    }
}

impl RequireLogArgs {
    /// Demands the records behind an artifact in the log, if that was asked for.
    pub fn check(
        &self,
        vault: &Vault,
        artifact: &Artifact,
        policy: &Policy,
        trust: &TrustArgs,
        session: &Session,
    ) -> Result {
        if !self.require_log {
            return if self.keys.is_asked() {
                Err(Failure::usage("--log-key, --log-origin and --witness-key go with --require-log"))
            } else {
                Ok(())
            };
        }
        let LogView { judge, mut seen } = self.keys.view(Some(policy), trust, session)?;
        let records = vault.records(artifact)?;
        let logged = if self.log_proof.is_empty() {
            in_vault(vault, &judge, &mut seen, &records, session)?
        } else {
            in_files(&self.log_proof, vault, &judge, &seen, &records, session)?
        };
        if trust.explain {
            for one in &logged {
                session.ui.explain(&told(one));
            }
        }
        Ok(())
    }
}

/// A record as a log names it.
pub fn reference(record: &Record) -> RecordRef<'_> {
    RecordRef { path: &record.path, digest: record.digest, signers: &record.signers }
}

/// Asks the log of the vault, or the proofs beside the records if it has none that counts.
fn in_vault(
    vault: &Vault,
    judge: &Judge,
    seen: &mut Seen,
    records: &[Record],
    session: &Session,
) -> Result<Vec<Logged>> {
    let evidence = Evidence::open(vault.store(), judge, seen.last())?;
    if let Some((log, checkpoint)) = evidence.log() {
        log.remember(seen, checkpoint.checkpoint())?;
    }
    let mut logged = Vec::new();
    for record in records {
        let search = evidence.search(reference(record))?;
        tell_passed_over(&search, record, session);
        let Some(proven) = search.proven else {
            return Err(match evidence.refusal(reference(record), &search) {
                error @ Error::Untrusted { why: "is not in the log", .. } => Failure::from(error)
                    .hint("`mvault log append` and `mvault log publish` log what is missing; ask first why it is"),
                error => error.into(),
            });
        };
        logged.push(proven.logged);
    }
    Ok(logged)
}

/// Says that there are proofs beside a record that do not count: anybody who can write to a store can put them there.
fn tell_passed_over(search: &Search, record: &Record, session: &Session) {
    if let Some((path, reason)) = search.passed_over.first() {
        let passed_over = count(search.passed_over.len() as u64, "proof");
        let more = if search.more > 0 { format!("; {} more were not looked at", search.more) } else { String::new() };
        session
            .ui
            .warn(&format!("{passed_over} beside {} passed over{more}; the first is {path}: {reason}", record.path));
    }
}

/// Takes the proofs in files.
fn in_files(
    files: &[PathBuf],
    vault: &Vault,
    judge: &Judge,
    seen: &Seen,
    records: &[Record],
    session: &Session,
) -> Result<Vec<Logged>> {
    let mut proven = Vec::new();
    for path in files {
        let proof = Proof::parse(&documents::read(path, MAX_PROOF_FILE)?).map_err(|e| Failure::local(path, &e))?;
        let logged = proof.verify(judge, seen.last().map(Checkpoint::origin));
        let logged = logged.map_err(|error| Failure::from(error).prefixed(&format!("{}: ", path.display())))?;
        let prefix = format!("{}: ", path.display());
        if let Some(seen) = seen.last() {
            match is_of_one_history(vault, judge, seen, logged.checkpoint.checkpoint()) {
                Ok(()) => {}
                Err(error @ Error::Untrusted { .. }) => return Err(Failure::from(error).prefixed(&prefix)),
                Err(error) => {
                    session
                        .ui
                        .warn(&format!("{prefix}could not be compared with the log that was seen before: {error}"));
                }
            }
        }
        proven.push(logged);
    }
    let find = |record: &Record| {
        let about = |logged: &&Logged| logged.entry.record() == Some(reference(record));
        let found = proven.iter().find(about).cloned();
        found.ok_or_else(|| {
            let error = Error::Untrusted { what: record.path.clone(), why: "is proven by none of the log proofs" };
            Failure::from(error).hint("`mvault log prove` makes one for each record: the version, and the promotion")
        })
    };
    records.iter().map(find).collect()
}

/// Compares the checkpoint of a proof with the one that was seen, with what the log of the vault shows now between them.
fn is_of_one_history(vault: &Vault, judge: &Judge, seen: &Checkpoint, proven: &Checkpoint) -> Result<(), Error> {
    if seen.size() == proven.size() {
        let what = || format!("the log at {} entries", seen.size());
        let fork = || Error::Untrusted { what: what(), why: "is another log than the one seen before: a fork" };
        return if seen.root() == proven.root() { Ok(()) } else { Err(fork()) };
    }
    let log = Log::open(vault.store())?.ok_or_else(|| Error::NotFound { what: "a log in this vault".into() })?;
    match log.latest_since(judge, Some(seen))? {
        Some(latest) if latest.checkpoint().size() >= proven.size() => log.continues(latest.checkpoint(), proven),
        _ => Err(Error::NotFound { what: format!("a signed checkpoint of {} entries", proven.size()) }),
    }
}

/// One line about something that is logged.
pub fn told(logged: &Logged) -> String {
    let checkpoint = logged.checkpoint.checkpoint();
    let path = logged.entry.record().map(|record| record.path).unwrap_or_default();
    let cosigned = logged.checkpoint.cosigners().iter().map(ToString::to_string).collect::<Vec<_>>();
    let cosigned = if cosigned.is_empty() { String::new() } else { format!(", cosigned by {}", cosigned.join(", ")) };
    format!(
        "log: {path} is entry {} of {}, signed at {} entries{cosigned}",
        logged.index,
        checkpoint.origin(),
        checkpoint.size()
    )
}
