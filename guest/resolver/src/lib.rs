//! Looks up names: hosts(5), resolv.conf(5) and DNS (RFC 1035), without doing any input or output itself.
//!
//! It runs in the guest, so that answers from the network are parsed inside the sandbox. A [`Lookup`] says what is to
//! be done ([`Step`]) and is told what came of it. Answers are hostile: lengths are checked, pointers may only go
//! back, and everything is bounded.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod conf;
mod host;
mod hosts;
mod lookup;
mod message;

pub use conf::{Conf, Server};
pub use host::{Host, InvalidHost};
pub use lookup::{Failure, Lookup, Step, Transport};
pub use message::{MESSAGE_MAX, MessageError, Outcome, Question, RecordType, WireName, parse};

/// Port of DNS servers. (RFC 1035 4.2)
pub const PORT: u16 = 53;
