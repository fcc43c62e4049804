//! What containerd says at `start` and how the answer has to look, for each generation of containerd.
//!
//! | containerd | stdin | answer |
//! |---|---|---|
//! | 1.6 | nothing, or runtime options as an `Any` | the bare address |
//! | 1.7 | the same, MAX_SHIM_VERSION=2 | the bare address (a version above 2 is an error) |
//! | 2.0 to 2.2 | the same, MAX_SHIM_VERSION=2 still | the bare address, taken as version 2 |
//! | 2.3 on | `BootstrapParams` | `BootstrapResult` with version 3 |
//!
//! 1.7 and 2.0 call the shim in exactly the same way, so the lower of both is assumed: version 2 is addressed as
//! `containerd.task.v2.Task`, and `start` is called for each container of a pod. (containerd
//! `runtime/v2/shim.go` of 1.7 and `core/runtime/v2/shim.go` of 2.x, `parseStartResponse`.)

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, LogLevel};
use containerd_shim_protos::protobuf::{Enum, Message};

use crate::flags::Flags;

/// Most bytes that are read from stdin, containerd's own bound for the message.
pub(crate) const MAX_INPUT: u64 = 10 << 20;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The address and nothing else.
    Plain,
    /// JSON with version 3, for a caller that set MAX_SHIM_VERSION to 3 or more.
    Json,
    /// `BootstrapResult`.
    Protobuf,
}

/// The request, whichever way it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub id: String,
    pub namespace: String,
    /// containerd's gRPC socket.
    pub address: String,
    /// containerd's ttrpc socket, which takes events.
    pub ttrpc_address: String,
    pub debug: bool,
    /// Directory for the shim's socket, if containerd asks for one.
    pub socket_dir: Option<String>,
    pub answer: Answer,
}

/// A request that cannot be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BootstrapError {
    #[error("flag -{0} is missing or empty; containerd sets it")]
    Missing(&'static str),
    #[error("-id {0:?} is no container id: letters, digits, '-', '_' and '.' are allowed")]
    Id(String),
    #[error(
        "bootstrap message on stdin is for {message_namespace}/{message_id}, the command line says {namespace}/{id}"
    )]
    Mismatch {
        message_namespace: String,
        message_id: String,
        namespace: String,
        id: String,
    },
}

/// Reads the request from the flags, standard input and the environment (`env` looks a name up).
///
/// # Errors
/// A [`BootstrapError`] for a request without the identity of a task, or with two of them.
pub(crate) fn request(
    flags: &Flags,
    stdin: &[u8],
    env: impl Fn(&str) -> Option<String>,
) -> Result<Request, BootstrapError> {
    check_identity(flags)?;
    let max_version: u32 = env("MAX_SHIM_VERSION").and_then(|v| v.parse().ok()).unwrap_or(2);
    let mut request = Request {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address: first_filled([flags.address.clone(), env("GRPC_ADDRESS").unwrap_or_default()]),
        ttrpc_address: env("TTRPC_ADDRESS").unwrap_or_default(),
        debug: flags.debug,
        socket_dir: None,
        answer: if max_version >= 3 {
            Answer::Json
        } else {
            Answer::Plain
        },
    };
    if let Some(params) = bootstrap_params(flags, stdin)? {
        request.address = first_filled([params.containerd_grpc_address, request.address]);
        request.ttrpc_address = first_filled([params.containerd_ttrpc_address, request.ttrpc_address]);
        // The level is an open enum: more verbose is lower.
        request.debug |= params.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG.value();
        request.socket_dir = params.socket_dir.filter(|dir| !dir.is_empty());
        request.answer = Answer::Protobuf;
    }
    if request.address.is_empty() {
        return Err(BootstrapError::Missing("address"));
    }
    if request.ttrpc_address.is_empty() {
        // containerd's rule for the socket beside the main one (`cmd/containerd/command/main.go`).
        request.ttrpc_address = format!("{}.ttrpc", request.address);
    }
    Ok(request)
}

/// Checks the flags that every action needs.
///
/// # Errors
/// A [`BootstrapError`] that names the flag.
pub(crate) fn check_identity(flags: &Flags) -> Result<(), BootstrapError> {
    if flags.namespace.is_empty() {
        return Err(BootstrapError::Missing("namespace"));
    }
    if flags.id.is_empty() {
        return Err(BootstrapError::Missing("id"));
    }
    // The id becomes part of paths. containerd's own rule is narrower (`pkg/identifiers`).
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !flags.id.chars().all(allowed) || flags.id.chars().all(|c| c == '.') {
        return Err(BootstrapError::Id(flags.id.clone()));
    }
    Ok(())
}

/// The answer in the form that the caller reads. Nothing else may go to stdout or stderr: containerd joins both.
#[must_use]
pub(crate) fn answer(form: Answer, address: &str) -> Vec<u8> {
    match form {
        Answer::Plain => address.as_bytes().to_vec(),
        Answer::Json => serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"})
            .to_string()
            .into_bytes(),
        Answer::Protobuf => {
            let result = BootstrapResult {
                version: 3,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            // Encoding into memory fails only for messages over 2 GiB.
            result.write_to_bytes().unwrap_or_default()
        }
    }
}

/// Whether stdin holds a bootstrap message for this task.
fn bootstrap_params(flags: &Flags, stdin: &[u8]) -> Result<Option<BootstrapParams>, BootstrapError> {
    if stdin.is_empty() {
        return Ok(None);
    }
    let Ok(params) = BootstrapParams::parse_from_bytes(stdin) else {
        return Ok(None);
    };
    if params.instance_id == flags.id && params.namespace == flags.namespace {
        return Ok(Some(params));
    }
    // An `Any` has its two fields where this message has id and namespace, and no others.
    let any = BootstrapParams {
        instance_id: params.instance_id.clone(),
        namespace: params.namespace.clone(),
        ..Default::default()
    };
    if params == any {
        return Ok(None);
    }
    Err(BootstrapError::Mismatch {
        message_namespace: params.namespace,
        message_id: params.instance_id,
        namespace: flags.namespace.clone(),
        id: flags.id.clone(),
    })
}

fn first_filled<const N: usize>(candidates: [String; N]) -> String {
    candidates.into_iter().find(|c| !c.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::EnumOrUnknown;
    use containerd_shim_protos::protobuf::well_known_types::any::Any;

    use super::*;

    fn flags() -> Flags {
        Flags {
            namespace: "k8s.io".into(),
            id: "a1".into(),
            address: "/run/c.sock".into(),
            ..Flags::default()
        }
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "a1".into(),
            namespace: "k8s.io".into(),
            containerd_version: "2.3.2".into(),
            containerd_grpc_address: "/run/other.sock".into(),
            containerd_ttrpc_address: "/run/other.sock.ttrpc".into(),
            ..Default::default()
        }
    }

    #[test]
    fn old_containerd_gets_the_bare_address() {
        let env = |name: &str| (name == "TTRPC_ADDRESS").then(|| "/run/c.sock.ttrpc".to_owned());
        let request = request(&flags(), b"", env).unwrap();
        assert_eq!(request.answer, Answer::Plain);
        assert_eq!(request.ttrpc_address, "/run/c.sock.ttrpc");
        assert_eq!(answer(request.answer, "unix:///s"), b"unix:///s");
    }

    #[test]
    fn runtime_options_on_stdin_are_no_bootstrap_message() {
        let any = Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: vec![8, 1],
            ..Default::default()
        };
        let request = request(&flags(), &any.write_to_bytes().unwrap(), no_env).unwrap();
        assert_eq!(request.answer, Answer::Plain);
        assert_eq!(request.ttrpc_address, "/run/c.sock.ttrpc");
    }

    #[test]
    fn bootstrap_message_wins_over_flags() {
        let mut message = params();
        message.log_level = EnumOrUnknown::from_i32(-4);
        message.socket_dir = Some("/run/s".into());
        let request = request(&flags(), &message.write_to_bytes().unwrap(), no_env).unwrap();
        assert_eq!(request.answer, Answer::Protobuf);
        assert_eq!(request.address, "/run/other.sock");
        assert_eq!(request.socket_dir.as_deref(), Some("/run/s"));
        assert!(request.debug);
        let bytes = answer(request.answer, "unix:///s");
        let result = BootstrapResult::parse_from_bytes(&bytes).unwrap();
        assert_eq!(
            (result.version, result.address.as_str(), result.protocol.as_str()),
            (3, "unix:///s", "ttrpc")
        );
    }

    #[test]
    fn message_for_another_task_is_refused() {
        let message = BootstrapParams {
            instance_id: "other".into(),
            ..params()
        };
        let error = request(&flags(), &message.write_to_bytes().unwrap(), no_env).unwrap_err();
        assert!(error.to_string().contains("k8s.io/other"), "{error}");
    }

    #[test]
    fn version_3_by_environment_is_json() {
        let env = |name: &str| (name == "MAX_SHIM_VERSION").then(|| "3".to_owned());
        let form = request(&flags(), b"not protobuf \xff", env).unwrap().answer;
        assert_eq!(form, Answer::Json);
        let json: serde_json::Value = serde_json::from_slice(&answer(form, "unix:///s")).unwrap();
        assert_eq!(json["version"], 3);
    }

    #[test]
    fn identity_is_checked() {
        let bad = |id: &str| {
            check_identity(&Flags {
                id: id.into(),
                ..flags()
            })
            .is_err()
        };
        assert!(bad("") && bad("..") && bad("a/b"));
        assert!(!bad("sandbox_1.2-x"));
    }
}
