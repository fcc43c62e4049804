//! The contract between a parent (the `mote` command or the shim) and `mote-vmm`; [`front`] is that with `mote-http`.
//!
//! `mote-vmm` opens nothing by itself: its parent hands it open descriptors at the numbers in [`fd`] and a
//! [`VmmConfig`] as JSON. It answers with [`Report`]s, one JSON object a line, and with its exit code, which is the
//! program's.
#![forbid(unsafe_code)]

pub mod broker;
pub mod front;

use serde::{Deserialize, Serialize};

/// Version of this contract. Parent and VMM are installed together; a mismatch is refused.
pub const VERSION: u32 = 3;

/// Descriptor numbers in a new `mote-vmm`. Standard input, output and error are the program's own.
pub mod fd {
    /// A memfd or pipe with the [`super::VmmConfig`], read to its end.
    pub const CONFIG: i32 = 3;
    /// The code file (`mote_abi::code`), read-only, its digest already verified.
    pub const CODE: i32 = 4;
    /// `/dev/kvm`, open for reading and writing.
    pub const KVM: i32 = 5;
    /// Write end of the pipe that takes [`super::Report`]s.
    pub const REPORT: i32 = 6;
    /// First of the descriptors whose numbers stand in the [`super::VmmConfig`].
    pub const FIRST_GRANT: i32 = 7;
}

/// Signals to a `mote-vmm` that mean something else than to other processes.
pub mod signal {
    /// Queued with a value (sigqueue(3)), it sets the memory limit to as many bytes; without one it ends the process, as
    /// it does any other. It is blocked from the start of the process on, and kept until it is read. The number is of
    /// the real-time range, of which a queue forgets none, and none that a C library takes for itself.
    pub const MEMORY_LIMIT: i32 = 40;
}

/// Exit codes of `mote-vmm` that do not come from the program.
pub mod exit {
    /// Mote itself failed: bad configuration, a KVM error, a panic in the guest's runtime. (`docker run` uses the
    /// same number for the same purpose.)
    pub const INTERNAL: u8 = 125;
    /// The program trapped; the number that the wasmtime command has.
    pub const TRAP: u8 = 134;
    /// The program went over its memory limit: 128 + SIGKILL, as the kernel's OOM killer leaves it.
    pub const OOM: u8 = 137;
    /// The program was ended by SIGTERM.
    pub const TERMINATED: u8 = 143;
}

/// All that `mote-vmm` needs to know to run one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmConfig {
    /// [`VERSION`].
    pub version: u32,
    /// The program's arguments; the first is its own name.
    pub args: Vec<String>,
    /// The program's environment, `(name, value)`, in order.
    pub env: Vec<(String, String)>,
    /// Most guest memory in bytes that may ever be mapped. Over it the program is killed as out of memory.
    pub memory_limit: u64,
    /// Directories that the program is granted, in order.
    #[serde(default)]
    pub preopens: Vec<Preopen>,
    /// What the program is told of its working directory. (wasi:cli/environment.initial-cwd)
    #[serde(default)]
    pub cwd: Option<String>,
    /// Whom the program's files are reached as. Without it: nobody if the parent is root, else the parent's own user.
    #[serde(default)]
    pub user: Option<User>,
    /// What the program may reach of the network.
    #[serde(default)]
    pub network: Network,
    /// What else it may have of its runtime.
    #[serde(default)]
    pub limits: Limits,
    /// Socket (seqpacket) of the HTTP front, which hands over streams for incoming requests, and one for each outgoing
    /// one that it is asked for. The number is `mote-launch`'s to fill in.
    #[serde(default)]
    pub front_fd: Option<i32>,
    /// The program is to serve HTTP requests that the front hands over, even if it is a command as well.
    #[serde(default)]
    pub serve: bool,
    /// Marks each line of a serving component's output with the request that it belongs to.
    #[serde(default)]
    pub log_prefix: bool,
    /// Wall-clock time in milliseconds after which the program is interrupted (a trap, as the wasmtime command's
    /// `-W timeout`).
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// CLOCK_MONOTONIC of the parent in microseconds when the start was asked for; phases count from there.
    #[serde(default)]
    pub asked_at_us: Option<u64>,
    /// Seal the process (no new privileges, seccomp, no capabilities, unprivileged user) before guest code runs.
    /// Only tests and debuggers turn it off.
    #[serde(default = "default_true")]
    pub jail: bool,
}

/// A directory that the program is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Its path as the program sees it.
    pub guest: String,
    /// Nothing below it may be changed.
    #[serde(default)]
    pub read_only: bool,
    /// The open directory. The number is `mote-launch`'s to fill in.
    #[serde(default)]
    pub fd: i32,
}

/// A user and his groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// What a program may reach of the network; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Socket (seqpacket) of the broker, which makes TCP and UDP sockets. The number is `mote-launch`'s to fill in.
    #[serde(default)]
    pub broker_fd: Option<i32>,
    /// TCP sockets.
    #[serde(default)]
    pub tcp: bool,
    /// UDP sockets.
    #[serde(default)]
    pub udp: bool,
    /// Names may be looked up.
    #[serde(default)]
    pub name_lookup: bool,
    /// HTTP requests to the outside.
    #[serde(default)]
    pub http: bool,
    /// Text of the resolv.conf(5) that names are looked up by.
    #[serde(default)]
    pub resolv_conf: String,
    /// Text of the hosts(5) that comes first.
    #[serde(default)]
    pub hosts: String,
}

impl Network {
    /// Whether the program needs the broker: sockets are made for it, or by its runtime to look up names.
    #[must_use]
    pub fn needs_broker(&self) -> bool {
        self.tcp || self.udp || self.name_lookup
    }
}

/// Limits on what a program may ask its runtime for, over which it traps; `mote_abi::boot::Limits` has those that stand
/// for `None`, and their units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    #[serde(default)]
    pub resources: Option<u64>,
    #[serde(default)]
    pub random_bytes: Option<u64>,
    #[serde(default)]
    pub http_fields: Option<u64>,
}

fn default_true() -> bool {
    true
}

/// What `mote-vmm` tells its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// The machine is built and the vCPU is about to run. Sent once.
    Started,
    /// The program has ended. Sent once, last.
    Exited(Exit),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub code: u8,
    pub reason: Reason,
    /// For people: the trap with its Wasm backtrace, the limit that was hit, the cause of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub stats: Stats,
}

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It returned or called exit.
    Exited,
    /// A Wasm trap, a host-call error or the timeout.
    Trap,
    /// It asked for more memory than its limit.
    OutOfMemory,
    /// SIGTERM, SIGINT or another catchable signal.
    Signal,
    /// Mote failed, not the program.
    Internal,
}

/// Figures of one run. Times are microseconds; the phases of the start follow each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// From the parent's request to `mote-vmm`'s first instruction of main.
    pub process_us: f64,
    /// From there to the first KVM call: configuration read, guest image and rings laid out.
    pub prepare_us: f64,
    /// KVM calls until the vCPU can run.
    pub vm_us: f64,
    /// From the first KVM_RUN to the first instruction of the guest.
    pub entry_us: f64,
    /// Guest runtime set up (heap, engine).
    pub runtime_us: f64,
    /// Compiled code loaded.
    pub code_us: f64,
    /// Imports linked and program instantiated, until the first instruction of the program's main.
    pub instantiate_us: f64,
    /// From the first KVM call to the first instruction of the program's main.
    pub cold_start_us: f64,
    /// The program's own run, until its exit.
    pub run_us: f64,
    /// Exits from the VM to this process.
    pub exits: u64,
    /// Instructions that KVM emulated for the vCPU (`insn_emulation` of KVM_GET_STATS_FD).
    pub insn_emulation: Option<u64>,
    /// Most guest memory that was mapped at once, in bytes.
    pub memory_peak: u64,
}

impl Report {
    /// The report as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads one line of JSON.
    ///
    /// # Errors
    /// The parser's, for a line that is no report.
    pub fn from_line(line: &str) -> Result<Report, serde_json::Error> {
        serde_json::from_str(line)
    }
}

impl VmmConfig {
    /// The configuration as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a configuration from JSON.
    ///
    /// # Errors
    /// The parser's, for bytes that are no configuration.
    pub fn from_json(bytes: &[u8]) -> Result<VmmConfig, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_single_lines() {
        let report = Report::Exited(Exit {
            code: 134,
            reason: Reason::Trap,
            message: Some("wasm trap: unreachable\n  0: f".into()),
            stats: Stats::default(),
        });
        let line = report.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Report::from_line(&line).unwrap(), report);
    }

    #[test]
    fn jail_is_on_unless_turned_off() {
        let config = br#"{"version":3,"args":[],"env":[],"memory_limit":1}"#;
        assert!(VmmConfig::from_json(config).unwrap().jail);
    }
}
