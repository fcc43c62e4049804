//! Guest memory: one host reservation, the page tables that the guest runs on, and who owns which frame.

mod reservation;
mod space;
mod tables;
pub mod touched;

pub use reservation::Reservation;
pub use space::{Space, SpaceError};
pub use tables::{Access, PageTables};

/// Why guest memory could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot reserve {len} bytes of address space for the guest: {source}")]
    Reserve { len: u64, source: std::io::Error },
    #[error("cannot map {what} into guest memory: {source}")]
    Map {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("guest-physical range {gpa:#x}+{len:#x} is outside of the reservation")]
    Range { gpa: u64, len: u64 },
    #[error("no page is left for page tables: the program maps too many separate ranges")]
    PageTables,
}
