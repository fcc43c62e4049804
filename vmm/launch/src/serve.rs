//! Keeps a component serving: the HTTP front, and as many VMs as it wants.
//!
//! The front (`mote-http`) owns the listening sockets' traffic and decides how many VMs there are; what it decides,
//! this does. It is jailed and its word is checked: it can have VMs up to the limit, and end VMs of its own.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use mote_config::{
    Exit, VmmConfig,
    front::{FrontConfig, Message},
};

use handle::Stop;

use crate::{
    Killer, Launch, Node, Place, Vmm, broker,
    error::{Error, LaunchError},
    front::{Front, Heard, Process, socket_pair, wait},
};

pub use handle::Handle;

mod handle;

/// Time that VMs have to finish what they do after the front has failed, before they are asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// The same after a front that ended because it was told to: whoever still does something has had its time, and who
/// does nothing ends by itself in less.
const FAREWELL: Duration = Duration::from_millis(200);

/// Time between the polite and the other signal for a VM.
const PATIENCE: Duration = Duration::from_secs(2);

/// A front that fails sooner than this fails for good; one that has worked so long is started anew.
const WORKED: Duration = Duration::from_secs(5);

/// All that serving takes.
#[derive(Debug)]
pub struct Serve<'a> {
    pub node: &'a Node,
    pub front: FrontConfig,
    pub vm: VmmConfig,
    /// The compiled component.
    pub code: BorrowedFd<'a>,
    /// What the processes are called in `ps`.
    pub name: String,
    /// At most [`mote_config::front::fd::LISTENERS_MAX`].
    pub listeners: Vec<TcpListener>,
    /// The open directories of the configuration's preopens, in order.
    pub preopens: Vec<OwnedFd>,
    /// Standard output and error of the VMs; this process's own without.
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// Where the kernel counts all its processes.
    pub place: Place,
    /// Network namespace of the VMs' sockets; this thread's own without.
    pub netns: Option<OwnedFd>,
}

/// What happens while a component serves.
#[derive(Debug)]
pub enum Event<'a> {
    /// Connections are accepted.
    Ready,
    /// A VM has ended. If it has not told its program's standard error why, `told` is false.
    Ended { exit: &'a Exit, told: bool },
    /// A VM could not be started.
    Failed(&'a Error),
    /// The front has failed and is started anew.
    FrontFailed(&'a str),
}

/// Most VMs where nobody says it: requests wait for more than processors (other servers, files, clients).
#[must_use]
pub fn default_vms() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    u32::try_from(processors)
        .unwrap_or(u32::MAX)
        .saturating_mul(4)
        .max(8)
}

/// A VM that runs.
#[derive(Debug)]
struct Running {
    vmm: Vmm,
    killer: Killer,
    /// When it gets the next signal, if it is to end: SIGTERM, then SIGKILL.
    due: Option<Instant>,
    /// It has had the first.
    asked: bool,
}

/// A component that serves.
#[derive(Debug)]
pub struct Serving<'a> {
    serve: Serve<'a>,
    stop: Arc<Stop>,
    front: Front,
    vms: BTreeMap<u32, Running>,
    next: u32,
}

impl<'a> Serve<'a> {
    /// Starts the front and a first VM. To be called by the thread that calls [`Serving::run`]: the processes end with
    /// it.
    ///
    /// # Errors
    /// If KVM or an executable is missing, or if a step of the start fails; nothing is left behind then.
    pub fn start(self) -> Result<Serving<'a>, Error> {
        let front = Front::start(&self.process())?;
        let mut serving = Serving {
            stop: Arc::default(),
            front,
            vms: BTreeMap::new(),
            next: 0,
            serve: self,
        };
        serving.stop.publish(serving.front.killer());
        let started = serving.start_vm();
        if let Err(e) = started {
            serving.front.kill();
            return Err(e);
        }
        Ok(serving)
    }

    fn process(&self) -> Process<'_> {
        Process {
            node: self.node,
            config: &self.front,
            name: &self.name,
            listeners: &self.listeners,
            place: &self.place,
        }
    }
}

impl Serving<'_> {
    /// The front's process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.front.killer().child().pid
    }

    /// A handle to end it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.stop))
    }

    /// Serves until it is stopped and everything has ended; the exit code of the front: 0 after a drain,
    /// [`mote_config::exit::TERMINATED`] if it was stopped a second time.
    ///
    /// # Errors
    /// If the front fails, and not only now and then.
    pub fn run(mut self, mut told: impl FnMut(Event<'_>)) -> Result<u8, Error> {
        loop {
            let began = Instant::now();
            let ended = self.until_the_front_ends(&mut told);
            let stopped = self.stop.asked();
            self.end_vms(stopped, &mut told);
            let why = match ended {
                Ok(code) if stopped || code == 0 => return Ok(code),
                Ok(code) => format!("mote-http exited with {code}"),
                Err(why) if stopped => {
                    let _ = why;
                    return Ok(mote_config::exit::TERMINATED);
                }
                Err(why) => why,
            };
            if began.elapsed() < WORKED {
                return Err(LaunchError::Front { why }.into());
            }
            told(Event::FrontFailed(&why));
            self.front = Front::start(&self.serve.process())?;
            self.stop.publish(self.front.killer());
            self.start_vm()?;
        }
    }

    fn until_the_front_ends(&mut self, told: &mut impl FnMut(Event<'_>)) -> Result<u8, String> {
        loop {
            let mut fds = vec![self.front.process(), self.front.control()];
            fds.extend(self.vms.values().map(|vm| vm.killer.as_fd()));
            let ready = wait(&fds, self.due()).map_err(|e| format!("poll: {e}"))?;
            let (ended, heard) = (ready[0], ready[1]);
            let vms: Vec<u32> = self
                .vms
                .keys()
                .zip(&ready[2..])
                .filter_map(|(id, ready)| ready.then_some(*id))
                .collect();
            for id in vms {
                self.reap(id, told);
            }
            self.end_overdue();
            if heard {
                while let Some(heard) = self.front.hear() {
                    self.obey(heard, told);
                }
            }
            if ended {
                return self.front.status();
            }
        }
    }

    fn obey(&mut self, heard: Heard, told: &mut impl FnMut(Event<'_>)) {
        match heard {
            Heard::Message(Message::Ready) => told(Event::Ready),
            Heard::Message(Message::Wanted) => {
                let most = usize::try_from(self.serve.front.vms_max).unwrap_or(usize::MAX);
                // Those that were let go and finish what they do are not many, and not the front's to count.
                let started = if self.vms.len() < most.saturating_mul(2) {
                    self.start_vm()
                } else {
                    Err(LaunchError::Front {
                        why: "mote-http asks for more VMs than it may have".into(),
                    }
                    .into())
                };
                if let Err(e) = started {
                    told(Event::Failed(&e));
                    self.front.say(Message::Failed, None);
                }
            }
            Heard::Message(Message::End(id)) => {
                if let Some(vm) = self.vms.get_mut(&id)
                    && vm.due.is_none()
                {
                    vm.due = Some(Instant::now());
                }
            }
            // Nothing else is the front's to say.
            Heard::Message(_) | Heard::Nonsense => self.front.kill(),
        }
    }

    /// Starts a VM and hands the front its end of their socket.
    fn start_vm(&mut self) -> Result<(), Error> {
        let prepare = |what| move |cause| LaunchError::Prepare { what, cause };
        let (fronts, vms) = socket_pair().map_err(prepare("a socket"))?;
        let serve = &self.serve;
        let mut config = serve.vm.clone();
        config.memory_limit = self.stop.memory_limit().unwrap_or(config.memory_limit);
        let mut launch = Launch::new(serve.node, &config, serve.code, &serve.name)
            .front(vms)
            .die_with_parent(true)
            .new_session(true)
            .place(serve.place.clone());
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(prepare("a descriptor"));
        for preopen in &serve.preopens {
            launch = launch.preopen(copy(preopen)?);
        }
        if serve.vm.network.needs_broker() {
            let netns = serve.netns.as_ref().map(copy).transpose()?;
            launch = launch.broker(broker::start(netns).map_err(prepare("the broker"))?);
        }
        if let Some(stdout) = &serve.stdout {
            launch = launch.stdout(copy(stdout)?);
        }
        if let Some(stderr) = &serve.stderr {
            launch = launch.stderr(copy(stderr)?);
        }
        // Many VMs share one terminal, and none of them is asked for anything.
        let null = std::fs::File::open("/dev/null").map_err(prepare("/dev/null"))?;
        let vmm = launch.stdin(null).spawn()?;
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.front.say(Message::Vm(id), Some(fronts.as_fd()));
        let killer = vmm.killer();
        self.stop.add(id, killer.clone(), config.memory_limit);
        let running = Running {
            vmm,
            killer,
            due: None,
            asked: false,
        };
        self.vms.insert(id, running);
        Ok(())
    }

    fn reap(&mut self, id: u32, told: &mut impl FnMut(Event<'_>)) {
        let Some(vm) = self.vms.remove(&id) else { return };
        self.stop.remove(id);
        match vm.vmm.wait_told() {
            Ok((exit, has_told)) => told(Event::Ended {
                exit: &exit,
                told: has_told,
            }),
            Err(e) => told(Event::Failed(&e)),
        }
    }

    /// When the next VM gets a signal.
    fn due(&self) -> Option<Instant> {
        self.vms.values().filter_map(|vm| vm.due).min()
    }

    fn end_overdue(&mut self) {
        let now = Instant::now();
        for vm in self.vms.values_mut() {
            if vm.due.is_some_and(|due| due <= now) {
                let asked = std::mem::replace(&mut vm.asked, true);
                let _ = vm.killer.kill(if asked { libc::SIGKILL } else { libc::SIGTERM });
                // After the second it ends soon; killing it again does no harm.
                vm.due = Some(now + PATIENCE);
            }
        }
    }

    /// VMs end by themselves when the front has gone; those that do not are made to.
    fn end_vms(&mut self, stopped: bool, told: &mut impl FnMut(Event<'_>)) {
        let at_once = self.stop.at_once();
        let time = match (at_once, stopped) {
            (true, _) => Duration::ZERO,
            (false, true) => FAREWELL,
            (false, false) => GRACE,
        };
        let due = Instant::now() + time;
        for vm in self.vms.values_mut() {
            vm.asked |= at_once;
            vm.due = Some(vm.due.map_or(due, |earlier| earlier.min(due)));
        }
        self.end_overdue();
        while !self.vms.is_empty() {
            let fds: Vec<_> = self.vms.values().map(|vm| vm.killer.as_fd()).collect();
            let Ok(ready) = wait(&fds, self.due()) else { return };
            let ended: Vec<u32> = self
                .vms
                .keys()
                .zip(&ready)
                .filter_map(|(id, ready)| ready.then_some(*id))
                .collect();
            for id in ended {
                self.reap(id, told);
            }
            self.end_overdue();
        }
    }
}

#[cfg(test)]
mod tests;
