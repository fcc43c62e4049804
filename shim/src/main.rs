//! `containerd-shim-mote-v1`: containerd's side of Mote (runtime `io.containerd.mote.v1`).
//!
//! containerd starts this program with the action `start` for each container; the first of a pod leaves a daemon
//! behind, which serves the task calls for all of the pod and runs each container's program in a `mote-vmm` process.
//! The shim turns requests into a state machine, an OCI spec into a grant, and an image into a Wasm file. It opens
//! neither KVM nor Wasm itself: `mote-launch` starts the processes that do.
//!
//! | module | concern |
//! |---|---|
//! | `flags`, `bootstrap`, `start`, `cleanup`, `daemon` | how containerd starts and ends a shim |
//! | `service`, `sandbox` | the task service and the sandbox service, their calls mapped to `pod` |
//! | `pod`, `create`, `task`, `process`, `state`, `update`, `exit`, `verdict`, `record` | the tasks and their states |
//! | `spec`, `grant`, `image` | what to run, with what |
//! | `mounts`, `volumes`, `network`, `cgroup`, `stdio`, `termination` | what a task has on the host |
//! | `vm`, `serve` | the way to `mote-launch`: one VM for a program, a front and many for a component that serves |
//! | `events`, `logger`, `time`, `error` | what is told to containerd |

mod bootstrap;
mod cgroup;
mod cleanup;
mod console;
mod create;
mod daemon;
mod error;
mod events;
mod exit;
mod flags;
mod grant;
mod image;
mod info;
mod logger;
mod mounts;
mod network;
mod pod;
mod process;
mod record;
mod sandbox;
mod serve;
mod service;
mod spec;
mod start;
mod state;
mod stdio;
mod sysctl;
mod task;
mod termination;
mod time;
mod update;
mod verdict;
mod vm;
mod volumes;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-mote-v1: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let flags = flags::parse(std::env::args().skip(1))?;
    if flags.version {
        println!(
            "containerd-shim-mote-v1:\n  Version:  {}",
            env!("CARGO_PKG_VERSION")
        );
        return Ok(());
    }
    if flags.info {
        return Ok(info::run()?);
    }
    match flags.action.as_str() {
        "start" => Ok(start::run(&flags)?),
        "delete" => Ok(cleanup::run(&flags)?),
        "" => Ok(daemon::run(&flags)?),
        other => Err(format!("unknown action {other:?}; containerd uses \"start\" and \"delete\"").into()),
    }
}
