//! Locks the process up before it reads a byte of untrusted input.
//!
//! Each wall stands for itself: resource limits against input that makes the compiler run away, an unprivileged user,
//! Landlock against files and networks, and a system-call filter against the rest of the kernel.

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

use crate::{error::Error, seccomp};

// The C libraries disagree about the type of a resource's number.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// What the process may use at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Address space in bytes.
    pub(crate) memory: u64,
    pub(crate) cpu_seconds: u64,
}

/// The user and group that own nothing: `nobody` and `nogroup` of most systems, the kernel's overflow IDs.
const NOBODY: u32 = 65534;

/// Descriptors that the process may have open: the standard ones and a few to start threads with.
const OPEN_FILES: u64 = 16;

/// Enters the jail. There is no way back.
pub(crate) fn enter(limits: &Limits) -> Result<(), Error> {
    set_limit("RLIMIT_AS", libc::RLIMIT_AS, limits.memory)?;
    set_limit("RLIMIT_CPU", libc::RLIMIT_CPU, limits.cpu_seconds)?;
    set_limit("RLIMIT_CORE", libc::RLIMIT_CORE, 0)?;
    set_limit("RLIMIT_FSIZE", libc::RLIMIT_FSIZE, limits.memory)?;
    set_limit("RLIMIT_NOFILE", libc::RLIMIT_NOFILE, OPEN_FILES)?;
    no_new_privileges()?;
    become_nobody()?;
    no_files_or_networks()?;
    seccomp::install()
}

fn failed(what: &'static str) -> Error {
    Error::Jail {
        what,
        cause: std::io::Error::last_os_error().to_string(),
    }
}

fn set_limit(name: &'static str, resource: Resource, most: u64) -> Result<(), Error> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local that outlives the call.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(failed(name));
    }
    limit.rlim_max = limit.rlim_max.min(most);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(resource, &limit) } != 0 {
        Err(failed(name))
    } else {
        Ok(())
    }
}

fn no_new_privileges() -> Result<(), Error> {
    // SAFETY: takes no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(failed("PR_SET_NO_NEW_PRIVS"));
    }
    Ok(())
}

/// Root gives up its user, groups and, with them, its capabilities. (capabilities(7), "Effect of user ID changes")
fn become_nobody() -> Result<(), Error> {
    // SAFETY: cannot fail and takes no pointers.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(());
    }
    let mut death_signal = 0i32;
    // SAFETY: the pointer is to a local that outlives the call.
    if unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death_signal) } != 0 {
        return Err(failed("PR_GET_PDEATHSIG"));
    }
    // SAFETY: an empty list needs no pointer.
    let mut ok = unsafe { libc::setgroups(0, std::ptr::null()) } == 0;
    // SAFETY: takes no pointers.
    ok = ok && unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) } == 0;
    // SAFETY: takes no pointers. Only this thread exists yet, and musl and glibc change all threads anyway.
    ok = ok && unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) } == 0;
    if !ok {
        let e = std::io::Error::last_os_error();
        // The root of a user namespace that maps no other user (EINVAL), or may not set groups (EPERM), is an
        // ordinary user outside of it. The other walls stand.
        return match e.raw_os_error() {
            Some(libc::EINVAL | libc::EPERM) => Ok(()),
            _ => Err(Error::Jail {
                what: "giving up root",
                cause: e.to_string(),
            }),
        };
    }
    // A change of user clears the signal that a parent asked for. (prctl(2), PR_SET_PDEATHSIG)
    // SAFETY: takes no pointers.
    if death_signal != 0 && unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, death_signal) } != 0 {
        return Err(failed("PR_SET_PDEATHSIG"));
    }
    Ok(())
}

/// A Landlock ruleset without a rule: nothing may be opened, as far as the kernel knows to forbid it.
fn no_files_or_networks() -> Result<(), Error> {
    let abi = ABI::V6;
    let result = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
        .and_then(|r| r.scope(Scope::from_all(abi)))
        .and_then(|r| r.create())
        .and_then(|r| r.restrict_self());
    match result {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::Jail {
            what: "Landlock",
            cause: e.to_string(),
        }),
    }
}
