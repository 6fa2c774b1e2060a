//! Which entries are wanted, and how they are told.

use serde_json::{Value, json};
use vault_core::{
    keys::KeyId,
    log::{Action, Checkpoint, Entry, Log, Tiles, TreeHash, WIDTH},
    names::Pattern,
};

use crate::failure::Result;

/// Which entries are wanted.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// Only about models like this, in which * stands for anything; repeat for several
    #[arg(long, value_name = "PATTERN")]
    model: Vec<Pattern>,
    /// Only this, such as seal, promote or revoke; repeat for several
    #[arg(long, value_name = "ACTION")]
    action: Vec<Action>,
    /// Only what says that this key signed it; repeat for several
    #[arg(long, value_name = "KEYID")]
    signed_by: Vec<KeyId>,
}

/// An entry, or what this program cannot read as one.
#[derive(Debug)]
pub struct Line {
    pub index: u64,
    pub entry: Option<Entry>,
    leaf: TreeHash,
    /// Whether a signed checkpoint covers it.
    signed: bool,
}

impl FilterArgs {
    /// Whether this entry is wanted. What cannot be read might be.
    pub fn wants(&self, line: &Line) -> bool {
        let Some(entry) = &line.entry else { return true };
        let model = |pattern: &Pattern| entry.model().is_some_and(|model| pattern.matches(model.as_str()));
        (self.model.is_empty() || self.model.iter().any(model))
            && (self.action.is_empty() || self.action.contains(&entry.action()))
            && (self.signed_by.is_empty() || self.signed_by.iter().any(|id| entry.signers().contains(id)))
    }
}

impl Line {
    pub fn new(index: u64, bytes: &[u8], signed: bool) -> Self {
        Self { index, entry: Entry::parse(bytes).ok(), leaf: TreeHash::leaf(bytes), signed }
    }

    /// A row of a table: number, time, action, what it is about, whose key.
    pub fn row(&self) -> Vec<String> {
        let number = format!("{}{}", self.index, if self.signed { "" } else { "*" });
        let Some(entry) = &self.entry else {
            return vec![
                number,
                "?".into(),
                "?".into(),
                "an entry of a kind this program does not know".into(),
                String::new(),
            ];
        };
        let by = entry.signers().iter().map(|id| crate::ui::short(&id.to_hex())).collect::<Vec<_>>().join(", ");
        let by = entry.actor().map_or(by.clone(), |actor| format!("{actor} {by}"));
        vec![number, entry.created().to_owned(), entry.action().to_string(), self.what(), by]
    }

    /// What it is about.
    fn what(&self) -> String {
        let Some(entry) = &self.entry else { return String::new() };
        let model = entry.model().map(ToString::to_string);
        let name = match (model, entry.version(), entry.channel()) {
            (Some(model), Some(version), _) => Some(format!("{model}:{version}")),
            (Some(model), None, Some(channel)) => Some(format!("{model}@{channel}")),
            (model, ..) => model,
        };
        let artifact = || entry.artifact().map(|artifact| crate::ui::short(&artifact.to_string()));
        let path = || entry.record().map(|record| record.path.to_owned());
        let permission = || entry.permission().map(str::to_owned);
        name.or_else(artifact).or_else(permission).or_else(path).unwrap_or_default()
    }

    /// One line for a program.
    pub fn object(&self) -> Value {
        let entry = self.entry.as_ref();
        json!({
            "index": self.index,
            "leaf": self.leaf.to_base64(),
            "signed": self.signed,
            "action": entry.map(|e| e.action().as_str()),
            "created": entry.map(Entry::created),
            "actor": entry.and_then(Entry::actor),
            "permission": entry.and_then(Entry::permission),
            "model": entry.and_then(Entry::model).map(ToString::to_string),
            "version": entry.and_then(Entry::version).map(ToString::to_string),
            "channel": entry.and_then(Entry::channel).map(ToString::to_string),
            "artifact": entry.and_then(Entry::artifact).map(|artifact| artifact.to_string()),
            "record": entry.and_then(Entry::record).map(|r| json!({ "path": r.path, "digest": format!("b3:{}", r.digest) })),
            "signers": entry.map(|e| e.signers().iter().map(KeyId::to_hex).collect::<Vec<_>>()),
        })
    }
}

/// Calls `each` for the entries from this number on that a checkpoint covers. Each was checked against its root.
pub fn covered(log: &Log, checkpoint: &Checkpoint, from: u64, each: &mut dyn FnMut(Line) -> Result) -> Result {
    let mut tiles = Tiles::open(log.store(), checkpoint.size(), checkpoint.root())?;
    for bundle in from / WIDTH..checkpoint.size().div_ceil(WIDTH) {
        for (index, bytes) in (bundle * WIDTH..).zip(tiles.bundle(bundle)?).filter(|(index, _)| *index >= from) {
            each(Line::new(index, &bytes, true))?;
        }
    }
    Ok(())
}
