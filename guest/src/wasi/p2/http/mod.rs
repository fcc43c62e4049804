//! `wasi:http`.

mod body;
mod client;
mod error;
mod fields;
mod request;
mod response;
mod types;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::{Cx, io, owned, owned_by};
use crate::wasi::Host;
use crate::wasi::http::Fields;
pub(super) use body::{OutgoingStream, is_ready as trailers_ready, read};
pub(super) use error::ErrorCode;
pub(super) use request::IncomingRequest;
pub(super) use response::{ResponseOutparam, is_ready as response_ready};

/// Defines a function of `wasi:http/types`.
pub(super) fn types(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    if name == "http-error-code" {
        at.func_wrap(name, http_error_code)?;
        return Ok(true);
    }
    // `[method]incoming-request.consume` is a function of the resource `incoming-request`.
    let resource = name.split_once(']').map_or("", |(_, rest)| {
        rest.split_once('.').map_or(rest, |(name, _)| name)
    });
    match resource {
        "fields" => fields::function(at, name),
        "incoming-request" => request::incoming(at, name),
        "outgoing-request" => request::outgoing(at, name),
        "request-options" => request::options(at, name),
        "response-outparam" | "outgoing-response" => response::outgoing(at, name),
        "incoming-response" | "future-incoming-response" => response::incoming(at, name),
        "incoming-body" | "future-trailers" => body::incoming(at, name),
        "outgoing-body" => body::outgoing(at, name),
        _ => Ok(false),
    }
}

/// Defines a function of `wasi:http/outgoing-handler`.
pub(super) fn outgoing_handler(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    client::function(at, name)
}

/// Defines a resource of these interfaces.
pub(super) fn resource(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "fields" | "headers" | "trailers" => owned::<Fields>(at, name)?,
        "incoming-request" => owned::<IncomingRequest>(at, name)?,
        "outgoing-request" => owned_by(at, name, request::dropped)?,
        "request-options" => owned::<request::RequestOptions>(at, name)?,
        "response-outparam" => owned::<ResponseOutparam>(at, name)?,
        "outgoing-response" => owned_by(at, name, response::outgoing_dropped)?,
        "incoming-response" => owned_by(at, name, response::incoming_dropped)?,
        "future-incoming-response" => owned_by(at, name, response::future_dropped)?,
        "incoming-body" => owned_by(at, name, body::incoming_dropped)?,
        "future-trailers" => owned_by(at, name, body::trailers_dropped)?,
        "outgoing-body" => owned_by(at, name, body::outgoing_dropped)?,
        "io-error" => owned::<io::IoError>(at, name)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What went wrong with a stream, if it was HTTP that did.
fn http_error_code(cx: Cx<'_>, (error,): (Resource<io::IoError>,)) -> Result<(Option<ErrorCode>,)> {
    Ok((match cx.data().table.get(&error)? {
        io::IoError::Http(code) => Some(code.clone()),
        io::IoError::Errno(_) => None,
    },))
}
