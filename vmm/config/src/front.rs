//! The contract between a parent and `mote-http`, the HTTP front of a component that serves.
//!
//! The parent hands over [`FrontConfig`] as JSON, the sockets that listen, and one end of a seqpacket socket for
//! [`Message`]s. Its exit code is 0 after a drain, [`crate::exit::TERMINATED`] if a second SIGTERM cut it short,
//! [`crate::exit::INTERNAL`] if it failed.

use serde::{Deserialize, Serialize};

/// Descriptor numbers in a new `mote-http`.
pub mod fd {
    /// A memfd or pipe with the [`super::FrontConfig`], read to its end.
    pub const CONFIG: i32 = 3;
    /// Seqpacket socket that carries [`super::Message`]s.
    pub const CONTROL: i32 = 4;
    /// First of the listening sockets.
    pub const FIRST_LISTENER: i32 = 5;
    /// Most listening sockets.
    pub const LISTENERS_MAX: u32 = 4;
}

/// One-byte messages on the socket between the front and a VM (`front_fd`).
pub mod vm {
    /// Front to VM, with a descriptor: a stream that carries the frames of an incoming request (`mote_abi::http`), and of
    /// those that follow on it.
    pub const INCOMING: u8 = b'R';
    /// VM to front: it waits for a stream. It says so once for each: a VM that dies after it has closed the stream of
    /// one request is not given another.
    pub const READY: u8 = b'A';
    /// VM to front: a stream for an outgoing request is asked for. Front to VM, with a descriptor: here it is.
    pub const OUTGOING: u8 = b'O';
}

/// A message between the front and its parent: one byte and the VM's number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Front to parent: it is ready to accept connections.
    Ready,
    /// Front to parent: one more VM is wanted.
    Wanted,
    /// Front to parent: the VM does not come back from a request and is to be ended.
    End(u32),
    /// Parent to front, with a descriptor: a new VM's `front_fd`.
    Vm(u32),
    /// Parent to front: the VM that was wanted could not be started.
    Failed,
}

impl Message {
    /// Bytes of a message.
    pub const LEN: usize = 5;

    /// The message as it is sent.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 5] {
        let (kind, vm) = match self {
            Message::Ready => (b'L', 0),
            Message::Wanted => (b'W', 0),
            Message::End(vm) => (b'E', vm),
            Message::Vm(vm) => (b'V', vm),
            Message::Failed => (b'F', 0),
        };
        let [a, b, c, d] = u32::to_le_bytes(vm);
        [kind, a, b, c, d]
    }

    /// The message that was received, if it is one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Message> {
        let (&kind, vm) = bytes.split_first()?;
        let vm = u32::from_le_bytes(vm.try_into().ok()?);
        match kind {
            b'L' => Some(Message::Ready),
            b'W' => Some(Message::Wanted),
            b'E' => Some(Message::End(vm)),
            b'V' => Some(Message::Vm(vm)),
            b'F' => Some(Message::Failed),
            _ => None,
        }
    }
}

/// All that `mote-http` needs to know. Times are milliseconds, 0 for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontConfig {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Sockets that listen, from [`fd::FIRST_LISTENER`] on.
    pub listeners: u32,
    /// Most VMs at once, which is most requests that are served at once.
    pub vms_max: u32,
    /// An idle VM is let go after this time, except for the last.
    pub vm_idle_ms: u64,
    /// Most requests that wait for a VM; one more is answered with 503.
    pub queue_max: u32,
    /// A request that has waited so long for a VM is answered with 503.
    pub queue_ms: u64,
    /// Most connections at once; more wait to be accepted.
    pub connections_max: u32,
    /// Most bytes of a request's line and header fields.
    pub header_max: u32,
    /// A connection is closed that has had no request under way for this time, be it idle or slow to send one.
    pub idle_ms: u64,
    /// A VM that is not done with a request after this time is ended, and the request answered with 500.
    pub request_ms: u64,
    /// Time that requests under way are given to finish after SIGTERM.
    pub drain_ms: u64,
    /// What requests to the outside may use.
    #[serde(default)]
    pub outgoing: Option<Outgoing>,
    /// As [`crate::VmmConfig::jail`].
    #[serde(default = "crate::default_true")]
    pub jail: bool,
}

/// What requests to the outside may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Text of the resolv.conf(5) that names are looked up by.
    pub resolv_conf: String,
    /// Text of the hosts(5) that comes first.
    pub hosts: String,
    /// Root certificates that servers are verified by, as PEM.
    pub roots: String,
}

impl FrontConfig {
    /// A configuration with the limits that hold unless others are asked for.
    #[must_use]
    pub fn new(listeners: u32, vms_max: u32) -> FrontConfig {
        FrontConfig {
            version: crate::VERSION,
            listeners,
            vms_max,
            vm_idle_ms: 10_000,
            queue_max: 4096,
            queue_ms: 30_000,
            connections_max: 8192,
            header_max: 128 << 10,
            idle_ms: 60_000,
            request_ms: 0,
            drain_ms: 10_000,
            outgoing: None,
            jail: true,
        }
    }

    /// The configuration as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a configuration from JSON.
    ///
    /// # Errors
    /// The parser's, for bytes that are no configuration.
    pub fn from_json(bytes: &[u8]) -> Result<FrontConfig, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        for message in [
            Message::Ready,
            Message::Wanted,
            Message::End(7),
            Message::Vm(u32::MAX),
            Message::Failed,
        ] {
            assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        }
        for bytes in [&b""[..], b"V", b"V\0\0\0", b"V\0\0\0\0\0", b"X\0\0\0\0"] {
            assert_eq!(Message::from_bytes(bytes), None);
        }
    }

    #[test]
    fn configurations_come_back() {
        let config = FrontConfig::new(1, 8);
        assert_eq!(FrontConfig::from_json(&config.to_json()).unwrap(), config);
    }
}
