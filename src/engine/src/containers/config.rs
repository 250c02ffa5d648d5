//! What is asked of a container as such (`Config` of the API): what runs in it, and as whom.

use std::collections::BTreeMap;

use super::shape::{Member, Words, document, zero};

document! {
    /// `ContainerConfig`. At create the image's is merged into it, as Docker shows it in inspect.
    Config {
        /// In its UTS namespace; empty is the id's first twelve digits.
        hostname: String,
        /// In its UTS namespace.
        domainname: String,
        /// `user[:group]`, names or numbers.
        user: String,
        /// The client attaches its standard input.
        attach_stdin: bool,
        /// The client attaches its standard output.
        attach_stdout: bool,
        /// The client attaches its standard error.
        attach_stderr: bool,
        /// `port/protocol`; what it listens on, for people and for publishing.
        #[serde(skip_serializing_if = "Option::is_none")]
        exposed_ports: Option<BTreeMap<String, Member>>,
        /// A pseudo-terminal.
        tty: bool,
        /// The standard input is open.
        open_stdin: bool,
        /// It is closed when the first client has closed it.
        stdin_once: bool,
        /// `NAME=value`; `NAME` alone takes the image's away.
        env: Option<Vec<String>>,
        /// Arguments, or the command where there is no entrypoint.
        cmd: Option<Words>,
        /// How to tell whether it is well.
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<Healthcheck>,
        /// Windows alone.
        #[serde(skip_serializing_if = "zero")]
        args_escaped: bool,
        /// The image, as asked for.
        image: String,
        /// Directories that become anonymous volumes.
        volumes: Option<BTreeMap<String, Member>>,
        /// Where it starts.
        working_dir: String,
        /// The command before the arguments.
        entrypoint: Option<Words>,
        /// No network at all.
        #[serde(skip_serializing_if = "zero")]
        network_disabled: bool,
        /// Of its network device.
        #[serde(skip_serializing_if = "zero")]
        mac_address: String,
        /// For images built on it.
        on_build: Option<Vec<String>>,
        /// For people and programs.
        labels: Option<BTreeMap<String, String>>,
        /// What asks it to end.
        #[serde(skip_serializing_if = "zero")]
        stop_signal: String,
        /// Seconds until it is made to.
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_timeout: Option<i64>,
        /// For commands given as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        shell: Option<Words>,
    }
}

document! {
    /// `HealthConfig`; times in nanoseconds, 0 is the default.
    Healthcheck {
        /// Nothing (the image's), `NONE`, `CMD …` or `CMD-SHELL text`.
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<Words>,
        /// Between probes; 30 s.
        #[serde(skip_serializing_if = "zero")]
        interval: i64,
        /// The longest probe; 30 s.
        #[serde(skip_serializing_if = "zero")]
        timeout: i64,
        /// Failures do not count so long.
        #[serde(skip_serializing_if = "zero")]
        start_period: i64,
        /// Between probes meanwhile; 5 s.
        #[serde(skip_serializing_if = "zero")]
        start_interval: i64,
        /// Failures in a row that make it unhealthy; 3.
        #[serde(skip_serializing_if = "zero")]
        retries: i64,
    }
}

impl Healthcheck {
    /// The probe's kind and words, unless there is none.
    pub fn probe(&self) -> Option<&[String]> {
        let words = &self.test.as_ref()?.0;
        (words.first().is_some_and(|kind| kind != "NONE")).then_some(words)
    }
}

impl Config {
    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        let words = |part: &Option<Words>| part.as_ref().map_or(&[][..], |words| &words.0[..]).to_vec();
        [words(&self.entrypoint), words(&self.cmd)].concat()
    }

    /// The labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone().unwrap_or_default()
    }
}
