//! What an operation is about, as policies see it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use casemate_spec::wire::Tenant;
use cedar_policy::{Entity, EntityUid, RestrictedExpression};

use super::{tenant, uid};

/// An object of a tenant's.
#[derive(Debug, Clone)]
pub struct Object {
    kind: &'static str,
    id: String,
    tenant: Tenant,
    attributes: HashMap<String, Value>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Texts(BTreeSet<String>),
    Numbers(BTreeSet<i64>),
    Truth(bool),
}

impl Object {
    /// The tenant itself.
    pub fn tenant(tenant: &Tenant) -> Self {
        Self::of("Tenant", tenant.as_str(), tenant)
    }

    /// An object of some kind; its attributes follow.
    pub fn of(kind: &'static str, id: &str, tenant: &Tenant) -> Self {
        let (attributes, labels) = Default::default();
        Self { kind, id: id.to_owned(), tenant: tenant.clone(), attributes, labels }
    }

    /// A text.
    #[must_use]
    pub fn text(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), Value::Text(value.into()));
        self
    }

    /// A set of texts.
    #[must_use]
    pub fn texts(mut self, name: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.attributes.insert(name.to_owned(), Value::Texts(values.into_iter().collect()));
        self
    }

    /// A set of numbers.
    #[must_use]
    pub fn numbers(mut self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.attributes.insert(name.to_owned(), Value::Numbers(values.into_iter().collect()));
        self
    }

    /// Yes or no.
    #[must_use]
    pub fn truth(mut self, name: &str, value: bool) -> Self {
        self.attributes.insert(name.to_owned(), Value::Truth(value));
        self
    }

    /// Its labels.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// As the audit log names it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.kind.to_ascii_lowercase(), self.id)
    }

    /// Ids are a tenant's own: two tenants' volumes of one name are two entities.
    pub(super) fn uid(&self) -> Result<EntityUid, String> {
        if self.kind == "Tenant" {
            return tenant(&self.tenant);
        }
        uid(self.kind, &format!("{}/{}", self.tenant, self.id))
    }

    pub(super) fn entity(self) -> Result<Entity, String> {
        let of = self.uid()?;
        let parents = if self.kind == "Tenant" { None } else { Some(tenant(&self.tenant)?) };
        let attributes = self.attributes.into_iter().map(|(name, value)| (name, value.expression()));
        let tags =
            self.labels.into_iter().map(|(name, value)| (name, RestrictedExpression::new_string(value)));
        Entity::new_with_tags(of, attributes, parents, tags).map_err(|error| error.to_string())
    }
}

impl Value {
    fn expression(self) -> RestrictedExpression {
        match self {
            Self::Text(text) => RestrictedExpression::new_string(text),
            Self::Truth(truth) => RestrictedExpression::new_bool(truth),
            Self::Texts(texts) => {
                RestrictedExpression::new_set(texts.into_iter().map(RestrictedExpression::new_string))
            }
            Self::Numbers(numbers) => {
                RestrictedExpression::new_set(numbers.into_iter().map(RestrictedExpression::new_long))
            }
        }
    }
}
