//! Objects of which nothing in particular is known, and what people write of them by the schema's names.

use casemate_spec::wire::Tenant;
use toml::Value;

use super::Object;

/// The attributes of a kind of object, by what they hold; as the schema has them.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The kind.
    pub kind: &'static str,
    texts: &'static [&'static str],
    sets: &'static [&'static str],
    numbers: &'static [&'static str],
    truths: &'static [&'static str],
    /// It has labels.
    labels: bool,
}

/// A container.
pub const CONTAINER: Shape = Shape {
    kind: "Container",
    texts: &["name", "image", "imageId", "policy", "network"],
    sets: &[
        "origins",
        "registries",
        "binds",
        "volumes",
        "networks",
        "hostNamespaces",
        "capabilities",
        "devices",
    ],
    numbers: &["ports"],
    truths: &["privileged", "unconfined"],
    labels: true,
};

/// All kinds.
const SHAPES: [Shape; 5] = [
    Shape { kind: "Tenant", texts: &[], sets: &[], numbers: &[], truths: &[], labels: false },
    CONTAINER,
    Shape {
        kind: "Image",
        texts: &["name", "id", "registry", "repository"],
        sets: &["origins", "registries"],
        numbers: &[],
        truths: &[],
        labels: true,
    },
    Shape {
        kind: "Volume",
        texts: &["name", "driver"],
        sets: &["options", "binds"],
        numbers: &[],
        truths: &[],
        labels: true,
    },
    Shape { kind: "Network", texts: &["name"], sets: &[], numbers: &[], truths: &[], labels: false },
];

impl Shape {
    /// Of a kind.
    pub fn of(kind: &str) -> Option<Self> {
        SHAPES.into_iter().find(|shape| shape.kind == kind)
    }

    /// An object that has nothing but a name.
    pub fn plain(&self, name: &str, tenant: &Tenant) -> Object {
        let object = match self.kind {
            "Tenant" => return Object::tenant(tenant),
            kind => Object::of(kind, name, tenant),
        };
        let object = self.texts.iter().fold(object, |all, name| all.text(name, ""));
        let object = self.sets.iter().fold(object, |all, name| all.texts(name, []));
        let object = self.numbers.iter().fold(object, |all, name| all.numbers(name, []));
        let object = self.truths.iter().fold(object, |all, name| all.truth(name, false));
        if self.texts.contains(&"name") { object.text("name", name) } else { object }
    }

    /// Gives an object an attribute, or its `labels`.
    ///
    /// # Errors
    /// The kind has no such attribute, or one that holds something else.
    pub fn set(&self, object: Object, name: &str, value: &Value) -> Result<Object, String> {
        let expected = |what: &str| format!("{name}: expected {what}");
        if self.texts.contains(&name) {
            return value.as_str().map(|text| object.text(name, text)).ok_or_else(|| expected("a text"));
        }
        if self.truths.contains(&name) {
            return value.as_bool().map(|is| object.truth(name, is)).ok_or_else(|| expected("true or false"));
        }
        if self.sets.contains(&name) {
            let texts = array(value, |one| one.as_str().map(str::to_owned));
            return texts.map(|texts| object.texts(name, texts)).ok_or_else(|| expected("a list of texts"));
        }
        if self.numbers.contains(&name) {
            let numbers = array(value, Value::as_integer);
            return numbers.map(|all| object.numbers(name, all)).ok_or_else(|| expected("a list of numbers"));
        }
        if name == "labels" && self.labels {
            let labels = value.as_table().and_then(|table| {
                let one = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
                table.iter().map(one).collect::<Option<Vec<_>>>()
            });
            return labels.map(|all| object.labels(all)).ok_or_else(|| expected("a table of texts"));
        }
        let known: Vec<&str> = [self.texts, self.sets, self.numbers, self.truths].concat();
        let labels = if self.labels { ", labels" } else { "" };
        Err(format!("{name}: a {} has tenant, {}{labels}", self.kind.to_ascii_lowercase(), known.join(", ")))
    }
}

fn array<T>(value: &Value, of: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use cedar_policy::Entities;

    use super::super::schema;
    use super::*;

    /// With the schema, an entity that lacks an attribute, or has one too many, is refused.
    #[test]
    fn every_kind_fits_the_schema() {
        let schema = schema().expect("the schema");
        let tenant: Tenant = "acme".parse().expect("a tenant");
        let kinds = schema.entity_types().map(|kind| kind.basename().to_owned());
        let ours = kinds.filter(|kind| !matches!(kind.as_str(), "User" | "Group")).collect::<Vec<_>>();
        assert_eq!(ours.len(), SHAPES.len(), "{ours:?}");
        for kind in ours {
            let object = Shape::of(&kind).expect("a shape").plain("x", &tenant);
            let entity = object.entity().expect("an entity");
            Entities::from_entities([entity], Some(&schema)).unwrap_or_else(|error| {
                panic!("{kind}: {error:?}");
            });
        }
    }
}
