//! The routes of the API: one table, one file a resource. A handler is called once the caller is known and
//! authorization has allowed the operation on its subject; what belongs to another tenant does not exist for it.

mod archive;
pub mod containers;
mod events;
mod exec;
mod images;
mod info;
mod lifecycle;
mod networks;
mod policy;
mod registry;
mod streams;
mod system;
mod unsupported;
mod usage;
mod volumes;

use std::pin::Pin;

use casemate_engine::Result;

use crate::answer::Answer;
use crate::call::Call;

/// What a handler comes to.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// The newest version of the API; the router knows the number alone.
pub const API_VERSION: &str = "1.51";
/// The oldest one.
pub const MIN_API_VERSION: &str = "1.24";

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: Verb,
    /// The path after the version: segments, `{name}` for one of any text, `{name*}` for one or more.
    pub path: &'static str,
    /// The operation, as authorization and the audit log name it: `container.create`.
    pub operation: &'static str,
    /// What the operation is about.
    pub subject: Subject,
    /// The handler.
    pub handler: fn(Call) -> Answering,
}

impl Route {
    /// A route.
    pub const fn new(
        method: Verb,
        path: &'static str,
        operation: &'static str,
        subject: Subject,
        handler: fn(Call) -> Answering,
    ) -> Self {
        Self { method, path, operation, subject, handler }
    }
}

/// The methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
}

/// What an operation is about; authorization loads its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The tenant as a whole: lists, prunes, `info`, events.
    Tenant,
    /// The container of the path's `{id}`.
    Container,
    /// A container that is to be: the body of `POST /containers/create`.
    NewContainer,
    /// The container of the exec of the path's `{id}`.
    Exec,
    /// The image of the path's `{name*}`.
    Image,
    /// An image that is to be pulled, imported or loaded: the query's `fromImage`.
    NewImage,
    /// The volume of the path's `{name}`.
    Volume,
    /// A volume that is to be: the body of `POST /volumes/create`.
    NewVolume,
    /// The network of the path's `{id}`.
    Network,
    /// Nothing of anybody's: ping and version.
    Nothing,
}

/// All routes.
pub fn table() -> Vec<Route> {
    [
        archive::ROUTES,
        containers::ROUTES,
        events::ROUTES,
        exec::ROUTES,
        images::ROUTES,
        lifecycle::ROUTES,
        info::ROUTES,
        networks::ROUTES,
        policy::ROUTES,
        registry::ROUTES,
        streams::ROUTES,
        system::ROUTES,
        unsupported::ROUTES,
        usage::ROUTES,
        volumes::ROUTES,
    ]
    .concat()
}

/// The processor, in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
