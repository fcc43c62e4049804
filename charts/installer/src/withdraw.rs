//! `withdraw`: takes Mote off all nodes of a cluster, then deletes the DaemonSet. Runs before the release and its rights
//! are deleted, and fails, with everything still there, if a node cannot be cleaned.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError};
use crate::marks::{Marks, READY, Wish};

/// What to do.
#[derive(Debug)]
pub(crate) struct Withdraw {
    pub(crate) cluster: Cluster,
    /// The DaemonSet, in the namespace of this pod.
    pub(crate) daemon_set: String,
    /// Selects its pods.
    pub(crate) selector: String,
    pub(crate) patience: Duration,
    pub(crate) interval: Duration,
}

/// Why Mote is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WithdrawError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("not all nodes are clean after {} s; the rest of the release was left in place:{}", .0.as_secs(), .1)]
    Nodes(Duration, String),
    #[error("the pods of the DaemonSet are still there after {} s", .0.as_secs())]
    Pods(Duration),
}

impl Withdraw {
    pub(crate) fn run(&self) -> Result<(), WithdrawError> {
        let give_up = Instant::now() + self.patience;
        let nodes = self.nodes_with_installer()?;
        println!("{} nodes are to be cleaned", nodes.len());
        for node in &nodes {
            Marks::new(&self.cluster, node).wish(&Wish::Requested)?;
        }
        self.wait_for(&nodes, give_up)?;

        let namespace = self.cluster.namespace()?;
        let path = format!(
            "/apis/apps/v1/namespaces/{namespace}/daemonsets/{}",
            self.daemon_set
        );
        self.cluster.delete(&path)?;
        while !self.nodes_with_installer()?.is_empty() {
            if Instant::now() > give_up {
                return Err(WithdrawError::Pods(self.patience));
            }
            thread::sleep(self.interval);
        }
        // Only now: an installer that sees no wish installs.
        for node in &nodes {
            Marks::new(&self.cluster, node).wish(&Wish::None)?;
        }
        for node in self.ready_nodes()? {
            println!(
                "warning: node {node} has the label {READY} and no installer; its files are still there"
            );
        }
        println!("done");
        Ok(())
    }

    fn wait_for(&self, nodes: &[String], give_up: Instant) -> Result<(), WithdrawError> {
        let mut open: BTreeMap<String, Wish> =
            nodes.iter().map(|node| (node.clone(), Wish::Requested)).collect();
        loop {
            let mut still = BTreeMap::new();
            for (node, before) in open {
                let (_, wish) = Marks::new(&self.cluster, &node).read()?;
                if wish != before {
                    println!("{node}: {wish:?}");
                }
                if wish != Wish::Done {
                    still.insert(node, wish);
                }
            }
            let failed = !still.is_empty() && still.values().all(|wish| matches!(wish, Wish::Failed(_)));
            if still.is_empty() {
                return Ok(());
            }
            if failed || Instant::now() > give_up {
                let list = still.iter().map(|(node, wish)| format!("\n  {node}: {wish:?}"));
                return Err(WithdrawError::Nodes(self.patience, list.collect()));
            }
            open = still;
            thread::sleep(self.interval);
        }
    }

    /// Nodes on which an installer runs.
    fn nodes_with_installer(&self) -> Result<Vec<String>, ClusterError> {
        let namespace = self.cluster.namespace()?;
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?labelSelector={}",
            escape(&self.selector)
        );
        let pods = self.cluster.get(&path)?.unwrap_or_default();
        let mut nodes: Vec<String> = items(&pods)
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .map(str::to_string)
            .collect();
        nodes.sort();
        nodes.dedup();
        Ok(nodes)
    }

    fn ready_nodes(&self) -> Result<Vec<String>, ClusterError> {
        let path = format!("/api/v1/nodes?labelSelector={}", escape(READY));
        let nodes = self.cluster.get(&path)?.unwrap_or_default();
        Ok(items(&nodes)
            .filter_map(|node| node["metadata"]["name"].as_str())
            .map(str::to_string)
            .collect())
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// For a query (RFC 3986, 3.4).
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(
            escape("app.kubernetes.io/name=mote,x=y z"),
            "app.kubernetes.io%2Fname%3Dmote%2Cx%3Dy%20z"
        );
    }
}
