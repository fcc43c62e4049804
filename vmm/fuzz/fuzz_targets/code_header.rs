//! A code file that somebody else wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_abi::code::{Header, PAYLOAD_OFFSET};

fuzz_target!(|data: &[u8]| {
    let Some((len, bytes)) = data.split_first_chunk::<8>() else { return };
    let len = u64::from_le_bytes(*len);
    if let Ok(header) = Header::parse(bytes, len) {
        assert!(header.text_offset + header.text_len <= header.payload_len.next_multiple_of(4096));
        assert_eq!(PAYLOAD_OFFSET + header.payload_len, len);
    }
});
