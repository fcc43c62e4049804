//! What a program can do with the network: one mode for each test. WASI 0.2 only: 0.1 has no way to make a socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

type Result = std::io::Result<()>;

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["tcp-server", address, count] => tcp_server(address, count.parse().expect("a number")),
        ["tcp-client", address, bytes] => tcp_client(address, bytes.parse().expect("a number")),
        ["udp-server", address] => udp_server(address),
        ["udp-client", address] => udp_client(address),
        ["resolve", name] => resolve(name),
        ["denied", address] => denied(address),
        _ => panic!("{args:?} is no mode"),
    }
}

/// Sends back what comes, to so many clients one after the other.
fn tcp_server(address: &str, count: usize) -> Result {
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for _ in 0..count {
        let (mut stream, peer) = listener.accept()?;
        assert_eq!(stream.peer_addr()?, peer);
        let mut buffer = vec![0; 100_000];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            stream.write_all(&buffer[..n])?;
        }
    }
    Ok(())
}

/// Sends bytes and looks whether they come back after the end was told.
fn tcp_client(address: &str, bytes: usize) -> Result {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let sent: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    let mut got = Vec::new();
    for part in sent.chunks(10_000) {
        stream.write_all(part)?;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut got)?;
    assert!(got == sent, "{} of {bytes} bytes came back", got.len());
    println!("{} bytes from {peer}", got.len());
    Ok(())
}

/// Sends one datagram back.
fn udp_server(address: &str) -> Result {
    let socket = UdpSocket::bind(address)?;
    println!("{}", socket.local_addr()?);
    let mut buffer = [0; 2000];
    let (n, from) = socket.recv_from(&mut buffer)?;
    socket.send_to(&buffer[..n], from)?;
    Ok(())
}

/// Sends datagrams to whom it is connected and prints what comes back.
fn udp_client(address: &str) -> Result {
    let local = if address.starts_with('[') {
        "[::1]:0"
    } else {
        "127.0.0.1:0"
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(address)?;
    for text in ["one", "two", "three"] {
        socket.send(text.as_bytes())?;
        let mut buffer = [0; 100];
        let n = socket.recv(&mut buffer)?;
        println!("{}", String::from_utf8_lossy(&buffer[..n]));
    }
    Ok(())
}

fn resolve(name: &str) -> Result {
    match (name, 80).to_socket_addrs() {
        Ok(found) => found.for_each(|address| println!("{}", address.ip())),
        Err(error) => println!("error: {error}"),
    }
    Ok(())
}

/// All that is not allowed without a grant.
fn denied(address: &str) -> Result {
    println!(
        "listen {:?}",
        TcpListener::bind("127.0.0.1:0").unwrap_err().kind()
    );
    println!("connect {:?}", TcpStream::connect(address).unwrap_err().kind());
    println!("udp {:?}", UdpSocket::bind("127.0.0.1:0").unwrap_err().kind());
    println!("resolve {}", ("localhost", 1).to_socket_addrs().is_err());
    Ok(())
}
