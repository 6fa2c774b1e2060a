//! What every verb works with: the options all share, the output, and the way to the vault.

use vault_core::{
    names::Reference,
    store::{Access, Connection, Durability, Store, is_registry, is_remote},
    vault::Vault,
    workers::Threads,
};

use crate::{
    aws,
    cli::Global,
    failure::{Failure, Result},
    interrupt::Interrupt,
    logbook::Logbook,
    proofs::Proofs,
    registry,
    ui::{Bar, Ui},
};

/// How the settings of object stores begin.
const PROVIDERS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    pub global: Global,
    pub ui: Ui,
    pub interrupt: Interrupt,
    pub proofs: Proofs,
    pub logbook: Logbook,
}

impl Session {
    pub fn new(global: Global, ui: Ui, interrupt: Interrupt) -> Self {
        Self { global, ui, interrupt, proofs: Proofs::default(), logbook: Logbook::default() }
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
        self.vault_at(self.vault_url()?, &Connection { durability, ..self.connection() })
    }

    /// Opens the vault to resolve `reference` next.
    pub fn vault_for(&self, reference: &Reference) -> Result<Vault> {
        Ok(Vault::open_for(self.store(self.vault_url()?, &self.connection())?, reference)?)
    }

    /// How stores are reached.
    pub fn connection(&self) -> Connection {
        let settings = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| PROVIDERS.iter().any(|provider| name.starts_with(provider)))
            .collect();
        let transfer = &self.global.transfer;
        Connection {
            durability: Durability::Synced,
            settings,
            jobs: transfer.jobs,
            max_bandwidth: transfer.max_bandwidth,
            patience: transfer.give_up_after,
            proven: false,
            access: Access::default(),
        }
    }

    /// Opens any vault.
    pub fn vault_at(&self, url: &str, connection: &Connection) -> Result<Vault> {
        Ok(Vault::open(self.store(url, connection)?)?)
    }

    /// Opens the store that a vault is in.
    fn store(&self, url: &str, connection: &Connection) -> Result<Store> {
        let connection = &self.reach(url, connection)?;
        let store = Store::open_url(url, &remembered(url, connection)).map_err(|error| match error {
            vault_core::Error::NotFound { what } => vault_core::Error::NotFound { what: format!("a vault at {what}") },
            other => other,
        })?;
        self.proofs.watch(url, connection, &store);
        Ok(self.logbook.watch(store, url))
    }

    /// Opens, or makes, the store for a new vault. What is remembered of another does not count.
    pub fn new_store(&self, url: &str) -> Result<Store> {
        let connection = self.reach(url, &self.connection())?;
        let store = Store::create_url(url, &connection)?;
        self.proofs.watch(url, &connection, &store);
        Ok(store)
    }

    /// Adds what is known about the place that a vault is in: what the files and programs of AWS say, or who asks a registry.
    pub fn reach(&self, url: &str, connection: &Connection) -> Result<Connection> {
        if is_registry(url) {
            let access = registry::access(url, self.global.vault.as_deref(), &self.global.registry)?;
            return Ok(Connection { access, ..connection.clone() });
        }
        if !aws::is_s3(url) {
            return Ok(connection.clone());
        }
        let settings = aws::configuration(&connection.settings)?.settings;
        Ok(Connection { settings, ..connection.clone() })
    }

    /// How many threads work.
    pub fn threads(&self) -> Threads {
        self.global.threads.map_or_else(Threads::available, Threads::new)
    }

    /// How artifacts are opened.
    pub fn open_options(&self) -> vault_core::open::Options {
        vault_core::open::Options { threads: self.threads(), engine: self.global.engine.into(), ..Default::default() }
    }

    /// Starts a long operation over `total` bytes, if that is known: a progress bar, and signals that stop it cleanly.
    pub fn start(&self, doing: &'static str, total: Option<u64>) -> Result<Bar> {
        self.interrupt.arm()?;
        Ok(self.ui.bar(doing, total, !self.global.no_progress, self.interrupt.clone()))
    }
}

/// Whether the store needs no proof any more.
fn remembered(url: &str, connection: &Connection) -> Connection {
    Connection { proven: is_remote(url) && Proofs::has(url, connection), ..connection.clone() }
}
