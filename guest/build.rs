//! Links the image at the addresses that `mote_abi::layout` and `link.ld` name.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for arg in [
            &format!("-T{root}/link.ld"),
            "-no-pie",
            "-znorelro",
            "--gc-sections",
        ] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
