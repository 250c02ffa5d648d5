//! What parent and child say to each other: records of a fixed size, decoded without trust.

use rustix::io::Errno;

macro_rules! stages {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// Where in its life the child is, or what it was doing when it failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Stage {
            $($(#[$meta])* $name,)*
        }

        impl Stage {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

stages! {
    /// Being born: parent-death signal, session, id maps.
    Birth,
    /// Entering control groups.
    Cgroup,
    /// Joining a namespace.
    Join,
    /// Making a cgroup or time namespace.
    Unshare,
    /// Housing.
    House,
    /// A `createContainer` hook.
    CreateHook,
    /// Entering the root.
    Enter,
    /// Furnishing.
    Furnish,
    /// Taking the terminal and the standard streams.
    Terminal,
    /// A resource limit.
    Limit,
    /// Scheduling, I/O priority, CPU affinity.
    Schedule,
    /// The memory policy.
    Memory,
    /// The execution domain.
    Personality,
    /// The session keyring.
    Keyring,
    /// The security label.
    Label,
    /// User, groups.
    Identity,
    /// Capabilities.
    Capabilities,
    /// The working directory.
    Chdir,
    /// no_new_privs.
    NoNewPrivs,
    /// Waiting to be started.
    Wait,
    /// A `startContainer` hook.
    StartHook,
    /// The Landlock domain.
    Landlock,
    /// The system call filters.
    Seal,
    /// The program: looking it up, or running it.
    Exec,
}

impl Stage {
    /// A failure here.
    pub fn fault(self, errno: Errno) -> Fault {
        Fault { stage: self, index: 0, errno: errno.raw_os_error() }
    }

    /// A failure at the step of this index.
    pub fn fault_at(self, index: usize, errno: Errno) -> Fault {
        Fault { stage: self, index: u16::try_from(index).unwrap_or(u16::MAX), errno: errno.raw_os_error() }
    }
}

/// What failed, and the kernel's reason. The words are the plan's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What was being done.
    pub stage: Stage,
    /// The step's place in the plan.
    pub index: u16,
    /// errno(3); 0 when the kernel gave none.
    pub errno: i32,
}

/// A record on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A relay gave birth to this pid (in the parent's pid namespace).
    Born(i32),
    /// Go on: the id maps are written.
    Go,
    /// Housing is done, hooks may run.
    Housed,
    /// Hooks have run.
    Proceed,
    /// Set up; waiting to be started.
    Ready,
    /// The parent is about to leave; wait for `start` on the listening socket.
    Release,
    /// It may leave.
    Released,
    /// Run the program now.
    Start,
    /// The filter's listener comes with this record.
    Listener,
    /// Something failed; the child ends.
    Fault(Fault),
}

/// Bytes of a record.
pub const LEN: usize = 8;

impl Record {
    /// As sent.
    pub fn encode(self) -> [u8; LEN] {
        let (tag, stage, index, value) = match self {
            Self::Born(pid) => (1, 0, 0, pid),
            Self::Go => (2, 0, 0, 0),
            Self::Housed => (3, 0, 0, 0),
            Self::Proceed => (4, 0, 0, 0),
            Self::Ready => (5, 0, 0, 0),
            Self::Release => (6, 0, 0, 0),
            Self::Released => (7, 0, 0, 0),
            Self::Start => (8, 0, 0, 0),
            Self::Listener => (9, 0, 0, 0),
            Self::Fault(fault) => (10, fault.stage as u8, fault.index, fault.errno),
        };
        let [i0, i1] = index.to_le_bytes();
        let [v0, v1, v2, v3] = value.to_le_bytes();
        [tag, stage, i0, i1, v0, v1, v2, v3]
    }

    /// `None` for anything that [`Record::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let &[tag, stage, i0, i1, v0, v1, v2, v3] = bytes else { return None };
        let value = i32::from_le_bytes([v0, v1, v2, v3]);
        Some(match tag {
            1 => Self::Born(value),
            2 => Self::Go,
            3 => Self::Housed,
            4 => Self::Proceed,
            5 => Self::Ready,
            6 => Self::Release,
            7 => Self::Released,
            8 => Self::Start,
            9 => Self::Listener,
            10 => {
                let stage = *Stage::ALL.get(usize::from(stage))?;
                Self::Fault(Fault { stage, index: u16::from_le_bytes([i0, i1]), errno: value })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_survives_the_channel() {
        for stage in Stage::ALL.iter().copied() {
            let record = Record::Fault(stage.fault_at(513, Errno::ACCESS));
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[0; LEN]), None);
        assert_eq!(Record::decode(&[10, 200, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Record::decode(&[2; LEN + 1]), None);
    }
}
