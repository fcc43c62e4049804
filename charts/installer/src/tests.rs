//! Nodes as file trees: each is installed on, installed on again, uninstalled, and compared with its beginning.

mod crash;
mod edits;
mod errors;
mod nodes;
mod restarts;
mod tree;
