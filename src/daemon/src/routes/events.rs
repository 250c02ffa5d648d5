//! `GET /events`: what happens, as it happens.

use std::time::Duration;

use bytes::Bytes;
use casemate_engine::events::Event;
use casemate_engine::images::{Filters, moment};
use casemate_engine::{Failure, Result, clock};
use casemate_spec::wire::Tenant;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] =
    &[Route::new(Verb::Get, "/events", "system.events", Subject::Tenant, |call| Box::pin(events(call)))];

/// What can be filtered by.
const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Somebody who listens.
struct Listener {
    tenant: Tenant,
    filters: Filters,
    /// Of the past, the next one last.
    past: Vec<Event>,
    future: broadcast::Receiver<(Tenant, Event)>,
    until: Option<Instant>,
}

async fn events(call: Call) -> Result<Answer> {
    let filters = call.query.filters()?;
    filters.only(&FILTERS)?;
    let time = |name: &str| call.query.text(name).filter(|text| *text != "0").map(moment).transpose();
    let (since, until) = (time("since")?, time("until")?);
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err(Failure::invalid("`since` is later than `until`"));
    }
    let (kept, future) = call.engine.events.listen(&call.caller.tenant);
    let admitted = |event: &Event| {
        since.is_some_and(|since| event.time_nano >= since)
            && until.is_none_or(|until| event.time_nano <= until)
            && fits(&filters, event)
    };
    let past: Vec<Event> = kept.into_iter().rev().filter(admitted).collect();
    let left = until.map(|until| Duration::from_nanos(until.saturating_sub(clock::now())));
    let until = left.map(|left| Instant::now() + left.min(Duration::from_secs(365 * 86_400)));
    let listener = Listener { tenant: call.caller.tenant, filters, past, future, until };
    let lines = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((line(&event), listener))
    });
    Ok(Answer::stream("application/json", lines))
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop() {
            return Some(event);
        }
        loop {
            let received = match self.until {
                None => self.future.recv().await,
                Some(until) => tokio::select! {
                    received = self.future.recv() => received,
                    () = sleep_until(until) => return None,
                },
            };
            match received {
                Ok((tenant, event)) if tenant == self.tenant && fits(&self.filters, &event) => {
                    return Some(event);
                }
                // Who reads so slowly that events are lost learns it from the connection's end, not by silence.
                Err(RecvError::Closed | RecvError::Lagged(_)) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Every filter that is given has to fit by one of its values, labels by all.
fn fits(filters: &Filters, event: &Event) -> bool {
    let attributes = &event.actor.attributes;
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.values(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let named = |kind: &'static str| {
        any(kind, &|value: &str| {
            let name = attributes.get("name").map(String::as_str);
            event.kind == kind && (event.actor.id.starts_with(value) || name == Some(value))
        })
    };
    let image = any("image", &|value: &str| {
        let plain = |text: &str| text.rsplit_once(':').map_or(text.to_owned(), |(name, _)| name.to_owned());
        let attribute = if event.kind == "image" { "name" } else { "image" };
        let name = attributes.get(attribute).map(String::as_str).unwrap_or_default();
        event.actor.id == value || name == value || plain(name) == value
    });
    let action = any("event", &|value: &str| {
        // `exec_create` stands for `exec_create: sh`.
        let rest = event.action.strip_prefix(value);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    let elsewhere = ["config", "node", "plugin", "secret", "service"];
    ["container", "volume", "network", "daemon"].into_iter().all(named)
        && image
        && action
        && any("type", &|value: &str| event.kind == value)
        && any("scope", &|value: &str| event.scope == value)
        && elsewhere.into_iter().all(|kind| filters.values(kind).is_empty())
        && filters.labels(Some(attributes))
}

/// One line, with what clients read of older versions.
fn line(event: &Event) -> std::io::Result<Bytes> {
    let mut value = serde_json::to_value(event)?;
    if let Value::Object(fields) = &mut value
        && matches!(event.kind, "container" | "image")
    {
        fields.insert("status".to_owned(), event.action.clone().into());
        fields.insert("id".to_owned(), event.actor.id.clone().into());
        if let Some(image) = event.actor.attributes.get("image").filter(|_| event.kind == "container") {
            fields.insert("from".to_owned(), image.clone().into());
        }
    }
    let mut line = serde_json::to_vec(&value)?;
    line.push(b'\n');
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use casemate_engine::events::Actor;

    use super::*;

    fn event(kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let actor = Actor { id: id.to_owned(), attributes: attributes.collect() };
        Event { kind, action: action.to_owned(), actor, scope: "local", time: 1, time_nano: 1 }
    }

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.0.entry((*name).to_owned()).or_default().push((*value).to_owned());
        }
        filters
    }

    #[test]
    fn filters_are_dockers() {
        let started =
            event("container", "start", "abc123", &[("name", "web"), ("image", "busybox:1"), ("team", "a")]);
        for good in [
            &[][..],
            &[("container", "web")],
            &[("container", "abc")],
            &[("container", "other"), ("container", "web")],
            &[("image", "busybox")],
            &[("image", "busybox:1"), ("event", "start"), ("type", "container")],
            &[("label", "team=a"), ("label", "team")],
            &[("scope", "local")],
        ] {
            assert!(fits(&filters(good), &started), "{good:?}");
        }
        for bad in [
            &[("container", "we")][..],
            &[("image", "busybo")],
            &[("event", "star")],
            &[("type", "image")],
            &[("label", "team=a"), ("label", "other")],
            &[("volume", "web")],
            &[("node", "x")],
        ] {
            assert!(!fits(&filters(bad), &started), "{bad:?}");
        }
        let exec = event("container", "exec_create: sh -c true", "abc", &[]);
        assert!(fits(&filters(&[("event", "exec_create")]), &exec));
    }

    #[test]
    fn lines_have_what_older_clients_read() {
        let line = line(&event("container", "start", "abc", &[("image", "busybox")])).expect("a line");
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(
            (&value["status"], &value["id"], &value["from"]),
            (&"start".into(), &"abc".into(), &"busybox".into())
        );
        assert_eq!((&value["Actor"]["ID"], &value["scope"]), (&"abc".into(), &"local".into()));
        assert!(line.ends_with(b"\n"));
    }
}
