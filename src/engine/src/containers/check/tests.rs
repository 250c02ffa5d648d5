use proptest::prelude::*;

use super::*;
use crate::containers::Words;

fn host(change: impl FnOnce(&mut HostConfig)) -> Result<()> {
    let mut host_config = HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() };
    host_config.log_config.driver = "json-file".to_owned();
    change(&mut host_config);
    asked(&Config::default(), &host_config)
}

fn refused(change: impl FnOnce(&mut HostConfig)) -> String {
    host(change).expect_err("refused").message
}

fn config(change: impl FnOnce(&mut Config)) -> Result<()> {
    let mut config = Config::default();
    change(&mut config);
    let mut host_config = HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() };
    host_config.log_config.driver = "json-file".to_owned();
    asked(&config, &host_config)
}

#[test]
fn what_makes_no_sense_is_refused_in_dockers_words() {
    host(|_| {}).expect("nothing is asked");
    assert_eq!(
        refused(|c| {
            c.auto_remove = true;
            c.restart_policy.name = "always".to_owned();
        }),
        "can't create 'AutoRemove' container with restart policy"
    );
    assert_eq!(
        refused(|c| {
            c.restart_policy.name = "always".to_owned();
            c.restart_policy.maximum_retry_count = 3;
        }),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'"
    );
    assert!(
        refused(|c| c.restart_policy.name = "x".to_owned())
            .starts_with("invalid restart policy: unknown policy 'x'")
    );
    assert_eq!(
        refused(|c| {
            c.network_mode = "host".to_owned();
            c.links = Some(vec!["a:b".to_owned()]);
        }),
        "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
    );
    assert!(refused(|c| c.cgroup_parent = "/x".to_owned()).starts_with("cgroup-parent is not available"));
    assert!(refused(|c| c.isolation = "hyperv".to_owned()).starts_with("invalid isolation \"hyperv\""));
    assert!(refused(|c| c.volume_driver = "nfs".to_owned()).contains("plugin \"nfs\" not found"));
    assert_eq!(
        refused(|c| {
            c.network_mode = "host".to_owned();
            c.sysctls = Some([("net.core.somaxconn".to_owned(), "1".to_owned())].into());
        }),
        "sysctl \"net.core.somaxconn\" not allowed in host network namespace"
    );
    let size = |value: &str| Some([("size".to_owned(), value.to_owned())].into());
    assert!(host(|c| c.storage_opt = size("1G")).is_ok());
    assert!(host(|c| c.storage_opt = size("none")).is_err());
}

#[test]
fn processes_that_cannot_be_are_refused() {
    assert_eq!(
        config(|c| c.env = Some(vec!["=x".to_owned()])).expect_err("env").message,
        "invalid environment variable: =x"
    );
    assert!(config(|c| c.env = Some(vec!["A=\0".to_owned()])).is_err());
    assert!(config(|c| c.cmd = Some(Words(vec!["a\0b".to_owned()]))).is_err());
    assert_eq!(
        config(|c| c.working_dir = "srv".to_owned()).expect_err("directory").message,
        "the working directory 'srv' is invalid, it needs to be an absolute path"
    );
    assert_eq!(
        config(|c| c.stop_signal = "SIGX".to_owned()).expect_err("signal").message,
        "invalid signal: SIGX"
    );
    assert!(config(|c| c.hostname = "a\nb".to_owned()).is_err());
    assert!(config(|c| c.hostname = "a".repeat(65)).is_err());
    let health = |check: Healthcheck| config(|c| c.healthcheck = Some(check));
    let few = Healthcheck { interval: 10, ..Healthcheck::default() };
    assert_eq!(health(few).expect_err("interval").message, "Interval in Healthcheck cannot be less than 1ms");
    let fewer = Healthcheck { retries: -1, ..Healthcheck::default() };
    assert_eq!(health(fewer).expect_err("retries").message, "Retries in Healthcheck cannot be negative");
    let odd = Healthcheck { test: Some(Words(vec!["RUN".to_owned()])), ..Healthcheck::default() };
    assert!(health(odd).is_err());
}

#[test]
fn a_shared_network_excludes_an_own() {
    let shared = |change: fn(&mut Config, &mut HostConfig)| {
        let (mut config, mut host_config) = (Config::default(), HostConfig::default());
        host_config.network_mode = "container:web".to_owned();
        host_config.log_config.driver = "none".to_owned();
        change(&mut config, &mut host_config);
        asked(&config, &host_config).expect_err("conflict").message
    };
    assert_eq!(
        shared(|c, _| c.hostname = "a".to_owned()),
        "conflicting options: hostname and the network mode"
    );
    assert_eq!(
        shared(|_, h| h.dns = Some(vec!["1.1.1.1".to_owned()])),
        "conflicting options: dns and the network mode"
    );
    assert_eq!(
        shared(|_, h| h.publish_all_ports = true),
        "conflicting options: port publishing and the container type network mode"
    );
}

#[test]
fn null_is_nothing_and_what_is_unknown_is_left_out() {
    let nulls = r#"{ "Binds": null, "Memory": null, "LogConfig": null, "Devices": null, "ConsoleSize": null,
        "PidsLimit": null, "MaskedPaths": null, "New": { "a": [1] }, "PortBindings": { "80/tcp": null } }"#;
    let read: HostConfig = serde_json::from_str(nulls).expect("read");
    assert_eq!(read.port_bindings.expect("ports")["80/tcp"], None);
    let words: Config =
        serde_json::from_str(r#"{ "Cmd": "ls -l", "Entrypoint": ["a", null] }"#).expect("read");
    assert_eq!(words.command(), ["a", "", "ls -l"]);
    for bad in [
        r#"{ "Memory": "1g" }"#,
        r#"{ "Memory": 1.5 }"#,
        r#"{ "Memory": 99999999999999999999 }"#,
        r#"{ "BlkioWeight": -1 }"#,
        r#"{ "Binds": "a" }"#,
        r#"{ "Binds": [1] }"#,
        r#"{ "Privileged": "yes" }"#,
        r#"{ "Ulimits": [{ "Name": 3 }] }"#,
        "3",
    ] {
        assert!(serde_json::from_str::<HostConfig>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in ".{0,40}", number: i64) {
        let list = Some(vec![text.clone()]);
        let host_config = HostConfig {
            cap_add: list.clone(), security_opt: list.clone(), extra_hosts: list.clone(), dns: list.clone(),
            device_cgroup_rules: list.clone(), cpuset_cpus: text.clone(), pid_mode: text.clone(),
            network_mode: format!("container:{text}"), memory: number, nano_cpus: number, shm_size: number,
            ..HostConfig::default()
        };
        let config = Config {
            env: list.clone(), working_dir: text.clone(), hostname: text.clone(), stop_signal: text,
            ..Config::default()
        };
        drop(asked(&config, &host_config));
        drop(asked(&config, &HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() }));
    }
}
