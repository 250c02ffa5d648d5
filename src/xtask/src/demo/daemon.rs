//! The daemon's half of the demo: `casemate up`, a container through the real docker client, what confines it, and what
//! another client may not do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Doing as _, Failure, Outcome};
use crate::{bundle, command, workspace};

const APPLETS: [&str; 15] = [
    "cat", "grep", "head", "hostname", "httpd", "id", "ls", "mount", "nc", "nslookup", "ps", "sh", "sleep",
    "touch", "unshare",
];
/// What the container's shell tells of itself.
const INSIDE: &str = "id; grep -E '^(CapEff|NoNewPrivs|Seccomp)' /proc/self/status; \
                      touch /etc/x 2>&1; mount -t tmpfs x /tmp 2>&1; unshare -U true 2>&1; true";

/// A server of one page.
const SERVE: &str = "echo a page of site > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";

/// A data root that is gone afterwards, with a daemon on a free port.
pub struct Up {
    programs: PathBuf,
    data: PathBuf,
    image: PathBuf,
    environment: Vec<(String, String)>,
}

impl Up {
    /// Starts everything.
    pub fn start(programs: &Path) -> Outcome<Self> {
        let folder = workspace::scratch("demo")?.join(format!("up-{}", std::process::id()));
        fs::create_dir(&folder).doing(folder.display())?;
        let image = folder.join("image.tar");
        let rootfs = bundle::root_filesystem(&folder, &APPLETS)?;
        command::output(Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&image).arg("."))?;
        let mut up =
            Self { programs: programs.to_owned(), data: folder.join("data"), image, environment: Vec::new() };
        println!("  $ eval \"$(casemate up --detach)\"");
        let mut command = up.casemate(&["up", "--detach", "--listen", "127.0.0.1:0", "--libexec"]);
        let said = command::output(command.arg(programs))?;
        for line in said.lines() {
            println!("  {}", line.replace(&folder.display().to_string(), "…"));
        }
        let exports = said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        up.environment = exports.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(up)
    }

    /// Shows what it does.
    pub fn show(&self) -> Outcome {
        let client = self.client();
        println!("\n  the client is {}", if client == "docker" { "the real docker CLI" } else { "casemate" });
        let image = self.image.display().to_string();
        self.ask(&self.certificates(), &[client, "import", &image, "demo"])?;
        let network = ["--network", "none"];
        self.ask(
            &self.certificates(),
            &[&[client, "run", "--rm"], &network[..], &["demo", "sh", "-c", INSIDE]].concat(),
        )?;
        self.ask(
            &self.certificates(),
            &[&[client, "run", "--detach", "--name", "web"], &network[..], &["demo", "sleep", "600"]]
                .concat(),
        )?;
        self.ask(&self.certificates(), &[client, "exec", "web", "ps"])?;
        self.ask(&self.certificates(), &[client, "ps"])?;
        self.networks(client)?;
        println!("\n  a client whose certificate says `viewer`");
        let viewer = self.data.join("viewer").display().to_string();
        let mut issue = self.casemate(&["pki", "issue", "eve", "--group", "viewer", "--out"]);
        command::output(issue.arg(&viewer))?;
        self.ask(&viewer, &[client, "ps"])?;
        self.refused(&viewer, &[client, "rm", "--force", "web"])?;
        self.refused("/nonexistent", &[client, "ps"])?;
        self.ask(&self.certificates(), &[client, "rm", "--force", "web"])?;
        println!();
        self.ours(&["audit", "log", "--tail", "6"])?;
        self.ours(&["audit", "verify"])
    }

    /// A published port, a name, and a container that may go nowhere.
    fn networks(&self, client: &str) -> Outcome {
        println!("\n  a network, a server on it, and who reaches it");
        let own = self.certificates();
        self.ask(&own, &[client, "network", "create", "backend"])?;
        let server =
            [client, "run", "--detach", "--network", "backend", "--name", "site", "--publish", "8080"];
        self.ask(&own, &[&server[..], &["demo", "sh", "-c", SERVE]].concat())?;
        let said = command::output(&mut self.as_client(&own, &[client, "port", "site", "8080/tcp"])?)?;
        let published = said.lines().next().unwrap_or_default();
        println!("  {published}");
        println!("  $ wget -qO- http://{published}/       # on the host");
        println!("  {}", fetch(published)?);
        let inside = [client, "run", "--rm", "--network", "backend"];
        self.ask(&own, &[&inside[..], &["demo", "nslookup", "-type=a", "site"]].concat())?;
        println!("\n  and one that may open no connection to anywhere outside");
        let label = ["--label", "io.casemate.egress=none"];
        self.refused(&own, &[&inside[..], &label, &["demo", "nc", "-w", "3", "192.0.2.1", "80"]].concat())?;
        self.ours(&["audit", "log", "--about", "egress", "--tail", "1"])?;
        self.ask(&own, &[client, "rm", "--force", "site"])?;
        self.ask(&own, &[client, "network", "rm", "backend"])
    }

    /// Stops everything and removes it.
    pub fn clear(self) -> Outcome {
        println!();
        self.ours(&["down"])?;
        let folder = self.data.parent().unwrap_or(&self.data);
        fs::remove_dir_all(folder).doing(folder.display())
    }

    fn client(&self) -> &'static str {
        if command::find("docker").is_some() { "docker" } else { "casemate" }
    }

    fn certificates(&self) -> String {
        let found = self.environment.iter().find(|(name, _)| name == "DOCKER_CERT_PATH");
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn casemate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("casemate"));
        command.arg("--data-root").arg(&self.data).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a client's command before the reader's eyes; it must succeed.
    fn ask(&self, certificates: &str, line: &[&str]) -> Outcome {
        let status = self.as_client(certificates, line)?.status().doing(line.join(" "))?;
        if status.success() { Ok(()) } else { Err(Failure::new(line.join(" "), status)) }
    }

    /// The same; it must fail.
    fn refused(&self, certificates: &str, line: &[&str]) -> Outcome {
        let status = self.as_client(certificates, line)?.status().doing(line.join(" "))?;
        if !status.success() { Ok(()) } else { Err(Failure::new(line.join(" "), "it was not refused")) }
    }

    fn as_client(&self, certificates: &str, line: &[&str]) -> Outcome<Command> {
        println!("  $ {}", line.join(" ").replace(&self.image.display().to_string(), "image.tar"));
        let (program, arguments) = line.split_first().ok_or_else(|| Failure::new("demo", "no command"))?;
        let mut command = match *program {
            "casemate" => Command::new(self.programs.join("casemate")),
            other => Command::new(other),
        };
        command.args(arguments).envs(self.environment.iter().cloned());
        command.env("DOCKER_CERT_PATH", certificates).env_remove("DOCKER_CONTEXT").stdin(Stdio::null());
        Ok(command)
    }

    /// Runs one of our own before the reader's eyes; it must succeed.
    fn ours(&self, arguments: &[&str]) -> Outcome {
        println!("  $ casemate {}", arguments.join(" "));
        let status = self.casemate(arguments).status().doing("casemate")?;
        if status.success() { Ok(()) } else { Err(Failure::new("casemate", status)) }
    }
}

/// The page at an address, by HTTP's oldest words; a server that was started just now is waited for.
fn fetch(address: &str) -> Outcome<String> {
    for _ in 0..50 {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok()
            && let Some((_, page)) = answer.split_once("\r\n\r\n")
        {
            return Ok(page.trim_end().to_owned());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Failure::new(address, "nobody answers"))
}
