//! What the guest's requests reach: clock, entropy, streams; and the rings that carry the requests.

pub mod answer;
pub mod clock;
pub mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod guest_data;
pub mod io_thread;
mod joined;
pub mod objects;
mod poll;
pub mod ring;
pub mod server;
pub mod shared;
pub mod sockets;
pub mod stream;
mod transfer;
mod zero;
