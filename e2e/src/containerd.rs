//! A containerd of our own: its root, state, socket, CNI configuration and cgroup are named after this process and its
//! series, and go when the process ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Once, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cri::Cri;
use crate::cri::messages::Empty;
use crate::images::{Form, PAUSE};
use crate::{leaks, paths};

mod config;
mod holdings;
pub mod matrix;

pub use config::Series;

/// The runtime handler of the CRI configuration, and what it stands for.
pub const HANDLER: &str = "mote";
/// The same with `sandboxer = "shim"`, which 2.1 has: no task stands for the sandbox.
pub const SANDBOXER: &str = "mote-sandboxer";
pub const RUNTIME: &str = "io.containerd.mote.v1";

/// A running containerd. Stopped by [`Containerd::stop`].
#[derive(Debug)]
pub struct Containerd {
    pub series: Series,
    /// The runtime handler of its pods.
    pub handler: &'static str,
    /// Below /run: sockets have short names there. State, sockets and network namespaces.
    pub run: PathBuf,
    /// Below the checkout: content, snapshots, pods' logs, and containerd's own log.
    pub root: PathBuf,
    /// Parent of the pods' cgroups, as `kubepods` is.
    pub cgroup: String,
    child: Arc<Mutex<Option<Child>>>,
}

/// The instances of this process, by their series.
static SHARED: [OnceLock<Containerd>; Series::ALL.len()] = [const { OnceLock::new() }; Series::ALL.len()];

impl Containerd {
    /// The instance of this process of the series that `CONTAINERD` chooses; see [`Containerd::of`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn shared() -> &'static Containerd {
        match Series::chosen() {
            Ok(series) => Containerd::of(series.unwrap_or(Series::V2_1)),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// The instance of this process of a series, started when first asked for and stopped, with a look for leftovers,
    /// when the process ends.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of(series: Series) -> &'static Containerd {
        static AT_EXIT: Once = Once::new();
        SHARED[series as usize].get_or_init(|| match Containerd::start(series) {
            Ok(containerd) => {
                AT_EXIT.call_once(|| {
                    // SAFETY: the handler is a plain function that takes nothing and unwinds nowhere.
                    unsafe { libc::atexit(stop_shared) };
                });
                containerd
            }
            Err(error) => panic!("no containerd {}: {error:#}", series.name()),
        })
    }

    /// Starts one.
    ///
    /// # Errors
    /// If it is not installed, or does not answer in time.
    pub fn start(series: Series) -> Result<Containerd> {
        Containerd::launch(series, "", config::containerd)
    }

    /// Starts one that knows nothing of Mote, as an installer finds it, with a file of this version. Not beside another
    /// of the series.
    ///
    /// # Errors
    /// If it is not installed, or does not answer in time.
    pub fn without_handler(series: Series, schema: u8) -> Result<Containerd> {
        Containerd::launch(series, &format!("bare{schema}-"), |daemon, pause| {
            config::without_handler(daemon, pause, schema)
        })
    }

    fn launch(
        series: Series,
        kind: &str,
        config: impl Fn(&Containerd, &str) -> String,
    ) -> Result<Containerd> {
        // SAFETY: geteuid has no preconditions.
        ensure!(unsafe { libc::geteuid() } == 0, "containerd needs root");
        // The series comes last, so that no name is the beginning of another.
        let name = format!("mote-e2e-{}-{kind}{}", std::process::id(), series.name());
        let containerd = Containerd {
            series,
            handler: HANDLER,
            run: Path::new("/run").join(&name),
            root: paths::work().join("run").join(&name),
            cgroup: format!("/{name}"),
            child: Arc::default(),
        };
        for dir in [&containerd.run, &containerd.root] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(dir)
                .with_context(|| dir.display().to_string())?;
        }
        let started = containerd
            .write_config(config)
            .and_then(|()| containerd.spawn())
            .and_then(|()| containerd.wait());
        if let Err(error) = started {
            let log = containerd.log_tail(30);
            containerd.stop_process();
            for dir in [&containerd.run, &containerd.root] {
                let _ = fs::remove_dir_all(dir);
            }
            bail!("{error:#}; its log ends with:\n{log}");
        }
        Ok(containerd)
    }

    /// The same instance, for pods of another handler. Only one of the two is to be stopped.
    #[must_use]
    pub fn with_handler(&self, handler: &'static str) -> Containerd {
        Containerd {
            series: self.series,
            handler,
            run: self.run.clone(),
            root: self.root.clone(),
            cgroup: self.cgroup.clone(),
            child: Arc::clone(&self.child),
        }
    }

    /// An empty folder for a test's volumes.
    ///
    /// # Errors
    /// The file system's.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join("volumes").join(self.handler).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where it listens, for `ctr` and for CRI.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// Whether this series takes images of the form: 1.6 refuses Wasm layers when they are imported.
    #[must_use]
    pub fn takes(&self, form: Form) -> bool {
        self.series != Series::V1_6 || matches!(form, Form::Rootfs | Form::LinuxRootfs)
    }

    /// Its log so far, last lines.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read_to_string(self.root.join("containerd.log")).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Makes CRI pull every image from one registry, which speaks HTTP at this address, whatever the image's name says.
    ///
    /// # Errors
    /// The file system's.
    pub fn pull_from(&self, registry: SocketAddr) -> Result<()> {
        let dir = self.root.join("registries/_default");
        fs::create_dir_all(&dir)?;
        let hosts = format!(
            "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        Ok(fs::write(dir.join("hosts.toml"), hosts)?)
    }

    /// `ctr`, aimed at this instance.
    #[must_use]
    pub fn ctr(&self) -> Command {
        let mut command = Command::new(self.series.bin("ctr"));
        command
            .arg("--address")
            .arg(self.socket())
            .env("PATH", self.path());
        command
    }

    /// Stops it and removes what it owned.
    ///
    /// # Errors
    /// With a list of what is still there and should not be.
    pub fn stop(&self) -> Result<()> {
        let left = leaks::of_daemon(self);
        self.stop_process();
        leaks::unmount_below(&[&self.run, &self.root]);
        leaks::remove_cgroups(&self.cgroup);
        let log = self.root.join("containerd.log");
        if !left.is_empty() {
            // Kept for a look at what went wrong.
            let _ = fs::copy(&log, paths::work().join("containerd-leak.log"));
        }
        for dir in [&self.run, &self.root] {
            fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    }

    /// Ends the process and starts it again over the same files, as an update of the node would.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart(&self) -> Result<()> {
        self.stop_process();
        self.spawn()?;
        self.wait()?;
        self.wait_for_pods()
    }

    /// Kills the process with SIGKILL and starts it again over the same files.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn crash(&self) -> Result<()> {
        self.crash_and(|| {})
    }

    /// The same with a look at what it left before it starts again.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn crash_and(&self, look: impl FnOnce()) -> Result<()> {
        if let Some(mut child) = self.lock().take() {
            child.kill()?;
            child.wait()?;
        }
        look();
        self.spawn()?;
        self.wait()?;
        self.wait_for_pods()
    }

    /// Waits until it has found the pods that it had before.
    fn wait_for_pods(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let asked = Cri::connect(self).and_then(|cri| Ok(cri.list_pod_sandbox(Empty {})?));
            match asked {
                Ok(_) => return Ok(()),
                Err(error) => ensure!(Instant::now() < give_up, "{error:#}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn path(&self) -> String {
        let own = [
            paths::root().join("bin"),
            self.series.bin("containerd").with_file_name(""),
        ];
        let system = std::env::var("PATH").unwrap_or_default();
        let runc = paths::work().join("runc/usr/sbin");
        format!(
            "{}:{}:{}:/usr/sbin:/sbin:{system}",
            own[0].display(),
            own[1].display(),
            runc.display()
        )
    }

    fn spawn(&self) -> Result<()> {
        let binary = self.series.bin("containerd");
        ensure!(
            binary.exists(),
            "{} is missing; `make install-deps` brings it",
            binary.display()
        );
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root.join("containerd.log"))?;
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(self.root.join("config.toml"))
            .env("PATH", self.path())
            .env("MOTE_CACHE_DIR", paths::cache())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: prctl and the constants given to it touch nothing but the new process's own attribute.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        // The death signal comes when the *thread* that started the child ends, so that thread must last.
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("containerd-keeper".into())
            .spawn(move || {
                let _ = sender.send(command.spawn());
                loop {
                    thread::park();
                }
            })?;
        let child = receiver.recv()?.context("containerd cannot be started")?;
        *self.lock() = Some(child);
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(child) = self.lock().as_mut()
                && let Some(status) = child.try_wait()?
            {
                bail!("containerd ended with {status}");
            }
            if self.socket().exists() {
                let output = self.ctr().arg("version").output()?;
                if output.status.success() {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < give_up, "containerd does not answer");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop_process(&self) {
        let Some(mut child) = self.lock().take() else {
            return;
        };
        if let Ok(pid) = libc::pid_t::try_from(child.id()) {
            // SAFETY: a child that has not been waited for: the number is still its.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let give_up = Instant::now() + Duration::from_secs(10);
        while Instant::now() < give_up {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Whether it has this file open.
    #[must_use]
    pub fn has_open(&self, path: &str) -> bool {
        let pid = self.lock().as_ref().map_or(0, Child::id);
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|file| file == Path::new(path))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_config(&self, config: impl Fn(&Containerd, &str) -> String) -> Result<()> {
        let cni = self.root.join("cni");
        fs::create_dir_all(&cni)?;
        fs::write(cni.join("10-mote.conflist"), config::cni(self))?;
        fs::write(self.root.join("config.toml"), config(self, PAUSE))?;
        Ok(())
    }
}

/// Runs at exit, after the last test. A test that leaked must not look like one that passed.
extern "C" fn stop_shared() {
    let mut failed = false;
    for daemon in SHARED.iter().filter_map(OnceLock::get) {
        if let Err(error) = daemon.stop() {
            eprintln!(
                "containerd {}, after the last test: {error:#}",
                daemon.series.name()
            );
            failed = true;
        }
    }
    if failed {
        // SAFETY: ends the process at once; exit may not be called again from its own handler.
        unsafe { libc::_exit(101) };
    }
}
