//! What a node's object says of Mote: a label that pods are scheduled by, and annotations by which the installer of the
//! node and whoever uninstalls understand each other.

use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError};

/// On nodes that have run a program and whose containerd knows Mote; the RuntimeClass selects it.
pub(crate) const READY: &str = "mote.dev/ready";
/// The release in use.
const RELEASE: &str = "mote.dev/release";
/// Why the node is not ready.
const MESSAGE: &str = "mote.dev/message";
/// What is wished and what came of it: `requested`, then `done`, `waiting: …` or `failed: …`.
pub(crate) const UNINSTALL: &str = "mote.dev/uninstall";

/// One node's object.
#[derive(Clone, Debug)]
pub(crate) struct Marks<'a> {
    cluster: &'a Cluster,
    path: String,
}

/// What came of a wish to uninstall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    Requested,
    Waiting(String),
    Failed(String),
    Done,
}

impl Wish {
    pub(crate) fn parse(text: Option<&str>) -> Wish {
        match text {
            None | Some("") => Wish::None,
            Some("done") => Wish::Done,
            Some(text) => match text.split_once(": ") {
                Some(("waiting", why)) => Wish::Waiting(why.into()),
                Some(("failed", why)) => Wish::Failed(why.into()),
                _ => Wish::Requested,
            },
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Wish::None => None,
            Wish::Requested => Some("requested".into()),
            Wish::Waiting(why) => Some(format!("waiting: {why}")),
            Wish::Failed(why) => Some(format!("failed: {why}")),
            Wish::Done => Some("done".into()),
        }
    }
}

impl<'a> Marks<'a> {
    pub(crate) fn new(cluster: &'a Cluster, node: &str) -> Marks<'a> {
        Marks {
            cluster,
            path: format!("/api/v1/nodes/{node}"),
        }
    }

    /// The label, and what is wished.
    pub(crate) fn read(&self) -> Result<(bool, Wish), ClusterError> {
        let node = self.cluster.get(&self.path)?.unwrap_or_default();
        let metadata = &node["metadata"];
        Ok((
            metadata["labels"][READY].as_str() == Some("true"),
            Wish::parse(metadata["annotations"][UNINSTALL].as_str()),
        ))
    }

    /// The node runs pods.
    pub(crate) fn ready(&self, release: &str) -> Result<(), ClusterError> {
        self.patch(&json!({
            "labels": { READY: "true" },
            "annotations": { RELEASE: release, MESSAGE: null },
        }))
    }

    /// The node is to get no more pods.
    pub(crate) fn not_ready(&self, why: &str) -> Result<(), ClusterError> {
        let why: String = why.chars().take(1024).collect();
        self.patch(&json!({
            "labels": { READY: null },
            "annotations": { MESSAGE: why },
        }))
    }

    /// What is wished, or came of it. When it is done nothing else of ours is left on the node's object.
    pub(crate) fn wish(&self, wish: &Wish) -> Result<(), ClusterError> {
        let text = wish.text();
        self.patch(&match wish {
            Wish::Done => json!({
                "labels": { READY: null },
                "annotations": { RELEASE: null, MESSAGE: null, UNINSTALL: text },
            }),
            _ => json!({ "annotations": { UNINSTALL: text } }),
        })
    }

    fn patch(&self, metadata: &Value) -> Result<(), ClusterError> {
        self.cluster
            .patch(&self.path, &json!({ "metadata": metadata }))
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_they_are_written() {
        for wish in [
            Wish::None,
            Wish::Requested,
            Wish::Waiting("2 pods: a, b".into()),
            Wish::Failed("x".into()),
            Wish::Done,
        ] {
            assert_eq!(Wish::parse(wish.text().as_deref()), wish);
        }
        assert_eq!(Wish::parse(Some("please")), Wish::Requested);
    }
}
