//! What is asked of the host for a container (`HostConfig` of the API): limits, rights, mounts, what it shares.

use std::collections::BTreeMap;

use super::shape::{document, zero};

document! {
    /// `HostConfig`, resources included.
    HostConfig {
        /// `source:destination[:options]`
        binds: Option<Vec<String>>,
        /// The client's alone.
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        /// Where its output is kept.
        log_config: LogConfig,
        /// `none`, `host`, `container:NAME`, or a network.
        network_mode: String,
        /// Published ports.
        port_bindings: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
        /// What happens when it ends.
        restart_policy: RestartPolicy,
        /// It is removed when it ends.
        auto_remove: bool,
        /// Of anonymous volumes and of those named in `Binds`.
        volume_driver: String,
        /// `container[:ro|rw]`
        volumes_from: Option<Vec<String>>,
        /// Rows and columns at the start.
        console_size: [u32; 2],
        /// For the runtime; `io.casemate.*` tighten.
        #[serde(skip_serializing_if = "Option::is_none")]
        annotations: Option<BTreeMap<String, String>>,
        /// Capabilities beyond the default ones.
        cap_add: Option<Vec<String>>,
        /// Default ones that are not wanted.
        cap_drop: Option<Vec<String>>,
        /// `private` or `host`.
        cgroupns_mode: String,
        /// Resolvers.
        dns: Option<Vec<String>>,
        /// resolv.conf(5)
        dns_options: Option<Vec<String>>,
        /// resolv.conf(5)
        dns_search: Option<Vec<String>>,
        /// `name:address`
        extra_hosts: Option<Vec<String>>,
        /// Further groups.
        group_add: Option<Vec<String>>,
        /// `none`, `private`, `shareable`, `host`, `container:NAME`.
        ipc_mode: String,
        /// Obsolete.
        cgroup: String,
        /// Obsolete.
        links: Option<Vec<String>>,
        /// How readily the kernel ends it for want of memory.
        oom_score_adj: i64,
        /// Empty, `host`, `container:NAME`.
        pid_mode: String,
        /// All that the policy admits.
        privileged: bool,
        /// Publish every exposed port.
        publish_all_ports: bool,
        /// Nothing may be written to the image's files.
        readonly_rootfs: bool,
        /// `no-new-privileges`, `seccomp=…`, `casemate.policy=…`
        security_opt: Option<Vec<String>>,
        /// Of the storage: `size`.
        #[serde(skip_serializing_if = "Option::is_none")]
        storage_opt: Option<BTreeMap<String, String>>,
        /// Directories in memory, with mount(8) options.
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs: Option<BTreeMap<String, String>>,
        /// Empty or `host`.
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        /// Empty or `host`.
        userns_mode: String,
        /// Bytes of /dev/shm.
        shm_size: i64,
        /// Kernel parameters.
        #[serde(skip_serializing_if = "Option::is_none")]
        sysctls: Option<BTreeMap<String, String>>,
        /// `casemate`, or a policy's name.
        runtime: String,
        /// Windows alone.
        isolation: String,
        /// Relative weight.
        cpu_shares: i64,
        /// Bytes.
        memory: i64,
        /// Thousand-millionths of a processor.
        nano_cpus: i64,
        /// Ours are beneath the tenant's.
        cgroup_parent: String,
        /// Relative weight, 10 to 1000.
        blkio_weight: u16,
        /// The same by device.
        blkio_weight_device: Option<Vec<WeightDevice>>,
        /// Bytes a second.
        blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        /// Bytes a second.
        blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        /// Operations a second.
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        /// Operations a second.
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        /// Microseconds.
        cpu_period: i64,
        /// Microseconds of each period.
        cpu_quota: i64,
        /// Microseconds.
        cpu_realtime_period: i64,
        /// Microseconds.
        cpu_realtime_runtime: i64,
        /// `0-3,5`
        cpuset_cpus: String,
        /// `0-1`
        cpuset_mems: String,
        /// Devices of the host.
        devices: Option<Vec<DeviceMapping>>,
        /// `c 1:3 rwm`
        device_cgroup_rules: Option<Vec<String>>,
        /// Of drivers of devices.
        device_requests: Option<Vec<DeviceRequest>>,
        /// Obsolete.
        #[serde(skip_serializing_if = "zero")]
        kernel_memory: i64,
        /// Obsolete.
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
        kernel_memory_tcp: i64,
        /// Bytes, a soft limit.
        memory_reservation: i64,
        /// Bytes of memory and swap together; -1 is no limit.
        memory_swap: i64,
        /// 0 to 100; -1 is the host's.
        memory_swappiness: Option<i64>,
        /// The kernel must not end it for want of memory.
        oom_kill_disable: Option<bool>,
        /// Processes; 0 and -1 are no limit.
        pids_limit: Option<i64>,
        /// getrlimit(2)
        ulimits: Option<Vec<Ulimit>>,
        /// Windows alone.
        cpu_count: i64,
        /// Windows alone.
        cpu_percent: i64,
        /// Windows alone.
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        /// Windows alone.
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
        /// Mounts in their long form.
        #[serde(skip_serializing_if = "Option::is_none")]
        mounts: Option<Vec<MountAsked>>,
        /// Cannot be read; null is the usual list.
        masked_paths: Option<Vec<String>>,
        /// Cannot be written; null is the usual list.
        readonly_paths: Option<Vec<String>>,
        /// Our init as the first process.
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool>,
    }
}

document! {
    /// Driver and options.
    LogConfig {
        /// `json-file`, `journald`, `none`.
        #[serde(rename = "Type")]
        driver: String,
        /// The driver's.
        config: Option<BTreeMap<String, String>>,
    }
}

document! {
    /// A published port.
    PortBinding {
        /// Of the host.
        #[serde(rename = "HostIp")]
        host_ip: String,
        /// Of the host.
        host_port: String,
    }
}

document! {
    /// What happens when it ends.
    RestartPolicy {
        /// `no`, `always`, `unless-stopped`, `on-failure`.
        name: String,
        /// With `on-failure`; 0 is no limit.
        maximum_retry_count: i64,
    }
}

document! {
    /// A weight by device.
    WeightDevice {
        /// Of the host.
        path: String,
        /// 10 to 1000.
        weight: u16,
    }
}

document! {
    /// A rate by device.
    ThrottleDevice {
        /// Of the host.
        path: String,
        /// A second.
        rate: u64,
    }
}

document! {
    /// A device of the host.
    DeviceMapping {
        /// There.
        path_on_host: String,
        /// Here.
        path_in_container: String,
        /// Of `rwm`.
        cgroup_permissions: String,
    }
}

document! {
    /// What a driver of devices would be asked.
    DeviceRequest {
        /// By name.
        driver: String,
        /// -1 is all.
        count: i64,
        /// Or these.
        #[serde(rename = "DeviceIDs")]
        device_ids: Option<Vec<String>>,
        /// Any of these sets.
        capabilities: Option<Vec<Vec<String>>>,
        /// The driver's.
        options: Option<BTreeMap<String, String>>,
    }
}

document! {
    /// getrlimit(2); -1 is no limit.
    Ulimit {
        /// Without `RLIMIT_`, lower case.
        name: String,
        /// The most.
        hard: i64,
        /// At first.
        soft: i64,
    }
}

document! {
    /// `Mount` of the API.
    MountAsked {
        /// `bind`, `volume`, `tmpfs`.
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        kind: String,
        /// A path of the host, or a volume's name.
        #[serde(skip_serializing_if = "zero")]
        source: String,
        /// An absolute path in the container.
        #[serde(skip_serializing_if = "zero")]
        target: String,
        /// Nothing may be written to it.
        #[serde(skip_serializing_if = "zero")]
        read_only: bool,
        /// For other systems.
        #[serde(skip_serializing_if = "zero")]
        consistency: String,
        /// With `bind`.
        #[serde(skip_serializing_if = "Option::is_none")]
        bind_options: Option<BindOptions>,
        /// With `volume`.
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_options: Option<VolumeOptions>,
        /// With `tmpfs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs_options: Option<TmpfsOptions>,
    }
}

document! {
    /// With `bind`.
    BindOptions {
        /// `[r]private`, `[r]slave`, `[r]shared`.
        #[serde(skip_serializing_if = "zero")]
        propagation: String,
        /// Without what is mounted beneath it.
        #[serde(skip_serializing_if = "zero")]
        non_recursive: bool,
        /// Make a directory there when nothing is.
        #[serde(skip_serializing_if = "zero")]
        create_mountpoint: bool,
        /// Only the mount itself is read-only.
        #[serde(skip_serializing_if = "zero")]
        read_only_non_recursive: bool,
        /// What is beneath it must be read-only too.
        #[serde(skip_serializing_if = "zero")]
        read_only_force_recursive: bool,
    }
}

document! {
    /// With `volume`.
    VolumeOptions {
        /// The image's content is not copied into an empty one.
        #[serde(skip_serializing_if = "zero")]
        no_copy: bool,
        /// Of a volume that is made.
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<BTreeMap<String, String>>,
        /// A directory beneath it.
        #[serde(skip_serializing_if = "zero")]
        subpath: String,
        /// Of a volume that is made.
        #[serde(skip_serializing_if = "Option::is_none")]
        driver_config: Option<VolumeDriver>,
    }
}

document! {
    /// Of a volume that is made.
    VolumeDriver {
        /// `local`
        #[serde(skip_serializing_if = "zero")]
        name: String,
        /// The driver's.
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<BTreeMap<String, String>>,
    }
}

document! {
    /// With `tmpfs`.
    TmpfsOptions {
        /// The most; 0 is half of the memory.
        #[serde(skip_serializing_if = "zero")]
        size_bytes: i64,
        /// Permissions, as a number.
        #[serde(skip_serializing_if = "zero")]
        mode: u32,
        /// `[name]` or `[name, value]`
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<Vec<Vec<String>>>,
    }
}
