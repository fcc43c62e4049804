//! Test files of the component model.

mod files;
pub(crate) mod table;

pub(crate) use files::{Tree, named};
