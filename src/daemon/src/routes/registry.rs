//! Registries: push, auth, distribution, search.

use casemate_engine::images::registry::Credentials;
use casemate_engine::images::{self, Reference};
use casemate_engine::{Failure, Result};
use serde_json::json;

use super::images::{credentials, filters, told};
use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Post,
        path: "/images/{name*}/push",
        operation: "image.push",
        subject: Subject::Image,
        handler: |call| Box::pin(push(call)),
    },
    Route {
        method: Verb::Post,
        path: "/auth",
        operation: "system.auth",
        subject: Subject::Tenant,
        handler: |call| Box::pin(auth(call)),
    },
    Route {
        method: Verb::Get,
        path: "/distribution/{name*}/json",
        operation: "image.distribution",
        subject: Subject::Image,
        handler: |call| Box::pin(distribution(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/search",
        operation: "image.search",
        subject: Subject::Tenant,
        handler: |call| Box::pin(search(call)),
    },
];

async fn push(call: Call) -> Result<Answer> {
    let reference = Reference::parse(call.captured("name"))?;
    let reference = match call.query.text("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    if reference.digest.is_some() {
        return Err(Failure::invalid("cannot push a digest reference"));
    }
    let credentials = credentials(&call)?;
    let (engine, caller) = (call.engine.clone(), call.caller.clone());
    told(|progress| async move { images::push(&engine, &caller, &reference, credentials, &progress).await })
        .await
}

async fn auth(mut call: Call) -> Result<Answer> {
    let mut credentials: Credentials = call.json().await?;
    credentials.split();
    images::login(&call.engine, credentials).await?;
    Ok(Answer::ok(&json!({ "IdentityToken": "", "Status": "Login Succeeded" })))
}

async fn distribution(call: Call) -> Result<Answer> {
    let reference = Reference::parse(call.captured("name"))?;
    let (descriptor, platforms) = images::look(&call.engine, &reference, credentials(&call)?).await?;
    Ok(Answer::ok(&json!({ "Descriptor": descriptor, "Platforms": platforms })))
}

async fn search(call: Call) -> Result<Answer> {
    let term = call.query.text("term").ok_or_else(|| Failure::invalid("no term to search for is given"))?;
    let limit = call.query.number::<usize>("limit")?.filter(|limit| *limit > 0);
    let filters = filters(&call.query)?;
    let found = images::search(&call.engine, term, limit, &filters, credentials(&call)?).await?;
    Ok(Answer::ok(&found))
}
