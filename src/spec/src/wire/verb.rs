//! The closed table: each verb, when it is accepted, and the descriptors that must come with it.

use super::{Ask, HexId, Task};

/// What a descriptor must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Bytes to be had: a file, a pipe, a socket, /dev/null.
    Source,
    /// A place for bytes: the same.
    Sink,
    /// A pipe to write to.
    Pipe,
}

/// Where a container has to be for a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing is asked of a container.
    Any,
    /// The container's place must exist, and nothing run in it.
    Still,
    /// Its first process runs, and is not frozen.
    Running,
    /// Its first process runs, frozen or not.
    Alive,
    /// Its first process has run.
    Started,
}

/// One verb.
#[derive(Debug)]
pub struct Verb {
    /// For the audit log.
    pub name: &'static str,
    /// Whether it changes something, and so is audited.
    pub audited: bool,
    /// When it is accepted.
    pub when: When,
    /// What goes along.
    pub wants: &'static [Wants],
}

impl Ask {
    /// Its row in the table.
    pub fn verb(&self) -> Verb {
        use Wants::{Pipe, Sink, Source};
        let row = |name, audited, when, wants| Verb { name, audited, when, wants };
        match self {
            Ask::Hello { .. } => row("hello", false, When::Any, &[]),
            Ask::List => row("list", false, When::Any, &[]),
            Ask::Unpack { .. } => row("layer.unpack", true, When::Any, &[Source, Pipe]),
            Ask::KeepLayer { .. } => row("layer.keep", true, When::Any, &[]),
            Ask::DropLayer { .. } => row("layer.drop", true, When::Any, &[]),
            Ask::DropStaging { .. } => row("staging.drop", false, When::Any, &[]),
            Ask::MakeContainer { .. } => row("container.make", true, When::Any, &[]),
            Ask::RemoveContainer { .. } => row("container.remove", true, When::Any, &[]),
            Ask::Check { .. } => row("container.check", false, When::Any, &[]),
            Ask::Start { .. } => row("container.start", true, When::Still, &[]),
            Ask::Exec { .. } => row("container.exec", true, When::Running, &[]),
            Ask::Connect { .. } => row("container.connect", false, When::Alive, &[]),
            Ask::Signal { .. } => row("container.signal", true, When::Alive, &[]),
            Ask::Pause { .. } => row("container.pause", true, When::Running, &[]),
            Ask::Resume { .. } => row("container.resume", true, When::Alive, &[]),
            Ask::Update { .. } => row("container.update", true, When::Alive, &[]),
            Ask::Release { .. } => row("container.release", true, When::Started, &[]),
            Ask::Stats { .. } => row("container.stats", false, When::Alive, &[Pipe]),
            Ask::Processes { .. } => row("container.processes", false, When::Alive, &[Pipe]),
            Ask::Help { task: Task::CopyIn { .. }, .. } => {
                row("files.copy-in", true, When::Any, &[Source, Pipe])
            }
            Ask::Help { task: Task::CopyUp { .. }, .. } => {
                row("files.copy-up", true, When::Any, &[Source, Pipe])
            }
            Ask::Help { .. } => row("files.read", false, When::Any, &[Sink, Pipe]),
            Ask::MakeVolume { .. } => row("volume.make", true, When::Any, &[]),
            Ask::RemoveVolume { .. } => row("volume.remove", true, When::Any, &[]),
            Ask::Limit { .. } => row("tenant.limit", true, When::Any, &[]),
            Ask::MakeNetwork { .. } => row("network.make", true, When::Any, &[]),
            Ask::DropNetwork { .. } => row("network.drop", true, When::Any, &[]),
            Ask::ConnectNetworks { .. } => row("network.connect", true, When::Alive, &[]),
            Ask::DisconnectNetworks { .. } => row("network.disconnect", true, When::Alive, &[]),
            Ask::Admit { .. } => row("network.admit", true, When::Alive, &[]),
            Ask::Resolver => row("resolver", false, When::Any, &[]),
            Ask::Denials => row("denials", false, When::Any, &[]),
            Ask::Audit(_) => row("audit", false, When::Any, &[]),
            Ask::Farewell { .. } => row("farewell", true, When::Any, &[]),
        }
    }

    /// The container that it is about.
    pub fn container(&self) -> Option<&HexId> {
        match self {
            Ask::Start { id, .. }
            | Ask::Exec { id, .. }
            | Ask::Connect { id, .. }
            | Ask::Signal { id, .. } => Some(id),
            Ask::Pause { id } | Ask::Resume { id } | Ask::Update { id, .. } | Ask::Release { id } => Some(id),
            Ask::Stats { id, .. } | Ask::Processes { id, .. } | Ask::RemoveContainer { id } => Some(id),
            Ask::MakeContainer { id, .. } | Ask::Check { id, .. } => Some(id),
            Ask::ConnectNetworks { id, .. } | Ask::DisconnectNetworks { id, .. } | Ask::Admit { id, .. } => {
                Some(id)
            }
            _ => None,
        }
    }

    /// What the audit log is told of it beside its verb.
    pub fn about(&self) -> Vec<(&'static str, String)> {
        let mut about: Vec<(&'static str, String)> = Vec::new();
        about.extend(self.container().map(|id| ("id", id.to_string())));
        match self {
            Ask::Start { container, .. } => {
                about.push(("tenant", container.tenant.to_string()));
                about.extend(container.policy.as_ref().map(|policy| ("policy", policy.to_string())));
            }
            Ask::Exec { exec, .. } => about.push(("exec", exec.to_string())),
            Ask::Signal { exec, signal, .. } => {
                about.extend(exec.as_ref().map(|exec| ("exec", exec.to_string())));
                about.push(("signal", signal.to_string()));
            }
            Ask::MakeContainer { tenant, .. } | Ask::Limit { tenant, .. } => {
                about.push(("tenant", tenant.to_string()))
            }
            Ask::KeepLayer { layer, .. } | Ask::DropLayer { layer } => {
                about.push(("layer", layer.to_string()))
            }
            Ask::Unpack { staging } => about.push(("staging", staging.to_string())),
            Ask::MakeVolume { volume, .. } | Ask::RemoveVolume { volume } => {
                about.push(("volume", volume.to_string()))
            }
            Ask::MakeNetwork { network } => {
                about.push(("network", network.id.to_string()));
                about.push(("tenant", network.tenant.to_string()));
            }
            Ask::DropNetwork { network } => about.push(("network", network.to_string())),
            _ => {}
        }
        about
    }
}
