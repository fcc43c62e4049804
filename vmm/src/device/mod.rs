//! What the guest's requests reach: clock, entropy, standard streams; and the rings that carry the requests.

pub mod clock;
pub mod io_thread;
pub mod ring;
pub mod server;
pub mod stream;
