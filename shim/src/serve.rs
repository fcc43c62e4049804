//! A component that serves HTTP: a front and its VMs in the pod's network namespace, in place of one VM.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, mpsc};

use mote_config::front::{FrontConfig, Outgoing};
use mote_config::{Exit, Reason, Stats, VmmConfig};
use mote_launch::Place;
use mote_launch::serve::{Event, Handle, Serve, default_vms};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::spec::{Spec, SpecError};
use crate::vm::VmError;

/// Annotation of a pod or container: the TCP port that a component serves at.
const PORT: &str = "mote/port";
/// Annotation of a pod or container: most requests that are served at once, each in a VM of its own.
const VMS: &str = "mote/max-vms";
/// The kubelet's annotation of a container with the ports that the pod names, as JSON. (`pkg/kubelet/kuberuntime`,
/// `containerPortsLabel`)
const CONTAINER_PORTS: &str = "io.kubernetes.container.ports";
/// The port where nothing names one: that of `mote serve`.
const DEFAULT_PORT: u16 = 8080;
/// Time to finish what is under way after SIGTERM, in milliseconds. The pod's own grace period ends it before, by
/// SIGKILL.
const DRAIN_MS: u64 = 3_600_000;

/// How a component serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    port: u16,
    vms: Option<u32>,
}

/// One of the ports of a container, as the kubelet writes them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    container_port: u16,
    #[serde(default)]
    protocol: String,
}

impl Service {
    /// What the spec says.
    ///
    /// # Errors
    /// [`SpecError::Annotation`] for a value that is no number.
    pub(crate) fn of(spec: &Spec) -> Result<Service, SpecError> {
        let port = match number(spec, PORT)? {
            Some(port) => port,
            None => container_port(spec).unwrap_or(DEFAULT_PORT),
        };
        Ok(Service {
            port,
            vms: number(spec, VMS)?.filter(|n| *n > 0),
        })
    }
}

fn number<T: std::str::FromStr>(spec: &Spec, name: &'static str) -> Result<Option<T>, SpecError> {
    let Some(text) = spec.annotations.get(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| SpecError::Annotation {
        name,
        value: text.clone(),
    })
}

/// The first TCP port. An annotation that is not understood is as good as none: it is not the user's own.
fn container_port(spec: &Spec) -> Option<u16> {
    let ports: Vec<ContainerPort> = serde_json::from_str(spec.annotations.get(CONTAINER_PORTS)?).ok()?;
    let tcp = |port: &&ContainerPort| port.protocol.is_empty() || port.protocol == "TCP";
    ports.iter().find(tcp).map(|port| port.container_port)
}

/// All that a server takes, to be moved into its thread.
pub(crate) struct Plan {
    pub node: Arc<crate::vm::Node>,
    pub service: Service,
    pub config: VmmConfig,
    pub code: OwnedFd,
    pub name: String,
    pub preopens: Vec<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub place: Place,
    /// The pod's network namespace; the host's without one.
    pub netns: Option<OwnedFd>,
}

/// A component that serves.
pub(crate) struct Server {
    pub pid: u32,
    ended: oneshot::Receiver<Exit>,
    killer: Killer,
}

/// Sends signals to a [`Server`].
#[derive(Clone)]
pub(crate) struct Killer {
    handle: Handle,
    /// The first signal that asked it to end.
    signal: Arc<AtomicI32>,
}

impl Killer {
    /// Does what the signal would do: SIGKILL ends at once, what asks a process to end lets requests finish.
    pub(crate) fn signal(&self, signal: i32) {
        match signal {
            libc::SIGKILL => {
                self.signal.store(signal, Ordering::Release);
                self.handle.kill();
            }
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
                let none = (Ordering::AcqRel, Ordering::Acquire);
                let _ = self.signal.compare_exchange(0, signal, none.0, none.1);
                self.handle.stop();
            }
            _ => {}
        }
    }

    /// Sets the most guest memory of each VM in bytes.
    pub(crate) fn set_memory_limit(&self, bytes: u64) {
        self.handle.set_memory_limit(bytes);
    }
}

impl Server {
    /// Starts the front and a first VM, in a thread that is theirs: they end with it.
    ///
    /// # Errors
    /// A [`VmError`]; no process is left then.
    pub(crate) fn start(plan: Plan) -> Result<Server, VmError> {
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let signal = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&signal);
        std::thread::Builder::new()
            .name("serve".into())
            .spawn(move || {
                let started = serve(&plan, |pid, handle| {
                    // The caller waits for this.
                    let _ = tell.send(Ok((pid, handle)));
                });
                match started {
                    Ok(exit) => {
                        let _ = end.send(by_signal(exit, seen.load(Ordering::Acquire)));
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                    }
                }
            })
            .map_err(VmError::Thread)?;
        let thread_ended = || VmError::Thread(io::Error::other("it has ended"));
        let (pid, handle) = told.recv().map_err(|_| thread_ended())??;
        let killer = Killer { handle, signal };
        Ok(Server { pid, ended, killer })
    }

    pub(crate) fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Waits for the end; `None` if the thread was lost.
    pub(crate) async fn wait(self) -> Option<Exit> {
        self.ended.await.ok()
    }
}

/// Starts and serves to the end. Errors are those of the start.
fn serve(plan: &Plan, started: impl FnOnce(u32, Handle)) -> Result<Exit, VmError> {
    if let Some(netns) = &plan.netns {
        // This thread alone, and with it what it starts. (setns(2))
        nix::sched::setns(netns.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(|e| VmError::Thread(e.into()))?;
    }
    let serving = Serve {
        node: plan.node.inner(),
        front: front(plan),
        vm: plan.config.clone(),
        code: plan.code.as_fd(),
        name: plan.name.clone(),
        listeners: vec![listen(plan.service.port)?],
        preopens: copies(&plan.preopens)?,
        stdout: Some(plan.stdout.try_clone().map_err(VmError::Stdio)?),
        stderr: Some(plan.stderr.try_clone().map_err(VmError::Stdio)?),
        place: plan.place.clone(),
        netns: None,
    }
    .start()?;
    started(serving.pid().unsigned_abs(), serving.handle());
    let name = &plan.name;
    let ended = serving.run(|event| match event {
        Event::Ready => log::info!("{name} serves at port {}", plan.service.port),
        Event::Ended { exit, .. } => {
            if let Some(message) = &exit.message {
                log::info!("a VM of {name} ended with {}: {message}", exit.code);
            }
        }
        Event::Failed(error) => log::error!("a VM of {name}: {error}"),
        Event::FrontFailed(why) => log::error!("{name}: {why}; it is started anew"),
    });
    Ok(match ended {
        Ok(code) => exit(code, Reason::Exited, None),
        Err(error) => exit(
            mote_config::exit::INTERNAL,
            Reason::Internal,
            Some(error.to_string()),
        ),
    })
}

fn exit(code: u8, reason: Reason, message: Option<String>) -> Exit {
    Exit {
        code,
        reason,
        message,
        stats: Stats::default(),
    }
}

/// A server ends because it is told to; its exit code says by which signal, as that of any process does.
fn by_signal(ended: Exit, signal: i32) -> Exit {
    match u8::try_from(signal) {
        Ok(signal) if signal > 0 => exit(128 + signal, Reason::Signal, None),
        _ => ended,
    }
}

fn front(plan: &Plan) -> FrontConfig {
    let network = &plan.config.network;
    let outgoing = network.http.then(|| Outgoing {
        resolv_conf: network.resolv_conf.clone(),
        hosts: network.hosts.clone(),
        roots: mote_launch::roots().unwrap_or_else(|error| {
            log::warn!("{error}; no TLS server will be trusted");
            String::new()
        }),
    });
    FrontConfig {
        drain_ms: DRAIN_MS,
        outgoing,
        ..FrontConfig::new(1, plan.service.vms.unwrap_or_else(default_vms))
    }
}

/// Listens at all addresses of the pod: those of both families where the kernel has IPv6.
fn listen(port: u16) -> Result<TcpListener, VmError> {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    TcpListener::bind(all)
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .map_err(|source| VmError::Listen { port, source })
}

fn copies(fds: &[OwnedFd]) -> Result<Vec<OwnedFd>, VmError> {
    fds.iter()
        .map(|fd| fd.try_clone().map_err(VmError::Stdio))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(annotations: &serde_json::Value) -> Result<Service, SpecError> {
        let spec = serde_json::json!({ "annotations": annotations });
        Service::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_port_is_the_annotations_then_the_pods_then_8080() {
        let ports =
            r#"[{"containerPort":53,"protocol":"UDP"},{"name":"web","containerPort":9090,"protocol":"TCP"}]"#;
        let port = |annotations: serde_json::Value| service(&annotations).unwrap().port;
        assert_eq!(port(serde_json::json!({})), 8080);
        assert_eq!(port(serde_json::json!({ CONTAINER_PORTS: ports })), 9090);
        assert_eq!(
            port(serde_json::json!({ CONTAINER_PORTS: ports, PORT: "80" })),
            80
        );
        assert_eq!(port(serde_json::json!({ CONTAINER_PORTS: "nonsense" })), 8080);
        let error = service(&serde_json::json!({ PORT: "70000" })).unwrap_err();
        assert!(error.to_string().contains("70000"), "{error}");
        let vms = service(&serde_json::json!({ VMS: "3" })).unwrap().vms;
        assert_eq!(vms, Some(3));
    }

    #[test]
    fn a_signal_decides_the_exit_code() {
        let ended = || exit(0, Reason::Exited, None);
        assert_eq!(by_signal(ended(), 0).code, 0);
        assert_eq!(by_signal(ended(), libc::SIGTERM).code, 143);
        assert_eq!(by_signal(ended(), libc::SIGKILL).code, 137);
    }
}
