"""A small HTTP server in Python: wasi:http/incoming-handler."""

import asyncio
import hashlib
import sys

import poll_loop
from componentize_py_types import Err, Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Connect,
    Method_Delete,
    Method_Get,
    Method_Head,
    Method_Options,
    Method_Other,
    Method_Patch,
    Method_Post,
    Method_Put,
    Method_Trace,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
)

NAMES = {
    Method_Get: "GET",
    Method_Head: "HEAD",
    Method_Post: "POST",
    Method_Put: "PUT",
    Method_Delete: "DELETE",
    Method_Connect: "CONNECT",
    Method_Options: "OPTIONS",
    Method_Trace: "TRACE",
    Method_Patch: "PATCH",
}


class IncomingHandler(exports.IncomingHandler):
    """wasi:http/incoming-handler"""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(handle(request, response_out))


def start(response_out, status, fields):
    """Sends status and fields; gives what takes the body."""
    response = OutgoingResponse(Fields.from_list([(name, value.encode()) for name, value in fields]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    return Sink(body)


async def answer(response_out, status, text, fields=()):
    sink = start(response_out, status, [("content-type", "text/plain"), *fields])
    await sink.send(text.encode())
    sink.close()


def method(request) -> str:
    value = request.method()
    return value.value if isinstance(value, Method_Other) else NAMES[type(value)]


async def handle(request, response_out):
    target = request.path_with_query() or ""
    path = target.split("?")[0]
    if path == "/":
        print("a line for the log")
        print("a line of errors", file=sys.stderr)
        await answer(response_out, 200, "hello from python\n")
    elif path == "/echo":
        fields = sorted((n, v.decode("latin-1")) for n, v in request.headers().entries() if n.startswith("x-"))
        body = Stream(request.consume())
        data = b""
        while (chunk := await body.next()) is not None:
            data += chunk
        text = f"{method(request)} {target}\n{fields}\n{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n"
        await answer(response_out, 418, text, [("x-one", "1"), ("x-two", "a"), ("x-two", "b")])
    elif path == "/double":
        # Bytes go back as they come.
        body = Stream(request.consume())
        sink = start(response_out, 200, [("content-type", "application/octet-stream")])
        while (chunk := await body.next()) is not None:
            await sink.send(chunk)
        sink.close()
    elif path == "/stream":
        sink = start(response_out, 200, [])
        for n in range(2000):
            await sink.send(f"line {n:06}\n".encode() * 10)
        sink.close()
    elif path == "/fetch":
        outgoing = OutgoingRequest(Fields())
        outgoing.set_scheme(Scheme_Http())
        outgoing.set_authority("127.0.0.1:9")
        outgoing.set_path_with_query("/")
        try:
            await poll_loop.send(outgoing)
            text = "fetched\n"
        except Err as error:
            text = f"not fetched: {type(error.value).__name__}\n"
        await answer(response_out, 200, text)
    elif path == "/trap":
        raise AssertionError("as asked")
    else:
        await answer(response_out, 404, f"nothing at {path}\n")
