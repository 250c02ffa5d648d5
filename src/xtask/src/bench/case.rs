//! What is measured.

use std::path::{Path, PathBuf};

/// What the container is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Profile {
    /// No filter.
    None,
    /// Moby's default profile.
    Docker,
    /// The same, and a writable root that is an overlay, made ready by the caller: what dockerd asks for.
    Overlay,
}

impl Profile {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::None, Self::Docker, Self::Overlay];

    /// The bundle that runs `program` with this profile. Each contender has its own: an overlay can be written to by
    /// one container at a time.
    pub fn bundle(self, folder: &Path, contender: &str, program: &str) -> PathBuf {
        let name = match self {
            Self::None => "plain",
            Self::Docker => "docker",
            Self::Overlay => "overlay",
        };
        folder.join(contender).join(format!("{name}-{program}"))
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
    pub const ALL: [Self; 13] = [
        Self::Lifecycle(Profile::None),
        Self::Run(Profile::None),
        Self::Exec(Profile::None),
        Self::Lifecycle(Profile::Docker),
        Self::Run(Profile::Docker),
        Self::Exec(Profile::Docker),
        Self::Lifecycle(Profile::Overlay),
        Self::Run(Profile::Overlay),
        Self::Exec(Profile::Overlay),
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
            Self::Lifecycle(Profile::Overlay) => "create+start+delete, seccomp and overlay",
            Self::Run(Profile::None) => "run",
            Self::Run(Profile::Docker) => "run, seccomp",
            Self::Run(Profile::Overlay) => "run, seccomp and overlay",
            Self::Exec(Profile::None) => "exec",
            Self::Exec(Profile::Docker) => "exec, seccomp",
            Self::Exec(Profile::Overlay) => "exec, seccomp and overlay",
            Self::Parallel => "100 containers, 8 at a time",
            Self::Peak(Profile::None) => "peak memory of create",
            Self::Peak(Profile::Docker | Profile::Overlay) => "peak memory of create, seccomp",
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

    /// Whether it tells what a policy costs: the rest says the same of each.
    pub fn is_of_policies(self) -> bool {
        matches!(self, Self::Lifecycle(_) | Self::Run(_) | Self::Exec(_))
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
