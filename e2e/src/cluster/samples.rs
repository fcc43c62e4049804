//! The images that `manifests/` name. No registry has them: `make samples` writes them as archives.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::images::{Form, Image};
use crate::paths;

/// All of them. A command, a server, and a command with a verb for each thing that a sample shows.
///
/// # Errors
/// If one cannot be put together.
pub fn images() -> Result<Vec<Image>> {
    Ok(vec![
        Image::program("hello", Form::Rootfs, "hello-rust-p2"),
        // With more programs: for `kubectl exec`, and a client.
        Image::program("http", Form::Rootfs, "server-rust")
            .file("tool.wasm", &paths::program_bytes("probe-rust-p1"))
            .file("fetch.wasm", &paths::program_bytes("fetch-rust")),
        Image::program("tool", Form::Rootfs, "probe-rust-p1").file("needs-more.wasm", &needs_more()?),
    ])
}

/// A program that imports what no host offers.
fn needs_more() -> Result<Vec<u8>> {
    let text = r#"(module (import "mote:test/absent" "call" (func)) (memory (export "memory") 1) (func (export "_start")))"#;
    Ok(wat::parse_str(text)?)
}

/// Writes them as `NAME.tar`, archives in OCI layout.
///
/// # Errors
/// If a file cannot be written.
pub fn write(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for image in images()? {
        let name = image
            .name
            .rsplit('/')
            .next()
            .and_then(|name| name.split(':').next())
            .context("an image has a name")?;
        let file = dir.join(format!("{name}.tar"));
        fs::write(&file, image.archive()?).with_context(|| file.display().to_string())?;
        println!("{} is {}", file.display(), image.name);
    }
    Ok(())
}
