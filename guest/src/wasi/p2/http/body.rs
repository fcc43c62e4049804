//! `wasi:http/types`: incoming-body, future-trailers and outgoing-body.

use alloc::string::ToString;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::error::ErrorCode;
use crate::wasi::Host;
use crate::wasi::http::{BodyError, BodyId, ExchangeId, Fields, Stop};
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{
    Found, InputStream, IoError, OutputStream, Pollable, StreamFailure, new_child_pollable,
};

/// `wasi:http/types.incoming-body`.
pub(in crate::wasi::p2) struct IncomingBody {
    exchange: ExchangeId,
    /// Without the body there is no use for the exchange: it is that of an outgoing request.
    owner: bool,
    /// The stream was taken.
    taken: bool,
}

/// `wasi:http/types.future-trailers`.
pub(in crate::wasi::p2) struct FutureTrailers {
    exchange: ExchangeId,
    owner: bool,
    consumed: bool,
}

/// `wasi:http/types.outgoing-body`.
pub(in crate::wasi::p2) struct OutgoingBody {
    id: BodyId,
    kind: Kind,
    /// The stream was taken.
    taken: bool,
}

/// What a body belongs to.
#[derive(Clone, Copy)]
pub(in crate::wasi::p2) enum Kind {
    Request,
    Response,
}

impl IncomingBody {
    pub(super) fn new(exchange: ExchangeId, owner: bool) -> IncomingBody {
        IncomingBody {
            exchange,
            owner,
            taken: false,
        }
    }
}

impl OutgoingBody {
    pub(super) fn of_request(id: BodyId) -> OutgoingBody {
        OutgoingBody {
            id,
            kind: Kind::Request,
            taken: false,
        }
    }

    pub(super) fn of_response(id: BodyId) -> OutgoingBody {
        OutgoingBody {
            id,
            kind: Kind::Response,
            taken: false,
        }
    }
}

impl Kind {
    fn size_error(self, written: u64) -> ErrorCode {
        match self {
            Kind::Request => ErrorCode::HttpRequestBodySize(Some(written)),
            Kind::Response => ErrorCode::HttpResponseBodySize(Some(written)),
        }
    }

    fn error(self, error: BodyError) -> StreamFailure {
        match error {
            BodyError::Closed => StreamFailure::Closed,
            BodyError::Size(written) => StreamFailure::Failed(IoError::Http(self.size_error(written))),
            BodyError::TooLong(error) => {
                StreamFailure::Failed(IoError::Http(ErrorCode::InternalError(Some(error.to_string()))))
            }
        }
    }
}

/// The program has dropped the body.
pub(super) fn incoming_dropped(host: &mut Host, body: IncomingBody) -> Result<()> {
    if body.owner {
        host.http.close(&mut host.ring, body.exchange);
    }
    Ok(())
}

/// The program has dropped the future.
pub(super) fn trailers_dropped(host: &mut Host, future: FutureTrailers) -> Result<()> {
    if future.owner {
        host.http.close(&mut host.ring, future.exchange);
    }
    Ok(())
}

/// The program has dropped the body without finishing it.
pub(super) fn outgoing_dropped(host: &mut Host, body: OutgoingBody) -> Result<()> {
    host.http.abort(&mut host.ring, body.id);
    Ok(())
}

pub(super) fn incoming(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]incoming-body.stream" => at.func_wrap(name, stream)?,
        "[static]incoming-body.finish" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (body,): (Resource<IncomingBody>,)| {
                let table = &mut cx.data_mut().table;
                let body = table.delete(body)?;
                let future = FutureTrailers {
                    exchange: body.exchange,
                    owner: body.owner,
                    consumed: false,
                };
                Ok((table.push(future)?,))
            })?;
        }
        "[method]future-trailers.subscribe" => {
            at.func_wrap(name, |cx: Cx<'_>, (future,): (Resource<FutureTrailers>,)| {
                new_child_pollable(cx, Pollable::Trailers(future.rep()), &future)
            })?;
        }
        "[method]future-trailers.get" => at.func_wrap(name, trailers)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn stream(
    mut cx: Cx<'_>,
    (body,): (Resource<IncomingBody>,),
) -> Result<(core::result::Result<Resource<InputStream>, ()>,)> {
    let table = &mut cx.data_mut().table;
    let found = table.get_mut(&body)?;
    if core::mem::replace(&mut found.taken, true) {
        return Ok((Err(()),));
    }
    let stream = InputStream::Http(found.exchange);
    Ok((Ok(table.push_child(stream, &body)?),))
}

/// Up to `len` bytes of an incoming body.
pub(in crate::wasi::p2) fn read(host: &mut Host, exchange: ExchangeId, len: usize) -> Found {
    match host.http.read(&mut host.ring, exchange, len) {
        Ok(data) => Ok(data),
        Err(Stop::Ended) => Err(StreamFailure::Closed),
        Err(Stop::Failed(failure)) => Err(StreamFailure::Failed(IoError::Http(failure.into()))),
    }
}

type Trailers = Option<core::result::Result<core::result::Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

fn trailers(mut cx: Cx<'_>, (future,): (Resource<FutureTrailers>,)) -> Result<(Trailers,)> {
    let host = cx.data_mut();
    let found = host.table.get_mut(&future)?;
    if found.consumed {
        return Ok((Some(Err(())),));
    }
    let answer = match host.http.trailers(&mut host.ring, found.exchange) {
        Ok(None) => {
            // A program may ask again and again without ever waiting.
            host.http.pump(&mut host.ring);
            host.ring.kick();
            return Ok((None,));
        }
        Ok(Some(list)) => Ok(list.map(Fields::received)),
        Err(failure) => Err(ErrorCode::from(failure)),
    };
    found.consumed = true;
    let answer = match answer {
        Ok(Some(fields)) => Ok(Some(host.table.push(fields)?)),
        Ok(None) => Ok(None),
        Err(code) => Err(code),
    };
    Ok((Some(Ok(answer)),))
}

/// Whether `future-trailers.get` has an answer.
pub(in crate::wasi::p2) fn is_ready(host: &mut Host, future: &Resource<FutureTrailers>) -> Result<bool> {
    let future = host.table.get(future)?;
    Ok(future.consumed || host.http.is_complete(&mut host.ring, future.exchange))
}

pub(super) fn outgoing(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]outgoing-body.write" => at.func_wrap(name, write)?,
        "[static]outgoing-body.finish" => at.func_wrap(name, finish)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn write(
    mut cx: Cx<'_>,
    (body,): (Resource<OutgoingBody>,),
) -> Result<(core::result::Result<Resource<OutputStream>, ()>,)> {
    let table = &mut cx.data_mut().table;
    let found = table.get_mut(&body)?;
    if core::mem::replace(&mut found.taken, true) {
        return Ok((Err(()),));
    }
    let stream = OutputStream::Http(OutgoingStream {
        body: found.id,
        kind: found.kind,
    });
    Ok((Ok(table.push_child(stream, &body)?),))
}

fn finish(
    mut cx: Cx<'_>,
    (body, trailers): (Resource<OutgoingBody>, Option<Resource<Fields>>),
) -> Result<(core::result::Result<(), ErrorCode>,)> {
    let host = cx.data_mut();
    let body = host.table.delete(body)?;
    let trailers = match trailers {
        Some(fields) => Some(host.table.delete(fields)?.into_list()),
        None => None,
    };
    let result = match host.http.finish(&mut host.ring, body.id, trailers) {
        // That nobody reads it is no concern of the writer.
        Ok(()) | Err(BodyError::Closed) => Ok(()),
        Err(BodyError::Size(written)) => Err(body.kind.size_error(written)),
        Err(BodyError::TooLong(error)) => Err(ErrorCode::InternalError(Some(error.to_string()))),
    };
    Ok((result,))
}

/// The output stream of an outgoing body.
#[derive(Clone, Copy)]
pub(in crate::wasi::p2) struct OutgoingStream {
    body: BodyId,
    kind: Kind,
}

impl OutgoingStream {
    /// Bytes that can be written without waiting.
    pub(in crate::wasi::p2) fn permit(self, host: &mut Host) -> core::result::Result<u64, StreamFailure> {
        host.http
            .permit(&mut host.ring, self.body)
            .map(|room| room as u64)
            .map_err(|error| self.kind.error(error))
    }

    pub(in crate::wasi::p2) fn write(
        self,
        host: &mut Host,
        data: &[u8],
    ) -> core::result::Result<(), StreamFailure> {
        host.http
            .write(&mut host.ring, self.body, data)
            .map_err(|error| self.kind.error(error))
    }

    pub(in crate::wasi::p2) fn flush(self, host: &mut Host) {
        host.http.flush(&mut host.ring, self.body);
    }
}
