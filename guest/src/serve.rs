//! Serves HTTP requests: one instance of the component for each, as `wasmtime serve` has it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use mote_abi::boot::grant;
use mote_abi::http::{Failure, RequestHead, error_code};
use mote_abi::ring::{ACCEPTED_SHIFT, HTTP_INCOMING, Submission, op, phase};
use wasmtime::component::Component;
use wasmtime::{Store, format_err};

use crate::program::finish;
use crate::runtime::{mmap, size, traps};
use crate::vm;
use crate::vm::ring::{Errno, Ring, Token};
use crate::wasi::errno::{EBADF, EPIPE};
use crate::wasi::http::{ExchangeId, Head};
use crate::wasi::streams::Input;
use crate::wasi::{Host, p2};

/// Serves until the front has gone, and ends the VM.
pub(crate) fn run(component: &Component, mut host: Host) -> ! {
    let handler = match p2::Handler::new(component) {
        Ok(handler) => handler,
        Err(error) => finish(&mut host, Err(error)),
    };
    vm::stamp(phase::MAIN);
    let ended = loop {
        let exchange = match next(&mut host) {
            Ok(exchange) => exchange,
            Err(errno) => break errno,
        };
        match request(&mut host, exchange) {
            Some(head) => host = answer(&handler, host, exchange, head),
            None => host.http.close(&mut host.ring, exchange),
        }
    };
    host.http.drain(&mut host.ring, 0);
    let result = match ended {
        EPIPE => Ok(()),
        EBADF => Err(format_err!(
            "the component serves HTTP requests: `mote serve` runs it, `mote run` does not"
        )),
        errno => Err(format_err!("no further request can be taken: error {errno}")),
    };
    finish(&mut host, result)
}

/// The next exchange. EPIPE: there will be none.
fn next(host: &mut Host) -> Result<ExchangeId, Errno> {
    let zeroing = zero(&mut host.ring);
    let next = match again(host) {
        Some(exchange) => Ok(exchange),
        None => accept(host),
    };
    if zeroing.into_iter().all(|token| host.ring.wait_for(token) == 0) {
        mmap::cleaned();
    }
    next
}

/// The next exchange on the stream of the last one, if it was kept and the front has not closed it.
fn again(host: &mut Host) -> Option<ExchangeId> {
    let handle = host.http.take_kept()?;
    let mut buffer = vec![0; Input::FIRST];
    // What the last exchange still has to send goes along, and is not waited for.
    let read = host.ring.request(Submission {
        op: op::READ,
        handle,
        address: buffer.as_mut_ptr() as u64,
        len: buffer.len() as u64,
        ..Submission::default()
    });
    if let Ok(len @ 1..) = read {
        let input = Input::begun(handle, buffer, size(len));
        return Some(host.http.accepted(handle, input));
    }
    host.ring.detach(Submission {
        op: op::CLOSE,
        handle,
        ..Submission::default()
    });
    None
}

/// A new stream with the next exchange. EPIPE: there will be none.
fn accept(host: &mut Host) -> Result<ExchangeId, Errno> {
    let mut buffer = vec![0; Input::FIRST];
    // What the last exchange still has to send goes along, and is not waited for.
    let accepted = host.ring.request(Submission {
        op: op::ACCEPT,
        handle: HTTP_INCOMING,
        address: buffer.as_mut_ptr() as u64,
        len: buffer.len() as u64,
        ..Submission::default()
    })?;
    let handle = accepted & ((1 << ACCEPTED_SHIFT) - 1);
    let input = Input::begun(handle, buffer, size(accepted >> ACCEPTED_SHIFT));
    Ok(host.http.accepted(handle, input))
}

/// Has the VMM zero what instances have given back.
fn zero(ring: &mut Ring) -> Vec<Token> {
    let submissions = mmap::soiled().into_iter().map(|range| Submission {
        op: op::ZERO,
        address: range.start,
        len: range.end - range.start,
        ..Submission::default()
    });
    submissions.map(|submission| ring.submit(submission)).collect()
}

/// The request that the exchange begins with; `None` if it does not come.
fn request(host: &mut Host, exchange: ExchangeId) -> Option<RequestHead> {
    loop {
        match host.http.head(&mut host.ring, exchange) {
            Ok(Some(Head::Request(head))) => return Some(head),
            Ok(None) => host.wait(u64::MAX),
            Ok(Some(Head::Response(_))) | Err(_) => return None,
        }
    }
}

/// Has an instance of its own answer the request.
fn answer(handler: &p2::Handler, mut host: Host, exchange: ExchangeId, head: RequestHead) -> Host {
    if host.grants & grant::LOG_PREFIX != 0 {
        host.stdio.mark(head.id);
    }
    let mut store = Store::new(handler.engine(), host);
    let result = handler.call(&mut store, exchange, head);
    let mut host = store.into_data();
    let answered = host.http.is_answered(exchange);
    let well = result.is_ok();
    let error = match result {
        Ok(()) if answered => None,
        Ok(()) => Some(String::from(p2::NO_ANSWER)),
        Err(error) => {
            traps::handled();
            Some(format!("{error:?}"))
        }
    };
    if let Some(text) = error {
        host.stdio
            .write_error(&mut host.ring, format!("error: {text}\n").as_bytes());
        if !answered {
            let code = error_code::INTERNAL_ERROR;
            host.http.fail(exchange, &Failure { code, text });
        }
    }
    host.http.leave(&mut host.ring, exchange, well);
    host.release();
    host
}
