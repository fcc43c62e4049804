//! Pods by CRI, step by step as the kubelet does it: cgroup, sandbox, container, log, stop, remove.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::containerd::Containerd;
use crate::cri::Cri;
use crate::cri::log::Log;
use crate::cri::messages::*;
use crate::{images, leaks};

mod spec;

pub use spec::Spec;

/// A pod. Removed by [`Pod::remove`], or, for a test that fails before that, when dropped.
#[derive(Debug)]
pub struct Pod<'a> {
    daemon: &'a Containerd,
    pub cri: Cri,
    pub id: String,
    config: PodSandboxConfig,
    containers: Vec<String>,
    removed: bool,
}

impl<'a> Pod<'a> {
    /// Runs the sandbox of a new pod under Mote.
    ///
    /// # Errors
    /// The runtime's.
    pub fn run(daemon: &'a Containerd, name: &str) -> Result<Pod<'a>> {
        Pod::run_with(daemon, name, daemon.handler)
    }

    /// Runs the sandbox of a new pod.
    ///
    /// # Errors
    /// The runtime's.
    pub fn run_with(daemon: &'a Containerd, name: &str, handler: &str) -> Result<Pod<'a>> {
        Pod::run_as(daemon, name, handler, |_| {})
    }

    /// Runs the sandbox of a new pod under Mote that the kubelet would describe otherwise.
    ///
    /// # Errors
    /// The runtime's.
    pub fn run_edited(
        daemon: &'a Containerd,
        name: &str,
        edit: impl FnOnce(&mut PodSandboxConfig),
    ) -> Result<Pod<'a>> {
        Pod::run_as(daemon, name, daemon.handler, edit)
    }

    fn run_as(
        daemon: &'a Containerd,
        name: &str,
        handler: &str,
        edit: impl FnOnce(&mut PodSandboxConfig),
    ) -> Result<Pod<'a>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        images::import_pause(daemon)?;
        let uid = format!(
            "{name}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = format!("{}/pod-{uid}", daemon.cgroup);
        let logs = daemon.root.join("logs").join(&uid);
        fs::create_dir_all(&logs)?;
        let mut config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                uid,
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: logs.display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: cgroup,
                security_context: Some(SandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: 1,
                        ..NamespaceOption::default()
                    }),
                }),
            }),
            ..PodSandboxConfig::default()
        };
        edit(&mut config);
        make_cgroup(config.linux.as_ref().map_or("", |linux| &linux.cgroup_parent));
        let cri = Cri::connect(daemon)?;
        let mut pod = Pod {
            daemon,
            cri,
            id: String::new(),
            config: config.clone(),
            containers: Vec::new(),
            removed: false,
        };
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler.into(),
        };
        pod.id = pod
            .cri
            .run_pod_sandbox(request)
            .context("RunPodSandbox")?
            .pod_sandbox_id;
        Ok(pod)
    }

    /// Its cgroup, as in `/proc/PID/cgroup`.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        self.config
            .linux
            .as_ref()
            .map_or("", |linux| &linux.cgroup_parent)
    }

    /// Whose network its containers ask for, as in [`NamespaceOption`].
    fn network(&self) -> i32 {
        let linux = self.config.linux.as_ref();
        let context = linux.and_then(|linux| linux.security_context.as_ref());
        let options = context.and_then(|context| context.namespace_options.as_ref());
        options.map_or(0, |options| options.network)
    }

    /// Its address, if CNI gave one.
    ///
    /// # Errors
    /// The runtime's.
    pub fn ip(&self) -> Result<String> {
        let status = self
            .cri
            .pod_sandbox_status(self.request())?
            .status
            .unwrap_or_default();
        Ok(status.network.unwrap_or_default().ip)
    }

    /// Creates a container.
    ///
    /// # Errors
    /// The runtime's.
    pub fn create(&mut self, spec: &Spec) -> Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(spec.config(self.network())),
            sandbox_config: Some(self.config.clone()),
        };
        let id = self
            .cri
            .create_container(request)
            .context("CreateContainer")?
            .container_id;
        self.containers.push(id.clone());
        Ok(id)
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// The runtime's.
    pub fn start(&mut self, spec: &Spec) -> Result<String> {
        let id = self.create(spec)?;
        self.start_created(&id)?;
        Ok(id)
    }

    /// Starts a container that was created.
    ///
    /// # Errors
    /// The runtime's.
    pub fn start_created(&self, id: &str) -> Result<()> {
        self.cri
            .start_container(container(id))
            .context("StartContainer")?;
        Ok(())
    }

    /// Runs a container to its end.
    ///
    /// # Errors
    /// The runtime's, or if it takes more than a minute.
    pub fn run_container(&mut self, spec: &Spec) -> Result<(ContainerStatus, Log)> {
        let id = self.start(spec)?;
        let status = self.wait(&id)?;
        Ok((status, self.log(&spec.name)?))
    }

    /// What the kubelet does for `kubectl exec` without a terminal, and for exec probes. The limit is in seconds.
    ///
    /// # Errors
    /// The runtime's.
    pub fn exec(&self, id: &str, words: &[&str], timeout: i64) -> Result<ExecSyncResponse, tonic::Status> {
        self.cri.exec_sync(ExecSyncRequest {
            container_id: id.into(),
            cmd: words.iter().map(ToString::to_string).collect(),
            timeout,
        })
    }

    /// What a container prints that has to succeed.
    ///
    /// # Errors
    /// As [`Pod::run_container`], or that it failed.
    pub fn output(&mut self, spec: &Spec) -> Result<String> {
        let (status, log) = self.run_container(spec)?;
        ensure!(status.exit_code == 0, "{status:?} {log:?}");
        Ok(log.stdout)
    }

    /// A container's status.
    ///
    /// # Errors
    /// The runtime's.
    pub fn status(&self, id: &str) -> Result<ContainerStatus> {
        self.cri
            .container_status(container(id))
            .context("ContainerStatus")?
            .status
            .context("no status")
    }

    /// Waits for a container's end, and until its log is whole: containerd tells of the end when it has read the streams,
    /// and a thread of its own may still be writing the last of it to the log. (`redirectLogs` of `logger.go`)
    ///
    /// # Errors
    /// The runtime's, or if it takes more than a minute.
    pub fn wait(&self, id: &str) -> Result<ContainerStatus> {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status(id)?;
            if status.state() == ContainerState::Exited && !self.daemon.has_open(&status.log_path) {
                return Ok(status);
            }
            if Instant::now() > give_up {
                bail!(
                    "container {id} still runs or writes: {status:?}; containerd says:\n{}",
                    self.daemon.log_tail(20)
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A container's log, by the container's name.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn log(&self, name: &str) -> Result<Log> {
        Log::read(&PathBuf::from(&self.config.log_directory).join(format!("{name}.log")))
    }

    /// Waits until a container's output holds a text.
    ///
    /// # Errors
    /// If it does not within half a minute.
    pub fn wait_for_output(&self, name: &str, text: &str) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log(name).unwrap_or_default();
            if log.stdout.contains(text) {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "no {text:?} in {log:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops a container: SIGTERM, and SIGKILL after so many seconds.
    ///
    /// # Errors
    /// The runtime's.
    pub fn stop_container(&self, id: &str, timeout: i64) -> Result<()> {
        let request = StopContainerRequest {
            container_id: id.into(),
            timeout,
        };
        self.cri.stop_container(request).context("StopContainer")?;
        Ok(())
    }

    /// Removes a container.
    ///
    /// # Errors
    /// The runtime's.
    pub fn remove_container(&mut self, id: &str) -> Result<()> {
        self.cri
            .remove_container(container(id))
            .context("RemoveContainer")?;
        Ok(())
    }

    /// Stops and removes all of it, and looks whether anything is left on the node.
    ///
    /// # Errors
    /// The runtime's, or a list of leftovers.
    pub fn remove(mut self) -> Result<()> {
        self.tear_down()?;
        let mut ids = self.containers.clone();
        ids.push(self.id.clone());
        ids.push(self.config.metadata.clone().unwrap_or_default().uid);
        let left = leaks::of_ids(self.daemon, &ids);
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    }

    fn tear_down(&mut self) -> Result<()> {
        self.removed = true;
        let stopped = if self.id.is_empty() {
            Ok(())
        } else {
            let stopped = self.cri.stop_pod_sandbox(self.request());
            gone(stopped)
                .context("StopPodSandbox")
                .and_then(|()| gone(self.cri.remove_pod_sandbox(self.request())).context("RemovePodSandbox"))
        };
        leaks::remove_cgroups(self.cgroup());
        let _ = fs::remove_dir_all(&self.config.log_directory);
        stopped
    }

    fn request(&self) -> PodSandboxId {
        PodSandboxId {
            pod_sandbox_id: self.id.clone(),
        }
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if !self.removed {
            let _ = self.tear_down();
        }
    }
}

/// What is not there needs no removal; containerd 1.6 says so, later ones say that it is done.
fn gone<T>(answer: Result<T, tonic::Status>) -> Result<()> {
    match answer {
        Err(status) if status.code() != tonic::Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

fn container(id: &str) -> ContainerId {
    ContainerId {
        container_id: id.into(),
    }
}

/// Makes a pod's cgroup, which is the kubelet's part.
fn make_cgroup(name: &str) {
    let roots = leaks::cgroup_roots();
    let unified = roots.len() == 1;
    for root in roots {
        let controller = root
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // A new cpuset is empty and lets nothing run; the systemd hierarchy and a unified one beside version 1 have
        // no controllers.
        if !unified && ["cpuset", "systemd", "unified"].contains(&controller.as_str()) {
            continue;
        }
        let mut dir = root;
        for part in name.trim_start_matches('/').split('/') {
            if unified {
                let _ = fs::write(dir.join("cgroup.subtree_control"), "+memory +cpu +pids");
            }
            dir.push(part);
            let _ = fs::create_dir(&dir);
        }
        if unified {
            let _ = fs::write(dir.join("cgroup.subtree_control"), "+memory +cpu +pids");
        }
    }
}
