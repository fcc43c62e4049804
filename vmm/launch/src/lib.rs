//! From a Wasm file to a running `mote-vmm`: what the `mote` command and the shim share.
//!
//! - [`Node`] knows where things are, and remembers what a probe VM found about the node's CPU.
//! - [`Node::program`] compiles a Wasm file, or finds it compiled, in a cache that the whole node shares.
//! - [`broker`] makes the sockets of a program that was granted the network.
//! - [`serve`] keeps a component serving: the HTTP front, and as many VMs as it wants.
//! - [`Launch`] starts `mote-vmm` with exactly the descriptors that it may have, and [`Vmm`] waits for its end.
//!
//! No Wasm is parsed here and no compiled code is run: `mote-compile` and `mote-vmm` do that, in their jails.

pub mod broker;
mod cache;
mod child;
mod dirs;
mod error;
mod facts;
mod front;
mod key;
mod node;
pub mod outgoing;
mod process;
mod prune;
mod report;
mod roots;
mod run;
pub mod serve;
mod vmm;

pub use cache::{Outcome, Program, Source};
pub use child::Place;
pub use error::{CacheError, CompileError, Error, LaunchError, NodeError};
pub use facts::Facts;
pub use key::Key;
pub use node::{Limits, Node};
pub use prune::{Entry, Pruned};
pub use roots::roots;
pub use vmm::{Killer, Launch, Vmm};
