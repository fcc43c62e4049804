//! OCI spec to grant: what a program may have, and nothing that its spec does not say.

use std::path::PathBuf;

use crate::network::Reach;
use crate::serve::Service;
use crate::spec::{Resources, Spec, SpecError, User};

/// Guest memory of a container without a limit. WASI programs address at most 4 GiB a memory, and nothing above
/// what they touch is ever backed, so this only bounds a runaway.
pub(crate) const DEFAULT_MEMORY: u64 = 1 << 30;

/// Less than this cannot hold the guest's runtime and one small linear memory.
pub(crate) const MIN_MEMORY: u64 = 8 << 20;

/// What `mote-vmm` itself may use beside guest memory: its heap, the rings, KVM's page tables (charged to the
/// cgroup as kernel memory) and page cache of the code file that this container was first to touch.
pub(crate) const VMM_OVERHEAD: u64 = 64 << 20;

/// The kubelet's default `terminationMessagePath`; it appears in the spec as a bind mount of a host file.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Annotation by which the kubelet tells another (`pkg/kubelet/kuberuntime/labels.go`). containerd hands it down as far as
/// the runtime's `container_annotations` name it.
const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";

/// What one program is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Arguments; the first names the program.
    pub args: Vec<String>,
    /// Environment in the spec's order.
    pub env: Vec<(String, String)>,
    /// Most guest memory in bytes.
    pub memory_limit: u64,
    /// Host file that takes the reason of a failure.
    pub termination_log: Option<PathBuf>,
    /// `linux.cgroupsPath` as written.
    pub cgroups_path: String,
    /// Limits for the cgroup.
    pub resources: Resources,
    /// Whom files are reached as.
    pub user: mote_config::User,
    /// Working directory in the root file system.
    pub cwd: PathBuf,
    pub network: Reach,
    /// For a component that serves.
    pub service: Service,
    /// The kernel's preference when memory is short (`process.oomScoreAdj`).
    pub oom_score_adj: i32,
}

/// Derives the grant of a container.
///
/// # Errors
/// A [`SpecError`] for what the runtime cannot provide.
pub(crate) fn from_spec(spec: &Spec) -> Result<Grant, SpecError> {
    let process = spec.process.as_ref().ok_or(SpecError::NoArgs)?;
    let args = process.args.clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoArgs);
    }
    let resources = spec.linux.resources.clone().unwrap_or_default();
    Ok(Grant {
        args,
        env: process
            .env
            .iter()
            .flatten()
            .map(|entry| split_env(entry))
            .collect(),
        memory_limit: memory_limit(&resources)?.unwrap_or(DEFAULT_MEMORY),
        termination_log: termination_log(spec),
        cgroups_path: spec.linux.cgroups_path.clone(),
        resources,
        user: user(&process.user),
        cwd: PathBuf::from(&process.cwd),
        service: Service::of(spec)?,
        network: Reach::of(spec).map_err(|error| SpecError::Network(error.to_string()))?,
        oom_score_adj: process.oom_score_adj.unwrap_or(0),
    })
}

/// The host's file behind the path that the pod names, or else the usual one.
fn termination_log(spec: &Spec) -> Option<PathBuf> {
    let named = spec.annotations.get(TERMINATION_PATH).map(String::as_str);
    let path = named.filter(|path| !path.is_empty()).unwrap_or(TERMINATION_LOG);
    spec.mount_source(path).map(PathBuf::from)
}

fn user(user: &User) -> mote_config::User {
    mote_config::User {
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone().unwrap_or_default(),
    }
}

fn split_env(entry: &str) -> (String, String) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    (name.to_owned(), value.to_owned())
}

/// The limit in bytes, if one is given. A negative one asks for none.
///
/// # Errors
/// [`SpecError::MemoryTooSmall`].
pub(crate) fn memory_limit(resources: &Resources) -> Result<Option<u64>, SpecError> {
    let limit = resources.memory.as_ref().and_then(|memory| memory.limit);
    match limit.map(u64::try_from) {
        None | Some(Ok(0)) => Ok(None),
        Some(Err(_)) => Ok(Some(DEFAULT_MEMORY)),
        Some(Ok(limit)) if limit < MIN_MEMORY => Err(SpecError::MemoryTooSmall {
            limit,
            min: MIN_MEMORY,
        }),
        Some(Ok(limit)) => Ok(Some(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(json: &str) -> Result<Grant, SpecError> {
        from_spec(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn arguments_environment_and_limits() {
        let grant = grant(
            r#"{"process": {"args": ["/app.wasm", "a b"], "env": ["PATH=/bin", "E=x=y", "BARE"], "cwd": "/tmp",
                            "oomScoreAdj": 985},
                "mounts": [{"destination": "/dev/termination-log", "source": "/k/log"}],
                "linux": {"cgroupsPath": "/d/1", "resources": {"memory": {"limit": 33554432}}}}"#,
        )
        .unwrap();
        assert_eq!(grant.args, ["/app.wasm", "a b"]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            grant.env,
            [pair("PATH", "/bin"), pair("E", "x=y"), pair("BARE", "")]
        );
        assert_eq!(grant.memory_limit, 32 << 20);
        assert_eq!(grant.termination_log.unwrap(), PathBuf::from("/k/log"));
        assert_eq!(grant.oom_score_adj, 985);
    }

    #[test]
    fn the_termination_message_has_its_place() {
        let path = |annotations: &str| {
            let json = format!(
                r#"{{"process": {{"args": ["a"]}}, "annotations": {{{annotations}}},
                    "mounts": [{{"destination": "/dev/termination-log", "source": "/k/usual"}},
                               {{"destination": "/tmp/why", "source": "/k/other"}}]}}"#
            );
            grant(&json).unwrap().termination_log
        };
        let named = |path: &str| format!(r#""{TERMINATION_PATH}": "{path}""#);
        assert_eq!(path(""), Some("/k/usual".into()));
        assert_eq!(path(&named("/tmp/why")), Some("/k/other".into()));
        assert_eq!(path(&named("")), Some("/k/usual".into()));
        assert_eq!(path(&named("/none")), None);
    }

    #[test]
    fn no_limit_is_the_default() {
        for resources in [
            "{}",
            r#"{"memory": {}}"#,
            r#"{"memory": {"limit": 0}}"#,
            r#"{"memory": {"limit": -1}}"#,
        ] {
            let json = format!(r#"{{"process": {{"args": ["a"]}}, "linux": {{"resources": {resources}}}}}"#);
            assert_eq!(grant(&json).unwrap().memory_limit, DEFAULT_MEMORY, "{resources}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let message = |json: &str| grant(json).unwrap_err().to_string();
        let small = r#"{"process": {"args": ["a"]}, "linux": {"resources": {"memory": {"limit": 4194304}}}}"#;
        assert!(message(small).contains("raise"), "{}", message(small));
        assert!(message("{}").contains("entrypoint"));
        assert!(message(r#"{"process": {"args": []}}"#).contains("entrypoint"));
        assert!(message(r#"{"process": {"args": [""]}}"#).contains("entrypoint"));
    }
}
