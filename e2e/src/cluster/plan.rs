//! What follows from a node's folder and number: names, addresses, and where its files are.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A node in the making. Nodes with different numbers do not meet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything of the node, removed with it.
    pub dir: PathBuf,
    /// A process number, so that nodes of other checkouts have other addresses.
    pub id: u32,
}

/// The node's name in Kubernetes.
pub const NODE: &str = "node";

impl Plan {
    #[must_use]
    pub fn new(dir: &Path, id: u32) -> Plan {
        Plan { dir: dir.into(), id }
    }

    /// The cgroup of all that runs in it, as in `/proc/PID/cgroup`.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("/mote-cluster-{}", self.id)
    }

    /// The host's end of the link to the node.
    #[must_use]
    pub fn link(&self) -> String {
        format!("mote{}", self.id)
    }

    /// `third` is 0 to 3: each node has four networks of 256 addresses.
    fn address(&self, third: u32, last: u8) -> Ipv4Addr {
        let second = 128 + (self.id / 64) % 64;
        let third = (self.id % 64) * 4 + third;
        Ipv4Addr::from(10 << 24 | second << 16 | third << 8 | u32::from(last))
    }

    #[must_use]
    pub fn host_address(&self) -> Ipv4Addr {
        self.address(0, 1)
    }

    #[must_use]
    pub fn node_address(&self) -> Ipv4Addr {
        self.address(0, 2)
    }

    /// Where pods get their addresses from.
    #[must_use]
    pub fn pods(&self) -> String {
        format!("{}/24", self.address(1, 0))
    }

    /// Where Services get theirs.
    #[must_use]
    pub fn services(&self) -> String {
        format!("{}/24", self.address(2, 0))
    }

    /// The Service `kubernetes`, the first of the range.
    #[must_use]
    pub fn api_service(&self) -> Ipv4Addr {
        self.address(2, 1)
    }

    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}:6443", self.node_address())
    }

    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(name)
    }

    /// How a user of the cluster, or a part of it, reaches the API.
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        match user {
            "admin" => self.dir.join("kubeconfig"),
            _ => self.key(&format!("{user}.kubeconfig")),
        }
    }

    /// What a component writes on its standard streams.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.dir.join("log").join(format!("{component}.log"))
    }

    /// The host's folder behind one of the node's.
    #[must_use]
    pub fn files(&self, name: &str) -> PathBuf {
        self.dir.join("files").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_a_node_and_of_its_neighbour_differ() {
        let (one, next) = (Plan::new(Path::new("/x"), 63), Plan::new(Path::new("/x"), 64));
        assert_eq!(one.node_address().to_string(), "10.128.252.2");
        assert_eq!(one.services(), "10.128.254.0/24");
        assert_eq!(next.pods(), "10.129.1.0/24");
    }
}
