//! A command that asks for what its runtime limits or withholds, and tells what it got: `cwd`, `sockets`, or so much of
//! `random`, `resources` or `fields`.

use wasip2::{
    cli::environment::initial_cwd,
    clocks::monotonic_clock::subscribe_duration,
    http::types::Fields,
    random::{insecure::get_insecure_random_bytes, random::get_random_bytes},
    sockets::{
        network::{ErrorCode, IpAddressFamily},
        tcp_create_socket::create_tcp_socket,
        udp_create_socket::create_udp_socket,
    },
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let count = || args[1].parse().expect("a number");
    match args[0].as_str() {
        "cwd" => println!("{}", initial_cwd().as_deref().unwrap_or("none")),
        "sockets" => {
            println!("tcp: {}", told(create_tcp_socket(IpAddressFamily::Ipv4)));
            println!("udp: {}", told(create_udp_socket(IpAddressFamily::Ipv4)));
        }
        "random" => {
            let (secure, insecure) = (get_random_bytes(count()), get_insecure_random_bytes(count()));
            println!("{} {}", secure.len(), insecure.len());
        }
        "resources" => {
            let alive: Vec<_> = (0..count()).map(subscribe_duration).collect();
            println!("{}", alive.len());
        }
        "fields" => {
            let fields = Fields::new();
            fields
                .append("name", &vec![b'x'; count() as usize])
                .expect("a field");
            println!("{}", fields.entries()[0].1.len());
        }
        other => panic!("{other} is none of cwd, sockets, random, resources, fields"),
    }
}

fn told<T>(made: Result<T, ErrorCode>) -> &'static str {
    match made {
        Ok(_) => "made",
        Err(error) => error.name(),
    }
}
