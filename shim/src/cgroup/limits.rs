//! Limits: what a spec's resources are in the files of either version, at the start and later.

use std::io;

use super::{Cgroup, CgroupError};
use crate::grant::VMM_OVERHEAD;
use crate::spec::Resources;

/// Controller, file and value.
type Value = (&'static str, &'static str, String);

impl Cgroup {
    /// Sets the limits that are given; `memory` is the VM's, in bytes.
    ///
    /// # Errors
    /// [`CgroupError::Write`] with the file.
    pub(crate) fn limit(&self, memory: Option<u64>, resources: &Resources) -> Result<(), CgroupError> {
        let cpu_max = match self.directory("cpu") {
            Some(dir) if self.is_v2() => std::fs::read_to_string(dir.join("cpu.max")).unwrap_or_default(),
            _ => String::new(),
        };
        let mut refused = Vec::new();
        for value in values(self.is_v2(), memory, resources, &cpu_max) {
            match self.write(&value) {
                // Quota and period of version 1 are held against the parent's one by one, so which of them has to go
                // first depends on what was there. (kernel/sched/core.c, `tg_set_cfs_bandwidth`)
                Err(CgroupError::Write { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                    refused.push(value);
                }
                done => done?,
            }
        }
        refused.iter().try_for_each(|value| self.write(value))
    }

    fn write(&self, (controller, file, value): &Value) -> Result<(), CgroupError> {
        let Some(dir) = self.directory(controller) else {
            return Ok(());
        };
        let path = dir.join(file);
        let error = |source: io::Error| CgroupError::Write {
            path: path.clone(),
            value: value.clone(),
            source,
        };
        std::fs::write(&path, value).map_err(error)
    }
}

/// The files and values that set limits. Zero is no value in any of them, as containerd leaves out what is not given.
/// `cpu_max` is what version 2 has in the file of that name.
fn values(v2: bool, memory: Option<u64>, resources: &Resources, cpu_max: &str) -> Vec<Value> {
    let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
    // The limit is the VM's; the cgroup has the process around it as well.
    let memory = memory.map(|bytes| ("memory", file, bytes.saturating_add(VMM_OVERHEAD).to_string()));
    let mut values: Vec<Value> = memory.into_iter().collect();
    let cpu = resources.cpu.clone().unwrap_or_default();
    let shares = cpu.shares.filter(|shares| *shares > 0);
    let (period, quota) = (cpu.period.filter(|p| *p > 0), cpu.quota.filter(|q| *q != 0));
    if v2 {
        values.extend(shares.map(|shares| ("cpu", "cpu.weight", weight(shares).to_string())));
        if period.is_some() || quota.is_some() {
            let (old_quota, old_period) = cpu_max.trim().split_once(' ').unwrap_or(("max", "100000"));
            let quota = quota.map_or_else(|| old_quota.to_owned(), limit_or_max);
            let period = period.map_or_else(|| old_period.to_owned(), |p| p.to_string());
            values.push(("cpu", "cpu.max", format!("{quota} {period}")));
        }
    } else {
        values.extend(shares.map(|shares| ("cpu", "cpu.shares", shares.to_string())));
        values.extend(period.map(|period| ("cpu", "cpu.cfs_period_us", period.to_string())));
        values.extend(quota.map(|quota| ("cpu", "cpu.cfs_quota_us", quota.to_string())));
    }
    let pids = resources.pids.as_ref().and_then(|p| p.limit);
    if let Some(limit) = pids.filter(|l| *l != 0) {
        values.push(("pids", "pids.max", limit_or_max(limit)));
    }
    values
}

fn limit_or_max(limit: i64) -> String {
    if limit < 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    }
}

/// Shares [2, 262144] to weight [1, 10000], the linear map that runc and the kubelet use (opencontainers/cgroups,
/// `ConvertCPUSharesToCgroupV2Value`), so that pods compare with those of other runtimes.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + ((shares - 2) * 9_999) / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(v2: bool, memory: Option<u64>, resources: &str, cpu_max: &str) -> String {
        let resources = serde_json::from_str(resources).unwrap();
        let values = values(v2, memory, &resources, cpu_max);
        let text: Vec<_> = values.into_iter().map(|(_, f, v)| format!("{f}={v}")).collect();
        text.join(";")
    }

    #[test]
    fn limits_of_both_versions() {
        let resources =
            r#"{"cpu": {"shares": 512, "quota": 50000, "period": 100000}, "pids": {"limit": -1}}"#;
        assert_eq!(
            text(false, Some(128 << 20), resources, ""),
            "memory.limit_in_bytes=201326592;cpu.shares=512;cpu.cfs_period_us=100000;cpu.cfs_quota_us=50000;\
             pids.max=max"
        );
        assert_eq!(
            text(true, Some(128 << 20), resources, "max 100000\n"),
            "memory.max=201326592;cpu.weight=20;cpu.max=50000 100000;pids.max=max"
        );
    }

    #[test]
    fn what_is_not_given_stays() {
        assert_eq!(text(true, None, "{}", "50000 100000\n"), "");
        assert_eq!(
            text(
                false,
                None,
                r#"{"cpu": {"quota": 0}, "memory": {"limit": 0}}"#,
                ""
            ),
            ""
        );
        let quota = r#"{"cpu": {"quota": 20000}}"#;
        assert_eq!(text(true, None, quota, "50000 200000\n"), "cpu.max=20000 200000");
        let period = r#"{"cpu": {"period": 50000}}"#;
        assert_eq!(text(true, None, period, "max 100000\n"), "cpu.max=max 50000");
        let unlimited = r#"{"cpu": {"quota": -1}}"#;
        assert_eq!(
            text(true, None, unlimited, "50000 200000\n"),
            "cpu.max=max 200000"
        );
        assert_eq!(text(false, None, unlimited, ""), "cpu.cfs_quota_us=-1");
    }

    #[test]
    fn weights_span_the_range() {
        assert_eq!(
            (
                weight(0),
                weight(2),
                weight(1024),
                weight(262_144),
                weight(u64::MAX)
            ),
            (1, 1, 39, 10_000, 10_000)
        );
    }
}
