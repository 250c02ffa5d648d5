//! One sample: the runtime's document turned into the API's.

use std::collections::BTreeMap;

use casemate_spec::wire::Host;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::host::Processors;
use crate::clock;

/// What was measured, and when.
#[derive(Debug, Clone)]
pub struct Sample {
    /// In nanoseconds since 1970.
    pub at: u64,
    /// The host's processors at that moment.
    pub processors: Processors,
    /// The host's memory.
    pub memory: u64,
    /// The container's.
    pub usage: Usage,
}

/// The `data` of `runtime events`, as far as the API has a place for it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    usage: Time,
    throttling: Throttling,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Time {
    total: u64,
    percpu: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: Amount,
    raw: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Amount {
    limit: u64,
    usage: u64,
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: u64,
    limit: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Blkio {
    io_service_bytes_recursive: Vec<Entry>,
    io_serviced_recursive: Vec<Entry>,
    io_queue_recursive: Vec<Entry>,
    io_service_time_recursive: Vec<Entry>,
    io_wait_time_recursive: Vec<Entry>,
    io_merged_recursive: Vec<Entry>,
    io_time_recursive: Vec<Entry>,
    sectors_recursive: Vec<Entry>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Entry {
    major: u64,
    minor: u64,
    op: String,
    value: u64,
}

impl Usage {
    /// Reads one line of `runtime events`; nothing where it is an event of another kind.
    pub fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            r#type: String,
            data: Option<Usage>,
        }
        let event: Event = serde_json::from_slice(line).ok()?;
        event.data.filter(|_| event.r#type == "stats")
    }
}

impl Sample {
    /// The API's document, compared with the sample before.
    pub fn document(&self, before: Option<&Self>, host: &Host) -> Value {
        let unified = host.cgroup_version == 2;
        let mut pids = json!({ "current": self.usage.pids.current });
        if self.usage.pids.limit > 0 {
            pids["limit"] = json!(self.usage.pids.limit);
        }
        json!({
            "read": clock::rfc3339(self.at),
            "preread": clock::rfc3339(before.map_or(0, |before| before.at)),
            "pids_stats": pids,
            "blkio_stats": self.usage.blkio.document(),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": self.cpu(),
            "precpu_stats": before.map_or_else(no_cpu, Self::cpu),
            "memory_stats": self.memory(unified),
        })
    }

    fn cpu(&self) -> Value {
        let (usage, throttling) = (&self.usage.cpu.usage, &self.usage.cpu.throttling);
        let mut time = json!({
            "total_usage": usage.total,
            "usage_in_kernelmode": usage.kernel,
            "usage_in_usermode": usage.user,
        });
        if !usage.percpu.is_empty() {
            time["percpu_usage"] = json!(usage.percpu);
        }
        json!({
            "cpu_usage": time,
            "system_cpu_usage": self.processors.time,
            "online_cpus": self.processors.online,
            "throttling_data": {
                "periods": throttling.periods,
                "throttled_periods": throttling.throttled_periods,
                "throttled_time": throttling.throttled_time,
            },
        })
    }

    fn memory(&self, unified: bool) -> Value {
        let amount = &self.usage.memory.usage;
        // Without a limit of its own, the host's memory is the limit.
        let limit = if amount.limit == 0 { self.memory } else { amount.limit.min(self.memory) };
        let mut memory = json!({ "usage": amount.usage, "stats": self.usage.memory.raw, "limit": limit });
        if !unified {
            memory["max_usage"] = json!(amount.max);
            if amount.failcnt > 0 {
                memory["failcnt"] = json!(amount.failcnt);
            }
        }
        memory
    }
}

impl Blkio {
    fn document(&self) -> Value {
        json!({
            "io_service_bytes_recursive": self.io_service_bytes_recursive,
            "io_serviced_recursive": self.io_serviced_recursive,
            "io_queue_recursive": self.io_queue_recursive,
            "io_service_time_recursive": self.io_service_time_recursive,
            "io_wait_time_recursive": self.io_wait_time_recursive,
            "io_merged_recursive": self.io_merged_recursive,
            "io_time_recursive": self.io_time_recursive,
            "sectors_recursive": self.sectors_recursive,
        })
    }
}

/// Of a container that does not run.
pub fn nothing() -> Value {
    json!({
        "read": clock::ZERO,
        "preread": clock::ZERO,
        "pids_stats": {},
        "blkio_stats": {
            "io_service_bytes_recursive": null,
            "io_serviced_recursive": null,
            "io_queue_recursive": null,
            "io_service_time_recursive": null,
            "io_wait_time_recursive": null,
            "io_merged_recursive": null,
            "io_time_recursive": null,
            "sectors_recursive": null,
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": no_cpu(),
        "precpu_stats": no_cpu(),
        "memory_stats": {},
    })
}

fn no_cpu() -> Value {
    json!({
        "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"type":"stats","id":"x","data":{"cpu":{"usage":{"total":22365692,"percpu":[14692635,7673057],
        "kernel":10000000,"user":10000000},"throttling":{"periods":3,"throttledPeriods":2,"throttledTime":1}},
        "cpuset":{},"memory":{"usage":{"limit":9223372036854771712,"usage":364544,"max":3837952,"failcnt":0},
        "raw":{"total_inactive_file":0,"cache":32768}},"pids":{"current":1,"limit":50},
        "blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096}]},"hugetlb":{},"intel_rdt":{},
        "network_interfaces":null}}"#;

    fn sample(at: u64) -> Sample {
        let usage = Usage::parse(LINE.replace('\n', "").as_bytes()).expect("statistics");
        Sample { at, processors: Processors { time: 7_038 + at, online: 2 }, memory: 1 << 30, usage }
    }

    #[test]
    fn the_numbers_are_dockers() {
        let host = Host { cgroup_version: 1, ..Host::default() };
        let document = sample(2_000_000_000).document(Some(&sample(1_000_000_000)), &host);
        assert_eq!(document["read"], "1970-01-01T00:00:02.000000000Z");
        assert_eq!(document["preread"], "1970-01-01T00:00:01.000000000Z");
        assert_eq!(document["pids_stats"], json!({ "current": 1, "limit": 50 }));
        assert_eq!(document["cpu_stats"]["cpu_usage"]["percpu_usage"], json!([14_692_635, 7_673_057]));
        assert_eq!(document["cpu_stats"]["throttling_data"]["throttled_periods"], 2);
        assert_eq!(document["precpu_stats"]["system_cpu_usage"], 1_000_007_038_u64);
        assert_eq!(document["precpu_stats"]["online_cpus"], 2);
        assert_eq!(document["memory_stats"]["limit"], 1 << 30, "no limit of its own is the host's memory");
        assert_eq!(document["memory_stats"]["max_usage"], 3_837_952);
        assert_eq!(document["memory_stats"]["stats"]["total_inactive_file"], 0);
        let blkio = &document["blkio_stats"];
        assert_eq!(
            blkio["io_service_bytes_recursive"],
            json!([{ "major": 8, "minor": 0, "op": "Read", "value": 4096 }])
        );
        assert_eq!(blkio["sectors_recursive"], json!([]));
    }

    #[test]
    fn the_first_has_nothing_to_compare_with() {
        let host = Host { cgroup_version: 2, ..Host::default() };
        let document = sample(1).document(None, &host);
        assert_eq!(document["preread"], clock::ZERO);
        assert_eq!(document["precpu_stats"]["cpu_usage"]["total_usage"], 0);
        assert!(document["memory_stats"].get("max_usage").is_none(), "version 2 has none");
    }

    #[test]
    fn other_events_are_no_statistics() {
        assert!(Usage::parse(br#"{"type":"oom","id":"x"}"#).is_none());
        assert!(Usage::parse(b"{").is_none());
    }
}
