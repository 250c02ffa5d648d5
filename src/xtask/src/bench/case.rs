//! What is measured.

use std::path::{Path, PathBuf};

/// Whether the container has a seccomp filter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Profile {
    /// No filter.
    None,
    /// Moby's default profile.
    Docker,
}

impl Profile {
    /// The bundle that runs `program` with this profile.
    pub fn bundle(self, folder: &Path, program: &str) -> PathBuf {
        let name = if self == Self::None { "plain" } else { "docker" };
        folder.join(format!("{name}-{program}"))
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Case {
    /// Three calls, each timed from spawn to exit; the wait for the container's own end between them is not counted.
    Lifecycle(Profile),
    /// `run` of a program that ends at once.
    Run(Profile),
    /// `exec` of such a program into a running container.
    Exec(Profile),
    /// A hundred containers, eight at a time, until the last one runs.
    Parallel,
    /// The most memory `create` and what it waits for ever held.
    Peak(Profile),
    /// The size of the program file.
    Size,
}

impl Case {
    /// In the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Lifecycle(Profile::None),
        Self::Run(Profile::None),
        Self::Exec(Profile::None),
        Self::Lifecycle(Profile::Docker),
        Self::Run(Profile::Docker),
        Self::Exec(Profile::Docker),
        Self::Parallel,
        Self::Peak(Profile::None),
        Self::Peak(Profile::Docker),
        Self::Size,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifecycle(Profile::None) => "create+start+delete",
            Self::Lifecycle(Profile::Docker) => "create+start+delete, seccomp",
            Self::Run(Profile::None) => "run",
            Self::Run(Profile::Docker) => "run, seccomp",
            Self::Exec(Profile::None) => "exec",
            Self::Exec(Profile::Docker) => "exec, seccomp",
            Self::Parallel => "100 containers, 8 at a time",
            Self::Peak(Profile::None) => "peak memory of create",
            Self::Peak(Profile::Docker) => "peak memory of create, seccomp",
            Self::Size => "binary size",
        }
    }

    /// The unit of its samples.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Peak(_) | Self::Size => "KiB",
            _ => "ms",
        }
    }

    /// Whether one of the words is in its name; no words mean every case.
    pub fn is_among(self, words: &[String]) -> bool {
        words.is_empty() || words.iter().any(|word| self.name().contains(word.as_str()))
    }

    /// Slow or steady cases are not repeated in every round.
    pub fn is_due(self, round: usize, rounds: usize) -> bool {
        match self {
            Self::Size => round == 0,
            Self::Peak(_) => round.is_multiple_of(rounds.div_ceil(5)),
            Self::Parallel => round.is_multiple_of(rounds.div_ceil(3)),
            _ => true,
        }
    }
}
