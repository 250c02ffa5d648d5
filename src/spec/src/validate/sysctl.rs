//! Kernel parameters: only those that a namespace of the container's own holds.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{Findings, Spaces, shown};

/// The file of a kernel parameter, relative to `/proc/sys`; none when `key` names no file beneath it.
///
/// Both spellings of `sysctl(8)`: with dots between the parts, where a slash stands for a dot in a part
/// (`net.ipv4.conf.eth0/100.forwarding`), and with slashes between them. The first separator decides.
pub fn sysctl_path(key: &str) -> Option<String> {
    let separator = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    let path = match separator {
        Some(".") => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    };
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    path.split('/').all(sound).then_some(path)
}

fn swap(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

pub(super) fn check(linux: &Linux, spaces: &Spaces<'_>, findings: &mut Findings) {
    let mut keys: Vec<&String> = linux.sysctl().iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    for key in keys {
        let field = format!("linux.sysctl[{}]", shown(key));
        match sysctl_path(key).map(|path| home(&path)) {
            None => findings.add("oci/sysctl", field, "a name beneath /proc/sys", shown(key)),
            Some(Home::Host) => {
                findings.add(
                    "oci/sysctl",
                    field,
                    "a parameter that a namespace holds",
                    "one of the whole host",
                );
            }
            Some(Home::Hostname) => {
                findings.add(
                    "oci/sysctl",
                    field,
                    "no parameter that the configuration has a field for",
                    shown(key),
                );
                findings.remedy("set hostname instead");
            }
            Some(Home::Namespace(kind)) if !spaces.is_private(kind) => {
                let allowed = format!("a {} namespace of the container's own", name(kind));
                findings.add("oci/sysctl", field, allowed, "the host's");
            }
            Some(Home::Namespace(_)) => {}
        }
    }
}

/// Who holds a parameter.
enum Home {
    Namespace(LinuxNamespaceType),
    Hostname,
    Host,
}

fn home(path: &str) -> Home {
    const OF_IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    match path {
        "kernel/hostname" => Home::Hostname,
        "kernel/domainname" => Home::Namespace(LinuxNamespaceType::Uts),
        path if OF_IPC.contains(&path) || path.starts_with("fs/mqueue/") => {
            Home::Namespace(LinuxNamespaceType::Ipc)
        }
        path if path.starts_with("net/") => Home::Namespace(LinuxNamespaceType::Network),
        _ => Home::Host,
    }
}

/// Messages use the words of the manual pages, not the types' short ones.
fn name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Ipc => "IPC",
        _ => "UTS",
    }
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn both_spellings_name_one_file() {
        let vlan = Some("net/ipv4/conf/eth0.100/forwarding".to_owned());
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/100.forwarding"), vlan);
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.100/forwarding"), vlan);
        assert_eq!(sysctl_path("kernel.msgmax").as_deref(), Some("kernel/msgmax"));
    }

    #[test]
    fn nothing_leads_out_of_proc_sys() {
        for bad in
            ["", ".", "..", "/etc/passwd", "net/../kernel/panic", "net.//.kernel", "net.", "net..a", "a\n"]
        {
            assert_eq!(sysctl_path(bad), None, "{bad:?}");
        }
    }
}
