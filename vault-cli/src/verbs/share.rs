//! `mvault share`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    Error,
    error::Kind,
    keys::{KeyId, PublicKey, Signer},
    names::{Pattern, Reference},
    trust::Policy,
    vault::{Access, Change, Disclosure, Vault},
    wrap::{Audience, Keyring},
};

use super::{describe::ids, open::keyring};
use crate::{
    belief::{Belief, BeliefArgs, View},
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_public, load_recipients, load_signing},
    session::Session,
    ui::count,
};

/// Change who may open what is sealed already
///
/// Publishes a new signed generation of recipients; no weights are read or written. Adding somebody takes a key that
/// opens it (--identity, or a passphrase). Removing somebody does not take back what they could read before.
///
/// The generation before must be signed by --sign-with's own key or one of the --signer keys.
///
/// JSON: {"shared": [{"name", "digest", "changed", "generation", "signers", "recipients": [{"type", "key_id"}]}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault share llama-ft:1.4.0 --to new-node.pub --identity node.key --sign-with release.key
  mvault share --all --model 'llama-*' --remove old-node.pub --sign-with release.key")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// MODEL:VERSION or b3:DIGEST
    #[arg(value_name = "REF", required_unless_present = "all")]
    reference: Option<Reference>,
    /// Every version of the models that --model names
    #[arg(long, conflicts_with = "reference", requires = "model")]
    all: bool,
    /// Which models: a name in which * stands for anything
    #[arg(long, value_name = "PATTERN", requires = "all")]
    model: Option<Pattern>,
    /// Who is to be able to open it, too; repeat for several
    #[arg(long, value_name = "FILE.pub")]
    to: Vec<PathBuf>,
    /// Let a passphrase open it, too; asked on the terminal
    #[arg(long)]
    to_passphrase: bool,
    /// The same, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    to_passphrase_file: Option<PathBuf>,
    /// Whose access is to go: a key id or a public key; repeat for several
    #[arg(long, value_name = "KEYID|FILE.pub")]
    remove: Vec<String>,
    /// Passphrases that opened it so far are to go
    #[arg(long)]
    remove_passphrases: bool,
    /// Share though they get to read more than the files: all of the streams that it reuses of an earlier version
    #[arg(long)]
    allow_disclosure: bool,
    /// The private key that opens it now; repeat for several
    #[arg(long, value_name = "FILE.key")]
    identity: Vec<PathBuf>,
    /// Whose signature the new recipients carry: a private key file, or the pkcs11: URI of a key on a token
    #[arg(long, value_name = "FILE.key|URI")]
    sign_with: PathBuf,
    #[command(flatten)]
    belief: BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// What all versions to be shared have in common.
struct Job {
    vault: Vault,
    policy: Policy,
    view: View,
    ring: Keyring,
    signer: Box<dyn Signer>,
    change: Change,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let job = prepare(args, session)?;
    let shared = match &args.reference {
        Some(reference) => vec![job.share(reference, &job.change, session)?],
        None => job.share_all(args.model.as_ref(), session)?,
    };
    let text = shared.iter().map(Shared::text).collect::<String>();
    session.ui.result(&text, &json!({ "shared": shared.iter().map(Shared::object).collect::<Value>() }))
}

fn prepare(args: &Args, session: &Session) -> Result<Job> {
    let recipients = load_recipients(&args.to, session.global.examples())?;
    let remove = args.remove.iter().map(|text| key_id(text)).collect::<Result<Vec<_>>>()?;
    let adds = !recipients.is_empty() || args.to_passphrase || args.to_passphrase_file.is_some();
    if !adds && remove.is_empty() && !args.remove_passphrases {
        return Err(Failure::usage("nothing to change").hint("name somebody: --to FILE.pub, or --remove FILE.pub"));
    }
    let vault = session.vault()?;
    let mut passphrases = Passphrases::new(&args.passphrase);
    let signer = load_signing(&args.sign_with, &mut passphrases, session.global.examples())?;
    let belief = match args.belief.load_now(session)? {
        Belief::Signers(signers) => Belief::Signers(signers.and(&args.sign_with, signer.verifying_key())),
        root @ Belief::Root(_) => root,
    };
    let view = belief.view(&vault, session)?;
    let ring =
        if adds { keyring(session, &args.identity, &mut passphrases, "the artifact")? } else { Keyring::default() };
    let mut add = Audience { recipients, passphrases: Vec::new() };
    if args.to_passphrase || args.to_passphrase_file.is_some() {
        add.passphrases.push(Passphrases::from_file(args.to_passphrase_file.as_ref()).fresh("the artifact")?);
    }
    let disclosure = if args.allow_disclosure { Disclosure::Allow } else { Disclosure::Refuse };
    let change = Change { add, remove, remove_passphrases: args.remove_passphrases, disclosure };
    Ok(Job { vault, policy: view.policy.clone(), view, ring, signer, change })
}

fn key_id(text: &str) -> Result<KeyId> {
    if let Ok(id) = KeyId::from_hex(text) {
        return Ok(id);
    }
    match load_public(text.as_ref())? {
        PublicKey::Recipient(key) => Ok(key.key_id()),
        PublicKey::Signing(_) => {
            Err(Failure::usage(format!("{text} is a signing key where a recipient key is expected")))
        }
    }
}

/// How one version was shared.
struct Shared {
    name: String,
    digest: String,
    changed: bool,
    access: Access,
}

impl Job {
    fn share(&self, reference: &Reference, change: &Change, session: &Session) -> Result<Shared> {
        let artifact = self.vault.resolve(reference, &self.policy)?;
        let adds = !(change.add.recipients.is_empty() && change.add.passphrases.is_empty());
        if adds {
            self.view.refuse_revoked(&artifact, reference)?;
        }
        let before = self.vault.access(&artifact, &self.policy)?;
        for skipped in &before.skipped {
            let (generation, reason) = (skipped.generation, &skipped.reason);
            session.ui.warn(&format!("{reference}: recipients generation {generation} does not count: {reason}"));
        }
        let access = self.vault.share(&artifact, &self.policy, &self.ring, change, self.signer.as_ref());
        let access = access.map_err(|error| match error {
            Error::Misuse(rule) if rule.contains("reuses streams") => Failure::usage(rule)
                .hint("--allow-disclosure if they may read that, or seal a version without --reuse for them"),
            other => other.into(),
        })?;
        let changed = access.generation != before.generation;
        Ok(Shared { name: reference.to_string(), digest: artifact.digest.to_string(), changed, access })
    }

    /// Where somebody to remove is no recipient there is nothing to remove; but somewhere they must be one.
    fn share_all(&self, pattern: Option<&Pattern>, session: &Session) -> Result<Vec<Shared>> {
        let listing = self.vault.list(&self.policy)?;
        for (path, error) in &listing.skipped {
            session.ui.warn(&format!("{path} does not count: {error}"));
        }
        let names = listing.versions.into_iter().map(|entry| entry.name);
        let references: Vec<_> = names
            .filter(|name| pattern.is_none_or(|p| p.matches(name.model.as_str())))
            .map(Reference::Version)
            .collect();
        if references.is_empty() {
            return Err(Failure::new(
                Kind::NotFound,
                format!("no version of a model like {} exists", pattern.map_or("*", Pattern::as_str)),
            ));
        }
        let (mut shared, mut removed) = (Vec::new(), Vec::new());
        for reference in &references {
            let artifact = self.vault.resolve(reference, &self.policy)?;
            let access = self.vault.access(&artifact, &self.policy)?;
            let held = |id: &&KeyId| access.stanzas.iter().any(|stanza| stanza.key_id().as_ref() == Some(*id));
            let remove: Vec<_> = self.change.remove.iter().filter(held).copied().collect();
            removed.extend(remove.clone());
            let Change { add, remove_passphrases, disclosure, .. } = &self.change;
            let (remove_passphrases, disclosure) = (*remove_passphrases, *disclosure);
            let change = Change { add: add.clone(), remove, remove_passphrases, disclosure };
            shared.push(self.share(reference, &change, session).map_err(|f| f.prefixed(&format!("{reference}: ")))?);
        }
        match self.change.remove.iter().find(|id| !removed.contains(id)) {
            Some(id) => Err(Error::NotFound { what: format!("recipient {id} of any of these versions") }.into()),
            None => Ok(shared),
        }
    }
}

impl Shared {
    fn text(&self) -> String {
        let (generation, holders) = (self.access.generation, count(self.access.stanzas.len() as u64, "recipient"));
        let verb = if self.changed { "now has" } else { "already had" };
        format!("{} {verb} {holders}, generation {generation}\n", self.name)
    }

    fn object(&self) -> Value {
        let stanzas = self.access.stanzas.iter();
        let stanzas = stanzas.map(|s| json!({ "type": s.type_str(), "key_id": s.key_id().map(|id| id.to_hex()) }));
        json!({
            "name": self.name,
            "digest": self.digest,
            "changed": self.changed,
            "generation": self.access.generation,
            "signers": ids(&self.access.signers),
            "recipients": stanzas.collect::<Value>(),
        })
    }
}
