//! From a request to the work: the checks that every verb passes, then one call for each.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use casemate_spec::wire::{
    Answer, Ask, Audited, HexId, Limits, Refusal, RefusalKind, Request, Tenant, VERSION, When,
};
use serde_json::json;

use crate::audit::Entry;
use crate::broker::{Asker, Broker, Parked, refused};
use crate::containers::Stage;
use crate::packet::in_memory;
use crate::refusal::{refuse, unknown};
use crate::verbs;

/// So many questions may be unanswered.
const UNANSWERED: usize = 256;

impl Broker {
    /// Takes a request. Nothing has happened when it is refused here.
    pub(crate) fn request(&mut self, message: &[u8], descriptors: Vec<OwnedFd>) {
        let Some(link) = &mut self.link else { return };
        link.unanswered += 1;
        let (epoch, greeted, unanswered) = (link.epoch, link.greeted, link.unanswered);
        let asker = |number| Asker { epoch, number, verb: "request", audited: true, about: Vec::new() };
        let Request { number, ask } = match verbs::read(message) {
            Ok(request) => request,
            Err((number, refusal)) => return self.answer_done(&asker(number), Err(refusal)),
        };
        let verb = ask.verb();
        let asker = Asker { verb: verb.name, audited: verb.audited, about: ask.about(), ..asker(number) };
        let refusal = |kind, text: &str| Err(refuse(kind, text));
        let admitted = match &ask {
            Ask::Hello { .. } if greeted => refusal(RefusalKind::Invalid, "it was said already"),
            Ask::Hello { .. } => Ok(()),
            _ if !greeted => refusal(RefusalKind::Invalid, "hello comes first"),
            _ if unanswered > UNANSWERED => refusal(RefusalKind::Failed, "too many questions at once"),
            _ => verbs::check_descriptors(verb.wants, &descriptors),
        };
        match admitted {
            Ok(()) => self.admit(ask, descriptors, &asker),
            Err(refusal) => self.answer_done(&asker, Err(refusal)),
        }
    }

    /// Does what is asked, when the state of things admits it.
    pub(crate) fn admit(&mut self, ask: Ask, descriptors: Vec<OwnedFd>, asker: &Asker) {
        if let Some(id) = self.must_wait(&ask) {
            return self.parked.push(Parked { id, asker: asker.clone(), ask, descriptors });
        }
        let admitted = self.admits(&ask, ask.verb().when);
        match admitted.and_then(|()| self.perform(ask, descriptors, asker)) {
            Ok(Some(answer)) => self.answer(asker, Ok(answer)),
            Ok(None) => {}
            Err(refusal) => self.answer_done(asker, Err(refusal)),
        }
    }

    fn admits(&self, ask: &Ask, when: When) -> Result<(), Refusal> {
        if when == When::Any {
            return Ok(());
        }
        let id = ask.container().ok_or_else(|| refuse(RefusalKind::Invalid, "no container is named"))?;
        self.containers.get(id).ok_or_else(|| unknown(id))?.admits(when)
    }

    #[allow(clippy::too_many_lines, reason = "the closed table: a row for each verb")]
    fn perform(
        &mut self,
        ask: Ask,
        descriptors: Vec<OwnedFd>,
        asker: &Asker,
    ) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
        let done = |result: Result<(), Refusal>| result.map(|()| Some((Answer::Done, Vec::new())));
        match ask {
            Ask::Hello { version } => self.hello(version).map(Some),
            Ask::List => {
                self.list().map(|stored| Some((Answer::Stored(stored), Vec::new()))).map_err(refused)
            }
            Ask::Unpack { staging } => later(self.unpack(asker, staging, descriptors)),
            Ask::KeepLayer { staging, layer } => done(self.keep_layer(&staging, &layer)),
            Ask::DropLayer { layer } => done(self.drop_layer(&layer)),
            Ask::DropStaging { staging } => done(self.drop_staging(&staging)),
            Ask::MakeContainer { id, tenant, layers, quota } => {
                done(self.make_container(&id, tenant, layers, quota))
            }
            Ask::RemoveContainer { id } => done(self.remove_container(&id)),
            Ask::Check { id, container } => later(self.check(asker, &id, &container)),
            Ask::Start { id, container, streams, files } => {
                later(self.start(asker, &id, *container, streams, &files))
            }
            Ask::Exec { id, exec, process, privileged, streams } => {
                later(self.exec(asker, &id, &exec, *process, privileged, streams))
            }
            Ask::Connect { id, exec } => {
                self.connection(&id, exec.as_ref()).map(|fd| Some((Answer::Connected, vec![fd])))
            }
            Ask::Signal { id, exec: Some(exec), signal, .. } => done(self.signal_exec(&id, &exec, signal)),
            Ask::Signal { id, exec: None, signal, all } => {
                self.kill(asker, &id, &signal.to_string(), all);
                Ok(None)
            }
            Ask::Pause { id } => self.freeze(asker, id, true),
            Ask::Resume { id } => self.freeze(asker, id, false),
            Ask::Update { id, resources } => {
                let document = serde_json::to_vec(&resources).unwrap_or_default();
                self.told(asker, &["update", "--resources", "-", id.as_str()], &document)
            }
            Ask::Release { id } => later(self.release(asker, &id)),
            Ask::Stats { id, every } => {
                let interval = every.map(|seconds| format!("{seconds}s"));
                let words = match &interval {
                    Some(interval) => vec!["events", "--interval", interval, id.as_str()],
                    None => vec!["events", "--stats", id.as_str()],
                };
                self.printed(asker, &words, descriptors)
            }
            Ask::Processes { id, options } => {
                let words = ["ps", id.as_str()].into_iter().chain(options.iter().map(String::as_str));
                let words: Vec<&str> = words.collect();
                self.printed(asker, &words, descriptors)
            }
            Ask::Help { view, task } => later(self.help(asker, view, task, descriptors)),
            Ask::MakeVolume { volume, tenant } => done(self.make_volume(&volume, &tenant)),
            Ask::RemoveVolume { volume } => done(self.remove_volume(&volume)),
            Ask::Limit { tenant, limits } => self.limit(asker, &tenant, &limits),
            Ask::MakeNetwork { .. }
            | Ask::DropNetwork { .. }
            | Ask::ConnectNetworks { .. }
            | Ask::DisconnectNetworks { .. }
            | Ask::Admit { .. } => later(self.perform_network(ask, asker)),
            Ask::Resolver => self.resolver_channel().map(Some),
            Ask::Denials => later(self.denials(asker)),
            Ask::Audit(said) => done(self.audit.write(&said_entry(&said)).map_err(refused)),
            Ask::Farewell { .. } => {
                self.daemon.farewell();
                done(Ok(()))
            }
        }
    }

    /// The verbs about networks.
    fn perform_network(&mut self, ask: Ask, asker: &Asker) -> Result<(), Refusal> {
        match ask {
            Ask::MakeNetwork { network } => self.make_network(asker, network),
            Ask::DropNetwork { network } => self.drop_network(asker, &network),
            Ask::ConnectNetworks { id, endpoints } => self.connect_networks(asker, &id, endpoints),
            Ask::DisconnectNetworks { id, endpoints } => self.disconnect_networks(asker, &id, &endpoints),
            Ask::Admit { id, allowed, seconds } => self.admit_egress(asker, &id, allowed, seconds),
            _ => Err(refuse(RefusalKind::Invalid, "this is about no network")),
        }
    }

    fn hello(&mut self, version: u32) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        if version != VERSION {
            let text =
                format!("version {version} is spoken there, {VERSION} here: install both from one build");
            return Err(refuse(RefusalKind::Unsupported, text));
        }
        let sockets = self.listeners.iter().map(|listener| listener.try_clone().map(OwnedFd::from));
        let sockets = sockets.collect::<Result<Vec<_>, _>>();
        let sockets = sockets.map_err(|error| refuse(RefusalKind::Failed, error.to_string()))?;
        let host = casemate_spec::wire::Host { space: crate::host::space(&self.places), ..self.host.clone() };
        let running = self.adopted();
        if let Some(link) = &mut self.link {
            link.greeted = true;
        }
        Ok((Answer::Hello { host, running }, sockets))
    }

    fn kill(&mut self, asker: &Asker, id: &HexId, signal: &str, all: bool) {
        let words = ["kill", "--all", id.as_str(), signal].into_iter().filter(|word| all || *word != "--all");
        let command = self.runtime(&words.collect::<Vec<_>>());
        self.run_for(asker.clone(), command, |_| {});
    }

    /// A command that reads a document.
    fn told(
        &mut self,
        asker: &Asker,
        words: &[&str],
        document: &[u8],
    ) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
        let mut command = self.runtime(words);
        command.stdin(in_memory("document", document).map_err(refused)?);
        self.run_for(asker.clone(), command, |_| {});
        Ok(None)
    }

    /// A command that writes to the daemon's pipe; answered when it has ended.
    fn printed(
        &mut self,
        asker: &Asker,
        words: &[&str],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
        let mut command = self.runtime(words);
        command.stdout(descriptors.into_iter().next().map_or_else(Stdio::null, Stdio::from));
        let asker = asker.clone();
        // Statistics go on for as long as somebody reads them.
        let patience = std::time::Duration::from_secs(365 * 86_400);
        self.run(command, crate::child::Listen::Errors, patience, move |broker, ended| {
            let done = if ended.code == 0 { Ok(()) } else { Err(ended.refusal()) };
            broker.answer_done(&asker, done);
        });
        Ok(None)
    }

    fn freeze(
        &mut self,
        asker: &Asker,
        id: HexId,
        freeze: bool,
    ) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
        let word = if freeze { "pause" } else { "resume" };
        let command = self.runtime(&[word, id.as_str()]);
        self.run_for(asker.clone(), command, move |broker| {
            if let Some(Stage::Running(process)) =
                broker.containers.get_mut(&id).map(|found| &mut found.stage)
            {
                process.kept.paused = freeze;
                let kept = process.kept.clone();
                broker.keep(&id, None, &kept);
            }
        });
        Ok(None)
    }

    fn limit(
        &mut self,
        asker: &Asker,
        tenant: &Tenant,
        limits: &Limits,
    ) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
        if self.host.rootless {
            return Err(refuse(RefusalKind::Unsupported, "quotas of a tenant need control groups, and root"));
        }
        // A thousandth of a processor is a hundred microseconds of the usual period.
        let cpu = limits.cpu.map(|cpu| json!({ "quota": cpu.saturating_mul(100), "period": 100_000 }));
        let memory = limits.memory.map(|bytes| json!({ "limit": bytes, "swap": bytes }));
        let pids = limits.pids.map(|count| json!({ "limit": count }));
        let mut document = serde_json::Map::new();
        for (name, value) in [("cpu", cpu), ("memory", memory), ("pids", pids)] {
            document.extend(value.map(|value| (name.to_owned(), value)));
        }
        self.tenants.insert(tenant.to_string());
        let path = format!("/casemate-{}/{tenant}", self.places.instance);
        let document = serde_json::to_vec(&document).unwrap_or_default();
        self.told(asker, &["cgroup", "set", &path, "--resources", "-"], &document)
    }
}

fn later(result: Result<(), Refusal>) -> Result<Option<(Answer, Vec<OwnedFd>)>, Refusal> {
    result.map(|()| None)
}

fn said_entry(said: &Audited) -> Entry {
    Entry::new("daemon.said")
        .text("who", &said.who)
        .text("tenant", &said.tenant)
        .text("action", &said.action)
        .text("object", &said.object)
        .text("verdict", &said.verdict)
        .text("reason", &said.reason)
}
