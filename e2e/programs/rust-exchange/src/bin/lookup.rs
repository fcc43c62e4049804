//! A command that looks up each name of its arguments, and tells its first address or the error by its name in
//! `wasi:sockets`, which no library passes on.

use std::net::IpAddr;

use wasip2::sockets::{
    instance_network::instance_network,
    ip_name_lookup::resolve_addresses,
    network::{ErrorCode, IpAddress},
};

fn main() {
    for name in std::env::args().skip(1) {
        match first_address(&name) {
            Ok(address) => println!("{address}"),
            Err(error) => println!("{}", error.name()),
        }
    }
}

fn first_address(name: &str) -> Result<IpAddr, ErrorCode> {
    let addresses = resolve_addresses(&instance_network(), name)?;
    loop {
        match addresses.resolve_next_address() {
            Err(ErrorCode::WouldBlock) => addresses.subscribe().block(),
            Err(error) => return Err(error),
            Ok(address) => {
                return Ok(match address.expect("one address at least") {
                    IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
                    IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
                });
            }
        }
    }
}
