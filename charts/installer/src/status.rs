//! `status`: whether the node is as `install` leaves it.

use std::path::Path;

use serde::Serialize;

use crate::config;
use crate::error::Error;
use crate::node::Node;
use crate::processes;
use crate::release::Release;

/// What is on the node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) installed: bool,
    /// What differs from a complete installation.
    pub(crate) problems: Vec<String>,
    pub(crate) distribution: Option<String>,
    /// The file of containerd's configuration that names Mote.
    pub(crate) configuration: Option<String>,
    pub(crate) release: Option<String>,
    /// Pods that run, by their shims.
    pub(crate) pods: usize,
}

/// Looks at the node; with `from`, also whether its executables are the ones in use.
pub(crate) fn status(node: &Node, from: Option<&Path>) -> Result<Status, Error> {
    let (host, store) = (&node.host, node.store());
    let state = node.state()?;
    let mut status = Status {
        installed: state.is_some(),
        problems: Vec::new(),
        distribution: None,
        configuration: None,
        release: store.current(host),
        pods: processes::users(host, &store)?
            .values()
            .map(|users| users.shims.len())
            .sum(),
    };
    let Some(state) = state else {
        status.problems.push("Mote is not installed here".into());
        return Ok(status);
    };
    status.distribution = Some(state.target.distribution.to_string());
    status.configuration = Some(state.target.place.file().display().to_string());
    for change in config::register(host, &state.target, &store.shim())? {
        status
            .problems
            .push(format!("{} lacks Mote", change.path.display()));
    }
    if state.restart_due {
        status
            .problems
            .push("containerd was not restarted since its configuration changed".into());
    }
    if status.release.as_deref() != Some(state.release.as_str()) {
        status
            .problems
            .push(format!("release {} is not in use", state.release));
    }
    if let Some(from) = from {
        let release = Release::read(from)?;
        if release.id != state.release {
            status
                .problems
                .push(format!("release {} is to be installed", release.id));
        }
        if !store.holds(host, &release)? {
            status.problems.push("executables are missing or changed".into());
        }
    }
    Ok(status)
}
