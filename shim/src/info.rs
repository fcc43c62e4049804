//! The `-info` flag: what this runtime is, as a `RuntimeInfo` on stdout (containerd `api/types/introspection.proto`).

use std::io::{self, Write as _};

use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

/// Writes the message. Features are left out: containerd then checks no spec against them, and the runtime says
/// itself what it cannot do.
///
/// # Errors
/// That of writing to stdout.
pub(crate) fn run() -> io::Result<()> {
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let info = RuntimeInfo {
        name: "io.containerd.mote.v1".to_owned(),
        version: MessageField::some(version),
        ..Default::default()
    };
    let bytes = info.write_to_bytes().map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
}
