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
    /// Opening a mount tree of the host's.
    Source,
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
    /// Go on: what is done from outside, such as writing the id maps, is done.
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

/// The tags of [`Record::Born`] and [`Record::Fault`]; every other record's is its place among these.
const BORN: u8 = 100;
const FAULT: u8 = 101;
const BARE: [Record; 8] = {
    use Record::{Go, Housed, Listener, Proceed, Ready, Release, Released, Start};
    [Go, Housed, Proceed, Ready, Release, Released, Start, Listener]
};

impl Record {
    /// As sent.
    pub fn encode(self) -> [u8; LEN] {
        let (tag, stage, index, value) = match self {
            Self::Born(pid) => (BORN, 0, 0, pid),
            Self::Fault(fault) => (FAULT, fault.stage as u8, fault.index, fault.errno),
            // A record that is in no list is refused by whoever reads it.
            bare => {
                (BARE.iter().zip(0..).find(|(known, _)| **known == bare).map_or(u8::MAX, |(_, n)| n), 0, 0, 0)
            }
        };
        let [i0, i1] = index.to_le_bytes();
        let [v0, v1, v2, v3] = value.to_le_bytes();
        [tag, stage, i0, i1, v0, v1, v2, v3]
    }

    /// `None` for anything that [`Record::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let &[tag, stage, i0, i1, v0, v1, v2, v3] = bytes else { return None };
        let value = i32::from_le_bytes([v0, v1, v2, v3]);
        match tag {
            BORN => Some(Self::Born(value)),
            FAULT => {
                let stage = *Stage::ALL.get(usize::from(stage))?;
                Some(Self::Fault(Fault { stage, index: u16::from_le_bytes([i0, i1]), errno: value }))
            }
            bare => BARE.get(usize::from(bare)).copied(),
        }
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
    fn every_other_record_survives_the_channel() {
        for record in BARE.into_iter().chain([Record::Born(7)]) {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[99; LEN]), None);
        assert_eq!(Record::decode(&[FAULT, 200, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Record::decode(&[2; LEN + 1]), None);
    }
}
