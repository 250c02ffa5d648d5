//! Of Casemate's own: which protections hold for a container and by which rule, and who may what by which policy. Nothing
//! here changes anything.

use std::sync::Arc;

use bytes::Bytes;
use casemate_engine::containers::{self, Asked};
use casemate_engine::{Failure, Result};
use casemate_spec::wire::Tenant;
use hyper::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::containers::NewContainer;
use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::authority::{Object, Verdict, describe};
use crate::call::{Body, Call, Query};
use crate::identity::named;
use crate::service::Daemon;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Get,
        path: "/casemate/containers/{id}/policy",
        operation: "container.explain",
        subject: Subject::Container,
        handler: |call| Box::pin(explain(call)),
    },
    Route {
        method: Verb::Post,
        path: "/casemate/containers/policy",
        operation: "container.plan",
        subject: Subject::NewContainer,
        handler: |call| Box::pin(plan(call)),
    },
    Route {
        method: Verb::Post,
        path: "/casemate/authorization",
        operation: "policy.explain",
        subject: Subject::Tenant,
        handler: |call| Box::pin(authorization(call)),
    },
];

/// As it would be judged if it were started now: policies may have changed since it was.
async fn explain(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let report = containers::report(&call.engine, &container).await?;
    let shown = json!({ "Id": container.id, "Name": container.name(), "Judgement": report });
    Ok(Answer::ok(&shown))
}

/// Both judgements of a create. Whom the first one denies does not hear the second: it tells of the host's files.
async fn plan(mut call: Call) -> Result<Answer> {
    let daemon = daemon(&call)?;
    let object = describe(&call, Subject::NewContainer)?.into_iter().next();
    let object = object.ok_or_else(|| Failure::invalid("the request names nothing"))?;
    let verdict = daemon.authority.load().judge(&call.caller, "container.create", object);
    let body: NewContainer = call.json().await?;
    let asked = Asked {
        name: call.query.text("name").map(str::to_owned),
        platform: call.query.text("platform").map(str::to_owned),
        config: body.config,
        host_config: body.host_config.unwrap_or_default(),
        ..Asked::default()
    };
    let report = match verdict.allowed {
        true => Some(containers::plan(&call.engine, &call.caller, asked).await?),
        false => None,
    };
    Ok(Answer::ok(&json!({ "Authorization": shown(&verdict), "Judgement": report })))
}

/// Whether somebody may do something, and which policies say so.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Question {
    /// As a certificate has it: `casemate://TENANT/USER?groups=A,B`.
    identity: String,
    /// An action of the schema.
    action: String,
    /// The object's name or id; the tenant itself where there is none.
    object: Option<String>,
    /// For `container.create`: the body of the create.
    container: Option<Value>,
}

async fn authorization(mut call: Call) -> Result<Answer> {
    let asked: Question = call.json().await?;
    let daemon = daemon(&call)?;
    let caller = named(&asked.identity).map_err(Failure::invalid)?;
    let subject = subject(&asked.action).ok_or_else(|| {
        Failure::invalid(format!(
            "no action {}: policies/cedar/casemate.cedarschema has them all",
            asked.action
        ))
    })?;
    let name = asked.object.unwrap_or_default();
    let object = match subject {
        Subject::Tenant | Subject::Nothing => {
            let tenant = Some(name).filter(|name| !name.is_empty()).map(|name| name.parse::<Tenant>());
            let tenant = tenant.transpose().map_err(|error| Failure::invalid(format!("tenant: {error}")))?;
            Object::tenant(&tenant.unwrap_or_else(|| caller.tenant.clone()))
        }
        subject => {
            call.caller = caller.clone();
            let call = supposed(call, subject, name, asked.container);
            let object = describe(&call, subject)?.into_iter().next();
            object.ok_or_else(|| Failure::invalid("the question names no object"))?
        }
    };
    let resource = object.name();
    let verdict = daemon.authority.load().judge(&caller, &asked.action, object);
    let mut shown = shown(&verdict);
    shown["Principal"] = caller.identity.into();
    shown["Groups"] = caller.groups.into();
    shown["Action"] = asked.action.into();
    shown["Resource"] = resource.into();
    Ok(Answer::ok(&shown))
}

/// The call that the question supposes, as far as it describes its object.
fn supposed(call: Call, subject: Subject, name: String, container: Option<Value>) -> Call {
    let body = match subject {
        Subject::NewContainer => container.unwrap_or_else(|| json!({})),
        Subject::NewVolume => json!({ "Name": name }),
        _ => Value::Null,
    };
    let query = match subject {
        Subject::NewImage => vec![("fromImage".to_owned(), name.clone())],
        Subject::NewContainer => vec![("name".to_owned(), name.clone())],
        _ => Vec::new(),
    };
    let captured = match subject {
        Subject::Image | Subject::Volume => [("name", name)].into(),
        Subject::Container | Subject::Network => [("id", name)].into(),
        _ => Default::default(),
    };
    let request = Request::new(Body::Read(Bytes::from(body.to_string())));
    Call { captured, query: Query(query), request, ..call }
}

/// What an action is about. A question about an exec names its container.
fn subject(action: &str) -> Option<Subject> {
    match action {
        // What a header or a query makes of another one.
        "tenant.assume" => return Some(Subject::Tenant),
        "image.import" => return Some(Subject::NewImage),
        _ => {}
    }
    let routed = super::table().into_iter().find(|route| route.operation == action)?;
    Some(if routed.subject == Subject::Exec { Subject::Container } else { routed.subject })
}

fn shown(verdict: &Verdict) -> Value {
    json!({ "Allowed": verdict.allowed, "Reason": verdict.reason, "By": verdict.by })
}

fn daemon(call: &Call) -> Result<Arc<Daemon>> {
    let daemon = call.request.extensions().get::<Arc<Daemon>>();
    daemon.cloned().ok_or_else(|| Failure::failed("policies: there are none"))
}
