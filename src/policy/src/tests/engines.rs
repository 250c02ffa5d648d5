//! Configurations as Docker, Podman and containerd wrote them (20.10, 4.3 and 1.6), paths made plain; those of a
//! Kubernetes pod are composed after what containerd's CRI plugin asks for.

use super::*;

macro_rules! texts {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../testdata/", $name, ".json")))),*] };
}

pub(super) const TEXTS: &[(&str, &str)] = texts![
    "docker",
    "docker-it",
    "docker-privileged",
    "docker-host",
    "docker-volumes",
    "docker-socket",
    "docker-limits",
    "docker-device",
    "docker-unconfined",
    "docker-cgroupns",
    "podman",
    "podman-nohosts",
    "podman-systemd",
    "podman-userns",
    "podman-hostnet",
    "podman-privileged",
    "ctr",
    "ctr-hostnet",
    "ctr-privileged",
    "ctr-mount",
    "kubernetes",
    "kubernetes-pause",
];

pub(super) fn text(name: &str) -> &'static str {
    TEXTS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Under which policies each runs, the laxest first. What is absent from a list is denied.
#[rustfmt::skip]
const RUN: &[(&str, &[&str])] = &[
    ("docker", &["oci", "baseline", "hardened", "strict"]),
    ("docker-it", &["oci", "baseline", "hardened", "strict"]),
    ("docker-privileged", &["oci"]),
    ("docker-host", &["oci"]),
    ("docker-volumes", &["oci", "baseline"]),
    ("docker-socket", &["oci"]),
    ("docker-limits", &["oci", "baseline", "hardened"]),
    ("docker-device", &["oci", "baseline"]),
    ("docker-unconfined", &["oci", "baseline", "hardened", "strict"]),
    ("docker-cgroupns", &["oci", "baseline", "hardened", "strict"]),
    ("podman", &["oci", "baseline", "hardened", "strict"]),
    ("podman-nohosts", &["oci", "baseline", "hardened", "strict"]),
    ("podman-systemd", &["oci", "baseline"]),
    ("podman-userns", &["oci", "baseline", "hardened", "strict"]),
    ("podman-hostnet", &["oci", "baseline"]),
    ("podman-privileged", &["oci"]),
    ("ctr", &["oci", "baseline", "hardened", "strict"]),
    ("ctr-hostnet", &["oci", "baseline"]),
    ("ctr-privileged", &["oci"]),
    ("ctr-mount", &["oci", "baseline", "hardened", "strict"]),
    ("kubernetes", &["oci", "baseline", "hardened", "strict"]),
    ("kubernetes-pause", &["oci", "baseline", "hardened", "strict"]),
];

#[test]
fn each_runs_where_it_should() {
    for (name, text) in TEXTS {
        let config = casemate_spec::parse(text.as_bytes()).unwrap();
        let policies = RUN.iter().find(|(known, _)| known == name).unwrap().1;
        for policy_name in ["oci", "baseline", "hardened", "strict"] {
            let judged = judge(config.clone(), &policy(policy_name), &host());
            let expected = policies.contains(&policy_name);
            assert_eq!(judged.is_ok(), expected, "{name} under {policy_name}: {:#?}", judged.err());
        }
    }
}
