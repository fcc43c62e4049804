//! Marks at the start of each line of output.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The mark of one stream.
pub(super) struct Mark {
    text: String,
    /// The next byte begins a line.
    starts: bool,
}

impl Mark {
    /// As `wasmtime serve` has it.
    pub(super) fn new(stream: &str, request: u64) -> Mark {
        Mark {
            text: format!("{stream} [{request}] :: "),
            starts: true,
        }
    }

    /// `data` with the mark before each line that begins in it.
    pub(super) fn apply(&mut self, data: &[u8]) -> Vec<u8> {
        let mut marked = Vec::with_capacity(data.len() + self.text.len());
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if self.starts {
                marked.extend_from_slice(self.text.as_bytes());
            }
            marked.extend_from_slice(line);
            self.starts = line.ends_with(b"\n");
        }
        marked
    }
}
