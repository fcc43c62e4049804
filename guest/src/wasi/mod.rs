//! WASI, once: the services in [`Host`], with 0.1 and 0.2 as two faces of them.

pub(crate) mod errno;
pub(crate) mod files;
pub(crate) mod http;
mod marks;
pub(crate) mod p1;
pub(crate) mod p2;
mod sockets;
mod stdio;
pub(crate) mod streams;

use alloc::vec::Vec;
use core::fmt;

use mote_abi::boot::{BootPage, Limits};
use mote_abi::layout::ARGS;
use wasmtime::component::ResourceTable;

use crate::entry::fail;
use crate::runtime::size;
use crate::vm::entropy::Entropy;
use crate::vm::ring::{Errno, Ring};
use files::Files;
use http::Http;
use p1::Fds;
pub(crate) use stdio::Stdio;

/// All that a program can reach.
pub(crate) struct Host {
    pub(crate) args: Vec<&'static str>,
    /// `NAME=value`.
    pub(crate) env: Vec<&'static str>,
    /// Guest paths of the preopened directories; their handles count up from `FIRST_PREOPEN`.
    pub(crate) preopens: Vec<&'static str>,
    /// Texts of resolv.conf(5) and hosts(5).
    pub(crate) resolv_conf: &'static str,
    pub(crate) hosts: &'static str,
    /// The working directory, empty if there is none to speak of.
    pub(crate) cwd: &'static str,
    /// See `mote_abi::boot::grant`.
    pub(crate) grants: u32,
    pub(crate) limits: Limits,
    pub(crate) ring: Ring,
    pub(crate) stdio: Stdio,
    pub(crate) files: Files,
    /// Descriptors of WASI 0.1.
    pub(crate) fds: Fds,
    pub(crate) http: Http,
    pub(crate) entropy: Entropy,
    /// State of the insecure generator; 0 until it is seeded.
    pub(crate) insecure: u64,
    insecure_seed: Option<(u64, u64)>,
    /// Handles of WASI 0.2.
    pub(crate) table: ResourceTable,
}

/// The program asked to exit with this code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exited with code {}", self.0)
    }
}

impl core::error::Error for Exit {}

fn table(limits: &Limits) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(size(limits.resources));
    table
}

impl Host {
    pub(crate) fn new(boot: &'static BootPage) -> Host {
        let mut block = Block {
            at: ARGS,
            end: ARGS + boot.args_len,
        };
        let args = (0..boot.argc).map(|_| block.next()).collect();
        let env = (0..boot.envc).map(|_| block.next()).collect();
        let preopens: Vec<_> = (0..boot.preopenc).map(|_| block.next()).collect();
        Host {
            args,
            env,
            fds: Fds::new(&preopens, boot.grants),
            preopens,
            resolv_conf: block.next(),
            hosts: block.next(),
            cwd: block.next(),
            grants: boot.grants,
            limits: boot.limits,
            ring: Ring::new(),
            stdio: Stdio::new(boot.terminals),
            files: Files::default(),
            http: Http::new(),
            entropy: Entropy::new(boot),
            insecure: 0,
            insecure_seed: None,
            table: table(&boot.limits),
        }
    }

    /// Has everything go on that is under way, and sleeps until there is an answer or CLOCK_MONOTONIC reaches
    /// `deadline`.
    pub(crate) fn wait(&mut self, deadline: u64) {
        let seen = self.ring.collected();
        self.http.pump(&mut self.ring);
        // What has come in meanwhile may be what the caller waits for.
        if self.ring.collected() == seen {
            self.ring.wait(deadline);
        }
    }

    /// Has everything go on that is under way, without waiting for it.
    pub(crate) fn kick(&mut self) {
        self.http.pump(&mut self.ring);
        self.ring.kick();
    }

    /// Gives back all that an instance that has gone has left open.
    pub(crate) fn release(&mut self) {
        let mut left = self.ring.opened();
        left.retain(|handle| Some(*handle) != self.http.kept());
        for handle in &left {
            // There is nobody left to tell that an earlier write has failed.
            let _ = self.files.close(&mut self.ring, *handle);
        }
        self.ring.settle(&left);
        self.table = table(&self.limits);
        self.insecure_seed = None;
    }

    /// Waits until all output is written: an error of writing a file that the program was not told of.
    pub(crate) fn flush(&mut self) -> Option<Errno> {
        let untold = self.files.finish(&mut self.ring);
        self.stdio.flush(&mut self.ring);
        untold
    }

    /// The seed for hash tables, which stays the same. (wasi:random/insecure-seed: as if it were imported as a value)
    pub(crate) fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        if let Some(seed) = self.insecure_seed {
            return Ok(seed);
        }
        let seed = (self.insecure_u64()?, self.insecure_u64()?);
        self.insecure_seed = Some(seed);
        Ok(seed)
    }

    /// A number that is random enough for what WASI calls insecure: xorshift64*, seeded once.
    pub(crate) fn insecure_u64(&mut self) -> wasmtime::Result<u64> {
        while self.insecure == 0 {
            self.insecure = self.entropy.next_u64()?;
        }
        let mut x = self.insecure;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.insecure = x;
        Ok(x.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }
}

/// Reader of the strings that the VMM laid out: a length, then the bytes.
struct Block {
    at: u64,
    end: u64,
}

impl Block {
    fn next(&mut self) -> &'static str {
        let len = u32::from_le_bytes(self.take(4).try_into().unwrap_or_default());
        match core::str::from_utf8(self.take(u64::from(len))) {
            Ok(text) => text,
            Err(_) => fail(format_args!("an argument or variable is not UTF-8")),
        }
    }

    fn take(&mut self, len: u64) -> &'static [u8] {
        if self.end - self.at < len {
            fail(format_args!("arguments and environment are cut short"));
        }
        let at = self.at;
        self.at += len;
        // SAFETY: the VMM mapped `ARGS..end` read-only and never changes it.
        unsafe { core::slice::from_raw_parts(at as *const u8, size(len)) }
    }
}
