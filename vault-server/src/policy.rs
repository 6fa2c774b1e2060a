//! Rights as Cedar policies: what a request may do is decided by `cedar-policy`, over policies that administrators wrote and
//! policies made of the grants of keys.
//!
//! The schema is `policy/schema.cedarschema`. Nothing is allowed that no policy permits, what one forbids is forbidden, and an error
//! while deciding is a refusal.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use jiff::Timestamp;
use vault_core::{Error, Result};

use crate::{
    identity::{Means, Principal},
    rights::{Grant, Permission, Resource},
};

mod cases;

pub use cases::check_cases;

/// The longest text of policies, in bytes: it is kept in one record.
pub const MAX_POLICIES: usize = 96 << 10;
/// The id of the one registry in policies.
const REGISTRY: &str = "main";

/// What policies speak of.
pub const SCHEMA: &str = include_str!("../policy/schema.cedarschema");

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the schema of this program is one, as a test shows");
    Validator::new(schema)
});

/// An entity type of the schema.
fn kind(name: &'static str) -> EntityTypeName {
    static KINDS: LazyLock<HashMap<&str, EntityTypeName>> = LazyLock::new(|| {
        let names = ["Action", "Channel", "Group", "Key", "Model", "Person", "Registry", "Workload"];
        names.into_iter().map(|name| (name, name.parse().expect("a name"))).collect()
    });
    KINDS[name].clone()
}

fn uid(of: &'static str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind(of), EntityId::new(id))
}

fn type_of(means: Means) -> &'static str {
    match means {
        Means::Key => "Key",
        Means::Token => "Person",
        Means::Certificate => "Workload",
    }
}

/// Policies that administrators wrote, well formed and in accord with the schema.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    text: String,
    set: PolicySet,
}

impl Policies {
    /// Reads policies.
    ///
    /// # Errors
    /// [`Error::Misuse`] with what is wrong and where, if they are none, do not accord with the schema, or are too many.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_POLICIES {
            return Err(Error::Misuse(format!("the policies have {} bytes, and may have {MAX_POLICIES}", text.len())));
        }
        let set: PolicySet = text.parse().map_err(|error: cedar_policy::ParseErrors| unfit(text, &error))?;
        if set.templates().next().is_some() {
            return Err(Error::Misuse("the policies hold a template, and nothing fills it".into()));
        }
        let found = VALIDATOR.validate(&set, ValidationMode::Strict);
        match found.validation_errors().next() {
            None => Ok(Self { text: text.to_owned(), set }),
            Some(error) => Err(unfit(text, error)),
        }
    }

    /// The policies as they were written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether any of them may make somebody an administrator.
    pub fn name_administrators(&self) -> bool {
        let admin = uid("Action", Permission::Admin.as_str());
        self.set.policies().filter(|policy| policy.effect() == Effect::Permit).any(|policy| {
            match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::In(actions) => actions.contains(&admin),
                ActionConstraint::Eq(action) => action == admin,
            }
        })
    }

    /// These, and what a principal may of itself.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a grant cannot be a policy.
    pub fn with_grants(&self, means: Means, id: &str, grants: &[Grant]) -> Result<PolicySet> {
        let mut set = self.set.clone();
        for (number, grant) in grants.iter().enumerate() {
            set.add(of_grant(means, id, grant, number)?).map_err(|error| Error::Misuse(error.to_string()))?;
        }
        Ok(set)
    }
}

fn unfit(text: &str, error: &dyn miette::Diagnostic) -> Error {
    let at = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    Error::Misuse(format!("line {line} of the policies: {error}"))
}

/// A grant as a policy. Whoever may do something sees what it is done to.
fn of_grant(means: Means, id: &str, grant: &Grant, number: usize) -> Result<Policy> {
    let Grant { permissions, models, channels, networks, until } = grant;
    let is_everything = models.as_str() == "*" && channels.as_str() == "*";
    if !is_everything && (permissions.contains(&Permission::Admin) || permissions.contains(&Permission::Audit)) {
        // Keys, the trust root and what everybody did are of the whole registry.
        return Err(Error::Misuse("admin and audit are for all models and channels".into()));
    }
    let reads = permissions.iter().any(|permission| *permission != Permission::Audit);
    let permissions: BTreeSet<_> = permissions.iter().copied().chain(reads.then_some(Permission::Read)).collect();
    let actions: Vec<_> = permissions.iter().map(|one| uid("Action", one.as_str()).to_string()).collect();
    let mut text = format!(
        "permit (principal == {}, action in [{}], resource) when {{ resource is Registry || \
         (resource is Model && resource.name like \"{models}\") || \
         (resource is Channel && resource.model like \"{models}\" && resource.name like \"{channels}\") }}",
        uid(type_of(means), id),
        actions.join(", "),
    );
    if !networks.is_empty() {
        let inside: Vec<_> =
            networks.iter().map(|network| format!("context.address.isInRange(ip({network:?}))")).collect();
        text.extend([" when { ", &inside.join(" || "), " }"]);
    }
    if let Some(until) = until {
        text.extend([" when { context.time < datetime(\"", &milliseconds(until.0), "\") }"]);
    }
    text += ";";
    let policy = Policy::parse(Some(PolicyId::new(format!("grant {number}"))), text);
    let policy = policy.map_err(|error| Error::Misuse(format!("no grant: {error}")))?;
    let alone = PolicySet::from_policies([policy.clone()]).map_err(|error| Error::Misuse(error.to_string()))?;
    let found = VALIDATOR.validate(&alone, ValidationMode::Strict);
    match found.validation_errors().next() {
        None => Ok(policy),
        Some(error) => Err(Error::Misuse(format!("no grant: {error}"))),
    }
}

/// A time as Cedar has it.
fn milliseconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// What may be done in one request.
#[derive(Debug, Clone)]
pub struct Rights {
    policies: Arc<PolicySet>,
    principal: EntityUid,
    entities: Vec<Entity>,
    context: Context,
}

impl Rights {
    /// What these policies let a principal do from an address at a time.
    ///
    /// # Errors
    /// [`Error::Misuse`] if policies cannot speak of this principal.
    pub fn new(policies: Arc<PolicySet>, principal: &Principal, address: IpAddr, now: Timestamp) -> Result<Self> {
        let unfit = |error: &dyn std::fmt::Display| Error::Misuse(error.to_string());
        let groups: HashSet<_> = principal.groups.iter().map(|group| uid("Group", group)).collect();
        let mut entities: Vec<_> = groups.iter().map(|group| Entity::with_uid(group.clone())).collect();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let holder = [("holder".to_owned(), text(&principal.holder))].into();
        let id = uid(type_of(principal.means), &principal.id);
        entities.push(Entity::new(id.clone(), holder, groups).map_err(|error| unfit(&error))?);
        let mut pairs = vec![
            ("address".to_owned(), RestrictedExpression::new_ip(address.to_canonical().to_string())),
            ("time".to_owned(), RestrictedExpression::new_datetime(milliseconds(now))),
            ("amr".to_owned(), RestrictedExpression::new_set(principal.amr.iter().map(|method| text(method)))),
        ];
        pairs.extend(principal.acr.as_deref().map(|acr| ("acr".to_owned(), text(acr))));
        let context = Context::from_pairs(pairs).map_err(|error| unfit(&error))?;
        Ok(Self { policies, principal: id, entities, context })
    }

    /// Decides.
    pub fn allow(&self, permission: Permission, resource: Resource<'_>) -> bool {
        self.decide(permission, resource).unwrap_or(false)
    }

    fn decide(&self, permission: Permission, resource: Resource<'_>) -> Option<bool> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let named = |name: &str| ("name".to_owned(), text(name));
        let registry = uid("Registry", REGISTRY);
        let model = |name: &str| Entity::new(uid("Model", name), [named(name)].into(), [registry.clone()].into()).ok();
        let mut entities = self.entities.clone();
        let resource = match resource {
            Resource::Vault => registry.clone(),
            Resource::Model(name) => {
                entities.push(model(name.as_str())?);
                uid("Model", name.as_str())
            }
            Resource::Channel(name) => {
                entities.push(model(name.model.as_str())?);
                let id = uid("Channel", &name.to_string());
                let about = [named(name.channel.as_str()), ("model".to_owned(), text(name.model.as_str()))].into();
                entities.push(Entity::new(id.clone(), about, [uid("Model", name.model.as_str())].into()).ok()?);
                id
            }
        };
        entities.push(Entity::with_uid(registry));
        let entities = Entities::from_entities(entities, None).ok()?;
        let action = uid("Action", permission.as_str());
        let request = Request::new(self.principal.clone(), action, resource, self.context.clone(), None).ok()?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        // A policy that could not be judged might have forbidden it.
        let is_sound = response.diagnostics().errors().next().is_none();
        Some(is_sound && response.decision() == Decision::Allow)
    }
}

#[cfg(test)]
mod tests;
