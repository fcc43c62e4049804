//! The system calls of a network server: sockets that are open, waiting, memory, threads.

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
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_fstat,
    libc::SYS_close,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
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
    // Signals: SIGTERM, stack overflow handlers and `abort`.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tkill,
    libc::SYS_restart_syscall,
    // Clocks and the seeds of hash tables and keys.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

/// Installs the filter for this thread and all that it starts. Any other call fails with EPERM.
pub(crate) fn install(outgoing: bool) -> Result<(), Error> {
    Ok(seccompiler::apply_filter(&filter(outgoing)?)?)
}

fn rule(conditions: &[(u8, i32, i32)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.iter().map(|&(arg, mask, value)| {
        let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
        SeccompCondition::new(arg, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn filter(outgoing: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    const ALL: i32 = -1;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // Memory, but never executable memory.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(&[(2, libc::PROT_EXEC, 0)])?]);
    }
    // Threads, not processes. `clone3` keeps its flags in memory, where a filter cannot see them.
    rules.insert(
        libc::SYS_clone,
        vec![rule(&[(0, libc::CLONE_THREAD, libc::CLONE_THREAD)])?],
    );
    rules.insert(libc::SYS_prctl, vec![rule(&[(0, ALL, libc::PR_SET_NAME)])?]);
    // Streams of exchanges.
    rules.insert(libc::SYS_socketpair, vec![rule(&[(0, ALL, libc::AF_UNIX)])?]);
    // Sockets are made non-blocking and duplicated.
    let flags = [libc::F_GETFL, libc::F_SETFL, libc::F_GETFD, libc::F_DUPFD_CLOEXEC];
    let flags: Result<_, _> = flags.iter().map(|&command| rule(&[(1, ALL, command)])).collect();
    rules.insert(libc::SYS_fcntl, flags?);
    /// `FIONBIO` of asm-generic/ioctls.h.
    const FIONBIO: i32 = 0x5421;
    rules.insert(libc::SYS_ioctl, vec![rule(&[(1, ALL, FIONBIO)])?]);
    if outgoing {
        // The kind's upper bits are SOCK_NONBLOCK and SOCK_CLOEXEC. (socket(2))
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                sockets.push(rule(&[(0, ALL, family), (1, 0xf, kind)])?);
            }
        }
        rules.insert(libc::SYS_socket, sockets);
        rules.insert(libc::SYS_connect, Vec::new());
        // Questions to name servers have a port of their own.
        rules.insert(libc::SYS_bind, Vec::new());
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::{TcpListener, TcpStream, UdpSocket},
        process::Command,
    };

    fn jailed(outgoing: bool, work: impl FnOnce() + Send + 'static) {
        // The filter stays on the thread that installs it, and on what that starts.
        std::thread::spawn(move || {
            super::install(outgoing).unwrap();
            assert!(File::open("/dev/null").is_err());
            assert!(Command::new("/bin/true").spawn().is_err());
            work();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn no_socket_without_a_grant() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        jailed(false, move || {
            assert!(TcpStream::connect(address).is_err());
            assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        });
        let address = listener.local_addr().unwrap();
        jailed(true, move || {
            assert!(TcpStream::connect(address).is_ok());
            assert!(UdpSocket::bind("127.0.0.1:0").is_ok());
            assert!(std::os::unix::net::UnixDatagram::unbound().is_err());
        });
    }

    #[test]
    fn a_server_runs_under_the_filter() {
        jailed(false, || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (ours, theirs, _) = crate::channel::stream(&[]).unwrap();
                drop(theirs);
                crate::frames::closed(ours).await;
                let mut signal =
                    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()).unwrap();
                let soon = std::time::Duration::from_millis(1);
                assert!(tokio::time::timeout(soon, signal.recv()).await.is_err());
            });
        });
    }
}
