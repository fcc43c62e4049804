//! The code file: a header page in front of what Wasmtime serialized.

use std::io::Write;

use mote_abi::{
    PAGE_SIZE, VERSION,
    code::{Header, MAGIC, PAYLOAD_OFFSET},
    cpu::Features,
};
use object::{
    Endianness,
    elf::{FileHeader64, SHF_EXECINSTR},
    read::elf::{FileHeader, SectionHeader},
};
use sha2::{Digest, Sha256};

use crate::{compile::WASMTIME, error::Error, inspect::Program};

/// The header for `payload`.
pub(crate) fn header(
    program: &Program,
    features: Features,
    source_sha256: [u8; 32],
    payload: &[u8],
) -> Result<Header, Error> {
    let (text_offset, text_len) = text_range(payload)?;
    let mut wasmtime = [0; 16];
    wasmtime[..WASMTIME.len()].copy_from_slice(WASMTIME.as_bytes());
    let header = Header {
        magic: MAGIC,
        abi_version: VERSION,
        kind: program.kind.to_raw(),
        features: features.0,
        payload_len: u64::try_from(payload.len()).map_err(|e| Error::Internal(e.to_string()))?,
        text_offset,
        text_len,
        memory_min: program.memory_min,
        source_sha256,
        payload_sha256: Sha256::digest(payload).into(),
        wasmtime,
        imports: program.imports,
    };
    // What is written is what the readers will check.
    Header::parse(
        &header.to_bytes(),
        PAYLOAD_OFFSET.saturating_add(header.payload_len),
    )
    .map_err(|e| Error::Internal(format!("the code file would be refused: {e}")))
}

/// Writes the whole code file.
pub(crate) fn write(out: &mut impl Write, header: &Header, payload: &[u8]) -> std::io::Result<()> {
    const PAGE: usize = 4096;
    const _: () = assert!(PAGE as u64 == PAYLOAD_OFFSET);
    let mut page = [0; PAGE];
    let bytes = header.to_bytes();
    page[..bytes.len()].copy_from_slice(&bytes);
    out.write_all(&page)?;
    out.write_all(payload)
}

/// The range of pages that holds the payload's executable sections.
///
/// Wasmtime aligns its one text section to pages in the file. Its last page may hold the start of what follows,
/// which is read-only data of the same program.
fn text_range(payload: &[u8]) -> Result<(u64, u64), Error> {
    let broken = |e: object::Error| Error::Internal(format!("Wasmtime's output is not readable: {e}"));
    let file = FileHeader64::<Endianness>::parse(payload).map_err(broken)?;
    let endian = file.endian().map_err(broken)?;
    let (mut start, mut end) = (u64::MAX, 0u64);
    for section in file.section_headers(endian, payload).map_err(broken)? {
        if section.sh_flags(endian) & u64::from(SHF_EXECINSTR) == 0 {
            continue;
        }
        if let Some((offset, len)) = section.file_range(endian).filter(|(_, len)| *len > 0) {
            start = start.min(offset);
            end = end.max(offset.saturating_add(len));
        }
    }
    if end == 0 {
        return Ok((0, 0));
    }
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Internal(format!(
            "Wasmtime's text section starts at {start:#x}, not on a page"
        )));
    }
    Ok((start, (end - start).next_multiple_of(PAGE_SIZE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compile::compile, inspect::inspect};

    #[test]
    fn a_program_becomes_a_code_file() {
        let wasm = wat::parse_str(
            r#"(module
                (memory 1)
                (func (export "_start") (drop (i32.load (i32.const 8)))))"#,
        )
        .unwrap();
        let features = Features(0xfff);
        let program = inspect(&wasm).unwrap();
        let payload = compile(&wasm, program.kind, features).unwrap();
        let header = header(&program, features, Sha256::digest(&wasm).into(), &payload).unwrap();
        assert!(header.text_len >= PAGE_SIZE && header.text_offset > 0);
        assert_eq!(header.memory_min, 65536);

        let mut file = Vec::new();
        write(&mut file, &header, &payload).unwrap();
        let read = Header::parse(&file, u64::try_from(file.len()).unwrap()).unwrap();
        assert_eq!(read, header);
        let start = usize::try_from(PAYLOAD_OFFSET).unwrap();
        assert_eq!(
            <[u8; 32]>::from(Sha256::digest(&file[start..])),
            read.payload_sha256
        );
    }

    #[test]
    fn output_is_reproducible() {
        let wasm = wat::parse_str(r#"(module (func (export "_start")) (func) (func))"#).unwrap();
        let once = || compile(&wasm, mote_abi::code::Kind::Module, Features(0xfff)).unwrap();
        assert_eq!(once(), once());
    }

    #[test]
    fn what_is_no_elf_file_is_an_internal_error() {
        assert!(matches!(text_range(b"nonsense"), Err(Error::Internal(_))));
    }
}
