//! Whether what is asked makes sense, whatever the policy: in Docker's words, before anything is made.

use super::{Config, Healthcheck, HostConfig, capabilities, devices, limits, log, modes, security, texts};
use crate::{Failure, Result};

/// The shortest time that a health check may be given, in nanoseconds.
const MILLISECOND: i64 = 1_000_000;

/// Checks what was asked, before the image's is merged into it.
///
/// # Errors
/// The first thing that makes no sense.
pub fn asked(config: &Config, host_config: &HostConfig) -> Result<()> {
    process(config)?;
    health(config.healthcheck.as_ref())?;
    restart(host_config)?;
    capabilities::asked(host_config)?;
    texts::check(host_config)?;
    network(config, host_config)?;
    namespaces(config, host_config)?;
    limits::check(host_config)?;
    devices::nodes(host_config)?;
    devices::rules(host_config)?;
    log::check(&host_config.log_config)?;
    security::read(host_config)?;
    storage(host_config)?;
    sysctls(host_config)?;
    plain(config, host_config)?;
    unavailable(host_config)
}

fn process(config: &Config) -> Result<()> {
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') || entry.contains('\0') {
            return Err(Failure::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    let words = config.cmd.iter().chain(&config.entrypoint).flat_map(|words| &words.0);
    if words.chain([&config.user, &config.working_dir, &config.domainname]).any(|word| word.contains('\0')) {
        return Err(Failure::invalid("invalid command, user or working directory: a NUL byte"));
    }
    let directory = &config.working_dir;
    if !directory.is_empty() && !directory.starts_with('/') {
        let message =
            format!("the working directory '{directory}' is invalid, it needs to be an absolute path");
        return Err(Failure::invalid(message));
    }
    if !config.stop_signal.is_empty() {
        crate::supervision::signal(&config.stop_signal)?;
    }
    let host = |name: &str, longest| {
        name.len() <= longest && !name.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if !host(&config.hostname, 64) || !host(&config.domainname, 64) {
        let message = format!("invalid hostname or domainname: {:?}", [&config.hostname, &config.domainname]);
        return Err(Failure::invalid(message));
    }
    Ok(())
}

fn health(check: Option<&Healthcheck>) -> Result<()> {
    let Some(check) = check else { return Ok(()) };
    for (name, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != 0 && time < MILLISECOND {
            return Err(Failure::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Failure::invalid("Retries in Healthcheck cannot be negative"));
    }
    match check.test.as_ref().and_then(|test| test.0.first()).map(String::as_str) {
        None | Some("" | "NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => Err(Failure::invalid(format!(
            "Unknown health check type: {other:?} (expected 'CMD', 'CMD-SHELL' or 'NONE')"
        ))),
    }
}

/// The restart policy, at create and at update.
///
/// # Errors
/// In Docker's words.
pub fn restart(host_config: &HostConfig) -> Result<()> {
    let policy = &host_config.restart_policy;
    let kind = policy.name.as_str();
    let refuse = |why: String| Err(Failure::invalid(format!("invalid restart policy: {why}")));
    match kind {
        "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => {
            let more = if policy.maximum_retry_count < 0 { " and cannot be negative" } else { "" };
            return refuse(format!("maximum retry count can only be used with 'on-failure'{more}"));
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            return refuse("maximum retry count cannot be negative".to_owned());
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => {
            return refuse(format!(
                "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    }
    if host_config.auto_remove && !matches!(kind, "" | "no") {
        return Err(Failure::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(())
}

fn network(config: &Config, host_config: &HostConfig) -> Result<()> {
    let refuse = |what: &str| Err(Failure::invalid(format!("conflicting options: {what}")));
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let published = host_config.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    crate::networks::published(config, host_config)?;
    let linked = some(&host_config.links);
    if linked && matches!(host_config.network_mode.as_str(), "host" | "none") {
        return refuse(
            "host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    let modes::Shared::Container(_) = modes::network(&host_config.network_mode)? else { return Ok(()) };
    if !config.hostname.is_empty() {
        return refuse("hostname and the network mode");
    }
    if linked {
        return refuse(
            "container type network can't be used with links. This would result in undefined behavior",
        );
    }
    if some(&host_config.dns) {
        return refuse("dns and the network mode");
    }
    if some(&host_config.extra_hosts) {
        return refuse("custom host-to-IP mapping and the network mode");
    }
    if !config.mac_address.is_empty() {
        return refuse("mac-address and the network mode");
    }
    if published || host_config.publish_all_ports {
        return refuse("port publishing and the container type network mode");
    }
    if config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
        return refuse("port exposing and the container type network mode");
    }
    Ok(())
}

fn namespaces(config: &Config, host_config: &HostConfig) -> Result<()> {
    modes::pid(&host_config.pid_mode)?;
    modes::ipc(&host_config.ipc_mode)?;
    modes::user(&host_config.userns_mode)?;
    modes::cgroup(&host_config.cgroupns_mode)?;
    if modes::uts(&host_config.uts_mode)? == modes::Shared::Host && !config.hostname.is_empty() {
        return Err(Failure::invalid("conflicting options: hostname and the UTS mode"));
    }
    Ok(())
}

fn storage(host_config: &HostConfig) -> Result<()> {
    for (name, value) in host_config.storage_opt.iter().flatten() {
        if name != "size" {
            return Err(Failure::invalid(format!("unknown option in storage-opt: {name}: only size is")));
        }
        if log::size(value).is_none_or(|size| size == 0) {
            return Err(Failure::invalid(format!("invalid size in storage-opt: {value:?}")));
        }
    }
    Ok(())
}

fn sysctls(host_config: &HostConfig) -> Result<()> {
    for name in host_config.sysctls.iter().flat_map(std::collections::BTreeMap::keys) {
        if name.starts_with("net.") && host_config.network_mode == "host" {
            return Err(Failure::invalid(format!("sysctl {name:?} not allowed in host network namespace")));
        }
        if (name.starts_with("kernel.") || name.starts_with("fs.mqueue.")) && host_config.ipc_mode == "host" {
            return Err(Failure::invalid(format!("sysctl {name:?} not allowed in host IPC namespace")));
        }
    }
    Ok(())
}

/// What goes to the kernel as it is: no NUL in any text, and paths that are paths.
fn plain(config: &Config, host_config: &HostConfig) -> Result<()> {
    let pairs = [&host_config.sysctls, &host_config.annotations, &config.labels];
    if pairs.into_iter().flatten().flatten().any(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        return Err(Failure::invalid("invalid sysctl, annotation or label: a NUL byte"));
    }
    for path in host_config.masked_paths.iter().chain(&host_config.readonly_paths).flatten() {
        let names =
            path.strip_prefix('/').map(|rest| rest.split('/').all(|name| !matches!(name, "" | "." | "..")));
        if names != Some(true) || path.chars().any(char::is_control) {
            return Err(Failure::invalid(format!("invalid masked or read-only path: {path:?}")));
        }
    }
    Ok(())
}

fn unavailable(host_config: &HostConfig) -> Result<()> {
    if !host_config.cgroup_parent.is_empty() {
        let message = "cgroup-parent is not available: the control groups of a tenant's containers lie beneath the tenant's";
        return Err(Failure::invalid(message));
    }
    if !matches!(host_config.isolation.as_str(), "" | "default") {
        let message = format!("invalid isolation {:?}: linux only supports 'default'", host_config.isolation);
        return Err(Failure::invalid(message));
    }
    if !matches!(host_config.volume_driver.as_str(), "" | "local") {
        let message = format!(
            "create: error looking up volume plugin {0}: plugin {0:?} not found",
            host_config.volume_driver
        );
        return Err(Failure::invalid(message));
    }
    if !host_config.cgroup.is_empty() {
        return Err(Failure::invalid(format!("invalid cgroup mode: {}", host_config.cgroup)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
