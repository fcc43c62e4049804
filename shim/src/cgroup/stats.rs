//! The figures of a cgroup as containerd's metrics messages: one type for each cgroup version, because containerd's
//! CRI plugin and `ctr task metrics` tell them apart by it.

use std::collections::HashMap;
use std::path::Path;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::{cgroups::metrics as v1, cgroups_v2::metrics as v2};

use super::{Cgroup, UNLIMITED};

/// Full names of the two messages.
const V1: &str = "io.containerd.cgroups.v1.Metrics";
const V2: &str = "io.containerd.cgroups.v2.Metrics";

/// The metrics of a cgroup; of none, an empty message of the version in use.
#[must_use]
pub(crate) fn metrics(cgroup: Option<&Cgroup>, is_v2: bool) -> Any {
    match cgroup {
        Some(cgroup) if cgroup.is_v2() => pack(V2, &read_v2(cgroup)),
        Some(cgroup) => pack(V1, &read_v1(cgroup)),
        None if is_v2 => pack(V2, &v2::Metrics::default()),
        None => pack(V1, &v1::Metrics::default()),
    }
}

/// Wraps a message as containerd's `typeurl` does: the bare name, no host in front. The name is given, because
/// asking the message for it builds descriptors of its whole file, half a megabyte that the daemon would keep.
pub(crate) fn pack(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: name.to_owned(),
        value: message.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    }
}

/// A file of `name value` lines. What is missing reads as 0.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<String, u64>);

impl Table {
    /// Reads such a file; an unreadable one is an empty table.
    #[must_use]
    pub(crate) fn read(path: &Path) -> Table {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Table(text.lines().filter_map(pair).collect())
    }

    /// The value, or 0.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// A file of one number; "max" is no limit, and an unreadable one is 0.
fn number(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "max" => UNLIMITED,
        text => text.parse().unwrap_or(0),
    }
}

/// A limit of the pids controller: containerd shows none as 0.
fn pids_limit(dir: &Path) -> u64 {
    match number(&dir.join("pids.max")) {
        UNLIMITED => 0,
        limit => limit,
    }
}

fn read_v1(cgroup: &Cgroup) -> v1::Metrics {
    let mut metrics = v1::Metrics::default();
    if let Some(dir) = cgroup.directory("memory") {
        metrics.memory = MessageField::some(memory_v1(&dir));
        let oom = Table::read(&dir.join("memory.oom_control"));
        metrics.memory_oom_control = MessageField::some(v1::MemoryOomControl {
            oom_kill_disable: oom.get("oom_kill_disable"),
            under_oom: oom.get("under_oom"),
            oom_kill: oom.get("oom_kill"),
            ..Default::default()
        });
    }
    if let Some(dir) = cgroup.directory("cpuacct") {
        // User and system time are in ticks of USER_HZ, which is 100 on every Linux ABI; the message has nanoseconds.
        let stat = Table::read(&dir.join("cpuacct.stat"));
        let usage = v1::CPUUsage {
            total: number(&dir.join("cpuacct.usage")),
            kernel: stat.get("system") * 10_000_000,
            user: stat.get("user") * 10_000_000,
            per_cpu: per_cpu(&dir),
            ..Default::default()
        };
        let throttling = cgroup.directory("cpu").map(|dir| {
            let stat = Table::read(&dir.join("cpu.stat"));
            v1::Throttle {
                periods: stat.get("nr_periods"),
                throttled_periods: stat.get("nr_throttled"),
                throttled_time: stat.get("throttled_time"),
                ..Default::default()
            }
        });
        metrics.cpu = MessageField::some(v1::CPUStat {
            usage: MessageField::some(usage),
            throttling: throttling.into(),
            ..Default::default()
        });
    }
    if let Some(dir) = cgroup.directory("pids") {
        metrics.pids = MessageField::some(v1::PidsStat {
            current: number(&dir.join("pids.current")),
            limit: pids_limit(&dir),
            ..Default::default()
        });
    }
    metrics
}

fn per_cpu(dir: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(dir.join("cpuacct.usage_percpu")).unwrap_or_default();
    text.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

fn memory_v1(dir: &Path) -> v1::MemoryStat {
    let stat = Table::read(&dir.join("memory.stat"));
    let entry = |prefix: &str| {
        let file = |name: &str| number(&dir.join(format!("memory.{prefix}{name}")));
        MessageField::some(v1::MemoryEntry {
            limit: file("limit_in_bytes"),
            usage: file("usage_in_bytes"),
            max: file("max_usage_in_bytes"),
            failcnt: file("failcnt"),
            ..Default::default()
        })
    };
    v1::MemoryStat {
        cache: stat.get("cache"),
        rss: stat.get("rss"),
        rss_huge: stat.get("rss_huge"),
        mapped_file: stat.get("mapped_file"),
        dirty: stat.get("dirty"),
        writeback: stat.get("writeback"),
        pg_pg_in: stat.get("pgpgin"),
        pg_pg_out: stat.get("pgpgout"),
        pg_fault: stat.get("pgfault"),
        pg_maj_fault: stat.get("pgmajfault"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        hierarchical_memory_limit: stat.get("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat.get("hierarchical_memsw_limit"),
        total_cache: stat.get("total_cache"),
        total_rss: stat.get("total_rss"),
        total_rss_huge: stat.get("total_rss_huge"),
        total_mapped_file: stat.get("total_mapped_file"),
        total_dirty: stat.get("total_dirty"),
        total_writeback: stat.get("total_writeback"),
        total_pg_pg_in: stat.get("total_pgpgin"),
        total_pg_pg_out: stat.get("total_pgpgout"),
        total_pg_fault: stat.get("total_pgfault"),
        total_pg_maj_fault: stat.get("total_pgmajfault"),
        total_inactive_anon: stat.get("total_inactive_anon"),
        total_active_anon: stat.get("total_active_anon"),
        total_inactive_file: stat.get("total_inactive_file"),
        total_active_file: stat.get("total_active_file"),
        total_unevictable: stat.get("total_unevictable"),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
        ..Default::default()
    }
}

fn read_v2(cgroup: &Cgroup) -> v2::Metrics {
    let Some(dir) = cgroup.directory("memory") else {
        return v2::Metrics::default();
    };
    let cpu = Table::read(&dir.join("cpu.stat"));
    let events = Table::read(&dir.join("memory.events"));
    v2::Metrics {
        pids: MessageField::some(v2::PidsStat {
            current: number(&dir.join("pids.current")),
            limit: pids_limit(&dir),
            ..Default::default()
        }),
        cpu: MessageField::some(v2::CPUStat {
            usage_usec: cpu.get("usage_usec"),
            user_usec: cpu.get("user_usec"),
            system_usec: cpu.get("system_usec"),
            nr_periods: cpu.get("nr_periods"),
            nr_throttled: cpu.get("nr_throttled"),
            throttled_usec: cpu.get("throttled_usec"),
            ..Default::default()
        }),
        memory: MessageField::some(memory_v2(&dir)),
        memory_events: MessageField::some(v2::MemoryEvents {
            low: events.get("low"),
            high: events.get("high"),
            max: events.get("max"),
            oom: events.get("oom"),
            oom_kill: events.get("oom_kill"),
            oom_group_kill: events.get("oom_group_kill"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn memory_v2(dir: &Path) -> v2::MemoryStat {
    let stat = Table::read(&dir.join("memory.stat"));
    v2::MemoryStat {
        anon: stat.get("anon"),
        file: stat.get("file"),
        kernel_stack: stat.get("kernel_stack"),
        slab: stat.get("slab"),
        sock: stat.get("sock"),
        shmem: stat.get("shmem"),
        file_mapped: stat.get("file_mapped"),
        file_dirty: stat.get("file_dirty"),
        file_writeback: stat.get("file_writeback"),
        anon_thp: stat.get("anon_thp"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        slab_reclaimable: stat.get("slab_reclaimable"),
        slab_unreclaimable: stat.get("slab_unreclaimable"),
        pgfault: stat.get("pgfault"),
        pgmajfault: stat.get("pgmajfault"),
        usage: number(&dir.join("memory.current")),
        usage_limit: number(&dir.join("memory.max")),
        max_usage: number(&dir.join("memory.peak")),
        swap_usage: number(&dir.join("memory.swap.current")),
        swap_limit: number(&dir.join("memory.swap.max")),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchies;
    use super::*;

    #[test]
    fn version_2_files_to_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("c");
        std::fs::create_dir(&at).unwrap();
        for (file, text) in [
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 100\nfile 200\n"),
            ("memory.events", "oom 1\noom_kill 2\n"),
            ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"),
            ("pids.current", "1\n"),
            ("pids.max", "max\n"),
        ] {
            std::fs::write(at.join(file), text).unwrap();
        }
        let cgroup = Cgroup {
            hierarchies: Hierarchies::V2(dir.path().into()),
            relative: "c".into(),
        };
        let any = metrics(Some(&cgroup), true);
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let metrics = v2::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(
            (
                metrics.memory.usage,
                metrics.memory.usage_limit,
                metrics.memory.anon
            ),
            (4096, u64::MAX, 100)
        );
        assert_eq!((metrics.cpu.usage_usec, metrics.pids.limit), (5, 0));
        assert_eq!(cgroup.oom_kills(), 2);
    }

    #[test]
    fn version_1_files_to_metrics() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::write(dir.path().join("c/cpuacct.usage"), "77\n").unwrap();
        std::fs::write(dir.path().join("c/cpuacct.stat"), "user 2\nsystem 1\n").unwrap();
        let mounts = vec![("cpuacct".to_owned(), dir.path().to_owned())];
        let cgroup = Cgroup {
            hierarchies: Hierarchies::V1(mounts),
            relative: "c".into(),
        };
        let any = metrics(Some(&cgroup), false);
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics = v1::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(
            (metrics.cpu.usage.total, metrics.cpu.usage.user),
            (77, 20_000_000)
        );
        assert!(metrics.memory.is_none());
    }

    #[test]
    fn names_are_those_of_the_messages() {
        use containerd_shim_protos::protobuf::MessageFull as _;
        assert_eq!(v1::Metrics::descriptor().full_name(), V1);
        assert_eq!(v2::Metrics::descriptor().full_name(), V2);
    }

    #[test]
    fn without_a_cgroup_the_type_still_fits() {
        assert_eq!(metrics(None, false).type_url, "io.containerd.cgroups.v1.Metrics");
        assert_eq!(metrics(None, true).type_url, "io.containerd.cgroups.v2.Metrics");
    }
}
