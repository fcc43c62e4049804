//! The streams behind the URLs that CRI's Exec and Attach answer, over a WebSocket (RFC 6455) with the subprotocol
//! `v4.channel.k8s.io`: each binary message begins with its channel. (k8s.io/streaming, `remotecommand`)

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// A `Status` as JSON, when the process has ended.
const STATUS: u8 = 3;
/// `{"Width": columns, "Height": rows}`.
const RESIZE: u8 = 4;

/// Opcodes. (RFC 6455, 5.2)
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest message that is taken.
const MAX: u64 = 1 << 20;

/// An open connection.
#[derive(Debug)]
pub struct Streams {
    stream: TcpStream,
    pub stdout: String,
    pub stderr: String,
    /// What the server says of the end; empty before.
    pub status: String,
}

impl Streams {
    /// Connects to a URL.
    ///
    /// # Errors
    /// The server's.
    pub fn open(url: &str) -> Result<Streams> {
        let rest = url.strip_prefix("http://").with_context(|| url.to_owned())?;
        let (host, path) = rest.split_once('/').with_context(|| url.to_owned())?;
        let mut stream = TcpStream::connect(host).with_context(|| host.to_owned())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // The key is any 16 bytes; this is not about proxies.
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bW90ZS1lMmUtMTIzNDU2Nw==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nOrigin: http://{host}\r\n\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < 10_000, "a head without an end");
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        ensure!(head.contains("v4.channel.k8s.io"), "{head}");
        Ok(Streams {
            stream,
            stdout: String::new(),
            stderr: String::new(),
            status: String::new(),
        })
    }

    /// Types.
    ///
    /// # Errors
    /// The connection's.
    pub fn input(&mut self, text: &str) -> Result<()> {
        self.send(BINARY, &[&[STDIN], text.as_bytes()].concat())
    }

    /// Gives the terminal another size in characters.
    ///
    /// # Errors
    /// The connection's.
    pub fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}");
        self.send(BINARY, &[&[RESIZE], size.as_bytes()].concat())
    }

    /// Reads until the output holds a text.
    ///
    /// # Errors
    /// If it does not before the end.
    pub fn until(&mut self, text: &str) -> Result<()> {
        while !self.stdout.contains(text) {
            ensure!(self.receive()?, "no {text:?} in {:?}", self.stdout);
        }
        Ok(())
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// The connection's.
    pub fn finish(&mut self) -> Result<()> {
        while self.receive()? {}
        Ok(())
    }

    /// Takes one message. False after the last.
    fn receive(&mut self) -> Result<bool> {
        let mut start = [0; 2];
        if self.stream.read_exact(&mut start).is_err() {
            return Ok(false);
        }
        ensure!(start[1] & 0x80 == 0, "a server masks nothing");
        let len = match start[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len)?;
                u64::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len)?;
                u64::from_be_bytes(len)
            }
            len => u64::from(len),
        };
        ensure!(len <= MAX, "a message of {len} bytes");
        let mut message = vec![0; usize::try_from(len)?];
        self.stream.read_exact(&mut message)?;
        match start[0] & 0x0f {
            CLOSE => return Ok(false),
            PING => self.send(PONG, &message)?,
            BINARY => self.take(&message)?,
            opcode => bail!("a message with opcode {opcode}"),
        }
        Ok(true)
    }

    fn take(&mut self, message: &[u8]) -> Result<()> {
        // The server opens each channel with an empty message.
        let Some((channel, text)) = message.split_first() else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(text);
        match *channel {
            STDOUT => self.stdout.push_str(&text),
            STDERR => self.stderr.push_str(&text),
            STATUS => self.status.push_str(&text),
            STDIN | RESIZE => {}
            other => bail!("a message on channel {other}"),
        }
        Ok(())
    }

    /// A client masks; all zeros is a mask, too.
    fn send(&mut self, opcode: u8, message: &[u8]) -> Result<()> {
        let len = u8::try_from(message.len()).ok().filter(|len| *len < 126);
        let len = len.context("a message of more than 125 bytes")?;
        let mut frame = vec![0x80 | opcode, 0x80 | len, 0, 0, 0, 0];
        frame.extend(message);
        Ok(self.stream.write_all(&frame)?)
    }
}
