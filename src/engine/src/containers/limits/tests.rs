use proptest::prelude::*;

use super::*;
use crate::containers::Ulimit;

fn refused(change: impl FnOnce(&mut HostConfig)) -> String {
    let mut asked = HostConfig::default();
    change(&mut asked);
    check(&asked).expect_err("refused").message
}

#[test]
fn limits_are_refused_in_dockers_words() {
    assert_eq!(refused(|c| c.memory = 4 << 20), "Minimum memory limit allowed is 6MB");
    assert_eq!(refused(|c| c.memory = -1), "Minimum memory limit allowed is 6MB");
    assert!(refused(|c| c.memory_swap = 1 << 30).starts_with("You should always set the Memory limit"));
    let swap = "Minimum memoryswap limit should be larger than memory limit, see usage";
    assert_eq!(refused(|c| (c.memory, c.memory_swap) = (64 << 20, 32 << 20)), swap);
    assert_eq!(
        refused(|c| c.memory_swappiness = Some(101)),
        "Invalid value: 101, valid memory swappiness range is 0-100"
    );
    assert_eq!(
        refused(|c| (c.nano_cpus, c.cpu_quota) = (10_000_000, 5000)),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
    );
    assert!(refused(|c| c.nano_cpus = i64::MAX).starts_with("range of CPUs is from 0.01 to "));
    assert!(refused(|c| c.cpu_period = 10).starts_with("CPU cfs period can not be less than 1ms"));
    assert!(refused(|c| c.cpu_quota = 10).starts_with("CPU cfs quota can not be less than 1ms"));
    assert_eq!(refused(|c| c.cpuset_cpus = "1-a".to_owned()), "Invalid value 1-a for cpuset cpus");
    assert_eq!(refused(|c| c.blkio_weight = 5), "Range of blkio weight is from 10 to 1000");
    assert_eq!(refused(|c| c.shm_size = -1), "SHM size can not be less than 0");
    assert_eq!(
        refused(|c| c.oom_score_adj = 1001),
        "Invalid value 1001, range for oom score adj is [-1000, 1000]"
    );
    let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    assert_eq!(refused(|c| c.ulimits = Some(vec![ulimit("x", 1, 2)])), "invalid ulimit type: x");
    assert_eq!(
        refused(|c| c.ulimits = Some(vec![ulimit("core", 2, 1)])),
        "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
    );
}

#[test]
fn limits_are_translated() {
    let asked = HostConfig {
        memory: 64 << 20,
        memory_swap: -1,
        nano_cpus: 500_000_000,
        cpu_shares: 1,
        pids_limit: Some(-1),
        memory_swappiness: Some(-1),
        ulimits: Some(vec![Ulimit { name: "nofile".to_owned(), soft: -1, hard: -1 }]),
        ..HostConfig::default()
    };
    check(&asked).expect("good");
    let read = serde_json::to_value(resources(&asked).expect("resources")).expect("JSON");
    let expected = json!({
        "memory": { "limit": 64 << 20, "swap": -1 },
        "cpu": { "shares": 2, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": -1 },
    });
    assert_eq!(read, expected);
    assert_eq!(rlimits(&asked).expect("limits")[0].hard(), u64::MAX);
    let nothing = resources(&HostConfig::default()).expect("resources");
    assert_eq!(serde_json::to_value(nothing).expect("JSON"), json!({}));
}

#[test]
fn every_name_of_a_limit_is_the_runtimes() {
    for name in ULIMITS {
        let ulimits = Some(vec![Ulimit { name: name.to_owned(), soft: 1, hard: 1 }]);
        assert!(rlimits(&HostConfig { ulimits, ..HostConfig::default() }).is_ok(), "{name}");
    }
}

proptest! {
    #[test]
    fn whatever_passes_is_translated(
        memory: i64, memory_swap: i64, nano_cpus: i64, cpu_quota: i64, cpu_period: i64, cpu_shares: i64,
        pids_limit: Option<i64>, memory_swappiness: Option<i64>, cpuset_cpus in "[0-9,-]{0,6}",
    ) {
        let asked = HostConfig {
            memory, memory_swap, nano_cpus, cpu_quota, cpu_period, cpu_shares, pids_limit, memory_swappiness,
            cpuset_cpus, ..HostConfig::default()
        };
        if check(&asked).is_ok() {
            prop_assert!(resources(&asked).is_ok());
        }
    }
}
