//! The parts of CRI's `PodSandboxConfig` (`api.proto`, runtime.v1) that mean something to the sandbox. containerd sends it
//! as the options of CreateSandbox.

use std::collections::HashMap;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use prost::Message;

use crate::error::TaskError;

/// The message's name; `typeurl` puts no host in front.
const NAME: &str = "runtime.v1.PodSandboxConfig";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSandboxConfig {
    #[prost(string, tag = "2")]
    pub hostname: String,
    #[prost(message, optional, tag = "4")]
    pub dns: Option<Dns>,
    #[prost(message, optional, tag = "8")]
    linux: Option<Linux>,
}

/// `DNSConfig`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Dns {
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Linux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(map = "string, string", tag = "3")]
    sysctls: HashMap<String, String>,
}

impl PodSandboxConfig {
    /// What the options of CreateSandbox hold. Others than CRI make sandboxes with options of their own, or none.
    ///
    /// # Errors
    /// [`TaskError::SandboxConfig`] for a message that cannot be read.
    pub(crate) fn from_options(options: Option<&Any>) -> Result<PodSandboxConfig, TaskError> {
        match options.filter(|any| any.type_url.ends_with(NAME)) {
            Some(any) => PodSandboxConfig::decode(any.value.as_slice())
                .map_err(|error| TaskError::SandboxConfig(error.to_string())),
            None => Ok(PodSandboxConfig::default()),
        }
    }

    /// Kernel parameters of the pod.
    pub(crate) fn sysctls(&self) -> impl Iterator<Item = (&String, &String)> {
        self.linux.iter().flat_map(|linux| &linux.sysctls)
    }

    /// The pod's cgroup in the form of the kubelet's driver; empty if there is none.
    #[must_use]
    pub(crate) fn cgroup_parent(&self) -> &str {
        self.linux.as_ref().map_or("", |linux| &linux.cgroup_parent)
    }
}

#[cfg(test)]
impl PodSandboxConfig {
    /// One for tests.
    pub(crate) fn new(hostname: &str, dns: Option<Dns>) -> PodSandboxConfig {
        PodSandboxConfig {
            hostname: hostname.to_owned(),
            dns,
            linux: None,
        }
    }
}
