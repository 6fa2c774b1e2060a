//! Who may do what: permissions over patterns of models and channels, and one function that decides.
//!
//! Nothing is allowed by default. The decision is made from who asks and from the path alone, before the store is asked, so
//! that a refusal says nothing about what is there.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use vault_core::{
    names::{ChannelName, ModelName, Pattern},
    vault::ObjectName,
};

/// What somebody may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// To see versions, channels and ciphertext.
    Read,
    /// To store artifacts and version records, and to say who may open them.
    Seal,
    /// To store attestations, revocations, retirements and statements of freshness.
    Sign,
    /// To propose and publish promotions.
    Promote,
    /// To approve promotions and revocations.
    Approve,
    /// To publish trust roots, to collect garbage, to manage keys.
    Admin,
    /// To see what everybody did.
    Audit,
}

impl Permission {
    /// Its name in grants and in refusals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Seal => "seal",
            Self::Sign => "sign",
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Admin => "admin",
            Self::Audit => "audit",
        }
    }

    /// Whoever may do this sees what it is done to.
    const READS: [Self; 6] = [Self::Read, Self::Seal, Self::Sign, Self::Promote, Self::Approve, Self::Admin];
}

/// Permissions for the models and channels that are like these patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What is allowed.
    pub permissions: BTreeSet<Permission>,
    /// For which models; `*` stands for anything.
    pub models: Pattern,
    /// For which of their channels.
    pub channels: Pattern,
}

/// What something is done to.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// What belongs to no model that its path would name.
    Vault,
    /// A model.
    Model(&'a ModelName),
    /// A channel of a model.
    Channel(&'a ChannelName),
}

impl Grant {
    fn covers(&self, resource: Resource<'_>) -> bool {
        match resource {
            Resource::Vault => true,
            Resource::Model(model) => self.models.matches(model.as_str()),
            Resource::Channel(name) => {
                self.models.matches(name.model.as_str()) && self.channels.matches(name.channel.as_str())
            }
        }
    }
}

/// Any one of these permissions for a resource is needed.
#[derive(Debug)]
pub struct Need<'a> {
    permissions: &'a [Permission],
    resource: Resource<'a>,
}

/// A permission that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this takes the permission {}", self.0)
    }
}

impl<'a> Need<'a> {
    /// One permission for the registry as a whole.
    pub fn of(permission: &'a [Permission]) -> Self {
        Self { permissions: permission, resource: Resource::Vault }
    }

    /// Any of these for a resource.
    pub fn any(permissions: &'a [Permission], resource: Resource<'a>) -> Self {
        Self { permissions, resource }
    }

    /// What reading an object takes.
    pub fn to_read(name: &'a ObjectName) -> Self {
        Self { permissions: &Permission::READS, resource: resource(name) }
    }

    /// What creating an object takes.
    pub fn to_create(name: &'a ObjectName) -> Self {
        use Permission::{Admin, Approve, Promote, Seal, Sign};
        let permissions: &[Permission] = match name {
            ObjectName::Content(_) | ObjectName::Manifest(_) | ObjectName::Recipients(..) | ObjectName::Version(_) => {
                &[Seal]
            }
            ObjectName::Session(_) => &[Seal],
            ObjectName::Attestation(..) => &[Seal, Sign],
            ObjectName::Shredding(..) | ObjectName::Retirement(..) | ObjectName::Freshness(..) => &[Sign],
            ObjectName::Revocation(_) => &[Sign, Approve],
            ObjectName::Promotion(..) => &[Promote, Approve],
            ObjectName::Proposal(..) => &[Promote, Approve, Sign],
            // Whoever does something says so.
            ObjectName::LogEntries(_) => &[Seal, Sign, Promote, Approve, Admin],
            _ => &[Admin],
        };
        Self { permissions, resource: resource(name) }
    }

    /// Decides.
    ///
    /// # Errors
    /// Which permission is missing.
    pub fn granted_by(&self, grants: &[Grant]) -> Result<(), Missing> {
        let suits = |grant: &Grant| {
            grant.covers(self.resource) && self.permissions.iter().any(|wanted| grant.permissions.contains(wanted))
        };
        if grants.iter().any(suits) {
            return Ok(());
        }
        // Of what reads, the permission of that name is the one to ask for.
        let wanted: Vec<_> = match self.permissions {
            [Permission::Read, ..] => vec!["read"],
            several => several.iter().map(|permission| permission.as_str()).collect(),
        };
        let wanted = wanted.join(" or ");
        Err(Missing(match self.resource {
            Resource::Vault => wanted,
            Resource::Model(model) => format!("{wanted} for {model}"),
            Resource::Channel(channel) => format!("{wanted} for {channel}"),
        }))
    }
}

fn resource(name: &ObjectName) -> Resource<'_> {
    match name {
        ObjectName::Version(version) | ObjectName::Retirement(version, _) => Resource::Model(&version.model),
        ObjectName::Promotion(channel, _) | ObjectName::Freshness(channel, _) => Resource::Channel(channel),
        _ => Resource::Vault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(permissions: &[Permission], models: &str, channels: &str) -> Grant {
        let pattern = |text: &str| text.parse().expect("a pattern");
        Grant {
            permissions: permissions.iter().copied().collect(),
            models: pattern(models),
            channels: pattern(channels),
        }
    }

    fn name(path: &str) -> ObjectName {
        ObjectName::parse(path).expect("a path")
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let version = name("models/a/versions/1.dsse.json");
        let missing = Need::to_read(&version).granted_by(&[]).expect_err("nothing granted");
        assert_eq!(missing.to_string(), "this takes the permission read for a");
        assert!(Need::of(&[Permission::Admin]).granted_by(&[]).is_err());
    }

    #[test]
    fn a_grant_reaches_as_far_as_its_patterns() {
        let grants = [grant(&[Permission::Promote], "team/*", "staging")];
        for (path, may) in [
            ("models/team/a/channels/staging/1.dsse.json", true),
            ("models/team/a/channels/production/1.dsse.json", false),
            ("models/other/channels/staging/1.dsse.json", false),
            ("models/team/a/versions/1.dsse.json", false),
        ] {
            assert_eq!(Need::to_create(&name(path)).granted_by(&grants).is_ok(), may, "{path}");
        }
        assert!(Need::to_read(&name("models/team/a/versions/1.dsse.json")).granted_by(&grants).is_ok());
        assert!(Need::to_read(&name("models/other/versions/1.dsse.json")).granted_by(&grants).is_err());
    }

    #[test]
    fn each_kind_of_object_takes_its_own_permission() {
        let h = "ab".repeat(32);
        for (path, permission) in [
            (format!("objects/ab/{h}"), Permission::Seal),
            (format!("artifacts/{h}/manifest.json"), Permission::Seal),
            (format!("artifacts/{h}/recipients/1.dsse.json"), Permission::Seal),
            (format!("artifacts/{h}/attestations/{h}.dsse.json"), Permission::Sign),
            ("models/a/versions/1.dsse.json".into(), Permission::Seal),
            ("models/a/channels/production/1.dsse.json".into(), Permission::Promote),
            ("freshness/a/channels/production/1.dsse.json".into(), Permission::Sign),
            ("revocations/1.dsse.json".into(), Permission::Sign),
            (format!("retired/a/versions/1/{h}.dsse.json"), Permission::Sign),
            (format!("proposals/{h}/{h}.dsse.json"), Permission::Approve),
            (format!("trust/1/{h}.dsse.json"), Permission::Admin),
            ("vault.json".into(), Permission::Admin),
            ("log/batch/0.0".into(), Permission::Approve),
            ("log/genesis.json".into(), Permission::Admin),
            (format!("gc/{}/started.json", "ab".repeat(16)), Permission::Admin),
        ] {
            let name = name(&path);
            let need = Need::to_create(&name);
            assert!(need.granted_by(&[grant(&[permission], "*", "*")]).is_ok(), "{path}");
            assert!(need.granted_by(&[grant(&[Permission::Read, Permission::Audit], "*", "*")]).is_err(), "{path}");
        }
    }
}
