//! Images, built on the spot as archives in OCI layout.

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, Digest, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use sha2::{Digest as _, Sha256};

use crate::containerd::Containerd;
use crate::cri::Cri;
use crate::cri::messages::{ImageSpec, ImageStatusRequest};
use crate::paths;

/// The sandbox image. Nothing in it ever runs.
pub const PAUSE: &str = "mote.test/pause:1";

/// The forms in which a Wasm program can be an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An ordinary image whose entrypoint names a .wasm in its rootfs.
    Rootfs,
    /// The same, and it says `linux/amd64`, as build tools that know no Wasm do.
    LinuxRootfs,
    /// An OCI artifact: config `application/vnd.wasm.config.v0+json`, layer `application/wasm`.
    Artifact,
    /// Layer `application/vnd.bytecodealliance.wasm.component.layer.v0+wasm`.
    ComponentLayer,
    /// Layer `application/vnd.wasm.content.layer.v1+wasm`.
    ContentLayer,
}

/// The four forms of a published image.
pub const FORMS: [Form; 4] = [
    Form::Rootfs,
    Form::Artifact,
    Form::ComponentLayer,
    Form::ContentLayer,
];

/// An image to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    form: Form,
    wasm: Vec<u8>,
    entrypoint: Vec<String>,
    env: Vec<String>,
    files: Vec<(String, Vec<u8>, u32)>,
    /// Symbolic links: path and target.
    links: Vec<(String, String)>,
    user: Option<String>,
}

impl Image {
    /// An image of a program; its entrypoint is the program, without arguments.
    #[must_use]
    pub fn new(name: &str, form: Form, wasm: Vec<u8>) -> Image {
        Image {
            name: format!("mote.test/{name}:1"),
            form,
            wasm,
            entrypoint: vec!["/app.wasm".into()],
            env: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            user: None,
        }
    }

    /// An image of a guest that the build scripts made.
    #[must_use]
    pub fn program(name: &str, form: Form, program: &str) -> Image {
        Image::new(name, form, paths::program_bytes(program))
    }

    /// Another entrypoint.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Image {
        self.entrypoint = words.iter().map(ToString::to_string).collect();
        self
    }

    /// A variable of the image's own.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Image {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// One more file in the rootfs.
    #[must_use]
    pub fn file(self, path: &str, bytes: &[u8]) -> Image {
        self.file_of_mode(path, bytes, 0o644)
    }

    /// One more file in the rootfs, which the kernel may execute.
    #[must_use]
    pub fn executable(self, path: &str, bytes: &[u8]) -> Image {
        self.file_of_mode(path, bytes, 0o755)
    }

    fn file_of_mode(mut self, path: &str, bytes: &[u8], mode: u32) -> Image {
        self.files
            .push((path.trim_start_matches('/').into(), bytes.into(), mode));
        self
    }

    /// A symbolic link in the rootfs.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Image {
        self.links
            .push((path.trim_start_matches('/').into(), target.into()));
        self
    }

    /// The user that it names: `UID`, `NAME`, each with `:GROUP` or without.
    #[must_use]
    pub fn user(mut self, user: &str) -> Image {
        self.user = Some(user.into());
        self
    }

    /// Builds it and imports it into both namespaces: `default` for `ctr`, `k8s.io` for CRI. What this process has
    /// imported there last under its name is not imported again: then the answer is `false`.
    ///
    /// # Errors
    /// If containerd does not take it.
    pub fn import(&self, daemon: &Containerd) -> Result<bool> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let imported = imported(daemon, &self.name);
        let mut imported = imported.lock().unwrap_or_else(PoisonError::into_inner);
        if imported.as_ref() == Some(self) {
            return Ok(false);
        }
        let path = daemon
            .root
            .join(format!("image-{}.tar", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, self.archive()?)?;
        for namespace in ["default", "k8s.io"] {
            import_archive(daemon, namespace, &path)?;
        }
        fs::remove_file(path)?;
        self.wait_for_cri(daemon)?;
        *imported = Some(self.clone());
        Ok(true)
    }

    /// CRI keeps a list of its own, which follows containerd's by events.
    fn wait_for_cri(&self, daemon: &Containerd) -> Result<()> {
        let cri = Cri::connect(daemon)?;
        let request = || ImageStatusRequest {
            image: Some(ImageSpec {
                image: self.name.clone(),
                ..ImageSpec::default()
            }),
        };
        let give_up = Instant::now() + Duration::from_secs(10);
        while cri
            .image_status(request())
            .context("ImageStatus")?
            .image
            .is_none()
        {
            anyhow::ensure!(Instant::now() < give_up, "CRI does not know {}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// It as an archive in OCI layout.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut layout = Layout::new()?;
        let (layers, diff_ids) = self.layers(&mut layout)?;
        let config = match self.form {
            Form::Artifact => {
                let digest = layers.first().map(|layer| layer.digest().to_string());
                let config = serde_json::json!({
                    "created": "2026-01-01T00:00:00Z",
                    "architecture": "wasm",
                    "os": "wasip1",
                    "layerDigests": digest.into_iter().collect::<Vec<_>>(),
                });
                let media = MediaType::Other("application/vnd.wasm.config.v0+json".into());
                layout.blob(media, config.to_string().as_bytes())?
            }
            _ => self.config(&mut layout, diff_ids)?,
        };
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(layers)
            .build()?;
        layout.finish(&self.name, manifest.to_string()?.as_bytes(), self.platform())
    }

    fn layers(&self, layout: &mut Layout) -> Result<(Vec<Descriptor>, Vec<String>)> {
        let media = match self.form {
            Form::Rootfs | Form::LinuxRootfs => {
                let layer = self.rootfs()?;
                let descriptor = layout.blob(MediaType::ImageLayer, &layer)?;
                let diff_id = descriptor.digest().to_string();
                return Ok((vec![descriptor], vec![diff_id]));
            }
            Form::Artifact => "application/wasm",
            Form::ComponentLayer => "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
            Form::ContentLayer => "application/vnd.wasm.content.layer.v1+wasm",
        };
        // A layer that is no file tree has no diff id.
        Ok((
            vec![layout.blob(MediaType::Other(media.into()), &self.wasm)?],
            Vec::new(),
        ))
    }

    fn rootfs(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        if !self.wasm.is_empty() {
            append(&mut tar, "app.wasm", &self.wasm, 0o755)?;
        }
        for (path, bytes, mode) in &self.files {
            append(&mut tar, path, bytes, *mode)?;
        }
        for (path, target) in &self.links {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            header.set_mtime(0);
            tar.append_link(&mut header, path, target)?;
        }
        Ok(tar.into_inner()?)
    }

    fn platform(&self) -> (Arch, Os) {
        match self.form {
            Form::LinuxRootfs => (Arch::Amd64, Os::Linux),
            Form::Rootfs => (Arch::Wasm, Os::from("wasi")),
            _ => (Arch::Wasm, Os::from("wasip1")),
        }
    }

    /// CRI takes the digest of the configuration for the image's identity. A Wasm layer has no diff id, so two
    /// programs would be one image to it; the name in the history tells them apart, as a build tool's dates do.
    fn config(&self, layout: &mut Layout, diff_ids: Vec<String>) -> Result<Descriptor> {
        let (arch, os) = self.platform();
        let mut process = ConfigBuilder::default()
            .entrypoint(self.entrypoint.clone())
            .env(self.env.clone());
        if let Some(user) = &self.user {
            process = process.user(user.clone());
        }
        let config = ImageConfigurationBuilder::default()
            .architecture(arch)
            .os(os)
            .config(process.build()?)
            .rootfs(
                RootFsBuilder::default()
                    .typ("layers")
                    .diff_ids(diff_ids)
                    .build()?,
            )
            .history(vec![
                HistoryBuilder::default().created_by(self.name.clone()).build()?,
            ])
            .build()?;
        layout.blob(MediaType::ImageConfig, config.to_string()?.as_bytes())
    }
}

/// The sandbox image.
#[must_use]
pub fn pause() -> Image {
    Image::new("pause", Form::LinuxRootfs, Vec::new())
        .file("etc/mote", b"sandbox\n")
        .entrypoint(&["/pause"])
}

/// The sandbox image, imported where CRI looks.
///
/// # Errors
/// If containerd does not take it.
pub fn import_pause(daemon: &Containerd) -> Result<()> {
    pause().import(daemon).map(drop)
}

/// What was imported last under a name, for whoever holds the lock. There is one lock to a name because `ctr` makes a
/// new image only if it found none: of two imports of one new name, one can fail with `already exists`.
fn imported(daemon: &Containerd, name: &str) -> Arc<Mutex<Option<Image>>> {
    type Imported = HashMap<(PathBuf, String), Arc<Mutex<Option<Image>>>>;
    static IMPORTED: OnceLock<Mutex<Imported>> = OnceLock::new();
    let key = (daemon.root.clone(), name.to_owned());
    let all = IMPORTED.get_or_init(Mutex::default).lock();
    let mut all = all.unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(key).or_default())
}

fn import_archive(daemon: &Containerd, namespace: &str, path: &std::path::Path) -> Result<()> {
    let output = daemon
        .ctr()
        .args(["--namespace", namespace, "images", "import", "--all-platforms"])
        .arg(path)
        .output()
        .context("ctr images import")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    anyhow::ensure!(output.status.success(), "ctr images import: {said}");
    Ok(())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    tar.append_data(&mut header, PathBuf::from(path), Cursor::new(bytes))
}

/// An archive in the making.
struct Layout {
    tar: tar::Builder<Vec<u8>>,
}

impl Layout {
    fn new() -> Result<Layout> {
        let mut tar = tar::Builder::new(Vec::new());
        append(
            &mut tar,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        Ok(Layout { tar })
    }

    fn blob(&mut self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let mut digest = String::new();
        for byte in Sha256::digest(bytes) {
            digest.push_str(&format!("{byte:02x}"));
        }
        append(&mut self.tar, &format!("blobs/sha256/{digest}"), bytes, 0o644)?;
        let digest: Sha256Digest = digest.parse()?;
        let size = u64::try_from(bytes.len())?;
        Ok(Descriptor::new(media_type, size, Digest::from(digest)))
    }

    fn finish(mut self, name: &str, manifest: &[u8], platform: (Arch, Os)) -> Result<Vec<u8>> {
        let blob = self.blob(MediaType::ImageManifest, manifest)?;
        let platform = PlatformBuilder::default()
            .architecture(platform.0)
            .os(platform.1)
            .build()?;
        let tag = name.rsplit_once(':').map_or("1", |(_, tag)| tag);
        let annotations = [
            ("io.containerd.image.name".to_string(), name.to_string()),
            ("org.opencontainers.image.ref.name".to_string(), tag.to_string()),
        ];
        let descriptor = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .digest(blob.digest().clone())
            .size(blob.size())
            .platform(platform)
            .annotations(annotations.into_iter().collect::<HashMap<_, _>>())
            .build()?;
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![descriptor])
            .build()?;
        append(&mut self.tar, "index.json", index.to_string()?.as_bytes(), 0o644)?;
        let mut bytes = self.tar.into_inner()?;
        bytes.flush()?;
        Ok(bytes)
    }
}
