//! Device nodes and the links of `/dev`.

use std::path::Path;

use casemate_core::plan::{Device, House, Link, Node, Source};
use casemate_spec::mount::MountOptions;
use casemate_spec::{Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::fs::FileType;

use super::text::{c_string, place};
use super::{Building, plain_source};

/// What every container has (OCI runtime specification, "Default Devices"), by path, major and minor number.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
];

/// Links of `/dev` ("Dev symbolic links"), and the container's own terminal multiplexer.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

impl Building {
    pub(super) fn devices(&mut self, spec: &Spec, bind: bool) -> Result<()> {
        if brings_dev(spec) {
            return Ok(());
        }
        let listed: Vec<&LinuxDevice> =
            spec.linux().as_ref().and_then(|linux| linux.devices().as_ref()).into_iter().flatten().collect();
        for (path, major, minor) in DEFAULT {
            if !listed.iter().any(|device| device.path() == Path::new(path)) {
                let device = Device {
                    at: place(path)?,
                    node: Node::Character,
                    number: (major, minor),
                    mode: 0o666,
                    owner: (0, 0),
                    bind: None,
                };
                self.device(device, path, bind)?;
            }
        }
        for (index, device) in listed.into_iter().enumerate() {
            let path = device.path().to_string_lossy();
            let device =
                of(device).map_err(|error| error.within(format!("config.json: linux.devices[{index}]")))?;
            self.device(device, &path, bind)?;
        }
        for (path, target) in LINKS {
            self.link(path, target, false)?;
        }
        if Path::new("/proc/kcore").exists() {
            self.link("/dev/core", "/proc/kcore", false)?;
        }
        // A multiplexer of the image's would hand out the host's terminals.
        self.link("/dev/ptmx", "pts/ptmx", true)
    }

    fn device(&mut self, mut device: Device, path: &str, bind: bool) -> Result<()> {
        if bind {
            // Replaced by a link to the container's own in any case.
            if path == "/dev/ptmx" {
                return Ok(());
            }
            let node = host_node(&device, path)?;
            device.bind = Some(self.source(Source { path: c_string(&node)?, ..plain_source() }));
        }
        self.house.push(House::Device(device));
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str, replace: bool) -> Result<()> {
        self.house.push(House::Link(Link { at: place(path)?, target: c_string(target)?, replace }));
        Ok(())
    }
}

/// A `/dev` that is bound from elsewhere is complete.
fn brings_dev(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|mount| {
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let bind = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
        bind && mount.destination().components().eq(Path::new("/dev").components())
    })
}

/// The host's node that is this very device: what lies at the same path may be another.
fn host_node(device: &Device, path: &str) -> Result<String> {
    let (major, minor) = device.number;
    if is_node(device, path) || device.node == Node::Fifo {
        return Ok(path.to_owned());
    }
    let kind = if device.node == Node::Block { "block" } else { "char" };
    // sysfs says how the kernel calls it (Documentation/ABI/testing/sysfs-dev).
    let facts =
        std::fs::read_to_string(format!("/sys/dev/{kind}/{major}:{minor}/uevent")).unwrap_or_default();
    let named =
        facts.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| format!("/dev/{name}"));
    named.filter(|node| is_node(device, node)).ok_or_else(|| {
        Error::new(
            format!("device {path}"),
            format!("the host has no node for {kind} device {major}:{minor}"),
        )
        .hint("in a user namespace a node cannot be made, only the host's can be bound")
    })
}

fn is_node(device: &Device, path: &str) -> bool {
    let wanted = match device.node {
        Node::Character => FileType::CharacterDevice,
        Node::Block => FileType::BlockDevice,
        Node::Fifo => FileType::Fifo,
    };
    rustix::fs::stat(path).is_ok_and(|stat| {
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        FileType::from_raw_mode(stat.st_mode) == wanted && number == device.number
    })
}

fn of(device: &LinuxDevice) -> Result<Device> {
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_range| Error::new(name, format!("{value} is no device number")))
    };
    let node = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => Node::Character,
        LinuxDeviceType::B => Node::Block,
        LinuxDeviceType::P => Node::Fifo,
        LinuxDeviceType::A => return Err(Error::new("type", "a stands for all devices and is no device")),
    };
    Ok(Device {
        at: place(&device.path().to_string_lossy())?,
        node,
        number: (number("major", device.major())?, number("minor", device.minor())?),
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
        bind: None,
    })
}
