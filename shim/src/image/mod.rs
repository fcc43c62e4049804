//! Finds the Wasm file of a container.
//!
//! Either the first argument names it in the root file system, as in any image, or the image has it as a layer of a
//! Wasm media type, which containerd keeps in its content store and does not unpack.

pub(crate) mod artifact;
mod describe;
pub(crate) mod grpc;
pub(crate) mod manifest;
pub(crate) mod rootfs;

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::spec::Spec;

/// First bytes of every Wasm module and component (core specification, 5.5.16).
pub(crate) const MAGIC: [u8; 4] = *b"\0asm";

/// What is said about the forms of images that can run.
const SUPPORTED: &str = "supported are an image whose entrypoint names a .wasm file in it, and an image or artifact \
                         with one layer of type application/wasm, \
                         application/vnd.bytecodealliance.wasm.component.layer.v0+wasm or \
                         application/vnd.wasm.content.layer.v1+wasm";

/// A Wasm file, open and checked for its magic number.
#[derive(Debug)]
pub(crate) struct Wasm {
    pub file: File,
    /// For messages: the path in the image, or the layer's digest.
    pub name: String,
    /// SHA-256 of the file, if it was checked already.
    pub digest: Option<[u8; 32]>,
}

/// A container without a Wasm program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("{program:?} in the image is {found}, not a Wasm file; {SUPPORTED}")]
    NotWasm { program: String, found: String },
    #[error("{program:?} is not in the image's file system, and {image} {found}; {SUPPORTED}")]
    NoProgram {
        program: String,
        image: String,
        found: String,
    },
    #[error("opening {path:?} in the rootfs {rootfs}: {source}")]
    Rootfs {
        path: String,
        rootfs: PathBuf,
        source: std::io::Error,
    },
    #[error("{image} has several Wasm layers ({layers}), and none has the title {program:?}; {SUPPORTED}")]
    Ambiguous {
        image: String,
        layers: String,
        program: String,
    },
    #[error("{digest}: {reason}")]
    Blob { digest: String, reason: String },
    #[error("asking containerd at {address}: {source}")]
    Containerd {
        address: String,
        source: grpc::GrpcError,
    },
    #[error("keeping {digest} in memory: {source}")]
    Store { digest: String, source: std::io::Error },
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub rootfs: &'a Path,
    /// containerd's gRPC socket.
    pub address: &'a str,
    pub namespace: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// The image that the pod names. CRI knows images by the digest of their configuration, which two images whose
    /// program is a layer of its own can share; then the container's record may name the other one.
    pub image: Option<&'a str>,
}

/// Finds the program that `spec` names.
///
/// # Errors
/// An [`ImageError`] that says what was found instead, and what can run.
pub(crate) async fn find(spec: &Spec, place: Place<'_>) -> Result<Wasm, ImageError> {
    let lookup = rootfs::Lookup::from_spec(spec);
    if let Some(wasm) = rootfs::find(&lookup, place.rootfs)? {
        return Ok(wasm);
    }
    artifact::find(lookup.program, place).await
}
