//! What a file is that is no Wasm, by its first bytes, for people who expected Wasm.

/// Bytes of a file's beginning that tell.
pub(super) const START: usize = 20;

/// In `e_ident[EI_OSABI]` of what Wasmtime's compiler writes. (Wasmtime `wasmtime-environ/src/obj.rs`,
/// `ELFOSABI_WASMTIME`)
const OSABI_WASMTIME: u8 = 200;

/// Describes a file by its first bytes, [`START`] of them if it has as many.
pub(super) fn describe(start: &[u8]) -> String {
    match start {
        [] => "an empty file".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => elf(start),
        [b'#', b'!', ..] => "a script (its pod needs another runtimeClassName)".to_owned(),
        [b'M', b'Z', ..] => "a Windows executable".to_owned(),
        [b'(', ..] => "perhaps Wasm text (convert it with `wasm-tools parse`)".to_owned(),
        [0x1f, 0x8b, ..] => "a gzip file".to_owned(),
        [b'M', b'O', b'T', b'E', ..] => "compiled code; the image must hold the .wasm file".to_owned(),
        _ => format!(
            "a file that starts with the bytes {:02x?}",
            &start[..start.len().min(4)]
        ),
    }
}

fn elf(start: &[u8]) -> String {
    let machine = match machine(start) {
        Some(name) => format!(" for {name}"),
        None => String::new(),
    };
    match start.get(7) {
        Some(&OSABI_WASMTIME) => {
            format!("code that Wasmtime has compiled{machine}; the image must hold the .wasm file")
        }
        _ => format!("an ELF executable{machine} (a Linux program; its pod needs another runtimeClassName)"),
    }
}

/// `e_machine`, by the name that it has in an image's platform. (elf(5); OCI image specification, `architecture`)
fn machine(start: &[u8]) -> Option<&'static str> {
    let bytes = [*start.get(18)?, *start.get(19)?];
    // e_ident[EI_DATA]: 2 is big-endian.
    let number = match start.get(5)? {
        2 => u16::from_be_bytes(bytes),
        _ => u16::from_le_bytes(bytes),
    };
    Some(match number {
        3 => "386",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_first_bytes() {
        assert!(describe(b"\x7fELF\x02").contains("an ELF executable (a Linux"));
        assert!(describe(b"#!/bin/sh").contains("script"));
        assert!(describe(b"").contains("empty"));
        assert_eq!(
            describe(&[1, 2, 3, 4, 5]),
            "a file that starts with the bytes [01, 02, 03, 04]"
        );
    }

    #[test]
    fn elf_files_say_for_which_machine() {
        let mut start = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";
        assert!(describe(&start).contains("ELF executable for arm64"));
        start[7] = OSABI_WASMTIME;
        assert!(describe(&start).starts_with("code that Wasmtime has compiled for arm64;"));
        start[5] = 2;
        start[18..].copy_from_slice(&22_u16.to_be_bytes());
        assert!(describe(&start).contains("s390x"));
        start[18..].copy_from_slice(&[0xff, 0xff]);
        assert!(describe(&start).contains("compiled;"));
    }
}
