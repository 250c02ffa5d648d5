//! Names of resource limits and of system calls.

use oci_spec::runtime::PosixRlimitType;

use super::list::Word;

/// A resource limit of getrlimit(2), by its number in the table of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rlimit(&'static str);

/// Names as a policy writes them.
const NAMES: [(&str, PosixRlimitType); 16] = [
    ("as", PosixRlimitType::RlimitAs),
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

impl Rlimit {
    /// The limit of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(known, _)| Self(known))
    }

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(name, _)| Self(name))
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.0
    }

    /// The OCI type; every name has one.
    pub(crate) fn oci(self) -> PosixRlimitType {
        NAMES.iter().find(|(name, _)| *name == self.0).map_or(PosixRlimitType::default(), |(_, typ)| *typ)
    }
}

/// A system call by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemCall(pub String);

impl AsRef<str> for SystemCall {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Word for SystemCall {
    fn read(text: &str) -> Result<Self, String> {
        match crate::seccomp::is_system_call(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("{text:?} is no system call")),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}
