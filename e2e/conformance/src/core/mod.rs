//! The WebAssembly core suite.

mod suites;
pub(crate) mod table;

pub(crate) use suites::files;
