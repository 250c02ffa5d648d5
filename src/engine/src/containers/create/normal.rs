//! What was left open is settled as Docker settles it, so that inspect shows what holds.

use super::Asked;
use crate::containers::{HostConfig, log};
use crate::{Result, Settings};

/// Bytes of /dev/shm.
const SHM: i64 = 64 << 20;

/// Settles; gives what is to be told.
///
/// # Errors
/// Something cannot be at once with something else.
pub fn settle(asked: &mut Asked, settings: &Settings) -> Result<Vec<String>> {
    let (config, host_config) = (&mut asked.config, &mut asked.host_config);
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    if config.network_disabled {
        "none".clone_into(&mut host_config.network_mode);
    }
    or(&mut host_config.network_mode, "bridge");
    if host_config.network_mode == "default" {
        "bridge".clone_into(&mut host_config.network_mode);
    }
    or(&mut host_config.ipc_mode, "private");
    or(&mut host_config.cgroupns_mode, "private");
    or(&mut host_config.runtime, "casemate");
    or(&mut host_config.restart_policy.name, "no");
    host_config.log_config = log::settled(&host_config.log_config, settings);
    host_config.port_bindings.get_or_insert_default();
    if host_config.shm_size == 0 {
        host_config.shm_size = SHM;
    }
    if host_config.memory > 0 && host_config.memory_swap == 0 {
        // The kernel counts memory in what it counts as swap.
        host_config.memory_swap = host_config.memory.saturating_mul(2);
    }
    host_config.memory_swappiness = host_config.memory_swappiness.filter(|value| *value != -1);
    host_config.pids_limit = host_config.pids_limit.filter(|limit| *limit != 0);
    host_config.oom_kill_disable.get_or_insert_default();
    Ok(warnings(host_config, config.mac_address.is_empty()))
}

fn warnings(asked: &HostConfig, no_address: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let published =
        asked.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) || asked.publish_all_ports;
    if published && matches!(asked.network_mode.as_str(), "host" | "none") {
        warnings
            .push(format!("Published ports are discarded when using {} network mode", asked.network_mode));
    }
    if asked.oom_kill_disable == Some(true) && asked.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    if !no_address && matches!(asked.network_mode.as_str(), "host" | "none") {
        warnings.push(format!("The MAC address is discarded when using {} network mode", asked.network_mode));
    }
    if asked.ipc_mode.starts_with("container:") {
        warnings.push(
            "/dev/shm is not shared with the other container: System V IPC and message queues are".to_owned(),
        );
    }
    if asked.privileged {
        warnings.push("--privileged adds no devices of the host: name them with --device".to_owned());
    }
    warnings
}
