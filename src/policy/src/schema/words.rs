//! The words of a policy: what stands in its lists, read and written back.

use oci_spec::runtime::{Capability, LinuxDeviceType, LinuxNamespaceType};

use super::list::Word;

impl Word for Capability {
    fn read(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("CAP_").unwrap_or_default();
        name.parse().map_err(|_unknown| format!("{text:?} is no capability: they are written as CAP_CHOWN"))
    }

    fn text(&self) -> String {
        format!("CAP_{self}")
    }
}

/// The kinds a container may have of its own, by the names of the OCI specification.
const KINDS: [(&str, LinuxNamespaceType); 7] = [
    ("pid", LinuxNamespaceType::Pid),
    ("network", LinuxNamespaceType::Network),
    ("ipc", LinuxNamespaceType::Ipc),
    ("uts", LinuxNamespaceType::Uts),
    ("mount", LinuxNamespaceType::Mount),
    ("cgroup", LinuxNamespaceType::Cgroup),
    ("time", LinuxNamespaceType::Time),
];

impl Word for LinuxNamespaceType {
    fn read(text: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        found.ok_or_else(|| {
            let known = KINDS.map(|(name, _)| name).join(", ");
            format!("{text:?} is no namespace of these: {known}")
        })
    }

    fn text(&self) -> String {
        KINDS.iter().find(|(_, kind)| kind == self).map_or("user", |(name, _)| *name).to_owned()
    }
}

/// A path of the container or of the host: absolute, without `.`, `..` or doubled slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AbsolutePath(pub String);

impl Word for AbsolutePath {
    fn read(text: &str) -> Result<Self, String> {
        match is_plain(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("{text:?} is not an absolute path without . and ..")),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Whether `path` is `top` or lies beneath it; both plain and absolute.
pub(crate) fn is_beneath(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_plain(path: &str) -> bool {
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(sound))
}

/// A place on the host: itself, or with `/**` behind it all that lies beneath as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub path: String,
    pub beneath: bool,
}

impl Place {
    /// Whether `path` is here.
    pub(crate) fn holds(&self, path: &str) -> bool {
        if self.beneath { is_beneath(path, &self.path) } else { path == self.path }
    }

    /// Whether all of `other` is here.
    pub(crate) fn holds_all(&self, other: &Self) -> bool {
        self.holds(&other.path) && (self.beneath || !other.beneath)
    }
}

impl Word for Place {
    fn read(text: &str) -> Result<Self, String> {
        let (path, beneath) = text.strip_suffix("/**").map_or((text, false), |path| (path, true));
        let path = if path.is_empty() && beneath { "/" } else { path };
        AbsolutePath::read(path).map(|AbsolutePath(path)| Self { path, beneath })
    }

    fn text(&self) -> String {
        match (self.beneath, self.path.as_str()) {
            (true, "/") => "/**".to_owned(),
            (true, path) => format!("{path}/**"),
            (false, path) => path.to_owned(),
        }
    }
}

/// A type of file system, as proc(5) lists them under `filesystems`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FsType(pub String);

impl Word for FsType {
    fn read(text: &str) -> Result<Self, String> {
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        match !text.is_empty() && text.chars().all(sound) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("{text:?} is no type of a file system")),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Kernel parameters: one, or with `*` at the end all that begin alike. Kept as a path beneath `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub path: String,
    pub open: bool,
}

impl Parameters {
    /// Whether all of `other` are among these.
    pub(crate) fn hold_all(&self, other: &Self) -> bool {
        if self.open { other.path.starts_with(&self.path) } else { self == other }
    }

    /// Whether the parameter at `path` is one of these.
    pub(crate) fn hold(&self, path: &str) -> bool {
        if self.open { path.starts_with(&self.path) } else { path == self.path }
    }
}

impl Word for Parameters {
    fn read(text: &str) -> Result<Self, String> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let whole = format!("{name}{}", if open && name.ends_with(['.', '/']) { "x" } else { "" });
        let path = casemate_spec::sysctl_path(&whole)
            .ok_or_else(|| format!("{text:?} is no kernel parameter such as net.core.somaxconn or net.*"))?;
        let path = if whole == name { path } else { path.trim_end_matches('x').to_owned() };
        Ok(Self { path, open })
    }

    fn text(&self) -> String {
        // With slashes where a part holds a dot (net/ipv4/conf/eth0.100).
        let dotted = if self.path.contains('.') { self.path.clone() } else { self.path.replace('/', ".") };
        format!("{dotted}{}", if self.open { "*" } else { "" })
    }
}

/// A device by number, or all of a major number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub block: bool,
    pub major: u32,
    pub minor: Option<u32>,
}

/// Names for numbers of Documentation/admin-guide/devices.txt.
const DEVICES: [(&str, Device); 14] = [
    ("/dev/null", Device::char(1, Some(3))),
    ("/dev/zero", Device::char(1, Some(5))),
    ("/dev/full", Device::char(1, Some(7))),
    ("/dev/random", Device::char(1, Some(8))),
    ("/dev/urandom", Device::char(1, Some(9))),
    ("/dev/tty", Device::char(5, Some(0))),
    ("/dev/console", Device::char(5, Some(1))),
    ("/dev/ptmx", Device::char(5, Some(2))),
    ("/dev/pts", Device::char(136, None)),
    ("/dev/fuse", Device::char(10, Some(229))),
    ("/dev/net/tun", Device::char(10, Some(200))),
    ("/dev/kvm", Device::char(10, Some(232))),
    ("/dev/dri", Device::char(226, None)),
    ("/dev/snd", Device::char(116, None)),
];

impl Device {
    const fn char(major: u32, minor: Option<u32>) -> Self {
        Self { block: false, major, minor }
    }

    /// Whether `other` is this one, or one of these.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        self.block == other.block
            && self.major == other.major
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// The device as a configuration has it: none stands for any, and so does a negative number.
    pub(crate) fn of(kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>) -> Option<Self> {
        let block = match kind {
            LinuxDeviceType::B => true,
            LinuxDeviceType::C | LinuxDeviceType::U => false,
            LinuxDeviceType::A | LinuxDeviceType::P => return None,
        };
        let major = u32::try_from(major?).ok()?;
        let minor = minor.filter(|minor| *minor >= 0).map(u32::try_from).transpose().ok()?;
        Some(Self { block, major, minor })
    }

    /// The well-known device at `path`.
    pub(crate) fn known(path: &str) -> Option<Self> {
        DEVICES.iter().find(|(name, _)| *name == path).map(|(_, device)| *device)
    }
}

impl Word for Device {
    fn read(text: &str) -> Result<Self, String> {
        if let Some(known) = Self::known(text) {
            return Ok(known);
        }
        let wrong = || {
            let known = DEVICES.map(|(name, _)| name).join(", ");
            format!("{text:?} is no device by number, such as \"c 10:229\" or \"b 8:*\", and none of {known}")
        };
        let (kind, numbers) = text.split_once(' ').ok_or_else(wrong)?;
        let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_not_a_number| wrong());
        let minor = if minor == "*" { None } else { Some(number(minor)?) };
        match kind {
            "c" | "b" => Ok(Self { block: kind == "b", major: number(major)?, minor }),
            _ => Err(wrong()),
        }
    }

    fn text(&self) -> String {
        if let Some((name, _)) = DEVICES.iter().find(|(_, device)| device == self) {
            return (*name).to_owned();
        }
        let kind = if self.block { 'b' } else { 'c' };
        let minor = self.minor.map_or("*".to_owned(), |minor| minor.to_string());
        format!("{kind} {}:{minor}", self.major)
    }
}
