//! What `mvault seal` does so that unchanged data is not stored twice.

use std::{path::PathBuf, str::FromStr};

use serde_json::{Value, json};
use vault_core::{
    names::{ModelName, Reference},
    tree::PartSize,
    vault::{Artifact, Comparison, Deduplication, Disclosure, Knowledge, Previous, Receipt, ReuseCache, Vault},
    wrap::Keyring,
};

use crate::{
    belief::Belief,
    failure::{Failure, Result},
    secrets::{Passphrases, load_identities},
    session::Session,
    ui::{bytes, count},
};

/// How a refusal to disclose ends, and what to do about it.
const DISCLOSURE: &str = "they could read all of the streams that are reused, also what the new version replaces; \
     --allow-disclosure if they may, or `mvault share` the earlier version with them first";

/// Options about other versions.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reuse of earlier versions")]
pub struct ReuseArgs {
    /// Digest tensors and pieces of files on the way, so that later versions can reuse this one
    #[arg(long)]
    reusable: bool,
    /// Store only what this version does not hold already; MODEL is its latest version, @base the base model that
    /// --base or the provenance names. Implies --reusable
    #[arg(long, value_name = "REF|MODEL|@base", conflicts_with_all = ["digest", "require_oms", "resume"])]
    reuse: Option<Wanted>,
    /// A private key that opens the version to reuse; repeat for several
    #[arg(long, value_name = "FILE.key", requires = "reuse")]
    identity: Vec<PathBuf>,
    /// Remember digests and keys of what is sealed here, so that --reuse needs no identity. Whoever reads it can decrypt
    #[arg(long, value_name = "FOLDER")]
    reuse_cache: Option<PathBuf>,
    /// Decrypt what is reused and compare it, instead of believing the digests of whoever sealed it
    #[arg(long, requires = "identity")]
    check_reused: bool,
    /// Reuse though recipients get to read more of the earlier version than they could
    #[arg(long, requires = "reuse")]
    allow_disclosure: bool,
}

/// What stands for the base model. No reference begins like this.
const BASE: &str = "@base";

/// A version, a model that stands for its latest, or whatever the new version comes from.
#[derive(Debug, Clone)]
enum Wanted {
    Version(Reference),
    Latest(ModelName),
    Base,
}

impl FromStr for Wanted {
    type Err = vault_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == BASE {
            return Ok(Self::Base);
        }
        // A model has neither of the signs that every reference has one of.
        if text.contains([':', '@']) { text.parse().map(Self::Version) } else { text.parse().map(Self::Latest) }
    }
}

/// What was found out about the version to reuse.
pub struct Reused {
    reference: Option<Reference>,
    previous: Option<Previous>,
    cache: Option<ReuseCache>,
    is_reusable: bool,
}

impl ReuseArgs {
    /// Finds and verifies the version to reuse, which may be one of the base models. Nothing is sealed yet.
    pub fn load(
        &self,
        vault: &Vault,
        belief: impl FnOnce() -> Result<Belief>,
        bases: &[(Reference, Artifact)],
        passphrases: &mut Passphrases,
        session: &Session,
    ) -> Result<Reused> {
        if self.reuse_cache.is_some() && !self.reusable && self.reuse.is_none() {
            return Err(Failure::usage("--reuse-cache without anything to remember").hint("add --reusable or --reuse"));
        }
        let cache = self.reuse_cache.as_deref().map(ReuseCache::open).transpose()?;
        let is_reusable = self.reusable || self.reuse.is_some();
        let Some(wanted) = &self.reuse else {
            return Ok(Reused { reference: None, previous: None, cache, is_reusable });
        };
        let belief = belief()?;
        let reference = match wanted {
            Wanted::Version(reference) => reference.clone(),
            Wanted::Base => only_base(bases)?,
            Wanted::Latest(model) => Reference::Version(vault.latest(model, &belief.view(vault, session)?.policy)?),
        };
        let (artifact, view) = belief.resolve(vault, &reference, session)?;
        let ring;
        let knowledge = if self.identity.is_empty() {
            let Some(cache) = &cache else {
                return Err(Failure::usage(format!("nothing says what is in {reference}"))
                    .hint("give --identity FILE.key that opens it, or the --reuse-cache FOLDER it was sealed with"));
            };
            Knowledge::Remembered(cache)
        } else {
            let identities = load_identities(&self.identity, passphrases, session.global.examples())?;
            ring = Keyring { identities, passphrases: Vec::new() };
            Knowledge::Opened(&ring, session.open_options())
        };
        let disclosure = if self.allow_disclosure { Disclosure::Allow } else { Disclosure::Refuse };
        let comparison = if self.check_reused { Comparison::Bytes } else { Comparison::Digests };
        let previous = vault.previous(&artifact, &view.policy, &knowledge).map_err(|error| match error {
            vault_core::Error::Misuse(_) => Failure::from(error).hint("seal the next version with --reusable"),
            // A damaged cache is a file of this machine, not of the vault.
            vault_core::Error::Corrupt { .. } if self.identity.is_empty() => {
                Failure::usage(error.to_string()).hint("remove the file, and give --identity FILE.key instead")
            }
            other => other.into(),
        })?;
        let previous = previous.with_disclosure(disclosure).with_comparison(comparison)?;
        Ok(Reused { reference: Some(reference), previous: Some(previous), cache, is_reusable })
    }
}

/// The base model, if there is exactly one in this vault.
fn only_base(bases: &[(Reference, Artifact)]) -> Result<Reference> {
    match bases {
        [(reference, _)] => Ok(reference.clone()),
        [] => Err(Failure::usage(format!("--reuse {BASE}: no base model of this vault is named"))
            .hint("name it with --base REF, or in the file of --provenance")),
        several => {
            let names: Vec<_> = several.iter().map(|(reference, _)| reference.to_string()).collect();
            Err(Failure::usage(format!("--reuse {BASE}: there are several: {}", names.join(", ")))
                .hint("name one of them: --reuse REF"))
        }
    }
}

impl Reused {
    pub fn deduplication(&self) -> Deduplication<'_> {
        match &self.previous {
            Some(previous) => Deduplication::Reuse(previous),
            None if self.is_reusable => Deduplication::Reusable,
            None => Deduplication::None,
        }
    }

    pub fn cache(&self) -> Option<&ReuseCache> {
        self.cache.as_ref()
    }

    /// The size of parts: as asked for, as in the version to reuse, or the usual one.
    pub fn part_size(&self, asked: Option<PartSize>) -> PartSize {
        let before = self.previous.as_ref().map(|previous| previous.basis().part_size());
        asked.or(before).unwrap_or_default()
    }

    /// What to do about a seal that was refused.
    pub fn advise(&self, failure: Failure) -> Failure {
        if self.previous.is_some() && failure.message().contains("would get keys of") {
            failure.hint(DISCLOSURE)
        } else {
            failure
        }
    }

    /// What was saved, for people.
    pub fn note(&self, receipt: &Receipt) -> Option<String> {
        let reference = self.reference.as_ref()?;
        let saved = &receipt.saved;
        if saved.streams == 0 {
            return Some(format!("nothing of {reference} was worth reusing"));
        }
        Some(format!("reused {} in {} of {reference}", bytes(saved.bytes), count(saved.streams as u64, "stream")))
    }

    /// What was saved, for programs.
    pub fn object(&self, receipt: &Receipt) -> Value {
        let object = |(reference, previous): (&Reference, &Previous)| {
            json!({
                "reference": reference.to_string(),
                "digest": previous.digest().to_string(),
                "streams": receipt.saved.streams,
                "bytes": receipt.saved.bytes,
            })
        };
        self.reference.as_ref().zip(self.previous.as_ref()).map_or(Value::Null, object)
    }
}
