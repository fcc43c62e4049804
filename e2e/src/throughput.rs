//! Rates of files and of HTTP, each beside those of the wasmtime command where the machine has it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cli::Run;
use crate::figures::{Figure, median};
use crate::paths;
use crate::serve::{Server, load};

/// Bytes of the file.
const FILE: u64 = 1 << 30;

/// Turns of each side.
const ROUNDS: usize = 5;

/// A file of 1 GiB that is read and written from its begin to its end, in MiB a second as the program sees it.
///
/// # Errors
/// If a program fails.
pub fn files() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(paths::work())?;
    // Sparse, so that the figure is not that of a disk.
    File::create(folder.path().join("big"))?.set_len(FILE)?;
    let mut figures = Vec::new();
    for program in ["files-rust-p1", "files-rust-p2"] {
        for (size, name) in [("4096", "4KiB"), ("65536", "64KiB"), ("1048576", "1MiB")] {
            for (way, verb) in [("pour-in", "read"), ("pour-out", "write")] {
                let args = [way, size, &FILE.to_string()].map(String::from);
                let (mut ours, mut theirs, mut exits) = (Vec::new(), Vec::new(), 0.0);
                for _ in 0..ROUNDS {
                    let (rate, count) = mote(folder.path(), program, &args)?;
                    ours.push(rate);
                    exits = count;
                    theirs.extend(wasmtime(folder.path(), program, &args)?);
                    let _ = std::fs::remove_file(folder.path().join("poured"));
                }
                let name = format!("file_{verb}_{name}/{program}");
                let figure = Figure::new(&name, median(&ours), "MiB/s");
                figures.push(match theirs.is_empty() {
                    true => figure,
                    false => figure.against("wasmtime", median(&theirs)),
                });
                #[allow(clippy::cast_precision_loss, reason = "1024")]
                let mib = (FILE >> 20) as f64;
                figures.push(Figure::new(&format!("{name}_exits"), exits / mib, "exits/MiB"));
            }
        }
    }
    Ok(figures)
}

/// Rate and exits.
fn mote(folder: &Path, program: &str, args: &[String]) -> Result<(f64, f64)> {
    let grant = format!("{}::/d", folder.display());
    let (ran, stats) = Run::measured(&["--dir", &grant], paths::program(program))
        .args(args)
        .stats();
    ensure!(ran.code == 0, "{program}: {}", ran.stderr);
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    Ok((rate(&ran.stdout)?, stats.exits as f64))
}

fn wasmtime(folder: &Path, program: &str, args: &[String]) -> Result<Option<f64>> {
    let ran = Command::new("wasmtime")
        .args(["run", "--dir", &format!("{}::/d", folder.display())])
        .arg(paths::program(program))
        .args(args)
        .output();
    let Ok(ran) = ran else { return Ok(None) };
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    rate(&String::from_utf8_lossy(&ran.stdout)).map(Some)
}

/// The program says how many bytes and at which rate.
fn rate(text: &str) -> Result<f64> {
    let (bytes, rate) = text.trim().split_once(' ').context("no rate")?;
    ensure!(bytes == FILE.to_string(), "{bytes} of {FILE} bytes");
    Ok(rate.parse()?)
}

/// Requests a second of a component that says hello, over 100 connections that are kept.
///
/// # Errors
/// If a server or a request fails.
pub fn serving() -> Result<Vec<Figure>> {
    const CONNECTIONS: usize = 100;
    const TURN: Duration = Duration::from_secs(5);
    let program = paths::program("exchange-rust");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measure = |address: SocketAddr| -> Result<f64> {
        let ran = runtime.block_on(load::run(address, "/hello", "hello\n", CONNECTIONS, TURN))?;
        ensure!(ran.errors == 0, "{} requests failed", ran.errors);
        #[allow(clippy::cast_precision_loss, reason = "below 2^52")]
        Ok(ran.requests as f64 / ran.seconds)
    };
    let mote = Server::start(&[], &program);
    let peer = Wasmtime::serve(&program)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(measure(mote.address)?);
        if let Some(peer) = &peer {
            theirs.push(measure(peer.address)?);
        }
    }
    mote.signal(libc::SIGTERM);
    mote.wait();
    let figure = Figure::new("serve_hello", median(&ours), "requests/s");
    Ok(vec![match theirs.is_empty() {
        true => figure,
        false => figure.against("wasmtime", median(&theirs)),
    }])
}

/// `wasmtime serve`.
struct Wasmtime {
    child: Child,
    address: SocketAddr,
}

impl Wasmtime {
    fn serve(program: &Path) -> Result<Option<Wasmtime>> {
        // It was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new("wasmtime")
            .args(["serve", "-S", "cli", "--addr", &address.to_string()])
            .arg(program)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else { return Ok(None) };
        let peer = Wasmtime { child, address };
        let give_up = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < give_up, "wasmtime serve does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(peer))
    }
}

impl Drop for Wasmtime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
