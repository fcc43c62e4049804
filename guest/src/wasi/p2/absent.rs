//! Sockets and HTTP for a program that was granted none: every socket is denied.
//!
//! What can be called without a handle answers as the specification has it for a program without grants. The methods
//! of handles that nobody can have are defined, so that the program links, and end it if they are ever reached.

use alloc::format;
use alloc::string::String;

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Result, bail, format_err};

use super::Cx;
use crate::wasi::Host;

/// Any other resource that nobody can have.
enum Never {}

/// `wasi:sockets/network.network`: a capability that grants nothing.
struct Network;

/// `wasi:sockets/tcp.tcp-socket` and `wasi:sockets/udp.udp-socket`: never made.
enum TcpSocket {}
enum UdpSocket {}
enum ResolveAddressStream {}

/// `wasi:sockets/network.error-code`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the type is the interface's; only one case is used")]
enum NetworkError {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "out-of-memory")]
    OutOfMemory,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "concurrency-conflict")]
    ConcurrencyConflict,
    #[component(name = "not-in-progress")]
    NotInProgress,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "invalid-state")]
    InvalidState,
    #[component(name = "new-socket-limit")]
    NewSocketLimit,
    #[component(name = "address-not-bindable")]
    AddressNotBindable,
    #[component(name = "address-in-use")]
    AddressInUse,
    #[component(name = "remote-unreachable")]
    RemoteUnreachable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-reset")]
    ConnectionReset,
    #[component(name = "connection-aborted")]
    ConnectionAborted,
    #[component(name = "datagram-too-large")]
    DatagramTooLarge,
    #[component(name = "name-unresolvable")]
    NameUnresolvable,
    #[component(name = "temporary-resolver-failure")]
    TemporaryResolverFailure,
    #[component(name = "permanent-resolver-failure")]
    PermanentResolverFailure,
}

/// `wasi:sockets/network.ip-address-family`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting")]
enum IpAddressFamily {
    #[component(name = "ipv4")]
    Ipv4,
    #[component(name = "ipv6")]
    Ipv6,
}

type Denied<T> = core::result::Result<Resource<T>, NetworkError>;

fn denied<T>() -> Result<(Denied<T>,)> {
    Ok((Err(NetworkError::AccessDenied),))
}

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<bool> {
    match (interface, name) {
        ("wasi:sockets/instance-network", "instance-network") => {
            at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
                Ok((cx.data_mut().table.push(Network)?,))
            })?;
        }
        ("wasi:sockets/tcp-create-socket", "create-tcp-socket") => {
            at.func_wrap(name, |_: Cx<'_>, (_,): (IpAddressFamily,)| denied::<TcpSocket>())?;
        }
        ("wasi:sockets/udp-create-socket", "create-udp-socket") => {
            at.func_wrap(name, |_: Cx<'_>, (_,): (IpAddressFamily,)| denied::<UdpSocket>())?;
        }
        ("wasi:sockets/ip-name-lookup", "resolve-addresses") => {
            at.func_wrap(name, |_: Cx<'_>, (_, _): (Resource<Network>, String)| {
                denied::<ResolveAddressStream>()
            })?;
        }
        _ if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") => {
            let what = format!("{interface} {name}");
            at.func_new(name, move |_: Cx<'_>, _, _, _| {
                Err(format_err!(
                    "{what} was called, which this version of Mote does not offer yet"
                ))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn resource(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<()> {
    let ty = match name {
        "network" => return super::owned::<Network>(at, name),
        "tcp-socket" => ResourceType::host::<TcpSocket>(),
        "udp-socket" => ResourceType::host::<UdpSocket>(),
        "resolve-address-stream" => ResourceType::host::<ResolveAddressStream>(),
        _ if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") => {
            ResourceType::host::<Never>()
        }
        _ => bail!("the component imports the resource {name} of {interface}, which Mote does not offer"),
    };
    at.resource(name, ty, |_: Cx<'_>, _| Ok(()))
}
