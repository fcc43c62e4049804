//! A node seen from the host: started, given images, and taken away with all that it ran.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::components::SOCKET;
use super::kubectl::Kubectl;
use super::plan::{NODE, Plan};
use super::shell::{run, wait};
use super::{keys, sys};
use crate::containerd::Series;
use crate::images::{self, Image};
use crate::{leaks, paths, vmm};

/// What the program of a node is told to be the first process of a sandbox of runc's. Mote's sandboxes run nothing.
pub const PAUSE: &str = "pause";

/// A running node with its control plane.
#[derive(Clone, Debug)]
pub struct Node {
    pub plan: Plan,
    /// unshare(1), whose end is the node's.
    keeper: u32,
}

/// Whether a node ends with the process that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Ours,
    ItsOwn,
}

impl Node {
    /// Starts one and waits until it is ready for pods. `program` is `cluster`, whose `init` is the node's first process.
    ///
    /// # Errors
    /// If something is missing or does not come up, with the end of the log that tells why.
    pub fn start(program: &Path, dir: &Path, life: Life) -> Result<Node> {
        // SAFETY: geteuid has no preconditions.
        ensure!(unsafe { libc::geteuid() } == 0, "a node needs root");
        paths::require_binaries();
        ensure!(
            !dir.exists(),
            "{} is there already; `make cluster-down` removes it",
            dir.display()
        );
        let plan = Plan::new(dir, std::process::id());
        fs::create_dir_all(dir.join("log"))?;
        keys::write(&plan)?;
        sys::make_cgroup(&plan.cgroup())?;
        let keeper = spawn(program, &plan, life)?;
        fs::write(dir.join("keeper"), format!("{} {keeper}", plan.id))?;
        let node = Node { plan, keeper };
        if let Err(error) = node.come_up(program) {
            let logs = node.keep_logs();
            node.stop()?;
            bail!("{error:#}; its logs are in {}", logs?.display());
        }
        Ok(node)
    }

    /// The one that was started in this folder and still runs.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(dir: &Path) -> Result<Node> {
        let text = fs::read_to_string(dir.join("keeper"))
            .with_context(|| format!("no node in {}", dir.display()))?;
        let (id, keeper) = text.split_once(' ').context("two numbers")?;
        Ok(Node {
            plan: Plan::new(dir, id.parse()?),
            keeper: keeper.parse()?,
        })
    }

    /// kubectl with all rights.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.plan.kubeconfig("admin"))
    }

    fn come_up(&self, program: &Path) -> Result<()> {
        let init = self.init()?;
        self.connect(init)?;
        wait("containerd", Duration::from_secs(30), || {
            run(self.ctr()?.arg("version")).map(drop)
        })?;
        let pause = images::pause().executable("pause", &fs::read(program)?);
        self.import(&pause.entrypoint(&["/pause", PAUSE]))?;
        let kubectl = self.kubectl();
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        wait("a ready node", Duration::from_secs(40), || {
            ensure!(sys::runs(self.keeper, &self.plan.dir), "the node has ended");
            let status = kubectl.run(&["get", "node", NODE, "-o", ready])?;
            ensure!(status == "True", "the node is not ready");
            // Pods need the account that the controller makes for a namespace.
            kubectl.run(&["get", "serviceaccount", "default"])
        })?;
        Ok(())
    }

    /// The node's first process, as the host numbers it.
    fn init(&self) -> Result<u32> {
        wait("the first process", Duration::from_secs(10), || {
            sys::children(self.keeper).first().copied().context("none")
        })
    }

    fn connect(&self, init: u32) -> Result<()> {
        let plan = &self.plan;
        let (link, via) = (plan.link(), plan.node_address().to_string());
        let ip = |words: &[&str]| run(Command::new("ip").args(words)).map(drop);
        ip(&[
            "link",
            "add",
            &link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &init.to_string(),
        ])?;
        ip(&[
            "address",
            "add",
            &format!("{}/30", plan.host_address()),
            "dev",
            &link,
        ])?;
        ip(&["link", "set", &link, "up"])?;
        for net in [plan.pods(), plan.services()] {
            ip(&["route", "add", &net, "via", &via])?;
        }
        Ok(())
    }

    /// A command inside of the node.
    ///
    /// # Errors
    /// If the node is gone.
    pub fn inside(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--net", "--pid", "--target"])
            .arg(self.init()?.to_string())
            .arg(program);
        Ok(command)
    }

    fn ctr(&self) -> Result<Command> {
        let mut command = self.inside(&Series::V1_7.bin("ctr"))?;
        command.args(["--address", SOCKET, "--namespace", "k8s.io"]);
        Ok(command)
    }

    /// Imports an image, as the README says.
    ///
    /// # Errors
    /// If containerd does not take it.
    pub fn import(&self, image: &Image) -> Result<()> {
        let name = image.name.replace(['/', ':'], "-");
        let file = self.plan.dir.join(format!("{name}.tar"));
        fs::write(&file, image.archive()?)?;
        run(self
            .ctr()?
            .args(["images", "import", "--all-platforms"])
            .arg(&file))?;
        fs::remove_file(file)?;
        Ok(())
    }

    /// What pods left in the node: processes and mounts that only pods have. Waits a little for it to go.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let look = || {
            let mut found: Vec<String> = [vmm::VMM, vmm::SHIM]
                .into_iter()
                .flat_map(|program| self.processes(program))
                .collect();
            if let Ok(init) = self.init() {
                let mounts = fs::read_to_string(format!("/proc/{init}/mounts")).unwrap_or_default();
                let of_pods = [
                    "/run/containerd/io.containerd",
                    "/run/netns/",
                    "/var/lib/kubelet/pods/",
                ];
                found.extend(
                    mounts
                        .lines()
                        .filter(|line| of_pods.iter().any(|word| line.contains(word)))
                        .map(|line| format!("mount {line}")),
                );
            }
            found
        };
        let _ = wait("nothing left", Duration::from_secs(20), || {
            ensure!(look().is_empty(), "something");
            Ok(())
        });
        look()
    }

    fn processes(&self, program: &str) -> Vec<String> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = self.init().ok().and_then(namespace);
        leaks::find_processes(program, "")
            .into_iter()
            .filter(|pid| ours.is_some() && namespace(*pid) == ours)
            .map(|pid| format!("process {pid}: {program}"))
            .collect()
    }

    /// Copies every component's log to where it outlives the node.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = paths::work().join("cluster-logs");
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(self.plan.dir.join("log"))? {
            let entry = entry?;
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(kept)
    }

    /// Ends the node with all that runs in it, and removes what it had on the host.
    ///
    /// # Errors
    /// With what cannot be removed.
    pub fn stop(&self) -> Result<()> {
        if sys::runs(self.keeper, &self.plan.dir) {
            // The kernel kills every process of a process namespace when its first one ends.
            for child in sys::children(self.keeper) {
                sys::kill(child);
            }
            wait("the end of the node", Duration::from_secs(20), || {
                ensure!(!sys::runs(self.keeper, &self.plan.dir), "it runs");
                Ok(())
            })?;
        }
        let _ = run(Command::new("ip").args(["link", "delete", &self.plan.link()]));
        let cgroup = self.plan.cgroup();
        wait("the end of its cgroups", Duration::from_secs(10), || {
            leaks::remove_cgroups(&cgroup);
            let left = leaks::cgroup_roots()
                .into_iter()
                .map(|root| root.join(cgroup.trim_start_matches('/')))
                .find(|dir| dir.exists());
            ensure!(left.is_none(), "{left:?} is left");
            Ok(())
        })?;
        wait("the end of its files", Duration::from_secs(10), || {
            fs::remove_dir_all(&self.plan.dir).with_context(|| self.plan.dir.display().to_string())
        })
    }
}

/// Starts the first process in namespaces of its own; the number of the process that keeps them.
fn spawn(program: &Path, plan: &Plan, life: Life) -> Result<u32> {
    let log = File::create(plan.log("init"))?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["--propagation", "private"])
        .arg(program)
        .arg("init")
        .arg(&plan.dir)
        .arg(plan.id.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .process_group(0);
    if life == Life::ItsOwn {
        return Ok(command.spawn().context("unshare")?.id());
    }
    // SAFETY: prctl and the constants given to it touch nothing but the new process's own attribute.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    // The death signal comes when the *thread* that started the child ends, so that thread must last. It also reaps.
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("node-keeper".into())
        .spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = sender.send(Ok(child.id()));
                let _ = child.wait();
                loop {
                    thread::park();
                }
            }
            Err(error) => drop(sender.send(Err(error))),
        })?;
    receiver.recv()?.context("unshare")
}
