//! Streams of bytes over a handle of the VMM, read and written while the program goes on.

mod input;
mod output;

pub(crate) use input::Input;
pub(crate) use output::Output;
