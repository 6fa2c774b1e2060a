//! How AWS is configured: environment, shared files, profiles. Pure: what there is comes in, settings go out.
//!
//! The order is that of the AWS command line: the environment beats files, the credentials file beats the config file,
//! and credentials of one source are never mixed with those of another. What `object_store` cannot do (single sign-on,
//! roles that take over roles) is refused with what to do instead, before anything else is tried: silently acting as
//! somebody else is worse than not acting.
//!
//! Source: "Configuration and credential precedence", AWS Command Line Interface User Guide; botocore's `credentials.py`.

mod ini;
mod process;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt;

pub use ini::MAX_FILE;
pub use process::{MAX_ANSWER, Process};
pub(super) use resolve::CA_BUNDLE;
pub use resolve::plan;

use crate::error::Result;

/// The shared files, read.
#[derive(Debug, Default)]
pub struct Profiles {
    config: ini::File,
    credentials: ini::File,
}

impl Profiles {
    /// Reads `~/.aws/config` and `~/.aws/credentials`, or what is in their place. One that does not exist is empty.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) that names file and line and never quotes it.
    pub fn parse(config: &str, credentials: &str) -> Result<Self> {
        let config = ini::File::parse(resolve::CONFIG, config)?;
        Ok(Self { config, credentials: ini::File::parse(resolve::CREDENTIALS, credentials)? })
    }
}

/// Keys of AWS. Shows them to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    access: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    /// `None` if one is empty, or would not fit the headers they go to.
    fn new(access: String, secret: String, token: Option<String>) -> Option<Self> {
        let fits =
            |text: &str| !text.is_empty() && text.len() <= 16 << 10 && text.bytes().all(|b| b.is_ascii_graphic());
        let all = fits(&access) && fits(&secret) && token.as_deref().is_none_or(fits);
        all.then_some(Self { access, secret, token })
    }

    /// The end of the access key's name, as the AWS command line shows it.
    pub fn shown(&self) -> String {
        let length = self.access.chars().count();
        let end: String = self.access.chars().skip(length.saturating_sub(4).max(1)).collect();
        format!("…{end}")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.shown()).finish()
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// There are keys.
    Keys(Keys),
    /// A program is to be asked; give its answer to [`Plan::settings_with`].
    Process(Process),
    /// A token in a file is exchanged for the right to act as a role.
    WebIdentity,
    /// The container service answers.
    Container,
    /// The metadata service of the machine answers, if it is one of Amazon's.
    Instance,
    /// Requests are not signed.
    Anonymous,
}

/// What was decided, and why.
#[derive(Clone)]
pub struct Plan {
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Of what was found where: region, endpoint, credentials, profile. No secrets.
    pub origins: Vec<Origin>,
    settings: Vec<(String, String)>,
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What: `region`, `endpoint`, `credentials`.
    pub what: &'static str,
    /// Its value, or as much of it as may be shown.
    pub value: String,
    /// Where: `AWS_REGION`, `profile x in the config file`.
    pub from: String,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials, origins, settings: _ } = self;
        f.debug_struct("Plan").field("credentials", credentials).field("origins", origins).finish_non_exhaustive()
    }
}

impl Plan {
    /// The settings of [`Connection`](super::Connection), if nothing is left to ask.
    pub fn settings(self) -> Vec<(String, String)> {
        match self.credentials.clone() {
            Credentials::Keys(keys) => self.settings_with(keys),
            _ => self.settings,
        }
    }

    /// The settings with these keys.
    pub fn settings_with(mut self, keys: Keys) -> Vec<(String, String)> {
        let Keys { access, secret, token } = keys;
        self.settings.push(("AWS_ACCESS_KEY_ID".into(), access));
        self.settings.push(("AWS_SECRET_ACCESS_KEY".into(), secret));
        self.settings.extend(token.map(|token| ("AWS_SESSION_TOKEN".into(), token)));
        self.settings
    }
}
