//! Who may do what: which permission each object takes, and grants of permissions over patterns of models and channels.
//!
//! Nothing is allowed by default. The decision, which [`policy`](crate::policy) makes, follows from who asks and from the path
//! alone, before the store is asked, so that a refusal says nothing about what is there.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vault_core::{
    names::{ArtifactDigest, ChannelName, ModelName, Pattern},
    vault::ObjectName,
};

use crate::{policy::Rights, state::Time};

/// What somebody may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
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
}

/// Permissions for the models and channels that are like these patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What is allowed.
    pub permissions: BTreeSet<Permission>,
    /// For which models; `*` stands for anything.
    #[schema(value_type = String)]
    pub models: Pattern,
    /// For which of their channels.
    #[schema(value_type = String)]
    pub channels: Pattern,
    /// From which networks, such as `10.0.0.0/8`; from anywhere if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Until when; for as long as the key counts if there is no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Time>,
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

/// Any one of these permissions for a resource is needed.
#[derive(Debug)]
pub struct Need<'a> {
    permissions: &'a [Permission],
    resource: Resource<'a>,
}

/// A permission that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// As it is told.
    text: String,
    /// The one permission, or the first of several that would do.
    pub permission: Permission,
    /// The model that it was asked for.
    pub model: Option<ModelName>,
}

impl Missing {
    /// One for a test.
    #[cfg(test)]
    pub(crate) fn test(permission: Permission, model: &str) -> Self {
        Self { text: "a test".into(), permission, model: Some(model.parse().expect("a name")) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this takes the permission {}", self.text)
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
        use Permission::{Admin, Read, Seal};
        let permissions: &[Permission] = match name {
            // Of writers: whoever is none does not need them, and outcomes hold version records.
            ObjectName::Session(_) => &[Seal, Admin],
            _ => &[Read],
        };
        Self { permissions, resource: resource(name) }
    }

    /// What seeing an object in a listing below a prefix takes. Who knows the digest of an artifact or of content, or the id of a
    /// session, may read it; to learn them from a listing is for those who collect garbage.
    pub fn to_list(name: &'a ObjectName, prefix: &str) -> Self {
        let is_of_one = |artifact: &ArtifactDigest| prefix.split('/').nth(1) == Some(artifact.to_hex().as_str());
        let is_known = match name {
            ObjectName::Content(_) | ObjectName::Session(_) | ObjectName::Collection(_) => false,
            ObjectName::Manifest(artifact)
            | ObjectName::Recipients(artifact, _)
            | ObjectName::Attestation(artifact, _)
            | ObjectName::Shredding(artifact, _) => is_of_one(artifact),
            _ => true,
        };
        if is_known { Self::to_read(name) } else { Self::of(&[Permission::Admin]) }
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
            // Claims that readers check, about versions and promotions that the same people bring.
            ObjectName::LogProof(_) => &[Seal, Promote, Approve],
            // The registry alone says what happened. (Hints are only where that stands.)
            ObjectName::LogEntries(path) if path.starts_with("log/batch/") => &[],
            _ => &[Admin],
        };
        Self { permissions, resource: resource(name) }
    }

    /// What creating an object takes that is about an artifact of this model.
    pub fn to_create_of(name: &'a ObjectName, model: &'a ModelName) -> Self {
        Self { resource: Resource::Model(model), ..Self::to_create(name) }
    }

    /// What deleting an object takes.
    pub fn to_delete(name: &'a ObjectName) -> Self {
        let permissions: &[Permission] = match name {
            // What happened, happened.
            ObjectName::LogEntries(_) | ObjectName::LogTree(_) | ObjectName::Vault => &[],
            _ => &[Permission::Admin],
        };
        Self { permissions, resource: Resource::Vault }
    }

    /// What it is about, as text: needs to see things of one model, of one channel, or of none are one decision.
    pub fn about(&self) -> String {
        match self.resource {
            // No name begins with a space.
            Resource::Vault => self.permissions.iter().flat_map(|one| [" ", one.as_str()]).collect(),
            Resource::Model(model) => model.to_string(),
            Resource::Channel(channel) => channel.to_string(),
        }
    }

    /// Decides.
    ///
    /// # Errors
    /// Which permission is missing.
    pub fn granted_by(&self, rights: &Rights) -> Result<(), Missing> {
        if self.permissions.iter().any(|wanted| rights.allow(*wanted, self.resource)) {
            return Ok(());
        }
        let wanted: Vec<_> = self.permissions.iter().map(|permission| permission.as_str()).collect();
        let wanted = if wanted.is_empty() { "that nobody has".to_owned() } else { wanted.join(" or ") };
        let first = self.permissions.first().copied();
        let (text, model) = match self.resource {
            Resource::Vault => (wanted, None),
            Resource::Model(model) => (format!("{wanted} for {model}"), Some(model.clone())),
            Resource::Channel(name) => (format!("{wanted} for {name}"), Some(name.model.clone())),
        };
        Err(Missing { text, permission: first.unwrap_or(Permission::Read), model })
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
    use std::{net::IpAddr, sync::Arc};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        identity::{Means, Principal},
        policy::Policies,
    };

    fn grant(permissions: &[Permission], models: &str, channels: &str) -> Grant {
        let pattern = |text: &str| text.parse().expect("a pattern");
        Grant {
            permissions: permissions.iter().copied().collect(),
            models: pattern(models),
            channels: pattern(channels),
            networks: Vec::new(),
            until: None,
        }
    }

    fn rights_at(grants: &[Grant], address: [u8; 4], now: Timestamp) -> Rights {
        let set = Policies::default().with_grants(Means::Key, "ab", grants).expect("grants");
        let principal = Principal::of_key("ab", "a", "a", grants);
        Rights::new(Arc::new(set), &principal, IpAddr::from(address), now).expect("rights")
    }

    fn rights(grants: &[Grant]) -> Rights {
        rights_at(grants, [127, 0, 0, 1], Timestamp::now())
    }

    fn name(path: &str) -> ObjectName {
        ObjectName::parse(path).expect("a path")
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let version = name("models/a/versions/1.dsse.json");
        let missing = Need::to_read(&version).granted_by(&rights(&[])).expect_err("nothing granted");
        assert_eq!(missing.to_string(), "this takes the permission read for a");
        assert!(Need::of(&[Permission::Admin]).granted_by(&rights(&[])).is_err());
    }

    #[test]
    fn a_grant_reaches_as_far_as_its_patterns() {
        let grants = rights(&[grant(&[Permission::Promote], "team/*", "staging")]);
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
            ("log/genesis.json".into(), Permission::Admin),
            (format!("log/proof/ab/{h}/7.{h}"), Permission::Seal),
            (format!("log/proof/ab/{h}/7.{h}"), Permission::Promote),
            (format!("gc/{}/started.json", "ab".repeat(16)), Permission::Admin),
        ] {
            let name = name(&path);
            let need = Need::to_create(&name);
            assert!(need.granted_by(&rights(&[grant(&[permission], "*", "*")])).is_ok(), "{path}");
            assert!(
                need.granted_by(&rights(&[grant(&[Permission::Read, Permission::Audit], "*", "*")])).is_err(),
                "{path}"
            );
        }
    }

    #[test]
    fn a_grant_ends_at_its_time_and_at_the_edge_of_its_networks() {
        let end: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let before = end - jiff::SignedDuration::from_secs(1);
        let mut grant = grant(&[Permission::Read], "*", "*");
        grant.until = Some(Time(end));
        grant.networks = vec!["10.0.0.0/8".into(), "192.0.2.7".into()];
        let version = name("models/a/versions/1.dsse.json");
        let may = |address, now| {
            Need::to_read(&version).granted_by(&rights_at(std::slice::from_ref(&grant), address, now)).is_ok()
        };
        assert!(may([10, 1, 2, 3], before) && may([192, 0, 2, 7], before));
        assert!(!may([10, 1, 2, 3], end) && !may([192, 0, 2, 8], before) && !may([127, 0, 0, 1], before));
    }
}
