//! `wasi:http/types`: incoming-request, outgoing-request and request-options.

use alloc::string::String;

use mote_abi::http::{RequestHead, Timeouts};
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime::{Result, bail};

use super::body::{IncomingBody, OutgoingBody};
use super::types::{Method, Scheme};
use crate::wasi::Host;
use crate::wasi::http::{
    BodyId, ExchangeId, Fields, valid_authority, valid_method, valid_path, valid_scheme,
};
use crate::wasi::p2::Cx;

/// `wasi:http/types.incoming-request`.
pub(in crate::wasi::p2) struct IncomingRequest {
    method: Method,
    path_with_query: Option<String>,
    scheme: Scheme,
    authority: String,
    fields: Fields,
    /// Whose body it has, until it is consumed.
    body: Option<ExchangeId>,
}

/// `wasi:http/types.outgoing-request`.
pub(in crate::wasi::p2) struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) path_with_query: Option<String>,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) fields: Fields,
    pub(super) body: Option<BodyId>,
}

/// `wasi:http/types.request-options`: times in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(in crate::wasi::p2) struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

impl IncomingRequest {
    /// The request that an exchange began with.
    pub(in crate::wasi::p2) fn new(head: RequestHead, exchange: ExchangeId) -> Result<IncomingRequest> {
        let authority = if head.authority.is_empty() {
            Fields::text(&head.fields, "host").unwrap_or_default().into()
        } else {
            head.authority
        };
        if authority.is_empty() {
            bail!("invalid HTTP request missing authority in URI and host header");
        }
        Ok(IncomingRequest {
            method: head.method.into(),
            path_with_query: Some(head.path_with_query).filter(|path| !path.is_empty()),
            scheme: head.scheme.into(),
            authority,
            fields: Fields::received(head.fields),
            body: Some(exchange),
        })
    }
}

impl RequestOptions {
    /// The times for the front. 0 stands for none there, so the shortest is a nanosecond.
    pub(super) fn timeouts(self) -> Timeouts {
        let time = |time: Option<u64>| time.map_or(0, |ns| ns.max(1));
        Timeouts {
            connect_ns: time(self.connect),
            first_byte_ns: time(self.first_byte),
            between_bytes_ns: time(self.between_bytes),
        }
    }
}

/// The program has dropped the request.
pub(super) fn dropped(host: &mut Host, request: OutgoingRequest) -> Result<()> {
    if let Some(body) = request.body {
        host.http.forget(body);
    }
    Ok(())
}

type Incoming = (Resource<IncomingRequest>,);
type Outgoing = (Resource<OutgoingRequest>,);
type Options = Resource<RequestOptions>;
/// `result`.
type Done = Result<(core::result::Result<(), ()>,)>;

pub(super) fn incoming(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]incoming-request.method" => at.func_wrap(name, |cx: Cx<'_>, (request,): Incoming| {
            Ok((cx.data().table.get(&request)?.method.clone(),))
        })?,
        "[method]incoming-request.path-with-query" => {
            at.func_wrap(name, |cx: Cx<'_>, (request,): Incoming| {
                Ok((cx.data().table.get(&request)?.path_with_query.clone(),))
            })?;
        }
        "[method]incoming-request.scheme" => at.func_wrap(name, |cx: Cx<'_>, (request,): Incoming| {
            Ok((Some(cx.data().table.get(&request)?.scheme.clone()),))
        })?,
        "[method]incoming-request.authority" => at.func_wrap(name, |cx: Cx<'_>, (request,): Incoming| {
            Ok((Some(cx.data().table.get(&request)?.authority.clone()),))
        })?,
        "[method]incoming-request.headers" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (request,): Incoming| {
                let table = &mut cx.data_mut().table;
                let fields = table.get(&request)?.fields.clone();
                Ok((table.push(fields)?,))
            })?;
        }
        "[method]incoming-request.consume" => at.func_wrap(name, consume)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn consume(
    mut cx: Cx<'_>,
    (request,): Incoming,
) -> Result<(core::result::Result<Resource<IncomingBody>, ()>,)> {
    let table = &mut cx.data_mut().table;
    Ok((match table.get_mut(&request)?.body.take() {
        // The response still needs the exchange.
        Some(exchange) => Ok(table.push(IncomingBody::new(exchange, false))?),
        None => Err(()),
    },))
}

pub(super) fn outgoing(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[constructor]outgoing-request" => at.func_wrap(name, new)?,
        "[method]outgoing-request.body" => at.func_wrap(name, body)?,
        "[method]outgoing-request.method" => at.func_wrap(name, |cx: Cx<'_>, (request,): Outgoing| {
            Ok((cx.data().table.get(&request)?.method.clone(),))
        })?,
        "[method]outgoing-request.set-method" => at.func_wrap(name, set_method)?,
        "[method]outgoing-request.path-with-query" => {
            at.func_wrap(name, |cx: Cx<'_>, (request,): Outgoing| {
                Ok((cx.data().table.get(&request)?.path_with_query.clone(),))
            })?;
        }
        "[method]outgoing-request.set-path-with-query" => at.func_wrap(name, set_path)?,
        "[method]outgoing-request.scheme" => at.func_wrap(name, |cx: Cx<'_>, (request,): Outgoing| {
            Ok((cx.data().table.get(&request)?.scheme.clone(),))
        })?,
        "[method]outgoing-request.set-scheme" => at.func_wrap(name, set_scheme)?,
        "[method]outgoing-request.authority" => at.func_wrap(name, |cx: Cx<'_>, (request,): Outgoing| {
            Ok((cx.data().table.get(&request)?.authority.clone(),))
        })?,
        "[method]outgoing-request.set-authority" => at.func_wrap(name, set_authority)?,
        "[method]outgoing-request.headers" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (request,): Outgoing| {
                let table = &mut cx.data_mut().table;
                let fields = table.get(&request)?.fields.clone();
                Ok((table.push(fields)?,))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn new(mut cx: Cx<'_>, (fields,): (Resource<Fields>,)) -> Result<(Resource<OutgoingRequest>,)> {
    let table = &mut cx.data_mut().table;
    let request = OutgoingRequest {
        method: Method::Get,
        path_with_query: None,
        scheme: None,
        authority: None,
        fields: table.delete(fields)?.freeze(),
        body: None,
    };
    Ok((table.push(request)?,))
}

fn body(mut cx: Cx<'_>, (request,): Outgoing) -> Result<(core::result::Result<Resource<OutgoingBody>, ()>,)> {
    let host = cx.data_mut();
    let request = host.table.get_mut(&request)?;
    let body = match (request.body, request.fields.content_length()) {
        (None, Ok(expected)) => host.http.body(expected),
        _ => return Ok((Err(()),)),
    };
    request.body = Some(body);
    Ok((Ok(host.table.push(OutgoingBody::of_request(body))?),))
}

fn set_method(mut cx: Cx<'_>, (request, method): (Resource<OutgoingRequest>, Method)) -> Done {
    let request = cx.data_mut().table.get_mut(&request)?;
    if matches!(&method, Method::Other(name) if !valid_method(name)) {
        return Ok((Err(()),));
    }
    request.method = method;
    Ok((Ok(()),))
}

fn set_path(mut cx: Cx<'_>, (request, path): (Resource<OutgoingRequest>, Option<String>)) -> Done {
    let request = cx.data_mut().table.get_mut(&request)?;
    if path.as_deref().is_some_and(|path| !valid_path(path)) {
        return Ok((Err(()),));
    }
    request.path_with_query = path;
    Ok((Ok(()),))
}

fn set_scheme(mut cx: Cx<'_>, (request, scheme): (Resource<OutgoingRequest>, Option<Scheme>)) -> Done {
    let request = cx.data_mut().table.get_mut(&request)?;
    if matches!(&scheme, Some(Scheme::Other(name)) if !valid_scheme(name)) {
        return Ok((Err(()),));
    }
    request.scheme = scheme;
    Ok((Ok(()),))
}

fn set_authority(mut cx: Cx<'_>, (request, authority): (Resource<OutgoingRequest>, Option<String>)) -> Done {
    let request = cx.data_mut().table.get_mut(&request)?;
    if authority.as_deref().is_some_and(|text| !valid_authority(text)) {
        return Ok((Err(()),));
    }
    request.authority = authority;
    Ok((Ok(()),))
}

pub(super) fn options(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    if name == "[constructor]request-options" {
        at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
            Ok((cx.data_mut().table.push(RequestOptions::default())?,))
        })?;
        return Ok(true);
    }
    match name {
        "[method]request-options.connect-timeout" => time(at, name, |o| &mut o.connect)?,
        "[method]request-options.set-connect-timeout" => set_time(at, name, |o| &mut o.connect)?,
        "[method]request-options.first-byte-timeout" => time(at, name, |o| &mut o.first_byte)?,
        "[method]request-options.set-first-byte-timeout" => set_time(at, name, |o| &mut o.first_byte)?,
        "[method]request-options.between-bytes-timeout" => time(at, name, |o| &mut o.between_bytes)?,
        "[method]request-options.set-between-bytes-timeout" => {
            set_time(at, name, |o| &mut o.between_bytes)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// One of the times.
type Time = fn(&mut RequestOptions) -> &mut Option<u64>;

fn time(at: &mut LinkerInstance<'_, Host>, name: &str, which: Time) -> Result<()> {
    at.func_wrap(name, move |mut cx: Cx<'_>, (options,): (Options,)| {
        Ok((*which(cx.data_mut().table.get_mut(&options)?),))
    })
}

fn set_time(at: &mut LinkerInstance<'_, Host>, name: &str, which: Time) -> Result<()> {
    at.func_wrap(
        name,
        move |mut cx: Cx<'_>, (options, time): (Options, Option<u64>)| -> Done {
            *which(cx.data_mut().table.get_mut(&options)?) = time;
            Ok((Ok(()),))
        },
    )
}
