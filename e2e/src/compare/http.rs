//! A component that serves HTTP, on any side, and a client that shows responses as they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::Side;
use crate::cli::Ran;
use crate::paths;

/// Time to compile the component and to take the first connection.
const START: Duration = Duration::from_secs(120);

/// A server of one side.
#[derive(Debug)]
pub struct Server {
    side: Side,
    addr: SocketAddr,
    child: Option<Child>,
}

/// A response: status line's number, fields but `date`, sorted, and the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<String>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        let start: String = text.chars().take(300).collect();
        writeln!(f, "{}", self.status)?;
        self.fields.iter().try_for_each(|field| writeln!(f, "{field}"))?;
        write!(f, "{} bytes: {start:?}", self.body.len())
    }
}

impl Server {
    /// Starts a program that the build scripts made, and waits until it takes connections.
    ///
    /// # Errors
    /// If it ends, or is not there in time.
    pub fn start(side: &Side, program: &str) -> Result<Server> {
        Server::start_with(side, program, &[])
    }

    /// As [`Server::start`], with options that every side knows.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(side: &Side, program: &str, options: &[&str]) -> Result<Server> {
        // It was free a moment ago.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = side.command("serve", program);
        command.args(["--addr", &addr.to_string()]);
        match side {
            Side::Mote => command.arg("--no-logging-prefix"),
            Side::Peer => &mut command,
            Side::Wasmtime(_) => command.args(["--no-logging-prefix", "-S", "cli"]),
        };
        command.args(options);
        let child = command
            .arg(paths::program(program))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut server = Server {
            side: side.clone(),
            addr,
            child: Some(child),
        };
        let give_up = Instant::now() + START;
        while TcpStream::connect(addr).is_err() {
            let ended = server.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > give_up {
                bail!("{side:?} does not serve {program}: {:?}", server.stop());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Sends a request on a connection of its own. A body goes in chunks of odd sizes.
    ///
    /// # Errors
    /// If the answer is not HTTP/1.1 or does not end.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        fields: &[&str],
        body: Option<&[u8]>,
    ) -> Result<Response> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        if !fields.iter().any(|field| field.starts_with("host:")) {
            head += "host: mote.test\r\n";
        }
        for field in fields {
            head += &format!("{field}\r\n");
        }
        if body.is_some() {
            head += "transfer-encoding: chunked\r\n";
        }
        head += "\r\n";
        let mut sending = stream.try_clone()?;
        let body = body.map(<[u8]>::to_vec);
        // The answer may begin before the request has ended.
        let sender = thread::spawn(move || -> std::io::Result<()> {
            sending.write_all(head.as_bytes())?;
            if let Some(body) = body {
                for chunk in body.chunks(7001) {
                    write!(sending, "{:x}\r\n", chunk.len())?;
                    sending.write_all(chunk)?;
                    sending.write_all(b"\r\n")?;
                }
                sending.write_all(b"0\r\n\r\n")?;
            }
            Ok(())
        });
        let response = read_response(BufReader::new(stream), method == "HEAD");
        let sent = sender.join();
        let response = response.with_context(|| format!("{:?}: {method} {target}", self.side))?;
        // A server that fails need not read it all.
        ensure!(response.status >= 500 || matches!(sent, Ok(Ok(()))), "{sent:?}");
        Ok(response)
    }

    /// Ends it and gives what the program and the server have written.
    pub fn stop(&mut self) -> Option<Ran> {
        let child = self.child.take()?;
        let pid = libc::pid_t::try_from(child.id()).ok()?;
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        child.wait_with_output().ok().map(Ran::from)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_response(mut from: impl BufRead, no_body: bool) -> Result<Response> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status
        .with_context(|| format!("{line:?} is no status line"))?
        .parse()?;
    let mut fields = Vec::new();
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        if !field.starts_with("date:") {
            fields.push(field.to_string());
        }
    }
    fields.sort();
    let mut body = Vec::new();
    let chunked = fields.iter().any(|field| field == "transfer-encoding: chunked");
    let length = fields
        .iter()
        .find_map(|field| field.strip_prefix("content-length: "));
    if no_body {
    } else if chunked {
        read_chunks(&mut from, &mut body)?;
    } else if let Some(length) = length {
        body = vec![0; length.parse()?];
        from.read_exact(&mut body)?;
    } else {
        from.read_to_end(&mut body)?;
    }
    Ok(Response { status, fields, body })
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let size =
            u64::from_str_radix(line.trim_end(), 16).with_context(|| format!("{line:?} is no chunk size"))?;
        let read = from.take(size).read_to_end(body)?;
        ensure!(read as u64 == size, "the body is cut short");
        let mut end = [0; 2];
        from.read_exact(&mut end)?;
        ensure!(end == *b"\r\n", "{end:?} behind a chunk");
        if size == 0 {
            return Ok(());
        }
    }
}
