//! Options of sockets, as the interfaces have them: which values are refused, and their units.

use mote_abi::net::option;
use mote_abi::ring::op;

use super::{Answer, ErrorCode};
use crate::vm::ring::Ring;
use crate::wasi::sockets::call;

/// Nanoseconds of a second, the unit of the kernel's keep-alive times.
const SECOND: u64 = 1_000_000_000;

/// An option, with the number that the VMM knows it by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketOption(u64);

impl SocketOption {
    pub(super) const KEEP_ALIVE: SocketOption = SocketOption(option::KEEP_ALIVE);
    pub(super) const IDLE_TIME: SocketOption = SocketOption(option::KEEP_IDLE);
    pub(super) const INTERVAL: SocketOption = SocketOption(option::KEEP_INTERVAL);
    pub(super) const COUNT: SocketOption = SocketOption(option::KEEP_COUNT);
    pub(super) const HOP_LIMIT: SocketOption = SocketOption(option::HOP_LIMIT);
    pub(super) const RECEIVE_BUFFER: SocketOption = SocketOption(option::RECEIVE_BUFFER);
    pub(super) const SEND_BUFFER: SocketOption = SocketOption(option::SEND_BUFFER);

    fn is_time(self) -> bool {
        self == SocketOption::IDLE_TIME || self == SocketOption::INTERVAL
    }

    /// The value of an option; times in nanoseconds.
    pub(super) fn get(self, ring: &mut Ring, handle: u64) -> Answer<u64> {
        let value = call(ring, op::GET_OPTION, handle, [self.0, 0]).map_err(ErrorCode::from_errno)?;
        Ok(if self.is_time() {
            value.saturating_mul(SECOND)
        } else {
            value
        })
    }

    /// Sets an option. 0 is refused but for switches; what is too large is cut. (wasi:sockets/tcp, wasi:sockets/udp)
    pub(super) fn set(self, ring: &mut Ring, handle: u64, value: u64) -> Answer<()> {
        self.check(value)?;
        // Never rounded down to 0.
        let value = if self.is_time() {
            value.div_ceil(SECOND)
        } else {
            value
        };
        call(ring, op::SET_OPTION, handle, [self.0, value])
            .map(drop)
            .map_err(ErrorCode::from_errno)
    }

    /// Whether the interface allows the value at all.
    pub(super) fn check(self, value: u64) -> Answer<()> {
        if value == 0 && self != SocketOption::KEEP_ALIVE {
            return Err(ErrorCode::InvalidArgument);
        }
        Ok(())
    }
}
