//! Whom a command believes: the signers it was given, or a trust root.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use vault_core::{
    Error,
    keys::{PublicKey, file},
    log::{Judge, LogKeys},
    names::Reference,
    trust::{Clock, Memory, Policy, Reached, Role, Rooted},
    vault::{Artifact, Gate, Revocations, Vault},
};

use crate::{
    documents,
    failure::{Failure, Result},
    secrets::{Examples, Signers},
    session::Session,
    state,
};

/// The longest document that a command line names, in bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Where memory is kept below the program's folder for such things.
const STATE_FOLDER: &str = "trust";
/// What was seen of logs stands beside what was seen of trust roots.
const LOG_FOLDER: &str = "logs";

/// Whom to believe.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Whom to believe")]
pub struct BeliefArgs {
    /// Whose signature counts; repeat for several
    #[arg(long, value_name = "FILE.pub")]
    pub signer: Vec<PathBuf>,
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// A trust root and what is remembered of it.
#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    /// The trust root to start from; newer versions are found in the vault
    #[arg(long, value_name = "ROOT.json", env = "MVAULT_TRUST")]
    pub trust: Option<PathBuf>,
    /// Where to remember what was seen of a trust root [default: below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FOLDER", env = "MVAULT_STATE")]
    pub state: Option<PathBuf>,
    /// Remember nothing: an older state that is still valid cannot be told from the newest
    #[arg(long, hide_short_help = true)]
    pub stateless: bool,
    /// Judge by another time than now, for audits: RFC 3339, in UTC
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    pub verify_time: Option<String>,
    /// Say what was checked, step by step
    #[arg(long)]
    pub explain: bool,
}

/// Who is believed, before any vault was asked.
#[derive(Debug)]
pub enum Belief {
    Signers(Signers),
    Root(Box<Root>),
}

/// A pinned trust root and how to work with it.
#[derive(Debug)]
pub struct Root {
    pinned: Reached,
    memory: Option<PathBuf>,
    clock: Clock,
    explain: bool,
    examples: Examples,
    /// What was said already, by commands that go through the gate twice.
    said: RefCell<BTreeSet<String>>,
}

/// Who is believed about one vault.
#[derive(Debug)]
pub struct View {
    pub policy: Policy,
    pub signers: Signers,
    pub revocations: Revocations,
}

impl BeliefArgs {
    /// The same for a command that signs: it signs now.
    pub fn load_now(&self, session: &Session) -> Result<Belief> {
        self.trust.refuse_another_time()?;
        self.load(session)
    }

    /// Reads the files; the vault is not asked yet.
    pub fn load(&self, session: &Session) -> Result<Belief> {
        if self.trust.trust.is_some() {
            if !self.signer.is_empty() {
                return Err(Failure::usage("both --signer and a trust root are given")
                    .hint("a trust root says whose signatures count; leave out --signer, or unset MVAULT_TRUST"));
            }
            return self.trust.root(session).map(|root| Belief::Root(Box::new(root)));
        }
        self.trust.refuse_without_root()?;
        Signers::load(&self.signer, session.global.examples()).map(Belief::Signers)
    }
}

impl TrustArgs {
    /// The trust root, which must be given.
    pub fn root(&self, session: &Session) -> Result<Root> {
        let Some(path) = &self.trust else {
            return Err(Failure::usage("no trust root is named").hint("give --trust ROOT.json or set MVAULT_TRUST"));
        };
        let examples = session.global.examples();
        let pinned = read_root(path, examples)?;
        let clock = match &self.verify_time {
            Some(text) => Clock::at(text)?,
            None => Clock::now(),
        };
        // What is known today says nothing about another time, and what is seen at another time is no memory of today.
        let memory = if self.stateless || self.verify_time.is_some() { None } else { Some(self.state_folder()?) };
        Ok(Root { pinned, memory, clock, explain: self.explain, examples, said: RefCell::default() })
    }

    /// The trust root, for a command that signs: it signs now.
    pub fn root_now(&self, session: &Session) -> Result<Root> {
        self.refuse_another_time()?;
        self.root(session)
    }

    fn refuse_another_time(&self) -> Result {
        if self.verify_time.is_some() {
            return Err(Failure::usage("what is signed is signed now, not at another time")
                .hint("--verify-time is for commands that only look"));
        }
        Ok(())
    }

    fn refuse_without_root(&self) -> Result {
        if self.stateless || self.verify_time.is_some() {
            return Err(Failure::usage("--stateless and --verify-time go with a trust root")
                .hint("give --trust ROOT.json or set MVAULT_TRUST"));
        }
        Ok(())
    }

    /// Where it is remembered how far logs were seen; nowhere with `--stateless`.
    pub fn memory_of_logs(&self) -> Result<Option<PathBuf>> {
        if self.stateless {
            return Ok(None);
        }
        Ok(Some(self.state_folder()?.join(LOG_FOLDER)))
    }

    fn state_folder(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.state {
            return Ok(folder.clone());
        }
        state::folder(STATE_FOLDER).ok_or_else(|| {
            Failure::usage("there is no place to remember the trust root")
                .hint("give --state FOLDER or set MVAULT_STATE; --stateless does without, and cannot notice a rollback")
        })
    }
}

/// Reads a trust root that the user believes.
pub fn read_root(path: &Path, examples: Examples) -> Result<Reached> {
    let reached = Reached::pin(&read_document(path)?).map_err(|e| Failure::local(path, &e))?;
    check_examples(&reached, path, examples)?;
    Ok(reached)
}

/// Refuses a trust root with an example key in it.
pub fn check_examples(reached: &Reached, path: &Path, examples: Examples) -> Result {
    reached.root().keys().try_for_each(|(id, _)| examples.check(path, *id))
}

impl Belief {
    /// Demands that somebody is believed.
    pub fn demand(self) -> Result<Self> {
        if let Self::Signers(signers) = &self {
            signers.demand()?;
        }
        Ok(self)
    }

    /// Whether anybody is believed at all.
    pub fn is_anybody(&self) -> bool {
        matches!(self, Self::Signers(signers) if signers.is_empty())
    }

    /// Whom to believe about this vault. Anybody, if nobody was named.
    pub fn view(&self, vault: &Vault, session: &Session) -> Result<View> {
        match self {
            Self::Signers(signers) => signers.view(),
            Self::Root(root) => root.with(vault, session, |_| Ok(())).map(|((), view)| view),
        }
    }

    /// Finds an artifact, and everything that the trust root demands of a channel.
    pub fn resolve(&self, vault: &Vault, reference: &Reference, session: &Session) -> Result<(Artifact, View)> {
        match self {
            Self::Signers(_) if matches!(reference, Reference::Channel(_)) => {
                Err(Failure::usage(format!("{reference}: who may move a channel is said by a trust root"))
                    .hint("give --trust ROOT.json or set MVAULT_TRUST"))
            }
            Self::Signers(signers) => {
                let view = signers.view()?;
                Ok((vault.resolve(reference, &view.policy)?, view))
            }
            Self::Root(root) => root.with(vault, session, |gate| Ok(gate.resolve(reference)?)),
        }
    }
}

impl Root {
    /// Does something behind the gate of a vault; what was learnt is written down whatever comes of it.
    pub fn with<T>(
        &self,
        vault: &Vault,
        session: &Session,
        work: impl FnOnce(&mut Gate<'_>) -> Result<T>,
    ) -> Result<(T, View)> {
        let memory = match &self.memory {
            Some(folder) => Memory::open(folder, self.pinned.origin()).map_err(no_memory)?,
            None => Memory::none(self.pinned.origin()),
        };
        let mut gate = vault.gate(&self.pinned, memory, self.clock)?;
        let signers = self.signers(gate.rooted())?;
        if let Policy::Rooted(rooted) = gate.policy()
            && !rooted.keys_of(Role::Log).is_empty()
        {
            session.logbook.believe(Judge::new(LogKeys::Rooted(rooted)));
        }
        let done = work(&mut gate);
        let mut said = self.said.borrow_mut();
        for note in gate.notes().iter().filter(|note| said.insert((*note).clone())) {
            session.ui.warn(note);
        }
        if self.explain {
            for step in gate.steps().iter().filter(|step| said.insert((*step).clone())) {
                session.ui.explain(step);
            }
        }
        drop(said);
        let revocations = gate.revocations().clone();
        let policy = gate.close()?;
        Ok((done?, View { policy, signers, revocations }))
    }

    /// The keys of the root reached, under the names of their holders.
    fn signers(&self, rooted: &Rooted) -> Result<Signers> {
        check_examples(rooted.reached(), Path::new("the trust root"), self.examples)?;
        let mut signers = Signers::default();
        for (_, key) in rooted.root().keys() {
            signers = signers.and(Path::new(key.holder().as_str()), key.verifying_key().clone());
        }
        Ok(signers)
    }

    /// The root this starts from.
    pub fn pinned(&self) -> &Reached {
        &self.pinned
    }
}

impl Signers {
    fn view(&self) -> Result<View> {
        // The signers of a command that demands some were counted before.
        Ok(View { policy: self.or_anybody()?, signers: self.clone(), revocations: Revocations::default() })
    }
}

impl View {
    /// Refuses an artifact that is revoked.
    pub fn refuse_revoked(&self, artifact: &Artifact, reference: &Reference) -> Result {
        Ok(self.revocations.refuse(artifact.digest, artifact.model(), &reference.to_string())?)
    }
}

fn no_memory(error: Error) -> Failure {
    if let Error::InUse { .. } = error {
        return Failure::from(error)
            .hint("another command works with the same memory: wait until it ends, or name another --state");
    }
    Failure::operational(format!("what was seen of the trust root cannot be remembered: {error}"))
        .hint("name another place with --state FOLDER or MVAULT_STATE; --stateless does without, and cannot notice a rollback")
}

/// Reads a small document named on the command line.
pub fn read_document(path: &Path) -> Result<Vec<u8>> {
    documents::read(path, MAX_DOCUMENT)
}

/// Reads a public signing key file for commands that name keys of a trust root.
pub fn public_text(folder: &Path, name: &str) -> vault_core::Result<String> {
    let path = folder.join(name);
    let text = file::read_public(&path)?;
    PublicKey::from_pem(&text).map_err(|e| Error::Misuse(format!("{}: {e}", path.display())))?;
    Ok(text)
}
