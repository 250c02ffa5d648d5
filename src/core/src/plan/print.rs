//! Plans in words: a line a step, in the order in which they are done.

use std::fmt;

use super::{At, Enter, From, Furnish, Groups, House, Node, Plan, Process};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for space in &self.spaces.new {
            writeln!(f, "born     new {space} namespace")?;
        }
        for (space, path) in &self.spaces.join {
            writeln!(f, "born     join {space} namespace {}", path.to_string_lossy())?;
        }
        if let Some(maps) = &self.spaces.maps {
            for map in &maps.uids {
                writeln!(f, "born     map uids {map}")?;
            }
            for map in &maps.gids {
                writeln!(f, "born     map gids {map}")?;
            }
        }
        if self.adopted {
            writeln!(f, "born     wait for systemd to make the control groups")?;
        }
        for offset in &self.spaces.time_offsets {
            writeln!(f, "born     time offset {}", offset.to_string_lossy())?;
        }
        for step in &self.house {
            writeln!(f, "housed   {step}")?;
        }
        if self.pause_for_hooks {
            writeln!(f, "housed   wait for prestart and createRuntime hooks")?;
        }
        for hook in &self.create_hooks {
            writeln!(f, "housed   run createContainer hook {hook}")?;
        }
        writeln!(f, "pivoted  {}", self.enter)?;
        for step in &self.furnish {
            writeln!(f, "pivoted  {step}")?;
        }
        write!(f, "{}", self.process)?;
        for hook in &self.start_hooks {
            writeln!(f, "waiting  run startContainer hook {hook}")?;
        }
        seal(f, &self.process)
    }
}

fn seal(f: &mut fmt::Formatter<'_>, process: &Process) -> fmt::Result {
    if let Some(filter) = &process.filter {
        let how = if filter.listen { ", some calls notify" } else { "" };
        writeln!(f, "sealed   seccomp filter of {} instructions{how}", filter.program.len())?;
    }
    write!(f, "sealed   execve")?;
    for argument in &process.program.argv {
        write!(f, " {:?}", argument.to_string_lossy())?;
    }
    writeln!(f)
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |text: String| writeln!(f, "stripped {text}");
        if self.terminal.is_some() {
            line("controlling terminal on standard streams".to_owned())?;
        }
        if self.keyring.is_some() {
            line("new session keyring".to_owned())?;
        }
        for limit in &self.limits {
            line(format!("limit {limit}"))?;
        }
        if let Some(attr) = &self.scheduler {
            line(format!("scheduling policy {} nice {} priority {}", attr.policy, attr.nice, attr.priority))?;
        }
        if let Some(io) = &self.io_priority {
            line(format!("I/O priority class {} level {}", io.class, io.priority))?;
        }
        if let Some(policy) = &self.memory_policy {
            line(format!("memory policy mode {:#x} nodes {:x?}", policy.mode, policy.nodes))?;
        }
        if let Some(domain) = self.personality {
            line(format!("personality {domain:#x}"))?;
        }
        if let Some(label) = &self.label {
            line(format!("label {}", label.text.to_string_lossy()))?;
        }
        let groups = match &self.identity.groups {
            Groups::Set(groups) => format!("groups {groups:?}"),
            Groups::Keep => "groups kept".to_owned(),
        };
        line(format!("user {} group {} {groups}", self.identity.uid, self.identity.gid))?;
        let caps = &self.capabilities;
        line(format!(
            "capabilities bounding {:#x} effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}",
            caps.bounding, caps.effective, caps.permitted, caps.inheritable, caps.ambient
        ))?;
        line(format!("directory {}", self.cwd.to_string_lossy()))?;
        if self.no_new_privs {
            line("no new privileges".to_owned())?;
        }
        Ok(())
    }
}

impl fmt::Display for Enter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pivot => "pivot into the root, detach the old one",
            Self::Move => "move the root over / and chroot into it",
            Self::Chroot(_root) => "chroot into the root",
            Self::Stay => "stay in the joined mount namespace's root",
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { write!(f, "/{}", self.path().to_string_lossy()) }
    }
}

impl fmt::Display for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { path } => write!(f, "attach root {}", path.to_string_lossy()),
            Self::Mount(mount) => {
                let verb = match mount.from {
                    From::Tree(_) => "bind",
                    From::New { .. } => "mount",
                    From::Existing => "remount",
                };
                write!(f, "{verb} {} at {}", mount.shown, mount.at)
            }
            Self::Device(device) => {
                let (major, minor) = device.number;
                let kind = match device.node {
                    Node::Character => "c",
                    Node::Block => "b",
                    Node::Fifo => "p",
                };
                let how = if device.bind.is_some() { "bind device" } else { "make device" };
                write!(f, "{how} {} {kind} {major}:{minor} mode {:o}", device.at, device.mode)
            }
            Self::Link(link) => write!(f, "link {} to {}", link.at, link.target.to_string_lossy()),
            Self::Console(at) => write!(f, "open a pseudo-terminal, bind it at {at}"),
            Self::Directory(at) => write!(f, "directory {at}"),
            Self::NetDevice { name, inside } => write!(f, "network device {name} as {inside}"),
        }
    }
}

impl fmt::Display for Furnish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => write!(f, "sethostname {}", name.to_string_lossy()),
            Self::Domainname(name) => write!(f, "setdomainname {}", name.to_string_lossy()),
            Self::Sysctl { path, value } => {
                write!(f, "write /proc/{} = {}", path.to_string_lossy(), value.to_string_lossy())
            }
            Self::ReadonlyPath(at) => write!(f, "read-only {at}"),
            Self::MaskedPath(at) => write!(f, "mask {at}"),
            Self::Propagation(flags, recursive) => {
                write!(f, "root propagation {flags:#x}{}", if *recursive { " recursive" } else { "" })
            }
            Self::ReadonlyRoot => f.write_str("read-only root"),
        }
    }
}
