//! The guest image, built in.

use mote_abi::layout;

include!(concat!(env!("OUT_DIR"), "/image.rs"));

static TEXT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/text.bin"));
static RODATA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rodata.bin"));
static DATA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/data.bin"));

/// The three segments of the image, each at the address that `mote_abi::layout` gives it.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub text: &'static [u8],
    pub rodata: &'static [u8],
    /// Initialised data; `.bss` follows it and is zero.
    pub data: &'static [u8],
    /// First instruction.
    pub entry: u64,
    /// First page behind `.bss`.
    pub end: u64,
}

/// The image that this executable was built with.
pub const IMAGE: Image = Image {
    text: TEXT,
    rodata: RODATA,
    data: DATA,
    entry: ENTRY,
    end: IMAGE_END,
};

const _: () = assert!(TEXT_ADDRESS == layout::TEXT);
const _: () = assert!(RODATA_ADDRESS == layout::RODATA);
const _: () = assert!(DATA_ADDRESS == layout::DATA_SEGMENT);
const _: () = assert!(IMAGE_END < layout::DATA_END);
