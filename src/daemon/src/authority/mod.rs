//! Who may do what: Cedar policies over the client, the operation and what it is about. Nothing is allowed that no
//! policy permits, and no policy that forbids is passed over: one that cannot be evaluated denies.

mod describe;
mod expectations;
mod plain;
mod sources;
mod subject;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use casemate_engine::Caller;
use casemate_spec::wire::Tenant;
use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};

pub use describe::describe;
pub use expectations::{Outcome, hold};
pub use sources::{SCHEMA, Sources};
pub use subject::Object;

/// Policies that fit the schema, and the schema's actions.
#[derive(Debug)]
pub struct Authority {
    policies: PolicySet,
    actions: HashMap<String, Entity>,
    authorizer: Authorizer,
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the client may.
    pub allowed: bool,
    /// By which policies, or why not.
    pub reason: String,
    /// The policies that decided, by file and `@id`; none where none permits it.
    pub by: Vec<String>,
    /// It could not be judged, and is denied for that.
    pub faulty: bool,
}

impl Authority {
    /// Of policies, checked against the schema.
    ///
    /// # Errors
    /// A policy cannot be read, or speaks of what there is not; each is named.
    pub fn new(sources: &Sources) -> Result<Self, String> {
        let schema = schema()?;
        let policies = sources.parse()?;
        let actions = schema.action_entities().map_err(|error| format!("schema: {error}"))?;
        let validated = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        if !validated.validation_passed() {
            let faults: Vec<String> = validated.validation_errors().map(ToString::to_string).collect();
            return Err(format!("authorization policies: {}", faults.join("; ")));
        }
        let named = |action: &Entity| (action.uid().id().unescaped().to_owned(), action.clone());
        let actions = actions.iter().map(named).collect();
        Ok(Self { policies, actions, authorizer: Authorizer::new() })
    }

    /// Whether the schema knows an operation.
    pub fn knows(&self, operation: &str) -> bool {
        self.actions.contains_key(operation)
    }

    /// Judges.
    pub fn judge(&self, caller: &Caller, operation: &str, object: Object) -> Verdict {
        match self.decide(caller, operation, object) {
            Ok(verdict) => verdict,
            Err(fault) => {
                let reason = format!("it cannot be judged: {fault}");
                Verdict { allowed: false, reason, by: Vec::new(), faulty: true }
            }
        }
    }

    fn decide(&self, caller: &Caller, operation: &str, object: Object) -> Result<Verdict, String> {
        let action = self.actions.get(operation).ok_or_else(|| format!("no action {operation}"))?;
        let principal = uid("User", &caller.identity)?;
        let resource = object.uid()?;
        let entities = [user(caller, &principal)?, object.entity()?, action.clone()];
        let entities = Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        let request = Request::new(principal, action.uid(), resource, Context::empty(), None)
            .map_err(|error| error.to_string())?;
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        if let Some(error) = diagnostics.errors().next() {
            return Err(error.to_string());
        }
        let mut decided: Vec<_> = diagnostics.reason().map(|id| (id.to_string(), self.words(id))).collect();
        decided.sort();
        let (by, words): (Vec<String>, Vec<String>) = decided.into_iter().unzip();
        let allowed = response.decision() == Decision::Allow;
        let reason = match response.decision() {
            Decision::Allow => words.join(", "),
            Decision::Deny if by.is_empty() => {
                let groups = caller.groups.join(", ");
                format!("no policy permits it to {} (groups: {groups})", caller.identity)
            }
            Decision::Deny => format!("forbidden by {}", words.join(", ")),
        };
        Ok(Verdict { allowed, reason, by, faulty: false })
    }

    /// A policy as people know it, with its reason.
    fn words(&self, id: &cedar_policy::PolicyId) -> String {
        let mut words = id.to_string();
        let policy = self.policies.policy(id).filter(|policy| policy.effect() == Effect::Forbid);
        if let Some(reason) = policy.and_then(|policy| policy.annotation("reason")) {
            // Writing to a String cannot fail.
            write!(words, " ({reason})").unwrap_or_default();
        }
        words
    }
}

/// The schema.
///
/// # Errors
/// It is wrong, which a test would have shown.
pub fn schema() -> Result<Schema, String> {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| format!("schema: {error}"))?;
    Ok(schema)
}

fn user(caller: &Caller, uid_of: &EntityUid) -> Result<Entity, String> {
    let name = caller.identity.rsplit('/').next().unwrap_or_default().to_owned();
    let tenant = RestrictedExpression::new_entity_uid(tenant(&caller.tenant)?);
    let attributes =
        [("tenant".to_owned(), tenant), ("name".to_owned(), RestrictedExpression::new_string(name))];
    let groups = caller.groups.iter().map(|group| uid("Group", group)).collect::<Result<HashSet<_>, _>>()?;
    Entity::new(uid_of.clone(), attributes.into(), groups).map_err(|error| error.to_string())
}

fn tenant(tenant: &Tenant) -> Result<EntityUid, String> {
    uid("Tenant", tenant.as_str())
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = format!("Casemate::{kind}").parse().map_err(|error| format!("{kind}: {error}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id)))
}

#[cfg(test)]
mod tests;
