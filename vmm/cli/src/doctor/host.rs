//! Settings of the host that decide how fast and how dense VMs are.

use std::{fs, path::Path};

use super::Check;

pub(crate) fn checks() -> Vec<Check> {
    let release = kernel(&read("/proc/sys/kernel/osrelease"));
    let mut checks = vec![
        cgroups(&read("/proc/self/mounts")),
        huge_pages(),
        folders(release, landlock()),
    ];
    checks.extend(machine_start(
        release,
        &read("/proc/self/mounts"),
        &read("/sys/module/kvm/parameters/nx_huge_pages"),
    ));
    checks
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// The mounts of a type, each with its options.
fn mounts<'a>(table: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    table.lines().filter_map(move |line| {
        let mut fields = line.split(' ').skip(1);
        let (path, found, options) = (fields.next()?, fields.next()?, fields.next()?);
        (found == kind).then_some((path, options))
    })
}

fn cgroups(table: &str) -> Check {
    const NAME: &str = "cgroups";
    let memory = mounts(table, "cgroup").any(|(_, options)| options.split(',').any(|o| o == "memory"));
    if memory {
        return Check::ok(NAME, "version 1");
    }
    match mounts(table, "cgroup2").next() {
        Some((path, _)) => Check::ok(NAME, format!("version 2 on {path}")),
        None => Check::warn(
            NAME,
            "none is mounted: pods' limits cannot be set",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

fn huge_pages() -> Check {
    const NAME: &str = "transparent huge pages";
    let setting = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let chosen = setting
        .split(' ')
        .find_map(|w| w.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or_default();
    match chosen {
        "always" | "madvise" => Check::ok(NAME, chosen),
        _ => Check::warn(
            NAME,
            if chosen.is_empty() {
                "not in this kernel"
            } else {
                chosen
            },
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; without them programs start and page slower",
        ),
    }
}

/// What confines a program to the folders that it is granted.
fn folders(kernel: (u32, u32), landlock: i64) -> Check {
    const NAME: &str = "granted folders";
    if kernel < (5, 8) {
        return Check::warn(
            NAME,
            "this kernel cannot resolve paths beneath a folder: --dir and volumes do not work",
            "Linux 5.8 or newer (openat2, and utimensat with AT_EMPTY_PATH)",
        );
    }
    if landlock >= 2 {
        return Check::ok(
            NAME,
            format!("confined by the kernel's path lookup and Landlock {landlock}"),
        );
    }
    Check::warn(
        NAME,
        "confined by the kernel's path lookup; Landlock, the second wall, is off or too old",
        "Linux 5.19 or newer with landlock in CONFIG_LSM or in lsm= on the kernel's command line",
    )
}

/// Version of Landlock's interface, negative without it. (landlock_create_ruleset(2))
fn landlock() -> i64 {
    const VERSION: u32 = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: asking for the version takes no structure.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) }
}

fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// From Linux 6.1 on, making a VM may wait milliseconds for a grace period: in the cgroup core unless the hierarchy
/// is mounted with `favordynmods`, and for the worker that recovers NX huge pages unless that mitigation is off.
/// (Firecracker's production host setup describes both.)
fn machine_start(kernel: (u32, u32), table: &str, nx_huge_pages: &str) -> Vec<Check> {
    const NAME: &str = "time to make a VM";
    let mut checks = Vec::new();
    if kernel < (6, 1) {
        return checks;
    }
    let favoured = mounts(table, "cgroup2")
        .chain(mounts(table, "cgroup"))
        .any(|(_, options)| options.split(',').any(|o| o == "favordynmods"));
    if !favoured && mounts(table, "cgroup2").next().is_some() {
        checks.push(Check::warn(
            NAME,
            "the cgroup hierarchy is mounted without favordynmods, which can cost milliseconds on Linux 6.1 and newer",
            "mount -o remount,favordynmods /sys/fs/cgroup",
        ));
    }
    let active = matches!(nx_huge_pages, "Y" | "1" | "auto" | "force");
    let vulnerable = read("/sys/devices/system/cpu/vulnerabilities/itlb_multihit");
    if active && vulnerable.contains("KVM") {
        checks.push(Check::warn(
            NAME,
            "kvm.nx_huge_pages is on, whose worker thread is started with every VM",
            "kvm.nx_huge_pages=never on the kernel's command line, if the processor does not have the iTLB multihit erratum or guests are trusted in that respect",
        ));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "nothing known to slow it down"));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    const V1: &str = "cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,memory_recursiveprot 0 0\n";

    #[test]
    fn cgroup_versions() {
        assert_eq!(cgroups(V1).found, "version 1");
        assert_eq!(cgroups(V2).found, "version 2 on /sys/fs/cgroup");
        assert_eq!(cgroups("proc /proc proc rw 0 0\n").verdict, Verdict::Warn);
    }

    #[test]
    fn folders_need_openat2_and_like_landlock() {
        assert_eq!(folders((5, 4), -1).verdict, Verdict::Warn);
        assert_eq!(folders((5, 15), 1).verdict, Verdict::Warn);
        assert_eq!(folders((6, 1), 2).verdict, Verdict::Ok);
    }

    #[test]
    fn favordynmods_matters_from_6_1_on() {
        assert!(machine_start(kernel("5.15.0-1-amd64"), V2, "N").is_empty());
        assert_eq!(machine_start(kernel("6.18.5"), V2, "N")[0].verdict, Verdict::Warn);
        let favoured = V2.replace("rw,", "rw,favordynmods,");
        assert_eq!(machine_start((6, 1), &favoured, "N")[0].verdict, Verdict::Ok);
    }
}
