//! A Kubernetes of one node: for `make cluster`, and for tests where `KUBECONFIG` names no other.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

pub mod components;
pub mod init;
pub mod keys;
pub mod kubectl;
pub mod mote;
pub mod node;
pub mod plan;
pub mod samples;
pub mod shell;
pub mod sys;

use crate::paths;
use kubectl::Kubectl;
use node::{Life, Node};

/// Where `make cluster` keeps its node.
#[must_use]
pub fn dir() -> PathBuf {
    paths::work().join("cluster")
}

/// The cluster that tests use.
#[derive(Debug)]
pub struct Cluster {
    pub kubectl: Kubectl,
    /// Ours, if no other was named.
    pub node: Option<Node>,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();

impl Cluster {
    /// That of `KUBECONFIG`, which has Mote and the sample images, or else one of this process's own, which is started
    /// when first asked for and stopped, with a look for leftovers, when the process ends.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn shared(program: &Path) -> &'static Cluster {
        SHARED.get_or_init(|| match Cluster::get(program) {
            Ok(cluster) => {
                // SAFETY: the handler is a plain function that takes nothing and unwinds nowhere.
                unsafe { libc::atexit(stop_shared) };
                cluster
            }
            Err(error) => panic!("no cluster: {error:#}"),
        })
    }

    fn get(program: &Path) -> Result<Cluster> {
        if let Some(kubeconfig) = std::env::var_os("KUBECONFIG") {
            return Ok(Cluster {
                kubectl: Kubectl::new(Path::new(&kubeconfig)),
                node: None,
            });
        }
        let name = format!("mote-cluster-{}", std::process::id());
        let node = Node::start(program, &paths::work().join("run").join(name), Life::Ours)?;
        let cluster = Cluster {
            kubectl: node.kubectl(),
            node: Some(node),
        };
        if let Err(error) = cluster.prepare() {
            cluster.stop()?;
            return Err(error);
        }
        Ok(cluster)
    }

    fn prepare(&self) -> Result<()> {
        let node = self.node.as_ref().context("a node of our own")?;
        for image in samples::images()? {
            node.import(&image)?;
        }
        mote::install(node)
    }

    fn stop(&self) -> Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let deleted = self.kubectl.run(&[
            "delete",
            "pods,jobs,deployments,daemonsets",
            "--all",
            "--all-namespaces",
            "--timeout=60s",
        ]);
        let left = node.leftovers();
        if deleted.is_err() || !left.is_empty() {
            eprintln!("its logs are in {}", node.keep_logs()?.display());
        }
        node.stop()?;
        deleted?;
        ensure!(left.is_empty(), "left in the node:\n{}", left.join("\n"));
        Ok(())
    }
}

/// Runs at exit, after the last test. A test that leaked must not look like one that passed.
extern "C" fn stop_shared() {
    let Some(cluster) = SHARED.get() else { return };
    if let Err(error) = cluster.stop() {
        eprintln!("after the last test: {error:#}");
        // SAFETY: ends the process at once; exit may not be called again from its own handler.
        unsafe { libc::_exit(101) };
    }
}
