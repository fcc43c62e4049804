//! Builds the guest image and cuts it into the segments that the VMM lays out.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("..")
        .canonicalize()?;
    for path in [
        "guest",
        "Cargo.lock",
        "Cargo.toml",
        ".cargo/config.toml",
        "rust-toolchain.toml",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let image = build_guest(&root, &out)?;
    cut(&fs::read(image)?, &out)
}

/// Runs cargo for the guest's own target, in a target directory of its own: the outer cargo holds the lock of its. It
/// is beside all build scripts' output, so that builds, lints and tests of one profile share it.
fn build_guest(root: &Path, out: &Path) -> Result<PathBuf> {
    let builds = out
        .ancestors()
        .find(|dir| dir.ends_with("build"))
        .and_then(Path::parent);
    let target = builds.unwrap_or(out).join("guest-image");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--package",
            "mote-guest",
            "--target",
            "x86_64-unknown-none",
            "--profile",
            "guest",
        ])
        .arg("--target-dir")
        .arg(&target);
    if env::var_os("CARGO_FEATURE_CONFORMANCE").is_some() {
        cargo.args(["--features", "conformance"]);
    }
    // What the outer cargo set for its own target must not reach the guest's.
    for (name, _) in env::vars() {
        let outer = name.starts_with("CARGO_") && name != "CARGO_HOME" && !name.starts_with("CARGO_NET");
        if outer
            || ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "TARGET"].contains(&name.as_str())
        {
            cargo.env_remove(name);
        }
    }
    if !cargo.status()?.success() {
        return Err("building the guest image failed; its errors are above".into());
    }
    Ok(target.join("x86_64-unknown-none/guest/mote-guest"))
}

/// Writes text.bin, rodata.bin and data.bin, and their addresses as constants.
fn cut(bytes: &[u8], out: &Path) -> Result<()> {
    let elf = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = elf.endian();
    let mut constants = String::new();
    for (name, flags) in [("text", 5), ("rodata", 4), ("data", 6)] {
        let header = elf
            .elf_program_headers()
            .iter()
            .find(|h| h.p_type(endian) == object::elf::PT_LOAD && h.p_flags(endian) == flags)
            .ok_or_else(|| format!("the guest image has no {name} segment"))?;
        let data = header
            .data(endian, bytes)
            .map_err(|()| "a segment is outside of the image")?;
        fs::write(out.join(format!("{name}.bin")), data)?;
        let upper = name.to_uppercase();
        constants += &format!("const {upper}_ADDRESS: u64 = {:#x};\n", header.p_vaddr(endian));
        if name == "data" {
            let end = header.p_vaddr(endian) + header.p_memsz(endian);
            constants += &format!("const IMAGE_END: u64 = {:#x};\n", end.next_multiple_of(4096));
        }
    }
    constants += &format!("const ENTRY: u64 = {:#x};\n", elf.entry());
    fs::write(out.join("image.rs"), constants)?;
    Ok(())
}
