//! `mote-http`: speaks HTTP for components that serve.
//!
//! Clients' bytes are parsed here, in a process of its own that is locked up ([`jail`]), and nowhere else: not in the
//! shim, which is root, and not in the VMM, which only carries bytes. Towards clients it is a server of HTTP/1.1 and of
//! HTTP/2 without TLS, by prior knowledge ([`server`]). Each request is handed to a VM of the pool ([`pool`]) over a
//! stream of its own ([`exchange`]); its parent starts VMs as they are wanted ([`control`]). What programs ask of the
//! outside, if granted, goes out from here as well ([`outgoing`]).

mod body;
mod channel;
mod control;
mod error;
mod exchange;
#[cfg(test)]
mod fake;
mod fields;
mod frames;
pub mod jail;
mod outgoing;
mod pool;
mod seccomp;
mod server;
mod vm;

pub use control::{End, Parent, serve};
pub use error::Error;
