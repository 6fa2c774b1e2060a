//! What every verb works with: the options all share, the output, and the way to the vault.

use vault_core::{
    store::{Durability, Store},
    vault::Vault,
    workers::Threads,
};

use crate::{
    cli::Global,
    failure::{Failure, Result},
    interrupt::Interrupt,
    ui::{Bar, Ui},
};

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    pub global: Global,
    pub ui: Ui,
    pub interrupt: Interrupt,
}

impl Session {
    pub fn new(global: Global, ui: Ui, interrupt: Interrupt) -> Self {
        Self { global, ui, interrupt }
    }

    /// Where the vault is, as given.
    pub fn vault_url(&self) -> Result<&str> {
        self.global
            .vault
            .as_deref()
            .ok_or_else(|| Failure::usage("no vault is named").hint("give --vault PATH or set MVAULT_VAULT"))
    }

    /// Opens the vault.
    pub fn vault(&self) -> Result<Vault> {
        self.vault_with(Durability::Synced)
    }

    /// Opens the vault, waiting for the disk or not.
    pub fn vault_with(&self, durability: Durability) -> Result<Vault> {
        let store = Store::open_url(self.vault_url()?, durability).map_err(|error| match error {
            vault_core::Error::NotFound { what } => vault_core::Error::NotFound { what: format!("a vault at {what}") },
            other => other,
        })?;
        Ok(Vault::open(store)?)
    }

    /// How many threads work.
    pub fn threads(&self) -> Threads {
        self.global.threads.map_or_else(Threads::available, Threads::new)
    }

    /// How artifacts are opened.
    pub fn open_options(&self) -> vault_core::open::Options {
        vault_core::open::Options { threads: self.threads(), engine: self.global.engine.into() }
    }

    /// Starts a long operation over `total` bytes, if that is known: a progress bar, and signals that stop it cleanly.
    pub fn start(&self, doing: &'static str, total: Option<u64>) -> Result<Bar> {
        self.interrupt.arm()?;
        Ok(self.ui.bar(doing, total, !self.global.no_progress, self.interrupt.clone()))
    }
}
