//! Plans and their failures in words: a line a step, in the order in which they are done. The core itself says little:
//! its child reports a place in the plan and a number.

use std::fmt;

use super::Planned;
use casemate_core::plan::{Enter, From, Furnish, Groups, House, Landlock, Node, Plan, Process};
use casemate_core::report::{Fault, Stage};

/// Something of the core's in words.
#[derive(Debug)]
pub struct Words<'a, T>(pub &'a T);

impl fmt::Display for Words<'_, Planned> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.0.given.iter().flat_map(|given| &given.overlays).map(|(_, layers)| layers);
        for layers in self.0.layers.iter().chain(given) {
            for layer in &layers.lowers {
                writeln!(f, "placed   id-mapped layer {}", layer.to_string_lossy())?;
            }
            if let Some(upper) = &layers.upper {
                let (base, layer) = (upper.base.to_string_lossy(), upper.upper.to_string_lossy());
                writeln!(f, "placed   id-mapped upper layer {base}/{layer}")?;
            }
        }
        for (_, bound) in self.0.given.iter().flat_map(|given| &given.binds) {
            writeln!(f, "placed   id-mapped volume {}", bound.path.display())?;
        }
        write!(f, "{}", Words(&self.0.plan))
    }
}

impl fmt::Display for Words<'_, Plan> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for space in &self.0.spaces.new {
            writeln!(f, "born     new {space} namespace")?;
        }
        for (space, path) in &self.0.spaces.join {
            writeln!(f, "born     join {space} namespace {}", path.to_string_lossy())?;
        }
        if let Some(maps) = &self.0.spaces.maps {
            for (kind, maps) in [("uids", &maps.uids), ("gids", &maps.gids)] {
                for map in maps {
                    writeln!(f, "born     map {kind} {} {} {}", map.inside, map.outside, map.count)?;
                }
            }
        }
        if self.0.adopted {
            writeln!(f, "born     wait for systemd to make the control groups")?;
        }
        for offset in &self.0.spaces.time_offsets {
            writeln!(f, "born     time offset {}", offset.to_string_lossy())?;
        }
        for step in &self.0.house {
            writeln!(f, "housed   {}", Words(step))?;
        }
        if self.0.pause_for_hooks {
            writeln!(f, "housed   wait for prestart and createRuntime hooks")?;
        }
        for hook in &self.0.create_hooks {
            writeln!(f, "housed   run createContainer hook {hook}")?;
        }
        writeln!(f, "pivoted  {}", Words(&self.0.enter))?;
        for step in &self.0.furnish {
            writeln!(f, "pivoted  {}", Words(step))?;
        }
        write!(f, "{}", Words(&self.0.process))?;
        for hook in &self.0.start_hooks {
            writeln!(f, "waiting  run startContainer hook {hook}")?;
        }
        seal(f, &self.0.process)
    }
}

fn seal(f: &mut fmt::Formatter<'_>, process: &Process) -> fmt::Result {
    if let Some(landlock) = &process.landlock {
        writeln!(f, "sealed   {}", Words(landlock))?;
    }
    for filter in &process.filters {
        let how = if filter.listen { ", some calls notify" } else { "" };
        writeln!(f, "sealed   seccomp filter of {} instructions{how}", filter.program.len())?;
    }
    write!(f, "sealed   execve")?;
    for argument in &process.program.argv {
        write!(f, " {:?}", argument.to_string_lossy())?;
    }
    writeln!(f)
}

impl fmt::Display for Words<'_, Process> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |text: String| writeln!(f, "stripped {text}");
        if self.0.terminal.is_some() {
            line("controlling terminal on standard streams".to_owned())?;
        }
        if self.0.keyring.is_some() {
            line("new session keyring".to_owned())?;
        }
        for limit in &self.0.limits {
            line(format!("limit {limit}"))?;
        }
        if let Some(attr) = &self.0.scheduler {
            line(format!("scheduling policy {} nice {} priority {}", attr.policy, attr.nice, attr.priority))?;
        }
        if let Some(io) = &self.0.io_priority {
            line(format!("I/O priority class {} level {}", io.class, io.priority))?;
        }
        if let Some(policy) = &self.0.memory_policy {
            line(format!("memory policy mode {:#x} nodes {:x?}", policy.mode, policy.nodes))?;
        }
        if let Some(domain) = self.0.personality {
            line(format!("personality {domain:#x}"))?;
        }
        if let Some(label) = &self.0.label {
            line(format!("label {}", label.text.to_string_lossy()))?;
        }
        let groups = match &self.0.identity.groups {
            Groups::Set(groups) => format!("groups {groups:?}"),
            Groups::Keep => "groups kept".to_owned(),
        };
        line(format!("user {} group {} {groups}", self.0.identity.uid, self.0.identity.gid))?;
        let caps = &self.0.capabilities;
        line(format!(
            "capabilities bounding {:#x} effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}",
            caps.bounding, caps.effective, caps.permitted, caps.inheritable, caps.ambient
        ))?;
        line(format!("directory {}", self.0.cwd.to_string_lossy()))?;
        if self.0.no_new_privs {
            line("no new privileges".to_owned())?;
        }
        Ok(())
    }
}

impl fmt::Display for Words<'_, Enter> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Enter::Pivot => "pivot into the root, detach the old one",
            Enter::Move => "move the root over / and chroot into it",
            Enter::Chroot(_root) => "chroot into the root",
            Enter::Stay => "stay in the joined mount namespace's root",
        })
    }
}

impl fmt::Display for Words<'_, House> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            House::Root { path } => write!(f, "attach root {}", path.to_string_lossy()),
            House::Mount(mount) => {
                let verb = match mount.from {
                    From::Tree(_) => "bind",
                    From::New { .. } => "mount",
                    From::Existing => "remount",
                };
                write!(f, "{verb} {} at {}", mount.shown, mount.at)
            }
            House::Device(device) => {
                let (major, minor) = device.number;
                let kind = match device.node {
                    Node::Character => "c",
                    Node::Block => "b",
                    Node::Fifo => "p",
                };
                let how = if device.bind.is_some() { "bind device" } else { "make device" };
                write!(f, "{how} {} {kind} {major}:{minor} mode {:o}", device.at, device.mode)
            }
            House::Link(link) => write!(f, "link {} to {}", link.at, link.target.to_string_lossy()),
            House::Console(at) => write!(f, "open a pseudo-terminal, bind it at {at}"),
            House::Directory(at) => write!(f, "directory {at}"),
            House::NetDevice { name, inside } => write!(f, "network device {name} as {inside}"),
        }
    }
}

impl fmt::Display for Words<'_, Furnish> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Furnish::Hostname(name) => write!(f, "sethostname {}", name.to_string_lossy()),
            Furnish::Domainname(name) => write!(f, "setdomainname {}", name.to_string_lossy()),
            Furnish::Sysctl { path, value } => {
                write!(f, "write /proc/{} = {}", path.to_string_lossy(), value.to_string_lossy())
            }
            Furnish::ReadonlyPath(at) => write!(f, "read-only {at}"),
            Furnish::MaskedPath(at) => write!(f, "mask {at}"),
            Furnish::Propagation(flags, recursive) => {
                write!(f, "root propagation {flags:#x}{}", if *recursive { " recursive" } else { "" })
            }
            Furnish::ReadonlyRoot => f.write_str("read-only root"),
        }
    }
}

impl fmt::Display for Words<'_, Stage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Stage::Birth => "become a process of its own",
            Stage::Cgroup => "enter control groups",
            Stage::Join => "join namespace",
            Stage::Unshare => "make cgroup or time namespace",
            Stage::Source => "open mount source",
            Stage::House => "set up the root filesystem",
            Stage::CreateHook => "run createContainer hook",
            Stage::Enter => "enter the root filesystem",
            Stage::Furnish => "finish the root filesystem",
            Stage::Terminal => "set up the terminal",
            Stage::Limit => "set resource limit",
            Stage::Schedule => "set scheduling",
            Stage::Memory => "set memory policy",
            Stage::Personality => "set personality",
            Stage::Keyring => "make session keyring",
            Stage::Label => "set security label",
            Stage::Identity => "set user and groups",
            Stage::Capabilities => "set capabilities",
            Stage::Chdir => "enter the working directory",
            Stage::NoNewPrivs => "set no_new_privs",
            Stage::Wait => "wait for start",
            Stage::StartHook => "run startContainer hook",
            Stage::Landlock => "enter the Landlock domain",
            Stage::Seal => "load the seccomp filter",
            Stage::Exec => "exec",
        })
    }
}

/// What the step was that failed, in words: the child reports only its place.
pub fn describe(plan: &Plan, fault: &Fault) -> String {
    let index = usize::from(fault.index);
    let listed = match fault.stage {
        Stage::Source => plan.sources.get(index).map(|source| match &source.instance {
            Some(kind) => format!("mount {}", kind.to_string_lossy()),
            None => format!("open mount source {}", source.path.to_string_lossy()),
        }),
        Stage::House => plan.house.get(index).map(|step| Words(step).to_string()),
        Stage::CreateHook => plan.create_hooks.get(index).map(|hook| format!("createContainer hook {hook}")),
        Stage::Furnish => plan.furnish.get(index).map(|step| Words(step).to_string()),
        Stage::StartHook => plan.start_hooks.get(index).map(|hook| format!("startContainer hook {hook}")),
        Stage::Join => plan
            .spaces
            .join
            .get(index)
            .map(|(space, path)| format!("join {space} namespace {}", path.to_string_lossy())),
        Stage::Limit => plan.process.limits.get(index).map(|limit| format!("set {limit}")),
        Stage::Exec => Some(format!("exec: \"{}\"", plan.process.program.shown)),
        Stage::Chdir => Some(format!(
            "chdir to cwd (\"{}\") set in config.json failed",
            plan.process.cwd.to_string_lossy()
        )),
        _ => None,
    };
    listed.unwrap_or_else(|| Words(&fault.stage).to_string())
}

impl fmt::Display for Words<'_, Landlock> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.0;
        write!(f, "landlock ABI {}: write beneath", plan.abi)?;
        for at in &plan.writable {
            write!(f, " {at}")?;
        }
        if plan.write_xor_execute {
            write!(f, ", execute elsewhere only")?;
        }
        for (what, ports) in [("bind", &plan.bind), ("connect", &plan.connect)] {
            if let Some(ports) = ports {
                write!(f, ", {what} TCP {ports:?}")?;
            }
        }
        if plan.scope_abstract_sockets {
            write!(f, ", no abstract sockets outside")?;
        }
        if plan.scope_signals {
            write!(f, ", no signals outside")?;
        }
        Ok(())
    }
}
