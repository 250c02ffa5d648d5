//! What a program needs beyond a policy: never more than one line, and never one it could do without.

/// One program's line under one policy.
#[derive(Debug)]
pub struct Relaxation {
    /// The program, as its case is named.
    pub program: &'static str,
    /// The policy that is extended.
    pub policy: &'static str,
    /// The one line.
    pub line: &'static str,
    /// Why the program needs it, for docs/compatibility.md.
    pub why: &'static str,
}

/// All there are. docs/compatibility.md shows the same table.
pub const RELAXED: &[Relaxation] = &[
    Relaxation {
        program: "nginx",
        policy: "hardened",
        line: r#"rootfs.tmpfs = ["...", "/var/lib/nginx"]"#,
        why: "Debian's nginx makes its buffers' directories in /var/lib/nginx at every start",
    },
    Relaxation {
        program: "compiler_in_tmp",
        policy: "hardened",
        line: "rootfs.tmpfs_exec = true",
        why: "a program built in /tmp is run there",
    },
    Relaxation {
        program: "package_manager",
        policy: "hardened",
        line: "rootfs.read_only = false",
        why: "installing a package writes to the root filesystem",
    },
];

impl Relaxation {
    /// That of a program under a policy, if it needs one.
    pub fn of(program: &str, policy: &str) -> Option<&'static Self> {
        RELAXED.iter().find(|entry| entry.program == program && entry.policy == policy)
    }

    /// The policy file.
    pub fn text(&self) -> String {
        format!("extends = \"{}\"\n{}\n", self.policy, self.line)
    }

    /// The policy's name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.policy, self.program)
    }

    /// The file it is in.
    pub fn file(&self) -> String {
        self.name() + ".toml"
    }
}
