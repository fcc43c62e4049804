//! A web server on a socket of its own: `web NAME PORT` says its name, listens, and answers any request with one page.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const PAGE: &str = "<h1>It works</h1>\n";

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, name, port] = &words[..] else {
        return Err(io::Error::other("usage: web NAME PORT"));
    };
    let port = port.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("{name} listens at port {port}");
    for stream in listener.incoming() {
        // One client that goes away is no reason to stop.
        if let Err(error) = stream.and_then(answer) {
            eprintln!("{name}: {error}");
        }
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
    write!(&stream, "{head}content-length: {}\r\n\r\n{PAGE}", PAGE.len())
}
