//! The HTTP server that programs of the suite ask: it echoes, and says by two headers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// Largest body that is echoed.
const LARGEST: u64 = 16 << 20;

/// A settings frame without settings: what a server that speaks HTTP/2 alone begins with. (RFC 9113, 3.4 and 6.5)
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a server speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    Http1,
    /// Nothing that a client of HTTP/1 understands.
    Http2,
}

/// Starts a server that lives as long as this process. Its authority.
pub(crate) fn start(speaks: Speaks) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let authority = format!("localhost:{}", listener.local_addr()?.port());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One client that goes away is no reason to stop.
            thread::spawn(move || drop(answer(&stream, speaks)));
        }
    });
    Ok(authority)
}

fn answer(stream: &TcpStream, speaks: Speaks) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if matches!(speaks, Speaks::Http2) {
        let mut writer = stream;
        writer.write_all(&SETTINGS)?;
        return Ok(stream.shutdown(Shutdown::Write)?);
    }
    let mut words = line.split_whitespace();
    let (method, target) = words.next().zip(words.next()).context("no request line")?;
    let (method, target) = (method.to_owned(), target.to_owned());
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => length = value.parse()?,
            ("transfer-encoding", value) => chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = if chunked {
        dechunk(&mut reader)?
    } else {
        take(&mut reader, length)?
    };
    let mut writer = stream;
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nx-wasmtime-test-method: {method}\r\nx-wasmtime-test-uri: {target}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    writer.write_all(&body)?;
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn take(reader: &mut impl Read, length: u64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(length.min(LARGEST)).read_to_end(&mut body)?;
    Ok(body)
}

/// A body in chunks, without trailers. (RFC 9112, 7.1)
fn dechunk(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).with_context(|| format!("chunk length {digits:?}"))?;
        body.extend(take(reader, length)?);
        line.clear();
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}
