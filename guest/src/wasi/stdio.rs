//! Standard input, output and error.

use alloc::vec::Vec;

use super::marks::Mark;
use super::streams::{Input, Output};
use crate::vm::ring::{Errno, Ring};

/// Largest write that is copied, so that the program goes on while it goes out.
const COPIED_MAX: usize = 16 << 10;

/// The program's standard streams.
pub(crate) struct Stdio {
    pub(crate) input: Input,
    output: [Output; 2],
    /// Of standard output and error, where lines are marked.
    marks: Option<[Mark; 2]>,
    terminals: u64,
}

impl Stdio {
    pub(crate) const fn new(terminals: u64) -> Stdio {
        Stdio {
            input: Input::new(0),
            output: [Output::new(1), Output::new(2)],
            marks: None,
            terminals,
        }
    }

    /// Whether descriptor 0, 1 or 2 is a terminal.
    pub(crate) fn is_terminal(&self, descriptor: u32) -> bool {
        self.terminals & (1 << descriptor) != 0
    }

    /// From here on, marks each line of output with the request that it belongs to.
    pub(crate) fn mark(&mut self, request: u64) {
        self.marks = Some([Mark::new("stdout", request), Mark::new("stderr", request)]);
    }

    /// Output to descriptor 1 or 2 as it goes out.
    pub(crate) fn marked(&mut self, descriptor: u32, data: Vec<u8>) -> Vec<u8> {
        match &mut self.marks {
            Some(marks) => marks[usize::from(descriptor == 2)].apply(&data),
            None => data,
        }
    }

    /// Standard error for descriptor 2, standard output otherwise.
    pub(crate) fn output(&mut self, descriptor: u32) -> &mut Output {
        &mut self.output[usize::from(descriptor == 2)]
    }

    /// Writes all of `data` to descriptor 1 or 2. An error may belong to an earlier write.
    pub(crate) fn write(&mut self, ring: &mut Ring, descriptor: u32, data: &[u8]) -> Result<(), Errno> {
        let output = self.output(descriptor);
        if data.len() > COPIED_MAX {
            output.write_through(ring, data)
        } else {
            output.write(ring, Vec::from(data))
        }
    }

    /// Writes to standard error whatever happened before: for the last words of a run.
    pub(crate) fn write_error(&mut self, ring: &mut Ring, data: &[u8]) {
        self.flush(ring);
        // There is nobody left to tell that standard error is closed.
        let _ = self.output(2).write_through(ring, data);
    }

    /// Waits until all output is written. The program's end is no operation that could tell an error.
    pub(crate) fn flush(&mut self, ring: &mut Ring) {
        for output in &mut self.output {
            let _ = output.flush(ring);
        }
    }
}
