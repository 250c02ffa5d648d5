//! Expectations of authorization: a file that says who may what, held against the policies.

use std::collections::{BTreeMap, HashMap};

use casemate_engine::Caller;
use casemate_spec::wire::Tenant;
use cedar_policy::Schema;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::plain::Shape;
use super::{Authority, Object, schema};
use crate::config::Fault;
use crate::identity;

/// The whole file. docs/authorization.md explains it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Who there is, by name.
    #[serde(default)]
    principals: BTreeMap<String, Spanned<Principal>>,
    /// What there is, by name: attributes by the schema's names, `tenant`, and `labels`.
    #[serde(default)]
    resources: BTreeMap<String, BTreeMap<String, Spanned<Value>>>,
    /// Who may what.
    expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Principal {
    /// `default` where it is not said.
    tenant: Option<Tenant>,
    #[serde(default)]
    groups: Vec<String>,
}

/// Each of the principals, each of the actions, one resource, one verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// A name of `[principals]`, or `casemate://TENANT/USER?groups=A,B`; or a list of them.
    principal: Spanned<Value>,
    /// An action, or a group of actions, which stands for all in it; or a list of them.
    action: Spanned<Value>,
    /// A name of `[resources]`; without it, one of the principal's tenant of which nothing in particular is known.
    resource: Option<Spanned<String>>,
    verdict: Allow,
    /// Policies that have decided, as `FILE:ID`; an empty list: none permits it.
    by: Option<Spanned<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Allow {
    Allow,
    Deny,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often it was judged.
    pub judged: usize,
    /// What is not as expected, each as `FILE:LINE:COLUMN: what`.
    pub failures: Vec<String>,
}

/// Holds a file of expectations against the policies. `origin` is what it is called in messages.
///
/// # Errors
/// The file is wrong: `ORIGIN:LINE:COLUMN: what`, the line, and a marker beneath.
pub fn hold(authority: &Authority, text: &str, origin: &str) -> Result<Outcome, String> {
    let attempt = || {
        let file: File = toml::from_str(text)
            .map_err(|error| Fault { span: error.span(), what: error.message().to_owned() })?;
        let actions = actions().map_err(|what| Fault { span: None, what })?;
        let test = Test { authority, file: &file, actions };
        let mut outcome = Outcome::default();
        for expectation in &file.expect {
            for what in test.judge(expectation, &mut outcome.judged)? {
                let shown = Fault::at(&expectation.action, what).show(text, origin);
                outcome.failures.push(shown.lines().next().unwrap_or_default().to_owned());
            }
        }
        Ok(outcome)
    };
    attempt().map_err(|fault: Fault| fault.show(text, origin))
}

struct Test<'a> {
    authority: &'a Authority,
    file: &'a File,
    /// By action: the kind of object that it is about. By group: the actions in it.
    actions: HashMap<String, Vec<(String, String)>>,
}

impl Test<'_> {
    /// Says what is not as expected.
    fn judge(&self, expected: &Expectation, judged: &mut usize) -> Result<Vec<String>, Fault> {
        let by = expected.by.as_ref().map(texts).transpose()?;
        let callers = texts(&expected.principal)?;
        let callers = callers.iter().map(|name| self.caller(name, &expected.principal));
        let callers = callers.collect::<Result<Vec<_>, Fault>>()?;
        let mut actions = Vec::new();
        for name in texts(&expected.action)? {
            let found = self.actions.get(&name).ok_or_else(|| {
                Fault::at(&expected.action, format!("no action {name}: casemate.cedarschema has them all"))
            })?;
            actions.extend(found);
        }
        let mut wrong = Vec::new();
        for caller in &callers {
            for (action, kind) in &actions {
                *judged += 1;
                let object = self.object(expected.resource.as_ref(), kind, caller)?;
                let of = format!("{} {action} {}", caller.identity, object.name());
                let verdict = self.authority.judge(caller, action, object);
                let (wanted, is) = (expected.verdict == Allow::Allow, &verdict.by);
                let others = || {
                    let by = by.as_ref()?;
                    let missing = by.iter().any(|id| !is.contains(id)) || (by.is_empty() && !is.is_empty());
                    let names = if by.is_empty() { "no policy".to_owned() } else { by.join(", ") };
                    missing.then_some(names)
                };
                let said = if verdict.allowed { "allowed by " } else { "" };
                if verdict.allowed != wanted || verdict.faulty {
                    let word = if wanted { "allow" } else { "deny" };
                    wrong.push(format!("{of}: expected {word}, but {said}{}", verdict.reason));
                } else if let Some(names) = others() {
                    wrong.push(format!("{of}: expected by {names}, but {said}{}", verdict.reason));
                }
            }
        }
        Ok(wrong)
    }

    fn caller(&self, name: &str, whole: &Spanned<Value>) -> Result<Caller, Fault> {
        if name.contains("://") {
            return identity::named(name).map_err(|what| Fault::at(whole, what));
        }
        let found = self.file.principals.get(name);
        let found = found.ok_or_else(|| Fault::at(whole, format!("no [principals.{name}]")))?;
        let Principal { tenant, groups } = found.get_ref();
        let tenant = tenant.as_ref().map_or("default", Tenant::as_str);
        let uri = format!("casemate://{tenant}/{name}?groups={}", groups.join(","));
        identity::named(&uri).map_err(|what| Fault::at(found, what))
    }

    fn object(&self, name: Option<&Spanned<String>>, kind: &str, caller: &Caller) -> Result<Object, Fault> {
        let fault = |what: String| Fault { span: name.map(Spanned::span), what };
        let shape = Shape::of(kind).ok_or_else(|| fault(format!("no kind of object {kind}")))?;
        let Some(name) = name else { return Ok(shape.plain("any", &caller.tenant)) };
        let found = self.file.resources.get(name.get_ref());
        let found = found.ok_or_else(|| fault(format!("no [resources.{}]", name.get_ref())))?;
        let tenant = match found.get("tenant") {
            None => caller.tenant.clone(),
            Some(tenant) => {
                let text = tenant.get_ref().as_str().unwrap_or_default();
                text.parse().map_err(|error| Fault::at(tenant, format!("tenant: {error}")))?
            }
        };
        let rest = found.iter().filter(|(name, _)| *name != "tenant");
        rest.into_iter().try_fold(shape.plain(name.get_ref(), &tenant), |object, (name, value)| {
            shape.set(object, name, value.get_ref()).map_err(|what| Fault::at(value, what))
        })
    }
}

/// One text, or a list of them.
fn texts(value: &Spanned<Value>) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = match value.get_ref() {
        Value::Array(list) => list.iter().map(text).collect::<Option<Vec<_>>>(),
        one => text(one).map(|one| vec![one]),
    };
    all.ok_or_else(|| Fault::at(value, "expected a text or a list of texts"))
}

/// By name of an action or of a group: the actions, and the kind of object of each.
fn actions() -> Result<HashMap<String, Vec<(String, String)>>, String> {
    let schema: Schema = schema()?;
    let entities = schema.action_entities().map_err(|error| error.to_string())?;
    let mut actions: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for action in entities.iter().map(cedar_policy::Entity::uid) {
        let kind = schema.resources_for_action(&action).and_then(|mut kinds| kinds.next());
        // A group is about nothing itself.
        let Some(kind) = kind else { continue };
        let one = (action.id().unescaped().to_owned(), kind.basename().to_owned());
        for group in entities.ancestors(&action).into_iter().flatten() {
            actions.entry(group.id().unescaped().to_owned()).or_default().push(one.clone());
        }
        actions.entry(one.0.clone()).or_default().push(one);
    }
    for list in actions.values_mut() {
        list.sort();
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    fn run(text: &str) -> Result<Outcome, String> {
        hold(&Authority::new(&Sources::default()).expect("policies"), text, "f.toml")
    }

    /// What is shipped for the ready roles holds, and speaks of every action.
    #[test]
    fn the_ready_roles_are_as_their_expectations_say() {
        let text = include_str!("../../../../policies/cedar/roles.test.toml");
        let outcome = run(text).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
        let actions = actions().expect("actions").into_iter().filter(|(_, list)| list.len() == 1).count();
        assert!(outcome.judged > 5 * actions, "{} judgements of {actions} actions", outcome.judged);
    }

    #[test]
    fn what_does_not_hold_is_told_where_it_stands() {
        let text = r#"
[principals.dev]
tenant = "acme"
groups = ["developer"]
[resources.host]
binds = ["/etc"]

[[expect]]
principal = "dev"
action = ["container.create", "image.push"]
verdict = "allow"

[[expect]]
principal = "casemate://acme/dev?groups=developer,operator"
action = "container.create"
resource = "host"
verdict = "deny"
by = "roles.cedar:viewer-reads"

[[expect]]
principal = "dev"
action = "read"
verdict = "allow"
by = []
"#;
        let outcome = run(text).expect("a sound file");
        let line = |number: usize| outcome.failures[number].as_str();
        let begin =
            "f.toml:10:10: casemate://acme/dev image.push image:any: expected allow, but no policy permits";
        assert!(line(0).starts_with(begin), "{}", line(0));
        let begin = "f.toml:15:10: casemate://acme/dev container.create container:host: expected by \
                     roles.cedar:viewer-reads, but forbidden by roles.cedar:host-is-the-administrators";
        assert!(line(1).starts_with(begin), "{}", line(1));
        assert!(
            line(2).contains("expected by no policy, but allowed by roles.cedar:developer-runs"),
            "{}",
            line(2)
        );
        assert!(outcome.failures.len() > 20 && outcome.judged == outcome.failures.len() + 1);
    }

    #[test]
    fn faults_are_shown_where_they_stand() {
        let fault = |text: &str| run(text).expect_err("a fault");
        let expect =
            |rest: &str| format!("[[expect]]\nprincipal = \"casemate://a/b\"\nverdict = \"deny\"\n{rest}");
        for (text, begin) in [
            ("a = 1", "f.toml:1:1: unknown field `a`"),
            (
                "[[expect]]\nprincipal = 3\naction = \"read\"\nverdict = \"allow\"",
                "f.toml:2:13: expected a text",
            ),
            (&expect("action = \"container.fly\""), "f.toml:4:10: no action container.fly"),
            (&expect("action = \"read\"\nresource = \"x\""), "f.toml:5:12: no [resources.x]"),
            (&expect("action = \"read\"\nprincipals = 1"), "f.toml:5:1: unknown field `principals`"),
            (
                "[[expect]]\nprincipal = \"x\"\naction = \"read\"\nverdict = \"deny\"",
                "f.toml:2:13: no [principals.x]",
            ),
            (
                "[[expect]]\nprincipal = \"x\"\naction = \"read\"\nverdict = \"maybe\"",
                "f.toml:4:11: unknown variant",
            ),
            (
                &(expect("action = \"container.start\"\nresource = \"x\"\n")
                    + "[resources.x]\ncolour = \"red\""),
                "f.toml:7:10: colour: a container has tenant, name",
            ),
            (
                &(expect("action = \"container.start\"\nresource = \"x\"\n")
                    + "[resources.x]\nbinds = \"/etc\""),
                "f.toml:7:9: binds: expected a list of texts",
            ),
        ] {
            let shown = fault(text);
            assert!(shown.starts_with(begin), "{begin}\n{shown}");
            assert!(shown.contains('\n'), "the line is shown: {shown}");
        }
    }
}
