//! `wasi:cli`: environment, exit, standard streams, terminals.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::Cx;
use super::io::{InputStream, OutputStream};
use crate::wasi::{Exit, Host};

/// `wasi:cli/terminal-input.terminal-input`.
pub(super) struct TerminalInput;

/// `wasi:cli/terminal-output.terminal-output`.
pub(super) struct TerminalOutput;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "get-environment" => at.func_wrap(name, environment)?,
        "get-arguments" => at.func_wrap(name, arguments)?,
        "initial-cwd" => at.func_wrap(name, initial_cwd)?,
        "exit" => at.func_wrap(name, exit)?,
        "exit-with-code" => at.func_wrap(name, exit_with_code)?,
        "get-stdin" => at.func_wrap(name, stdin)?,
        "get-stdout" => at.func_wrap(name, |cx: Cx<'_>, (): ()| output(cx, 1))?,
        "get-stderr" => at.func_wrap(name, |cx: Cx<'_>, (): ()| output(cx, 2))?,
        "get-terminal-stdin" => at.func_wrap(name, |cx: Cx<'_>, (): ()| terminal(cx, 0, TerminalInput))?,
        "get-terminal-stdout" => at.func_wrap(name, |cx: Cx<'_>, (): ()| terminal(cx, 1, TerminalOutput))?,
        "get-terminal-stderr" => at.func_wrap(name, |cx: Cx<'_>, (): ()| terminal(cx, 2, TerminalOutput))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn environment(cx: Cx<'_>, (): ()) -> Result<(Vec<(String, String)>,)> {
    let split = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_string(), value.to_string())
    };
    Ok((cx.data().env.iter().map(split).collect(),))
}

fn arguments(cx: Cx<'_>, (): ()) -> Result<(Vec<String>,)> {
    Ok((cx.data().args.iter().map(ToString::to_string).collect(),))
}

fn initial_cwd(cx: Cx<'_>, (): ()) -> Result<(Option<String>,)> {
    let cwd = cx.data().cwd;
    Ok(((!cwd.is_empty()).then(|| cwd.to_string()),))
}

fn exit(_: Cx<'_>, (status,): (core::result::Result<(), ()>,)) -> Result<()> {
    Err(Exit(u8::from(status.is_err())).into())
}

fn exit_with_code(_: Cx<'_>, (code,): (u8,)) -> Result<()> {
    Err(Exit(code).into())
}

fn stdin(mut cx: Cx<'_>, (): ()) -> Result<(Resource<InputStream>,)> {
    Ok((cx.data_mut().table.push(InputStream::Stdin)?,))
}

fn output(mut cx: Cx<'_>, descriptor: u32) -> Result<(Resource<OutputStream>,)> {
    Ok((cx.data_mut().table.push(OutputStream::Stdio(descriptor))?,))
}

fn terminal<T: Send + 'static>(
    mut cx: Cx<'_>,
    descriptor: u32,
    terminal: T,
) -> Result<(Option<Resource<T>>,)> {
    let host = cx.data_mut();
    if host.stdio.is_terminal(descriptor) {
        Ok((Some(host.table.push(terminal)?),))
    } else {
        Ok((None,))
    }
}
