//! The program as a layer of a Wasm media type, read from containerd's content store.

use std::fs::File;
use std::io::Seek as _;

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::describe::{START, describe};
use super::grpc::{Channel, GrpcError};
use super::manifest::{Choice, Descriptor, Document};
use super::{ImageError, MAGIC, Place, Wasm};

/// Most bytes of an index or manifest (containerd's own bound, `core/images/image.go`).
const MAX_DOCUMENT: u64 = 8 << 20;

/// Most bytes of a Wasm layer; the largest known programs have some 40 MB.
const MAX_WASM: u64 = 1 << 30;

/// How deep indexes may be nested.
const MAX_DEPTH: u32 = 4;

// Field numbers are those of containerd's `api/services/{containers,images,content}/v1` and
// `api/types/descriptor.proto`; fields that are not needed are skipped by the decoder.

#[derive(Clone, PartialEq, Message)]
struct Name {
    /// `GetContainerRequest.id`, `GetImageRequest.name`.
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "3")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetImageResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(message, optional, tag = "3")]
    target: Option<Target>,
}

#[derive(Clone, PartialEq, Message)]
struct Target {
    #[prost(string, tag = "1")]
    media_type: String,
    #[prost(string, tag = "2")]
    digest: String,
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ReadContentRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadContentResponse {
    #[prost(bytes = "bytes", tag = "2")]
    data: bytes::Bytes,
}

/// Finds the Wasm layer of the container's image.
///
/// # Errors
/// An [`ImageError`] that says what the image has instead.
pub(crate) async fn find(program: &str, place: Place<'_>) -> Result<Wasm, ImageError> {
    let mut store = Store::open(place).await?;
    let no_program = |image: &str, found: &str| ImageError::NoProgram {
        program: program.to_owned(),
        image: image.to_owned(),
        found: found.to_owned(),
    };
    let Some((image, target)) = store.image_of(place.id, place.image).await? else {
        return Err(no_program("the container", "has no image"));
    };
    let image = format!("image {image}");
    // Depth first; a blob that was not pulled (another platform's) is passed over.
    let mut open: Vec<(Descriptor, u32)> = vec![(target, 0)];
    let mut found = String::new();
    while let Some((descriptor, depth)) = open.pop() {
        let Some(document) = store.document(&descriptor).await? else {
            continue;
        };
        if descriptor.is_index() || !document.manifests.is_empty() {
            let candidates = document.candidates();
            if candidates.is_empty() {
                found = format!("is for the platforms {}", document.platforms());
            }
            if depth < MAX_DEPTH {
                open.extend(candidates.into_iter().rev().map(|d| (d.clone(), depth + 1)));
            }
            continue;
        }
        match document.wasm_layer(program) {
            Choice::Layer(layer) => return store.wasm(layer).await,
            Choice::Ambiguous(layers) => {
                return Err(ImageError::Ambiguous {
                    image,
                    layers,
                    program: program.to_owned(),
                });
            }
            Choice::None(types) => found = format!("has no Wasm layer (config and layers: {types})"),
        }
    }
    let found = if found.is_empty() {
        "has no manifest in containerd's content store"
    } else {
        &found
    };
    Err(no_program(&image, found))
}

/// containerd's stores, for one namespace.
struct Store<'a> {
    channel: Channel,
    address: &'a str,
}

impl<'a> Store<'a> {
    async fn open(place: Place<'a>) -> Result<Store<'a>, ImageError> {
        let channel = Channel::connect(place.address, place.namespace).await;
        let channel = channel.map_err(|source| ImageError::Containerd {
            address: place.address.to_owned(),
            source,
        })?;
        Ok(Store {
            channel,
            address: place.address,
        })
    }

    fn failed(&self, source: GrpcError) -> ImageError {
        ImageError::Containerd {
            address: self.address.to_owned(),
            source,
        }
    }

    /// Name and target of a container's image; `None` if it was made without one. The image that the pod names goes
    /// before the one in the container's record, if containerd has it under that name.
    async fn image_of(
        &mut self,
        id: &str,
        named: Option<&str>,
    ) -> Result<Option<(String, Descriptor)>, ImageError> {
        if let Some(name) = named
            && let Ok(Some(target)) = self.target_of(name).await
        {
            return Ok(Some((name.to_owned(), target)));
        }
        let request = Name { name: id.to_owned() };
        let method = "/containerd.services.containers.v1.Containers/Get";
        let answer = self.channel.unary::<GetContainerResponse>(method, &request).await;
        let name = answer
            .map_err(|e| self.failed(e))?
            .container
            .unwrap_or_default()
            .image;
        if name.is_empty() {
            return Ok(None);
        }
        let target = self.target_of(&name).await.map_err(|e| self.failed(e))?;
        Ok(target.map(|target| (name, target)))
    }

    /// What the image `name` points at.
    async fn target_of(&mut self, name: &str) -> Result<Option<Descriptor>, GrpcError> {
        let request = Name {
            name: name.to_owned(),
        };
        let method = "/containerd.services.images.v1.Images/Get";
        let answer = self.channel.unary::<GetImageResponse>(method, &request).await?;
        let target = answer.image.and_then(|image| image.target);
        Ok(target.map(|target| Descriptor {
            media_type: target.media_type,
            digest: target.digest,
            size: u64::try_from(target.size).unwrap_or(0),
            ..Descriptor::default()
        }))
    }

    /// An index or manifest; `None` if it is not in the store.
    async fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Document>, ImageError> {
        let mut bytes = Vec::new();
        if self.read(descriptor, MAX_DOCUMENT, &mut bytes).await?.is_none() {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed
            .map(Some)
            .map_err(|e| blob_error(descriptor, format!("no image index or manifest: {e}")))
    }

    async fn wasm(&mut self, layer: &Descriptor) -> Result<Wasm, ImageError> {
        let store = |source| ImageError::Store {
            digest: layer.digest.clone(),
            source,
        };
        let mut file = memory_file().map_err(store)?;
        let Some(digest) = self.read(layer, MAX_WASM, &mut file).await? else {
            return Err(blob_error(
                layer,
                "the layer is not in containerd's content store; pull the image again".into(),
            ));
        };
        let mut start = [0; START];
        let read = std::os::unix::fs::FileExt::read_at(&file, &mut start, 0).map_err(store)?;
        if !start[..read].starts_with(&MAGIC) {
            return Err(blob_error(
                layer,
                format!("the layer is {}, not a Wasm file", describe(&start[..read])),
            ));
        }
        file.rewind().map_err(store)?;
        Ok(Wasm {
            file,
            name: layer.digest.clone(),
            digest: Some(digest),
        })
    }

    /// Copies a blob, with its size and digest checked, and answers the digest; `None` if it is not in the store.
    async fn read(
        &mut self,
        descriptor: &Descriptor,
        max: u64,
        to: &mut impl std::io::Write,
    ) -> Result<Option<[u8; 32]>, ImageError> {
        let Some(expected) = descriptor.digest.strip_prefix("sha256:") else {
            return Err(blob_error(descriptor, "the digest is not of type sha256".into()));
        };
        let request = ReadContentRequest {
            digest: descriptor.digest.clone(),
        };
        let method = "/containerd.services.content.v1.Content/Read";
        let mut stream = match self.channel.call(method, &request).await {
            Ok(stream) => stream,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(self.failed(e)),
        };
        let (mut hash, mut len) = (Sha256::new(), 0_u64);
        loop {
            let piece = match stream.next::<ReadContentResponse>().await {
                Ok(Some(piece)) => piece.data,
                Ok(None) => break,
                Err(e) if e.is_not_found() && len == 0 => return Ok(None),
                Err(e) => return Err(self.failed(e)),
            };
            len += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if len > max {
                return Err(blob_error(descriptor, format!("larger than {max} bytes")));
            }
            hash.update(&piece);
            to.write_all(&piece).map_err(|source| ImageError::Store {
                digest: descriptor.digest.clone(),
                source,
            })?;
        }
        if len != descriptor.size && descriptor.size != 0 {
            return Err(blob_error(
                descriptor,
                format!("{len} bytes long instead of {}", descriptor.size),
            ));
        }
        let digest: [u8; 32] = hash.finalize().into();
        if !hex_equals(expected, &digest) {
            return Err(blob_error(
                descriptor,
                "the content does not match its digest".into(),
            ));
        }
        Ok(Some(digest))
    }
}

fn blob_error(descriptor: &Descriptor, reason: String) -> ImageError {
    ImageError::Blob {
        digest: descriptor.digest.clone(),
        reason,
    }
}

fn hex_equals(hex: &str, bytes: &[u8]) -> bool {
    let written: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    written == hex
}

/// A file without a name, so that nothing is left behind whatever happens.
fn memory_file() -> std::io::Result<File> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: the name is a C string, and the flags need no further arguments.
    let fd = unsafe { libc::memfd_create(c"mote-wasm".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_compared_whole() {
        assert!(hex_equals("00ff", &[0, 255]));
        assert!(!hex_equals("00fe", &[0, 255]));
        assert!(!hex_equals("00ff00", &[0, 255]));
        assert!(!hex_equals("00", &[0, 255]));
        assert!(!hex_equals("äöü", &[0, 255, 1]), "a digest need not be ASCII");
    }

    #[test]
    fn messages_have_containerds_field_numbers() {
        // Container { id: "a", image: "b" } in GetContainerResponse.
        let bytes = [0x0a, 6, 0x0a, 1, b'a', 0x1a, 1, b'b'];
        let answer = GetContainerResponse::decode(&bytes[..]).unwrap();
        assert_eq!(answer.container.unwrap().image, "b");
    }
}
