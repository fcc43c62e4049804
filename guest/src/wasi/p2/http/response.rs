//! `wasi:http/types`: response-outparam, outgoing-response, incoming-response and future-incoming-response.

use alloc::format;

use mote_abi::http::{Failure, ResponseHead};
use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::body::{IncomingBody, OutgoingBody};
use super::error::ErrorCode;
use crate::wasi::Host;
use crate::wasi::http::{BodyId, ExchangeId, Fields, Head};
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{Pollable, new_child_pollable};

/// `wasi:http/types.response-outparam`: the exchange that waits for a response.
pub(in crate::wasi::p2) struct ResponseOutparam(pub(in crate::wasi::p2) ExchangeId);

/// `wasi:http/types.outgoing-response`.
pub(in crate::wasi::p2) struct OutgoingResponse {
    status: u16,
    fields: Fields,
    body: Option<BodyId>,
}

/// `wasi:http/types.incoming-response`.
pub(in crate::wasi::p2) struct IncomingResponse {
    status: u16,
    fields: Fields,
    /// Whose body it has, until it is consumed.
    body: Option<ExchangeId>,
}

/// `wasi:http/types.future-incoming-response`.
pub(in crate::wasi::p2) enum FutureIncomingResponse {
    Waiting(ExchangeId),
    Consumed,
}

/// The program has dropped the response.
pub(super) fn outgoing_dropped(host: &mut Host, response: OutgoingResponse) -> Result<()> {
    if let Some(body) = response.body {
        host.http.forget(body);
    }
    Ok(())
}

/// The program has dropped the response: unless its body was consumed, there is no use for the exchange.
pub(super) fn incoming_dropped(host: &mut Host, response: IncomingResponse) -> Result<()> {
    if let Some(exchange) = response.body {
        host.http.close(&mut host.ring, exchange);
    }
    Ok(())
}

/// The program has dropped the future: it takes the request back.
pub(super) fn future_dropped(host: &mut Host, future: FutureIncomingResponse) -> Result<()> {
    if let FutureIncomingResponse::Waiting(exchange) = future {
        host.http.close(&mut host.ring, exchange);
    }
    Ok(())
}

/// Whether `get` has an answer.
pub(in crate::wasi::p2) fn is_ready(
    host: &mut Host,
    future: &Resource<FutureIncomingResponse>,
) -> Result<bool> {
    Ok(match host.table.get(future)? {
        FutureIncomingResponse::Waiting(exchange) => host.http.has_head(&mut host.ring, *exchange),
        FutureIncomingResponse::Consumed => true,
    })
}

type Outgoing = (Resource<OutgoingResponse>,);
type Incoming = (Resource<IncomingResponse>,);
type Future = (Resource<FutureIncomingResponse>,);
type Answer<T> = Result<(core::result::Result<T, ()>,)>;

pub(super) fn outgoing(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[static]response-outparam.set" => at.func_wrap(name, set)?,
        "[method]response-outparam.send-informational" => at.func_wrap(name, send_informational)?,
        "[constructor]outgoing-response" => at.func_wrap(name, new)?,
        "[method]outgoing-response.status-code" => {
            at.func_wrap(name, |cx: Cx<'_>, (response,): Outgoing| {
                Ok((cx.data().table.get(&response)?.status,))
            })?;
        }
        "[method]outgoing-response.set-status-code" => at.func_wrap(name, set_status)?,
        "[method]outgoing-response.headers" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (response,): Outgoing| {
                let table = &mut cx.data_mut().table;
                let fields = table.get(&response)?.fields.clone();
                Ok((table.push(fields)?,))
            })?;
        }
        "[method]outgoing-response.body" => at.func_wrap(name, body)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn set(
    mut cx: Cx<'_>,
    (out, response): (
        Resource<ResponseOutparam>,
        core::result::Result<Resource<OutgoingResponse>, ErrorCode>,
    ),
) -> Result<()> {
    let host = cx.data_mut();
    let response = match response {
        Ok(response) => Ok(host.table.delete(response)?),
        Err(code) => Err(code),
    };
    let ResponseOutparam(exchange) = host.table.delete(out)?;
    match response {
        Ok(response) => {
            let head = ResponseHead {
                status: response.status,
                fields: response.fields.into_list(),
            };
            host.http.respond(exchange, &head, response.body)?;
        }
        Err(code) => {
            let text = format!("ErrorCode::{code:?}");
            let line = format!("error: {text}\n");
            host.http.fail(
                exchange,
                &Failure {
                    code: code.code(),
                    text,
                },
            );
            host.stdio.write_error(&mut host.ring, line.as_bytes());
        }
    }
    Ok(())
}

/// The front has no way for responses that go before the response, which the WIT permits.
fn send_informational(
    mut cx: Cx<'_>,
    (out, status, fields): (Resource<ResponseOutparam>, u16, Resource<Fields>),
) -> Result<(core::result::Result<(), ErrorCode>,)> {
    let table = &mut cx.data_mut().table;
    table.get(&out)?;
    table.delete(fields)?;
    Ok((Err(if (100..200).contains(&status) {
        ErrorCode::InternalError(Some("informational responses are not supported".into()))
    } else {
        ErrorCode::HttpProtocolError
    }),))
}

fn new(mut cx: Cx<'_>, (fields,): (Resource<Fields>,)) -> Result<(Resource<OutgoingResponse>,)> {
    let table = &mut cx.data_mut().table;
    let response = OutgoingResponse {
        status: 200,
        fields: table.delete(fields)?.freeze(),
        body: None,
    };
    Ok((table.push(response)?,))
}

fn set_status(mut cx: Cx<'_>, (response, status): (Resource<OutgoingResponse>, u16)) -> Answer<()> {
    let response = cx.data_mut().table.get_mut(&response)?;
    if !(100..1000).contains(&status) {
        return Ok((Err(()),));
    }
    response.status = status;
    Ok((Ok(()),))
}

fn body(mut cx: Cx<'_>, (response,): Outgoing) -> Answer<Resource<OutgoingBody>> {
    let host = cx.data_mut();
    let response = host.table.get_mut(&response)?;
    let body = match (response.body, response.fields.content_length()) {
        (None, Ok(expected)) => host.http.body(expected),
        _ => return Ok((Err(()),)),
    };
    response.body = Some(body);
    Ok((Ok(host.table.push(OutgoingBody::of_response(body))?),))
}

pub(super) fn incoming(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]incoming-response.status" => at.func_wrap(name, |cx: Cx<'_>, (response,): Incoming| {
            Ok((cx.data().table.get(&response)?.status,))
        })?,
        "[method]incoming-response.headers" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (response,): Incoming| {
                let table = &mut cx.data_mut().table;
                let fields = table.get(&response)?.fields.clone();
                Ok((table.push(fields)?,))
            })?;
        }
        "[method]incoming-response.consume" => at.func_wrap(name, consume)?,
        "[method]future-incoming-response.subscribe" => {
            at.func_wrap(name, |cx: Cx<'_>, (future,): Future| {
                new_child_pollable(cx, Pollable::Response(future.rep()), &future)
            })?;
        }
        "[method]future-incoming-response.get" => at.func_wrap(name, get)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn consume(mut cx: Cx<'_>, (response,): Incoming) -> Answer<Resource<IncomingBody>> {
    let table = &mut cx.data_mut().table;
    Ok((match table.get_mut(&response)?.body.take() {
        Some(exchange) => Ok(table.push(IncomingBody::new(exchange, true))?),
        None => Err(()),
    },))
}

type Got = Option<core::result::Result<core::result::Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

fn get(mut cx: Cx<'_>, (future,): Future) -> Result<(Got,)> {
    let host = cx.data_mut();
    let waiting = host.table.get_mut(&future)?;
    let FutureIncomingResponse::Waiting(exchange) = *waiting else {
        return Ok((Some(Err(())),));
    };
    let head = host.http.head(&mut host.ring, exchange);
    if matches!(head, Ok(None)) {
        // A program may ask again and again without ever waiting.
        host.http.pump(&mut host.ring);
        host.ring.kick();
        return Ok((None,));
    }
    *waiting = FutureIncomingResponse::Consumed;
    let answer = match head {
        Ok(Some(Head::Response(head))) => Ok(host.table.push(IncomingResponse {
            status: head.status,
            fields: Fields::received(head.fields),
            body: Some(exchange),
        })?),
        other => {
            host.http.close(&mut host.ring, exchange);
            Err(match other {
                Err(failure) => failure.into(),
                Ok(_) => ErrorCode::HttpProtocolError,
            })
        }
    };
    Ok((Some(Ok(answer)),))
}
