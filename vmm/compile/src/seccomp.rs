//! The system calls that a compiler needs: memory, threads, and the three descriptors that it was given.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::error::Error;

/// Allowed with any arguments.
const ALLOWED: &[i64] = &[
    // The descriptors that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_poll,
    // Memory. `mmap` and `mprotect` have a condition.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads. `clone` has a condition.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_membarrier,
    // Signals, for stack overflow handlers and `abort`.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tkill,
    libc::SYS_restart_syscall,
    // Clocks and the seeds of hash tables.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

/// Installs the filter for this thread and all that it starts. Any other call fails with EPERM.
pub(crate) fn install() -> Result<(), Error> {
    let failed = |e: String| Error::Jail {
        what: "seccomp",
        cause: e,
    };
    let program = filter().map_err(|e| failed(e.to_string()))?;
    seccompiler::apply_filter(&program).map_err(|e| failed(e.to_string()))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    let when = |arg: u8, mask: u64, value: u64| {
        SeccompCondition::new(arg, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    // The compiler writes code as data; nothing that it made is ever to run here.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![when(2, 4, 0)?]);
    }
    const _: () = assert!(libc::PROT_EXEC == 4);
    // Threads, not processes. `clone3` keeps its flags in memory, where a filter cannot see them.
    const CLONE_THREAD: u64 = 0x10000;
    const _: () = assert!(libc::CLONE_THREAD == 0x10000);
    rules.insert(libc::SYS_clone, vec![when(0, CLONE_THREAD, CLONE_THREAD)?]);
    // Names of threads.
    rules.insert(libc::SYS_prctl, vec![when(0, u64::MAX, 15)?]);
    const _: () = assert!(libc::PR_SET_NAME == 15);
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(1),
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, process::Command};

    #[test]
    fn the_filter_lets_threads_work_and_nothing_else() {
        // The filter stays on the thread that installs it.
        std::thread::spawn(|| {
            super::install().unwrap();
            let sum = std::thread::spawn(|| (0..1000u64).collect::<Vec<_>>().iter().sum::<u64>())
                .join()
                .unwrap();
            assert_eq!(sum, 499_500);
            assert!(File::open("/dev/null").is_err());
            assert!(Command::new("/bin/true").spawn().is_err());
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
            // SAFETY: takes no pointers; maps nothing if the filter holds.
            let code = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_EXEC,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_eq!(code, libc::MAP_FAILED);
        })
        .join()
        .unwrap();
    }
}
