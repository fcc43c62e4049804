//! Create: all that can fail is done here and undone on failure, so that an error shows where users look for it (in
//! `ctr`'s output, in the pod's events) and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;

use crate::cgroup::Cgroup;
use crate::error::TaskError;
use crate::events::Publisher;
use crate::grant::{self, Grant};
use crate::image::{self, Place};
use crate::mounts::{self, Mount};
use crate::process::Ready;
use crate::record::Record;
use crate::sandbox::{self, PodNetwork};
use crate::spec::{self, Namespace, Spec};
use crate::stdio::{self, Names, Stdio};
use crate::sysctl;
use crate::task::{Exec, Task, release};
use crate::vm::{Node, Program};
use crate::volumes;

/// What containerd asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: Vec<Mount>,
    pub terminal: bool,
    pub io: Names,
    pub checkpoint: String,
}

/// Where the daemon serves.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// containerd's gRPC socket.
    pub address: String,
    pub namespace: String,
    pub events: Publisher,
    /// The network of the pod's sandbox, once it was created.
    pub network: Arc<OnceLock<PodNetwork>>,
}

impl Context {
    /// Gives a container of the pod the sandbox's network. containerd names it by the sandbox's process, and the process
    /// that stands for the sandbox is the shim, which is in the host's. Without a sandbox there is no network.
    fn settle_network(&self, spec: &mut Spec) {
        if spec.is_sandbox() {
            let _ = self.network.set(PodNetwork {
                namespace: spec.network_entry(),
                files: Vec::new(),
            });
        } else if spec.sandbox_id().is_some() {
            let none = || PodNetwork {
                namespace: Some(Namespace::network(None)),
                files: Vec::new(),
            };
            let pod = self.network.get().cloned().unwrap_or_else(none);
            spec.set_network_entry(pod.namespace);
            spec.add_mounts(pod.files);
        }
    }
}

/// Makes a task.
///
/// # Errors
/// A [`TaskError`]; mounts, cgroups and files of the attempt are gone then.
pub(crate) async fn create(context: &Context, request: Request) -> Result<Task, TaskError> {
    if !request.checkpoint.is_empty() {
        return Err(TaskError::Restore);
    }
    let mut spec = spec::read(&request.bundle)?;
    context.settle_network(&mut spec);
    let spec = blocking(&request.id, move || {
        sysctl::apply(&spec)?;
        Ok(spec)
    })
    .await?;
    let netns = spec.network_namespace().map(PathBuf::from);
    let mut record = Record::new(&request.id, spec.is_sandbox(), netns);
    let made = match record.sandbox {
        true => Ok(None),
        false => container(context, &request, spec, &mut record).await.map(Some),
    };
    let saved = made.and_then(|made| save(&record, &request.bundle).map(|()| made));
    match saved {
        Ok(made) => Ok(Task::new(
            record,
            request.bundle,
            request.io,
            request.terminal,
            made,
            context.events.clone(),
        )),
        Err(error) => {
            let _ = tokio::task::spawn_blocking(move || release(&record)).await;
            Record::remove(&request.bundle);
            Err(error)
        }
    }
}

fn save(record: &Record, bundle: &Path) -> Result<(), TaskError> {
    record.save(bundle).map_err(|source| TaskError::Record {
        id: record.id.clone(),
        bundle: bundle.to_owned(),
        source,
    })
}

/// Makes the sandbox that containerd asks for by the sandbox API. It has no spec; what it says of the network is for the
/// pod's containers.
///
/// # Errors
/// A [`TaskError`]; nothing of the attempt is left then.
pub(crate) fn sandbox(context: &Context, request: sandbox::Request) -> Result<Task, TaskError> {
    let files = sandbox::write_files(&request.bundle, &request.config)?;
    let netns = Some(request.netns).filter(|path| !path.as_os_str().is_empty());
    sysctl::set(netns.as_deref(), request.config.sysctls())?;
    let record = Record::new(&request.id, true, netns.clone());
    save(&record, &request.bundle)?;
    let _ = context.network.set(PodNetwork {
        namespace: netns.map(|path| Namespace::network(Some(path))),
        files,
    });
    let (io, events) = (Names::default(), Publisher::silent());
    Ok(Task::new(record, request.bundle, io, false, None, events))
}

/// What every program of a container starts from.
#[derive(Clone)]
pub(crate) struct Container {
    id: String,
    spec: Arc<Spec>,
    node: Arc<Node>,
    rootfs: PathBuf,
    pub cgroup: Option<Cgroup>,
    /// Most guest memory of each program in bytes.
    pub memory: Arc<Mutex<u64>>,
    /// containerd's gRPC socket, and the namespace there.
    address: String,
    namespace: String,
}

/// The steps for a container, the cheap ones first. What they make on the host is noted in `record`, and in the bundle
/// before it is made: nobody else knows of it if this process is killed meanwhile.
async fn container(
    context: &Context,
    request: &Request,
    spec: Spec,
    record: &mut Record,
) -> Result<(Ready, Container), TaskError> {
    let grant = grant::from_spec(&spec)?;
    let node = blocking(&request.id, || Ok(Arc::new(Node::open()?))).await?;
    let cgroup = Cgroup::named(&grant.cgroups_path)?.filter(Cgroup::is_mounted);
    let cgroups = cgroup.as_ref().map(Cgroup::directories);
    record.cgroups = cgroups.unwrap_or_default();
    let (mounts, rootfs) = root_mounts(request, &spec);
    record.rootfs = Some(rootfs.clone());
    save(record, &request.bundle)?;
    let point = rootfs.clone();
    blocking(&request.id, move || Ok(mounts::mount_all(&mounts, &point)?)).await?;
    let (volumes, point) = (spec.mounts.clone(), rootfs.clone());
    let read_only = spec.root.as_ref().is_some_and(|root| root.readonly);
    blocking(&request.id, move || {
        Ok(volumes::mount_all(&volumes, &point, read_only)?)
    })
    .await?;
    let mut container = Container {
        id: request.id.clone(),
        spec: Arc::new(spec),
        node,
        rootfs,
        cgroup: None,
        memory: Arc::new(Mutex::new(grant.memory_limit)),
        address: context.address.clone(),
        namespace: context.namespace.clone(),
    };
    let program = container.program(&container.spec).await?;
    let stdio = container.stdio(&request.io, request.terminal).await?;
    if let Some(cgroup) = &cgroup {
        cgroup.create(&grant)?;
    }
    container.cgroup = cgroup;
    let ready = container.ready(program, grant, stdio);
    Ok((ready, container))
}

/// The steps for one more program of a container, which has its grants.
///
/// # Errors
/// A [`TaskError`]; nothing is left then.
pub(crate) async fn exec(container: &Container, asked: Exec) -> Result<Ready, TaskError> {
    let mut spec = Spec::clone(&container.spec);
    let terminal = asked.terminal;
    let score = spec.process.as_ref().and_then(|process| process.oom_score_adj);
    let mut process = asked.process;
    process.oom_score_adj = process.oom_score_adj.or(score);
    let size = process.console_size;
    spec.process = Some(process);
    let grant = grant::from_spec(&spec)?;
    let program = container.program(&spec).await?;
    if program.serves() {
        return Err(TaskError::ExecServes(grant.args[0].clone()));
    }
    let stdio = container.stdio(&asked.io, terminal).await?;
    if let (Some(console), Some(size)) = (&stdio.console, size) {
        console.resize(size.width, size.height)?;
    }
    Ok(container.ready(program, grant, stdio))
}

impl Container {
    /// Finds and compiles the program that a spec names.
    async fn program(&self, spec: &Spec) -> Result<Program, TaskError> {
        let place = Place {
            rootfs: &self.rootfs,
            address: &self.address,
            namespace: &self.namespace,
            id: &self.id,
            image: spec.image_name(),
        };
        let wasm = image::find(spec, place).await?;
        let compiler = Arc::clone(&self.node);
        blocking(&self.id, move || Ok(compiler.compile(wasm)?)).await
    }

    async fn stdio(&self, names: &Names, terminal: bool) -> Result<Stdio, TaskError> {
        let names = names.clone();
        blocking(&self.id, move || Ok(stdio::open(&names, terminal)?)).await
    }

    fn ready(&self, program: Program, grant: Grant, stdio: Stdio) -> Ready {
        Ready {
            node: Arc::clone(&self.node),
            program,
            grant,
            rootfs: self.rootfs.clone(),
            cgroups: self.cgroup.as_ref().map(Cgroup::directories).unwrap_or_default(),
            stdio,
        }
    }
}

/// The mounts of the root file system, and where they go; one that is there already (`ctr run --rootfs`, `root.path`)
/// is bound, so that what is mounted in it goes with this mount.
fn root_mounts(request: &Request, spec: &Spec) -> (Vec<Mount>, PathBuf) {
    if !request.rootfs.is_empty() {
        return (request.rootfs.clone(), request.bundle.join("rootfs"));
    }
    let path = spec.root.as_ref().map_or("rootfs", |root| root.path.as_str());
    let bind = Mount {
        kind: "bind".to_owned(),
        source: request.bundle.join(path).to_string_lossy().into_owned(),
        target: String::new(),
        options: vec!["rbind".to_owned()],
    };
    (vec![bind], request.bundle.join("mote-rootfs"))
}

/// Runs what may take long beside the calls for other tasks.
async fn blocking<T: Send + 'static>(
    id: &str,
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TaskError::Panic(id.to_owned()))?
}
