//! HTTP requests of a command to the outside: a front without listeners, started by the first request.
//!
//! Most programs that may make requests never do (the toolchains of some languages import `wasi:http` into whatever
//! they build), so a thread of the parent watches the VM's socket and pays for the process when something comes.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use mote_config::front::{FrontConfig, Message, Outgoing};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    Node, Place, broker,
    error::{Error, LaunchError},
    front::{Front, Process, socket_pair},
    roots,
};

/// A front that fails sooner than this is not started again.
const WORKED: Duration = Duration::from_secs(5);

/// What the front of one command takes.
#[derive(Debug)]
pub struct Requests {
    pub node: Node,
    /// What the process is called in `ps`.
    pub name: String,
    /// Texts of the resolv.conf(5) and hosts(5) that names are looked up by.
    pub resolv_conf: String,
    pub hosts: String,
    /// Where the kernel counts the process.
    pub place: Place,
    /// Network namespace of the requests; the caller's own without.
    pub netns: Option<OwnedFd>,
}

/// Watches for a VM's first request. The result is the VMM's end of the socket: all ends when its last copy is closed.
///
/// `failed` is told why requests cannot be made, from the thread that watches; the program gets an error code.
///
/// # Errors
/// If the socket or the thread cannot be made.
pub fn start(requests: Requests, failed: impl FnOnce(&Error) + Send + 'static) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket_pair()?;
    thread::Builder::new()
        .name("outgoing".into())
        .stack_size(128 << 10)
        .spawn(move || {
            if let Err(error) = requests.serve(&ours) {
                failed(&error);
            }
        })?;
    Ok(theirs)
}

impl Requests {
    /// Serves until the VM is gone. An error closes the socket, so that no request waits for ever.
    fn serve(&self, vm: &OwnedFd) -> Result<(), Error> {
        let prepare = |what| move |cause| LaunchError::Prepare { what, cause };
        if !readable(vm).map_err(prepare("the front's socket"))? {
            return Ok(());
        }
        if let Some(netns) = &self.netns {
            broker::enter(netns.as_fd()).map_err(prepare("the network namespace"))?;
        }
        let config = FrontConfig {
            outgoing: Some(Outgoing {
                resolv_conf: self.resolv_conf.clone(),
                hosts: self.hosts.clone(),
                roots: roots()?,
            }),
            ..FrontConfig::new(0, 1)
        };
        loop {
            let began = Instant::now();
            let front = Front::start(&Process {
                node: &self.node,
                config: &config,
                name: &self.name,
                listeners: &[],
                place: &self.place,
            })?;
            front.say(Message::Vm(0), Some(vm.as_fd()));
            let gone = hung_up(vm, &front).map_err(prepare("the front"))?;
            front.kill();
            let ended = front.status();
            if gone {
                return Ok(());
            }
            if began.elapsed() < WORKED {
                let why = match ended {
                    Ok(code) => format!("mote-http exited with {code}"),
                    Err(why) => why,
                };
                return Err(LaunchError::Front { why }.into());
            }
            if !readable(vm).map_err(prepare("the front's socket"))? {
                return Ok(());
            }
        }
    }
}

fn wait(entries: &mut [PollFd<'_>]) -> io::Result<()> {
    loop {
        match poll(entries, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits until the VM has sent something, or is gone; false for gone.
fn readable(vm: &OwnedFd) -> io::Result<bool> {
    let mut entries = [PollFd::new(vm.as_fd(), PollFlags::POLLIN)];
    wait(&mut entries)?;
    let flags = entries[0].revents().unwrap_or(PollFlags::empty());
    Ok(!flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// Waits until the VM is gone or the front has ended; true for gone.
fn hung_up(vm: &OwnedFd, front: &Front) -> io::Result<bool> {
    // That it hangs up is told without being asked for. (poll(2), POLLHUP)
    let vm = PollFd::new(vm.as_fd(), PollFlags::empty());
    let mut entries = [vm, PollFd::new(front.process(), PollFlags::POLLIN)];
    wait(&mut entries)?;
    Ok(entries[0].revents().is_some_and(|flags| !flags.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(bin: &std::path::Path) -> Requests {
        Requests {
            node: Node::new(bin, bin, crate::Limits::default()).unwrap(),
            name: "test".into(),
            resolv_conf: String::new(),
            hosts: String::new(),
            place: Place::default(),
            netns: None,
        }
    }

    #[test]
    fn nothing_is_started_for_a_program_that_asks_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let vm = start(requests(folder.path()), move |error| {
            tell.send(error.to_string()).unwrap();
        })
        .unwrap();
        drop(vm);
        assert!(told.recv().is_err(), "there is no mote-http in this folder");
    }

    #[test]
    fn a_front_that_cannot_start_ends_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let vm = start(requests(folder.path()), move |error| {
            tell.send(error.to_string()).unwrap();
        })
        .unwrap();
        assert_eq!(nix::unistd::write(&vm, b"O"), Ok(1));
        let text = told.recv().unwrap();
        assert!(text.contains("mote-http"), "{text}");
        // What it asked for was never read.
        assert_eq!(nix::unistd::read(&vm, &mut [0; 1]), Err(Errno::ECONNRESET));
    }
}
