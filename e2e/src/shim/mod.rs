//! The shim as containerd 2.3 and later start it: `BootstrapParams` on stdin, the task service of version 3 and the sandbox
//! service over ttrpc. Those versions come in no package that the tests could use, so the tests speak for them. (containerd
//! `pkg/shim/util.go`, `Command`; `core/runtime/v2/shim_manager.go`, `Start`)

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;

use crate::{leaks, paths, vmm};

pub mod messages;
mod ttrpc;

use messages::*;
pub use ttrpc::Client;

/// Names of the services.
pub const TASK_V2: &str = "containerd.task.v2.Task";
pub const TASK_V3: &str = "containerd.task.v3.Task";
pub const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

const NAMESPACE: &str = "k8s.io";

/// What stands where containerd would: its folders, and its socket for events.
#[derive(Debug)]
pub struct Host {
    pub dir: PathBuf,
    /// Of a test's pods, as `kubepods`.
    cgroup: String,
    topics: Arc<Mutex<Vec<String>>>,
    hides_kvm: bool,
}

impl Host {
    /// Makes the folders and listens for events.
    ///
    /// # Errors
    /// The system's.
    pub fn new(name: &str) -> Result<Host> {
        let name = format!("mote-shim-{name}-{}", std::process::id());
        let dir = Path::new("/run").join(&name);
        fs::create_dir_all(&dir)?;
        let topics = Arc::new(Mutex::new(Vec::new()));
        let events = UnixListener::bind(dir.join("ttrpc.sock"))?;
        let seen = Arc::clone(&topics);
        // It ends with the process.
        thread::spawn(move || {
            for stream in events.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || ttrpc::serve(stream, |request| note(&seen, request)));
            }
        });
        Ok(Host {
            dir,
            cgroup: format!("/{name}"),
            topics,
            hides_kvm: false,
        })
    }

    /// Shims that are started from now on see a machine without `/dev/kvm`.
    #[must_use]
    pub fn without_kvm(mut self) -> Host {
        self.hides_kvm = true;
        self
    }

    /// Topics of the events so far.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A bundle without a spec, as the sandbox API has it for a sandbox.
    ///
    /// # Errors
    /// The file system's.
    pub fn sandbox_bundle(&self, id: &str) -> Result<PathBuf> {
        let bundle = self.dir.join(id);
        fs::create_dir_all(bundle.join("rootfs"))?;
        Ok(bundle)
    }

    /// A bundle with a program in its rootfs. With a sandbox it is for a container of that pod.
    ///
    /// # Errors
    /// The file system's.
    pub fn bundle(&self, id: &str, program: &str, args: &[&str], sandbox: Option<&str>) -> Result<PathBuf> {
        let bundle = self.sandbox_bundle(id)?;
        fs::write(bundle.join("rootfs/app.wasm"), paths::program_bytes(program))?;
        let mut words = vec!["/app.wasm"];
        words.extend(args);
        let mut annotations = serde_json::Map::new();
        if let Some(sandbox) = sandbox {
            annotations.insert("io.kubernetes.cri.container-type".into(), "container".into());
            annotations.insert("io.kubernetes.cri.sandbox-id".into(), sandbox.into());
        }
        let spec = serde_json::json!({
            "ociVersion": "1.2.0",
            "process": {"args": words, "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "annotations": annotations,
            "linux": {
                "cgroupsPath": format!("{}/{id}", self.cgroup),
                "namespaces": [{"type": "network"}],
            },
        });
        fs::write(bundle.join("config.json"), spec.to_string())?;
        Ok(bundle)
    }

    /// Runs the action `start` in a bundle.
    ///
    /// # Errors
    /// With what it wrote, if it fails.
    pub fn start(&self, id: &str) -> Result<BootstrapResult> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: NAMESPACE.into(),
            log_level: 0,
            containerd_version: "2.3.4".into(),
            containerd_ttrpc_address: self.file("ttrpc.sock"),
            containerd_grpc_address: self.file("containerd.sock"),
            containerd_binary: "/usr/bin/containerd".into(),
            extensions: vec![Extension {
                value: Some(Any {
                    type_url: "containerd.runc.v1.Options".into(),
                    value: vec![8, 1],
                }),
            }],
            socket_dir: Some(self.file("s")),
        };
        let output = self.run(id, "start", &params.encode_to_vec())?;
        Ok(BootstrapResult::decode(output.as_slice())?)
    }

    /// Runs the action `delete`, as containerd does once the connection is closed.
    ///
    /// # Errors
    /// With what it wrote, if it fails.
    pub fn delete(&self, id: &str) -> Result<DeleteResponse> {
        let output = self.run(id, "delete", b"")?;
        Ok(DeleteResponse::decode(output.as_slice())?)
    }

    /// stdout and stderr together, as containerd takes them.
    fn run(&self, id: &str, action: &str, input: &[u8]) -> Result<Vec<u8>> {
        let bundle = self.dir.join(id);
        let mut command = Command::new(paths::bin(vmm::SHIM));
        command
            .args(["-namespace", NAMESPACE, "-address", &self.file("containerd.sock")])
            .args(["-publish-binary", "/usr/bin/containerd", "-id", id]);
        if action == "delete" {
            command.arg("-bundle").arg(&bundle);
        }
        if self.hides_kvm {
            // SAFETY: the function makes system calls and nothing else.
            unsafe { command.pre_exec(hide_kvm) };
        }
        let mut child = command
            .arg(action)
            .current_dir(&bundle)
            .env("MAX_SHIM_VERSION", "2")
            .env("TTRPC_ADDRESS", self.file("ttrpc.sock"))
            .env("GRPC_ADDRESS", self.file("containerd.sock"))
            .env("NAMESPACE", NAMESPACE)
            .env("MOTE_CACHE_DIR", paths::cache())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(input)?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{action}: {}: {said}", output.status);
        ensure!(said.is_empty(), "{action} would spoil its answer with {said:?}");
        Ok(output.stdout)
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Waits until no process of a shim with one of these ids and no mount and cgroup of the test is left, then removes
    /// the folders.
    ///
    /// # Errors
    /// With what is left after five seconds.
    pub fn clean(self, ids: &[&str]) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(5);
        let left = loop {
            let left = self.left(ids);
            if left.is_empty() || Instant::now() > give_up {
                break left;
            }
            thread::sleep(Duration::from_millis(20));
        };
        leaks::unmount_below(&[&self.dir]);
        leaks::remove_cgroups(&self.cgroup);
        fs::remove_dir_all(&self.dir)?;
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    }

    fn left(&self, ids: &[&str]) -> Vec<String> {
        let mut left = Vec::new();
        for id in ids {
            for program in [vmm::SHIM, vmm::VMM] {
                let found = leaks::find_processes(program, id);
                left.extend(
                    found
                        .into_iter()
                        .map(|pid| format!("{program}, process {pid}, {id}")),
                );
            }
            left.extend(leaks::mounts_below(&self.dir.join(id)));
            left.extend(leaks::cgroups_of(&format!("{}/{id}", self.cgroup)));
        }
        let sockets = fs::read_dir(self.dir.join("s")).into_iter().flatten().flatten();
        left.extend(sockets.map(|socket| socket.path().display().to_string()));
        left
    }
}

/// Gives the process mounts of its own, and in them a `/dev` with next to nothing in it.
fn hide_kvm() -> io::Result<()> {
    let check = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let (none, root, dev) = (std::ptr::null(), c"/".as_ptr(), c"/dev".as_ptr());
    let (null, tmpfs) = (c"/dev/null".as_ptr(), c"tmpfs".as_ptr());
    let mode = libc::S_IFCHR | 0o666;
    // SAFETY: all pointers are to constant strings, or null where mount(2) allows it; this is a process of its own.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(
            none,
            root,
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        ))?;
        check(libc::mount(tmpfs, dev, tmpfs, 0, std::ptr::null()))?;
        check(libc::mknod(null, mode, libc::makedev(1, 3)))
    }
}

/// Keeps an event's topic, and answers with an empty message.
fn note(topics: &Mutex<Vec<String>>, request: &ttrpc::Request) -> Vec<u8> {
    if let Ok(ForwardRequest {
        envelope: Some(envelope),
    }) = ForwardRequest::decode(request.payload.as_slice())
        && envelope.namespace == NAMESPACE
    {
        let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.push(envelope.topic);
    }
    Vec::new()
}
