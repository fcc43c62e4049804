//! What the process gives up before it accepts the first connection.
//!
//! A client that takes this process over finds an unprivileged user without capabilities, no files, no way to execute
//! or signal anything, and only sockets: those that it was handed, and new ones if requests to the outside are granted.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::{error::Error, seccomp};

/// User and group of a jailed process: nobody, on every distribution.
const NOBODY: u32 = 65534;

/// Enters the jail. There is no way back. To be called while there is one thread.
///
/// # Errors
/// If a wall does not stand: then the process must not go on.
pub fn enter(outgoing: bool) -> Result<(), Error> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(system("RLIMIT_CORE"))?;
    prctl::set_no_new_privs().map_err(system("PR_SET_NO_NEW_PRIVS"))?;
    become_nobody()?;
    no_files(outgoing)?;
    seccomp::install(outgoing)
}

/// Makes room for `wanted` descriptors, or as many as there may be; how many that is.
///
/// # Errors
/// Those of getrlimit(2).
pub fn descriptors(wanted: u64) -> Result<u64, Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(system("RLIMIT_NOFILE"))?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Root may go beyond the hard limit; others stay within it.
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return Ok(wanted);
    }
    let most = wanted.min(hard);
    match setrlimit(Resource::RLIMIT_NOFILE, most, hard) {
        Ok(()) => Ok(most),
        Err(_) => Ok(soft),
    }
}

fn system(what: &'static str) -> impl FnOnce(Errno) -> Error {
    move |e| Error::System {
        what,
        source: io::Error::from(e),
    }
}

/// Root gives up its user, groups and, with them, its capabilities. (capabilities(7), "Effect of user ID changes")
fn become_nobody() -> Result<(), Error> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let death_signal = prctl::get_pdeathsig().map_err(system("PR_GET_PDEATHSIG"))?;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let changed = setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user));
    match changed {
        Ok(()) => {}
        // The root of a user namespace that maps no other user (EINVAL), or may not set groups (EPERM), is an ordinary
        // user outside of it. The other walls stand.
        Err(Errno::EINVAL | Errno::EPERM) => return Ok(()),
        Err(e) => return Err(system("giving up root")(e)),
    }
    // A change of user clears the signal that a parent asked for. (PR_SET_PDEATHSIG(2const))
    prctl::set_pdeathsig(death_signal).map_err(system("PR_SET_PDEATHSIG"))
}

/// A Landlock ruleset without a rule: nothing may be opened, no port bound, and none connected to without a grant, as
/// far as the kernel knows to forbid it.
fn no_files(outgoing: bool) -> Result<(), Error> {
    let abi = ABI::V6;
    let ports: BitFlags<AccessNet> = if outgoing {
        AccessNet::BindTcp.into()
    } else {
        AccessNet::from_all(abi)
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(ports)?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(())
}
