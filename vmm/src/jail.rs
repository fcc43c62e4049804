//! What the process gives up before guest code runs.
//!
//! A guest that escapes into this process finds an unprivileged user without capabilities, no way to open, connect,
//! execute or signal anything, and only the descriptors that the program was granted. Where directories were granted,
//! it finds the user that the program's files belong to, and can open what is beneath them (Landlock).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, make_bitflags,
};
use mote_config::User;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::device::sockets::SETTABLE;

/// User and group of a jailed process: nobody, on every distribution.
const NOBODY: u32 = 65534;

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("the seccomp filter cannot be built: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("the seccomp filter cannot be installed: {0}")]
    Install(#[from] seccompiler::Error),
    #[error("Landlock cannot confine the process to the granted directories: {0}")]
    Landlock(#[from] RulesetError),
}

/// What of the host the process keeps.
#[derive(Debug, Default)]
pub struct Keep<'a> {
    /// Directories that were granted, and whether each is read-only.
    pub directories: Vec<(BorrowedFd<'a>, bool)>,
    /// Whom files are reached as, if this process is root.
    pub user: Option<&'a User>,
}

/// The ioctls that the machine makes. (KVM API 4; `_IO`, `_IOW` and `_IOR` of KVMIO 0xAE)
const IOCTLS: [u64; 13] = [
    0xae01,      // KVM_CREATE_VM
    0xae03,      // KVM_CHECK_EXTENSION
    0xae04,      // KVM_GET_VCPU_MMAP_SIZE
    0xae41,      // KVM_CREATE_VCPU
    0x4020_ae46, // KVM_SET_USER_MEMORY_REGION
    0x4040_ae79, // KVM_IOEVENTFD
    0x4008_ae90, // KVM_SET_CPUID2
    0x4188_aea7, // KVM_SET_XCRS
    0xae80,      // KVM_RUN
    0xaea3,      // KVM_GET_TSC_KHZ
    0xaece,      // KVM_GET_STATS_FD
    0x8090_ae81, // KVM_GET_REGS
    0x8138_ae83, // KVM_GET_SREGS
];

/// System calls that need no look at their arguments: reading and writing what is open, waiting, memory, the end.
const PLAIN: [i64; 28] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// System calls on sockets, for a program that was granted the network. None makes a socket of the Internet but the
/// broker's answers and accept4(2).
const SOCKETS: [i64; 9] = [
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
];

/// System calls on the sockets of the broker and of the HTTP front, which hand over descriptors.
const HELPERS: [i64; 2] = [libc::SYS_sendto, libc::SYS_recvmsg];

/// What of the process's system calls depends on what the program was granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Granted {
    /// TCP and UDP sockets.
    pub sockets: bool,
    /// The HTTP front.
    pub front: bool,
    /// Directories.
    pub files: bool,
}

/// System calls that operations on files need besides, once directories are granted.
const FILES: [i64; 18] = [
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_utimensat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
];

fn checked(what: &'static str, result: libc::c_int) -> Result<(), JailError> {
    if result == 0 {
        Ok(())
    } else {
        Err(JailError::System {
            what,
            source: io::Error::last_os_error(),
        })
    }
}

/// Becomes an unprivileged user who cannot gain privileges, and shuts all files away but what is beneath the granted
/// directories. To be called while there is one thread.
///
/// # Errors
/// [`JailError`]: then the process must not go on.
pub fn drop_privileges(keep: &Keep<'_>) -> Result<(), JailError> {
    // SAFETY: prctl with these constants takes no pointers.
    checked("PR_SET_NO_NEW_PRIVS", unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    })?;
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        let nobody = User {
            uid: NOBODY,
            gid: NOBODY,
            groups: Vec::new(),
        };
        // The user is for files alone.
        let user = keep.user.filter(|_| !keep.directories.is_empty());
        become_user(user.unwrap_or(&nobody))?;
    }
    if keep.directories.is_empty() {
        // Nothing can be opened: the system calls are closed.
        Ok(())
    } else {
        confine(&keep.directories)
    }
}

fn become_user(user: &User) -> Result<(), JailError> {
    let mut parent_death: libc::c_int = 0;
    // SAFETY: the pointer is valid for a write of an int.
    checked("PR_GET_PDEATHSIG", unsafe {
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut parent_death)
    })?;
    let (uid, gid) = (user.uid, user.gid);
    // SAFETY: the list is valid for its length. musl changes the ids of all threads.
    checked("setgroups", unsafe {
        libc::setgroups(user.groups.len(), user.groups.as_ptr())
    })?;
    // SAFETY: plain numbers.
    checked("setresgid", unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: as above. Leaving uid 0 clears every capability. (capabilities(7))
    checked("setresuid", unsafe { libc::setresuid(uid, uid, uid) })?;
    if uid == 0 {
        limit_capabilities()?;
    }
    // A change of user or group clears the signal that the parent asked for. (PR_SET_PDEATHSIG(2const))
    // SAFETY: a plain number.
    checked("PR_SET_PDEATHSIG", unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, parent_death)
    })
}

/// What root keeps to own its files as root does: CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_FSETID. (linux/capability.h)
const ROOTS: u32 = 1 << 1 | 1 << 3 | 1 << 4;

/// Gives up every capability but [`ROOTS`], as far as this root has them.
fn limit_capabilities() -> Result<(), JailError> {
    let kept = capabilities()?[0][1] & ROOTS;
    set_capabilities(&[[kept, kept, 0], [0; 3]])
}

/// Does something with no capability in effect, as far as this process has any. To be called while there is one thread.
///
/// # Errors
/// [`JailError`] if capabilities cannot be read, put aside or taken back.
pub fn without_capabilities<T>(act: impl FnOnce() -> T) -> Result<T, JailError> {
    let had = capabilities()?;
    set_capabilities(&had.map(|[_effective, permitted, inheritable]| [0, permitted, inheritable]))?;
    let done = act();
    set_capabilities(&had)?;
    Ok(done)
}

/// Effective, permitted and inheritable ones, of capabilities 0 to 31 and then 32 to 63.
type Capabilities = [[u32; 3]; 2];

/// Of `_LINUX_CAPABILITY_VERSION_3`, this thread's.
const CAPABILITY_HEADER: [u32; 2] = [0x2008_0522, 0];

fn capabilities() -> Result<Capabilities, JailError> {
    let mut sets: Capabilities = [[0; 3]; 2];
    // SAFETY: header and sets are of the layout that the version has.
    let got = unsafe { libc::syscall(libc::SYS_capget, CAPABILITY_HEADER.as_ptr(), sets.as_mut_ptr()) };
    checked("capget", libc::c_int::from(got != 0))?;
    Ok(sets)
}

fn set_capabilities(sets: &Capabilities) -> Result<(), JailError> {
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, CAPABILITY_HEADER.as_ptr(), sets.as_ptr()) };
    checked("capset", libc::c_int::from(set != 0))
}

/// What a program does beneath a directory that it may only read.
const READING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// What a program does beneath another one. Devices, sockets and FIFOs are not made, nothing is executed.
const WRITING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSym | Refer
});

/// Opens nothing but what is beneath the directories, as far as the kernel knows Landlock.
fn confine(directories: &[(BorrowedFd<'_>, bool)]) -> Result<(), JailError> {
    // Without this right a file cannot be moved to another directory under Landlock. (Linux 5.19) Such a kernel, and
    // one without Landlock, has the other walls.
    let movable = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer);
    let Ok(rules) = movable else { return Ok(()) };
    let mut rules: RulesetCreated = rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(landlock::ABI::V6))?
        .create()?;
    for (directory, read_only) in directories {
        let access = if *read_only { READING } else { WRITING };
        rules = rules.add_rule(PathBeneath::new(directory.as_fd(), access))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// Closes the system calls that are not needed. Every thread that is to run must exist already.
///
/// # Errors
/// [`JailError`]: then the process must not go on.
pub fn seal(granted: Granted) -> Result<(), JailError> {
    Ok(seccompiler::apply_filter_all_threads(&filter(granted)?)?)
}

fn filter(granted: Granted) -> Result<BpfProgram, JailError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|call| (*call, vec![])).collect();
    let masked = |index, mask: i32, value: i32| {
        let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
        SeccompCondition::new(
            index,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(mask),
            value,
        )
    };
    // Memory, but never executable memory.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(
            call,
            vec![SeccompRule::new(vec![masked(2, libc::PROT_EXEC, 0)?])?],
        );
    }
    let equal = |index, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let mut ioctls = Vec::new();
    for request in IOCTLS {
        ioctls.push(SeccompRule::new(vec![equal(1, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, ioctls);
    if granted.sockets {
        rules.extend(SOCKETS.iter().map(|call| (*call, vec![])));
        let mut options = Vec::new();
        for (level, name) in SETTABLE {
            let (level, name) = (u64::from(level.cast_unsigned()), u64::from(name.cast_unsigned()));
            options.push(SeccompRule::new(vec![equal(1, level)?, equal(2, name)?])?);
        }
        rules.insert(libc::SYS_setsockopt, options);
    }
    if granted.sockets || granted.front {
        rules.extend(HELPERS.iter().map(|call| (*call, vec![])));
    }
    // The standard library's debug builds look whether a descriptor is open before they close it.
    let mut fcntls = vec![libc::F_GETFD];
    if granted.files {
        rules.extend(FILES.iter().map(|call| (*call, vec![])));
        fcntls.push(libc::F_SETFL);
    }
    let mut fcntl = Vec::new();
    for command in fcntls {
        fcntl.push(SeccompRule::new(vec![equal(
            1,
            u64::from(command.cast_unsigned()),
        )?])?);
    }
    rules.insert(libc::SYS_fcntl, fcntl);
    // A thread may interrupt another of this process by the one harmless signal, or abort itself.
    let process = u64::from(std::process::id());
    let kick = vec![
        equal(0, process)?,
        equal(2, u64::from(libc::SIGUSR1.cast_unsigned()))?,
    ];
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(kick)?]);
    let abort = vec![equal(1, u64::from(libc::SIGABRT.cast_unsigned()))?];
    rules.insert(libc::SYS_tkill, vec![SeccompRule::new(abort)?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests;
