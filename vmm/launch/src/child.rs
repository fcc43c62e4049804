//! Starts a process with exactly the descriptors that it is given.
//!
//! `std::process::Command` cannot do this: it keeps a pipe of its own somewhere among the low descriptors while hooks
//! run, so a hook that puts descriptors at fixed low numbers may overwrite it. Here the child is cloned with
//! `CLONE_VM | CLONE_VFORK`, as `posix_spawn` does it: nothing is copied, the parent's thread sleeps until the new
//! program runs, and a failure comes back through memory.

use std::{
    ffi::{CString, OsStr, c_char, c_int, c_void},
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicI32, Ordering},
};

use crate::{error::LaunchError, process::Child};

/// Where the kernel counts a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `cgroup.procs` files that the process writes itself into before it becomes another program: one for each
    /// hierarchy of cgroup v1, one for version 2.
    pub cgroup_procs: Vec<PathBuf>,
    /// How soon it is killed when memory runs out, -1000 to 1000; its parent's without. It stays that of the parent
    /// where the kernel refuses it (CAP_SYS_RESOURCE). (proc_pid_oom_score_adj(5))
    pub oom_score_adj: Option<i32>,
}

/// What to start, and how.
pub(crate) struct Command<'a> {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    fds: Vec<(BorrowedFd<'a>, RawFd)>,
    cgroups: Vec<OwnedFd>,
    oom_score_adj: Option<i32>,
    new_session: bool,
    die_with_parent: bool,
    controlling_terminal: bool,
}

/// The step that failed, in the child or before it.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) what: &'static str,
    pub(crate) cause: io::Error,
}

fn step<T>(what: &'static str, result: io::Result<T>) -> Result<T, StartError> {
    result.map_err(|cause| StartError { what, cause })
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in a name"))
}

impl<'a> Command<'a> {
    /// A process that runs `program`, with an empty environment and the parent's standard descriptors.
    pub(crate) fn new(program: &Path, argv0: &str) -> io::Result<Command<'a>> {
        Ok(Command {
            program: c_string(program.as_os_str())?,
            argv: vec![c_string(OsStr::new(argv0))?],
            env: Vec::new(),
            fds: Vec::new(),
            cgroups: Vec::new(),
            oom_score_adj: None,
            new_session: false,
            die_with_parent: false,
            controlling_terminal: false,
        })
    }

    pub(crate) fn arg(&mut self, arg: &str) -> io::Result<&mut Self> {
        self.argv.push(c_string(OsStr::new(arg))?);
        Ok(self)
    }

    pub(crate) fn env(&mut self, name: &str, value: &OsStr) -> io::Result<&mut Self> {
        let mut pair = std::ffi::OsString::from(name);
        pair.push("=");
        pair.push(value);
        self.env.push(c_string(&pair)?);
        Ok(self)
    }

    /// The child has `fd` as descriptor `target`. Targets above 2 must follow each other from 3 on.
    pub(crate) fn fd(&mut self, fd: BorrowedFd<'a>, target: RawFd) -> &mut Self {
        debug_assert!(target >= 0);
        self.fds.push((fd, target));
        self
    }

    /// The same command with one more descriptor, which lives for a shorter time.
    pub(crate) fn with_fd<'b>(&'b self, fd: BorrowedFd<'b>, target: RawFd) -> Spawn<'b> {
        let mut fds: Vec<_> = self.fds.iter().map(|&(fd, target)| (fd, target)).collect();
        fds.push((fd, target));
        Spawn { command: self, fds }
    }

    /// Where the child belongs.
    pub(crate) fn place(&mut self, place: &Place) -> Result<&mut Self, LaunchError> {
        for path in &place.cgroup_procs {
            let open = OpenOptions::new().write(true).open(path);
            let file = open.map_err(|cause| LaunchError::Start {
                path: path.clone(),
                what: "opening the cgroup",
                cause,
            })?;
            self.cgroups.push(file.into());
        }
        self.oom_score_adj = place.oom_score_adj;
        Ok(self)
    }

    pub(crate) fn new_session(&mut self, yes: bool) -> &mut Self {
        self.new_session = yes;
        self
    }

    /// Standard input, a terminal that is no session's, becomes that of the child's new session: what is typed there may
    /// interrupt it. (tty_ioctl(4), TIOCSCTTY)
    pub(crate) fn controlling_terminal(&mut self, yes: bool) -> &mut Self {
        self.controlling_terminal = yes;
        self
    }

    /// The child is killed when the *thread* that spawns it ends. (prctl(2), PR_SET_PDEATHSIG)
    pub(crate) fn die_with_parent(&mut self, yes: bool) -> &mut Self {
        self.die_with_parent = yes;
        self
    }

    /// Starts the process with the descriptors that were given so far.
    #[cfg(test)]
    pub(crate) fn spawn(&self) -> Result<Child, StartError> {
        Spawn {
            command: self,
            fds: self.fds.clone(),
        }
        .spawn()
    }
}

/// A command with all its descriptors.
pub(crate) struct Spawn<'a> {
    command: &'a Command<'a>,
    fds: Vec<(BorrowedFd<'a>, RawFd)>,
}

impl Spawn<'_> {
    /// Starts the process. On return it runs the program, or the error says which step failed.
    pub(crate) fn spawn(&self) -> Result<Child, StartError> {
        let command = self.command;
        let mut aside = Vec::with_capacity(self.fds.len());
        // Out of the way of every target.
        let first = self.fds.iter().map(|&(_, target)| target + 1).max().unwrap_or(0);
        for (fd, target) in &self.fds {
            aside.push((step("duplicating a descriptor", dup_aside(*fd, first))?, *target));
        }
        let fds: Vec<(RawFd, RawFd)> = aside
            .iter()
            .map(|(fd, target)| (fd.as_raw_fd(), *target))
            .collect();
        let cgroups: Vec<RawFd> = command.cgroups.iter().map(|fd| fd.as_raw_fd()).collect();
        let argv = pointers(&command.argv);
        let env = pointers(&command.env);
        let plan = Plan {
            program: command.program.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            first_closed: fds
                .iter()
                .map(|&(_, target)| target + 1)
                .max()
                .unwrap_or(0)
                .max(3),
            fds: &fds,
            cgroups: &cgroups,
            new_session: command.new_session,
            die_with_parent: command.die_with_parent,
            controlling_terminal: command.controlling_terminal,
            failed_step: AtomicI32::new(0),
            errno: AtomicI32::new(0),
        };
        let pid = step("clone", plan.clone_child())?;
        let errno = plan.errno.load(Ordering::Relaxed);
        if errno != 0 {
            reap(pid);
            let what = usize::try_from(plan.failed_step.load(Ordering::Relaxed)).ok();
            let what = what.and_then(|i| STEPS.get(i)).copied().unwrap_or("exec");
            return Err(StartError {
                what,
                cause: io::Error::from_raw_os_error(errno),
            });
        }
        // SAFETY: takes no pointers. The child has not been waited for, so the number is still its own.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match RawFd::try_from(pidfd) {
            Ok(fd) if fd >= 0 => {
                if let Some(score) = command.oom_score_adj {
                    // It cannot be refused to whoever may start VMs for others, and is no reason not to run.
                    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
                }
                // SAFETY: the kernel has just made this descriptor for us.
                let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
                Ok(Child { pid, pidfd })
            }
            _ => {
                let cause = io::Error::last_os_error();
                // SAFETY: takes no pointers; the child is ours and not yet waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                reap(pid);
                Err(StartError {
                    what: "pidfd_open (Linux 5.3 or newer is needed)",
                    cause,
                })
            }
        }
    }
}

fn reap(pid: libc::pid_t) {
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

fn dup_aside(fd: BorrowedFd<'_>, first: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

const STEPS: &[&str] = &[
    "exec",
    "setsid",
    "PR_SET_PDEATHSIG",
    "joining the cgroup",
    "dup2",
    "closing other descriptors",
    "TIOCSCTTY",
];

/// All that the child needs, prepared by the parent: the child shares its memory and must not allocate.
struct Plan<'a> {
    program: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    first_closed: RawFd,
    fds: &'a [(RawFd, RawFd)],
    cgroups: &'a [RawFd],
    new_session: bool,
    die_with_parent: bool,
    controlling_terminal: bool,
    failed_step: AtomicI32,
    errno: AtomicI32,
}

/// Stack of the child until it runs the program.
const STACK: usize = 64 << 10;

impl Plan<'_> {
    fn clone_child(&self) -> io::Result<libc::pid_t> {
        let mut stack = vec![0u128; STACK / size_of::<u128>()];
        // SAFETY: both signal sets are plain integers, for which zero is a valid value.
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
        // SAFETY: pointers to locals. With all signals blocked no handler of the parent runs in the child, where it
        // would work on the parent's memory.
        unsafe {
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        }
        let arg = std::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the stack grows down from the end of `stack`, which is 16-byte aligned; CLONE_VFORK keeps this
        // thread, and with it the stack and the plan, where they are until the child has left them.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
            libc::clone(
                in_child,
                top,
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                arg,
            )
        };
        let error = io::Error::last_os_error();
        // SAFETY: pointer to a local.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
        if pid < 0 { Err(error) } else { Ok(pid) }
    }

    fn fail(&self, step: i32) -> ! {
        // SAFETY: errno of this thread; the parent's thread, which shares it, is asleep.
        let errno = unsafe { *libc::__errno_location() };
        self.failed_step.store(step, Ordering::Relaxed);
        self.errno.store(errno, Ordering::Relaxed);
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(127) }
    }
}

/// Runs in the child, in the parent's memory: system calls only.
extern "C" fn in_child(arg: *mut c_void) -> c_int {
    // SAFETY: `clone_child` passes its plan, which lives until the child has left.
    let plan = unsafe { &*arg.cast::<Plan<'_>>() };
    // SAFETY: system calls on numbers and on pointers that the plan keeps valid. Signal dispositions and descriptors
    // are the child's own (neither CLONE_SIGHAND nor CLONE_FILES is given).
    unsafe {
        // Handlers go at exec, but what the parent ignores would stay ignored.
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..32 {
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        if plan.new_session && libc::setsid() < 0 {
            plan.fail(1);
        }
        if plan.die_with_parent && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            plan.fail(2);
        }
        for &fd in plan.cgroups {
            // "0" stands for the writer itself.
            if libc::write(fd, c"0".as_ptr().cast(), 1) != 1 {
                plan.fail(3);
            }
        }
        for &(from, to) in plan.fds {
            if libc::dup2(from, to) < 0 {
                plan.fail(4);
            }
        }
        if !close_on_exec_from(plan.first_closed) {
            plan.fail(5);
        }
        if plan.controlling_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
            plan.fail(6);
        }
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut blocked);
        // It would end a process that does not read it yet.
        libc::sigaddset(&mut blocked, mote_config::signal::MEMORY_LIMIT);
        libc::sigprocmask(libc::SIG_SETMASK, &blocked, std::ptr::null_mut());
        libc::execve(plan.program, plan.argv, plan.env);
    }
    plan.fail(0)
}

/// Marks every descriptor from `first` on to be closed by exec, whoever opened it.
///
/// # Safety
/// Only for a process that is about to run another program.
unsafe fn close_on_exec_from(first: RawFd) -> bool {
    /// `CLOSE_RANGE_CLOEXEC` of linux/close_range.h, Linux 5.11.
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: takes no pointers.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOEXEC) } == 0 {
        return true;
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: pointer to a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return false;
    }
    let end = RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX).min(1 << 20);
    for fd in first..end {
        // SAFETY: takes no pointers; a number that is not open fails harmlessly.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    true
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::AsFd};

    use super::*;
    use crate::process::{Status, send_signal};

    fn shell(script: &str) -> Command<'static> {
        let mut command = Command::new(Path::new("/bin/sh"), "sh").unwrap();
        command.arg("-c").unwrap().arg(script).unwrap();
        command
    }

    fn output(command: &Command<'_>) -> String {
        let (mut read, write) = io::pipe().unwrap();
        let child = command.with_fd(write.as_fd(), 1).spawn().unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text
    }

    #[test]
    fn descriptors_are_those_given_and_no_others() {
        // One without close-on-exec, as careless code leaves them.
        let file = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: takes no pointers.
        let leak = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 50) };
        assert!(leak >= 50);
        // No shell's pipe: it would be open in the shell for a moment, too.
        let mut command = shell("exec ls -l /proc/self/fd");
        command
            .fd(file.as_fd(), 4)
            .fd(file.as_fd(), 3)
            .fd(file.as_fd(), 0);
        let text = output(&command);
        let links = text.lines().filter_map(|line| line.split_once(" -> "));
        // The directory that `ls` reads is open as well.
        let links = links.filter(|(_, target)| !target.ends_with("/fd"));
        let fds: Vec<&str> = links.filter_map(|(left, _)| left.rsplit(' ').next()).collect();
        assert_eq!(fds, ["0", "1", "2", "3", "4"], "{text}");
        assert!(
            text.contains("4 -> /dev/null") && text.contains("0 -> /dev/null"),
            "{text}"
        );
        // SAFETY: the descriptor was made above.
        unsafe { libc::close(leak) };
    }

    #[test]
    fn environment_is_empty_but_for_what_is_given() {
        let mut command = shell("env | grep -v -e '^PWD=' -e '^_=' -e '^SHLVL='");
        command.env("MARK", OsStr::new("1")).unwrap();
        assert_eq!(output(&command).trim(), "MARK=1");
    }

    #[test]
    fn the_step_that_failed_is_named() {
        let error = Command::new(Path::new("/nonexistent"), "x")
            .unwrap()
            .spawn()
            .unwrap_err();
        assert_eq!(error.what, "exec");
        assert_eq!(error.cause.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn exit_codes_and_signals_come_back() {
        assert_eq!(
            shell("exit 7").spawn().unwrap().wait().unwrap(),
            Status::Exited(7)
        );
        let child = shell("exec sleep 100").spawn().unwrap();
        send_signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap(), Status::Killed(libc::SIGKILL));
    }

    #[test]
    fn the_score_is_the_childs_own() {
        // Raising it needs no privilege, and the child sleeps until it is told.
        let (mut read, write) = std::io::pipe().unwrap();
        let (told, tell) = std::io::pipe().unwrap();
        let mut command = shell("read x; cat /proc/self/oom_score_adj");
        let place = Place {
            oom_score_adj: Some(777),
            ..Place::default()
        };
        command.fd(told.as_fd(), 0).place(&place).unwrap();
        let child = command.with_fd(write.as_fd(), 1).spawn().unwrap();
        drop((write, told, tell));
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!((text.trim(), child.wait().unwrap()), ("777", Status::Exited(0)));
    }
}
