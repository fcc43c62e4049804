//! What a container is asked to be.

use std::collections::HashMap;

use crate::cri::messages::*;

/// What is to run in a container.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub(super) name: String,
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    envs: Vec<KeyValue>,
    memory: i64,
    mounts: Vec<Mount>,
    working_dir: String,
    user: Option<i64>,
    readonly_rootfs: bool,
    annotations: HashMap<String, String>,
    tty: bool,
    stdin: bool,
    attempt: u32,
}

impl Spec {
    /// A container of an image.
    #[must_use]
    pub fn new(name: &str, image: &str) -> Spec {
        Spec {
            name: name.into(),
            image: image.into(),
            ..Spec::default()
        }
    }

    /// Instead of the image's entrypoint.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Spec {
        self.command = words.iter().map(ToString::to_string).collect();
        self
    }

    /// After the entrypoint.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Spec {
        self.args = words.iter().map(ToString::to_string).collect();
        self
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Spec {
        self.envs.push(KeyValue {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// The memory limit in bytes.
    #[must_use]
    pub fn memory(mut self, bytes: i64) -> Spec {
        self.memory = bytes;
        self
    }

    /// A volume: `host` at `path`.
    #[must_use]
    pub fn mount(mut self, host: &std::path::Path, path: &str, readonly: bool) -> Spec {
        self.mounts.push(Mount {
            container_path: path.into(),
            host_path: host.display().to_string(),
            readonly,
            propagation: 0,
        });
        self
    }

    /// Propagation of the last volume: 0 private, 1 from the host to the container, 2 both ways.
    #[must_use]
    pub fn propagation(mut self, value: i32) -> Spec {
        if let Some(mount) = self.mounts.last_mut() {
            mount.propagation = value;
        }
        self
    }

    /// How often the kubelet has restarted it.
    #[must_use]
    pub fn attempt(mut self, number: u32) -> Spec {
        self.attempt = number;
        self
    }

    /// With an input that clients can attach to.
    #[must_use]
    pub fn stdin(mut self) -> Spec {
        self.stdin = true;
        self
    }

    #[must_use]
    pub fn working_dir(mut self, path: &str) -> Spec {
        self.working_dir = path.into();
        self
    }

    #[must_use]
    pub fn user(mut self, uid: i64) -> Spec {
        self.user = Some(uid);
        self
    }

    #[must_use]
    pub fn readonly_rootfs(mut self) -> Spec {
        self.readonly_rootfs = true;
        self
    }

    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Spec {
        self.annotations.insert(name.into(), value.into());
        self
    }

    /// With a terminal.
    #[must_use]
    pub fn tty(mut self) -> Spec {
        self.tty = true;
        self
    }

    pub(super) fn config(&self, network: i32) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: self.name.clone(),
                attempt: self.attempt,
            }),
            image: Some(ImageSpec {
                image: self.image.clone(),
                annotations: HashMap::new(),
                user_specified_image: self.image.clone(),
            }),
            command: self.command.clone(),
            args: self.args.clone(),
            envs: self.envs.clone(),
            mounts: self.mounts.clone(),
            working_dir: self.working_dir.clone(),
            annotations: self.annotations.clone(),
            tty: self.tty,
            stdin: self.stdin,
            log_path: format!("{}.log", self.name),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    cpu_shares: 2,
                    memory_limit_in_bytes: self.memory,
                    oom_score_adj: 1000,
                    ..LinuxContainerResources::default()
                }),
                security_context: Some(ContainerSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        network,
                        pid: 1,
                        ..NamespaceOption::default()
                    }),
                    run_as_user: self.user.map(|value| Int64Value { value }),
                    readonly_rootfs: self.readonly_rootfs,
                }),
            }),
            ..ContainerConfig::default()
        }
    }
}
