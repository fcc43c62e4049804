//! `wasi:http/outgoing-handler`.

use alloc::string::{String, ToString};

use mote_abi::boot::grant;
use mote_abi::http::RequestHead;
use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::error::ErrorCode;
use super::request::{OutgoingRequest, RequestOptions, dropped};
use super::response::FutureIncomingResponse;
use super::types::Scheme;
use crate::wasi::Host;
use crate::wasi::errno::{EACCES, EMFILE};
use crate::wasi::http::{RequestError, valid_authority, without_fragment};
use crate::wasi::p2::Cx;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "handle" => at.func_wrap(name, handle)?,
        _ => return Ok(false),
    }
    Ok(true)
}

type Answer = core::result::Result<Resource<FutureIncomingResponse>, ErrorCode>;

fn handle(
    mut cx: Cx<'_>,
    (request, options): (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>),
) -> Result<(Answer,)> {
    let host = cx.data_mut();
    let options = match options {
        Some(options) => host.table.delete(options)?,
        None => RequestOptions::default(),
    };
    let request = host.table.delete(request)?;
    let body = request.body;
    let head = match head(&request, options) {
        Ok(head) => head,
        Err(code) => {
            dropped(host, request)?;
            return Ok((Err(code),));
        }
    };
    let sent = if host.grants & grant::HTTP == 0 {
        Err(RequestError::Errno(EACCES))
    } else {
        host.http.request(&mut host.ring, &head, body)
    };
    Ok((match sent {
        Ok(exchange) => Ok(host.table.push(FutureIncomingResponse::Waiting(exchange))?),
        Err(error) => {
            dropped(host, request)?;
            Err(match error {
                RequestError::Errno(EACCES) => ErrorCode::HttpRequestDenied,
                RequestError::Errno(EMFILE) => ErrorCode::ConnectionLimitReached,
                RequestError::Errno(errno) => {
                    ErrorCode::InternalError(Some(alloc::format!("the request was not begun: error {errno}")))
                }
                RequestError::TooLong(error) => ErrorCode::InternalError(Some(error.to_string())),
            })
        }
    },))
}

/// The request as it is sent, if it can be. (wasmtime-wasi-http, `outgoing_handler::Host::handle`)
fn head(request: &OutgoingRequest, options: RequestOptions) -> core::result::Result<RequestHead, ErrorCode> {
    match request.fields.content_length() {
        Ok(Some(len)) if len > 0 && request.body.is_none() => {
            return Err(ErrorCode::HttpRequestBodySize(Some(0)));
        }
        Ok(_) => {}
        Err(_) => {
            return Err(ErrorCode::InternalError(Some(
                "invalid `content-length` header value".into(),
            )));
        }
    }
    let scheme = match &request.scheme {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) | None => "https",
        Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
    };
    let authority = request.authority.as_deref().unwrap_or_default();
    let (true, Some(path)) = (valid_authority(authority), &request.path_with_query) else {
        return Err(ErrorCode::HttpRequestUriInvalid);
    };
    let path = without_fragment(path);
    let mut path_with_query = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        path_with_query.push('/');
    }
    path_with_query.push_str(path);
    Ok(RequestHead {
        id: 0,
        timeouts: options.timeouts(),
        method: request.method.clone().into(),
        scheme: scheme.into(),
        authority: authority.into(),
        path_with_query,
        fields: request.fields.list().clone(),
    })
}
